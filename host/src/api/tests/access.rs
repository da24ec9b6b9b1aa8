//! Who is let in, and who is not.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use serde_json::{Value, json};

use super::{PASSWORD, TestApi};
use crate::{
    api::{document, guard::NO_ROUTE},
    auth::routes::{Access, ROUTES, access},
    model::role::{Permission, Role},
    store::{EventFilter, Order, Page},
};

/// Each route of the document, with its path's parameters filled in.
pub(super) fn routes() -> Vec<(Method, String, String)> {
    let document = serde_json::to_value(document()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if let Ok(method) = method.to_uppercase().parse::<Method>()
                && ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str())
            {
                let filled = path.replace("{map_index}", "0").replace("{task_try_number}", "1");
                let filled = filled.replace("{try_number}", "1").replace("{version_number}", "1");
                let filled = filled.replace(['{', '}'], "");
                routes.push((method, path.clone(), filled));
            }
        }
    }
    routes
}

#[tokio::test]
async fn every_route_but_the_public_ones_refuses_strangers() {
    let api = TestApi::new().await;
    let strangers = TestApi { token: String::new(), ..TestApi::new().await };
    let routes = routes();
    assert!(routes.len() > 60, "the document lists {} routes", routes.len());
    for (method, path, filled) in &routes {
        if path.starts_with("/hooks/") {
            // Public, but signed.
            strangers.send(method.clone(), filled, None).await.refused(401);
            continue;
        }
        let is_public = access(method.as_str(), path) == Some(Access::Public);
        let answer = strangers.send(method.clone(), filled, None).await;
        if is_public {
            assert_ne!(answer.status, 401, "{method} {path}");
        } else {
            answer.refused(401);
        }
        for wrong in ["Bearer alk_wrong", "Bearer ", "Basic YWRtaW46YWRtaW4=", "nonsense"] {
            let request = strangers.request(method.clone(), filled).header(header::AUTHORIZATION, wrong);
            let answer = strangers.raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status == 401, !is_public, "{method} {path} with `{wrong}`");
        }
    }
    for unknown in ["/api", "/api/v2/nothing", "/api/v1/dags", "/openapi.json"] {
        strangers.get(unknown).await.refused(401);
    }
    api.get("/api/v2/nothing").await.refused(404);
    api.get("/openapi.json").await.ok();
    api.send(Method::PUT, "/api/v2/dags", None).await.refused(405);
}

#[tokio::test]
async fn whoever_asks_to_sign_in_is_led_to_the_page_and_nowhere_else() {
    let api = TestApi { token: String::new(), ..TestApi::new().await };
    let led = async |query: &str| {
        let answer = api.get(&format!("/api/v2/auth/login{query}")).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{query}");
        answer.headers[header::LOCATION].to_str().unwrap().to_owned()
    };
    assert_eq!(led("").await, "/login");
    assert_eq!(led("?next=").await, "/login");
    assert_eq!(led("?next=/dags/a%3Fx%3D1").await, "/login?next=%2Fdags%2Fa%3Fx%3D1");
    for evil in ["https://evil", "//evil", "/%5Cevil", "dags", "/%0D%0Aa", "/%09/evil", "javascript:1", "/%C3%A4"] {
        api.get(&format!("/api/v2/auth/login?next={evil}")).await.refused(400);
    }
}

/// As Airflow's CI: a route without an entry is a fault.
#[test]
fn each_route_of_the_document_stands_in_the_table_and_the_other_way_round() {
    let routes = routes();
    for (method, path, _) in &routes {
        assert!(access(method.as_str(), path).is_some(), "{method} {path} is not in `auth::routes::ROUTES`");
    }
    let is_api = |path: &str| ["/api/", "/auth/", "/hooks/", "/schemas/"].iter().any(|room| path.starts_with(room));
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| is_api(path)) {
        // An id may be a word that other routes have in its place: then the document has it once.
        let of_id = match *path {
            "/api/v2/connections/test" => "/api/v2/connections/{connection_id}",
            "/api/v2/variables/{variable_key}/{*rest}" => "/api/v2/variables/{variable_key}",
            "/api/v2/dags/{dag_id}/dagRuns/list" => "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}",
            "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list" => {
                "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}"
            }
            path => path,
        };
        assert!(
            of_id == *path || access(method, of_id).is_none_or(|of_id| access(method, path) == Some(of_id)),
            "{path}"
        );
        let is_there = routes.iter().any(|(known, at, _)| known.as_str() == *method && (at == path || at == of_id));
        assert!(is_there && !NO_ROUTE.contains(path), "{method} {path} is no route");
    }
}

/// Every role tries every route: it is refused exactly where the table says so.
#[tokio::test]
async fn each_role_may_use_what_the_table_says_and_nothing_else() {
    let mut api = TestApi::new().await;
    let admin = api.token.clone();
    for role in Role::ALL {
        api.token.clone_from(&admin);
        api.sign_in_as(role).await;
        for (method, path, filled) in routes() {
            if path.starts_with("/hooks/")
                || path == "/api/v2/events"
                || path.starts_with("/auth/token")
                || path.ends_with("/me/signOut")
            {
                continue;
            }
            // Workers show a token of their own.
            if path.starts_with("/api/v2/workers/") && access(method.as_str(), &path) == Some(Access::Public) {
                continue;
            }
            // Some of them delete things, but nothing is there that is named so.
            let answer = api.send(method.clone(), &filled, None).await;
            let is_refused = match access(method.as_str(), &path) {
                Some(Access::Public | Access::SignedIn | Access::OfDags(Permission::Read)) => false,
                // To whoever sees no dag, none is there.
                Some(Access::OfDag(permission)) => role != Role::Member && !role.may(permission),
                Some(Access::Needs(permission) | Access::OfDags(permission)) => !role.may(permission),
                None => true,
            };
            assert_eq!(answer.status == 403, is_refused, "{role}: {method} {path}: {}", answer.status);
            if is_refused {
                let detail = answer.refused(403)["detail"].as_str().unwrap().to_owned();
                assert!(
                    detail.starts_with("this needs the permission `") && detail.ends_with(role.as_str()),
                    "{detail}"
                );
            }
        }
    }
}

#[tokio::test]
async fn values_of_settings_are_for_those_who_keep_them() {
    let mut api = TestApi::new().await;
    api.post("/api/v2/variables", json!({"key": "city", "value": "Seoul"})).await.ok();
    let connection = json!({
        "connection_id": "db", "conn_type": "postgres", "host": "db.internal", "login": "ada", "port": 5432,
        "extra": "{\"region\":\"eu\"}",
    });
    api.post("/api/v2/connections", connection).await.ok();
    for role in [Role::Viewer, Role::Author, Role::Operator] {
        let admin = api.token.clone();
        api.sign_in_as(role).await;
        let variables = api.get("/api/v2/variables").await.ok();
        let connections = api.get("/api/v2/connections/db").await.ok();
        let sees = role == Role::Operator;
        assert_eq!(variables["variables"][0]["value"], if sees { "Seoul" } else { "***" });
        assert_eq!(api.get("/api/v2/variables/city").await.ok()["value"] == "Seoul", sees);
        assert_eq!(connections["host"] == "db.internal", sees, "{connections}");
        assert_eq!(connections.to_string().contains("eu"), sees, "{connections}");
        api.token = admin;
    }
}

#[tokio::test]
async fn a_role_that_is_taken_is_gone_at_once_and_the_last_admin_stays() {
    let mut api = TestApi::new().await;
    let admin = api.token.clone();
    api.sign_in_as(Role::Operator).await;
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok();
    let operator = std::mem::replace(&mut api.token, admin.clone());
    api.patch("/api/v2/users/operator1", json!({"role": "viewer"})).await.ok();
    api.patch("/api/v2/users/admin", json!({"role": "viewer"})).await.refused(409);
    api.patch("/api/v2/users/nobody", json!({"role": "viewer"})).await.refused(404);
    for wrong in [json!({}), json!({"role": "root"}), json!({"role": "admin", "password": PASSWORD})] {
        api.patch("/api/v2/users/operator1", wrong).await.refused(422);
    }
    api.token = operator;
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.refused(403);
    assert_eq!(api.get("/api/v2/users/me").await.ok()["role"], "viewer");
    api.get("/api/v2/users").await.refused(403);
}

#[tokio::test]
async fn a_password_opens_a_token_and_logout_ends_it() {
    let mut api = TestApi::new().await;
    let me = api.get("/api/v2/users/me").await.ok();
    assert_eq!(me, json!({"username": "admin", "role": "admin", "dag_permissions": []}));
    assert_eq!(api.delete("/auth/token").await.status, 204);
    api.get("/api/v2/users/me").await.refused(401);

    api.token.clear();
    let long = "x".repeat(2_000);
    for (username, password) in [("admin", "wrong"), ("nobody", PASSWORD), ("admin", long.as_str()), ("", "")] {
        let answer = api.post("/auth/token", json!({"username": username, "password": password})).await;
        let problem = answer.refused(401);
        assert_eq!(problem["detail"], "the user name or the password is wrong");
    }
    for _ in 0..110 {
        api.post("/auth/token", json!({"username": "admin", "password": "wrong"})).await;
    }
    let answer = api.post("/auth/token", json!({"username": "admin", "password": PASSWORD})).await;
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    answer.refused(429);
}

#[tokio::test]
async fn users_are_made_changed_and_deleted_with_their_tokens() {
    let api = TestApi::new().await;
    api.delete("/api/v2/users/admin").await.refused(409);
    api.post("/api/v2/users", json!({"username": "bob", "password": "short"})).await.refused(422);
    api.post("/api/v2/users", json!({"username": "<b>", "password": PASSWORD})).await.refused(422);
    let user = json!({"username": "bob", "password": PASSWORD});
    assert_eq!(api.post("/api/v2/users", user.clone()).await.status, 201);
    api.post("/api/v2/users", user.clone()).await.refused(409);
    let token = api.post("/auth/token", user.clone()).await.ok();

    let users = api.get("/api/v2/users").await.ok();
    assert_eq!(users["total_entries"], 2);
    assert!(!users.to_string().contains("argon2"), "{users}");

    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let as_bob = || {
        let request = axum::http::Request::get("/api/v2/users/me").header(header::AUTHORIZATION, &bearer);
        api.raw(request.body(Body::empty()).unwrap())
    };
    assert_eq!(as_bob().await.ok()["username"], "bob");
    api.patch("/api/v2/users/bob", json!({"password": "another password"})).await.ok();
    as_bob().await.refused(401);
    api.post("/auth/token", user).await.refused(401);
    assert_eq!(api.delete("/api/v2/users/bob").await.status, 204);
    api.delete("/api/v2/users/bob").await.refused(404);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let api = TestApi::new().await;
    for path in ["/api/v2/dags", "/api/v2/nothing", "/api/v2/version"] {
        let answer = api.get(path).await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
    }
    let request = api.request(Method::GET, "/api/v2/nothing").header("x-request-id", "mine-1");
    assert_eq!(api.raw(request.body(Body::empty()).unwrap()).await.json()["request_id"], "mine-1");
    let request = api.request(Method::GET, "/api/v2/nothing").header("x-request-id", "<script>");
    let id = api.raw(request.body(Body::empty()).unwrap()).await.json()["request_id"].clone();
    assert_ne!(id, Value::from("<script>"));
}

#[tokio::test]
async fn a_token_acts_with_its_role_until_it_is_revoked() {
    let mut api = TestApi::new().await;
    let made = api.post("/api/v2/tokens", json!({"name": "ci", "role": "author"})).await.ok();
    let secret = made["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("airlock_") && made["last_used_at"].is_null(), "{made}");
    for (wrong, status) in [
        (json!({"name": "ci"}), 409),
        (json!({"name": " "}), 422),
        (json!({"name": "x", "days": 0}), 422),
        (json!({"name": "x", "days": 367}), 422),
        (json!({"name": "x", "role": "root"}), 422),
        (json!({"name": "x", "username": "nobody"}), 404),
    ] {
        api.post("/api/v2/tokens", wrong).await.refused(status);
    }
    let admin = std::mem::replace(&mut api.token, secret.clone());
    assert_eq!(
        api.get("/api/v2/users/me").await.ok(),
        json!({"username": "admin", "role": "author", "dag_permissions": []})
    );
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.refused(403);
    api.get("/api/v2/users").await.refused(403);
    // It makes no other, which would outlive it.
    api.post("/api/v2/tokens", json!({"name": "another"})).await.refused(403);
    // In a cookie it is nothing.
    api.token.clear();
    let cookie = api.request(Method::GET, "/api/v2/dags").header(header::COOKIE, format!("airlock_session={secret}"));
    api.raw(cookie.body(Body::empty()).unwrap()).await.refused(401);

    api.token.clone_from(&admin);
    let listed = api.get("/api/v2/tokens").await.ok();
    assert!(listed["tokens"][0]["last_used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains("airlock_"), "{listed}");
    let id = listed["tokens"][0]["token_id"].as_i64().unwrap();
    assert_eq!(api.delete(&format!("/api/v2/tokens/{id}")).await.status, 204);
    api.delete(&format!("/api/v2/tokens/{id}")).await.refused(404);
    api.token = secret;
    api.get("/api/v2/dags").await.refused(401);
}

/// One that got into wrong hands, of whatever role, takes nothing of its user along.
#[tokio::test]
async fn a_token_ends_nothing_but_itself() {
    for role in ["viewer", "admin"] {
        let mut api = TestApi::new().await;
        let other = api.post("/api/v2/tokens", json!({"name": "other"})).await.ok();
        let made = api.post("/api/v2/tokens", json!({"name": "leaked", "role": role})).await.ok();
        let session = std::mem::replace(&mut api.token, made["token"].as_str().unwrap().to_owned());
        api.post("/api/v2/users/me/signOut", Value::Null).await.refused(403);
        for (method, path, body) in [
            (Method::POST, "/api/v2/users/admin/signOut", Value::Null),
            (Method::PATCH, "/api/v2/users/admin", json!({"password": "another good password"})),
            (Method::PATCH, "/api/v2/users/admin", json!({"role": "admin"})),
            (Method::DELETE, "/api/v2/users/admin", Value::Null),
        ] {
            api.send(method, path, Some(body)).await.refused(403);
        }
        if role == "admin" {
            api.post("/api/v2/users", json!({"username": "robot"})).await.ok();
            let out = api.post("/api/v2/users/robot/signOut", Value::Null).await;
            assert_eq!(out.status, 204, "others are a matter of its role");
        }
        // Whether there is another is not said.
        for id in [&other["token_id"], &json!(1_000)] {
            let problem = api.delete(&format!("/api/v2/tokens/{id}")).await.refused(403);
            assert!(problem["detail"].as_str().unwrap().contains("nothing but itself"), "{problem}");
        }
        let listed = api.get("/api/v2/tokens").await.ok();
        assert_eq!((&listed["total_entries"], &listed["tokens"][0]["name"]), (&json!(1), &json!("leaked")), "{listed}");
        let later = api.get("/api/v2/tokens?offset=1").await.ok();
        assert_eq!((&later["total_entries"], &later["tokens"]), (&json!(1), &json!([])), "{later}");
        let all = api.get("/api/v2/tokens?username=~").await;
        assert!(all.status == 403 || all.json()["total_entries"] == 1, "{role}: {}", all.json());

        assert_eq!(api.delete(&format!("/api/v2/tokens/{}", made["token_id"])).await.status, 204);
        api.get("/api/v2/tokens").await.refused(401);
        for kept in [session, other["token"].as_str().unwrap().to_owned()] {
            api.token = kept;
            api.get("/api/v2/users/me").await.ok();
        }
    }
}

#[tokio::test]
async fn tokens_of_others_are_the_admins_business() {
    let mut api = TestApi::new().await;
    let admin = api.token.clone();
    let own = api.post("/api/v2/tokens", json!({"name": "own"})).await.ok();
    api.sign_in_as(Role::Author).await;
    api.post("/api/v2/tokens", json!({"name": "x", "role": "operator"})).await.refused(422);
    api.post("/api/v2/tokens", json!({"name": "x", "username": "admin"})).await.refused(403);
    api.get("/api/v2/tokens?username=~").await.refused(403);
    api.get("/api/v2/tokens?username=admin").await.refused(403);
    api.delete(&format!("/api/v2/tokens/{}", own["token_id"])).await.refused(404);
    let author = std::mem::replace(&mut api.token, admin.clone());

    // A user who can't sign in by a password: a service account.
    api.post("/api/v2/users", json!({"username": "robot", "role": "operator"})).await.ok();
    let robot = json!({"name": "deploy", "username": "robot", "role": "operator", "days": 1});
    let robot = api.post("/api/v2/tokens", robot).await.ok();
    api.post("/api/v2/tokens", json!({"name": "x", "username": "robot", "role": "admin"})).await.refused(422);
    for password in ["", "x", PASSWORD] {
        api.post("/auth/token", json!({"username": "robot", "password": password})).await.refused(401);
    }
    api.token = robot["token"].as_str().unwrap().to_owned();
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok();
    api.token.clone_from(&admin);
    assert_eq!(api.get("/api/v2/tokens?username=~").await.ok()["total_entries"], 2);
    // The user's role bounds the token's, at once.
    api.patch("/api/v2/users/robot", json!({"role": "viewer"})).await.ok();
    api.token = robot["token"].as_str().unwrap().to_owned();
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.refused(403);
    api.token = author;
    api.get("/api/v2/tokens").await.ok();
    api.token = admin;
    // A new password ends tokens, too; so does the user's end.
    api.patch("/api/v2/users/robot", json!({"password": PASSWORD})).await.ok();
    assert_eq!(api.get("/api/v2/tokens?username=robot").await.ok()["total_entries"], 0);
}

#[tokio::test]
async fn changes_and_refusals_are_in_the_audit_log() {
    let mut api = TestApi::new().await;
    api.post("/api/v2/variables", json!({"key": "api_key", "value": "very secret"})).await.ok();
    let patch = json!({"key": "api_key", "value": "more secret", "description": "for the API"});
    api.patch("/api/v2/variables/api_key", patch).await.ok();
    let connection = json!({
        "connection_id": "db", "conn_type": "postgres", "host": "db.internal", "password": "more secret",
        "extra": "{\"key\":\"very secret\"}",
    });
    api.post("/api/v2/connections", connection).await.ok();
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok();
    api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": "mine", "logical_date": null})).await.ok();
    // Neither a question nor what was wrong is a change.
    api.post("/api/v2/dags/flow/clearTaskInstances", json!({"dag_run_id": "done", "dry_run": true})).await.ok();
    api.post("/api/v2/variables", json!({"key": "api_key", "value": "x"})).await.refused(409);
    let admin = api.token.clone();
    api.sign_in_as(Role::Viewer).await;
    api.get("/api/v2/eventLogs").await.refused(403);
    api.delete("/api/v2/variables/api/keys/first").await.refused(403);
    for _ in 0..40 {
        api.delete("/api/v2/variables/api_key").await.refused(403);
    }
    api.post("/auth/token", json!({"username": "viewer1", "password": "wrong"})).await.refused(401);
    api.token = admin;
    api.delete("/api/v2/variables/api_key").await;

    let logs = api.get("/api/v2/eventLogs?limit=100").await.ok();
    let logs = logs["event_logs"].as_array().unwrap();
    let text = serde_json::to_string(logs).unwrap();
    assert!(!text.contains("very secret") && !text.contains("more secret"), "{text}");
    let seen = |event: &str| -> Vec<Value> {
        let of_event = logs.iter().filter(|entry| entry["event"] == event);
        of_event.map(|entry| serde_json::from_str(entry["extra"].as_str().unwrap()).unwrap()).collect()
    };
    let variables = seen("variable.write");
    let done: Vec<_> = variables.iter().filter(|extra| extra["denied"] == false).collect();
    assert_eq!(done.len(), 3, "{text}");
    assert_eq!(done[1]["before"], json!({"description": null, "value": "***"}));
    assert_eq!(done[1]["after"], json!({"description": "for the API", "value": "***"}));
    assert_eq!(done[2]["route"], "DELETE /api/v2/variables/{variable_key}");
    assert_eq!((&done[2]["object"], &done[2]["after"]), (&json!("api_key"), &Value::Null));
    assert!(variables.len() > 10 && variables.len() < 30, "refusals have a bound: {}", variables.len());
    assert!(variables.iter().any(|extra| extra["denied"] == true && extra["object"] == "api/keys/first"), "{text}");
    assert_eq!(seen("connection.write")[0]["after"]["password"], "***");
    assert_eq!(seen("dag.pause")[0]["after"], json!({"is_paused": true}));
    assert_eq!(seen("sign_in").iter().filter(|extra| extra["denied"] == true).count(), 1);
    assert!(seen("task.clear").is_empty());
    let run = logs.iter().find(|entry| entry["event"] == "run.trigger").unwrap();
    assert_eq!((&run["dag_id"], &run["run_id"], &run["owner"]), (&json!("flow"), &json!("mine"), &json!("admin")));

    let newest = api.get("/api/v2/eventLogs?order_by=-event_log_id&limit=1").await.ok()["event_logs"][0].clone();
    assert_eq!(newest["event"], "variable.write");
    let id = newest["event_log_id"].as_i64().unwrap();
    assert_eq!(api.get(&format!("/api/v2/eventLogs/{id}")).await.ok(), newest);
    api.get("/api/v2/eventLogs/100000").await.refused(404);
    let after = api.get(&format!("/api/v2/eventLogs?after_id={}&owner=admin", id - 1)).await.ok();
    assert_eq!(after["total_entries"], 1);
    // There is no way to change it.
    for method in [Method::DELETE, Method::PATCH, Method::PUT] {
        api.send(method, &format!("/api/v2/eventLogs/{id}"), None).await.refused(405);
    }
}

/// A patch of the document that is not here is one that nobody looked at.
#[tokio::test]
async fn each_patch_is_in_the_audit_log_with_who_and_what() {
    let api = TestApi::new().await;
    let of_load = "/api/v2/dags/flow/dagRuns/done/taskInstances/load";
    api.post(&format!("{of_load}/xcomEntries"), json!({"key": "k", "value": 1})).await.ok();
    api.post("/api/v2/variables", json!({"key": "city", "value": "Seoul"})).await.ok();
    api.post("/api/v2/connections", json!({"connection_id": "db", "conn_type": "http"})).await.ok();
    api.post("/api/v2/pools", json!({"name": "few", "slots": 1})).await.ok();
    api.post("/api/v2/users", json!({"username": "ann", "password": PASSWORD, "role": "viewer"})).await.ok();
    let newest = async || {
        let filter = EventFilter { order: Order::Descending, ..EventFilter::default() };
        api.store.event_list(&filter, Page::first(1)).await.unwrap().items.remove(0)
    };
    let bulk = |entity: Value| json!({"actions": [{"action": "update", "entities": [entity]}]});
    let note = json!({"note": "seen"});
    let me = json!({"present_password": PASSWORD, "password": "another good password"});
    let changes = [
        ("/api/v2/dags/flow".to_owned(), json!({"is_paused": true}), Permission::DagPause, vec!["flow"]),
        ("/api/v2/dags?dag_id_pattern=flow".to_owned(), json!({"is_paused": true}), Permission::DagPause, vec!["dags"]),
        ("/api/v2/dags/flow/grants".to_owned(), json!({"policy": "review"}), Permission::GrantWrite, vec!["flow"]),
        ("/api/v2/dags/flow/dagRuns/done".to_owned(), note.clone(), Permission::RunMark, vec!["flow", "done"]),
        (
            "/api/v2/dags/flow/dagRuns".to_owned(),
            bulk(json!({"dag_run_id": "done", "note": "again"})),
            Permission::RunMark,
            vec!["flow", "done"],
        ),
        (of_load.to_owned(), note.clone(), Permission::RunMark, vec!["flow", "done", "load"]),
        (format!("{of_load}/-1"), note, Permission::RunMark, vec!["flow", "done", "load"]),
        (
            "/api/v2/dags/flow/dagRuns/done/taskInstances".to_owned(),
            bulk(json!({"task_id": "load", "note": "again"})),
            Permission::RunMark,
            vec!["flow", "done", "load"],
        ),
        (format!("{of_load}/xcomEntries/k"), json!({"value": 2}), Permission::XComWrite, vec!["flow", "load", "k"]),
        (
            "/api/v2/variables/city".to_owned(),
            json!({"key": "city", "value": "Busan"}),
            Permission::VariableWrite,
            vec!["city"],
        ),
        (
            "/api/v2/variables".to_owned(),
            bulk(json!({"key": "city", "value": "Jeju"})),
            Permission::VariableWrite,
            vec!["city"],
        ),
        (
            "/api/v2/connections/db".to_owned(),
            json!({"connection_id": "db", "conn_type": "http", "description": "one"}),
            Permission::ConnectionWrite,
            vec!["db"],
        ),
        (
            "/api/v2/connections".to_owned(),
            bulk(json!({"connection_id": "db", "conn_type": "http", "description": "two"})),
            Permission::ConnectionWrite,
            vec!["db"],
        ),
        ("/api/v2/pools/few".to_owned(), json!({"pool": "few", "slots": 2}), Permission::PoolWrite, vec!["few"]),
        ("/api/v2/pools".to_owned(), bulk(json!({"name": "few", "slots": 3})), Permission::PoolWrite, vec!["few"]),
        ("/api/v2/users/ann".to_owned(), json!({"role": "author"}), Permission::UserWrite, vec!["ann"]),
        // The last: it ends the session.
        ("/api/v2/users/me".to_owned(), me, Permission::UserWrite, vec!["admin"]),
    ];
    let mut last = newest().await.id;
    // What only asks, or is refused, changes nothing.
    api.patch(&format!("{of_load}/dry_run"), json!({"new_state": "failed"})).await.ok();
    api.patch("/api/v2/pools/none", json!({"pool": "none", "slots": 2})).await.refused(404);
    assert_eq!(newest().await.id, last);
    let mut seen = BTreeSet::new();
    for (path, body, permission, about) in changes {
        let answer = api.patch(&path, body).await.ok();
        let row = newest().await;
        assert!(row.id > last, "{path}: {answer}");
        last = row.id;
        let event = row.event;
        assert_eq!((event.username.as_deref(), event.is_denied), (Some("admin"), false), "{path}");
        assert_eq!(event.event, permission.as_str(), "{path}");
        let named = [&event.dag_id, &event.run_id, &event.task_id, &event.object].map(Option::as_deref);
        assert!(about.iter().all(|about| named.contains(&Some(*about))), "{path}: {named:?}");
        seen.insert(event.route);
    }
    // Those of a task group are those of its tasks; an answer to a question is looked at where questions are.
    let is_elsewhere = |path: &String| {
        path.ends_with("/dry_run") || path.contains("taskGroupInstances") || path.ends_with("/hitlDetails")
    };
    let patches = routes().into_iter().filter(|(method, path, _)| *method == Method::PATCH && !is_elsewhere(path));
    let patches: BTreeSet<_> = patches.map(|(_, path, _)| format!("PATCH {path}")).collect();
    assert_eq!(seen, patches);
}

/// Each change and its entry in the audit log are one transaction: where the one can't be, the other is not.
#[tokio::test]
async fn what_can_not_be_written_down_is_not_done() {
    let api = TestApi::new().await;
    let password = json!({"username": "ann", "password": PASSWORD, "role": "viewer"});
    api.post("/api/v2/users", password).await.ok();
    let token = api.post("/api/v2/tokens", json!({"name": "old"})).await.ok()["token_id"].clone();
    let of_load = "/api/v2/dags/flow/dagRuns/done/taskInstances/load";
    api.post(&format!("{of_load}/xcomEntries"), json!({"key": "k", "value": 1})).await.ok();
    let seen = async || {
        let mut all = Vec::new();
        for path in [
            "/api/v2/users",
            "/api/v2/tokens?username=~",
            "/api/v2/dags/flow/grants",
            "/api/v2/dags/flow/dagRuns/done",
            "/api/v2/components",
            "/api/v2/variables",
            "/api/v2/pools",
        ] {
            all.push(api.get(path).await.ok());
        }
        all.push(api.get(&format!("{of_load}/xcomEntries")).await.ok());
        all.push(api.get("/api/v2/dags/flow/webhook").await.json()["code"].clone());
        all
    };
    let before = seen().await;
    let changes = [
        (Method::POST, "/api/v2/users", json!({"username": "bob", "password": PASSWORD, "role": "author"})),
        (Method::PATCH, "/api/v2/users/ann", json!({"role": "admin"})),
        (Method::PATCH, "/api/v2/users/ann", json!({"dag_permissions": [{"dags": "flow", "role": "operator"}]})),
        (Method::PATCH, "/api/v2/users/ann", json!({"password": "another good password"})),
        (Method::DELETE, "/api/v2/users/ann", Value::Null),
        (Method::POST, "/api/v2/tokens", json!({"name": "new"})),
        (Method::DELETE, &format!("/api/v2/tokens/{token}"), Value::Null),
        (Method::POST, "/api/v2/users/ann/signOut", Value::Null),
        (Method::POST, "/api/v2/dags/flow/grants/approve", json!({"grants": ["variable:city"]})),
        (Method::PATCH, "/api/v2/dags/flow/grants", json!({"policy": "review"})),
        (Method::PUT, "/api/v2/dags/flow/webhook", Value::Null),
        (Method::PATCH, "/api/v2/dags/flow/dagRuns/done", json!({"note": "seen"})),
        (Method::PATCH, &format!("{of_load}/xcomEntries/k"), json!({"value": 2})),
        (Method::DELETE, &format!("{of_load}/xcomEntries/k"), Value::Null),
        (Method::POST, "/api/v2/variables", json!({"key": "city", "value": "Seoul"})),
        (Method::POST, "/api/v2/pools", json!({"name": "few", "slots": 3})),
    ];
    for (method, path, body) in changes {
        api.store.break_audit_log(true).await;
        let answer = api.send(method.clone(), path, Some(body).filter(|body| !body.is_null())).await;
        api.store.break_audit_log(false).await;
        assert!(answer.status.is_server_error(), "{method} {path}: {} {}", answer.status, answer.json());
        assert_eq!(seen().await, before, "{method} {path}");
    }
}
