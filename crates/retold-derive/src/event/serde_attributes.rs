//! Rejects serde attributes that would change the form of a payload: the topic already identifies
//! the variant of an event, and the payload must be the variant's content.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, LitStr, Result, Token, parenthesized};

use super::rename::RenameRule;

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

/// How serde writes and reads a field.
#[derive(Default)]
pub(super) struct SerdeNames {
    /// The name under which it is written, if it is given.
    pub(super) rename: Option<String>,
    pub(super) is_flattened: bool,
    pub(super) is_skipped: bool,
    /// Whether it may be left out when written.
    pub(super) may_be_absent: bool,
    /// Whether it has a default when it is missing.
    pub(super) has_default: bool,
    /// Whether it is read by code of its own, so that an option has no default.
    pub(super) has_own_code: bool,
}

/// Reads the serde attributes of a field.
pub(super) fn names_of(attributes: &[Attribute]) -> SerdeNames {
    let mut names = SerdeNames::default();
    each(attributes, |key, meta| {
        match key {
            "rename" => {
                names.rename = written_text(meta)?.or(names.rename.take());
                return Ok(());
            }
            "flatten" => names.is_flattened = true,
            "skip" | "skip_serializing" => names.is_skipped = true,
            "skip_serializing_if" => names.may_be_absent = true,
            "default" => names.has_default = true,
            "with" | "deserialize_with" => names.has_own_code = true,
            _ => {}
        }
        skip_value(meta)
    });
    names
}

/// Returns the rule under this key by which serde renames all fields, and whether missing fields
/// have defaults.
pub(super) fn of_all_fields(attributes: &[Attribute], rule: &str) -> (Option<RenameRule>, bool) {
    let (mut rename_all, mut has_defaults) = (None, false);
    each(attributes, |key, meta| {
        if key == rule {
            rename_all = written_text(meta)?.and_then(|name| RenameRule::named(&name));
            return Ok(());
        }
        has_defaults |= key == "default";
        skip_value(meta)
    });
    (rename_all, has_defaults)
}

/// Calls `read` with each serde attribute. Those that serde itself cannot read are reported by
/// serde.
fn each(attributes: &[Attribute], mut read: impl FnMut(&str, &ParseNestedMeta<'_>) -> Result<()>) {
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        let _ = attribute.parse_nested_meta(|meta| read(&crate::attribute::key(&meta), &meta));
    }
}

/// Returns the text of `key = "…"`, or of `key(serialize = "…")`.
fn written_text(meta: &ParseNestedMeta<'_>) -> Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        let text: LitStr = meta.value()?.parse()?;
        return Ok(Some(text.value()));
    }
    let mut written = None;
    meta.parse_nested_meta(|nested| {
        let text: LitStr = nested.value()?.parse()?;
        if nested.path.is_ident("serialize") {
            written = Some(text.value());
        }
        Ok(())
    })?;
    Ok(written)
}
