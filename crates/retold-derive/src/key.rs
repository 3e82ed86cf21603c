//! `#[derive(Key)]`: a struct of one field as the key of aggregates.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Path, Result, parse_quote};

use crate::attribute::{path, read_attributes, refuse_on_fields, set_once, unknown_key};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut krate: Option<Path> = None;
    read_attributes(&input.attrs, "key", |meta| {
        if meta.path.is_ident("crate") {
            let value = path(&meta)?;
            return set_once(&mut krate, &meta, value);
        }
        Err(unknown_key(&meta, "a key", &["crate"]))
    })?;
    let krate = krate.unwrap_or_else(|| parse_quote!(::retold));
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a key has no generic parameters; name the concrete type in its field",
        ));
    }
    let fields = match &input.data {
        Data::Struct(data) if data.fields.len() == 1 => &data.fields,
        _ => {
            return Err(Error::new_spanned(
                &input.ident,
                "`Key` is derived on a struct of one field that is itself a key, such as `struct \
                 Tail(String);`; for other types implement it by hand, with a \
                 text for every key",
            ));
        }
    };
    refuse_on_fields(fields, "key", "on the struct")?;
    let name = &input.ident;
    let field = fields.iter().next().expect("it was counted");
    let inner = &field.ty;
    let (access, made) = match (&field.ident, fields) {
        (Some(ident), Fields::Named(_)) => (
            quote!(self.#ident),
            quote!(|__inner| Self { #ident: __inner }),
        ),
        _ => (quote!(self.0), quote!(Self)),
    };
    Ok(quote! {
        #[automatically_derived]
        impl #krate::domain::Key for #name {
            fn to_text(&self) -> ::std::string::String {
                <#inner as #krate::domain::Key>::to_text(&#access)
            }

            fn from_text(__text: &::core::primitive::str) -> ::core::option::Option<Self> {
                <#inner as #krate::domain::Key>::from_text(__text).map(#made)
            }
        }

        #[automatically_derived]
        impl<__A> ::core::convert::From<#name> for #krate::domain::Id<__A>
        where
            __A: #krate::domain::Aggregate<Key = #name>,
        {
            fn from(__key: #name) -> Self {
                Self::new(__key)
            }
        }
    })
}
