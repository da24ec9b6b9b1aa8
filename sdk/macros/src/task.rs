//! `#[task]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, GenericArgument, ItemFn, Pat, PathArguments, Result, ReturnType, Type, spanned::Spanned,
};

use crate::args::{Args, callbacks, check_name, concurrency, doc_comment, option, recording, weight_rule};

/// An argument of the function.
struct Input {
    ident: syn::Ident,
    /// What is read: the type itself, or what a reference points at.
    owned: Type,
    by_reference: bool,
    required: bool,
}

pub fn expand(mut args: Args, function: &ItemFn) -> Result<TokenStream> {
    let branch = args.flag("branch")?.unwrap_or(false);
    let short_circuit = args.flag("short_circuit")?.unwrap_or(false);
    let ignore_rules = args.flag("ignore_downstream_trigger_rules")?;
    let sensor = sensor(&mut args, function)?;
    let name_literal = args.text("name", "\"fetch\"")?;
    let (options, cache) = options(&mut args)?;
    let doc = args.text("doc", "\"What it does.\"")?.map(|text| text.value()).or_else(|| doc_comment(&function.attrs));
    args.finish()?;
    if [branch, short_circuit, sensor.is_some()].into_iter().filter(|kind| *kind).count() > 1 {
        let why = "a task is one of `branch`, `short_circuit` and `sensor`";
        return Err(Error::new(function.sig.ident.span(), why));
    }
    if let Some(span) = cache.filter(|_| branch || short_circuit || sensor.is_some()) {
        let why = "a `branch`, `short_circuit` or `sensor` has no `cache`: only results are remembered, not decisions and waits";
        return Err(Error::new(span, why));
    }
    if ignore_rules.is_some() && !short_circuit {
        let why = "only a `short_circuit` has `ignore_downstream_trigger_rules`";
        return Err(Error::new(function.sig.ident.span(), why));
    }
    let ignore_rules = ignore_rules.unwrap_or(true);

    let ItemFn { attrs, vis, sig, block } = function;
    check_signature(function)?;
    let ident = &sig.ident;
    let name = match &name_literal {
        Some(literal) => {
            check_name(&literal.value(), literal.span(), "a task's name")?;
            literal.value()
        }
        None => ident.to_string().trim_start_matches("r#").to_owned(),
    };

    let mut inputs = Vec::new();
    let mut call = Vec::new();
    for argument in &sig.inputs {
        let FnArg::Typed(typed) = argument else {
            return Err(Error::new(argument.span(), "a task is a plain function, without `self`"));
        };
        if is_context(&typed.ty) {
            call.push(quote!(ctx));
            continue;
        }
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new(typed.pat.span(), "give this input a name: it is a name in the dag too"));
        };
        let input = input(pattern.ident.clone(), &typed.ty)?;
        let local = format_ident!("input_{}", call.len());
        call.push(if input.by_reference { quote!(&#local) } else { quote!(#local) });
        inputs.push((local, input));
    }

    let (output, fallible) = output(&sig.output);
    if let Some(span) = reference_in(output.to_token_stream(), true) {
        let why = "what a task returns outlives it: return what is owned, as a `String`";
        return Err(Error::new(span, why));
    }
    let output = if sensor.is_some() { found_by(&output)? } else { output };
    let (docs, others): (Vec<&Attribute>, Vec<&Attribute>) =
        attrs.iter().partition(|attribute| attribute.path().is_ident("doc"));
    let sdk = quote!(::airlock_sdk::__private);

    let names = inputs.iter().map(|(_, input)| input.name());
    let names_again = names.clone();
    let names_taken = names.clone();
    let required = inputs.iter().map(|(_, input)| input.required);
    let required_again = required.clone();
    let locals = inputs.iter().map(|(local, _)| local);
    let idents: Vec<_> = inputs.iter().map(|(_, input)| &input.ident).collect();
    let owned: Vec<_> = inputs.iter().map(|(_, input)| &input.owned).collect();
    let (has_output, finish) = if branch {
        (quote!(|| ::core::option::Option::None), quote!(::core::result::Result::Ok(#sdk::Outcome::Branch(value))))
    } else if let Some(sensor) = &sensor {
        let span = output.span();
        let finish = quote_spanned! {span=>
            match value {
                ::airlock_sdk::Poke::Done(value) => #sdk::Outcome::of::<#output>(&value),
                ::airlock_sdk::Poke::NotYet => ::core::result::Result::Err(#sensor.not_yet(ctx)),
            }
        };
        (quote!(#sdk::output_schema::<#output>), finish)
    } else if short_circuit {
        let span = output.span();
        let finish = quote_spanned!(span=> #sdk::Decision::outcome(&value, #ignore_rules));
        (quote!(#sdk::output_schema::<#output>), finish)
    } else {
        let span = output.span();
        (quote!(#sdk::output_schema::<#output>), quote_spanned!(span=> #sdk::Outcome::of::<#output>(&value)))
    };
    // An input may have this name, too.
    let dag = syn::Ident::new("dag", Span::mixed_site());
    let doc = option(doc);
    let failed = quote_spanned! {sig.output.span()=> {
        #[expect(unused_imports, reason = "one of them serves")]
        use #sdk::kind::{ForeignKind as _, OwnKind as _, UnknownKind as _};
        let kind = (&&&#sdk::kind::Of::this(&error)).airlock_kind();
        ::core::result::Result::Err(kind.error(error))
    }};
    let run = if fallible {
        quote! {
            match #ident::run(#(#call),*) {
                ::core::result::Result::Ok(value) => #finish,
                ::core::result::Result::Err(error) => #failed,
            }
        }
    } else {
        quote!({ let value = #ident::run(#(#call),*); #finish })
    };
    let check = quote_spanned! {output.span()=>
        const _: () = {
            use #sdk::Plain as _;
            ::core::assert!(
                !#sdk::Returned::<#output>::IS_RESULT,
                "this is a `Result` by another name, whose errors would count as results: write `Result<..>`"
            );
        };
    };
    let inputs_of_run = &sig.inputs;
    let output_of_run = &sig.output;

    Ok(quote! {
        #(#docs)*
        #[expect(non_camel_case_types, reason = "the type stands for the function")]
        #vis struct #ident {}

        impl #ident {
            /// The id of the task in a dag, unless it is given another.
            #vis const ID: &'static str = #name;

            #(#docs)*
            #(#others)*
            #vis fn run(#inputs_of_run) #output_of_run #block
        }

        #(#docs)*
        #vis fn #ident<'dag>(
            #dag: &'dag ::airlock_sdk::Dag,
            #(#idents: impl ::airlock_sdk::IntoInput<#owned>,)*
        ) -> ::airlock_sdk::Handle<'dag, #output> {
            let inputs = ::std::vec![#((#names, ::airlock_sdk::IntoInput::<#owned>::into_input(#idents, #dag)),)*];
            ::airlock_sdk::Dag::add::<#ident, #output>(#dag, inputs)
        }

        #check

        const _: () = {
            static ENTRY: #sdk::Entry = #sdk::Entry {
                name: #name,
                doc: #doc,
                inputs: &[#(#sdk::Parameter {
                    name: #names_again,
                    required: #required,
                    schema: #sdk::input_schema::<#owned>,
                },)*],
                output: #has_output,
                options: #options,
                run: |ctx, inputs| {
                    #(let #locals: #owned = inputs.take(#names_taken, #required_again)?;)*
                    #run
                },
            };

            impl ::airlock_sdk::Task for #ident {
                fn entry() -> &'static #sdk::Entry {
                    &ENTRY
                }
            }

            #[cfg(target_family = "wasm")]
            const _: () = {
                static REGISTERED: #sdk::Registered = #sdk::Registered::new(<#ident as ::airlock_sdk::Task>::entry);
                extern "C" fn register() {
                    REGISTERED.register();
                }
                #[used]
                #[unsafe(link_section = ".init_array")]
                static REGISTER: extern "C" fn() = register;
            };
        };
    })
}

impl Input {
    fn name(&self) -> String {
        self.ident.to_string().trim_start_matches("r#").to_owned()
    }
}

/// The options, and where `cache` stands if it does.
fn options(args: &mut Args) -> Result<(TokenStream, Option<Span>)> {
    let display_name = args.text("display_name", "\"Fetch\"")?;
    let retries = args.number::<u32>("retries", None)?;
    let retry_delay = args.duration_ms("retry_delay")?;
    let backoff = args.number::<f64>("backoff", Some(0.0))?;
    let max_retry_delay = args.duration_ms("max_retry_delay")?;
    let timeout = args.duration_ms("timeout")?;
    let trigger_rule = args.text("trigger_rule", "\"all_done\"")?;
    let pool = args.text("pool", "\"default_pool\"")?;
    let pool_slots = args.number::<u32>("pool_slots", Some(1))?;
    let queue = args.text("queue", "\"default\"")?;
    let priority_weight = args.number::<i32>("priority_weight", None)?;
    let depends_on_past = args.flag("depends_on_past")?;
    let wait_for_downstream = args.flag("wait_for_downstream")?;
    let max_active_tis_per_dag = args.number::<u32>("max_active_tis_per_dag", Some(1))?;
    let max_active_tis_per_dagrun = args.number::<u32>("max_active_tis_per_dagrun", Some(1))?;
    let record = recording(args)?;
    let cache_span = args.span("cache");
    let cache = args.duration_ms("cache")?;
    let weight_rule = weight_rule(args)?;
    let map_index_template = args.text("map_index_template", "\"{{ inputs.file }}\"")?;
    let concurrency = concurrency(args)?;
    let callbacks = callbacks(args, &["success", "failure", "retry", "skipped", "question"])?;

    let sdk = quote!(::airlock_sdk::__private);
    let mut fields = TokenStream::new();
    if let Some(text) = display_name {
        fields.extend(quote!(display_name: ::core::option::Option::Some(::std::borrow::Cow::Borrowed(#text)),));
    }
    if let Some(number) = retries {
        fields.extend(quote!(retries: #number,));
    }
    if let Some(ms) = retry_delay {
        fields.extend(quote!(retry_delay_ms: #ms,));
    }
    if let Some(factor) = backoff {
        fields.extend(quote!(retry_backoff: #factor,));
    }
    if let Some(ms) = max_retry_delay {
        fields.extend(quote!(max_retry_delay_ms: ::core::option::Option::Some(#ms),));
    }
    if let Some(ms) = timeout {
        fields.extend(quote!(timeout_ms: ::core::option::Option::Some(#ms),));
    }
    if let Some(rule) = trigger_rule {
        let variant = trigger_rule_variant(&rule)?;
        fields.extend(quote!(trigger_rule: ::airlock_sdk::TriggerRule::#variant,));
    }
    if let Some(text) = pool {
        fields.extend(quote!(pool: ::std::borrow::Cow::Borrowed(#text),));
    }
    if let Some(number) = pool_slots {
        fields.extend(quote!(pool_slots: #number,));
    }
    if let Some(text) = queue {
        fields.extend(quote!(queue: ::core::option::Option::Some(::std::borrow::Cow::Borrowed(#text)),));
    }
    if let Some(number) = priority_weight {
        fields.extend(quote!(priority_weight: #number,));
    }
    if let Some(flag) = depends_on_past {
        fields.extend(quote!(depends_on_past: #flag,));
    }
    if let Some(flag) = wait_for_downstream {
        fields.extend(quote!(wait_for_downstream: #flag,));
    }
    if let Some(number) = max_active_tis_per_dag {
        fields.extend(quote!(max_active_tis_per_dag: ::core::option::Option::Some(#number),));
    }
    if let Some(number) = max_active_tis_per_dagrun {
        fields.extend(quote!(max_active_tis_per_dagrun: ::core::option::Option::Some(#number),));
    }
    fields.extend(quote!(record: #record,));
    if let Some((ms, span)) = cache.zip(cache_span) {
        if !(1_000..=366 * 86_400_000).contains(&ms) {
            return Err(Error::new(span, "`cache` is from \"1s\" to \"366d\""));
        }
        fields.extend(quote!(cache_ms: ::core::option::Option::Some(#ms),));
    }
    if let Some(rule) = weight_rule {
        fields.extend(quote!(weight_rule: ::core::option::Option::Some(#rule),));
    }
    if let Some(text) = map_index_template {
        let text = quote!(::std::borrow::Cow::Borrowed(#text));
        fields.extend(quote!(map_index_template: ::core::option::Option::Some(#text),));
    }
    if let Some((key, limit)) = concurrency {
        let key = quote!(::std::borrow::Cow::Borrowed(#key));
        fields.extend(quote!(concurrency: ::core::option::Option::Some((#key, #limit)),));
    }
    fields.extend(quote!(callbacks: #callbacks,));
    Ok((quote!(#sdk::Options { #fields ..#sdk::Options::DEFAULT }), cache_span))
}

/// How a sensor pokes, if the task is one.
fn sensor(args: &mut Args, function: &ItemFn) -> Result<Option<TokenStream>> {
    let is_sensor = args.flag("sensor")?.unwrap_or(false);
    let mut fields = TokenStream::new();
    if let Some(ms) = args.duration_ms("poke_interval")? {
        fields.extend(quote!(poke_interval_ms: #ms,));
    }
    if let Some(flag) = args.flag("exponential_backoff")? {
        fields.extend(quote!(exponential_backoff: #flag,));
    }
    if let Some(ms) = args.duration_ms("max_wait")? {
        fields.extend(quote!(max_wait_ms: ::core::option::Option::Some(#ms),));
    }
    if let Some(ms) = args.duration_ms("poke_timeout")? {
        fields.extend(quote!(poke_timeout_ms: #ms,));
    }
    if let Some(flag) = args.flag("soft_fail")? {
        fields.extend(quote!(soft_fail: #flag,));
    }
    if !is_sensor && !fields.is_empty() {
        let why = "only a `sensor` pokes: write `#[task(sensor, ..)]`";
        return Err(Error::new(function.sig.ident.span(), why));
    }
    let sdk = quote!(::airlock_sdk::__private);
    Ok(is_sensor.then(|| quote!(#sdk::Sensor { #fields ..#sdk::Sensor::DEFAULT })))
}

/// What a sensor that returns `output` finds: the `T` of `Poke<T>`.
fn found_by(output: &Type) -> Result<Type> {
    let arguments = match last_segment(output) {
        Some(last) if last.ident == "Poke" => &last.arguments,
        _ => return Err(Error::new(output.span(), "a sensor returns a `Poke<T>`, or a `Result` of one")),
    };
    if let PathArguments::AngleBracketed(arguments) = arguments
        && let Some(GenericArgument::Type(found)) = arguments.args.first()
    {
        return Ok(found.clone());
    }
    Ok(syn::parse_quote!(()))
}

fn trigger_rule_variant(rule: &syn::LitStr) -> Result<syn::Ident> {
    const RULES: [(&str, &str); 12] = [
        ("all_success", "AllSuccess"),
        ("all_failed", "AllFailed"),
        ("all_done", "AllDone"),
        ("all_done_min_one_success", "AllDoneMinOneSuccess"),
        ("all_skipped", "AllSkipped"),
        ("one_success", "OneSuccess"),
        ("one_failed", "OneFailed"),
        ("one_done", "OneDone"),
        ("none_failed", "NoneFailed"),
        ("none_failed_min_one_success", "NoneFailedMinOneSuccess"),
        ("none_skipped", "NoneSkipped"),
        ("always", "Always"),
    ];
    let text = rule.value();
    let known = RULES.iter().find(|(word, _)| *word == text);
    known.map(|(_, variant)| syn::Ident::new(variant, rule.span())).ok_or_else(|| {
        let words: Vec<_> = RULES.iter().map(|(word, _)| *word).collect();
        Error::new(rule.span(), format!("there is no trigger rule `{text}`; there are {}", words.join(", ")))
    })
}

fn check_signature(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if let Some(keyword) = &sig.asyncness {
        return Err(Error::new(keyword.span(), "a task is not async: it has its sandbox to itself and may wait"));
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return Err(Error::new(sig.generics.span(), "a task has no generics: its inputs come from outside"));
    }
    if let Some(keyword) = &sig.unsafety {
        return Err(Error::new(keyword.span(), "a task is not unsafe"));
    }
    if let Some(variadic) = &sig.variadic {
        return Err(Error::new(variadic.span(), "a task has a fixed number of inputs"));
    }
    Ok(())
}

fn is_context(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Context"),
            _ => false,
        },
        _ => false,
    }
}

fn input(ident: syn::Ident, ty: &Type) -> Result<Input> {
    if let Type::ImplTrait(_) = ty {
        return Err(Error::new(ty.span(), "an input needs a type of its own, which serde can read"));
    }
    let inner = if let Type::Reference(reference) = ty { &reference.elem } else { ty };
    if let Some(span) = reference_in(inner.to_token_stream(), false) {
        let why = "an input is read from JSON: what lies in it is owned, as in `Option<String>`, `&[String]`";
        return Err(Error::new(span, why));
    }
    let Type::Reference(reference) = ty else {
        let required = last_segment(ty).is_none_or(|last| last.ident != "Option");
        return Ok(Input { ident, owned: ty.clone(), by_reference: false, required });
    };
    if reference.mutability.is_some() {
        return Err(Error::new(ty.span(), "an input is not mutable; take it by value"));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(lifetime.span(), "an input lives as long as the attempt; leave the lifetime out"));
    }
    let owned = match &*reference.elem {
        Type::Slice(slice) => {
            let element = &slice.elem;
            syn::parse_quote!(::std::vec::Vec<#element>)
        }
        Type::Path(path) if path.path.is_ident("str") => syn::parse_quote!(::std::string::String),
        other => other.clone(),
    };
    let required = last_segment(&owned).is_none_or(|last| last.ident != "Option");
    Ok(Input { ident, owned, by_reference: true, required })
}

/// Where a type has a reference in it, `&'static` ones aside if they `may_be_static`.
fn reference_in(ty: TokenStream, may_be_static: bool) -> Option<Span> {
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let is_tick = |next: &TokenTree| matches!(next, TokenTree::Punct(tick) if tick.as_char() == '\'');
                let is_static = may_be_static
                    && tokens.next_if(is_tick).is_some()
                    && matches!(tokens.next(), Some(TokenTree::Ident(name)) if name == "static");
                if !is_static {
                    return Some(punct.span());
                }
            }
            TokenTree::Group(group) => {
                if let Some(span) = reference_in(group.stream(), may_be_static) {
                    return Some(span);
                }
            }
            TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
    }
    None
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The type of the value, and whether it comes in a `Result`.
fn output(output: &ReturnType) -> (Type, bool) {
    let ReturnType::Type(_, ty) = output else { return (syn::parse_quote!(()), false) };
    if let Some(last) = last_segment(ty)
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(value)) = arguments.args.first()
    {
        return (value.clone(), true);
    }
    ((**ty).clone(), false)
}
