use super::*;
use crate::{
    executor::{finish, inputs::resolve, rendered::fill},
    model::ids::VariableKey,
    secrets::place,
    store::VariableRow,
    wire::{AttemptEnd, Usage},
};

async fn with_variable(input: &str, grants: serde_json::Value) -> (Fixture, Arc<Attempt>) {
    let nodes = serde_json::json!([
        {"task_id": "a", "entry": "in", "inputs": [
            {"name": "x", "source": {"template": input}},
            {"name": "y", "source": {"literal": "1"}}]},
    ]);
    with_nodes(nodes, grants).await
}

async fn with_nodes(nodes: serde_json::Value, grants: serde_json::Value) -> (Fixture, Arc<Attempt>) {
    let fixture = Fixture::new(nodes, grants).await;
    let key = VariableKey::new("target").unwrap();
    let sealed = fixture.shared.vault.secrets().seal(&place::variable(&key), b"swordfish");
    let row = VariableRow { key, sealed, description: None, updated_at: now() };
    fixture.shared.store.variable_put(&row).await.unwrap();
    let attempt = fixture.attempt("a");
    (fixture, attempt)
}

#[tokio::test]
async fn templates_are_rendered_within_the_grants_and_shown_without_secrets() {
    let template = r#"{"to": ["{{ var.value.target }}"], "n": "{{ conf.p.a[0] }}", "long": "{{ 'a' * 5000 }}"}"#;
    let (mut fixture, attempt) = with_variable(template, serde_json::json!({"variables": ["target"]})).await;
    let inputs = resolve(&fixture.shared, &attempt.assignment).await.unwrap();
    let inputs = fill(&fixture.shared, &attempt, inputs).await.unwrap().inputs;
    let x: serde_json::Value = serde_json::from_slice(&inputs[0].value.as_ref().unwrap().bytes).unwrap();
    assert_eq!((&x["to"][0], &x["n"]), (&serde_json::json!("swordfish"), &serde_json::json!(1)));
    assert_eq!(inputs[1].value, Some(json("1")));

    let Some(ExecutorEvent::Rendered(rendered)) = fixture.events.recv().await else { panic!() };
    assert_eq!((&rendered.id, &rendered.label), (attempt.id(), &None));
    let fields: serde_json::Value = serde_json::from_str(&rendered.fields.unwrap()).unwrap();
    let shown = fields["x"].as_str().unwrap();
    assert!(shown.starts_with(r#"{"to":["***"],"n":1"#) && shown.contains("... (cut: it has "), "{shown}");
}

#[tokio::test]
async fn a_secret_is_hidden_in_a_label_before_that_is_cut() {
    let grants = serde_json::json!({"variables": ["target"]});
    let (mut fixture, _) = with_variable(r#""{{ run_id }}""#, grants).await;
    let assignment = fixture.assignment("a", 0);
    let attempt = fixture.shared.books.open(assignment, None, None);
    attempt.state().phase = Phase::Sent { runner: RUNNER, at: std::time::Instant::now() };
    assert!(fixture.call(&attempt, Call::VariableGet { key: "target".into() }).await.is_ok());
    let before = "x".repeat(245);
    assert!(fixture.call(&attempt, Call::LabelSet { label: format!("{before}swordfish") }).await.is_ok());
    finish::done(&fixture.shared, &attempt, AttemptEnd::Success(None), Usage::default(), None);
    assert_eq!(fixture.completion().await.label, Some(format!("{before}***")));

    // By its template.
    let nodes = serde_json::json!([{"task_id": "a", "expand": [[{"literal": "[1]"}]], "map_index_template":
        format!("{before}{{{{ var.value.target }}}}")}]);
    let (mut fixture, attempt) = with_nodes(nodes, serde_json::json!({"variables": ["target"]})).await;
    let inputs = resolve(&fixture.shared, &attempt.assignment).await.unwrap();
    fill(&fixture.shared, &attempt, inputs).await.unwrap();
    let Some(ExecutorEvent::Rendered(rendered)) = fixture.events.recv().await else { panic!() };
    assert_eq!(rendered.label, Some(format!("{before}***")));
}

#[tokio::test]
async fn what_can_not_be_rendered_names_the_input_and_is_not_tried_again() {
    let (fixture, attempt) = with_variable(r#"["", "\n{{ conf.none }}"]"#, serde_json::json!({})).await;
    let inputs = resolve(&fixture.shared, &attempt.assignment).await.unwrap();
    let error = fill(&fixture.shared, &attempt, inputs).await.unwrap_err();
    assert_eq!(
        error.message,
        "dag `d`, task `a`: the template of input `x` at `/1`: line 2, column 4: there is no `none` in the map"
    );
    assert!(!error.retry);
}

#[tokio::test]
async fn a_variable_that_was_not_granted_is_denied_however_it_is_named() {
    let (fixture, attempt) = with_variable(r#""{{ var.value['tar' ~ 'get'] }}""#, serde_json::json!({})).await;
    let inputs = resolve(&fixture.shared, &attempt.assignment).await.unwrap();
    let error = fill(&fixture.shared, &attempt, inputs).await.unwrap_err();
    assert!(error.message.ends_with("grant `variable:target` is missing in the dag"), "{}", error.message);
}
