//! An enum that joins events: each variant has one event, which is recorded as it would be alone.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataEnum, DeriveInput, Error, Fields, Ident, Path, Result, Type};

use super::attributes::EnumAttributes;
use super::reading::{PastReading, past_types};
use super::{Implementation, check_topics};
use crate::attribute::{is_deprecated, place_of};

pub(super) fn expand(
    input: &DeriveInput,
    data: &DataEnum,
    attributes: &EnumAttributes,
) -> Result<TokenStream> {
    attributes.check_join()?;
    let parts = parts(data)?;
    let name = &input.ident;
    let krate = &attributes.common.krate;
    let variants: Vec<&Ident> = parts.iter().map(|(variant, _)| *variant).collect();
    let counts: Vec<_> = parts
        .iter()
        .map(|(_, ty)| call(krate, ty, &quote!(TYPES.len())))
        .collect();
    let types = parts.iter().map(|(_, ty)| call(krate, ty, &quote!(TYPES)));
    let past = &attributes.common.past;
    let past_counts = past.iter().map(|ty| call(krate, ty, &quote!(TYPES.len())));
    let past_parts = past_types(krate, past);
    let indexes = variants.iter().enumerate().map(|(index, variant)| {
        let before = &counts[..index];
        let inner = call(krate, parts[index].1, &quote!(type_index(__event)));
        quote!(Self::#variant(__event) => #(#before +)* #inner)
    });
    let reads = parts
        .iter()
        .zip(&counts)
        .enumerate()
        .map(|(part, ((variant, ty), count))| {
            let next = (part + 1 < parts.len()).then(|| quote!(let __index = __index - #count;));
            let read = call(
                krate,
                ty,
                &quote!(deserialize_payload(__index, __deserializer)),
            );
            quote! {
                if __index < #count {
                    return #read.map(Self::#variant);
                }
                #next
            }
        });
    let tags = parts
        .iter()
        .map(|(_, ty)| call(krate, ty, &quote!(tags(__event))));
    let subjects = parts
        .iter()
        .map(|(_, ty)| call(krate, ty, &quote!(subjects(__event))));
    let writes = parts
        .iter()
        .map(|(_, ty)| call(krate, ty, &quote!(serialize_payload(__event, __serializer))));
    let implementation = Implementation {
        input,
        krate: krate.clone(),
        types: quote! {
            &#krate::domain::join_types::<{ #(#counts)+* #(+ #past_counts)* }>(
                &[#(#types,)* #(#past_parts),*],
            )
        },
        type_index: quote!(match self { #(#indexes,)* }),
        tags: Some(quote! {
            match self { #(Self::#variants(__event) => #tags,)* }
        }),
        subjects: Some(quote! {
            match self { #(Self::#variants(__event) => #subjects,)* }
        }),
        serialize: quote! {
            match self { #(Self::#variants(__event) => #writes,)* }
        },
        deserialize: quote! {
            let __index = __type_index;
            #(#reads)*
            ::core::result::Result::Err(#krate::domain::content::no_such_type(__type_index))
        },
        past: past_reading(attributes, &parts, &counts).into_methods(),
    }
    .into_tokens();
    let conversions = data.variants.iter().zip(&parts).map(|(it, (variant, ty))| {
        let deprecated = is_deprecated(&it.attrs) || is_deprecated(&input.attrs);
        conversion(input, attributes, variant, ty, deprecated)
    });
    let check = check_topics(krate, name);
    Ok(quote! {
        #implementation
        #check
        #(#conversions)*
    })
}

/// Returns how joined events of other shapes, past events and erased ones are read.
fn past_reading<'a>(
    attributes: &'a EnumAttributes,
    parts: &[(&Ident, &Type)],
    counts: &[TokenStream],
) -> PastReading<'a> {
    let krate = &attributes.common.krate;
    let arms = |method: &TokenStream, convert: &dyn Fn(&Ident) -> TokenStream| {
        let arms = parts.iter().zip(counts).map(|((variant, ty), count)| {
            let (read, convert) = (call(krate, ty, method), convert(variant));
            quote! {
                if __index < #count {
                    return #read.map(|__read| #convert);
                }
                let __index = ::core::primitive::usize::wrapping_sub(__index, #count);
            }
        });
        quote! {
            if __type_index < #(#counts)+* {
                let __index = __type_index;
                #(#arms)*
                let _ = __index;
            }
        }
    };
    let convert = |variant: &Ident| quote!(__read.map(|__events| __events.map(Self::#variant)));
    PastReading {
        krate,
        reads: arms(
            &quote!(read_past(__index, __deserializer, __past)),
            &convert,
        ),
        erased: arms(&quote!(erased(__index, __past)), &convert),
        own_count: quote!((#(#counts)+*)),
        past: &attributes.common.past,
        erased_rule: None,
    }
}

/// Returns a call of the event's own implementation, in the span of its type, so that an error for
/// a type that is not an event is reported there.
fn call(krate: &Path, ty: &Type, method: &TokenStream) -> TokenStream {
    quote_spanned!(place_of(ty.span())=> <#ty as #krate::domain::Event>::#method)
}

/// Returns the variants with the events that they join.
fn parts(data: &DataEnum) -> Result<Vec<(&Ident, &Type)>> {
    let mut parts: Vec<(&Ident, &Type)> = Vec::new();
    for variant in &data.variants {
        if let Some(attribute) = variant.attrs.iter().find(|it| it.path().is_ident("event")) {
            return Err(Error::new_spanned(
                attribute,
                "this belongs to the joined event; write it on its struct",
            ));
        }
        let ty = match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => &fields.unnamed[0].ty,
            _ => {
                return Err(Error::new_spanned(
                    variant,
                    format!(
                        "a variant of an enum that joins events has one event: `{0}({0})`; without \
                         `join` the variants are the events themselves",
                        variant.ident
                    ),
                ));
            }
        };
        if parts.iter().any(|(_, it)| text_of(it) == text_of(ty)) {
            return Err(Error::new_spanned(
                ty,
                "this event is joined twice; remove one of the variants",
            ));
        }
        parts.push((&variant.ident, ty));
    }
    Ok(parts)
}

fn text_of(ty: &Type) -> String {
    ty.to_token_stream().to_string()
}

/// Returns the code that converts a joined event to the enum, and allows a decision over the enum
/// to return it.
fn conversion(
    input: &DeriveInput,
    attributes: &EnumAttributes,
    variant: &Ident,
    ty: &Type,
    deprecated: bool,
) -> TokenStream {
    let name = &input.ident;
    let krate = &attributes.common.krate;
    let allow = deprecated.then(|| quote!(#[allow(deprecated)]));
    quote! {
        #[automatically_derived]
        #allow
        impl ::core::convert::From<#ty> for #name {
            fn from(__event: #ty) -> Self {
                Self::#variant(__event)
            }
        }

        #[automatically_derived]
        #allow
        impl #krate::domain::Decision<#name> for #ty {
            type Refusal = ::core::convert::Infallible;

            fn decided(
                self,
                __events: &mut ::std::vec::Vec<#name>,
            ) -> ::core::result::Result<(), ::core::convert::Infallible> {
                __events.push(#name::#variant(self));
                ::core::result::Result::Ok(())
            }
        }
    }
}
