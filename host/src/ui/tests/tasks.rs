//! The page of a task instance: its tries, those beside it, and what it asks.

use axum::http::StatusCode;

use super::{
    dags::node,
    listed,
    runs::add_instance,
    world::{NOW, World, at, id},
};
use crate::{
    model::{approval::Question, ids::TaskId, role::Role, state::TaskState, wait::Wait},
    store::{Commit, DagRunKey, InstanceKey, InstanceUpdate, WaitRow},
    ui::{data, links},
};

/// The newest run of a dag, and where its page is.
async fn newest(world: &World, dag_id: &str) -> (DagRunKey, String) {
    let run = data::newest_runs(&world.ui, &id(dag_id), 1).await.unwrap().pop().unwrap();
    (run.key, links::run(&run.dag_id, &run.run_id))
}

fn extract(dag_run: DagRunKey) -> InstanceKey {
    InstanceKey { dag_run, task_id: TaskId::new("extract").unwrap(), map_index: -1 }
}

#[tokio::test]
async fn each_try_can_be_chosen_and_none_that_never_was() {
    let world = World::new().await;
    let (run, base) = newest(&world, "weather").await;
    let tried = async |try_number: u32| {
        let update = InstanceUpdate {
            max_tries: try_number,
            scheduled_at: Some(at(NOW)),
            queued_at: Some(at(NOW)),
            start_date: Some(at(NOW)),
            end_date: Some(at(NOW)),
            ..InstanceUpdate::of_test(extract(run), TaskState::Success, try_number)
        };
        let commit = Commit { instances: vec![update], now: at(NOW), ..Commit::default() };
        world.ui.store.commit(&commit).await.unwrap();
    };
    let page = async |query: &str| world.get(&format!("{base}/tasks/extract{query}")).await;
    tried(112).await;
    let body = page("?try=5").await.body;
    assert!(body.contains("<option selected>5</option>") && body.contains("data-try=\"5\""), "{body}");
    assert!(body.contains("<option>1</option>") && body.contains("<option>112</option>"), "{body}");
    assert!(body.contains("?tab=inputs&#38;try=5\""), "the other tabs are of the same try: {body}");
    assert!(!body.contains("Waited for a slot"), "it had one at once: {body}");
    assert!(page("").await.body.contains("<option selected>112</option>"));
    for query in ["?try=113", "?try=500&tab=inputs", "/log?try=113"] {
        assert_eq!(page(query).await.status, StatusCode::NOT_FOUND, "{query}");
    }
    assert_eq!(page("/log?try=5").await.status, StatusCode::OK);

    tried(1_500).await;
    let body = page("?try=200").await.body;
    for number in ["1", "150", "250", "1500"] {
        assert!(body.contains(&format!("<option>{number}</option>")), "{number}: {body}");
    }
    assert!(body.contains("<option selected>200</option>") && !body.contains(">251</option>"), "{body}");
    world.end().await;
}

#[tokio::test]
async fn mapped_instances_are_listed_from_about_the_shown_one_and_found_by_their_index() {
    let world = World::new().await;
    let (run, base) = newest(&world, "mapped").await;
    let mut commit = Commit { now: at(NOW), ..Commit::default() };
    let each = node("each", &["list"]);
    for map_index in 7..250 {
        add_instance(&mut commit, run, &each, map_index, TaskState::Success, at(NOW));
    }
    world.ui.store.commit(&commit).await.unwrap();
    let instances = async |query: &str| {
        let body = world.get(&format!("{base}/tasks/each{query}")).await.body;
        body.split_once("id=\"instances\"").unwrap().1.split_once("</section>").unwrap().0.to_owned()
    };
    let list = instances("?map_index=230").await;
    assert_eq!(listed(&list, "<a class=\"chip ").len(), 50);
    assert!(list.contains("201 – 250 of 250"), "{list}");
    let marked = list.split_once("aria-current=\"true\"").unwrap().1.split_once("</a>").unwrap().0;
    assert!(marked.contains("<b>230</b>"), "{marked}");
    assert!(list.contains("name=\"map_index\" min=\"0\" value=\"230\""), "{list}");
    let list = instances("?map_index=230&tab=inputs&offset=100").await;
    assert!(list.contains("101 – 200 of 250") && !list.contains("aria-current"), "{list}");
    assert!(list.contains("<input type=\"hidden\" name=\"tab\" value=\"inputs\">"), "{list}");
    assert!(instances("").await.contains("1 – 100 of 250"));
    let absent = world.get(&format!("{base}/tasks/each?map_index=999")).await;
    assert!(absent.status == StatusCode::NOT_FOUND && absent.body.contains("instance 999 of"), "{}", absent.body);
    world.end().await;
}

#[tokio::test]
async fn who_may_not_answer_is_told_who_may() {
    let mut world = World::new().await;
    let (run, base) = newest(&world, "weather").await;
    let question = Question {
        subject: "Go on?".into(),
        body: None,
        options: vec!["Yes".into(), "No".into()],
        multiple: false,
        defaults: Vec::new(),
        fields: Vec::new(),
        assignees: Vec::new(),
    };
    let wait = WaitRow { instance: extract(run), wait: Wait::Approval(Box::new(question)) };
    let commit = Commit { waits_new: vec![wait], now: at(NOW), ..Commit::default() };
    world.ui.store.commit(&commit).await.unwrap();
    for (role, may) in [(Role::Viewer, false), (Role::Author, true)] {
        world.sign_in_as(role).await;
        let body = world.get(&format!("{base}/tasks/extract")).await.body;
        assert!(body.contains("id=\"answer-form\"") && body.contains("id=\"option-1\""), "{body}");
        assert_eq!(body.contains("id=\"answer-submit\""), may, "{role}");
        assert_eq!(body.contains("<fieldset class=\"form\" disabled>"), !may, "{role}");
        assert_eq!(body.contains("answer takes the role author"), !may, "{role}");
    }
    world.end().await;
}

#[tokio::test]
async fn values_of_lists_say_what_they_are_where_there_is_no_heading() {
    let world = World::new().await;
    let pools = world.get("/pools").await.body;
    assert!(pools.contains("<th>Slots</th>") && pools.contains("data-label=\"Slots\""), "{pools}");
    assert!(!pools.contains("data-label=\"Name\""), "the name needs no label: {pools}");
    let workers = world.get("/workers").await.body;
    assert!(workers.contains("<code>airlock serve --worker</code>"), "a command is shown as one: {workers}");
    assert!(pools.contains(" running, ") && pools.contains(" queued</small>"), "who holds the slots: {pools}");
    world.end().await;
}

#[tokio::test]
async fn the_table_of_the_grid_has_the_newest_run_at_the_right_and_times_where_days_are_the_same() {
    let world = World::new().await;
    let head = async || {
        let body = world.get("/dags/mapped").await.body;
        body.split_once("class=\"twin\"").unwrap().1.split_once("</thead>").unwrap().0.to_owned()
    };
    let before = head().await;
    let runs = data::newest_runs(&world.ui, &id("mapped"), 10).await.unwrap();
    let ids: Vec<_> = runs.iter().map(|run| links::run(&run.dag_id, &run.run_id)).collect();
    assert_eq!(listed(&before, "<a href=\""), ids);
    assert!(before.ends_with("<br>10-21</a></th></tr>"), "{before}");
    for run_id in ["one", "other"] {
        let form = [("logical_date", format!("2031-01-01T0{}:30:00Z", run_id.len())), ("run_id", run_id.to_owned())];
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(world.post("/dags/mapped/trigger", &form).await.status, StatusCode::SEE_OTHER);
    }
    let after = head().await;
    assert!(after.contains("<br>01-01<br>03:30</a>") && after.contains("<br>01-01<br>05:30</a>"), "{after}");
    assert!(after.ends_with("<br>10-21</a></th></tr>"), "{after}");
    world.end().await;
}
