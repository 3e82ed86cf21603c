//! How stored events are read that differ from the present type: older and newer shapes, events
//! that are no longer recorded, and erased ones.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, LitInt, Path, Result, Token, Type, parenthesized};

use super::attributes::TypeAttributes;
use crate::attribute::{key, place_of};

/// A shape with its revision: `1 = DogRegisteredV1`.
#[derive(Clone)]
pub(super) struct Shape {
    revision: LitInt,
    ty: Type,
}

impl Shape {
    fn number(&self) -> Result<u32> {
        self.revision.base10_parse()
    }
}

impl Parse for Shape {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let revision = input.parse()?;
        input.parse::<Token![=]>()?;
        let ty = input.parse()?;
        Ok(Self { revision, ty })
    }
}

/// What an erased event is read as.
#[derive(Clone)]
pub(super) enum ErasedRule {
    /// As nothing.
    Skip,
    /// As the result of this function.
    Value(Path),
}

/// Returns the shapes in `key(1 = Type, …)`.
pub(super) fn shapes(meta: &ParseNestedMeta<'_>) -> Result<Vec<Shape>> {
    let example = format!(
        "write the revisions with their types: `{}(1 = DogRegisteredV1, 2 = DogRegisteredV2)`",
        key(meta)
    );
    listed(meta, &example)
}

/// Returns the types in `key(Type, …)`.
pub(super) fn types(meta: &ParseNestedMeta<'_>) -> Result<Vec<Type>> {
    let example = format!("write a list of events: `{}(DogMoved, DogSold)`", key(meta));
    listed(meta, &example)
}

fn listed<T: Parse>(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Vec<T>> {
    if !meta.input.peek(syn::token::Paren) {
        return Err(meta.error(example));
    }
    let content;
    parenthesized!(content in meta.input);
    let items = content
        .parse_terminated(T::parse, Token![,])
        .map_err(|error| Error::new(error.span(), example))?;
    if items.is_empty() {
        return Err(meta.error(example));
    }
    Ok(items.into_iter().collect())
}

/// Returns the rule after `erased = `.
pub(super) fn erased_rule(meta: &ParseNestedMeta<'_>) -> Result<ErasedRule> {
    let example = "write `erased = skip`, or `erased = path` with a function that returns what an \
                   erased event is read as";
    let value = meta.value().map_err(|_| meta.error(example))?;
    let path = value
        .call(Path::parse_mod_style)
        .map_err(|error| Error::new(error.span(), example))?;
    Ok(match path.is_ident("skip") {
        true => ErasedRule::Skip,
        false => ErasedRule::Value(path),
    })
}

/// Checks that the revisions of the shapes ascend, the older ones below the present revision and
/// the newer ones above it.
pub(super) fn check_shapes(
    present: Option<&LitInt>,
    from: &[Shape],
    ahead: &[Shape],
) -> Result<()> {
    let present = present.map_or(Ok(1), LitInt::base10_parse::<u32>)?;
    let mut before = 0;
    for shape in from {
        let number = shape.number()?;
        if number >= present {
            return Err(Error::new(
                shape.revision.span(),
                format!(
                    "the present revision is {present}, so an older shape has a revision below it; \
                     write `revision = {}` if the shape has changed since, or `ahead` for a shape \
                     that a newer program records",
                    number.saturating_add(1)
                ),
            ));
        }
        check_ascending(shape, &mut before)?;
    }
    before = present;
    for shape in ahead {
        if shape.number()? <= present {
            return Err(Error::new(
                shape.revision.span(),
                format!(
                    "the present revision is {present}, so a newer shape has a revision above it; \
                     write `from` for an older shape"
                ),
            ));
        }
        check_ascending(shape, &mut before)?;
    }
    Ok(())
}

fn check_ascending(shape: &Shape, before: &mut u32) -> Result<()> {
    let number = shape.number()?;
    if number <= *before {
        return Err(Error::new(
            shape.revision.span(),
            "revisions start at 1, and their list ascends, each revision once",
        ));
    }
    *before = number;
    Ok(())
}

/// Returns the part of an event type's constant expression that lists its shapes, if it has any.
pub(super) fn shapes_of(krate: &Path, attributes: &TypeAttributes) -> Option<TokenStream> {
    let shapes: Vec<_> = attributes.from.iter().chain(&attributes.ahead).collect();
    let items = shapes.iter().map(|Shape { revision, ty }| {
        let content = content_source(krate, &quote!(#ty), &quote!(Whole));
        quote!(#krate::domain::EventShape::of::<#ty>(#revision).content(#content))
    });
    (!shapes.is_empty()).then(|| quote!(.shapes(&[#(#items),*])))
}

/// Returns the constant expression for where the schemas of a type's content come from. `part` is
/// the part of the type that is the content.
pub(super) fn content_source(krate: &Path, ty: &TokenStream, part: &TokenStream) -> TokenStream {
    quote! {
        #krate::domain::ContentSource::new(
            {
                #[allow(unused_imports)]
                use #krate::domain::NoSchema as _;
                #krate::domain::SchemaOf::<#ty>::GENERATE
            },
            #krate::domain::ContentPart::#part,
        )
    }
}

/// The constant expressions of the types of past events, each of type `&'static [EventType]`.
pub(super) fn past_types<'p>(
    krate: &Path,
    past: &'p [Type],
) -> impl Iterator<Item = TokenStream> + use<'p> {
    let krate = krate.clone();
    past.iter().map(move |ty| {
        quote_spanned! {place_of(ty.span())=>
            const {
                &#krate::domain::past_types::<{ <#ty as #krate::domain::Event>::TYPES.len() }>(
                    <#ty as #krate::domain::Event>::TYPES,
                )
            }
        }
    })
}

/// Returns the constant expression of all types: the own ones, and those of past events.
pub(super) fn all_types(
    krate: &Path,
    own: &TokenStream,
    own_count: &TokenStream,
    past: &[Type],
) -> TokenStream {
    if past.is_empty() {
        return own.clone();
    }
    let counts = past.iter().map(|ty| count_of(krate, ty));
    let parts = past_types(krate, past);
    quote! {
        &#krate::domain::join_types::<{ #own_count #(+ #counts)* }>(&[#own, #(#parts),*])
    }
}

fn count_of(krate: &Path, ty: &Type) -> TokenStream {
    quote_spanned!(place_of(ty.span())=> <#ty as #krate::domain::Event>::TYPES.len())
}

/// The arms that read the own types of an event, and the past events after them.
pub(super) struct PastReading<'a> {
    pub(super) krate: &'a Path,
    /// Statements that return if they read the type with the index `__type_index`.
    pub(super) reads: TokenStream,
    /// Statements that return if an erased event of the type with this index is declared.
    pub(super) erased: TokenStream,
    /// The number of own types.
    pub(super) own_count: TokenStream,
    pub(super) past: &'a [Type],
    /// For past events that declare no rule.
    pub(super) erased_rule: Option<&'a ErasedRule>,
}

impl PastReading<'_> {
    /// Returns the methods of `Event`; nothing if the defaults of the trait do.
    pub(super) fn into_methods(self) -> TokenStream {
        let (reads, erased) = (self.read_past(), self.erased());
        quote!(#reads #erased)
    }

    fn read_past(&self) -> Option<TokenStream> {
        let Self { krate, reads, .. } = self;
        if reads.is_empty() && self.past.is_empty() {
            return None;
        }
        let past = self.over_past(|ty| {
            quote! {
                return #krate::domain::read_past_as::<#ty, Self, __D>(
                    __index,
                    __deserializer,
                    __past,
                );
            }
        });
        Some(quote! {
            fn read_past<'de, __D: #krate::serde::Deserializer<'de>>(
                __type_index: ::core::primitive::usize,
                __deserializer: __D,
                __past: &#krate::domain::PastEvent<'_>,
            ) -> ::core::result::Result<#krate::domain::Upcasted<Self>, __D::Error> {
                #reads
                #past
                let __event = <Self as #krate::domain::Event>::deserialize_payload(
                    __type_index,
                    __deserializer,
                )?;
                ::core::result::Result::Ok(::core::result::Result::Ok(
                    #krate::domain::Decoded::One(__event),
                ))
            }
        })
    }

    fn erased(&self) -> Option<TokenStream> {
        let Self { krate, erased, .. } = self;
        if erased.is_empty() && self.past.is_empty() {
            return None;
        }
        let otherwise = match self.erased_rule {
            Some(rule) => erased_value(krate, rule),
            None => quote!(::core::option::Option::None),
        };
        let past = self.over_past(|ty| {
            quote! {
                return match #krate::domain::erased_past_as::<#ty, Self>(__index, __past) {
                    ::core::option::Option::None => #otherwise,
                    __declared => __declared,
                };
            }
        });
        Some(quote! {
            fn erased(
                __type_index: ::core::primitive::usize,
                __past: &#krate::domain::PastEvent<'_>,
            ) -> ::core::option::Option<#krate::domain::Upcasted<Self>> {
                #erased
                #past
                ::core::option::Option::None
            }
        })
    }

    /// Returns statements that run `read` with the index in a past event, `__index`.
    fn over_past(&self, read: impl Fn(&Type) -> TokenStream) -> Option<TokenStream> {
        let own_count = &self.own_count;
        let arms = self.past.iter().map(|ty| {
            let (count, read) = (count_of(self.krate, ty), read(ty));
            quote! {
                if __index < #count { #read }
                let __index = __index - #count;
            }
        });
        (!self.past.is_empty()).then(|| {
            quote! {
                if __type_index >= #own_count {
                    let __index = __type_index - (#own_count);
                    #(#arms)*
                    let _ = __index;
                }
            }
        })
    }
}

/// Returns the statements that read other shapes of the type with this index.
pub(super) fn shape_reads(
    krate: &Path,
    index: usize,
    attributes: &TypeAttributes,
) -> Option<TokenStream> {
    let older = attributes.from.iter().enumerate().map(|(first, shape)| {
        let revision = &shape.revision;
        let read = chain(krate, &attributes.from[first..]);
        quote!(if __past.revision() <= #revision { #read })
    });
    let newer = attributes.ahead.iter().map(|shape| {
        let revision = &shape.revision;
        let read = chain(krate, std::slice::from_ref(shape));
        quote!(if __past.revision() == #revision { #read })
    });
    let reads: TokenStream = older.chain(newer).collect();
    (!reads.is_empty()).then(|| quote!(if __type_index == #index { #reads }))
}

/// Returns the code that decodes the first of these shapes and converts it through all others.
fn chain(krate: &Path, shapes: &[Shape]) -> TokenStream {
    let Some((first, last)) = shapes.first().zip(shapes.last()) else {
        return TokenStream::new();
    };
    let (decoded, converted) = (&first.ty, &last.ty);
    let steps = shapes.windows(2).map(|pair| {
        let (one, next) = (&pair[0].ty, &pair[1].ty);
        quote_spanned! {place_of(one.span())=>
            let __event = <#one as #krate::domain::Upcast<#next>>::upcast(__event, __past)?;
        }
    });
    let read = quote_spanned! {place_of(decoded.span())=>
        let __event = <#decoded as #krate::serde::Deserialize<'de>>::deserialize(__deserializer)?;
    };
    let split = quote_spanned! {place_of(converted.span())=>
        <#converted as #krate::domain::SplitInto<Self>>::split(__event, __past)
    };
    quote! {
        #read
        let __convert = || -> #krate::domain::Upcasted<Self> {
            #(#steps)*
            #split
        };
        return ::core::result::Result::Ok(__convert());
    }
}

/// Returns the statement that returns what an erased event of the type with this index is read as.
pub(super) fn erased_read(krate: &Path, index: usize, rule: &ErasedRule) -> TokenStream {
    let value = erased_value(krate, rule);
    quote!(if __type_index == #index { return #value; })
}

fn erased_value(krate: &Path, rule: &ErasedRule) -> TokenStream {
    let decoded = match rule {
        ErasedRule::Skip => quote!(#krate::domain::Decoded::Nothing),
        ErasedRule::Value(path) => quote_spanned! {place_of(path.span())=>
            #krate::domain::Decoded::<Self>::from(#path(__past))
        },
    };
    quote!(::core::option::Option::Some(::core::result::Result::Ok(#decoded)))
}
