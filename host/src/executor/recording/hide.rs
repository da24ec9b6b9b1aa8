//! Takes secrets out of a recording.
//!
//! What a replayed task sees keeps its length: each secret, in each form that the masker knows, becomes a placeholder of as many
//! bytes, so that lengths in headers, places in texts and pieces of streams stay true. What the task said is only compared
//! with what it says again, and masked as in a log.

use std::collections::HashMap;

use super::{RecordedCall, Recording};
use crate::{
    model::sql::Datum,
    secrets::{Masker, placeholder},
    wire::{AttemptEnd, Call, CallError, Reply, StreamKey, Value},
};

pub(super) fn hide(recording: &mut Recording, masker: &Masker) {
    let Recording { run, calls, end, tape: _ } = recording;
    blot_text(masker, &mut run.instance.params);
    for value in run.inputs.iter_mut().filter_map(|input| input.value.as_mut()) {
        masker.blot(&mut value.bytes);
    }
    blot_streams(masker, calls);
    for call in calls {
        mask_request(masker, &mut call.request);
        match &mut call.reply {
            Some(Ok(reply)) => blot_reply(masker, reply),
            Some(Err(
                CallError::Denied(text)
                | CallError::NotFound(text)
                | CallError::TooLarge(text)
                | CallError::Unavailable(text)
                | CallError::Invalid(text),
            )) => blot_text(masker, text),
            None => {}
        }
    }
    mask_end(masker, end);
}

/// How an attempt ended, without secrets.
pub(in crate::executor) fn mask_end(masker: &Masker, end: &mut AttemptEnd) {
    match end {
        AttemptEnd::Success(Some(value)) => mask_value(masker, value),
        AttemptEnd::Retryable(text) | AttemptEnd::Fatal(text) | AttemptEnd::Skipped(Some(text)) => {
            mask_text(masker, text);
        }
        AttemptEnd::Trapped { message, backtrace } => {
            mask_text(masker, message);
            for frame in backtrace {
                mask_text(masker, frame);
            }
        }
        // What can be chosen or waited for are ids, and a question is shown to people as it is.
        AttemptEnd::Success(None)
        | AttemptEnd::Skipped(None)
        | AttemptEnd::Branch(_)
        | AttemptEnd::ShortCircuit { .. }
        | AttemptEnd::Later(_)
        | AttemptEnd::Wait(..)
        | AttemptEnd::TimedOut { .. }
        | AttemptEnd::Killed
        | AttemptEnd::NotRun(_) => {}
    }
}

/// What a task asked, without secrets.
pub(in crate::executor) fn mask_request(masker: &Masker, request: &mut Call) {
    match request {
        Call::XComPush { key, value } => {
            mask_text(masker, key);
            mask_value(masker, value);
        }
        Call::XComPull { task_id, key, .. } | Call::XComPullRuns { task_id, key, .. } => {
            mask_text(masker, task_id);
            mask_text(masker, key);
        }
        Call::VariableGet { key: text }
        | Call::ConnectionGet { id: text }
        | Call::SqlOpen { id: text }
        | Call::ApprovalFind { subject: text } => mask_text(masker, text),
        Call::SqlQuery { session: _, statement, parameters }
        | Call::SqlExecute { session: _, statement, parameters } => {
            mask_text(masker, statement);
            for parameter in parameters {
                match parameter {
                    Datum::Decimal(text) | Datum::Text(text) | Datum::Time(text) | Datum::Json(text) => {
                        mask_text(masker, text);
                    }
                    Datum::Bytes(bytes) => mask_bytes(masker, bytes),
                    Datum::Null | Datum::Boolean(_) | Datum::Integer(_) | Datum::Float(_) => {}
                }
            }
        }
        Call::ArtifactCreate { name, media_type } => {
            mask_text(masker, name);
            mask_text(masker, media_type);
        }
        Call::ObjectGet { connection, key }
        | Call::ObjectPut { connection, key, media_type: _ }
        | Call::ObjectHead { connection, key }
        | Call::ObjectDelete { connection, key } => {
            mask_text(masker, connection);
            mask_text(masker, key);
        }
        Call::ObjectList { connection, prefix, after, limit: _ } => {
            mask_text(masker, connection);
            mask_text(masker, prefix);
            if let Some(after) = after {
                mask_text(masker, after);
            }
        }
        Call::ArtifactWrite { chunk, .. } => mask_bytes(masker, chunk),
        Call::ArtifactOpen { task_id, name, .. } => {
            mask_text(masker, task_id);
            mask_text(masker, name);
        }
        Call::HttpRequest { method, uri, headers, body, timeout_ms: _ } => {
            mask_text(masker, method);
            mask_text(masker, uri);
            for (name, value) in headers {
                mask_text(masker, name);
                mask_bytes(masker, value);
            }
            mask_bytes(masker, body);
        }
        Call::AssetSetExtra { extra, .. } => mask_text(masker, extra),
        Call::AssetAdd { uri, group, extra, .. } => {
            mask_text(masker, uri);
            mask_text(masker, group);
            mask_text(masker, extra);
        }
        Call::LabelSet { label } => mask_text(masker, label),
        Call::DagTrigger(run) => {
            mask_text(masker, &mut run.conf);
            run.note.iter_mut().for_each(|note| mask_text(masker, note));
            // An id that is a secret is no id any more: the host makes one then, as if none was given.
            run.run_id = run.run_id.take().filter(|run_id| !masker.finds(run_id.as_str().as_bytes()));
        }
        // Ids of what the dag declared or was granted, and numbers.
        Call::ArtifactFinish { .. }
        | Call::StreamRead { .. }
        | Call::StreamDrop { .. }
        | Call::AssetTriggering
        | Call::RetryDelaySet { .. }
        | Call::AssetEvents { .. }
        | Call::SqlTransaction { .. }
        | Call::SqlNext { .. }
        | Call::DagLook(_) => {}
    }
}

fn blot_reply(masker: &Masker, reply: &mut Reply) {
    match reply {
        Reply::Value(value) => masker.blot(&mut value.bytes),
        Reply::RunValues(values) => values.iter_mut().for_each(|found| masker.blot(&mut found.value.bytes)),
        Reply::Text(text) => blot_text(masker, text),
        Reply::Connection(connection) => {
            // A short password is not known to the masker.
            if let Some(password) = &mut connection.password {
                *password = placeholder(password.len());
            }
            let texts = [&mut connection.host, &mut connection.schema, &mut connection.login, &mut connection.extra];
            texts.into_iter().flatten().for_each(|text| blot_text(masker, text));
        }
        Reply::Response { headers, .. } => headers.iter_mut().for_each(|(_, value)| masker.blot(value)),
        Reply::AssetEvents(events) => {
            for event in events {
                blot_text(masker, &mut event.uri);
                blot_text(masker, &mut event.extra);
            }
        }
        Reply::Approval(answer) => {
            if let Some(answer) = answer {
                blot_text(masker, &mut answer.values);
            }
        }
        Reply::Object { stream: _, info } | Reply::ObjectInfo(info) => blot_text(masker, &mut info.key),
        Reply::Objects { objects, has_more: _ } => {
            for info in objects {
                blot_text(masker, &mut info.key);
            }
        }
        Reply::Rows { stream: _, columns } => columns.iter_mut().for_each(|column| blot_text(masker, &mut column.name)),
        Reply::Batch(rows) => rows.iter_mut().flatten().for_each(|datum| blot_datum(masker, datum)),
        // Pieces of streams are done as a whole.
        Reply::Bytes(_) | Reply::Unit | Reply::Stream { .. } | Reply::Size(_) | Reply::DagRun(_) | Reply::Look(_) => {}
    }
}

fn blot_datum(masker: &Masker, datum: &mut Datum) {
    match datum {
        Datum::Decimal(text) | Datum::Text(text) | Datum::Time(text) | Datum::Json(text) => blot_text(masker, text),
        Datum::Bytes(bytes) => masker.blot(bytes),
        Datum::Null | Datum::Boolean(_) | Datum::Integer(_) | Datum::Float(_) => {}
    }
}

/// Blots what was read of each stream, also a secret that lies over several pieces.
fn blot_streams(masker: &Masker, calls: &mut [RecordedCall]) {
    let mut streams: HashMap<StreamKey, Vec<&mut Vec<u8>>> = HashMap::new();
    for call in calls {
        if let (Call::StreamRead { stream, .. }, Some(Ok(Reply::Bytes(bytes)))) = (&call.request, &mut call.reply) {
            streams.entry(*stream).or_default().push(bytes);
        }
    }
    for pieces in streams.into_values() {
        let mut whole = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
        masker.blot(&mut whole);
        let mut rest = whole.as_slice();
        for piece in pieces {
            let (own, others) = rest.split_at(piece.len());
            piece.copy_from_slice(own);
            rest = others;
        }
    }
}

fn blot_text(masker: &Masker, text: &mut String) {
    let mut bytes = std::mem::take(text).into_bytes();
    masker.blot(&mut bytes);
    *text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
}

fn mask_text(masker: &Masker, text: &mut String) {
    if let std::borrow::Cow::Owned(shown) = masker.mask(text) {
        *text = shown;
    }
}

fn mask_value(masker: &Masker, value: &mut Value) {
    mask_text(masker, &mut value.media_type);
    mask_bytes(masker, &mut value.bytes);
}

fn mask_bytes(masker: &Masker, bytes: &mut Vec<u8>) {
    if masker.finds(bytes) {
        let mut stream = masker.stream();
        let mut shown = stream.push(bytes);
        shown.extend(stream.finish());
        *bytes = shown;
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{super::tests::run, *};
    use crate::{
        model::sql::Column,
        wire::{Connection, Input, Tape},
    };

    const SECRET: &str = "hunter2-4711";

    fn call(request: Call, reply: Reply) -> RecordedCall {
        RecordedCall { request, reply: Some(Ok(reply)) }
    }

    #[test]
    fn no_form_of_a_secret_is_left_anywhere() {
        let encoded = BASE64_STANDARD.encode(format!("user:{SECRET}"));
        let value = |text: &str| Value { media_type: "text/plain".into(), bytes: text.into() };
        let (stream, http) = (StreamKey(1), format!("https://host/?key={SECRET}"));
        let read = || Call::StreamRead { stream, max_bytes: 10 };
        let mut recording = Recording { run: run(), calls: Vec::new(), tape: Tape::default(), end: AttemptEnd::Killed };
        recording.run.instance.params = format!("{{\"token\":\"{SECRET}\"}}");
        recording.run.inputs.push(Input { name: "x".into(), value: Some(value(&encoded)) });
        recording.end = AttemptEnd::Trapped { message: SECRET.into(), backtrace: vec![SECRET.into()] };
        let connection = Connection {
            id: "db".into(),
            conn_type: "http".into(),
            host: None,
            schema: None,
            login: Some("me".into()),
            password: Some("abc".into()),
            port: None,
            extra: Some(format!("{{\"key\": \"{SECRET}\"}}")),
        };
        let headers = vec![("authorization".to_owned(), format!("Basic {encoded}").into_bytes())];
        recording.calls = vec![
            call(Call::VariableGet { key: SECRET.into() }, Reply::Text(SECRET.into())),
            call(Call::ConnectionGet { id: "db".into() }, Reply::Connection(connection)),
            call(
                Call::HttpRequest {
                    method: "GET".into(),
                    uri: http,
                    headers: headers.clone(),
                    body: SECRET.into(),
                    timeout_ms: None,
                },
                Reply::Response { stream, status: 200, headers },
            ),
            call(read(), Reply::Bytes(SECRET.as_bytes()[..5].to_vec())),
            call(read(), Reply::Bytes(SECRET.as_bytes()[5..].to_vec())),
            call(
                Call::SqlQuery {
                    session: stream,
                    statement: format!("select '{SECRET}'"),
                    parameters: vec![Datum::Text(SECRET.into()), Datum::Bytes(SECRET.into())],
                },
                Reply::Rows { stream, columns: vec![Column { name: SECRET.into(), type_name: "text".into() }] },
            ),
            call(Call::SqlNext { stream }, Reply::Batch(vec![vec![Datum::Text(SECRET.into()), Datum::Null]])),
            RecordedCall {
                request: Call::ApprovalFind { subject: SECRET.into() },
                reply: Some(Err(CallError::NotFound(format!("no `{SECRET}`")))),
            },
        ];
        let masker = Masker::new([SECRET]);
        hide(&mut recording, &masker);
        let bytes = postcard::to_stdvec(&recording).unwrap();
        assert!(!masker.finds(&bytes));
        assert!(!bytes.windows(5).any(|window| window == &SECRET.as_bytes()[..5]), "also where pieces meet");
        assert_eq!(recording.run.instance.params.len(), "{\"token\":\"\"}".len() + SECRET.len());
        let Some(Ok(Reply::Connection(connection))) = &recording.calls[1].reply else { panic!() };
        assert_eq!(connection.password.as_deref(), Some("mas"), "short, and hidden all the same");
        assert_eq!(connection.extra.as_deref(), Some(r#"{"key": "maskedmasked"}"#));
    }
}
