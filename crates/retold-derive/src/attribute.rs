//! Reads attributes: known keys, each at most once, with values of the right kind.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Ident, LitInt, LitStr, Path, Result, Token, parenthesized};

/// Calls `read` with every key in the attributes of this name.
pub(crate) fn read_attributes(
    attributes: &[Attribute],
    name: &str,
    mut read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    attributes
        .iter()
        .filter(|it| it.path().is_ident(name))
        .try_for_each(|it| it.parse_nested_meta(&mut read))
}

/// Sets a value that may be given only once.
pub(crate) fn set_once<T>(
    slot: &mut Option<T>,
    meta: &ParseNestedMeta<'_>,
    value: T,
) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(meta.error(format!("`{}` is given twice", key(meta))));
    }
    Ok(())
}

/// Returns the name of the key.
pub(crate) fn key(meta: &ParseNestedMeta<'_>) -> String {
    meta.path
        .segments
        .iter()
        .map(|it| it.ident.to_string())
        .collect::<Vec<_>>()
        .join("::")
}

/// Returns the text after `key = `.
pub(crate) fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let example = format!("write a text: `{} = \"…\"`", key(meta));
    let value = meta.value().map_err(|_| meta.error(&example))?;
    value
        .parse()
        .map_err(|error| Error::new(error.span(), &example))
}

/// Returns the number after `key = `, which must be from `least` to `most`.
pub(crate) fn number(meta: &ParseNestedMeta<'_>, least: u64, most: u64) -> Result<LitInt> {
    let example = format!("write a number: `{} = {}`", key(meta), least.max(1));
    let value = meta.value().map_err(|_| meta.error(&example))?;
    let literal: LitInt = value
        .parse()
        .map_err(|error| Error::new(error.span(), &example))?;
    match literal.base10_parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(literal),
        _ => Err(Error::new(
            literal.span(),
            format!("`{}` is a number from {least} to {most}", key(meta)),
        )),
    }
}

/// Returns the texts in `key("…", "…")`.
pub(crate) fn texts(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>> {
    let example = format!("write a list of texts: `{}(\"…\", \"…\")`", key(meta));
    if !meta.input.peek(syn::token::Paren) {
        return Err(meta.error(example));
    }
    let content;
    parenthesized!(content in meta.input);
    let texts = content
        .parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])
        .map_err(|error| Error::new(error.span(), &example))?;
    if texts.is_empty() {
        return Err(meta.error(example));
    }
    Ok(texts.into_iter().collect())
}

/// Returns the path after `key = `.
pub(crate) fn path(meta: &ParseNestedMeta<'_>) -> Result<Path> {
    // `crate` and paths that begin with it are paths too; `Path::parse_mod_style` accepts them.
    meta.value()?.call(Path::parse_mod_style)
}

/// Returns the error for an unknown key, with the known keys and the most similar of them, if any.
pub(crate) fn unknown_key(meta: &ParseNestedMeta<'_>, place: &str, known: &[&str]) -> Error {
    let given = key(meta);
    let meant = known
        .iter()
        .map(|it| (distance(&given, it), it))
        .filter(|(distance, it)| *distance <= 1 + it.len() / 4)
        .min();
    let guess = match meant {
        Some((_, meant)) => format!("did you mean `{meant}`? It"),
        None => "it".to_owned(),
    };
    let known = known
        .iter()
        .map(|it| format!("`{it}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Error::new_spanned(
        &meta.path,
        format!("{place} has no `{given}`; {guess} may have {known}"),
    )
}

/// Returns the number of letters to insert, remove or replace to turn one word into the other
/// (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, there) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *there);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Rejects attributes of this name on fields, where they have no meaning.
pub(crate) fn refuse_on_fields(fields: &syn::Fields, name: &str, place: &str) -> Result<()> {
    let attributes = fields.iter().flat_map(|field| &field.attrs);
    match attributes.into_iter().find(|it| it.path().is_ident(name)) {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            format!("`#[{name}(…)]` is not allowed on a field; write it {place}"),
        )),
        None => Ok(()),
    }
}

/// Returns whether an item is marked as deprecated, so that code that names it must allow that.
pub(crate) fn is_deprecated(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| it.path().is_ident("deprecated"))
}

/// Returns a span at the same location, for errors, whose names resolve where the derive is
/// written, so that generated bindings are found even if the type is created by a macro.
pub(crate) fn place_of(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

/// Returns the name without the `r#` of a raw identifier.
pub(crate) fn plain_name(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#")
        .map_or(name.clone(), ToOwned::to_owned)
}
