//! What reads an input, and what must hold of that whatever the input is.

use std::{collections::BTreeSet, net::IpAddr};

use airlock::{
    connections::{Reach, refused_literally},
    executor::Recording,
    model::{
        cron::Cron,
        dag::{Catalog, Dag},
        dag_access::DagPermission,
        grants::{Grant, Grants},
        ids::{ConnectionId, DagId, Digest, RunId, TaskId, VariableKey, XComKey},
        pods::settings::Fleets,
        proxies::TrustedProxies,
        role::Role,
        sign_in::SignInRules,
        signers::Signers,
        spec::{GrantsSpec, ModuleSpec, ScheduleSpec},
        state::RunType,
        template::{Known, Names, RunScope, Scope, TaskScope, Template, TextTemplate},
        time::Timestamp,
        timetable::Timetable,
        yaml,
    },
    sandbox,
    secrets::{MASK, Masker, redact as redacted, restore},
    ui::{ansi, doc, log},
    vault::ImportedConnection,
    wire::{Compiled, FrameReader, FromRunner, ToRunner},
};
use chrono_tz::Tz;
use serde_json::{Value, json};

pub use crate::server::request;

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn words<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

/// The look at an upload, before wasmtime sees it.
pub fn upload(input: &[u8]) -> String {
    words(sandbox::check(input))
}

/// What a compiler says that a component describes.
pub fn described(input: &[u8]) -> String {
    let module: ModuleSpec = match serde_json::from_slice(input) {
        Ok(module) => module,
        Err(error) => return error.to_string(),
    };
    let catalog = Catalog::new(&module.entries);
    module.dags.iter().map(|spec| words(Dag::from_spec(spec, &catalog)) + ";").collect()
}

/// Frames of a runner and of a compiler; what was read is what is written again.
pub fn frames(input: &[u8]) -> String {
    let mut said = String::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut runner = FrameReader::new(input);
        while let Ok(Some(message)) = runner.next::<FromRunner>().await {
            said += airlock::wire::frame(&message).map_or("too large", |_| "frame");
        }
        said += &words(FrameReader::new(input).next::<ToRunner>().await);
        said += &words(FrameReader::new(input).next::<Compiled>().await);
    });
    said
}

pub fn yaml(input: &[u8]) -> String {
    match yaml::parse(&text(input)) {
        Ok(files) => files.iter().map(|file| words(file.to_spec(&yaml::Libraries::new()))).collect(),
        Err(error) => error.to_string(),
    }
}

/// Fires after it is asked and in order, whatever the zone.
pub fn cron(input: &[u8]) -> String {
    let (zone, expression) = input.split_first().map_or((0, input), |(first, rest)| (*first, rest));
    let zone = [Tz::UTC, Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__Sao_Paulo][usize::from(zone) % 4];
    match Cron::new(&text(expression), zone) {
        Ok(cron) => {
            let mut at: Timestamp = "2026-03-28T23:30:00Z".parse().unwrap();
            for _ in 0..5 {
                let Some(next) = cron.next_after(at) else { return "over".to_owned() };
                assert!(next > at, "{expression:?}");
                assert!(cron.first_after(at).is_none_or(|first| first >= next), "{expression:?}");
                assert!(cron.prev_before(next).is_none_or(|before| before < next));
                at = next;
            }
            "fires".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

pub fn timetable(input: &[u8]) -> String {
    let schedule: ScheduleSpec = match serde_json::from_slice(input) {
        Ok(schedule) => schedule,
        Err(error) => return error.to_string(),
    };
    match Timetable::from_spec(&schedule, Tz::Europe__Berlin, None) {
        Ok(timetable) => {
            let at: Timestamp = "2026-03-28T23:30:00Z".parse().unwrap();
            let ticks = timetable.next_ticks(at, 5);
            assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]) && ticks.iter().all(|tick| *tick > at));
            let _ = (timetable.tick_before(at), timetable.manual_interval(at), timetable.tick_at_or_before(at));
            format!("ticks {}", ticks.is_empty())
        }
        Err(error) => error.to_string(),
    }
}

fn with_scope<T>(act: impl FnOnce(&Names<'_>, &Scope<'_>) -> T) -> T {
    let (params, inputs) = (BTreeSet::from(["customer", "n"]), BTreeSet::from(["file"]));
    let names = Names { params: &params, grants: None, has_task: true, inputs: Some(&inputs) };
    let (param_values, input_values) = (json!({"customer": "acme", "n": 3}), json!({"file": "a.csv"}));
    let run = RunScope {
        dag_id: "sales",
        run_id: "manual__1",
        run_type: RunType::Manual,
        timezone: Tz::Asia__Seoul,
        logical_date: Some("2026-01-31T22:04:05.5Z".parse().unwrap()),
        data_interval: None,
        run_after: "2026-02-01T00:00:00Z".parse().unwrap(),
        params: &param_values,
    };
    let task = TaskScope { task_id: "load", map_index: 2, try_number: 1, max_tries: 4, inputs: Some(&input_values) };
    act(&names, &Scope { run, task: Some(task), known: &Known::default() })
}

/// What comes of a template has a bound.
pub fn template(input: &[u8]) -> String {
    with_scope(|names, scope| match TextTemplate::new(&text(input), names) {
        Ok(template) => match template.render(scope) {
            Ok(rendered) => {
                assert!(rendered.len() <= 4 << 20);
                "rendered".to_owned()
            }
            Err(halt) => halt.to_string(),
        },
        Err(error) => error.to_string(),
    })
}

pub fn templates_in_json(input: &[u8]) -> String {
    let value: Value = match serde_json::from_slice(input) {
        Ok(value) => value,
        Err(error) => return error.to_string(),
    };
    with_scope(|names, scope| match Template::new(&value, &json!({}), names) {
        Ok(template) => match template.render(scope) {
            Ok(_) => "rendered".to_owned(),
            Err((at, halt)) => format!("`{at}`{halt}"),
        },
        Err((at, error)) => format!("`{at}`{error}"),
    })
}

/// A line of a log on the page: no character that moves a cursor is left, and no text is lost to a class.
pub fn log_line(input: &[u8]) -> String {
    let line = text(input);
    let plain = ansi::plain(&line);
    let pieces = ansi::pieces(&line);
    assert!(!plain.contains('\u{1b}') && !pieces.iter().any(|(text, _)| text.contains('\u{1b}')));
    assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), plain);
    for (_, class) in &pieces {
        assert!(class.chars().all(|c| c.is_ascii_alphanumeric() || " -_".contains(c)), "{class}");
    }
    let shown = log::LogFilter::new("", &line.chars().take(3).collect::<String>()).view(1, &line);
    format!("{} {}", pieces.len().min(9), shown.is_some())
}

/// Docs are markup of ours around text of others.
pub fn document(input: &[u8]) -> String {
    let said = text(input);
    let mut tags = BTreeSet::new();
    for html in [doc::render(&said).to_string(), doc::line(&said).to_string()] {
        let mut rest = html.as_str();
        while let Some((_, after)) = rest.split_once('<') {
            let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
            let allowed = [
                "p", "ul", "ol", "li", "code", "pre", "strong", "em", "b", "i", "a", "h2", "h3", "h4", "h5", "h6",
                "br", "br/", "div",
            ];
            assert!(allowed.contains(&name.trim_start_matches('/')), "<{name}> of {said:?}");
            tags.insert(name);
            rest = after;
        }
        for scheme in html.split("href=\"").skip(1) {
            let is_safe = ["http://", "https://", "mailto:", "/"].iter().any(|start| scheme.starts_with(start));
            assert!(is_safe && !scheme.starts_with("//"), "{html}");
        }
    }
    format!("{tags:?}")
}

/// Wherever a secret is cut, it is not in what comes out.
pub fn mask(input: &[u8]) -> String {
    const SECRET: &str = "Tr0ub4dor-and-3";
    let masker = Masker::new([SECRET, "line one of two\nline two of two"]);
    let cut = usize::from(input.first().copied().unwrap_or(0)).min(SECRET.len());
    let mut whole = input.to_vec();
    whole.extend_from_slice(SECRET.as_bytes());
    whole.extend_from_slice(&input[input.len() / 2..]);
    let at = (input.len() + cut).min(whole.len());
    let mut stream = masker.stream();
    let mut out = stream.push(&whole[..at]);
    out.extend(stream.push(&whole[at..]));
    out.extend(stream.finish());
    assert!(!out.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{:?}", text(&out));
    assert!(!masker.mask(&text(&whole)).contains(SECRET));
    format!("{}", out.windows(3).filter(|window| window == b"***").count().min(9))
}

/// What is shown comes back as it was, and holds no secret.
pub fn redact(input: &[u8]) -> String {
    let said = text(input);
    let shown = redacted("extra", &said);
    let extra = json!({"password": said, "list": [{"api_token": said}], "plain": 1}).to_string();
    let hidden = redacted("extra", &extra);
    assert_eq!(hidden, json!({"password": MASK, "list": [{"api_token": MASK}], "plain": 1}).to_string());
    assert_eq!(restore(&hidden, &extra), extra);
    format!("{}", shown == said)
}

/// A name that is taken opens no path and no page.
pub fn names(input: &[u8]) -> String {
    let name = text(input);
    let taken = [
        DagId::new(&name).is_ok(),
        TaskId::new(&name).is_ok(),
        RunId::new(&name).is_ok(),
        VariableKey::new(&name).is_ok(),
        ConnectionId::new(&name).is_ok(),
        XComKey::new(&name).is_ok(),
        name.parse::<Digest>().is_ok(),
    ];
    if taken[..3].iter().any(|taken| *taken) {
        assert!(
            !name.is_empty()
                && name != "."
                && name != ".."
                && !name.contains(['/', '\\', '\0', '\n', '<', '"', '\u{1b}']),
            "{name:?}"
        );
    }
    format!("{taken:?}")
}

/// What is read as a grant is written as what reads as the same.
pub fn grants(input: &[u8]) -> String {
    let said = text(input);
    let list: Vec<String> = said.split('\n').map(str::to_owned).collect();
    let spec = GrantsSpec {
        variables: list.clone(),
        connections: list.clone(),
        hosts: list.clone(),
        dags: list,
        ..GrantsSpec::default()
    };
    let granted = match said.parse::<Grant>() {
        Ok(grant) => {
            assert_eq!(grant.to_string().parse::<Grant>().ok().as_ref(), Some(&grant));
            assert!(grant.covers(&grant));
            "grant".to_owned()
        }
        Err(error) => error.to_string(),
    };
    granted + &words(Grants::from_spec(&spec))
}

/// However an address inside is written, it is refused.
pub fn address(input: &[u8]) -> String {
    let said = text(input);
    let Ok(url) = reqwest::Url::parse(&said).or_else(|_| reqwest::Url::parse(&format!("http://{said}/"))) else {
        return "no url".to_owned();
    };
    let Some(host) = url.host_str() else { return "no host".to_owned() };
    let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
        return "a name".to_owned();
    };
    let refused = Reach::Public.refuses(address);
    let inside = |address: IpAddr| match address {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    };
    assert!(refused.is_some() || !inside(address.to_canonical()), "{address}");
    // The same address, as IPv6 can carry it.
    if let IpAddr::V4(v4) = address {
        let bits = u128::from(u32::from(v4));
        for wrapped in
            [(0xffff_u128 << 32) | bits, (0x0064_ff9b_u128 << 96) | bits, (0x2002_u128 << 112) | (bits << 80)]
        {
            let wrapped = IpAddr::V6(wrapped.into());
            assert!(refused.is_none() || Reach::Public.refuses(wrapped).is_some(), "{v4} as {wrapped}");
        }
    }
    let _ = refused_literally(host);
    format!("{refused:?}")
}

/// The client is the peer, or was named by a proxy that is believed.
pub fn proxies(input: &[u8]) -> String {
    let said = text(input);
    let (nets, forwarded) = said.split_once('|').unwrap_or((&said, ""));
    let peer: IpAddr = [203, 0, 113, 5].into();
    match nets.parse::<TrustedProxies>() {
        Ok(proxies) => {
            let client = proxies.client(peer, forwarded.split(','));
            assert!(client == peer || proxies.trusts(peer), "{said:?}");
            format!("{}", client == peer)
        }
        Err(error) => error.to_string(),
    }
}

/// A connection as Airflow exports it.
pub fn connection(input: &[u8]) -> String {
    words(ImportedConnection::parse(&text(input)))
}

/// Nothing is signed by a key that did not sign it.
pub fn signature(input: &[u8]) -> String {
    let said = text(input);
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let signers: Signers = format!("ann={key}").parse().unwrap();
    let checked = signers.check(b"a component", Some(&said));
    assert!(checked.is_err());
    words(checked) + &words(said.parse::<Signers>())
}

/// An instant is the same when it was written and read again.
pub fn instant(input: &[u8]) -> String {
    match text(input).parse::<Timestamp>() {
        Ok(at) => {
            assert_eq!(at.to_string().parse::<Timestamp>().ok(), Some(at));
            "instant".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

pub fn permissions(input: &[u8]) -> String {
    match text(input).lines().map(str::parse::<DagPermission>).collect::<Result<Vec<_>, _>>() {
        Ok(permissions) => words(DagPermission::checked(permissions)),
        Err(error) => error.to_string(),
    }
}

/// Custom sections of a component, as far as they say where it comes from. Whatever they hold, little of it is kept.
pub fn provenance(input: &[u8]) -> String {
    let said = sandbox::provenance(input);
    let kept = serde_json::to_vec(&said).unwrap();
    assert!(kept.len() < 16 << 20, "{} bytes", kept.len());
    assert!(!kept.contains(&0x1b));
    format!("{} {} {:?}", said.labels.len(), said.producers.len(), said.notes)
}

/// A file of `airlock replay`.
pub fn recording(input: &[u8]) -> String {
    words(Recording::from_bytes(input))
}

/// Claims of a token whose signature was good: nobody gets a role by what is no text of a list.
pub fn claims(input: &[u8]) -> String {
    let claims: Value = match serde_json::from_slice(input) {
        Ok(claims) => claims,
        Err(error) => return error.to_string(),
    };
    let rules = SignInRules {
        roles_claim: Some("groups".to_owned()),
        roles: "admins=admin,x=y=viewer".parse().unwrap(),
        ..SignInRules::default()
    };
    let role = rules.role(&claims, None);
    if role == Ok(Role::Admin) {
        let groups = &claims["groups"];
        let is_there = groups == "admins" || groups.as_array().is_some_and(|groups| groups.contains(&"admins".into()));
        assert!(is_there, "{claims}");
    }
    format!("{} {:?}", words(rules.username(&claims)), role)
}

/// The file of `kubernetes.fleets`.
pub fn fleets(input: &[u8]) -> String {
    words(Fleets::parse(&text(input)))
}
