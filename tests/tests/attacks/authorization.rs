//! What somebody does who is let in, and may not do that.

use airlock_tests::{Client, Server, build};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, user};

#[tokio::test]
async fn az_003_az_006_ap_028_what_is_permitted_is_what_is_done() {
    let server = Server::start().await;
    let admin = server.client().await;
    admin.upload(build::component("hostile")).await.ok();
    let body = json!({"username": "bob", "password": PASSWORD, "role": "member",
        "dag_permissions": [{"dags": "canary", "role": "operator"}]});
    let made = admin.post("/api/v2/users", &body).await;
    assert!(made.status.is_success(), "{made:?}");
    let bob = Client::signed_in(&server.url, "bob", PASSWORD).await;
    let run_of_other = admin.trigger("busy_bees", json!({"steps": 1})).await;

    // The dag of the path is Bob's, that of the body, the query or a header is not.
    let clear = json!({"dag_id": "busy_bees", "dag_run_id": run_of_other, "dry_run": false});
    let cleared = bob.post("/api/v2/dags/canary/clearTaskInstances", &clear).await;
    assert!(cleared.status.is_client_error(), "{cleared:?}");
    for path in [
        "/api/v2/dags/busy_bees?dag_id=canary",
        "/api/v2/dags/busy_bees%2f..%2fcanary",
        "/api/v2/dags/busy_bees/../canary/../busy_bees",
    ] {
        let answer = bob.patch(path, &json!({"is_paused": true})).await;
        assert!(matches!(answer.status.as_u16(), 403..=405), "{path}: {answer:?}");
    }
    let request = bob.request(Method::GET, "/api/v2/dags?projectId=all&user=admin&role=admin");
    let seen = bob.send(request.header("x-project", "all").header("x-user", "admin")).await.ok();
    let seen: Vec<_> = seen["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].clone()).collect();
    assert_eq!(seen, ["canary"]);
    for list in [
        "/api/v2/dags?dag_id_pattern=busy_bees",
        "/api/v2/dags/~/dagRuns?dag_id=busy_bees",
        "/api/v2/dags/~/dagRuns/~/taskInstances?dag_ids=busy_bees",
        "/api/v2/dags/~/dagRuns?dag_id_pattern=%25",
    ] {
        let answer = bob.get(list).await;
        assert!(!answer.body.to_string().contains("busy_bees"), "{list}: {answer:?}");
    }
    let listed = bob.post("/api/v2/dags/~/dagRuns/list", &json!({"dag_ids": ["busy_bees", "canary"]})).await;
    assert!(!listed.body.to_string().contains(&run_of_other), "{listed:?}");
    let paused =
        bob.send(bob.request(Method::PATCH, "/api/v2/dags?dag_id_pattern=~").json(&json!({"is_paused": true}))).await;
    assert!(!paused.body.to_string().contains("busy_bees"), "{paused:?}");
    assert_eq!(admin.get("/api/v2/dags/busy_bees").await.ok()["is_paused"], false);
    // Twice the same parameter, and one where another kind is wanted.
    for query in ["limit=1&limit=2", "limit[]=1", "offset=1&offset=x", "limit=1,2"] {
        let answer = admin.get(&format!("/api/v2/dags?{query}")).await;
        assert!(answer.status.as_u16() < 500, "{query}: {answer:?}");
    }
    let twice = admin.request(Method::POST, "/api/v2/variables").header("content-type", "application/json");
    let twice = admin.send(twice.body(r#"{"key": "a", "key": "b", "value": "x"}"#)).await;
    assert_eq!(twice.status, 422, "{twice:?}");
}

#[tokio::test]
async fn az_015_nobody_promotes_themselves_and_an_admin_stays() {
    let server = Server::start().await;
    let admin = server.client().await;
    for role in ["operator", "author", "viewer"] {
        let client = user(&server, role, role).await;
        for body in [json!({"role": "admin"}), json!({"role": "admin", "password": PASSWORD})] {
            client.patch(&format!("/api/v2/users/{role}"), &body).await.refused(403);
        }
        let me = client
            .patch(
                "/api/v2/users/me",
                &json!({"role": "admin", "present_password": PASSWORD, "password": "a new one, and long"}),
            )
            .await;
        assert!(me.status.is_client_error() || client.get("/api/v2/users").await.status != 200, "{me:?}");
        let token = client.post("/api/v2/tokens", &json!({"name": "t", "role": "admin", "days": 1})).await;
        assert!(token.status.is_client_error(), "{token:?}");
    }
    let second = user(&server, "second", "admin").await;
    for _ in 0..10 {
        let (one, two) = tokio::join!(admin.delete("/api/v2/users/second"), second.delete("/api/v2/users/admin"));
        if one.status.is_success() || two.status.is_success() {
            assert_ne!(one.status.is_success(), two.status.is_success(), "{one:?} {two:?}");
            let left = if one.status.is_success() { &admin } else { &second };
            assert_eq!(
                left.list("/api/v2/users", "users").await.iter().filter(|user| user["role"] == "admin").count(),
                1
            );
            let own =
                left.list("/api/v2/users", "users").await.into_iter().find(|user| user["role"] == "admin").unwrap();
            let name = own["username"].as_str().unwrap();
            left.delete(&format!("/api/v2/users/{name}")).await.refused(409);
            return;
        }
    }
    panic!("neither could be deleted");
}

#[tokio::test]
async fn az_017_az_018_what_is_shown_can_be_saved_and_no_secret_follows_a_new_host() {
    let server = Server::start().await;
    let client = server.client().await;
    let extra = json!({"client_secret": "s3cr3t-extra", "timeout": 1}).to_string();
    let body = json!({"connection_id": "shop", "conn_type": "http", "host": "https://shop.example", "login": "ada",
        "password": "s3cr3t-password", "extra": extra});
    client.post("/api/v2/connections", &body).await.ok();
    let path = "/api/v2/connections/shop";
    let mut shown = client.get(path).await.ok();
    assert!(!shown.to_string().contains("s3cr3t"), "{shown}");
    shown.as_object_mut().unwrap().remove("team_name");
    client.patch(path, &shown).await.ok();
    assert_eq!(client.get(path).await.ok()["password"], "***");

    // Elsewhere with what was kept: no; with what is told anew: yes.
    for (field, value) in
        [("host", json!("https://evil.example")), ("port", json!(81)), ("conn_type", json!("postgres"))]
    {
        let mut moved = shown.clone();
        moved[field] = value.clone();
        let detail = client.patch(path, &moved).await.refused(422);
        assert!(detail.contains("anew"), "{detail}");
        let masked = json!({"connection_id": "shop", "conn_type": "http", field: value});
        let answer = client.patch(&format!("{path}?update_mask={field}"), &masked).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        let import = json!({"connections": [moved]});
        assert_eq!(client.post("/api/v2/import", &import).await.status, 422);
    }
    assert_eq!(client.get(path).await.ok()["host"], "https://shop.example");
    let mut moved = shown.clone();
    moved["host"] = json!("https://new.example");
    moved["password"] = json!("told anew");
    moved["extra"] = json!(r#"{"client_secret": "told anew, too"}"#);
    client.patch(path, &moved).await.ok();

    // Of a variable, too, the mask is not its value.
    client.post("/api/v2/variables", &json!({"key": "api_password", "value": "s3cr3t-variable"})).await.ok();
    let shown = client.get("/api/v2/variables/api_password").await.ok();
    assert_eq!(shown["value"], "***");
    let saved = json!({"key": "api_password", "value": shown["value"], "description": "the same"});
    client.patch("/api/v2/variables/api_password", &saved).await.ok();
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("hostile_tells_secret", json!({})).await;
    client.finished("hostile_tells_secret", &run_id).await;
    let log = client.log("hostile_tells_secret", &run_id, "tells_secret", 1).await;
    assert!(log.contains("the secret is ***, so it is") && !log.contains("s3cr3t"), "{log}");
}

#[tokio::test]
async fn az_020_a_name_that_is_used_again_inherits_nothing() {
    let server = Server::start().await;
    let admin = server.client().await;
    admin.upload(build::component("hostile")).await.ok();
    let run_id = admin.trigger("canary", json!({"text": "of before"})).await;
    admin.finished("canary", &run_id).await;
    admin.send(admin.request(Method::PUT, "/api/v2/dags/canary/webhook")).await.ok();
    admin.patch("/api/v2/dags/canary/grants", &json!({"policy": "review"})).await.ok();
    admin.delete("/api/v2/dags/canary").await;
    let again = "dag_id: canary\ntasks: {t: {uses: hostile/echo, with: {text: new}}}\n";
    admin.upload(again.to_owned().into()).await.ok();
    assert_eq!(admin.list("/api/v2/dags/canary/dagRuns", "dag_runs").await, Vec::<Value>::new());
    admin.get(&format!("/api/v2/dags/canary/dagRuns/{run_id}")).await.refused(404);
    admin.get("/api/v2/dags/canary/webhook").await.refused(404);
    assert_ne!(admin.get("/api/v2/dags/canary/grants").await.ok()["policy"], "review");

    let eve = user(&server, "eve", "operator").await;
    let token = eve.post("/api/v2/tokens", &json!({"name": "t", "days": 1})).await.ok()["token"].clone();
    let token = Client { token: token.as_str().map(str::to_owned), ..eve.clone() };
    token.get("/api/v2/dags").await.ok();
    admin.delete("/api/v2/users/eve").await;
    let new = user(&server, "eve", "viewer").await;
    token.get("/api/v2/dags").await.refused(401);
    eve.get("/api/v2/dags").await.refused(401);
    assert_eq!(new.list("/api/v2/tokens", "tokens").await.len(), 0);
    new.post("/api/v2/variables", &json!({"key": "a", "value": "b"})).await.refused(403);
}

#[tokio::test]
async fn az_010_az_021_errors_and_the_audit_log_of_others_are_not_told() {
    let server = Server::start().await;
    let viewer = user(&server, "vera", "viewer").await;
    let author = user(&server, "ann", "author").await;
    let refused = author.upload(b"dag_id: [c4nary-of-ann".to_vec()).await;
    assert_eq!(refused.status, 422);
    for path in ["/api/v2/eventLogs", "/api/v2/eventLogs/1", "/api/v2/importErrors/1"] {
        let answer = viewer.get(path).await;
        assert!(matches!(answer.status.as_u16(), 403 | 404), "{path}: {answer:?}");
    }
    assert_eq!(viewer.get("/api/v2/importErrors").await.ok(), json!({"import_errors": [], "total_entries": 0}));
    for path in ["/api/v2/components", "/api/v2/dags", "/dags", "/components"] {
        let answer = viewer.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
        assert!(!answer.contains("c4nary-of-ann"), "{path}");
    }
    author.get("/api/v2/eventLogs").await.refused(403);
}

#[tokio::test]
async fn az_024_secrets_are_long_and_ids_open_nothing() {
    let server = Server::start().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let token = server.client().await.token.unwrap();
        // 128 bits are 22 characters of base64.
        assert!(token.len() >= 26 && seen.insert(token[4..12].to_owned()), "{token}");
    }
}
