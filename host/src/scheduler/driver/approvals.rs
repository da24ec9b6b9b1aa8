//! Answers to the questions of tasks.

use super::{Driver, Turn};
use crate::{
    engine::{Event, InstanceId},
    model::{approval::Answer, time::Timestamp},
    scheduler::{AnswerRequest, RequestError, params, tick::Dispatch},
    store::{AnswerNew, ApprovalRow, InstanceKey},
};

impl<D: Dispatch> Driver<D> {
    /// Takes an answer and wakes the task that asked, in one commit. Who answers first is heard; others are told so.
    pub(super) async fn answer(&mut self, request: AnswerRequest, turn: &mut Turn) -> Result<Answer, RequestError> {
        let AnswerRequest { dag_id, run_id, task_id, map_index, .. } = &request;
        let none =
            || RequestError::NotFound(format!("task `{task_id}` of dag_run `{run_id}` of dag `{dag_id}` asks nothing"));
        let row = self.store.dag_run_get(dag_id, run_id).await?.ok_or_else(none)?;
        let instance = InstanceKey { dag_run: row.key, task_id: task_id.clone(), map_index: *map_index };
        if let Some(delivery) = &request.delivery {
            let is_it = |new: &&AnswerNew| new.instance == instance && new.delivery.as_ref() == Some(delivery);
            if let Some(of_turn) = turn.tick.commit.answers.iter().find(is_it) {
                return Ok(of_turn.answer.clone());
            }
            let before = self.store.approval_get_delivered(&instance, delivery).await?;
            if let Some(answer) = before.and_then(|asked| asked.answer) {
                return Ok(answer);
            }
        }
        let asked = self.store.approval_list_of(&instance, None, 1).await?.pop().ok_or_else(none)?;
        let index = self.runs.get(&row.key).and_then(|run| run.version.dag.index(task_id));
        let waiter = index.map(|node| (row.key, InstanceId { node, map_index: *map_index }));
        let Some((key, id)) = waiter.filter(|waiter| asked.waiting && self.waits.is_asking(*waiter)) else {
            return Err(RequestError::Conflict(over(&asked)));
        };
        let delivery = request.delivery.clone();
        let answer = check(&asked, request, turn.now())?;
        self.apply(key, &Event::Wake(id), turn);
        turn.tick.commit.answers.push(AnswerNew {
            instance,
            try_number: asked.try_number,
            subject: asked.question.subject,
            answer: answer.clone(),
            delivery,
        });
        Ok(answer)
    }
}

/// Why a question can be answered no more.
fn over(asked: &ApprovalRow) -> String {
    let subject = &asked.question.subject;
    match &asked.answer {
        Some(answer) => format!("`{subject}` was answered by `{}` at {}", answer.username, answer.at),
        None => format!("nobody waits for the answer to `{subject}` any more"),
    }
}

fn check(asked: &ApprovalRow, request: AnswerRequest, now: Timestamp) -> Result<Answer, RequestError> {
    let question = &asked.question;
    if !question.may_answer(&request.username) {
        return Err(RequestError::Forbidden(format!(
            "`{}` is asked of {}; user `{}` is not among them",
            question.subject,
            question.assignees.join(", "),
            request.username
        )));
    }
    let invalid = |why: String| RequestError::Invalid(why);
    question.check_answer(&request.chosen, request.values.keys()).map_err(|error| invalid(error.to_string()))?;
    params::check(&question.fields, &request.values).map_err(invalid)?;
    let values = params::merged(&question.fields, &serde_json::Value::Object(request.values).to_string());
    Ok(Answer { chosen: request.chosen, values, username: request.username, at: now })
}
