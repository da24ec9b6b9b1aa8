//! Sign-in by a provider of OpenID Connect: a real one that tells the truth, and one that lies.

use airlock_tests::{
    ADMIN_PASSWORD, Client, Server,
    browser::Browser,
    provider::{CLIENT_ID, CLIENT_SECRET, Lie, Provider},
    server::Builder,
};
use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

/// A server whose users the provider signs in, who get their roles by their groups.
fn serving(provider: &Provider) -> Builder {
    Server::builder()
        .env("AIRLOCK_OIDC_ISSUER", &provider.issuer())
        .env("AIRLOCK_OIDC_CLIENT_ID", CLIENT_ID)
        .env("AIRLOCK_OIDC_CLIENT_SECRET", CLIENT_SECRET)
        .env("AIRLOCK_OIDC_ROLES_CLAIM", "groups")
        .env("AIRLOCK_OIDC_ROLES", "data=author,ops=operator,root=admin")
        .env("AIRLOCK_OIDC_BUTTON", "Sign in with Example")
}

fn ann() -> Value {
    json!({"sub": "ann-1", "preferred_username": "ann", "groups": ["data", "lunch"]})
}

/// What a browser got.
struct Page {
    status: u16,
    text: String,
    location: String,
    /// `name=value` of each cookie that was set, and the whole of it.
    cookies: Vec<(String, String)>,
}

impl Page {
    fn cookie(&self, name: &str) -> Option<&str> {
        let found = self.cookies.iter().find(|(cookie, _)| cookie.starts_with(&format!("{name}=")))?;
        Some(found.0.as_str())
    }

    fn session(&self) -> Option<&str> {
        self.cookie("airlock_session")
    }

    /// The words of the sign-in page's error; it must be one, with `status`, and no session.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!((self.status, self.session()), (status, None), "{}", self.text);
        let error = self.text.split("id=\"sign-in-error\"><div>").nth(1).expect("the page says why");
        error.split("</div>").next().unwrap().replace("&#39;", "'")
    }
}

/// What a browser gets at `path`, which comes with `cookie`.
async fn get(server: &Server, path: &str, cookie: &str) -> Page {
    let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", server.url) };
    // As browsers do, who come from another site.
    let request = http.get(url).header("cookie", cookie).header("sec-fetch-site", "cross-site");
    let answer = request.send().await.unwrap();
    let headers = answer.headers().clone();
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
    let cookies = headers.get_all("set-cookie").iter().map(text);
    let cookies = cookies.map(|line| (line.split(';').next().unwrap().to_owned(), line)).collect();
    let location = headers.get("location").map(text).unwrap_or_default();
    Page { status: answer.status().as_u16(), text: answer.text().await.unwrap(), location, cookies }
}

/// Goes to the provider; the cookie, and where the provider sends the browser back to.
async fn begin(server: &Server, provider: &Provider, next: &str) -> (String, String) {
    let begun = get(server, &format!("/login/oidc?next={next}"), "").await;
    assert_eq!(begun.status, 303, "{}", begun.text);
    let (cookie, whole) = &begun.cookies[0];
    assert!(whole.contains("HttpOnly; SameSite=Lax; Max-Age=600") && whole.contains("Path=/login/oidc;"), "{whole}");
    (cookie.clone(), provider.authorize(&begun.location))
}

/// Signs in the person whom the provider vouches for.
async fn sign_in(server: &Server, provider: &Provider) -> Page {
    let (cookie, back) = begin(server, provider, "/pools").await;
    get(server, &back, &cookie).await
}

async fn me(server: &Server, session: &str) -> Value {
    let client = Client::anonymous(&server.url);
    let request = client.request(Method::GET, "/api/v2/users/me").header("cookie", session);
    client.send(request).await.ok()
}

#[tokio::test]
async fn who_is_vouched_for_comes_in_with_the_role_of_today() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    let admin = server.client().await;
    provider.person(ann());

    let page = get(&server, "/login?next=/pools", "").await;
    assert!(
        page.text.contains("Sign in with Example") && page.text.contains("/login/oidc?next=%2Fpools"),
        "{}",
        page.text
    );

    let first = sign_in(&server, &provider).await;
    assert_eq!((first.status, first.location.as_str()), (303, "/pools"), "{}", first.text);
    let is_taken_away = |cookie: &str| cookie.starts_with("airlock_sign_in_") && cookie.ends_with('=');
    assert!(first.cookies.iter().any(|(cookie, _)| is_taken_away(cookie)), "{:?}", first.cookies);
    let session = first.session().unwrap().to_owned();
    let who = me(&server, &session).await;
    assert_eq!((&who["username"], &who["role"]), (&json!("ann"), &json!("author")));

    // Other groups, another name: the same user, who may more at once, where signed in before, too.
    provider.person(json!({"sub": "ann-1", "preferred_username": "ann.new", "groups": ["ops"]}));
    let second = sign_in(&server, &provider).await;
    for session in [session.as_str(), second.session().unwrap()] {
        let who = me(&server, session).await;
        assert_eq!((&who["username"], &who["role"]), (&json!("ann"), &json!("operator")));
    }

    let users = admin.get("/api/v2/users").await.ok();
    let user = users["users"].as_array().unwrap().iter().find(|user| user["username"] == "ann").unwrap();
    assert_eq!((&user["issuer"], &user["subject"]), (&json!(provider.issuer()), &json!("ann-1")));
    let events = admin.get("/api/v2/eventLogs?event=sign_in&owner=ann").await.ok();
    let said: Vec<_> =
        events["event_logs"].as_array().unwrap().iter().map(|event| event["extra"].to_string()).collect();
    assert!(said.len() == 2 && said.iter().all(|extra| extra.contains("ann-1") && extra.contains("oidc")), "{said:?}");
    assert!(said.iter().any(|extra| extra.contains("author") && extra.contains("operator")), "{said:?}");

    // There is no password, and none can be given.
    let body = json!({"username": "ann", "password": ""});
    assert_eq!(admin.post("/auth/token", &body).await.status, 401);
    let refused =
        admin.patch("/api/v2/users/ann", &json!({"password": "tall giraffes eat at noon"})).await.refused(409);
    assert!(refused.contains("signed in by a provider"), "{refused}");

    // Whose groups are gone is out, with all that was open.
    provider.person(json!({"sub": "ann-1", "preferred_username": "ann", "groups": ["lunch"]}));
    let refused = sign_in(&server, &provider).await.refused(403);
    assert!(refused.contains("no role"), "{refused}");
    let client = Client::anonymous(&server.url);
    client.send(client.request(Method::GET, "/api/v2/users/me").header("cookie", &session)).await.refused(401);

    // Signing out ends the session, which a copy of the cookie can't use.
    provider.person(ann());
    let session = sign_in(&server, &provider).await.session().unwrap().to_owned();
    let out =
        client.request(Method::POST, "/logout").header("cookie", &session).header("sec-fetch-site", "same-origin");
    out.send().await.unwrap();
    client.send(client.request(Method::GET, "/api/v2/users/me").header("cookie", &session)).await.refused(401);
}

#[tokio::test]
async fn what_is_not_the_providers_word_is_refused() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    let admin = server.client().await;
    provider.person(ann());
    let lies: [(&str, Lie); 9] = [
        ("another nonce", |_, claims| claims["nonce"] = "other".into()),
        ("no nonce", |_, claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("another audience", |_, claims| claims["aud"] = "other".into()),
        ("one more audience", |_, claims| claims["aud"] = json!(["airlock", "other"])),
        ("for another client", |_, claims| claims["azp"] = "other".into()),
        ("another issuer", |_, claims| claims["iss"] = "https://evil.example.org".into()),
        ("expired", |_, claims| claims["exp"] = (claims["iat"].as_u64().unwrap() - 1).into()),
        ("alg none", |header, _| header["alg"] = "none".into()),
        // What is public as the secret.
        ("alg HS256", |header, _| header["alg"] = "HS256".into()),
    ];
    for (name, lie) in lies {
        provider.lies(lie);
        let page = sign_in(&server, &provider).await;
        assert_eq!(page.session(), None, "{name}");
        assert!(page.refused(401).contains("not to be trusted"), "{name}: {}", page.text);
    }
    provider.lies(|_, _| {});
    provider.signs_by_unknown_key(true);
    assert!(sign_in(&server, &provider).await.refused(401).contains("not to be trusted"));
    provider.signs_by_unknown_key(false);
    assert_eq!(admin.get("/api/v2/users").await.ok()["total_entries"], 1, "nobody was made");
    assert!(server.log().contains("a sign-in by the provider failed"), "the log says why");
}

#[tokio::test]
async fn an_answer_is_good_once_and_where_it_was_asked_for() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    provider.person(ann());
    let (cookie, back) = begin(&server, &provider, "").await;
    let (other_cookie, other_back) = begin(&server, &provider, "").await;
    let forged = format!("{back}x");
    let unsealed = format!("{}=AAAA", cookie.split('=').next().unwrap());
    for (path, cookie) in [
        (&back, ""),
        (&back, other_cookie.as_str()),
        (&other_back, cookie.as_str()),
        (&forged, cookie.as_str()),
        (&back, unsealed.as_str()),
        (&"/login/oidc/callback".to_owned(), cookie.as_str()),
    ] {
        assert!(get(&server, path, cookie).await.refused(400).contains("begin again"), "{path} {cookie}");
    }
    assert!(get(&server, &back, &cookie).await.session().is_some());
    // The whole once more, as somebody who overheard it.
    get(&server, &back, &cookie).await.refused(400);
    // Another code with a state of one's own.
    let (cookie, again) = begin(&server, &provider, "").await;
    let used = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let state = again.split("state=").nth(1).unwrap();
    let replayed = get(&server, &format!("/login/oidc/callback?code={used}&state={state}"), &cookie).await;
    assert!(replayed.refused(401).contains("invalid_grant"));
    // One that stands for another provider (RFC 9207), and a person who does not want to.
    let (cookie, back) = begin(&server, &provider, "").await;
    get(&server, &format!("{back}&iss=https://evil.example.org"), &cookie).await.refused(401);
    let (cookie, back) = begin(&server, &provider, "").await;
    let state = back.split("state=").nth(1).unwrap();
    let denied = format!("/login/oidc/callback?error=access_denied&error_description=%3Cb%3Eno&state={state}");
    let refused = get(&server, &denied, &cookie).await.refused(401);
    assert!(refused.contains("access_denied") && !refused.contains("<b>"), "{refused}");
}

#[tokio::test]
async fn several_tabs_sign_in_at_a_time() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    provider.person(ann());
    let mut jar = Vec::new();
    let mut answers = Vec::new();
    for next in ["/pools", "/runs", "/assets", "/variables"] {
        let (cookie, back) = begin(&server, &provider, next).await;
        jar.push(cookie);
        answers.push((back, next));
    }
    let all = jar.join("; ");
    for (back, next) in answers {
        let page = get(&server, &back, &all).await;
        assert_eq!((page.location.as_str(), page.session().is_some()), (next, true), "{}", page.text);
        assert_eq!(page.cookies.len(), 2, "its own and the session: {:?}", page.cookies);
    }
    // What nobody ends does not pile up.
    let begun = get(&server, "/login/oidc", &all).await;
    let left: Vec<_> = begun.cookies.iter().filter(|(_, whole)| !whole.contains("Max-Age=0")).collect();
    assert_eq!((begun.cookies.len(), left.len()), (5, 1), "{:?}", begun.cookies);
}

#[tokio::test]
async fn nobody_is_taken_over() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    for (name, groups) in [("admin", "root"), ("webhook", "root"), ("a b", "root")] {
        provider.person(json!({"sub": name, "preferred_username": name, "groups": [groups]}));
        let refused = sign_in(&server, &provider).await.refused(403);
        assert!(refused.contains(&format!("`{name}`")), "{refused}");
    }
    // One who calls himself as one who came before.
    provider.person(ann());
    assert!(sign_in(&server, &provider).await.session().is_some());
    provider.person(json!({"sub": "mallory", "preferred_username": "ann", "groups": ["root"]}));
    let refused = sign_in(&server, &provider).await.refused(403);
    assert!(refused.contains("another user of that name"), "{refused}");
    provider.person(json!({"sub": "nameless", "email": "admin@example.org", "groups": ["root"]}));
    assert!(sign_in(&server, &provider).await.refused(403).contains("preferred_username"));
    // The password is what it was.
    Client::signed_in(&server.url, "admin", ADMIN_PASSWORD).await;
}

#[tokio::test]
async fn keys_may_change_and_the_provider_may_be_away() {
    let provider = Provider::start_rsa().await;
    let server = serving(&provider).start().await;
    provider.person(ann());
    assert!(sign_in(&server, &provider).await.session().is_some(), "by RS256");
    assert!(sign_in(&server, &provider).await.session().is_some());
    assert_eq!(provider.asked_for_keys(), 1);
    provider.rotate();
    assert!(sign_in(&server, &provider).await.session().is_some());
    assert_eq!(provider.asked_for_keys(), 2);

    let (cookie, back) = begin(&server, &provider, "").await;
    provider.is_down(true);
    let refused = get(&server, &back, &cookie).await.refused(502);
    assert!(refused.contains("can't be asked now"), "{refused}");
    // Who has a password comes in.
    server.client().await;
}

#[tokio::test]
async fn a_provider_that_is_away_from_the_start_is_told_in_words() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    provider.is_down(true);
    let refused = get(&server, "/login/oidc", "").await.refused(502);
    assert!(refused.contains("can't be asked now"), "{refused}");
    provider.is_down(false);
    provider.person(ann());
    airlock_tests::until("the provider is asked again", std::time::Duration::from_secs(20), async || {
        (get(&server, "/login/oidc", "").await.status == 303).then_some(())
    })
    .await;
    assert!(sign_in(&server, &provider).await.session().is_some());
}

#[tokio::test]
async fn without_a_claim_for_roles_admins_give_them() {
    let provider = Provider::start().await;
    let server = Server::builder()
        .env("AIRLOCK_OIDC_ISSUER", &provider.issuer())
        .env("AIRLOCK_OIDC_CLIENT_ID", CLIENT_ID)
        .env("AIRLOCK_OIDC_CLIENT_SECRET", CLIENT_SECRET)
        .env("AIRLOCK_OIDC_DEFAULT_ROLE", "viewer")
        .start()
        .await;
    provider.person(json!({"sub": "1", "email": "bo@example.org", "email_verified": true}));
    let session = sign_in(&server, &provider).await.session().unwrap().to_owned();
    assert_eq!(me(&server, &session).await["role"], "viewer");
    server.client().await.patch("/api/v2/users/bo@example.org", &json!({"role": "operator"})).await.ok();
    let session = sign_in(&server, &provider).await.session().unwrap().to_owned();
    assert_eq!(me(&server, &session).await["role"], "operator");
}

/// Which OpenID Connect has as a number and as a boolean.
#[tokio::test]
async fn claims_are_read_as_auth0_and_apple_write_them() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    for (sub, claim) in [
        ("1", json!({"updated_at": "2026-01-31T06:00:00.000Z"})),
        ("2", json!({"email_verified": "true", "phone_number_verified": "false"})),
    ] {
        let mut person =
            json!({"sub": sub, "email": format!("{sub}@example.org"), "email_verified": true, "groups": ["data"]});
        person.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        provider.person(person);
        let page = sign_in(&server, &provider).await;
        let session = page.session().unwrap_or_else(|| panic!("{claim}: {}", page.text));
        assert_eq!(me(&server, session).await["username"], format!("{sub}@example.org"));
    }
}

#[tokio::test]
async fn without_a_provider_there_is_no_button_and_no_way() {
    let server = Server::start().await;
    assert!(!get(&server, "/login", "").await.text.contains("/login/oidc"));
    assert_eq!(get(&server, "/login/oidc", "").await.status, 404);
    assert_eq!(get(&server, "/login/oidc/callback?code=a&state=b", "").await.status, 404);
}

#[tokio::test]
async fn a_browser_is_signed_in_by_a_click() {
    let provider = Provider::start().await;
    let server = serving(&provider).start().await;
    provider.person(ann());
    let browser = Browser::start(1280, 800).await.unwrap();
    browser.open(&server, "/pools").await;
    browser.element("#sign-in-provider").await.click().await.unwrap();
    browser.element("#list").await;
    assert!(browser.driver.current_url().await.unwrap().path().ends_with("/pools"));
    provider.person(json!({"sub": "2", "preferred_username": "admin", "groups": ["root"]}));
    browser.driver.delete_all_cookies().await.unwrap();
    browser.open(&server, "/login").await;
    if let Ok(folder) = std::env::var("AIRLOCK_TEST_SHOTS") {
        browser.driver.screenshot(std::path::Path::new(&folder).join("sign-in.png").as_path()).await.unwrap();
    }
    browser.element("#sign-in-provider").await.click().await.unwrap();
    let said = browser.element("#sign-in-error").await.text().await.unwrap();
    assert!(said.contains("another user of that name"), "{said}");
}
