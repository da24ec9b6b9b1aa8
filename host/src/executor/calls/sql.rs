//! `sql` of `wit/task.wit`.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Shared, invalid, over, settings};
use crate::{
    databases::{DatabaseError, MAX_PARAMETER_BYTES, MAX_STATEMENT_BYTES, Statement},
    executor::{
        books::Attempt,
        effects::{Session, Stream},
    },
    model::{
        ids::ConnectionId,
        sql::{Datum, Transaction, check_parameters},
    },
    wire::{CallError, Reply, StreamKey},
};

pub(super) async fn open(shared: &Shared, attempt: &Attempt, id: &str) -> Result<Reply, CallError> {
    let id = ConnectionId::new(id).map_err(invalid)?;
    attempt.assignment.permit(|grants| grants.allows_connection(&id), || format!("connection:{id}"))?;
    let slots = attempt.effects(|effects| Arc::clone(&effects.sessions)).ok_or_else(over)?;
    let slot = slots.try_acquire_owned().map_err(|_| {
        CallError::Unavailable("too many connections to databases are open in this attempt; drop some first".into())
    })?;
    let connection = settings::open(shared, &id).await?;
    settings::hide_all(attempt, connection.secrets())?;
    let session = shared.databases.open(&connection).await.map_err(|error| told(attempt, error))?;
    let stream = Stream::Session(Arc::new(Session { session, _slot: slot }));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Stream { stream, size: 0 })
}

pub(super) async fn query(attempt: &Attempt, session: StreamKey, statement: Statement) -> Result<Reply, CallError> {
    check(&statement)?;
    let rows = find(attempt, session)?.session.query(statement).await.map_err(|error| told(attempt, error))?;
    let columns = rows.columns.clone();
    let stream = Stream::Rows(Arc::new(Mutex::new(rows)));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Rows { stream, columns })
}

pub(super) async fn execute(attempt: &Attempt, session: StreamKey, statement: Statement) -> Result<Reply, CallError> {
    check(&statement)?;
    let changed = find(attempt, session)?.session.execute(statement).await.map_err(|error| told(attempt, error))?;
    Ok(Reply::Size(changed))
}

pub(super) async fn transaction(attempt: &Attempt, session: StreamKey, act: Transaction) -> Result<Reply, CallError> {
    find(attempt, session)?.session.transaction(act).await.map_err(|error| told(attempt, error))?;
    Ok(Reply::Unit)
}

pub(super) async fn next(attempt: &Attempt, stream: StreamKey) -> Result<Reply, CallError> {
    let found = attempt.effects(|effects| effects.streams.get(&stream).cloned()).ok_or_else(over)?;
    let Some(Stream::Rows(rows)) = found else {
        return Err(CallError::Invalid("the rows are not open".into()));
    };
    let batch = rows.lock().await.next().await.map_err(|error| told(attempt, error))?;
    Ok(Reply::Batch(batch))
}

fn find(attempt: &Attempt, session: StreamKey) -> Result<Arc<Session>, CallError> {
    match attempt.effects(|effects| effects.streams.get(&session).cloned()).ok_or_else(over)? {
        Some(Stream::Session(session)) => Ok(session),
        _ => Err(CallError::Invalid("the connection is not open".into())),
    }
}

fn check(statement: &Statement) -> Result<(), CallError> {
    let Statement { text, parameters } = statement;
    let too_large = |what: &str, is: usize, limit: usize| {
        Err(CallError::TooLarge(format!("{is} {what} of a statement are above the limit of {limit}")))
    };
    if text.len() > MAX_STATEMENT_BYTES {
        return too_large("bytes", text.len(), MAX_STATEMENT_BYTES);
    }
    check_parameters(parameters.len()).map_err(CallError::TooLarge)?;
    let bytes = parameters.iter().map(Datum::size_bytes).sum::<usize>();
    if bytes > MAX_PARAMETER_BYTES {
        return too_large("bytes in the parameters", bytes, MAX_PARAMETER_BYTES);
    }
    if text.contains('\0') {
        return Err(CallError::Invalid("a statement can't have a zero byte in it".into()));
    }
    Ok(())
}

/// What the task is told: a database may say anything, also what it was signed in with.
fn told(attempt: &Attempt, error: DatabaseError) -> CallError {
    let mask = |text: String| attempt.effects(|effects| effects.masker().mask(&text).into_owned()).unwrap_or_default();
    match error {
        DatabaseError::Invalid(why) => CallError::Invalid(mask(why)),
        DatabaseError::Denied(why) => CallError::Denied(mask(why)),
        DatabaseError::TooLarge(why) => CallError::TooLarge(mask(why)),
        DatabaseError::Unavailable(why) => CallError::Unavailable(mask(why)),
    }
}
