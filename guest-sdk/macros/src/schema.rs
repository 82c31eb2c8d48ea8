//! `#[derive(Schema)]`: describes a struct or an enum as serde encodes it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Ident, Result};

use crate::case::Case;
use crate::names::{docs_of, unraw};
use crate::serde_attributes::SerdeAttributes;

/// Expands the derive. `library` is the crate that the user's program depends on, and that exports the items used
/// below.
pub(crate) fn expand(item: TokenStream, library: &str) -> Result<TokenStream> {
    let library = format_ident!("{library}");
    let input: DeriveInput = syn::parse2(item)?;
    let attributes = SerdeAttributes::read(&input.attrs)?;
    let name = attributes.rename.clone().unwrap_or_else(|| unraw(&input.ident));
    let body = match &input.data {
        Data::Struct(data) => describe_struct(&name, &attributes, &data.fields)?,
        Data::Enum(data) => describe_enum(&name, &attributes, data)?,
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span(), "a union has no form in JSON: use an enum"));
        }
    };
    let ident = &input.ident;
    let generics = with_bounds(&input, &library);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::#library::Schema for #ident #type_generics #where_clause {
            fn describe(types: &mut ::#library::TypeTable) -> ::#library::__private::TypeIndex {
                #[allow(unused_imports, reason = "each type needs some of them")]
                use ::#library::{Schema as _, __private};
                #body
            }
        }
    })
}

/// The generics with a schema for every type parameter, as serde's derives require serde's traits.
fn with_bounds(input: &DeriveInput, library: &Ident) -> syn::Generics {
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(::#library::Schema));
    }
    generics
}

fn describe_struct(name: &str, attributes: &SerdeAttributes, fields: &Fields) -> Result<TokenStream> {
    // serde encodes a newtype, and a `transparent` struct, as its only field.
    if let Some(inner) = only_field(fields)
        && (attributes.transparent || matches!(fields, Fields::Unnamed(_)))
    {
        SerdeAttributes::read(&inner.attrs)?;
        let ty = &inner.ty;
        return Ok(quote_spanned!(ty.span()=> types.transparent::<Self>(<#ty>::describe)));
    }
    let ty = match fields {
        Fields::Unit => quote!(__private::Type::Unit),
        Fields::Unnamed(_) => {
            let parts = tuple_parts(fields)?;
            quote!(__private::Type::Tuple(::std::vec![#(#parts),*]))
        }
        Fields::Named(_) => {
            let fields = named_fields(fields, attributes.rename_all)?;
            quote!(__private::Type::Struct {
                name: ::std::borrow::ToOwned::to_owned(#name),
                fields: ::std::vec![#(#fields),*],
            })
        }
    };
    Ok(quote!(types.named::<Self>(|types| #ty)))
}

fn only_field(fields: &Fields) -> Option<&syn::Field> {
    if fields.len() == 1 { fields.iter().next() } else { None }
}

fn describe_enum(name: &str, attributes: &SerdeAttributes, data: &DataEnum) -> Result<TokenStream> {
    let variants = data.variants.iter().map(|variant| {
        let own = SerdeAttributes::read(&variant.attrs)?;
        let case = own.rename_all.or(attributes.rename_all_fields);
        let name = own.rename.unwrap_or_else(|| {
            let name = unraw(&variant.ident);
            attributes.rename_all.map_or_else(|| name.clone(), |case| case.apply_to_variant(&name))
        });
        let docs = docs_of(&variant.attrs);
        let data = match &variant.fields {
            Fields::Unit => return Ok(quote!(__private::unit_variant(#name, #docs))),
            Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                let parts = tuple_parts(&variant.fields)?;
                quote!(Newtype(#(#parts)*))
            }
            Fields::Unnamed(_) => {
                let parts = tuple_parts(&variant.fields)?;
                quote!(Tuple(::std::vec![#(#parts),*]))
            }
            Fields::Named(_) => {
                let fields = named_fields(&variant.fields, case)?;
                quote!(Struct(::std::vec![#(#fields),*]))
            }
        };
        Ok(quote!({
            let data = __private::VariantData::#data;
            __private::variant(#name, #docs, data)
        }))
    });
    let variants = variants.collect::<Result<Vec<TokenStream>>>()?;
    Ok(quote! {
        types.named::<Self>(|types| __private::Type::Enum {
            name: ::std::borrow::ToOwned::to_owned(#name),
            variants: ::std::vec![#(#variants),*],
        })
    })
}

fn tuple_parts(fields: &Fields) -> Result<Vec<TokenStream>> {
    fields
        .iter()
        .map(|field| {
            SerdeAttributes::read(&field.attrs)?;
            let ty = &field.ty;
            Ok(quote_spanned!(ty.span()=> <#ty>::describe(types)))
        })
        .collect()
}

fn named_fields(fields: &Fields, case: Option<Case>) -> Result<Vec<TokenStream>> {
    fields
        .iter()
        .map(|field| {
            let own = SerdeAttributes::read(&field.attrs)?;
            let fallback: Ident = format_ident!("field");
            let plain = unraw(field.ident.as_ref().unwrap_or(&fallback));
            let name = own
                .rename
                .unwrap_or_else(|| case.map_or_else(|| plain.clone(), |case| case.apply_to_field(&plain)));
            let docs = docs_of(&field.attrs);
            let ty = &field.ty;
            Ok(quote_spanned!(ty.span()=> __private::field::<#ty>(types, #name, #docs)))
        })
        .collect()
}
