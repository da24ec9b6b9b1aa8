//! Getting in without being let in.

use std::time::Instant;

use airlock_tests::{ADMIN_PASSWORD, Answer, Client, Server, build, until};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{PASSWORD, SOON, assert_unharmed, raw, resident_mib, status, user};

/// Signs `username` in on the page; answers the cookie.
pub async fn cookie_of(server: &Server, username: &str, password: &str, more: &[(&str, &str)]) -> Option<String> {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = http.post(format!("{}/login", server.url)).header("sec-fetch-site", "same-origin");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let form = format!("username={username}&password={}&next=", password.replace(' ', "+"));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.unwrap();
    let cookie = answer.headers().get("set-cookie")?.to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite="), "{cookie}");
    Some(cookie.split(';').next().unwrap().to_owned())
}

/// The cookie of the admin.
pub async fn cookie(server: &Server) -> String {
    cookie_of(server, "admin", ADMIN_PASSWORD, &[]).await.expect("the password is right")
}

async fn with_cookie(server: &Server, cookie: &str, path: &str) -> Answer {
    let client = Client::anonymous(&server.url);
    client.send(client.request(Method::GET, path).header("cookie", cookie)).await
}

/// From `address` of this machine.
async fn token_from(server: &Server, address: &str, password: &str, forwarded: Option<&str>) -> u16 {
    let http = reqwest::Client::builder().local_address(address.parse::<std::net::IpAddr>().ok()).build().unwrap();
    let mut request = http.post(format!("{}/auth/token", server.url));
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    let answer = request.json(&json!({"username": "admin", "password": password})).send().await.unwrap();
    if answer.status() == 429 {
        assert!(answer.headers().contains_key("retry-after"));
    }
    answer.status().as_u16()
}

#[tokio::test]
async fn au_006_guessing_is_slowed_and_locks_nobody_out() {
    let server = Server::start().await;
    let mut statuses = Vec::new();
    for guess in 0..200 {
        let forwarded = format!("203.0.113.{guess}");
        statuses.push(token_from(&server, "127.0.0.1", &format!("guess {guess}"), Some(&forwarded)).await);
    }
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!(refused < 25 && statuses.iter().all(|status| matches!(status, 401 | 429)), "{refused}: {statuses:?}");
    // The real one comes from elsewhere.
    assert_eq!(token_from(&server, "127.0.0.2", ADMIN_PASSWORD, None).await, 201);

    // One password at many accounts.
    let spray = Client::anonymous(&server.url);
    let mut throttled = 0;
    for account in 0..30 {
        let body = json!({"username": format!("user{account}"), "password": "Winter2026!"});
        throttled += u32::from(spray.post("/auth/token", &body).await.status == 429);
    }
    assert!(throttled >= 25, "{throttled}");
}

#[tokio::test]
async fn au_008_long_passwords_and_many_at_a_time_cost_little() {
    let server = Server::start().await;
    let pid = server.pid();
    let before = resident_mib(&server);
    let mut sign_ins = JoinSet::new();
    for length in [1_000, 2_000, 1 << 20, 4 << 20] {
        for _ in 0..50 {
            let client = Client::anonymous(&server.url);
            let body = json!({"username": "admin", "password": "x".repeat(length)});
            sign_ins.spawn(async move {
                let request = client.request(reqwest::Method::POST, "/auth/token").json(&body);
                // Whoever is still sending when the connection ends may not see why.
                let answer = client.try_send(request).await;
                answer.map_or(413, |answer| answer.status.as_u16())
            });
        }
    }
    assert_unharmed(&server, pid).await;
    while let Some(status) = sign_ins.join_next().await {
        let status = status.unwrap();
        assert!(matches!(status, 401 | 413 | 422 | 429), "{status}");
    }
    assert_unharmed(&server, pid).await;
    assert!(resident_mib(&server) < before + 256, "{} MiB", resident_mib(&server));
}

#[tokio::test]
async fn au_009_a_session_that_somebody_chose_is_none() {
    let server = Server::start().await;
    for chosen in
        ["airlock_session=chosen", "airlock_session=", "airlock_session=../../etc/passwd", "airlock_session=%00"]
    {
        let given = cookie_of(&server, "admin", ADMIN_PASSWORD, &[("cookie", chosen)]).await.unwrap();
        assert_ne!(given, chosen);
        assert_eq!(with_cookie(&server, chosen, "/api/v2/users/me").await.status, 401, "{chosen}");
        assert_eq!(with_cookie(&server, &given, "/api/v2/users/me").await.status, 200);
    }
    // A session of before stays another's.
    let (first, second) = (cookie(&server).await, cookie(&server).await);
    assert_ne!(first, second);
    // A cookie is no token, and a token no cookie.
    let secret = first.trim_start_matches("airlock_session=").to_owned();
    let bearer = Client { token: Some(secret), ..Client::anonymous(&server.url) };
    bearer.get("/api/v2/users/me").await.refused(401);
    let token = server.client().await.token.unwrap();
    assert_eq!(with_cookie(&server, &format!("airlock_session={token}"), "/api/v2/users/me").await.status, 401);
}

#[tokio::test]
async fn au_010_what_was_ended_is_over_everywhere() {
    let server = Server::start().await;
    let admin = server.client().await;
    let ends: [(&str, Method, &str, serde_json::Value); 4] = [
        ("ann", Method::PATCH, "/api/v2/users/ann", json!({"password": "another one, quite long"})),
        ("bob", Method::DELETE, "/api/v2/users/bob", json!(null)),
        ("cat", Method::POST, "/api/v2/users/cat/signOut", json!(null)),
        ("dan", Method::PATCH, "/api/v2/users/dan", json!({"role": "member"})),
    ];
    for (name, method, path, body) in ends {
        let client = user(&server, name, "author").await;
        let cookie = cookie_of(&server, name, PASSWORD, &[]).await.unwrap();
        let token = client.post("/api/v2/tokens", &json!({"name": "t", "days": 1})).await.ok()["token"].clone();
        let token = Client { token: token.as_str().map(str::to_owned), ..client.clone() };
        let mut stream = client.request(Method::GET, "/api/v2/events").send().await.unwrap();
        assert!(stream.chunk().await.unwrap().is_some());

        let start = Instant::now();
        admin.send(admin.request(method, path).json(&body)).await;
        until("the end of what was signed in", SOON, async || {
            let cookie = with_cookie(&server, &cookie, "/api/v2/variables").await.status;
            let refused =
                [client.get("/api/v2/variables").await.status, token.get("/api/v2/variables").await.status, cookie];
            refused.iter().all(|status| matches!(status.as_u16(), 401 | 403)).then_some(())
        })
        .await;
        assert!(start.elapsed().as_secs() < 6, "{name}: {:?}", start.elapsed());
        let rest = tokio::time::timeout(SOON, async { while let Ok(Some(_)) = stream.chunk().await {} }).await;
        assert!(rest.is_ok(), "what {name} listened to goes on");
    }
}

#[tokio::test]
async fn au_014_a_token_in_the_address_is_none_and_stands_in_no_log() {
    let server = Server::builder().env("AIRLOCK_LOG_LEVEL", "trace").start().await;
    let token = server.client().await.token.unwrap();
    let stranger = Client::anonymous(&server.url);
    for name in ["token", "access_token", "api_key", "auth", "jwt"] {
        stranger.get(&format!("/api/v2/dags?{name}={token}")).await.refused(401);
    }
    assert!(!server.log().contains(&token) && !server.log().contains(ADMIN_PASSWORD));
}

#[tokio::test]
async fn au_018_there_is_one_port_and_its_streams_ask_who_it_is() {
    let server = Server::start().await;
    server.client().await.upload(build::component("hostile")).await.ok();
    let mut inodes = Vec::new();
    for pid in server.processes() {
        for file in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let link = std::fs::read_link(file.path()).unwrap_or_default().to_string_lossy().into_owned();
            inodes.extend(link.strip_prefix("socket:[").map(|inode| inode.trim_end_matches(']').to_owned()));
        }
    }
    let mut listening = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let fields = table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        // 0A: it listens; 07: it takes datagrams.
        listening += fields.filter(|line| ["0A", "07"].contains(&&*line[3]) && inodes.contains(&line[9])).count();
    }
    assert_eq!(listening, 1);

    let host = server.url.trim_start_matches("http://").to_owned();
    for path in ["/api/v2/events", "/ui/events", "/ui/events?dag=canary", "/metrics", "/openapi.json"] {
        let upgrade =
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n";
        for more in ["", upgrade, "accept: text/event-stream\r\n"] {
            let answer = raw(&server, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n").as_bytes()).await;
            assert!(matches!(status(&answer), 401 | 303), "{path} {more:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn au_020_no_method_gets_around_the_door() {
    let server = Server::start().await;
    let host = server.url.trim_start_matches("http://").to_owned();
    let paths = [
        "/api/v2/dags",
        "/api/v2/dags/d",
        "/api/v2/variables",
        "/api/v2/variables/v",
        "/api/v2/connections",
        "/api/v2/users",
        "/api/v2/components",
        "/api/v2/eventLogs",
        "/api/v2/events",
        "/metrics",
        "/openapi.json",
        "/dags",
        "/users",
        "/",
    ];
    for path in paths {
        for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "PUT", "PATCH", "DELETE", "FOO"] {
            let more =
                "x-http-method-override: GET\r\nx-method-override: GET\r\ncontent-length: 0\r\nconnection: close\r\n";
            let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-probe: secret-probe\r\n{more}\r\n");
            let answer = raw(&server, request.as_bytes()).await;
            assert!(matches!(status(&answer), 303 | 401 | 403 | 404 | 405), "{method} {path}: {answer}");
            assert!(!answer.contains("secret-probe"), "{method} {path} echoes: {answer}");
        }
    }
    for strange in [
        "/api/v2/dags/configs",
        "/api/v2//dags",
        "/API/v2/dags",
        "/api/v2/dags/",
        "/api/v2/./dags",
        "/login/../api/v2/dags",
        "/api/v2/dags;x=/health",
        "/api/v2/dags%2fhealth",
        "/%61pi/v2/dags",
    ] {
        let request = format!("GET {strange} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(&server, request.as_bytes()).await;
        assert!(matches!(status(&answer), 303 | 400 | 401 | 404 | 405), "{strange}: {answer}");
    }
    let connect = raw(&server, format!("CONNECT 169.254.169.254:80 HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await;
    assert!(matches!(status(&connect), 303 | 400..=499), "{connect}");
}

#[tokio::test]
async fn au_021_passwords_have_rules_and_a_new_one_needs_the_old() {
    let server = Server::start().await;
    let client = user(&server, "ada.lovelace", "viewer").await;
    let change = async |present: &str, new: &str| {
        client.patch("/api/v2/users/me", &json!({"present_password": present, "password": new})).await
    };
    change("not the one", "a perfectly fine one").await.refused(422);
    let long = "x1y2".repeat(2_560);
    for bad in ["x", "", "password", "Password123!", "ada.lovelace", "12345678", "aaaaaaaaaaaa", &long] {
        let detail = change(PASSWORD, bad).await.refused(422);
        assert!(detail.contains("password"), "{bad}: {detail}");
    }
    let no_present = client.patch("/api/v2/users/me", &json!({"password": "a perfectly fine one"})).await;
    assert_eq!(no_present.status, 422);
    // Of two changes at a time one is the password, whole.
    let (first, second) = ("the first of two passwords", "the second of two passwords");
    let (one, two) = tokio::join!(change(PASSWORD, first), change(PASSWORD, second));
    assert!(one.status.is_success() || two.status.is_success(), "{one:?} {two:?}");
    let mut works = 0;
    for password in [first, second, PASSWORD] {
        let body = json!({"username": "ada.lovelace", "password": password});
        works += u32::from(Client::anonymous(&server.url).post("/auth/token", &body).await.status.is_success());
    }
    assert_eq!(works, 1);
}
