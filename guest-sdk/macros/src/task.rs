//! `#[task]` and `#[init]`: check a function's signature, and add the two exports of a task beside it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{Error, FnArg, Ident, ItemFn, Pat, Result, ReturnType, Type};

use crate::names::{docs_of, unraw};

/// The role of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Init,
}

impl Kind {
    fn attribute(self) -> &'static str {
        match self {
            Kind::Task => "#[task]",
            Kind::Init => "#[init]",
        }
    }

    /// The names of the exports that call and describe a function of this name.
    fn export_names(self, name: &str) -> (String, String) {
        match self {
            Kind::Task => (format!("wpool_task:{name}"), format!("wpool_describe:{name}")),
            Kind::Init => ("wpool_init".to_owned(), "wpool_describe_init".to_owned()),
        }
    }
}

struct Param {
    name: Ident,
    ty: Type,
}

pub(crate) fn expand(kind: Kind, attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let name = kind.attribute();
    if !attribute.is_empty() {
        return Err(Error::new(attribute.span(), format!("`{name}` takes no arguments")));
    }
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("`{name}` goes on a function: fn name(parameters) -> result"))
    })?;
    check_signature(&function)?;
    let params = params_of(&function)?;
    let exports = exports(kind, &function, &params);
    Ok(quote! {
        #function
        #exports
    })
}

/// Refuses a function that the host cannot call. The checks are in the order of what the author most likely meant.
fn check_signature(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(
            token.span(),
            "a task is not async: write an ordinary function; the host already runs many tasks at once",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "a task is not generic: the host calls it by name with one set of types; write concrete types",
        ));
    }
    if let Some(clause) = &signature.generics.where_clause {
        return Err(Error::new(clause.span(), "a task has no where clause: its types are concrete"));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new(token.span(), "a task is not unsafe: the host cannot keep a promise for it"));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new(abi.span(), "a task has no ABI of its own: remove the `extern`"));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new(variadic.span(), "a task has a fixed number of parameters"));
    }
    Ok(())
}

fn params_of(function: &ItemFn) -> Result<Vec<Param>> {
    function.sig.inputs.iter().map(param_of).collect()
}

fn param_of(input: &FnArg) -> Result<Param> {
    let typed = match input {
        FnArg::Receiver(receiver) => {
            return Err(Error::new(receiver.span(), "a task is a free function: it has no `self`"));
        }
        FnArg::Typed(typed) => typed,
    };
    let Pat::Ident(pattern) = &*typed.pat else {
        return Err(Error::new(
            typed.pat.span(),
            "a task's parameter is a plain name, which the description shows; take it apart in the body",
        ));
    };
    check_borrows(&typed.ty)?;
    Ok(Param { name: pattern.ident.clone(), ty: (*typed.ty).clone() })
}

/// Refuses all borrowed types but `&str` and `&[u8]`, which serde can borrow from the bytes of the arguments, also
/// within options and tuples.
fn check_borrows(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(reference) => {
            if let Some(lifetime) = &reference.lifetime {
                return Err(Error::new(
                    lifetime.span(),
                    "a task's parameter has no named lifetime: write `&str` or `&[u8]`, or own the value",
                ));
            }
            if reference.mutability.is_some() || !is_str_or_bytes(&reference.elem) {
                return Err(Error::new(
                    reference.span(),
                    "a task can borrow only `&str` and `&[u8]`: take this parameter by value",
                ));
            }
            Ok(())
        }
        Type::ImplTrait(_) => {
            Err(Error::new(ty.span(), "a task is not generic: write a concrete type instead of `impl Trait`"))
        }
        Type::Path(path) => path
            .path
            .segments
            .iter()
            .filter_map(|segment| match &segment.arguments {
                syn::PathArguments::AngleBracketed(arguments) => Some(arguments),
                _ => None,
            })
            .flat_map(|arguments| &arguments.args)
            .try_for_each(|argument| match argument {
                syn::GenericArgument::Lifetime(lifetime) => Err(named_lifetime(lifetime)),
                syn::GenericArgument::Type(inner) => check_borrows(inner),
                _ => Ok(()),
            }),
        Type::Tuple(tuple) => tuple.elems.iter().try_for_each(check_borrows),
        Type::Array(array) => check_borrows(&array.elem),
        Type::Paren(paren) => check_borrows(&paren.elem),
        Type::Group(group) => check_borrows(&group.elem),
        _ => Ok(()),
    }
}

fn named_lifetime(lifetime: &syn::Lifetime) -> Error {
    Error::new(lifetime.span(), "a task's parameter has no named lifetime: take an owned type")
}

fn is_str_or_bytes(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.is_ident("str"),
        Type::Slice(slice) => matches!(&*slice.elem, Type::Path(path) if path.path.is_ident("u8")),
        _ => false,
    }
}

/// The exports of one task. They are inside an anonymous constant, so they take no name in the guest's module.
fn exports(kind: Kind, function: &ItemFn, params: &[Param]) -> TokenStream {
    let types: Vec<&Type> = params.iter().map(|param| &param.ty).collect();
    let assertions =
        types.iter().map(|ty| quote_spanned!(ty.span()=> ::wpool_guest::__private::assert_schema::<#ty>();));
    let decodes = types.iter().map(|ty| {
        let borrowed = with_lifetime(ty);
        quote_spanned!(ty.span()=> ::wpool_guest::__private::assert_decodes::<'de, #borrowed>();)
    });
    let (call_name, describe_name) = kind.export_names(&unraw(&function.sig.ident));
    let probe = probe(function);
    let call = call_export(&call_name, function, &types, &probe);
    let describe = describe_export(&describe_name, function, params, &probe);
    let cfgs: Vec<_> = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    quote! {
        #(#cfgs)*
        const _: () = {
            #[allow(dead_code, reason = "it is there for the compiler's checks")]
            fn decode_with_any_lifetime<'de>() { #(#decodes)* }

            #[allow(unused_imports, reason = "the return type decides which of them is used")]
            use ::wpool_guest::__private::{DisplayedError as _, Plain as _, Probe, SchemaError as _, TypedError as _};

            const _: fn() = || { #(#assertions)* };

            #call

            #describe
        };
    }
}

/// A type whose references have the lifetime `'de`.
fn with_lifetime(ty: &Type) -> Type {
    struct Borrow;
    impl VisitMut for Borrow {
        fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
            reference.lifetime.get_or_insert_with(|| syn::parse_quote!('de));
            visit_mut::visit_type_reference_mut(self, reference);
        }
    }
    let mut ty = ty.clone();
    Borrow.visit_type_mut(&mut ty);
    ty
}

/// The value on which the compiler finds the trait for the return type.
fn probe(function: &ItemFn) -> TokenStream {
    let (returned, span) = match &function.sig.output {
        ReturnType::Default => (quote!(()), function.sig.ident.span()),
        ReturnType::Type(_, ty) => (quote!(#ty), ty.span()),
    };
    quote_spanned!(span=> (&&&&Probe::<#returned>::new()))
}

fn call_export(export: &str, function: &ItemFn, types: &[&Type], probe: &TokenStream) -> TokenStream {
    let name = &function.sig.ident;
    let values: Vec<Ident> = (0..types.len()).map(|i| format_ident!("argument_{i}")).collect();
    quote! {
        #[cfg_attr(target_family = "wasm", unsafe(export_name = #export))]
        #[allow(dead_code, improper_ctypes_definitions, reason = "the host calls it; natively it is unused")]
        unsafe extern "C" fn call(
            args: *mut ::core::primitive::u8,
            len: ::core::primitive::usize,
            handles: ::core::primitive::usize,
        ) -> *const ::core::ffi::c_void {
            // SAFETY: the host has filled this block from `wpool_alloc`, and no longer uses it.
            unsafe {
                ::wpool_guest::__private::run(
                    args,
                    len,
                    handles,
                    |(#(#values,)*): (#(#types,)*)| #name(#(#values),*),
                    |returned, out| #probe.encode(returned, out),
                )
                .cast()
            }
        }
    }
}

fn describe_export(export: &str, function: &ItemFn, params: &[Param], probe: &TokenStream) -> TokenStream {
    let name = unraw(&function.sig.ident);
    let docs = docs_of(&function.attrs);
    let names = params.iter().map(|param| unraw(&param.name));
    let types = params.iter().map(|param| &param.ty);
    quote! {
        #[cfg_attr(target_family = "wasm", unsafe(export_name = #export))]
        #[allow(dead_code, reason = "the host calls it; natively it is unused")]
        extern "C" fn describe() -> *const ::core::ffi::c_void {
            ::wpool_guest::__private::describe(
                #name,
                #docs,
                |types| ::wpool_guest::__private::describe_params(
                    types,
                    &[#((#names, <#types as ::wpool_guest::Schema>::describe)),*],
                ),
                |types| #probe.describe(types),
            )
            .cast()
        }
    }
}
