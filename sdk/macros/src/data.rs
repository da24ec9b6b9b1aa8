//! `#[data]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Result};

use crate::args::Args;

pub fn expand(args: Args, item: &DeriveInput) -> Result<TokenStream> {
    args.finish()?;
    Ok(quote! {
        #[derive(
            ::core::fmt::Debug,
            ::core::clone::Clone,
            ::airlock_sdk::serde::Serialize,
            ::airlock_sdk::serde::Deserialize,
            ::airlock_sdk::schemars::JsonSchema,
        )]
        #[serde(crate = "::airlock_sdk::serde")]
        #[schemars(crate = "::airlock_sdk::schemars")]
        #item
    })
}
