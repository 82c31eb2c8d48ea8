//! The macros of wpool-guest: `#[task]`, `#[init]` and `#[derive(Schema)]`.
//!
//! Misuse is a compile error at the place of the misuse that says what to do instead.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod case;
mod names;
mod schema;
mod serde_attributes;
mod task;

use proc_macro::TokenStream;

/// Makes a function a task that a host can call by its name.
///
/// The function itself stays as it is. Its parameters and its result need serde's traits and `Schema`;
/// `&str` and `&[u8]` may be borrowed. Its doc comment, and the names of the parameters, reach the
/// guest's description.
///
/// ```ignore
/// /// The square of a number.
/// #[wpool_guest::task]
/// fn square(x: i64) -> i64 {
///     x * x
/// }
/// ```
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(task::Kind::Task, attribute.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a function the guest's initializer: it runs once, before any task, and every task starts from what it
/// leaves behind. A guest has at most one; its parameters are what the host gives it, as a task's are. What one without
/// parameters leaves is kept with the compiled guest, so that it does not run again in the next program; what it has
/// read of clocks and random numbers stays as it was.
///
/// ```ignore
/// static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
///
/// /// The words that are known.
/// #[wpool_guest::init]
/// fn learn(words: Vec<String>) {
///     WORDS.set(words.into_iter().collect()).expect("it runs once");
/// }
/// ```
#[proc_macro_attribute]
pub fn init(attribute: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(task::Kind::Init, attribute.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Describes a struct or an enum, so that a host can read JSON as that type.
///
/// It follows serde's `rename`, `rename_all`, `rename_all_fields` and `transparent`, and refuses the
/// attributes that the description cannot express. This is `wpool_guest::Schema`.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn derive_schema(item: TokenStream) -> TokenStream {
    derive(item, "wpool_guest")
}

/// The same for a program that embeds a pool. This is `wpool::Schema`.
#[proc_macro_derive(HostSchema, attributes(serde))]
pub fn derive_host_schema(item: TokenStream) -> TokenStream {
    derive(item, "wpool")
}

fn derive(item: TokenStream, library: &str) -> TokenStream {
    schema::expand(item.into(), library).unwrap_or_else(syn::Error::into_compile_error).into()
}
