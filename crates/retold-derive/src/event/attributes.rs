//! The `#[event(…)]` attributes of structs, enums and variants.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, Type, parse_quote};

use super::reading::{ErasedRule, Shape, check_shapes, erased_rule, shapes, types};
use super::tag::Template;
use crate::attribute::{number, path, read_attributes, set_once, text, texts, unknown_key};
use crate::name::check_topic;

/// Attributes that structs and variants have in common.
#[derive(Default)]
pub(super) struct TypeAttributes {
    pub(super) topic: Option<LitStr>,
    pub(super) former_topics: Vec<LitStr>,
    pub(super) revision: Option<LitInt>,
    pub(super) tags: Vec<Template>,
    /// The older shapes, in ascending order of their revisions.
    pub(super) from: Vec<Shape>,
    /// The newer shapes, in ascending order of their revisions.
    pub(super) ahead: Vec<Shape>,
    pub(super) erased: Option<ErasedRule>,
    /// Whose data the whole event is.
    pub(super) subject: Option<Template>,
}

impl TypeAttributes {
    /// Reads the key, if it is one of these.
    fn read_key(&mut self, meta: &ParseNestedMeta<'_>) -> Result<Option<()>> {
        if meta.path.is_ident("topic") {
            let topic = checked_topic(text(meta)?)?;
            set_once(&mut self.topic, meta, topic)?;
        } else if meta.path.is_ident("formerly") {
            let topics = texts(meta)?.into_iter().map(checked_topic);
            self.former_topics
                .extend(topics.collect::<Result<Vec<_>>>()?);
        } else if meta.path.is_ident("revision") {
            let revision = number(meta, 1, u32::MAX.into())?;
            set_once(&mut self.revision, meta, revision)?;
        } else if meta.path.is_ident("tag") {
            self.tags.push(Template::parse(text(meta)?)?);
        } else if meta.path.is_ident("from") {
            self.from.extend(shapes(meta)?);
        } else if meta.path.is_ident("ahead") {
            self.ahead.extend(shapes(meta)?);
        } else if meta.path.is_ident("erased") {
            set_once(&mut self.erased, meta, erased_rule(meta)?)?;
        } else if meta.path.is_ident("subject") {
            set_once(&mut self.subject, meta, Template::parse(text(meta)?)?)?;
        } else {
            return Ok(None);
        }
        Ok(Some(()))
    }

    /// Checks that the shapes are in order and around the present revision.
    fn check_shapes(&self) -> Result<()> {
        check_shapes(self.revision.as_ref(), &self.from, &self.ahead)
    }

    pub(super) fn of_variant(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        read_attributes(attributes, "event", |meta| {
            if read.read_key(&meta)?.is_some() {
                return Ok(());
            }
            for (key, place) in [
                (
                    "tags",
                    "one function returns the tags of all variants: write `tags` on the enum",
                ),
                ("join", "write `join` on the enum"),
                ("past", "write `past` on the enum"),
                ("crate", "write `crate` on the enum"),
            ] {
                if meta.path.is_ident(key) {
                    return Err(meta.error(place));
                }
            }
            Err(unknown_key(
                &meta,
                "a variant",
                &[
                    "topic", "formerly", "revision", "tag", "subject", "from", "ahead", "erased",
                ],
            ))
        })?;
        read.check_shapes()?;
        Ok(read)
    }
}

fn checked_topic(topic: LitStr) -> Result<LitStr> {
    check_topic(&topic.value(), topic.span())?;
    Ok(topic)
}

/// Attributes of a type as a whole, whether struct or enum.
pub(super) struct Common {
    pub(super) krate: Path,
    pub(super) tag_functions: Vec<Path>,
    /// The events that are no longer recorded and are read as this one.
    pub(super) past: Vec<Type>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            krate: parse_quote!(::retold),
            tag_functions: Vec::new(),
            past: Vec::new(),
        }
    }
}

impl Common {
    fn read_key(&mut self, meta: &ParseNestedMeta<'_>) -> Result<Option<()>> {
        if meta.path.is_ident("tags") {
            self.tag_functions.push(path(meta)?);
        } else if meta.path.is_ident("past") {
            self.past.extend(types(meta)?);
        } else if meta.path.is_ident("crate") {
            self.krate = path(meta)?;
        } else {
            return Ok(None);
        }
        Ok(Some(()))
    }
}

/// Attributes of a struct.
#[derive(Default)]
pub(super) struct StructAttributes {
    pub(super) common: Common,
    pub(super) own: TypeAttributes,
}

impl StructAttributes {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        read_attributes(attributes, "event", |meta| {
            if read.common.read_key(&meta)?.is_some() || read.own.read_key(&meta)?.is_some() {
                return Ok(());
            }
            if meta.path.is_ident("join") {
                return Err(meta.error(
                    "only an enum joins events: `enum DogEvent { Registered(Registered), \
                     TrickAdded(TrickAdded) }`",
                ));
            }
            Err(unknown_key(
                &meta,
                "an event",
                &[
                    "topic", "formerly", "revision", "tag", "tags", "subject", "from", "ahead",
                    "erased", "past", "crate",
                ],
            ))
        })?;
        read.own.check_shapes()?;
        Ok(read)
    }
}

/// Attributes of an enum.
#[derive(Default)]
pub(super) struct EnumAttributes {
    pub(super) common: Common,
    pub(super) prefix: Option<LitStr>,
    pub(super) former_prefixes: Vec<LitStr>,
    pub(super) tags: Vec<Template>,
    /// Whose data the events of all variants are.
    pub(super) subject: Option<Template>,
    pub(super) join: Option<Span>,
    /// For all variants without a rule of their own.
    pub(super) erased: Option<ErasedRule>,
    erased_span: Option<Span>,
}

impl EnumAttributes {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        read_attributes(attributes, "event", |meta| {
            if read.common.read_key(&meta)?.is_some() {
                return Ok(());
            }
            if meta.path.is_ident("topic") {
                let prefix = checked_topic(text(&meta)?)?;
                set_once(&mut read.prefix, &meta, prefix)?;
            } else if meta.path.is_ident("formerly") {
                let prefixes = texts(&meta)?.into_iter().map(checked_topic);
                read.former_prefixes
                    .extend(prefixes.collect::<Result<Vec<_>>>()?);
            } else if meta.path.is_ident("tag") {
                read.tags.push(Template::parse(text(&meta)?)?);
            } else if meta.path.is_ident("subject") {
                set_once(&mut read.subject, &meta, Template::parse(text(&meta)?)?)?;
            } else if meta.path.is_ident("join") {
                set_once(&mut read.join, &meta, meta.path.segments[0].ident.span())?;
            } else if meta.path.is_ident("erased") {
                set_once(&mut read.erased, &meta, erased_rule(&meta)?)?;
                read.erased_span = Some(meta.path.segments[0].ident.span());
            } else if ["revision", "from", "ahead"]
                .iter()
                .any(|it| meta.path.is_ident(it))
            {
                return Err(meta.error(
                    "every variant has a revision of its own; write `#[event(revision = …)]` on \
                     the variant that changed",
                ));
            } else {
                return Err(unknown_key(
                    &meta,
                    "an enum of events",
                    &[
                        "topic", "formerly", "tag", "tags", "subject", "join", "erased", "past",
                        "crate",
                    ],
                ));
            }
            Ok(())
        })?;
        Ok(read)
    }

    /// Rejects attributes that an enum that joins events cannot have.
    pub(super) fn check_join(&self) -> Result<()> {
        if let Some(span) = self.erased_span {
            return Err(Error::new(
                span,
                "what an erased event is read as belongs to the joined events; write this on their \
                 structs",
            ));
        }
        let topics = self.prefix.iter().chain(&self.former_prefixes);
        let given = topics
            .map(LitStr::span)
            .chain(self.tags.iter().map(Template::span))
            .chain(self.subject.iter().map(Template::span))
            .chain(
                self.common
                    .tag_functions
                    .iter()
                    .map(syn::spanned::Spanned::span),
            );
        match given.into_iter().next() {
            Some(span) => Err(Error::new(
                span,
                "topics, tags and subjects are those of the joined events; write this on their \
                 structs",
            )),
            None => Ok(()),
        }
    }
}
