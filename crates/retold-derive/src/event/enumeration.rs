//! An enum of events: a type for each variant.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataEnum, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Variant};

use super::attributes::{EnumAttributes, TypeAttributes};
use super::reading::{PastReading, all_types, erased_read, shape_reads};
use super::rename::RenameRule;
use super::serde_attributes::of_all_fields;
use super::subject::{Enclosing, Subjects};
use super::tag::{Template, insertions};
use super::{Implementation, check_topics, event_type, serde_attributes};
use crate::attribute::{place_of, plain_name};
use crate::name::check_topic;

/// A variant with its attributes.
struct Kind<'v> {
    variant: &'v Variant,
    topic: LitStr,
    former_topics: Vec<LitStr>,
    own: TypeAttributes,
    /// The enum's tags, then its own.
    tags: Vec<Template>,
    subjects: Subjects<'v>,
}

pub(super) fn expand(
    input: &DeriveInput,
    data: &DataEnum,
    attributes: &EnumAttributes,
) -> Result<TokenStream> {
    let name = &input.ident;
    let krate = &attributes.common.krate;
    serde_attributes::check_enum(&input.attrs)?;
    check_enum_tags(data, attributes)?;
    let (rename_all_fields, _) = of_all_fields(&input.attrs, "rename_all_fields");
    let kinds = data
        .variants
        .iter()
        .map(|variant| Kind::read(name, attributes, rename_all_fields, variant))
        .collect::<Result<Vec<_>>>()?;
    check_distinct(
        kinds
            .iter()
            .flat_map(|it| std::iter::once(&it.topic).chain(&it.former_topics)),
    )?;

    let parts = content_parts(&kinds);
    let types = kinds
        .iter()
        .zip(&parts)
        .map(|(it, part)| event_type(krate, &it.topic, &it.former_topics, &it.own, part));
    let count = kinds.len();
    let past_events = &attributes.common.past;
    let types = all_types(krate, &quote!(&[#(#types),*]), &quote!(#count), past_events);
    let check = (!past_events.is_empty()).then(|| check_topics(krate, name));
    let variants = kinds.iter().map(|it| &it.variant.ident);
    let indexes = 0..kinds.len();
    // Spanned like the name, so that a missing `Serialize` is reported there.
    let span = place_of(name.span());
    let checks = kinds.iter().filter_map(|it| it.join_check(krate));
    let checks: TokenStream = checks.collect();
    let implementation = Implementation {
        input,
        krate: krate.clone(),
        types,
        type_index: quote! {
            match self {
                #(Self::#variants { .. } => #indexes,)*
            }
        },
        tags: tags(attributes, &kinds),
        subjects: subjects(krate, &kinds),
        serialize: quote_spanned! {span=>
            #krate::domain::content::serialize_variant::<Self, __S>(self, __serializer)
        },
        deserialize: quote_spanned! {span=>
            #krate::domain::content::deserialize_variant::<Self, __D>(__type_index, __deserializer)
        },
        past: past_reading(attributes, &kinds).into_methods(),
    }
    .into_tokens();
    Ok(quote!(#implementation #checks #check))
}

impl<'v> Kind<'v> {
    fn read(
        name: &Ident,
        attributes: &EnumAttributes,
        rename_all_fields: Option<RenameRule>,
        variant: &'v Variant,
    ) -> Result<Self> {
        serde_attributes::check_variant(&variant.attrs)?;
        let own = TypeAttributes::of_variant(&variant.attrs)?;
        for template in &own.tags {
            if let Some(missing) = template.missing_field(&variant.fields) {
                return Err(template.fields_are_missing_error(&variant.fields, missing));
            }
        }
        let tags: Vec<Template> = attributes.tags.iter().chain(&own.tags).cloned().collect();
        let (rename_all, _) = of_all_fields(&variant.attrs, "rename_all");
        let enclosing = Enclosing {
            rename_all: rename_all.or(rename_all_fields),
            has_defaults: false,
        };
        let whole = own.subject.as_ref().or(attributes.subject.as_ref());
        let subjects = Subjects::read(whole, &variant.fields, enclosing)?;
        subjects.check_erased(own.erased.is_some() || attributes.erased.is_some())?;
        subjects.check_tags(tags.iter())?;
        let prefix = match &attributes.prefix {
            Some(given) => given.value(),
            None => plain_name(name),
        };
        let suffix = plain_name(&variant.ident);
        let derived = |prefix: &str, span| LitStr::new(&format!("{prefix}.{suffix}"), span);
        let mut former_topics = own.former_topics.clone();
        let topic = if let Some(given) = &own.topic {
            given.clone()
        } else {
            let former = attributes.former_prefixes.iter();
            former_topics.extend(former.map(|it| derived(&it.value(), it.span())));
            derived(&prefix, variant.ident.span())
        };
        for topic in std::iter::once(&topic).chain(&former_topics) {
            check_topic(&topic.value(), topic.span())?;
        }
        Ok(Self {
            variant,
            topic,
            former_topics,
            own,
            tags,
            subjects,
        })
    }

    /// Returns the check that rejects, at compile time, a variant of one event in an enum without
    /// `join`.
    fn join_check(&self, krate: &Path) -> Option<TokenStream> {
        let Fields::Unnamed(fields) = &self.variant.fields else {
            return None;
        };
        let [field] = fields.unnamed.iter().collect::<Vec<_>>()[..] else {
            return None;
        };
        let ty = &field.ty;
        let message = format!(
            "`{}` is itself an event; write `#[event(join)]` on the enum, so that its topic and \
             tags are kept",
            ty.to_token_stream()
        );
        Some(quote_spanned! {place_of(ty.span())=>
            const _: () = {
                #[allow(unused_imports)]
                use #krate::domain::NoJoin as _;
                ::core::assert!(!#krate::domain::ForgottenJoin::<#ty>::FORGOTTEN, #message);
            };
        })
    }

    /// Returns the arm of `tags` for this variant.
    fn tag_arm(&self, krate: &Path) -> Option<TokenStream> {
        let ident = &self.variant.ident;
        let (pattern, statements) = insertions(krate, &self.tags, &self.variant.fields);
        (!self.tags.is_empty()).then(|| quote!(Self::#ident #pattern => { #statements }))
    }
}

/// Returns for each variant which part of the enum is its content.
fn content_parts(kinds: &[Kind<'_>]) -> Vec<TokenStream> {
    let has_fields = |it: &Kind<'_>| !matches!(it.variant.fields, Fields::Unit);
    let count = kinds.iter().filter(|it| has_fields(it)).count();
    let mut index: usize = 0;
    let part = |it: &Kind<'_>| {
        if !has_fields(it) {
            return quote!(Nothing);
        }
        let part = quote!(Variant { index: #index, count: #count });
        index += 1;
        part
    };
    kinds.iter().map(part).collect()
}

/// Returns how events of other shapes, past events and erased ones are read.
fn past_reading<'a>(attributes: &'a EnumAttributes, kinds: &[Kind<'_>]) -> PastReading<'a> {
    let krate = &attributes.common.krate;
    let (count, kinds) = (kinds.len(), kinds.iter().enumerate());
    let erased = kinds.clone().filter_map(|(index, it)| {
        let rule = it.own.erased.as_ref().or(attributes.erased.as_ref())?;
        Some(erased_read(krate, index, rule))
    });
    PastReading {
        krate,
        erased: erased.collect(),
        reads: kinds
            .filter_map(|(index, it)| shape_reads(krate, index, &it.own))
            .collect(),
        own_count: quote!(#count),
        past: &attributes.common.past,
        erased_rule: attributes.erased.as_ref(),
    }
}

/// Returns the body of `tags`, or `None` if no variant has any.
fn tags(attributes: &EnumAttributes, kinds: &[Kind<'_>]) -> Option<TokenStream> {
    let krate = &attributes.common.krate;
    let functions = &attributes.common.tag_functions;
    let arms: Vec<_> = kinds.iter().filter_map(|it| it.tag_arm(krate)).collect();
    if arms.is_empty() && functions.is_empty() {
        return None;
    }
    let others: Vec<_> = kinds
        .iter()
        .filter(|it| it.tags.is_empty())
        .map(|it| &it.variant.ident)
        .collect();
    let others = (!others.is_empty()).then(|| quote!(#(Self::#others { .. })|* => {}));
    let by_variant = (!arms.is_empty()).then(|| quote!(match self { #(#arms)* #others }));
    Some(quote! {
        let mut __tags = #krate::domain::Tags::new();
        #by_variant
        #(#krate::domain::add_tags(&mut __tags, #functions(self));)*
        __tags
    })
}

/// Returns the body of `subjects`, or `None` if no variant has any.
fn subjects(krate: &Path, kinds: &[Kind<'_>]) -> Option<TokenStream> {
    let arms: Vec<_> = kinds
        .iter()
        .filter_map(|it| {
            let ident = &it.variant.ident;
            let (pattern, parts) = it.subjects.parts(krate)?;
            Some(quote!(Self::#ident #pattern => #parts,))
        })
        .collect();
    let others = (arms.len() < kinds.len()).then(|| quote!(_ => ::std::vec::Vec::new(),));
    (!arms.is_empty()).then(|| quote!(match self { #(#arms)* #others }))
}

/// Checks that every variant has the fields of each tag of the enum. A variant that silently lacked
/// a tag would be missing from every query for it.
fn check_enum_tags(data: &DataEnum, attributes: &EnumAttributes) -> Result<()> {
    for template in &attributes.tags {
        for variant in &data.variants {
            if let Some(missing) = template.missing_field(&variant.fields) {
                return Err(Error::new(
                    template.span(),
                    format!(
                        "the variant `{}` has no field `{missing}`, which this tag of the enum \
                         names; write the tag on the variants that have the field",
                        variant.ident
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Rejects duplicate topics.
fn check_distinct<'t>(topics: impl Iterator<Item = &'t LitStr>) -> Result<()> {
    let mut seen: Vec<(String, &LitStr)> = Vec::new();
    for topic in topics {
        let text = topic.value();
        if let Some((_, first)) = seen.iter().find(|(it, _)| *it == text) {
            let mut error = Error::new(
                topic.span(),
                format!(
                    "the topic `{text}` is used twice: an event recorded under it could be \
                     either variant; give one of them another with `#[event(topic = \"…\")]`"
                ),
            );
            error.combine(Error::new(first.span(), "the topic is first used here"));
            return Err(error);
        }
        seen.push((text, topic));
    }
    Ok(())
}
