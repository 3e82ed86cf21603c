//! `#[derive(Event)]`: on a struct, on an enum whose variants are the events, and on an enum that
//! joins events.

mod attributes;
mod reading;
mod rename;
mod serde_attributes;
mod subject;
mod tag;

mod enumeration;
mod join;
mod structure;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, GenericParam, LitStr, Path, Result, parse_quote};

use self::attributes::{EnumAttributes, TypeAttributes};
use crate::attribute::{is_deprecated, place_of, plain_name};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    refuse_generics(input)?;
    match &input.data {
        Data::Struct(data) => structure::expand(input, data),
        Data::Enum(data) => {
            if data.variants.is_empty() {
                return Err(Error::new_spanned(
                    &input.ident,
                    "an enum of events has a variant for each kind of event; add one, such as \
                     `Registered { name: String }`",
                ));
            }
            let attributes = EnumAttributes::read(&input.attrs)?;
            if attributes.join.is_some() {
                join::expand(input, data, &attributes)
            } else {
                enumeration::expand(input, data, &attributes)
            }
        }
        Data::Union(data) => Err(Error::new_spanned(
            data.union_token,
            "an event is an enum or a struct, not a union",
        )),
    }
}

/// Expands to the error and an implementation that is never run, so that one mistake is reported
/// once and not at every use of the event.
pub(crate) fn expand_error(input: &DeriveInput, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    if !input.generics.params.is_empty() {
        return error;
    }
    let implementation = Implementation {
        input,
        krate: parse_quote!(::retold),
        types: quote!(&[]),
        type_index: quote!(0),
        tags: None,
        subjects: None,
        serialize: quote!(::core::unreachable!()),
        deserialize: quote!(::core::unreachable!()),
        past: TokenStream::new(),
    }
    .into_tokens();
    quote!(#error #implementation)
}

fn refuse_generics(input: &DeriveInput) -> Result<()> {
    let Some(parameter) = input.generics.params.first() else {
        return Ok(());
    };
    let message = match parameter {
        GenericParam::Lifetime(_) => {
            "an event must own its fields, because it outlives the values it was created from; \
             replace borrowed fields by owned ones, such as `&str` by `String`"
        }
        GenericParam::Type(_) | GenericParam::Const(_) => {
            "an event has no generic parameters: its topic identifies one Rust type; write the \
             concrete types in its fields, or an event for each"
        }
    };
    Err(Error::new_spanned(parameter, message))
}

/// The parts of every implementation of `Event`.
///
/// Names that it binds begin with `__`, so that they do not refer to a type, constant or parameter
/// of the user, and all paths are absolute, because the user may have an `Option` or a module
/// `core`.
struct Implementation<'i> {
    input: &'i DeriveInput,
    krate: Path,
    types: TokenStream,
    type_index: TokenStream,
    /// The body of `tags`, if it has any.
    tags: Option<TokenStream>,
    /// The body of `subjects`, if it has any.
    subjects: Option<TokenStream>,
    serialize: TokenStream,
    deserialize: TokenStream,
    /// The methods that read events of other shapes, and erased ones.
    past: TokenStream,
}

impl Implementation<'_> {
    fn into_tokens(self) -> TokenStream {
        let Self {
            input,
            krate,
            types,
            type_index,
            tags,
            subjects,
            serialize,
            deserialize,
            past,
        } = self;
        let name = &input.ident;
        let deprecated = match &input.data {
            Data::Enum(data) => data.variants.iter().any(|it| is_deprecated(&it.attrs)),
            _ => false,
        };
        let allow =
            (deprecated || is_deprecated(&input.attrs)).then(|| quote!(#[allow(deprecated)]));
        let tags = tags.map(|body| {
            quote! {
                fn tags(&self) -> #krate::domain::Tags {
                    #body
                }
            }
        });
        let subjects = subjects.map(|body| {
            quote! {
                fn subjects(&self) -> ::std::vec::Vec<#krate::domain::SubjectPart> {
                    #body
                }
            }
        });
        quote! {
            #[automatically_derived]
            #allow
            impl #krate::domain::Event for #name {
                const TYPES: &'static [#krate::domain::EventType] = #types;

                fn type_index(&self) -> ::core::primitive::usize {
                    #type_index
                }

                #tags

                #subjects

                fn serialize_payload<__S: #krate::serde::Serializer>(
                    &self,
                    __serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #serialize
                }

                fn deserialize_payload<'de, __D: #krate::serde::Deserializer<'de>>(
                    __type_index: ::core::primitive::usize,
                    __deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    #deserialize
                }

                #past
            }
        }
    }
}

/// Returns a type as a constant expression. `part` is the part of the Rust type that is its
/// content.
fn event_type(
    krate: &Path,
    topic: &LitStr,
    former_topics: &[LitStr],
    attributes: &TypeAttributes,
    part: &TokenStream,
) -> TokenStream {
    let former = (!former_topics.is_empty()).then(|| quote!(.formerly(&[#(#former_topics),*])));
    let revision = attributes.revision.as_ref();
    let revision = revision.map(|it| quote!(.revision(#it)));
    let shapes = reading::shapes_of(krate, attributes);
    let content = reading::content_source(krate, &quote!(Self), part);
    quote! {
        #krate::domain::EventType::of::<Self>(#topic) #former #revision #shapes .content(#content)
    }
}

/// Returns the check that rejects, at compile time, two types with the same topic.
fn check_topics(krate: &Path, name: &syn::Ident) -> TokenStream {
    let text = LitStr::new(&plain_name(name), name.span());
    quote_spanned! {place_of(name.span())=>
        const _: () = #krate::domain::check_distinct_topics(
            #text,
            <#name as #krate::domain::Event>::TYPES,
        );
    }
}
