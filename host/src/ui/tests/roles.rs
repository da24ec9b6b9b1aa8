//! Who sees and does what on the page.

use axum::http::StatusCode;

use super::world::{World, id, newest};
use crate::{
    api::tests::dag_access,
    auth::{
        SessionKind,
        routes::{Access, ROUTES, access},
    },
    model::role::{Permission, Role},
};

/// The routes that `ui/mod.rs` makes, read from its text: axum does not list them.
fn routes() -> Vec<(&'static str, String)> {
    let text = include_str!("../mod.rs");
    let listed = &text[text.find("pub fn router").unwrap()..text.find("static HEADERS").unwrap()];
    let mut routes = Vec::new();
    for part in listed.split(".route(").skip(1) {
        let path = part.split('"').nth(1).unwrap();
        for (call, method) in [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")] {
            if part.contains(&format!(" {call}")) || part.contains(&format!(").{call}")) {
                routes.push((method, path.to_owned()));
            }
        }
    }
    routes
}

fn is_page(path: &str) -> bool {
    const OTHERS: [&str; 8] =
        ["/api/", "/auth/", "/hooks/", "/schemas/", "/openapi.json", "/livez", "/readyz", "/metrics"];
    !OTHERS.iter().any(|room| path.starts_with(room))
}

#[test]
fn each_page_stands_in_the_table_and_the_other_way_round() {
    let routes = routes();
    assert!(routes.len() > 60, "{}", routes.len());
    for (method, path) in &routes {
        assert!(access(method, path).is_some(), "{method} {path} is not in `auth::routes::ROUTES`");
    }
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| is_page(path)) {
        assert!(routes.iter().any(|(known, at)| known == method && at == path), "{method} {path} is no page");
    }
}

#[tokio::test]
async fn each_role_may_use_the_pages_that_the_table_says() {
    let mut world = World::new().await;
    for role in Role::ALL {
        world.sign_in_as(role).await;
        for (method, path, access) in ROUTES.iter().filter(|(_, path, _)| is_page(path)) {
            if ["/logout", "/login", "/ui/events"].contains(path) {
                continue;
            }
            // Nothing is there that is named so.
            let filled = path.replace(['{', '}'], "");
            let answer = if *method == "GET" { world.get(&filled).await } else { world.post(&filled, &[]).await };
            let needed = match access {
                // To whoever sees no dag, none is there.
                Access::OfDag(_) if role == Role::Member => None,
                Access::OfDags(Permission::Read) => None,
                Access::Needs(needed) | Access::OfDag(needed) | Access::OfDags(needed) if !role.may(*needed) => {
                    Some(needed)
                }
                _ => None,
            };
            assert_eq!(answer.status == StatusCode::FORBIDDEN, needed.is_some(), "{role}: {method} {path}");
            if let Some(needed) = needed {
                assert!(answer.body.contains(&format!("`{needed}`")), "{}", answer.body);
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn pages_offer_what_the_role_may_do() {
    let mut world = World::new().await;
    let run = "/dags/weather/runs/manual__2026-09-21T06:00:00Z";
    let offers = [
        ("/dags", "data-action=\"trigger\"", Permission::RunTrigger),
        ("/dags", "/weather/pause\"", Permission::DagPause),
        ("/dags", "href=\"/users\"", Permission::UserWrite),
        ("/dags/weather", "id=\"trigger\"", Permission::RunTrigger),
        ("/dags/weather", "id=\"delete-dag\"", Permission::DagDelete),
        (run, "id=\"clear-run\"", Permission::TaskClear),
        (run, "id=\"mark-run\"", Permission::RunMark),
        (run, "id=\"run-note\"", Permission::RunMark),
        (run, "id=\"delete-run\"", Permission::RunDelete),
        ("/components", "id=\"upload\"", Permission::DagUpload),
        ("/variables", "id=\"new\"", Permission::VariableWrite),
        ("/connections", "id=\"new\"", Permission::ConnectionWrite),
        ("/pools", "/pools/edit", Permission::PoolWrite),
        ("/dags/weather/backfills", "id=\"backfill-form\"", Permission::BackfillWrite),
        ("/dags/weather/webhook", "id=\"make\"", Permission::WebhookWrite),
        ("/dags/weather/grants", "id=\"set-policy\"", Permission::GrantWrite),
    ];
    for role in &Role::ALL[1..] {
        let role = *role;
        world.sign_in_as(role).await;
        for (path, mark, permission) in offers {
            let answer = world.get(path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.body.contains(mark), role.may(permission), "{role}: {path} {mark}");
        }
    }
    world.end().await;
}

/// As the API's test of the same kind: a page that forgets to ask shows the word.
#[tokio::test]
async fn no_page_shows_a_dag_to_whoever_may_not_see_it() {
    let mut world = World::new().await;
    let hidden = dag_access::seed(&world.ui.store).await;
    assert!(world.get("/assets").await.body.contains(dag_access::HIDDEN));
    let permissions = ["weather=viewer", "fan_300=operator", "tag:team=viewer"];
    world.sign_in_with("eve", &permissions).await;
    let (mut lists, mut ones) = (0, 0);
    for (method, route, access) in ROUTES.iter().filter(|(_, path, _)| is_page(path)) {
        let path = hidden.fill(route);
        let send = async |path: &str| match *method {
            "GET" => world.get(path).await,
            _ => world.post(path, &[]).await,
        };
        match access {
            Access::OfDag(permission) => {
                assert_eq!(send(&path).await.status, StatusCode::NOT_FOUND, "{method} {path}");
                ones += 1;
                if *permission != Permission::Read {
                    let own = route.replace("{dag_id}", "weather").replace(['{', '}'], "");
                    assert_eq!(send(&own).await.status, StatusCode::FORBIDDEN, "{method} {own}");
                }
            }
            // A stream has its own test, and this one needs a file.
            Access::OfDags(_) if ["/ui/events", "/components"].contains(route) && path != "/components" => {}
            Access::OfDags(_) if *method == "GET" && path == *route => {
                let path = if *route == "/assets/named" { "/assets/named?name=zzhidden-asset" } else { &path };
                let answer = send(path).await;
                let is_shown = answer.status == StatusCode::OK && answer.body.contains(dag_access::HIDDEN);
                assert!(!is_shown, "{method} {path}: {}", answer.body);
                lists += 1;
            }
            Access::OfDags(_) if *method == "GET" => {
                assert_eq!(send(&path).await.status, StatusCode::NOT_FOUND, "{method} {path}");
                ones += 1;
            }
            Access::Needs(_) => assert_eq!(send(&path).await.status, StatusCode::FORBIDDEN, "{method} {path}"),
            Access::Public | Access::SignedIn | Access::OfDags(_) => {}
        }
    }
    assert!(lists >= 5 && ones > 30, "{lists} {ones}");
    assert_eq!(world.get("/ui/events?dag=zzhidden").await.status, StatusCode::NOT_FOUND);

    // What is offered goes by the dag.
    let list = world.get("/dags").await.body;
    assert!(list.contains("/fan_300/trigger\"") && !list.contains("/weather/trigger\""), "{list}");
    assert!(!list.contains("id=\"nav-admin\"") && list.contains("id=\"nav-assets\""), "{list}");
    assert!(world.get("/dags/fan_300").await.body.contains("id=\"trigger\""));
    assert!(!world.get("/dags/weather").await.body.contains("id=\"trigger\""));
    let run = world.get("/dags/open/runs/open-run").await;
    assert!(run.status == StatusCode::OK && !run.body.contains(dag_access::HIDDEN), "{}", run.body);
    world.end().await;
}

#[tokio::test]
async fn a_webhook_that_others_use_goes_after_a_question_only() {
    let world = World::new().await;
    let details = async || world.get("/dags/weather/details").await.body;
    assert!(details().await.contains("/webhook\">none<"));
    world.post("/dags/weather/webhook", &[]).await;
    assert!(details().await.contains("/webhook\">/hooks/weather<"));
    let shown = world.get("/dags/weather/webhook").await.body;
    assert!(!shown.contains("action=\"/dags/weather/webhook"), "{shown}");
    for (path, action) in [("replace", "/dags/weather/webhook\""), ("delete", "/dags/weather/webhook/delete\"")] {
        assert!(shown.contains(&format!("href=\"/dags/weather/webhook/{path}\"")), "{shown}");
        let asked = world.get(&format!("/dags/weather/webhook/{path}")).await;
        assert!(asked.status == StatusCode::OK && asked.body.contains(&format!("action=\"{action}")), "{}", asked.body);
    }
    assert!(world.ui.store.webhook_get(&id("weather")).await.unwrap().is_some());
    world.end().await;
}

#[tokio::test]
async fn dag_permissions_are_kept_and_everything_is_signed_out_on_the_page() {
    let mut world = World::new().await;
    let new = [
        ("key", "eve"),
        ("role", "member"),
        ("dag_permissions", "weather=viewer\r\n tag:demo = author\r\n"),
        ("is_new", "true"),
    ];
    assert_eq!(world.post("/users/edit", &new).await.status, StatusCode::SEE_OTHER);
    let list = world.get("/users").await.body;
    assert!(
        list.contains("tag:demo=author, weather=viewer") || list.contains("weather=viewer, tag:demo=author"),
        "{list}"
    );
    assert!(world.get("/users/edit?key=eve").await.body.contains("weather=viewer"));
    for (wrong, why) in
        [("weather", "dags and a role"), ("weather=admin", "for all dags"), ("a b=viewer", "names no dags")]
    {
        let edit = [("key", "eve"), ("role", "member"), ("dag_permissions", wrong)];
        let refused = world.post("/users/edit", &edit).await;
        assert!(refused.status == StatusCode::UNPROCESSABLE_ENTITY && refused.body.contains(why), "{}", refused.body);
    }
    let session = world.ui.auth.open("eve", SessionKind::Cookie).await.unwrap();
    let out = [("key", "eve"), ("role", "member"), ("sign_out", "true")];
    assert_eq!(world.post("/users/edit", &out).await.status, StatusCode::SEE_OTHER);
    assert!(world.ui.auth.authenticate(session.secret.expose(), SessionKind::Cookie).await.is_err());
    assert!(world.ui.store.user_get("eve").await.unwrap().unwrap().dag_permissions.is_empty());
    assert!(world.get("/audit?event=user.write").await.body.contains("signed_out"));

    world.sign_in_as(Role::Viewer).await;
    assert!(world.get("/tokens/sign-out").await.body.contains("All of your sessions"));
    assert_eq!(world.post("/tokens/sign-out", &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/dags").await.status, StatusCode::SEE_OTHER);
    world.end().await;
}

#[tokio::test]
async fn an_admin_approves_and_revokes_on_the_page_of_a_dag() {
    let world = World::new().await;
    world.post("/dags/weather/grants/policy", &[("policy", "review")]).await;
    let page = world.get("/dags/weather/grants").await.body;
    let asked: Vec<_> = super::listed(&page, "data-grant=\"");
    assert!(!asked.is_empty() && page.contains("id=\"approve-all\""), "{page}");
    assert!(world.get("/dags").await.body.contains("data-waiting"));
    let all = asked.join("\r\n");
    let done = world.post("/dags/weather/grants", &[("grants", all.as_str()), ("verb", "approve")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let page = world.get("/dags/weather/grants").await.body;
    assert!(!page.contains("id=\"pending\"") && page.contains(">approved<") && !page.contains(">waits<"), "{page}");
    assert!(!world.get("/dags").await.body.contains("data-waiting"));
    world.post("/dags/weather/grants", &[("grants", asked[0].as_str()), ("verb", "revoke")]).await;
    assert!(world.get("/dags/weather/grants").await.body.contains(">revoked<"));
    for (grants, verb) in [("nonsense", "approve"), ("", "approve"), (all.as_str(), "eat")] {
        let refused = world.post("/dags/weather/grants", &[("grants", grants), ("verb", verb)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{grants} {verb}");
        assert!(refused.body.contains("id=\"grant-error\"") && !refused.body.contains("id=\"policy-error\""));
        let typed = format!("name=\"grants\" value=\"{grants}\" placeholder");
        assert!(verb == "eat" || refused.body.contains(&typed), "{}", refused.body);
    }
    let refused = world.post("/dags/weather/grants/policy", &[("policy", "strict")]).await;
    assert!(refused.status == StatusCode::UNPROCESSABLE_ENTITY && refused.body.contains("connection-secret"));
    assert!(refused.body.contains("id=\"policy-error\"") && refused.body.contains("name=\"policy\" value=\"strict\""));
    world.end().await;
}

#[tokio::test]
async fn everybody_changes_the_password_that_they_know_and_no_other() {
    let mut world = World::new().await;
    world.sign_in_as(Role::Viewer).await;
    assert!(world.get("/tokens").await.body.contains("href=\"/password\""));
    let change = |present: &'static str, new: &'static str| [("present_password", present), ("password", new)];
    for (present, new, why) in
        [("not it at all", "a longer password", "is not right"), ("a long password", "tiny", "characters")]
    {
        let refused = world.post("/password", &change(present, new)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.body.contains(why) && !refused.body.contains(new), "{}", refused.body);
    }
    let changed = world.post("/password", &change("a long password", "a longer password")).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER);
    // All sessions have ended, this one too.
    assert_eq!(world.get("/tokens").await.status, StatusCode::SEE_OTHER);
    let login = async |password| world.ui.auth.login("viewer", password, SessionKind::Bearer, None).await;
    assert!(login("a long password").await.is_err());
    assert!(login("a longer password").await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn a_user_gets_a_role_and_a_password_or_neither() {
    let world = World::new().await;
    let new = [("key", "eve"), ("role", "author"), ("password", "a long password"), ("is_new", "true")];
    assert_eq!(world.post("/users/edit", &new).await.status, StatusCode::SEE_OTHER);
    let half = [("key", "eve"), ("role", "admin"), ("password", "short")];
    assert_eq!(world.post("/users/edit", &half).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.ui.store.user_get("eve").await.unwrap().unwrap().role, Role::Author);
    let last = [("key", "ada"), ("role", "viewer"), ("password", "another password")];
    assert_eq!(world.post("/users/edit", &last).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(world.ui.auth.login("ada", "a long password", SessionKind::Bearer, None).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn admins_keep_users_on_the_page() {
    let world = World::new().await;
    let new = [("key", "eve"), ("role", "author"), ("password", "a long password"), ("is_new", "true")];
    assert_eq!(world.post("/users/edit", &new).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.post("/users/edit", &new).await.status, StatusCode::UNPROCESSABLE_ENTITY, "eve is there");
    let list = world.get("/users").await.body;
    assert!(list.contains("eve") && list.contains("author"), "{list}");
    let edited = world.post("/users/edit", &[("key", "eve"), ("role", "operator")]).await;
    assert_eq!(edited.status, StatusCode::SEE_OTHER, "{}", edited.body);
    assert!(world.get("/users/edit?key=eve").await.body.contains("operator"));
    for wrong in [[("key", "eve"), ("role", "root")], [("key", "ada"), ("role", "viewer")]] {
        assert_eq!(world.post("/users/edit", &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    }
    assert_eq!(world.post("/users/delete", &[("key", "ada")]).await.status, StatusCode::CONFLICT, "the last admin");
    assert_eq!(world.post("/users/delete", &[("key", "eve")]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/users/edit?key=eve").await.status, StatusCode::NOT_FOUND);
    world.end().await;
}

#[tokio::test]
async fn tokens_are_made_shown_once_and_revoked_on_the_page() {
    let world = World::new().await;
    let new = [("name", "ci"), ("role", "author"), ("days", "30")];
    let made = world.post("/tokens/new", &new).await;
    assert!(made.status == StatusCode::OK && made.body.contains("airlock_"), "{}", made.body);
    let again = world.post("/tokens/new", &new).await;
    assert!(again.status == StatusCode::UNPROCESSABLE_ENTITY && again.body.contains("already"), "{}", again.body);
    let late = world.post("/tokens/new", &[("name", "x"), ("days", "1000")]).await;
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    let list = world.get("/tokens").await.body;
    assert!(list.contains(">ci<") && list.contains("never") && !list.contains("airlock_"), "{list}");
    assert_eq!(world.get("/tokens/revoke?key=1").await.status, StatusCode::OK);
    assert_eq!(world.post("/tokens/revoke", &[("key", "1")]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.post("/tokens/revoke", &[("key", "1")]).await.status, StatusCode::NOT_FOUND);
    world.end().await;
}

#[tokio::test]
async fn the_page_writes_its_changes_into_the_audit_log() {
    let mut world = World::new().await;
    let pool = [("key", "gpu"), ("slots", "2"), ("description", ""), ("is_new", "true")];
    assert_eq!(world.post("/pools/edit", &pool).await.status, StatusCode::SEE_OTHER);
    world.post("/dags/weather/pause", &[("paused", "true"), ("next", "/dags")]).await;
    assert_eq!(world.post("/pools/edit", &[("key", "")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let log = world.get("/audit").await.body;
    assert!(log.contains("pool.write") && log.contains("dag.pause") && log.contains(">ada<"), "{log}");
    let of_dag = world.get("/audit?dag_id=weather").await.body;
    assert!(of_dag.contains("dag.pause") && !of_dag.contains("pool.write"), "{of_dag}");
    // An entry leads to what it is about, and that to its entries.
    assert!(log.contains("<td class=\"break\"><a href=\"/pools/edit?key=gpu\">gpu</a></td>"), "{log}");
    assert!(of_dag.contains("<td class=\"break\"><a href=\"/dags/weather\">weather</a></td>"), "{of_dag}");
    let run = newest(&world, "weather").await;
    let run_id = run.rsplit_once('/').unwrap().1;
    world.post(&format!("{run}/note"), &[("note", "looked at")]).await;
    world.post("/pools/delete", &[("key", "gpu")]).await;
    let of_run = world.get(&format!("/audit?dag_id=weather&run_id={run_id}")).await.body;
    assert!(of_run.contains(&format!("weather</a> / <a href=\"{run}\">{run_id}</a></td>")), "{of_run}");
    assert!(!of_run.contains(">dag.pause<"), "{of_run}");
    let of_none = world.get(&format!("/audit?run_id={run_id}")).await.body;
    assert!(of_none.contains("Of which DAG?") && !of_none.contains("<tr>"), "{of_none}");
    assert!(world.get("/audit").await.body.contains("<td class=\"break\">gpu</td>"));
    assert!(world.get(&run).await.body.contains(&format!("href=\"/audit?dag_id=weather&amp;run_id={run_id}\"")));
    assert!(world.get("/dags/weather/details").await.body.contains("href=\"/audit?dag_id=weather\""));
    world.sign_in_as(Role::Author).await;
    world.post("/pools/edit", &pool).await;
    world.sign_in_as(Role::Operator).await;
    assert!(world.get("/audit?event=pool.write").await.body.contains("refused"));
    world.end().await;
}
