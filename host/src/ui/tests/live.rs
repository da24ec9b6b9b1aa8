//! What is pushed to open pages.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt as _;
use tower::ServiceExt as _;

use super::world::World;

/// What comes until `words` do.
async fn read_until(frames: &mut BodyDataStream, words: &str) -> String {
    let mut seen = String::new();
    let told = tokio::time::timeout(Duration::from_secs(10), async {
        while !seen.contains(words) {
            seen.push_str(&String::from_utf8_lossy(&frames.next().await.unwrap().unwrap()));
        }
    });
    told.await.expect("it is told");
    seen
}

#[tokio::test]
async fn what_people_set_is_pushed_to_who_looks_at_a_list() {
    let world = World::new().await;
    let request = Request::get("/ui/events?of=dags").header(header::COOKIE, &world.cookie).body(Body::empty()).unwrap();
    let mut frames = world.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    let answer = world.post("/pools/edit", &[("key", "late"), ("slots", "2"), ("is_new", "true")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let seen = read_until(&mut frames, "event: change").await;
    // Which of it each may see, each asks the page itself.
    assert!(!seen.contains("late"), "{seen}");
    drop(frames);
    for path in ["/pools", "/workers", "/approvals", "/assets", "/components", "/task-instances"] {
        let body = world.get(path).await.body;
        assert!(body.contains("data-events=\"/ui/events?of=") && body.contains("data-live-part"), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn who_sees_some_dags_only_is_not_told_that_others_are_changed() {
    let mut world = World::new().await;
    let admin = world.cookie.clone();
    world.sign_in_with("eve", &["weather=viewer"]).await;
    let request =
        Request::get("/ui/events?of=tasks").header(header::COOKIE, &world.cookie).body(Body::empty()).unwrap();
    let mut frames = world.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    assert!(frames.next().await.unwrap().unwrap().starts_with(b": airlock"));
    world.cookie = admin;
    world.post("/pools/edit", &[("key", "late"), ("slots", "2"), ("is_new", "true")]).await;
    world.post("/dags/mapped/pause", &[("paused", "false")]).await;
    let told = tokio::time::timeout(Duration::from_millis(500), frames.next()).await;
    assert!(told.is_err(), "{told:?}");
    world.post("/dags/weather/pause", &[("paused", "true")]).await;
    let told = tokio::time::timeout(Duration::from_secs(10), frames.next()).await.expect("a dag of hers was paused");
    assert!(told.unwrap().unwrap().starts_with(b"event: change"));
    drop(frames);
    world.end().await;
}

#[tokio::test]
async fn a_change_is_pushed_to_who_listens() {
    let world = World::new().await;
    let request =
        Request::get("/ui/events?dag=weather").header(header::COOKIE, &world.cookie).body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no", "or a proxy holds it back");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store, no-transform");
    let mut frames = response.into_body().into_data_stream();
    let form = [("param.days", "28"), ("param.unit", "mm"), ("param.from", "2026-01-01"), ("run_id", "pushed")];
    world.post("/dags/hidden/pause", &[("paused", "true")]).await;
    world.post("/dags/weather/trigger", &form).await;
    let seen = read_until(&mut frames, "\"pushed\"").await;
    assert!(seen.contains("event: change"), "{seen}");

    world.ui.stopping.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), async { while frames.next().await.is_some() {} });
    ended.await.expect("a server that stops ends its streams");
    world.end().await;
}
