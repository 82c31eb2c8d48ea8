//! Reads `#[serde(…)]`: the attributes that the description follows, and those that it refuses.

use proc_macro2::Span;
use syn::{Attribute, Error, LitStr, Result, meta::ParseNestedMeta};

use crate::case::Case;

/// The serde attributes of one container, variant or field.
#[derive(Debug, Default)]
pub(crate) struct SerdeAttributes {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename_all_fields: Option<Case>,
    pub(crate) transparent: bool,
}

/// Attributes that change neither the bytes nor the JSON.
const HARMLESS: &[&str] = &["bound", "borrow", "crate", "deny_unknown_fields", "expecting"];

/// Attributes that the description cannot follow, each with its replacement.
const REFUSED: &[(&str, &str)] = &[
    ("alias", "the host reads JSON by the one name in the description; use `rename`"),
    ("content", "an enum is written as {\"Variant\": …}; remove it"),
    ("default", "every field is present on the wire; use `Option` for what may be left out"),
    ("flatten", "put the fields into this type, or keep the inner type as a field"),
    ("from", "derive the traits on the type that is really sent"),
    ("getter", "derive the traits on the type that is really sent"),
    ("into", "derive the traits on the type that is really sent"),
    ("deserialize_with", "the description cannot see what the function reads; use a type of its own"),
    ("other", "an unknown variant has no number on the wire; remove it"),
    ("remote", "derive the traits on the type that is really sent"),
    ("serialize_with", "the description cannot see what the function writes; use a type of its own"),
    ("skip", "a field is on the wire or it is not; move it out of this type"),
    ("skip_deserializing", "a field is on the wire or it is not; move it out of this type"),
    ("skip_serializing", "a field is on the wire or it is not; move it out of this type"),
    ("skip_serializing_if", "every field is present on the wire; use `Option`, whose none is `null`"),
    ("tag", "an enum is written as {\"Variant\": …}; remove it"),
    ("try_from", "derive the traits on the type that is really sent"),
    ("untagged", "an enum is written as {\"Variant\": …}; remove it, or take `wpool_guest::Json`"),
    ("variant_identifier", "derive the traits on the type that is really sent"),
    ("field_identifier", "derive the traits on the type that is really sent"),
    ("with", "the description cannot see what the module writes; use a type of its own"),
];

impl SerdeAttributes {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| read.one(&meta))?;
        }
        Ok(read)
    }

    fn one(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "rename" => self.rename = Some(one_name(meta)?.value()),
            "rename_all" => self.rename_all = Some(case(&one_name(meta)?)?),
            "rename_all_fields" => self.rename_all_fields = Some(case(&one_name(meta)?)?),
            "transparent" => self.transparent = true,
            harmless if HARMLESS.contains(&harmless) => skip_value(meta)?,
            other => return Err(refuse(meta, other)),
        }
        Ok(())
    }
}

/// Reads `= "name"`. serde also accepts two names, one per direction, but the description has one for both.
fn one_name(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    if meta.input.peek(syn::token::Paren) {
        return Err(meta.error("wpool uses one name in both directions: write `= \"name\"`"));
    }
    meta.value()?.parse()
}

fn case(name: &LitStr) -> Result<Case> {
    Case::from_name(&name.value()).ok_or_else(|| Error::new(name.span(), "serde has no such renaming rule"))
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inner;
        syn::parenthesized!(inner in meta.input);
        inner.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

fn refuse(meta: &ParseNestedMeta<'_>, name: &str) -> Error {
    let span = meta.path.get_ident().map_or_else(Span::call_site, syn::Ident::span);
    let advice = REFUSED
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("wpool does not know it; remove it", |(_, advice)| advice);
    Error::new(span, format!("wpool's description cannot express `#[serde({name})]`: {advice}"))
}
