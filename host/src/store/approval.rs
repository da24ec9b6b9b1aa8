//! Questions that tasks ask people, and the answers.

use super::{
    DagRunKey, InstanceKey, Listed, Page, Store, StoreError,
    db::{self, Builder, FromRow, Row, each},
    filter::{
        Like, Range, counting, push_count_end, push_dags, push_in, push_like, push_like_each, push_page, push_range,
        push_words,
    },
};
use crate::model::{
    approval::{Answer, Question},
    dag_access::DagSet,
    ids::{DagId, RunId, TaskId},
    state::TaskState,
    time::Timestamp,
};

/// A question of one try of a task instance.
#[derive(Debug, Clone)]
pub struct ApprovalRow {
    pub instance: InstanceKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub try_number: u32,
    pub question: Question,
    pub created_at: Timestamp,
    /// Whether the instance waits for the answer.
    pub waiting: bool,
    pub answer: Option<Answer>,
}

impl FromRow for ApprovalRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let corrupt = |error: serde_json::Error| sqlx::Error::Decode(error.into());
        let question: String = row.try_get("question")?;
        let answer: Option<String> = row.try_get("answer")?;
        Ok(Self {
            instance: InstanceKey::from_row(row)?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            try_number: row.try_get("try_number")?,
            question: serde_json::from_str(&question).map_err(corrupt)?,
            created_at: row.try_get("created_at")?,
            waiting: row.try_get("waiting")?,
            answer: answer.map(|json| serde_json::from_str(&json)).transpose().map_err(corrupt)?,
        })
    }
}

/// Which questions are listed, by how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhichApprovals {
    /// The newest run first.
    #[default]
    All,
    /// Those that are waited for, the oldest first.
    Waiting,
    /// The newest run first.
    Answered,
}

/// Which questions are listed.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    pub dag_id: Option<DagId>,
    pub dags: DagSet,
    pub dag_run: Option<DagRunKey>,
    pub which: WhichApprovals,
    pub task_id: Option<TaskId>,
    pub map_index: Option<i32>,
    pub dag_id_like: Like,
    pub task_id_like: Like,
    pub subject_like: Like,
    pub body_like: Like,
    pub created_at: Range,
    /// States that the instance is in; none: any.
    pub states: Vec<TaskState>,
    /// Two lists of names, of which those that are not empty hold the one who answered.
    pub answered_by: [Vec<String>; 2],
}

impl ApprovalFilter {
    /// Whether each question must be looked into that the rest leaves.
    pub fn looks_into_each(&self) -> bool {
        let likes = [&self.dag_id_like, &self.task_id_like, &self.subject_like, &self.body_like];
        self.task_id.is_some()
            || self.map_index.is_some()
            || self.created_at != Range::default()
            || !self.states.is_empty()
            || self.answered_by.iter().any(|names| !names.is_empty())
            || likes.into_iter().any(|like| *like != Like::default())
    }
}

impl Store {
    pub async fn approval_get(
        &self,
        instance: &InstanceKey,
        try_number: u32,
        subject: &str,
    ) -> Result<Option<ApprovalRow>, StoreError> {
        let query = db::query_as(include_str!("sql/approval_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(try_number)
            .bind(subject);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The question of an instance that this delivery of another system answered, whichever try asked it.
    pub async fn approval_get_delivered(
        &self,
        instance: &InstanceKey,
        delivery: &str,
    ) -> Result<Option<ApprovalRow>, StoreError> {
        let query = db::query_as(each!("approval_get_delivered"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(delivery);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The questions of an instance, or of one of its tries, at most `limit`: the one that is waited for, then the newest.
    pub async fn approval_list_of(
        &self,
        instance: &InstanceKey,
        try_number: Option<u32>,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let query = db::query_as(include_str!("sql/approval_list_of.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(limit)
            .bind(try_number);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn approval_list(&self, filter: &ApprovalFilter, page: Page) -> Result<Listed<ApprovalRow>, StoreError> {
        let mut list = Builder::new(include_str!("sql/approval_list.sql"));
        push_filter(&mut list, filter)?;
        list.push(if filter.which == WhichApprovals::Waiting {
            " ORDER BY a.created_at, a.dag_run, a.task_id, a.map_index"
        } else {
            " ORDER BY a.dag_run DESC, a.task_id DESC, a.map_index DESC, a.try_number DESC, a.subject DESC"
        });
        push_page(&mut list, page);
        let mut count = counting(include_str!("sql/approval_count.sql"));
        push_filter(&mut count, filter)?;
        push_count_end(&mut count);
        self.listed(list, count).await
    }
}

/// The body of a question, on SQLite and on PostgreSQL, where no text holds NUL, and none is read from JSON. What else than an
/// escape is replaced is JSON still.
const BODY: [&str; 2] =
    ["(a.question ->> 'body')", r"(CAST(replace(a.question, '\u0000', '\ufffd') AS json) ->> 'body')"];

fn push_filter(builder: &mut Builder, filter: &ApprovalFilter) -> Result<(), StoreError> {
    match filter.which {
        WhichApprovals::All => {}
        // As the partial index of those that wait says it.
        WhichApprovals::Waiting => drop(builder.push(" AND a.waiting = 1")),
        WhichApprovals::Answered => drop(builder.push(" AND a.answer IS NOT NULL")),
    }
    if let Some(dag_id) = &filter.dag_id {
        builder.push(" AND r.dag_id = ").push_bind(dag_id.clone());
    }
    push_dags(builder, "r.dag_id", &filter.dags)?;
    if let Some(run) = filter.dag_run {
        builder.push(" AND a.dag_run = ").push_bind(run);
    }
    if let Some(task_id) = &filter.task_id {
        builder.push(" AND a.task_id = ").push_bind(task_id.clone());
    }
    if let Some(map_index) = filter.map_index {
        builder.push(" AND a.map_index = ").push_bind(map_index);
    }
    push_range(builder, "a.created_at", filter.created_at);
    if !filter.states.is_empty() {
        builder.push(
            " AND EXISTS (SELECT 1 FROM task_instance AS t \
             WHERE t.dag_run = a.dag_run AND t.task_id = a.task_id AND t.map_index = a.map_index",
        );
        push_words(builder, "t.state", filter.states.iter().map(|state| state.as_str()));
        builder.push(")");
    }
    for names in filter.answered_by.iter().filter(|names| !names.is_empty()) {
        // Of type json and not jsonb, which refuses what is NUL elsewhere in it.
        builder.push_each(" AND a.answer", " AND CAST(a.answer AS json)").push(" ->> 'username'");
        push_in(builder, names)?;
    }
    push_like(builder, "r.dag_id", &filter.dag_id_like)?;
    push_like(builder, "a.task_id", &filter.task_id_like)?;
    push_like(builder, "a.subject", &filter.subject_like)?;
    push_like_each(builder, BODY, &filter.body_like)
}
