//! Subjects of events: whose data an event, or a field of it, is.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, Field, Fields, Ident, LitStr, Member, Path, Result};

use super::rename::RenameRule;
use super::serde_attributes::{SerdeNames, names_of};
use super::tag::{Template, formatted, is_option};
use crate::attribute::{plain_name, read_attributes, set_once, text, unknown_key};

/// What of a struct or a variant is data of subjects.
pub(super) struct Subjects<'f> {
    fields: &'f Fields,
    whole: Option<Template>,
    of_fields: Vec<SubjectField>,
}

/// A field that is data of a subject.
struct SubjectField {
    subject: Template,
    /// Its name in Rust.
    ident: String,
    /// The name under which serde writes it.
    name: String,
    may_be_absent: bool,
}

/// The serde attributes of what encloses fields.
#[derive(Clone, Copy, Default)]
pub(super) struct Enclosing {
    pub(super) rename_all: Option<RenameRule>,
    /// Whether missing fields have defaults.
    pub(super) has_defaults: bool,
}

impl<'f> Subjects<'f> {
    /// Reads the attributes of the fields. `whole` is the subject of the struct or variant.
    pub(super) fn read(
        whole: Option<&Template>,
        fields: &'f Fields,
        enclosing: Enclosing,
    ) -> Result<Self> {
        let mut of_fields = Vec::new();
        for field in fields {
            if let Some(subject) = of_field(&field.attrs)? {
                if whole.is_some() {
                    return Err(Error::new(
                        subject.span(),
                        "the whole event is data of a subject; leave this out, or write `subject` \
                         only on fields",
                    ));
                }
                of_fields.push(SubjectField::read(subject, field, enclosing)?);
            }
        }
        let subjects = of_fields.iter().map(|it| &it.subject).chain(whole);
        for subject in subjects {
            if let Some(missing) = subject.missing_field(fields) {
                return Err(subject.fields_are_missing_error(fields, missing));
            }
            if let Some(optional) = subject.find_field(fields, |field| is_option(&field.ty)) {
                return Err(Error::new(
                    subject.span(),
                    format!(
                        "the field `{optional}` may be missing, and then the data would have no \
                         subject; a subject names fields that are always there"
                    ),
                ));
            }
            if subject.names_no_field() {
                return Err(Error::new(
                    subject.span(),
                    "a subject names the person by a field, as in `customer:{id}`",
                ));
            }
        }
        for it in &of_fields {
            let mut others = of_fields.iter().map(|other| &other.subject);
            if let Some(naming) = others.find(|other| other.names(&it.ident)) {
                return Err(Error::new(
                    naming.span(),
                    format!(
                        "the field `{}`, which this names, is itself data of a subject: once that \
                         is forgotten, it is not known whose data the event had",
                        it.ident
                    ),
                ));
            }
        }
        Ok(Self {
            fields,
            whole: whole.cloned(),
            of_fields,
        })
    }

    /// Checks that the type says what an event is read as whose whole content was forgotten.
    pub(super) fn check_erased(&self, is_declared: bool) -> Result<()> {
        match &self.whole {
            Some(whole) if !is_declared => Err(Error::new(
                whole.span(),
                "once the subject is forgotten, the event is read without its content; say what it \
                 is read as then: write `erased = skip` (nothing) or `erased = function` (an event \
                 that the function returns) next to `subject`",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that no tag has data of a subject: tags are stored as they are, and stay.
    pub(super) fn check_tags<'t>(&self, tags: impl Iterator<Item = &'t Template>) -> Result<()> {
        for tag in tags {
            if let Some(field) = self.of_fields.iter().find(|it| tag.names(&it.ident)) {
                return Err(Error::new(
                    tag.span(),
                    format!(
                        "the field `{}`, which this tag names, is data of a subject: tags are \
                         stored without encryption, and stay when the subject is forgotten; name \
                         another field",
                        field.ident
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns the pattern that binds the fields, without the path, and the parts as an expression;
    /// none if nothing is data of a subject.
    pub(super) fn parts(&self, krate: &Path) -> Option<(TokenStream, TokenStream)> {
        let mut bound: Vec<(Member, Ident)> = Vec::new();
        let mut parts = Vec::new();
        if let Some(whole) = &self.whole {
            let subject = formatted(krate, whole, self.fields, &mut bound);
            parts.push(quote!(#krate::domain::SubjectPart::whole(#subject)));
        }
        for it in &self.of_fields {
            let subject = formatted(krate, &it.subject, self.fields, &mut bound);
            let name = LitStr::new(&it.name, it.subject.span());
            let absent = it.may_be_absent.then(|| quote!(.may_be_absent()));
            parts.push(quote!(#krate::domain::SubjectPart::field(#subject, #name) #absent));
        }
        let bindings = bound.iter().map(|(member, ident)| quote!(#member: #ident));
        (!parts.is_empty()).then(|| {
            (
                quote!({ #(#bindings,)* .. }),
                quote!(::std::vec::Vec::from([#(#parts),*])),
            )
        })
    }
}

impl SubjectField {
    fn read(subject: Template, field: &Field, enclosing: Enclosing) -> Result<Self> {
        let error = |what: &str| Err(Error::new(subject.span(), what));
        let Some(ident) = &field.ident else {
            return error(
                "only a field with a name can be data of a subject; write `subject` on the event, \
                 or give the field a name",
            );
        };
        let SerdeNames {
            rename,
            is_flattened,
            is_skipped,
            may_be_absent,
            has_default,
            has_own_code,
            ..
        } = names_of(&field.attrs);
        if is_flattened {
            return error(
                "a flattened field has no name of its own; write `subject` on the event, or do not \
                 flatten the field",
            );
        }
        if is_skipped {
            return error("serde does not record this field; leave `subject` out");
        }
        let is_absent_none = is_option(&field.ty) && !has_own_code;
        if !has_default && !enclosing.has_defaults && !is_absent_none {
            return error(
                "once the subject is forgotten, the event is read without this field; say what it \
                 is then: make it an `Option`, or write `#[serde(default)]` or `#[serde(default = \
                 \"…\")]` on it",
            );
        }
        let plain = plain_name(ident);
        let name = rename.unwrap_or_else(|| match enclosing.rename_all {
            Some(rule) => rule.apply(&plain),
            None => plain.clone(),
        });
        Ok(Self {
            subject,
            ident: plain,
            name,
            may_be_absent,
        })
    }
}

/// Returns the subject of a field.
fn of_field(attributes: &[Attribute]) -> Result<Option<Template>> {
    let mut subject = None;
    read_attributes(attributes, "event", |meta| {
        if meta.path.is_ident("subject") {
            return set_once(&mut subject, &meta, Template::parse(text(&meta)?)?);
        }
        for key in [
            "topic", "formerly", "revision", "tag", "tags", "join", "crate",
        ] {
            if meta.path.is_ident(key) {
                return Err(meta.error(format!(
                    "`#[event({key} …)]` is not allowed on a field; write it on the struct or the \
                     variant"
                )));
            }
        }
        Err(unknown_key(&meta, "a field", &["subject"]))
    })?;
    Ok(subject)
}
