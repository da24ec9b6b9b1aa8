//! `#[dag]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Error, FnArg, ItemFn, LitStr, Result, ReturnType, Type, spanned::Spanned};

use crate::{
    args::{Args, callbacks, check_name, concurrency, doc_comment, option, recording, run_types, weight_rule},
    schedule::{calendar, instant_us, memory_mib, schedule, timezone},
};

pub fn expand(mut args: Args, function: &ItemFn) -> Result<TokenStream> {
    let ident = &function.sig.ident;
    let id = args.text("id", "\"sales\"")?;
    let dag_id = match &id {
        Some(literal) => literal.value(),
        None => ident.to_string().trim_start_matches("r#").to_owned(),
    };
    check_name(&dag_id, id.as_ref().map_or(ident.span(), LitStr::span), "a dag's id")?;
    let doc = args.text("doc", "\"What it does.\"")?.map(|text| text.value()).or_else(|| doc_comment(&function.attrs));
    let description = args
        .text("description", "\"What it does.\"")?
        .map(|text| text.value())
        // Of a heading, as docs of Airflow's dags often begin with one, what it says.
        .or_else(|| doc.as_deref()?.lines().next().map(|line| line.trim_start_matches('#').trim_start().to_owned()));
    let display_name = args.text("display_name", "\"Sales\"")?;
    let owners = args.texts("owners", "[\"data team\"]")?;
    let tags = args.texts("tags", "[\"finance\"]")?;

    let zone_text = args.text("timezone", "\"Asia/Seoul\"")?;
    let zone = timezone(zone_text.as_ref())?;
    let zone_name = zone.name();
    let data_interval = args.flag("data_interval")?;
    let schedules = args.text_or_texts("schedule", "\"0 6 * * *\"")?;
    let calendar = calendar(&mut args)?;
    let schedule = schedule(&schedules, data_interval, zone, calendar.as_ref())?;
    let jitter = option(args.duration_ms("jitter")?);
    let assets = args.expression("assets", "ORDERS & CUSTOMERS")?;
    let assets = option(assets.map(|condition| quote!(|| ::core::convert::Into::into(#condition))));
    let start_text = args.text("start", "\"2026-01-01\"")?;
    let end_text = args.text("end", "\"2026-12-31\"")?;
    let start = start_text.as_ref().map(|text| instant_us(text, zone)).transpose()?;
    let end = end_text.as_ref().map(|text| instant_us(text, zone)).transpose()?;
    if let (Some(start), Some(end), Some(text)) = (start, end, &end_text)
        && end < start
    {
        return Err(Error::new(text.span(), "the end is before the start"));
    }
    let catchup = args.flag("catchup")?.unwrap_or(false);
    if catchup && (start.is_none() || schedules.is_empty()) {
        return Err(Error::new(ident.span(), "`catchup = true` needs a `schedule` and a `start`"));
    }
    let max_active_runs = args.number::<u32>("max_active_runs", Some(1))?.unwrap_or(16);
    let max_active_tasks = args.number::<u32>("max_active_tasks", Some(1))?.unwrap_or(16);
    let run_timeout = option(args.duration_ms("run_timeout")?);
    let fail_fast = args.flag("fail_fast")?.unwrap_or(false);
    let max_consecutive_failed_dag_runs = args.number::<u32>("max_consecutive_failed_dag_runs", Some(1))?.unwrap_or(0);
    let paused = option(args.flag("paused")?);
    let run_types = run_types(&mut args)?;
    let record = recording(&mut args)?;
    let variables = args.texts("variables", "[\"target\", \"reports/*\"]")?;
    let connections = args.texts("connections", "[\"warehouse\"]")?;
    let connection_secrets = args.texts("connection_secrets", "[\"warehouse\"]")?;
    let hosts = args.texts("hosts", "[\"api.example.org\"]")?;
    let dags = args.texts("dags", "[\"load\", \"report-*\"]")?;
    let memory = option(args.text("memory", "\"512MiB\"")?.map(|text| memory_mib(&text)).transpose()?);
    let deadline_ms = args.duration_ms("deadline")?;
    let callbacks = callbacks(&mut args, &["success", "failure", "deadline"])?;
    let deadline = option(deadline_ms);
    let weight_rule = weight_rule(&mut args)?.unwrap_or_else(|| quote!(::airlock_sdk::WeightRule::Absolute));
    let concurrency = option(concurrency(&mut args)?.map(|(key, limit)| quote!((#key, #limit))));
    args.finish()?;

    let sig = &function.sig;
    let takes_reference =
        matches!(sig.inputs.first(), Some(FnArg::Typed(dag)) if matches!(*dag.ty, Type::Reference(_)));
    if sig.asyncness.is_some() || !sig.generics.params.is_empty() || sig.inputs.len() != 1 || !takes_reference {
        return Err(Error::new(sig.span(), "a dag is a function of one argument, `dag: &Dag`"));
    }
    let build = match &sig.output {
        ReturnType::Default => quote!(|dag| { #ident(dag); ::core::result::Result::Ok(()) }),
        ReturnType::Type(_, output) => {
            let built = quote_spanned!(output.span()=> ::airlock_sdk::__private::Built::built(#ident(dag)));
            quote!(|dag| #built)
        }
    };
    let docs: Vec<&Attribute> = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect();
    let vis = &function.vis;
    let (doc, description, display_name) = (option(doc), option(description), option(display_name));
    let (start, end) = (option(start), option(end));
    let sdk = quote!(::airlock_sdk::__private);

    Ok(quote! {
        #function

        #(#docs)*
        #[expect(non_camel_case_types, reason = "the type stands for the function")]
        #vis struct #ident {}

        impl ::airlock_sdk::DagFunction for #ident {
            fn definition() -> &'static #sdk::Definition {
                static DEFINITION: #sdk::Definition = #sdk::Definition {
                    dag_id: #dag_id,
                    display_name: #display_name,
                    description: #description,
                    doc: #doc,
                    owners: &[#(#owners),*],
                    tags: &[#(#tags),*],
                    schedule: #schedule,
                    assets: #assets,
                    timezone: #zone_name,
                    start_us: #start,
                    end_us: #end,
                    catchup: #catchup,
                    jitter_ms: #jitter,
                    max_active_runs: #max_active_runs,
                    max_active_tasks: #max_active_tasks,
                    run_timeout_ms: #run_timeout,
                    fail_fast: #fail_fast,
                    max_consecutive_failed_dag_runs: #max_consecutive_failed_dag_runs,
                    deadline_ms: #deadline,
                    weight_rule: #weight_rule,
                    concurrency: #concurrency,
                    callbacks: #callbacks,
                    paused: #paused,
                    allowed_run_types: #run_types,
                    record: #record,
                    variables: &[#(#variables),*],
                    connections: &[#(#connections),*],
                    connection_secrets: &[#(#connection_secrets),*],
                    hosts: &[#(#hosts),*],
                    dags: &[#(#dags),*],
                    memory_mib: #memory,
                    build: #build,
                };
                &DEFINITION
            }
        }
    })
}
