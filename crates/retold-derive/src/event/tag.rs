//! Tags of events: templates with fields in braces.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Field, Fields, Ident, Index, LitStr, Member, Path, Result, Type};

use crate::attribute::{place_of, plain_name};

/// A tag as it was written, `aircraft:{tail}`.
#[derive(Clone)]
pub(super) struct Template {
    literal: LitStr,
    /// The format string with `{}` for every field.
    format: String,
    /// Names of the fields, in their order.
    fields: Vec<String>,
}

impl Template {
    pub(super) fn parse(literal: LitStr) -> Result<Self> {
        let text = literal.value();
        let error = |what: &str| Error::new(literal.span(), what);
        let (mut format, mut fields) = (String::new(), Vec::new());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            format.push(letter);
            if !matches!(letter, '{' | '}') {
                continue;
            }
            if letters.next_if_eq(&letter).is_some() {
                format.push(letter);
                continue;
            }
            if letter == '}' {
                return Err(error(
                    "a `}` in a tag has no `{` before it; for the letter itself write `}}`",
                ));
            }
            let mut field = String::new();
            loop {
                match letters.next() {
                    Some('}') => break,
                    Some(letter) => field.push(letter),
                    None => {
                        return Err(error(
                            "a `{` in a tag is not closed; for the letter itself write `{{`",
                        ));
                    }
                }
            }
            if !is_field_name(&field) {
                return Err(error(&format!(
                    "`{{{field}}}` is not a field; a tag names fields as `{{name}}` or `{{0}}`; \
                     for computed tags write `#[event(tags = function)]`"
                )));
            }
            // A field whose name is a keyword may be written with or without `r#`.
            fields.push(field.strip_prefix("r#").map_or(field.clone(), Into::into));
            format.push('}');
        }
        if text.is_empty() {
            return Err(error("a tag must not be empty"));
        }
        Ok(Self {
            literal,
            format,
            fields,
        })
    }

    pub(super) fn span(&self) -> Span {
        self.literal.span()
    }

    /// Returns whether it names this field.
    pub(super) fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|it| it == field)
    }

    /// Returns whether it names no field at all.
    pub(super) fn names_no_field(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the first field of the template for which this holds.
    pub(super) fn find_field(
        &self,
        fields: &Fields,
        holds: impl Fn(&Field) -> bool,
    ) -> Option<&str> {
        let of = |name: &&String| find(fields, name).is_some_and(|(_, field)| holds(field));
        self.fields.iter().find(of).map(String::as_str)
    }

    /// Returns the first field of the template that is not among these fields.
    pub(super) fn missing_field(&self, fields: &Fields) -> Option<&str> {
        let missing = self.fields.iter().find(|it| find(fields, it).is_none());
        missing.map(String::as_str)
    }

    pub(super) fn fields_are_missing_error(&self, fields: &Fields, missing: &str) -> Error {
        let known = member_names(fields);
        let known = if known.is_empty() {
            "there are no fields".to_owned()
        } else {
            format!("the fields are {}", known.join(", "))
        };
        Error::new(
            self.span(),
            format!("this tag names the field `{missing}`, which does not exist; {known}"),
        )
    }
}

fn is_field_name(text: &str) -> bool {
    text.parse::<u32>().is_ok()
        || syn::parse_str::<Ident>(text).is_ok()
        || syn::parse_str::<Ident>(&format!("r#{text}")).is_ok()
}

fn find<'f>(fields: &'f Fields, name: &str) -> Option<(usize, &'f Field)> {
    fields.iter().enumerate().find(|(index, field)| {
        field
            .ident
            .as_ref()
            .map_or_else(|| index.to_string(), plain_name)
            == name
    })
}

fn member_names(fields: &Fields) -> Vec<String> {
    let named = |(index, field): (usize, &Field)| {
        field
            .ident
            .as_ref()
            .map_or_else(|| index.to_string(), plain_name)
    };
    fields
        .iter()
        .enumerate()
        .map(named)
        .map(|it| format!("`{it}`"))
        .collect()
}

/// Returns the code that adds tags of these templates, for a value with these fields, to `tags`:
/// the pattern that binds the fields, without the path, and the statements.
pub(super) fn insertions(
    krate: &Path,
    templates: &[Template],
    fields: &Fields,
) -> (TokenStream, TokenStream) {
    let mut bound: Vec<(Member, Ident)> = Vec::new();
    let statements: TokenStream = templates
        .iter()
        .map(|it| insertion(krate, it, fields, &mut bound))
        .collect();
    let bindings = bound.iter().map(|(member, ident)| quote!(#member: #ident));
    (quote!({ #(#bindings,)* .. }), statements)
}

fn insertion(
    krate: &Path,
    template: &Template,
    fields: &Fields,
    bound: &mut Vec<(Member, Ident)>,
) -> TokenStream {
    let (text, optional) = formatted_text(krate, template, fields, bound);
    let insert = quote!(__tags.insert(#text););
    optional.iter().fold(insert, |inner, ident| {
        quote! {
            if let ::core::option::Option::Some(#ident) = #ident {
                #inner
            }
        }
    })
}

/// Returns the text of a template as an expression. Its fields are bound to the identifiers in
/// `bound`.
pub(super) fn formatted(
    krate: &Path,
    template: &Template,
    fields: &Fields,
    bound: &mut Vec<(Member, Ident)>,
) -> TokenStream {
    formatted_text(krate, template, fields, bound).0
}

/// Also returns the identifiers of fields that are options.
fn formatted_text(
    krate: &Path,
    template: &Template,
    fields: &Fields,
    bound: &mut Vec<(Member, Ident)>,
) -> (TokenStream, Vec<Ident>) {
    let mut arguments = Vec::new();
    let mut optional: Vec<Ident> = Vec::new();
    for name in &template.fields {
        let (index, field) = find(fields, name).expect("the template was checked");
        // Spanned like the template, so that a field that cannot be printed is reported there.
        let ident = format_ident!("__field_{index}", span = place_of(template.span()));
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(index)),
        };
        if !bound.iter().any(|(it, _)| *it == member) {
            bound.push((member, ident.clone()));
        }
        if is_option(&field.ty) && !optional.contains(&ident) {
            optional.push(ident.clone());
        }
        arguments.push(ident);
    }
    let format = LitStr::new(&template.format, template.span());
    let text = quote!(#krate::domain::tag(::core::format_args!(#format #(, #arguments)*)));
    (text, optional)
}

/// Returns whether a type is written as an `Option`; serde recognizes it in the same way.
pub(super) fn is_option(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|it| it.ident == "Option"),
        Type::Group(group) => is_option(&group.elem),
        _ => false,
    }
}
