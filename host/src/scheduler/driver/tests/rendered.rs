//! What instances are called.

use super::*;
use crate::executor::Rendered;

#[tokio::test]
async fn what_an_attempt_called_its_instance_counts_though_the_template_is_told_in_the_same_turn() {
    let mut world = World::new(vec![dag("a", &["x", "y"])]).await;
    let run = world.trigger("a", "run", None).await;
    for (task, own, name) in [("x", Some("seven rows"), "seven rows"), ("y", None, "of the template")] {
        let ExecutorEvent::Finished(mut end) = world.ended(&run, task, AttemptResult::Success) else { panic!() };
        end.label = own.map(str::to_owned);
        let rendered = Rendered { id: end.id.clone(), fields: None, label: Some("of the template".into()) };
        let events = vec![ExecutorEvent::Rendered(Box::new(rendered)), ExecutorEvent::Finished(end)];
        world.turn(Vec::new(), events).await;
        let row = world.row(&run, task).await;
        assert_eq!((row.state, row.rendered_map_index.as_deref()), (TaskState::Success, Some(name)));
    }
}
