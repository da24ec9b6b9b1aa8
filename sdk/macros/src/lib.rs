//! The attribute macros of `airlock-sdk`. They are documented there, where the examples can be compiled.

use proc_macro::TokenStream;

mod args;
mod dag;
mod data;
mod schedule;
mod task;

/// See `airlock_sdk::task`.
#[proc_macro_attribute]
pub fn task(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::Args);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    task::expand(args, &function).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// See `airlock_sdk::dag`.
#[proc_macro_attribute]
pub fn dag(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::Args);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    dag::expand(args, &function).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// See `airlock_sdk::data`.
#[proc_macro_attribute]
pub fn data(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::Args);
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    data::expand(args, &item).unwrap_or_else(|error| error.to_compile_error()).into()
}
