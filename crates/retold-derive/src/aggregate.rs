//! `#[derive(Aggregate)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Data, DeriveInput, Error, LitInt, LitStr, Path, Result, Type, parse_quote};

use crate::attribute::{
    is_deprecated, number, path, plain_name, read_attributes, refuse_on_fields, set_once, text,
    unknown_key,
};
use crate::name::check_stream_type;

const KEYS: &[&str] = &["event", "type", "key", "snapshots", "crate"];

#[derive(Default)]
struct Attributes {
    krate: Option<Path>,
    event: Option<Type>,
    stream_type: Option<LitStr>,
    key: Option<Type>,
    snapshots: Option<Snapshots>,
}

#[derive(Default)]
struct Snapshots {
    every: Option<LitInt>,
    revision: Option<LitInt>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    check_shape(input)?;
    let attributes = Attributes::read(input)?;
    let krate = attributes.krate.unwrap_or_else(|| parse_quote!(::retold));
    let event = attributes.event.ok_or_else(|| {
        Error::new_spanned(
            name,
            format!(
                "say which events `{name}` has: `#[aggregate(event = …)]`, with the name of an \
                 enum or struct that derives `Event`"
            ),
        )
    })?;
    let stream_type = match attributes.stream_type {
        Some(given) => given,
        None => LitStr::new(&plain_name(name), name.span()),
    };
    check_stream_type(&stream_type.value(), stream_type.span())?;
    let key = attributes
        .key
        .unwrap_or_else(|| parse_quote!(#krate::uuid::Uuid));
    let snapshots = attributes.snapshots.map(|it| {
        let every = it.every.unwrap_or_else(|| parse_quote!(0));
        let revision = it.revision.unwrap_or_else(|| parse_quote!(1));
        quote! {
            const SNAPSHOTS: ::core::option::Option<#krate::domain::SnapshotRule<Self>> =
                {
                    #[allow(unused_imports)]
                    use #krate::domain::NoComparison as _;
                    let mut rule = #krate::domain::SnapshotRule::new(#every, #revision);
                    rule.is_equal = #krate::domain::Comparison::<Self>::IS_EQUAL;
                    ::core::option::Option::Some(rule)
                };
        }
    });
    let allow = is_deprecated(&input.attrs).then(|| quote!(#[allow(deprecated)]));
    Ok(quote! {
        #[automatically_derived]
        #allow
        impl #krate::domain::Aggregate for #name {
            type Event = #event;
            type Key = #key;
            const TYPE: &'static ::core::primitive::str = #stream_type;
            #snapshots
        }
    })
}

fn check_shape(input: &DeriveInput) -> Result<()> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "an aggregate has no generic parameters: the type of its streams identifies one Rust \
             type; derive `Aggregate` on a concrete type that has the generic one as a field",
        ));
    }
    match &input.data {
        Data::Struct(data) => refuse_on_fields(&data.fields, "aggregate", "on the struct"),
        Data::Enum(data) => data
            .variants
            .iter()
            .try_for_each(|it| refuse_on_fields(&it.fields, "aggregate", "on the enum")),
        Data::Union(data) => Err(Error::new_spanned(
            data.union_token,
            "an aggregate is a struct or an enum, not a union",
        )),
    }
}

impl Attributes {
    fn read(input: &DeriveInput) -> Result<Self> {
        let mut read = Self::default();
        read_attributes(&input.attrs, "aggregate", |meta| {
            if meta.path.is_ident("event") {
                let value = type_of(&meta, "DogEvent")?;
                set_once(&mut read.event, &meta, value)
            } else if meta.path.is_ident("type") {
                let value = text(&meta)?;
                set_once(&mut read.stream_type, &meta, value)
            } else if meta.path.is_ident("key") {
                let value = type_of(&meta, "String")?;
                set_once(&mut read.key, &meta, value)
            } else if meta.path.is_ident("snapshots") {
                let value = Snapshots::read(&meta)?;
                set_once(&mut read.snapshots, &meta, value)
            } else if meta.path.is_ident("crate") {
                let value = path(&meta)?;
                set_once(&mut read.krate, &meta, value)
            } else {
                Err(unknown_key(&meta, "an aggregate", KEYS))
            }
        })?;
        Ok(read)
    }
}

impl Snapshots {
    fn read(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let mut read = Self::default();
        if !meta.input.peek(syn::token::Paren) {
            return Err(meta.error(
                "write `snapshots(every = 100, revision = 1)`; without `every` they are taken on \
                 demand only",
            ));
        }
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident("every") {
                let value = number(&meta, 1, u64::MAX)?;
                set_once(&mut read.every, &meta, value)
            } else if meta.path.is_ident("revision") {
                let value = number(&meta, 1, u32::MAX.into())?;
                set_once(&mut read.revision, &meta, value)
            } else {
                Err(unknown_key(&meta, "`snapshots`", &["every", "revision"]))
            }
        })?;
        Ok(read)
    }
}

fn type_of(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Type> {
    let key = crate::attribute::key(meta);
    let example = format!("write a type: `{key} = {example}`");
    let value = meta.value().map_err(|_| meta.error(&example))?;
    value
        .parse()
        .map_err(|error| Error::new(error.span(), &example))
}
