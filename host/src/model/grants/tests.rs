//! What is granted, and what is not.

use proptest::prelude::*;

use super::*;
use crate::model::{
    callback::CallbackEvent,
    spec::{CallbackSpec, NodeSpec},
};

fn own(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn grants(variables: &[&str], hosts: &[&str]) -> Grants {
    Grants::from_spec(&GrantsSpec { variables: own(variables), hosts: own(hosts), ..GrantsSpec::default() }).unwrap()
}

fn grant(text: &str) -> Grant {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> BTreeSet<Grant> {
    texts.iter().map(|text| grant(text)).collect()
}

/// What a dag asks for.
fn asked(texts: &[&str]) -> Grants {
    Grants::of(set(texts), DEFAULT_MEMORY_MIB)
}

fn approved(texts: &[&str]) -> Decisions {
    let mut decisions = Decisions::default();
    decisions.approve(&set(texts)).unwrap();
    decisions
}

#[test]
fn a_prefix_grants_what_starts_with_it_and_nothing_else() {
    let grants = grants(&["reports/*", "target"], &[]);
    let key = |text: &str| VariableKey::new(text).unwrap();
    assert!(grants.allows_variable(&key("reports/a")));
    assert!(grants.allows_variable(&key("target")));
    assert!(!grants.allows_variable(&key("targets")));
    assert!(!grants.allows_variable(&key("report")));
}

#[test]
fn dags_are_granted_by_name_or_prefix() {
    let spec = GrantsSpec { dags: vec!["load".into(), "report-*".into()], ..GrantsSpec::default() };
    let grants = Grants::from_spec(&spec).unwrap();
    let allows = |id: &str| grants.allows_dag(&DagId::new(id).unwrap());
    assert_eq!(["load", "loads", "report-a", "report"].map(allows), [true, false, true, false]);
}

#[test]
fn a_callback_that_starts_a_dag_asks_for_it() {
    let told = |event, target: &str| CallbackSpec { event, target: target.to_owned() };
    let callbacks = vec![told(CallbackEvent::Retry, "dag:mend"), told(CallbackEvent::Failure, "chat")];
    let spec = DagSpec {
        grants: GrantsSpec { variables: own(&["city"]), dags: own(&["load"]), ..GrantsSpec::default() },
        callbacks: vec![
            told(CallbackEvent::Success, "dag:payroll"),
            told(CallbackEvent::Failure, "dag:load"),
            told(CallbackEvent::Failure, "dag:no id"),
        ],
        nodes: vec![NodeSpec { callbacks, ..NodeSpec::new("t", "work") }],
        ..DagSpec::new("told")
    };
    let asked = Grants::from_dag_spec(&spec).unwrap();
    let requests: Vec<_> = asked.requests().map(|request| request.to_string()).collect();
    assert_eq!(requests, ["variable:city", "dag:load", "dag:mend", "dag:payroll"]);
    assert_eq!(Grants::from_spec(&spec.grants).unwrap().requests().count(), 2);
    let mend = Grant::of_dag(&DagId::new("mend").unwrap());
    let (open, review) = (GrantsPolicy::default(), GrantsPolicy::review());
    assert_eq!(Decisions::default().standing_of(&mend, &open), Standing::Granted);
    assert_eq!(Decisions::default().standing_of(&mend, &review), Standing::Waits);
    assert_eq!(approved(&["dag:me*"]).standing_of(&mend, &review), Standing::Approved);
    assert_eq!(approved(&["dag:payroll"]).standing_of(&mend, &review), Standing::Waits);
    let mut revoked = Decisions::default();
    revoked.revoke(&set(&["dag:mend"])).unwrap();
    assert_eq!(revoked.standing_of(&mend, &open), Standing::Revoked);
}

#[test]
fn a_connection_is_used_or_read_too() {
    let spec = GrantsSpec {
        connections: own(&["Api", "api"]),
        connection_secrets: own(&["Legacy_DB"]),
        ..GrantsSpec::default()
    };
    let grants = Grants::from_spec(&spec).unwrap();
    let id = |text: &str| ConnectionId::new(text).unwrap();
    assert!(grants.allows_connection(&id("api")) && !grants.allows_connection_secret(&id("api")));
    assert!(grants.allows_connection(&id("Legacy_DB")) && grants.allows_connection_secret(&id("Legacy_DB")));
    assert_eq!(grants.connection_of_host("api"), Some(&id("api")));
    assert_eq!(grants.connection_of_host("legacy_db"), Some(&id("Legacy_DB")));
    assert_eq!(grants.connection_of_host("other"), None);
}

#[test]
fn hosts_match_whole_names_and_ports() {
    let grants = grants(&[], &["api.example.org", "*.data.example.org:8443", "dev.example.org:*"]);
    assert!(grants.allows_host("api.example.org", 443, 443));
    assert!(grants.allows_host("api.example.org", 80, 80));
    assert!(!grants.allows_host("api.example.org", 22, 443));
    assert!(!grants.allows_host("api.example.org", 443, 80), "https's port by http");
    assert!(!grants.allows_host("xapi.example.org", 443, 443));
    assert!(grants.allows_host("a.data.example.org", 8443, 443));
    assert!(!grants.allows_host("data.example.org", 8443, 443));
    assert!(!grants.allows_host("a.data.example.org", 443, 443));
    assert!(grants.allows_host("dev.example.org", 8080, 80));
}

#[test]
fn an_address_of_ipv6_is_granted_however_it_is_written() {
    let grants = grants(&[], &["[2001:DB8:0::7]", "[2001:db8::8]:*"]);
    assert!(grants.allows_host("[2001:db8::7]", 443, 443));
    assert!(!grants.allows_host("[2001:db8::7]", 8443, 443));
    assert!(grants.allows_host("[2001:db8::8]", 8443, 443));
    assert!(!grants.allows_host("[2001:db8::9]", 443, 443));
}

#[test]
fn what_cannot_be_granted_is_refused_by_name() {
    let refused = |spec: GrantsSpec| Grants::from_spec(&spec).unwrap_err().to_string();
    assert!(refused(GrantsSpec { variables: vec!["*".into()], ..GrantsSpec::default() }).contains("variable:*"));
    assert!(refused(GrantsSpec { hosts: vec!["a b".into()], ..GrantsSpec::default() }).contains("http:a b"));
    assert!(refused(GrantsSpec { dags: vec!["*".into()], ..GrantsSpec::default() }).contains("dag:*"));
    assert!(refused(GrantsSpec { memory_mib: Some(0), ..GrantsSpec::default() }).contains("memory:0"));
    for text in [
        "",
        "variable",
        "storage:a",
        "http:",
        "http:[a]",
        "http:[::1",
        "http:[::1]x:1",
        "http:::1",
        "memory:5000",
        "connection:a b",
    ] {
        assert!(text.parse::<Grant>().is_err(), "{text}");
    }
}

#[test]
fn a_grant_is_read_as_it_is_written() {
    for text in [
        "variable:a:b",
        "variable:a/*",
        "connection:c",
        "connection-secret:c",
        "http:*.a.org:8443",
        "http:a:*",
        "http:[2001:db8::7]",
        "http:[2001:db8::7]:8443",
        "http:[::ffff:10.0.0.1]:*",
    ] {
        assert_eq!(grant(text).to_string(), text);
    }
    assert_eq!(grant("http:API.org").to_string(), "http:api.org");
    for text in ["grant", "review", "connection-secret,http"] {
        assert_eq!(text.parse::<GrantsPolicy>().unwrap().to_string(), text);
    }
    assert_eq!("http, variable".parse::<GrantsPolicy>().unwrap().to_string(), "variable,http");
    let all = GrantKind::ALL.map(GrantKind::as_str).join(",");
    assert_eq!(all.parse::<GrantsPolicy>().unwrap(), GrantsPolicy::review());
    assert!("none".parse::<GrantsPolicy>().unwrap_err().to_string().contains("`connection-secret`"));
}

#[test]
fn one_grant_covers_or_touches_another() {
    // What is more, what is less, whether it covers it, whether it touches it.
    let cases = [
        ("variable:a/*", "variable:a/b", true, true),
        ("variable:a/*", "variable:a/b*", true, true),
        ("variable:a/b", "variable:a/*", false, true),
        ("variable:a", "variable:ab", false, false),
        ("variable:a*", "dag:a", false, false),
        ("connection-secret:c", "connection:c", true, true),
        ("connection:c", "connection-secret:c", false, false),
        ("connection:c", "connection:C", false, false),
        ("http:*.a.org", "http:b.a.org", true, true),
        ("http:*.a.org", "http:*.b.a.org", true, true),
        ("http:*.a.org", "http:a.org", false, false),
        ("http:*.a.org:443", "http:b.a.org:*", false, true),
        ("http:a.org:*", "http:a.org", true, true),
        ("http:a.org", "http:a.org:443", false, true),
        ("http:a.org", "http:a.org:22", false, false),
        ("memory:1024", "memory:512", true, true),
        ("memory:512", "memory:1024", false, true),
    ];
    for (more, less, covers, touches) in cases {
        assert_eq!(grant(more).covers(&grant(less)), covers, "{more} covers {less}");
        assert_eq!(grant(more).touches(&grant(less)), touches, "{more} touches {less}");
    }
}

#[test]
fn requests_are_granted_by_policy_or_approval() {
    let requested = asked(&["variable:a/*", "http:x.org", "memory:1024"]);
    let standings = |decisions: &Decisions, policy: &str| {
        let verdict = decisions.decide(&requested, &policy.parse().unwrap());
        let mut standings: Vec<_> = verdict.requests.iter().map(|(_, standing)| standing.as_str()).collect();
        standings.push(if verdict.effective == requested { "all" } else { "less" });
        standings
    };
    let none = Decisions::default();
    assert_eq!(standings(&none, "grant"), ["granted", "granted", "granted", "all"]);
    assert_eq!(standings(&none, "review"), ["waits", "waits", "waits", "less"]);
    assert_eq!(standings(&none, "http"), ["granted", "waits", "granted", "less"]);
    let some = approved(&["variable:a*", "http:*.x.org", "memory:2048"]);
    assert_eq!(standings(&some, "review"), ["approved", "waits", "approved", "less"], "x.org is none of *.x.org");
    let own = Decisions { policy: Some(GrantsPolicy::review()), ..Decisions::default() };
    assert_eq!(standings(&own, "grant"), ["waits", "waits", "waits", "less"], "the dag's own policy");
    let mut revoked = Decisions::default();
    revoked.revoke(&set(&["variable:a/b", "http:x.org:443"])).unwrap();
    assert_eq!(standings(&revoked, "grant"), ["revoked", "revoked", "granted", "less"]);
    revoked.approve(&set(&["variable:a/*"])).unwrap();
    assert_eq!(standings(&revoked, "grant"), ["approved", "revoked", "granted", "less"]);
    revoked.revoke(&set(&["variable:a/c"])).unwrap();
    assert_eq!(standings(&revoked, "grant"), ["revoked", "revoked", "granted", "less"]);
}

#[test]
fn what_was_approved_stays_when_more_is_asked_for() {
    let before = approved(&["variable:a/b", "memory:512", "connection:c", "http:x.org:8443"]);
    let more = asked(&["variable:a/*", "memory:1024", "connection-secret:c", "http:x.org:*", "variable:new"]);
    let verdict = before.decide(&more, &GrantsPolicy::review());
    assert_eq!(verdict.effective, asked(&["variable:a/b", "memory:512", "connection:c", "http:x.org:8443"]));
    assert_eq!(verdict.pending().count(), 5);
    let less = asked(&["variable:a/b"]);
    let verdict = before.decide(&less, &GrantsPolicy::review());
    assert_eq!((verdict.effective, verdict.requests.len()), (less, 1), "not more than is asked for");
    let small = Grants::of(BTreeSet::new(), 64);
    assert_eq!(Decisions::default().decide(&small, &GrantsPolicy::review()).effective, small, "little memory");
}

#[test]
fn decisions_about_a_dag_have_a_bound() {
    let many: BTreeSet<_> = (0..=MAX_DECISIONS).map(|nth| grant(&format!("dag:d{nth}"))).collect();
    let error = Decisions::default().approve(&many).unwrap_err().to_string();
    assert!(error.contains("1000 decisions"), "{error}");
    assert!(Decisions::default().revoke(&set(&["dag:d1", "dag:d*"])).is_ok());
}

#[test]
fn two_versions_are_compared() {
    let (added, removed) =
        asked(&["variable:a", "memory:512"]).compare(&asked(&["variable:a", "memory:1024", "dag:d"]));
    assert_eq!((added, removed), (vec![grant("memory:512")], vec![grant("dag:d"), grant("memory:1024")]));
}

/// Few names, so that they cover each other often.
fn any_grant() -> impl Strategy<Value = Grant> {
    prop_oneof![
        "variable:[ab]{1,3}\\*?",
        "dag:[ab]{1,2}\\*?",
        "connection(-secret)?:[ab]",
        "http:(\\*\\.)?([ab]\\.){0,2}org(:\\*|:443|:8443)?",
        "memory:(300|400|500)",
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn any_grants() -> impl Strategy<Value = BTreeSet<Grant>> {
    prop::collection::btree_set(any_grant(), 0..6)
}

/// Everything that could be asked of grants with such names.
fn probes(grants: &Grants) -> Vec<bool> {
    let names: Vec<String> = (1..=4)
        .flat_map(|length| (0..1_u32 << length).map(move |bits| (length, bits)))
        .map(|(length, bits)| (0..length).map(|at| if bits >> at & 1 == 0 { 'a' } else { 'b' }).collect())
        .collect();
    let mut found = Vec::new();
    for name in &names {
        found.push(grants.allows_variable(&VariableKey::new(name).unwrap()));
        found.push(grants.allows_dag(&DagId::new(name).unwrap()));
        let id = ConnectionId::new(name).unwrap();
        found.extend([grants.allows_connection(&id), grants.allows_connection_secret(&id)]);
    }
    for host in ["org", "a.org", "b.org", "a.a.org", "b.a.org", "a.b.org", "b.b.org", "a.b.a.org"] {
        for (port, default) in [(80, 80), (443, 443), (443, 80), (8443, 443)] {
            found.push(grants.allows_host(host, port, default));
        }
    }
    found.extend((1..=6).map(|hundred| grants.memory_mib() >= hundred * 100));
    found
}

/// Whether all that `less` allows is allowed by `more`.
fn within(less: &Grants, more: &Grants) -> bool {
    probes(less).into_iter().zip(probes(more)).all(|(less, more)| more || !less)
}

fn policies() -> impl Strategy<Value = GrantsPolicy> {
    prop::collection::btree_set(prop::sample::select(GrantKind::ALL.to_vec()), 0..=6).prop_map(|kinds| {
        let kinds: Vec<_> = kinds.into_iter().map(GrantKind::as_str).collect();
        if kinds.is_empty() { GrantsPolicy::default() } else { kinds.join(",").parse().unwrap() }
    })
}

proptest! {
    #[test]
    fn never_more_than_asked_nor_than_approved(
        requested in any_grants(), approve in any_grants(), revoke in any_grants(), policy in policies(), last in any::<bool>(),
    ) {
        let (requested, policy) = (Grants::of(requested, DEFAULT_MEMORY_MIB), policy);
        let mut decisions = Decisions::default();
        if last {
            decisions.approve(&approve).unwrap();
            decisions.revoke(&revoke).unwrap();
        } else {
            decisions.revoke(&revoke).unwrap();
            decisions.approve(&approve).unwrap();
        }
        let verdict = decisions.decide(&requested, &policy);
        prop_assert!(within(&verdict.effective, &requested));
        let strict = decisions.decide(&requested, &GrantsPolicy::review()).effective;
        let approved = Grants::of(decisions.approved().cloned().collect(), DEFAULT_MEMORY_MIB);
        prop_assert!(within(&strict, &approved));
        prop_assert!(within(&strict, &verdict.effective), "a policy only adds");
        if last {
            // What was revoked last is given by nothing.
            for (given, _) in verdict.requests.iter().filter(|(_, standing)| standing.is_given()) {
                prop_assert!(!revoke.iter().any(|revoked| given.touches(revoked)), "{given}");
            }
        } else {
            for request in verdict.requests.iter().filter(|(request, _)| approve.contains(request)) {
                prop_assert_eq!(request.1, Standing::Approved);
            }
        }
        if decisions.by_grant.is_empty() && policy == GrantsPolicy::default() {
            prop_assert_eq!(verdict.effective, requested);
        }
    }

    #[test]
    fn covering_is_allowing(more in any_grant(), less in any_grant()) {
        let alone = |grant: &Grant| Grants::of([grant.clone()].into(), DEFAULT_MEMORY_MIB);
        if more.covers(&less) {
            prop_assert!(within(&alone(&less), &alone(&more)), "{more} {less}");
            prop_assert!(more.touches(&less) && more.kind() >= less.kind(), "{more} {less}");
        }
        let all = probes(&alone(&more)).into_iter().zip(probes(&alone(&less)));
        // Each has some memory.
        let mut both = all.take(probes(&Grants::none()).len() - 6);
        let shares = both.any(|(more, less)| more && less);
        if shares && more.kind() == less.kind() && more.kind() != GrantKind::Memory {
            prop_assert!(more.touches(&less), "{more} {less}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        if let Ok(grant) = text.parse::<Grant>() {
            prop_assert_eq!(grant.to_string().parse::<Grant>().unwrap(), grant);
        }
    }
}

#[test]
fn all_decisions_are_taken_over_as_they_are_shown_unless_they_contradict_each_other() {
    let mut known = Decisions::default();
    known.revoke(&set(&["variable:a/*", "http:x.org"])).unwrap();
    known.approve(&set(&["variable:a/b", "connection:shop"])).unwrap();
    let of = |decisions: &Decisions, is_approved| decisions.decided(is_approved).cloned().collect::<BTreeSet<_>>();
    let again = Decisions::all(None, &of(&known, true), &of(&known, false)).unwrap();
    assert_eq!(again, known);
    assert_eq!(again.by_grant.len(), 4);

    let error = Decisions::all(None, &set(&["variable:a/*"]), &set(&["variable:a/b"])).unwrap_err();
    assert!(error.to_string().contains("variable:a/b"), "{error}");
    let many: BTreeSet<_> = (0..=MAX_DECISIONS).map(|number| grant(&format!("variable:v{number}"))).collect();
    assert!(Decisions::all(None, &many, &set(&[])).is_err());
}
