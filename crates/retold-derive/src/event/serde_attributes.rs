//! Rejects serde attributes that would change the form of a payload: the topic already identifies
//! the variant of an event, and the payload must be the variant's content.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, Result, Token, parenthesized};

/// Checks the attributes of an enum of events.
pub(super) fn check_enum(attributes: &[Attribute]) -> Result<()> {
    refuse(attributes, |key| match key {
        "tag" | "content" | "untagged" => Some(
            "the topic says which variant an event is, and its payload is the variant's content \
             alone; leave this out",
        ),
        "from" | "into" | "try_from" | "remote" => Some(
            "an enum of events is serialised as itself, so that its payload is the variant's \
             content alone; leave this out, or do it on a struct inside a variant",
        ),
        _ => None,
    })
}

/// Checks the attributes of a variant of events.
pub(super) fn check_variant(attributes: &[Attribute]) -> Result<()> {
    refuse(attributes, |key| match key {
        "skip" | "skip_serializing" | "skip_deserializing" => Some(
            "every variant of an event can be recorded and must be read back; leave this out, or \
             take the variant out of the enum",
        ),
        "other" => Some(
            "an unknown topic is an error, or skipped if the reader chooses so; leave this out",
        ),
        "untagged" => Some(
            "the topic says which variant an event is, and its payload is the variant's content \
             alone; leave this out",
        ),
        _ => None,
    })
}

fn refuse(attributes: &[Attribute], reason: impl Fn(&str) -> Option<&'static str>) -> Result<()> {
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        let mut refused = None;
        // Attributes that serde itself cannot read are reported by serde.
        let _ = attribute.parse_nested_meta(|meta| {
            let key = crate::attribute::key(&meta);
            if let Some(reason) = reason(&key) {
                let message = format!("`#[serde({key})]` on an event: {reason}");
                refused.get_or_insert_with(|| Error::new_spanned(&meta.path, message));
            }
            skip_value(&meta)
        });
        if let Some(error) = refused {
            return Err(error);
        }
    }
    Ok(())
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        parenthesized!(content in meta.input);
        content.parse::<TokenStream>()?;
    }
    Ok(())
}
