//! The macros of wpool-guest: `#[task]`, `#[init]` and `#[derive(Schema)]`.
//!
//! A misuse is a compile error at its location, with the correct use in the message.
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
/// The function itself is unchanged. Its parameters and its result need serde's traits and `Schema`; a parameter may
/// also be `&str` or `&[u8]`. Its doc comment and the names of its parameters are part of the guest's description.
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

/// Makes a function the guest's initializer: it runs once, before any task, and every task starts from the memory that
/// it leaves. A guest has at most one. The host passes its arguments as it does those of a task. If it has no
/// parameters, the memory that it leaves is cached with the compiled guest, so that it does not run again in the next
/// program; clock times and random numbers that it has read are then those of its first run.
///
/// ```ignore
/// static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
///
/// /// Fills the set of known words.
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
/// It follows serde's `rename`, `rename_all`, `rename_all_fields` and `transparent`, and refuses the attributes that
/// the description cannot express. It is re-exported as `wpool_guest::Schema`.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn derive_schema(item: TokenStream) -> TokenStream {
    derive(item, "wpool_guest")
}

/// The same for a program that embeds a pool. It is re-exported as `wpool::Schema`.
#[proc_macro_derive(HostSchema, attributes(serde))]
pub fn derive_host_schema(item: TokenStream) -> TokenStream {
    derive(item, "wpool")
}

fn derive(item: TokenStream, library: &str) -> TokenStream {
    schema::expand(item.into(), library).unwrap_or_else(syn::Error::into_compile_error).into()
}
