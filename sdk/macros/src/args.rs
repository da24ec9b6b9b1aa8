//! Reading `name = value` arguments, with errors at what is wrong.

use std::str::FromStr;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, Error, Expr, ExprArray, ExprLit, ExprUnary, Ident, Lit, LitStr, Meta, Result, Token, UnOp,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    spanned::Spanned,
};

/// The arguments of an attribute. What is not taken by the end is refused.
pub struct Args {
    list: Vec<Arg>,
    known: Vec<&'static str>,
}

struct Arg {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Arg {
    fn parse(input: ParseStream) -> Result<Self> {
        let name = input.parse()?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() { Some(input.parse()?) } else { None };
        Ok(Self { name, value })
    }
}

impl Parse for Args {
    fn parse(input: ParseStream) -> Result<Self> {
        let list: Vec<Arg> = Punctuated::<Arg, Token![,]>::parse_terminated(input)?.into_iter().collect();
        for (at, arg) in list.iter().enumerate() {
            if list[..at].iter().any(|before| before.name == arg.name) {
                return Err(Error::new(arg.name.span(), format!("`{}` is given twice", arg.name)));
            }
        }
        Ok(Self { list, known: Vec::new() })
    }
}

impl Args {
    fn take(&mut self, name: &'static str) -> Option<Arg> {
        self.known.push(name);
        let at = self.list.iter().position(|arg| arg.name == name)?;
        Some(self.list.remove(at))
    }

    /// Where the argument `name` stands, if it is given and not taken yet.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.list.iter().find(|arg| arg.name == name).map(|arg| arg.name.span())
    }

    fn value(&mut self, name: &'static str, example: &str) -> Result<Option<Expr>> {
        let Some(arg) = self.take(name) else { return Ok(None) };
        let missing = || Error::new(arg.name.span(), format!("`{name}` needs a value: `{name} = {example}`"));
        arg.value.ok_or_else(missing).map(Some)
    }

    /// `name = an expression`.
    pub fn expression(&mut self, name: &'static str, example: &str) -> Result<Option<Expr>> {
        self.value(name, example)
    }

    /// `name = "text"`.
    pub fn text(&mut self, name: &'static str, example: &str) -> Result<Option<LitStr>> {
        self.value(name, example)?.map(|value| text_of(value, name, example)).transpose()
    }

    /// `name = ["text", ..]`.
    pub fn texts(&mut self, name: &'static str, example: &str) -> Result<Vec<LitStr>> {
        match self.value(name, example)? {
            None => Ok(Vec::new()),
            Some(Expr::Array(ExprArray { elems, .. })) => {
                elems.into_iter().map(|value| text_of(value, name, example)).collect()
            }
            Some(other) => Err(wanted(&other, name, example)),
        }
    }

    /// `name = "text"` or `name = ["text", ..]`.
    pub fn text_or_texts(&mut self, name: &'static str, example: &str) -> Result<Vec<LitStr>> {
        match self.value(name, example)? {
            None => Ok(Vec::new()),
            Some(Expr::Array(ExprArray { elems, .. })) => {
                elems.into_iter().map(|value| text_of(value, name, example)).collect()
            }
            Some(value) => Ok(vec![text_of(value, name, example)?]),
        }
    }

    /// `name`, `name = true` or `name = false`.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Arg { value: None, .. }) => Ok(Some(true)),
            Some(Arg { value: Some(Expr::Lit(ExprLit { lit: Lit::Bool(flag), .. })), .. }) => Ok(Some(flag.value)),
            Some(Arg { value: Some(other), .. }) => Err(wanted(&other, name, "true")),
        }
    }

    /// `name = 3`, at least `least`.
    pub fn number<N: FromStr + PartialOrd + std::fmt::Display>(
        &mut self,
        name: &'static str,
        least: Option<N>,
    ) -> Result<Option<N>>
    where
        N::Err: std::fmt::Display,
    {
        let Some(value) = self.value(name, "2")? else { return Ok(None) };
        let (negative, literal) = match &value {
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => (true, &**expr),
            other => (false, other),
        };
        let digits = match literal {
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_digits(),
            Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_digits(),
            _ => return Err(wanted(&value, name, "2")),
        };
        let text = format!("{}{digits}", if negative { "-" } else { "" });
        let number: N = text.parse().map_err(|error| Error::new(value.span(), format!("`{name}`: {error}")))?;
        match least {
            Some(least) if number < least => {
                Err(Error::new(value.span(), format!("`{name}` must be at least {least}")))
            }
            _ => Ok(Some(number)),
        }
    }

    /// `name = [1, -1]`.
    pub fn numbers(&mut self, name: &'static str, example: &str) -> Result<Vec<i32>> {
        let Some(value) = self.value(name, example)? else { return Ok(Vec::new()) };
        let Expr::Array(ExprArray { elems, .. }) = &value else { return Err(wanted(&value, name, example)) };
        let number = |value: &Expr| {
            let (sign, literal) = match value {
                Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => (-1, &**expr),
                other => (1, other),
            };
            match literal {
                Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<i32>().map(|n| sign * n),
                other => Err(wanted(other, name, example)),
            }
        };
        elems.iter().map(number).collect()
    }

    /// `name = "1h30m"`, in milliseconds.
    pub fn duration_ms(&mut self, name: &'static str) -> Result<Option<u64>> {
        let Some(text) = self.text(name, "\"30s\"")? else { return Ok(None) };
        duration_ms(&text.value()).map(Some).map_err(|why| {
            Error::new(
                text.span(),
                format!("`{}` is not a duration: {why}; write it as \"30s\" or \"1h30m\"", text.value()),
            )
        })
    }

    /// Refuses what was not asked for.
    pub fn finish(self) -> Result<()> {
        match self.list.first() {
            None => Ok(()),
            Some(arg) => Err(Error::new(
                arg.name.span(),
                format!("there is no argument `{}`; there are {}", arg.name, self.known.join(", ")),
            )),
        }
    }
}

fn text_of(value: Expr, name: &str, example: &str) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text),
        other => Err(wanted(&other, name, example)),
    }
}

fn wanted(value: &Expr, name: &str, example: &str) -> Error {
    Error::new(value.span(), format!("write `{name} = {example}`"))
}

pub fn duration_ms(text: &str) -> std::result::Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| format!("there should be a number before `{unit}`"))?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err("its number has no unit".into()),
            other => return Err(format!("there is no unit `{other}`")),
        };
        sum = number.checked_mul(unit_ms).and_then(|part| sum.checked_add(part)).ok_or("it is too long")?;
        rest = after.trim_start();
    }
    Ok(sum)
}

/// The text of the doc comments among `attributes`.
pub fn doc_comment(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> =
        lines.map(|line| without_stars(line.strip_prefix(' ').unwrap_or(&line)).trim_end().to_owned()).collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What a `/** .. */` says, whose lines begin with stars that rustc leaves to whoever reads it.
fn without_stars(text: &str) -> String {
    let starred =
        |line: &str| line.trim_start().strip_prefix('*').map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned());
    let Some((first, rest)) = text.split_once('\n') else { return text.to_owned() };
    let Some((rest, "")) = rest.rsplit_once('\n').map(|(rest, last)| (rest, last.trim())) else {
        return text.to_owned();
    };
    match rest.split('\n').map(starred).collect::<Option<Vec<_>>>() {
        Some(lines) => format!("{first}\n{}", lines.join("\n")),
        None => text.to_owned(),
    }
}

/// `Some(x)` or `None`, as tokens.
pub fn option<T: quote::ToTokens>(value: Option<T>) -> TokenStream {
    value.map_or_else(|| quote!(::core::option::Option::None), |value| quote!(::core::option::Option::Some(#value)))
}

/// Checks that `name` can be an id in Airlock.
pub fn check_name(name: &str, span: Span, kind: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > 250 || !name.chars().all(plain) || name.contains("..") || name == "." {
        return Err(Error::new(
            span,
            format!("`{name}` can't be {kind}: use 1 to 250 letters, digits, `_`, `-` and `.`, without `..`"),
        ));
    }
    Ok(())
}

/// The `on_<event>` arguments: lists of connection ids and of `dag:<dag_id>`.
pub fn callbacks(args: &mut Args, events: &'static [&'static str]) -> Result<TokenStream> {
    let sdk = quote!(::airlock_sdk::__private);
    let mut callbacks = Vec::new();
    for event in events {
        let (name, variant) = match *event {
            "success" => ("on_success", quote!(Success)),
            "failure" => ("on_failure", quote!(Failure)),
            "retry" => ("on_retry", quote!(Retry)),
            "skipped" => ("on_skipped", quote!(Skipped)),
            "question" => ("on_question", quote!(Question)),
            _ => ("on_deadline", quote!(Deadline)),
        };
        for target in args.text_or_texts(name, "\"alerts\"")? {
            match target.value().strip_prefix("dag:") {
                Some(dag_id) => check_name(dag_id, target.span(), "a dag's id")?,
                None => check_name(&target.value(), target.span(), "a connection's id")?,
            }
            callbacks.push(quote!(#sdk::Callback { event: #sdk::CallbackEvent::#variant, target: #target }));
        }
    }
    Ok(quote!(&[#(#callbacks),*]))
}

/// `record = "failure"`: an option of the SDK's `Recording`.
pub fn recording(args: &mut Args) -> Result<TokenStream> {
    let Some(word) = args.text("record", "\"failure\"")? else { return Ok(option::<TokenStream>(None)) };
    let variant = match word.value().as_str() {
        "off" => quote!(Off),
        "failure" => quote!(Failure),
        "always" => quote!(Always),
        other => {
            let why = format!("`{other}` is not one of \"off\", \"failure\" and \"always\"");
            return Err(Error::new(word.span(), why));
        }
    };
    Ok(option(Some(quote!(::airlock_sdk::Recording::#variant))))
}

/// `allowed_run_types = ["scheduled"]`: a slice of the SDK's; empty if nothing is said.
pub fn run_types(args: &mut Args) -> Result<TokenStream> {
    let mut types = Vec::new();
    for word in args.texts("allowed_run_types", "[\"scheduled\", \"backfill\"]")? {
        types.push(match word.value().as_str() {
            "scheduled" => quote!(::airlock_sdk::RunType::Scheduled),
            "manual" => quote!(::airlock_sdk::RunType::Manual),
            "asset_triggered" => quote!(::airlock_sdk::RunType::AssetTriggered),
            "operator_triggered" => quote!(::airlock_sdk::RunType::OperatorTriggered),
            "backfill" => quote!(::airlock_sdk::RunType::Backfill),
            other => {
                let known = "\"scheduled\", \"manual\", \"asset_triggered\", \"operator_triggered\" and \"backfill\"";
                return Err(Error::new(word.span(), format!("`{other}` is not one of {known}")));
            }
        });
    }
    Ok(quote!(&[#(#types),*]))
}

/// `weight_rule = "downstream"`: a path of the SDK's.
pub fn weight_rule(args: &mut Args) -> Result<Option<TokenStream>> {
    let Some(word) = args.text("weight_rule", "\"downstream\"")? else { return Ok(None) };
    let variant = match word.value().as_str() {
        "absolute" => quote!(Absolute),
        "downstream" => quote!(Downstream),
        "upstream" => quote!(Upstream),
        other => {
            let why = format!("`{other}` is not one of \"absolute\", \"downstream\" and \"upstream\"");
            return Err(Error::new(word.span(), why));
        }
    };
    Ok(Some(quote!(::airlock_sdk::WeightRule::#variant)))
}

/// `concurrency_key = "{{ params.customer }}", concurrency_limit = 1`; the limit is 1 if it is left out.
pub fn concurrency(args: &mut Args) -> Result<Option<(LitStr, u32)>> {
    let key = args.text("concurrency_key", "\"{{ params.customer }}\"")?;
    let limit = args.number::<u32>("concurrency_limit", Some(1))?;
    match (key, limit) {
        (Some(key), limit) => Ok(Some((key, limit.unwrap_or(1)))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Error::new(
            Span::call_site(),
            "`concurrency_limit` needs a `concurrency_key`, such as \"{{ params.customer }}\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_are_read_without_what_marks_them() {
        for (source, said) in [
            ("/// One.\n///\n///     code\nfn f() {}", "One.\n\n    code"),
            ("/** One. */ fn f() {}", "One."),
            ("/**\n * One,\n *\n * - two.\n */\nfn f() {}", "One,\n\n- two."),
            ("/** One,\n  * two.\n  */\nfn f() {}", "One,\ntwo."),
            ("/**\nOne:\n* two\n*/\nfn f() {}", "One:\n* two"),
            ("#[doc = \"* one\\n* two\"]\nfn f() {}", "* one\n* two"),
        ] {
            let function: syn::ItemFn = syn::parse_str(source).unwrap();
            assert_eq!(doc_comment(&function.attrs).as_deref(), Some(said), "{source}");
        }
    }

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        assert_eq!(duration_ms("30s"), Ok(30_000));
        assert_eq!(duration_ms("1h 30m"), Ok(5_400_000));
        assert_eq!(duration_ms("250ms"), Ok(250));
        for wrong in ["", "30", "s", "3 weeks", "-1s", "99999999999999999999d"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}
