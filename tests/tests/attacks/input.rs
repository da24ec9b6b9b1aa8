//! Requests that no client of ours would send.

use std::time::Instant;

use airlock_tests::{Client, Server, build};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SOON, assert_unharmed, encoded, raw, resident_mib, status, with_query};

/// Every path and method of the document, with the ids of something that is there.
async fn operations(client: &Client) -> Vec<(Method, String)> {
    let document = client.get("/openapi.json").await.ok();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // What would end this session, or does not end.
        if ["/auth/token", "signOut", "/users/me", "/events", "rotate"].iter().any(|part| path.contains(part)) {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            if let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) {
                all.push((method, path.clone()));
            }
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

fn filled(path: &str, with: &str) -> String {
    let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    for part in &mut parts {
        if part.starts_with('{') {
            *part = if part.contains("dag_id") { "canary".to_owned() } else { with.to_owned() };
        }
    }
    parts.join("/")
}

#[tokio::test]
async fn ap_001_bodies_that_are_deep_large_or_none_are_refused_by_every_route() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let pid = server.pid();
    let before = resident_mib(&server);
    let deep = ["[".repeat(100_000), r#"{"a":"#.repeat(100_000), format!("{}1{}", "[".repeat(200), "]".repeat(200))];
    let odd = [
        "",
        "null",
        "true",
        "1e999",
        "-0",
        "\"\u{0}\"",
        "{\"a\":1,}",
        "{}garbage",
        "{\"conf\": {\"a\": 1e400}}",
        "\u{feff}{}",
        "{\"key\": \"\\ud800\"}",
    ];
    for (method, path) in operations(&client).await {
        if !["POST", "PUT", "PATCH"].contains(&method.as_str()) {
            continue;
        }
        for body in deep.iter().map(String::as_str).chain(odd) {
            let request =
                client.request(method.clone(), &filled(&path, "1")).header("content-type", "application/json");
            let start = Instant::now();
            let answer = client.send(request.body(body.to_owned())).await;
            let shown: String = body.chars().take(20).collect();
            // What takes no body passes it over.
            assert!(answer.status.as_u16() < 500, "{method} {path} {shown}: {answer:?}");
            assert!(start.elapsed() < SOON, "{method} {path} {shown}: {:?}", start.elapsed());
        }
        let compressed = client.request(method.clone(), &filled(&path, "1")).header("content-type", "application/json");
        let answer = client.send(compressed.header("content-encoding", "gzip").body(vec![0x1f, 0x8b, 8, 0])).await;
        assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
    }
    assert!(resident_mib(&server) < before + 256, "{} MiB", resident_mib(&server));
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn ap_005_ap_006_no_text_is_taken_for_sql() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let dags = client.get("/api/v2/dags").await.ok()["total_entries"].clone();
    let bomb = "%_".repeat(4_000);
    let texts = [
        "' OR 1=1--",
        "); DROP TABLE dag;--",
        "1;SELECT pg_sleep(5)",
        "(CASE WHEN 1=1 THEN dag_id ELSE name END)",
        "dag_id,(select 1)",
        "\"",
        "\\",
        "'||(select 1)||'",
        "%00",
        "\u{0}",
        "\u{202e}",
        "\u{1f4a9}",
        "-1",
        "99999999999999999999",
        "1e9",
        "~",
        "",
        "NaN",
        "true",
        "{{7*7}}",
        "a\r\nx: y",
        &bomb,
    ];
    let lists = [
        "/api/v2/dags",
        "/api/v2/dags/~/dagRuns",
        "/api/v2/dags/~/dagRuns/~/taskInstances",
        "/api/v2/components",
        "/api/v2/eventLogs",
        "/api/v2/variables",
        "/api/v2/connections",
        "/api/v2/pools",
        "/api/v2/assets",
        "/api/v2/assets/events",
        "/api/v2/backfills?dag_id=canary",
        "/api/v2/users",
        "/api/v2/tokens",
        "/dags",
        "/variables",
        "/audit-log",
        "/components",
        "/assets",
        "/dags/canary/runs",
    ];
    let names = [
        "order_by",
        "limit",
        "offset",
        "dag_id_pattern",
        "tags",
        "state",
        "run_type",
        "variable_key_pattern",
        "connection_id_pattern",
        "pool_name_pattern",
        "name_pattern",
        "event",
        "owner",
        "start_date_gte",
        "logical_date_lte",
        "q",
        "page",
        "dag_ids",
        "task_id",
        "map_index",
        "search",
        "paused",
    ];
    let start = Instant::now();
    for list in lists {
        for name in names {
            for text in texts {
                let request = client.request(Method::GET, &with_query(list, &[(name, text)]));
                let answer = request.send().await.unwrap();
                assert!(answer.status().as_u16() < 500, "{list}?{name}={text:?}: {}", answer.status());
            }
        }
    }
    // Thousands of requests: a sleep in a statement would show.
    assert!(start.elapsed().as_secs() < 240, "{:?}", start.elapsed());
    for (pattern, found) in [("%canary%", true), ("' OR '1'='1", false), ("%' OR 1=1 --", false)] {
        let answer = client.get(&with_query("/api/v2/dags", &[("dag_id_pattern", pattern)])).await.ok();
        assert_eq!(answer["total_entries"] != 0, found, "{pattern}: {answer}");
    }
    for text in texts.iter().filter(|text| !text.is_empty() && text.len() < 100) {
        let encoded = encoded(text);
        for (method, path) in operations(&client).await {
            if method == Method::GET {
                let answer = client.get(&filled(&path, &encoded)).await;
                assert!(answer.status.as_u16() < 500, "{path} {text:?}: {answer:?}");
            }
        }
    }
    assert_eq!(client.get("/api/v2/dags").await.ok()["total_entries"], dags);
}

#[tokio::test]
async fn ap_025_ap_026_foreign_origins_and_hosts_get_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let token = client.token.clone().unwrap();
    for origin in ["https://evil.example", "null", "http://localhost.evil.example", "file://"] {
        for method in [Method::GET, Method::OPTIONS, Method::POST] {
            let request = client.request(method, "/api/v2/dags").header("origin", origin);
            let request = request.header("access-control-request-method", "DELETE");
            let answer = request.send().await.unwrap();
            assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")), "{origin}");
        }
    }
    let host = server.url.trim_start_matches("http://").to_owned();
    for (request, more) in [
        ("GET /dags HTTP/1.1", "host: evil.example\r\n".to_owned()),
        (
            "GET /dags HTTP/1.1",
            format!("host: {host}\r\nx-forwarded-host: evil.example\r\nforwarded: host=evil.example\r\n"),
        ),
        ("GET http://evil.example/dags HTTP/1.1", format!("host: {host}\r\n")),
        ("GET /dags?next=//evil.example HTTP/1.1", format!("host: {host}\r\n")),
    ] {
        let answer = raw(&server, format!("{request}\r\n{more}connection: close\r\n\r\n").as_bytes()).await;
        let location = answer
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("location: ").map(str::to_owned))
            .unwrap_or_default();
        assert!(
            location.is_empty() || (location.starts_with('/') && !location.starts_with("//")),
            "{request}: {answer}"
        );
    }
    // A signed-in page tells no links to where it was told to be.
    let asked = format!(
        "GET /dags HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: evil.example\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    assert!(!raw(&server, asked.as_bytes()).await.contains("evil.example"));
}

#[tokio::test]
async fn ap_027_after_the_sign_in_one_is_still_here() {
    let server = Server::start().await;
    for next in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https://evil.example/",
        "%2f%2fevil.example",
        "/%2fevil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/x%0d%0aset-cookie:%20a=b",
        "/\r\nset-cookie: a=b",
        " //evil.example",
        "/..//evil.example",
        "@evil.example",
        "",
    ] {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let form = [("username", "admin"), ("password", airlock_tests::ADMIN_PASSWORD), ("next", next)];
        let body = form.map(|(name, value)| format!("{name}={}", encoded(value))).join("&");
        let request =
            http.post(format!("{}/login", server.url)).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("sec-fetch-site", "same-origin").body(body).send().await.unwrap();
        let location =
            answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let base = reqwest::Url::parse(&server.url).unwrap();
        let led = base.join(&location).unwrap();
        assert_eq!(led.origin(), base.origin(), "{next:?} leads to {location}");
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
        assert!(cookies.len() <= 1, "{next:?}: {cookies:?}");
    }
}

#[tokio::test]
async fn ap_029_webhooks_without_a_signature_are_refused_and_slowed() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let secret = client.send(client.request(Method::PUT, "/api/v2/dags/canary/webhook")).await.ok();
    assert!(secret["secret"].is_string());
    let pid = server.pid();
    let stranger = Client::anonymous(&server.url);
    let mut statuses = std::collections::BTreeMap::new();
    for n in 0..200 {
        let dag = if n % 2 == 0 { "canary" } else { "nothing" };
        let request =
            stranger.request(Method::POST, &format!("/hooks/{dag}")).header("x-airlock-timestamp", "1700000000");
        let request = request.header("x-airlock-signature", format!("sha256={}", "0".repeat(64)));
        let answer = stranger.send(request.body("[".repeat(100_000))).await;
        *statuses.entry(answer.status.as_u16()).or_insert(0) += 1;
    }
    assert!(statuses.keys().all(|status| matches!(status, 401 | 429)) && statuses[&429] > 100, "{statuses:?}");
    let large = stranger.request(Method::POST, "/hooks/canary").body(vec![b' '; 4 << 20]);
    assert_eq!(stranger.send(large).await.status, 413);
    assert_eq!(client.list("/api/v2/dags/canary/dagRuns", "dag_runs").await.len(), 0);
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn we_010_we_011_we_014_pages_tell_browsers_to_be_careful() {
    let server = Server::start().await;
    let cookie = super::sign_in::cookie(&server).await;
    let client = Client::anonymous(&server.url);
    for path in [
        "/login",
        "/dags",
        "/nothing",
        "/variables",
        "/static/x/nothing.js",
        "/api/v2/dags",
        "/api/v2/nothing",
        "/livez",
    ] {
        let answer = client.request(Method::GET, path).header("cookie", &cookie).send().await.unwrap();
        let header =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        if !path.starts_with("/static") {
            assert_eq!(header("cache-control"), "no-store", "{path}");
        }
    }
    // No script keeps anything of a session: it could not read the cookie, and knows no token.
    let folder = build::root().join("web");
    let mut scripts = vec![folder];
    while let Some(path) = scripts.pop() {
        if path.is_dir() {
            scripts.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "js") {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in [
                "document.cookie",
                "indexedDB",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn logs_show_what_was_sent_and_nothing_that_moves_the_cursor() {
    let server = Server::builder().env("AIRLOCK_LOG_LEVEL", "debug").start().await;
    let host = server.url.trim_start_matches("http://").to_owned();
    for path in ["/%1b%5b2J%0aERROR%20forged", "/api/v2/dags/%1b%5b31m", "/api/v2/dags/a%0a2026-01-01%20ERROR%20forged"]
    {
        let more = "x-request-id: \u{9b}2J\r\nuser-agent: \u{9b}31m\r\n";
        let answer =
            raw(&server, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n\r\n").as_bytes())
                .await;
        assert!(status(&answer) < 500, "{answer}");
    }
    let body: Value = json!({"username": "a\n2026-01-01 ERROR forged \u{1b}[2J", "password": "wrong wrong"});
    Client::anonymous(&server.url).post("/auth/token", &body).await;
    let log = server.log();
    assert!(!log.contains('\u{1b}') && !log.contains('\u{9b}'), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01 ERROR") || line.starts_with("ERROR forged")), "{log}");
}

#[tokio::test]
async fn schemas_that_would_take_hours_keep_nobody_waiting() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    client.upload(build::component("control")).await.ok();
    let slow: Vec<_> = (0..100).map(|n| json!({"pattern": format!("(?!(a+)+b)c{n}")})).collect();
    let twice = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
    let upload = async |param: Value| {
        let dag = json!({"dag_id": "slow", "params": {"p": param}, "tasks": {"t": {"uses": "control/empty"}}});
        client.upload(dag.to_string().into_bytes()).await
    };
    // What can't be used at all is not taken.
    for schema in [
        json!({"type": "string", "anyOf": slow, "default": "c"}),
        json!({"pattern": "(?:(?:a{1,1000}){1,1000}){1,1000}", "default": "a"}),
    ] {
        let start = Instant::now();
        upload(schema).await.refused(422);
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
    // The value makes this one slow.
    upload(json!({"type": "object", "additionalProperties": twice, "minProperties": 1, "default": {}})).await.ok();
    let deep = (0..100).fold(json!({}), |inner, _| json!({"a": inner}));
    let start = Instant::now();
    let body = json!({"conf": {"p": deep}, "logical_date": null});
    client.post("/api/v2/dags/slow/dagRuns", &body).await.refused(422);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_unharmed(&server, pid).await;
}
