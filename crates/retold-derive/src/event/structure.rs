//! A struct as an event: one type.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{DataStruct, DeriveInput, Error, Fields, LitStr, Result};

use super::attributes::StructAttributes;
use super::reading::{PastReading, all_types, erased_read, shape_reads};
use super::serde_attributes::of_all_fields;
use super::subject::{Enclosing, Subjects};
use super::tag::insertions;
use super::{Implementation, check_topics, event_type};
use crate::attribute::{place_of, plain_name};
use crate::name::check_topic;

pub(super) fn expand(input: &DeriveInput, data: &DataStruct) -> Result<TokenStream> {
    let name = &input.ident;
    let StructAttributes { common, own } = StructAttributes::read(&input.attrs)?;
    let krate = common.krate.clone();
    for template in &own.tags {
        if let Some(missing) = template.missing_field(&data.fields) {
            return Err(template.fields_are_missing_error(&data.fields, missing));
        }
    }
    let topic = match &own.topic {
        Some(given) => given.clone(),
        None => LitStr::new(&plain_name(name), name.span()),
    };
    check_topic(&topic.value(), topic.span())?;
    let present = topic.value();
    if let Some(same) = own.former_topics.iter().find(|it| it.value() == present) {
        return Err(Error::new(
            same.span(),
            "this is the present topic; `formerly` lists earlier ones",
        ));
    }

    let part = match data.fields {
        Fields::Unit => quote!(Nothing),
        _ => quote!(Whole),
    };
    let types = event_type(&krate, &topic, &own.former_topics, &own, &part);
    let types = all_types(&krate, &quote!(&[#types]), &quote!(1), &common.past);
    let past = PastReading {
        krate: &krate,
        reads: shape_reads(&krate, 0, &own).unwrap_or_default(),
        erased: (own.erased.as_ref())
            .map(|rule| erased_read(&krate, 0, rule))
            .unwrap_or_default(),
        own_count: quote!(1),
        past: &common.past,
        erased_rule: own.erased.as_ref(),
    }
    .into_methods();
    let check = (!common.past.is_empty()).then(|| check_topics(&krate, name));
    let tags = (!own.tags.is_empty() || !common.tag_functions.is_empty()).then(|| {
        let (pattern, statements) = insertions(&krate, &own.tags, &data.fields);
        let bind = (!own.tags.is_empty()).then(|| quote!(let Self #pattern = self;));
        let functions = &common.tag_functions;
        quote! {
            let mut __tags = #krate::domain::Tags::new();
            #bind
            #statements
            #(#krate::domain::add_tags(&mut __tags, #functions(self));)*
            __tags
        }
    });
    let (rename_all, has_defaults) = of_all_fields(&input.attrs, "rename_all");
    let enclosing = Enclosing {
        rename_all,
        has_defaults,
    };
    let subjects = Subjects::read(own.subject.as_ref(), &data.fields, enclosing)?;
    subjects.check_erased(own.erased.is_some())?;
    subjects.check_tags(own.tags.iter())?;
    let subjects = subjects.parts(&krate).map(|(pattern, parts)| {
        quote! {
            let Self #pattern = self;
            #parts
        }
    });
    // Spanned like the name, so that a missing `Serialize` is reported there.
    let span = place_of(name.span());
    let (serialize, read) = if matches!(data.fields, Fields::Unit) {
        (
            quote!(#krate::domain::content::serialize_nothing(__serializer)),
            quote!(#krate::domain::content::deserialize_nothing(__deserializer).map(|()| Self)),
        )
    } else {
        (
            quote_spanned!(span=>
                <Self as #krate::serde::Serialize>::serialize(self, __serializer)
            ),
            quote_spanned!(span=>
                <Self as #krate::serde::Deserialize<'de>>::deserialize(__deserializer)
            ),
        )
    };
    let implementation = Implementation {
        input,
        types,
        type_index: quote!(0),
        tags,
        subjects,
        serialize,
        deserialize: quote! {
            match __type_index {
                0 => #read,
                _ => ::core::result::Result::Err(
                    #krate::domain::content::no_such_type(__type_index),
                ),
            }
        },
        past,
        krate,
    }
    .into_tokens();
    Ok(quote!(#implementation #check))
}
