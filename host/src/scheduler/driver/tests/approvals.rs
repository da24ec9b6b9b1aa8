//! Answers to what tasks ask.

use super::*;
use crate::{
    model::{approval::Question, wait::Wait},
    scheduler::AnswerRequest,
};

fn question(subject: &str) -> AttemptResult {
    let question = Question {
        subject: subject.to_owned(),
        body: None,
        options: vec!["received".into()],
        multiple: false,
        defaults: Vec::new(),
        fields: Vec::new(),
        assignees: Vec::new(),
    };
    AttemptResult::Wait(Wait::Approval(Box::new(question)), at(3_600))
}

#[tokio::test]
async fn a_delivery_that_comes_twice_in_a_turn_is_answered_twice() {
    let mut world = World::new(vec![dag("a", &["w"])]).await;
    let run = world.trigger("a", "run", None).await;
    world.end(&run, "w", question("first")).await;
    let request = || AnswerRequest {
        dag_id: dag_id("a"),
        run_id: run.run_id.clone(),
        task_id: task_id("w"),
        map_index: -1,
        chosen: vec!["received".into()],
        values: serde_json::Map::new(),
        username: "webhook".into(),
        delivery: Some("key".into()),
    };
    let (replies, answers): (Vec<_>, Vec<_>) = [(), ()].map(|()| Reply::new()).into_iter().unzip();
    let requests = replies.into_iter().map(|reply| Request::Answer { request: Box::new(request()), reply });
    world.turn(requests.collect(), Vec::new()).await;
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap().at, at(0));
    }
    assert!(world.runs(&run, "w"));

    // It answers no other question either, whenever it comes.
    world.end(&run, "w", question("second")).await;
    world.now = at(9);
    let again = world.ask(|reply| Request::Answer { request: Box::new(request()), reply }).await.unwrap();
    assert_eq!((again.at, world.state(&run, "w").await), (at(0), TaskState::UpForReschedule));
}
