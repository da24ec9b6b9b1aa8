//! What a replayed attempt is answered: what the recorded one was, call by call, as far as that goes.
//!
//! A call is looked for among those that were not used yet, the same before a like one (a request to the same address with
//! another body). What only reads may be asked again. What only gives - an XCom, an artifact - is always taken, as
//! it is seen by nobody. All else that the recording does not have is a divergence.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::super::{
    calls,
    recording::{RecordedCall, mask_request, without_gifts},
};
use crate::{
    secrets::{Masker, SecretString, is_placeholder},
    wire::{Call, CallError, Reply, StreamKey},
};

/// Values that a recording does not have, because they are secrets.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// By key; instead of what was recorded.
    pub variables: BTreeMap<String, String>,
    /// Of connections, by id.
    pub passwords: BTreeMap<String, String>,
}

/// A secret that a replayed task did not see, because it is not in the recording.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    Variable(String),
    /// Of a connection.
    Password(String),
}

impl std::fmt::Display for Placeholder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(key) => write!(f, "variable `{key}` (--variable {key}=..)"),
            Self::Password(id) => write!(f, "the password of connection `{id}` (--password {id}=..)"),
        }
    }
}

/// What comes of a call.
#[derive(Debug)]
pub(super) enum Said {
    Reply(Result<Reply, CallError>),
    /// The call is not answered.
    Nothing,
    /// The recorded attempt was ended while it waited for the answer.
    Stopped,
    /// The recording knows no answer; the text says what was asked and what was recorded.
    Diverged(String),
}

/// A recording's answers.
pub(super) struct Answers {
    calls: Vec<RecordedCall>,
    is_used: Vec<bool>,
    given: Given,
    streams: HashMap<StreamKey, Stream>,
    last_stream: u32,
    asked: u32,
    hidden: Secrets,
    secret: Secrets,
    placeholders: BTreeSet<Placeholder>,
}

/// What must not be shown.
struct Secrets {
    all: Vec<SecretString>,
    masker: Masker,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { all: Vec::new(), masker: Masker::new([]) }
    }
}

impl Secrets {
    fn add(&mut self, secrets: Vec<SecretString>) {
        let known = self.all.len();
        for secret in secrets {
            if !self.all.contains(&secret) {
                self.all.push(secret);
            }
        }
        if self.all.len() > known {
            self.masker = Masker::new(self.all.iter().map(SecretString::expose));
        }
    }
}

/// Something that the replayed attempt holds open.
struct Stream {
    /// What it is, for people.
    what: String,
    /// What was recorded of it and is still to come.
    rest: VecDeque<Option<Result<Reply, CallError>>>,
    /// It was read to its end.
    ended: bool,
    /// Its key when it was recorded.
    recorded: StreamKey,
    /// It is written: what is not recorded of it is taken.
    is_sink: bool,
    size: u64,
}

impl Answers {
    pub fn new(calls: Vec<RecordedCall>, given: Given) -> Self {
        Self {
            is_used: vec![false; calls.len()],
            calls,
            given,
            streams: HashMap::new(),
            last_stream: 0,
            asked: 0,
            hidden: Secrets::default(),
            secret: Secrets::default(),
            placeholders: BTreeSet::new(),
        }
    }

    /// Masks what a log does not show.
    pub fn log_masker(&self) -> &Masker {
        &self.hidden.masker
    }

    /// Masks what a recording does not hold.
    pub fn secrets_masker(&self) -> &Masker {
        &self.secret.masker
    }

    /// What is not in the recording and was not given, of what was asked for.
    pub fn placeholders(&self) -> Vec<Placeholder> {
        self.placeholders.iter().cloned().collect()
    }

    pub fn answer(&mut self, request: &Call) -> Said {
        self.asked += 1;
        match request {
            Call::StreamDrop { .. } => Said::Nothing,
            Call::StreamRead { stream, max_bytes } => self.read(*stream, *max_bytes as usize),
            Call::ArtifactWrite { stream, chunk } => self.write(*stream, Some(chunk.len())),
            Call::ArtifactFinish { stream } => self.write(*stream, None),
            Call::SqlNext { stream } => self.next_rows(*stream),
            _ => self.look_up(&self.with_recorded_session(request)),
        }
    }

    /// A request as it was recorded, where sessions had other keys.
    fn with_recorded_session(&self, request: &Call) -> Call {
        let mut request = request.clone();
        if let Call::SqlQuery { session, .. } | Call::SqlExecute { session, .. } | Call::SqlTransaction { session, .. } =
            &mut request
            && let Some(stream) = self.streams.get(session)
        {
            *session = stream.recorded;
        }
        request
    }

    fn look_up(&mut self, request: &Call) -> Said {
        let mut masked = without_gifts(request);
        mask_request(&self.secret.masker, &mut masked);
        let reply = match self.find(&masked) {
            Some(place) => {
                self.is_used[place] = true;
                match self.calls[place].reply.clone() {
                    Some(reply) => reply,
                    None => return Said::Stopped,
                }
            }
            None => match self.without_recording(request) {
                Some(reply) => Ok(reply),
                None => return Said::Diverged(self.diverged(&describe(&masked))),
            },
        };
        Said::Reply(reply.map(|reply| self.own(request, reply)))
    }

    /// The recorded call that answers this one.
    fn find(&self, request: &Call) -> Option<usize> {
        let places = || 0..self.calls.len();
        let is_free = |place: &usize| !self.is_used[*place];
        let is_equal = |place: &usize| self.calls[*place].request == *request;
        let is_like = |place: &usize| is_like(&self.calls[*place].request, request);
        places()
            .find(|place| is_free(place) && is_equal(place))
            .or_else(|| places().find(|place| is_free(place) && is_like(place)))
            .or_else(|| places().rev().find(|place| is_only_read(request) && (is_equal(place) || is_like(place))))
    }

    /// The answer to what needs no recording.
    fn without_recording(&mut self, request: &Call) -> Option<Reply> {
        match request {
            Call::XComPush { .. }
            | Call::AssetSetExtra { .. }
            | Call::AssetAdd { .. }
            | Call::LabelSet { .. }
            | Call::RetryDelaySet { .. } => Some(Reply::Unit),
            Call::ArtifactCreate { .. } => Some(Reply::Stream { stream: StreamKey(u32::MAX), size: 0 }),
            Call::VariableGet { key } if self.given.variables.contains_key(key) => Some(Reply::Text(String::new())),
            _ => None,
        }
    }

    /// A recorded reply, with keys of this replay and values that were given; its secrets are masked from now on.
    fn own(&mut self, request: &Call, mut reply: Reply) -> Reply {
        match (&mut reply, request) {
            (
                Reply::Stream { stream, .. }
                | Reply::Response { stream, .. }
                | Reply::Rows { stream, .. }
                | Reply::Object { stream, .. },
                _,
            ) => *stream = self.open(request, *stream),
            (Reply::Text(text), Call::VariableGet { key }) => match self.given.variables.get(key) {
                Some(given) => given.clone_into(text),
                None if is_placeholder(text) => drop(self.placeholders.insert(Placeholder::Variable(key.clone()))),
                None => {}
            },
            (Reply::Connection(connection), _) => match self.given.passwords.get(&connection.id) {
                Some(given) => connection.password = Some(given.clone()),
                None if connection.password.is_some() => {
                    self.placeholders.insert(Placeholder::Password(connection.id.clone()));
                }
                None => {}
            },
            _ => {}
        }
        self.hidden.add(calls::hidden_in(request, &reply));
        self.secret.add(calls::secret_in(request, &reply));
        reply
    }

    fn open(&mut self, request: &Call, recorded: StreamKey) -> StreamKey {
        let of = |call: &Call| match call {
            Call::StreamRead { stream, .. }
            | Call::ArtifactWrite { stream, .. }
            | Call::ArtifactFinish { stream }
            | Call::SqlNext { stream } => *stream == recorded,
            _ => false,
        };
        let rest = self.calls.iter().filter(|call| of(&call.request)).map(|call| call.reply.clone()).collect();
        self.last_stream += 1;
        let is_sink = matches!(request, Call::ArtifactCreate { .. } | Call::ObjectPut { .. });
        let stream = Stream { what: describe(request), rest, ended: false, recorded, is_sink, size: 0 };
        self.streams.insert(StreamKey(self.last_stream), stream);
        StreamKey(self.last_stream)
    }

    fn read(&mut self, key: StreamKey, max: usize) -> Said {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Said::Diverged("a stream that is not open".into());
        };
        match stream.rest.pop_front() {
            Some(None) => Said::Stopped,
            Some(Some(Ok(Reply::Bytes(mut bytes)))) => {
                stream.ended = bytes.is_empty();
                if bytes.len() > max {
                    let later = bytes.split_off(max);
                    stream.rest.push_front(Some(Ok(Reply::Bytes(later))));
                }
                Said::Reply(Ok(Reply::Bytes(bytes)))
            }
            Some(Some(other)) => Said::Reply(other),
            None if stream.ended => Said::Reply(Ok(Reply::Bytes(Vec::new()))),
            None => {
                let what = format!("more of {} than was read when it was recorded", stream.what);
                Said::Diverged(self.diverged(&what))
            }
        }
    }

    fn next_rows(&mut self, key: StreamKey) -> Said {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Said::Diverged("rows that are not open".into());
        };
        match stream.rest.pop_front() {
            Some(None) => Said::Stopped,
            Some(Some(reply)) => {
                stream.ended = matches!(&reply, Ok(Reply::Batch(rows)) if rows.is_empty());
                Said::Reply(reply)
            }
            None if stream.ended => Said::Reply(Ok(Reply::Batch(Vec::new()))),
            None => {
                let what = format!("more rows of {} than were read when it was recorded", stream.what);
                Said::Diverged(self.diverged(&what))
            }
        }
    }

    /// Takes what is written, or the end of it.
    fn write(&mut self, key: StreamKey, bytes: Option<usize>) -> Said {
        let Some(stream) = self.streams.get_mut(&key).filter(|stream| stream.is_sink) else {
            return Said::Diverged("an artifact that is not open".into());
        };
        stream.size += bytes.unwrap_or(0) as u64;
        let size = stream.size;
        Said::Reply(match (stream.rest.pop_front(), bytes) {
            (Some(None), _) => return Said::Stopped,
            // An error, or the answer to this sort of call.
            (Some(Some(reply @ (Err(_) | Ok(Reply::Unit)))), Some(_))
            | (Some(Some(reply @ (Err(_) | Ok(Reply::Size(_))))), None) => reply,
            (_, Some(_)) => Ok(Reply::Unit),
            (_, None) => Ok(Reply::Size(size)),
        })
    }

    fn diverged(&self, asked: &str) -> String {
        let next =
            self.calls.iter().zip(&self.is_used).find(|(call, is_used)| !*is_used && !is_of_stream(&call.request));
        let instead = match next {
            Some((call, _)) => format!("there comes {} next", describe(&call.request)),
            None => "there comes nothing more".to_owned(),
        };
        format!("in call {} the task asked for {asked}, which is not in the recording; {instead}", self.asked)
    }
}

fn is_of_stream(call: &Call) -> bool {
    matches!(
        call,
        Call::StreamRead { .. }
            | Call::StreamDrop { .. }
            | Call::ArtifactWrite { .. }
            | Call::ArtifactFinish { .. }
            | Call::SqlNext { .. }
    )
}

/// Whether both ask the same of the same, if not in the same words.
fn is_like(one: &Call, other: &Call) -> bool {
    match (one, other) {
        (Call::HttpRequest { method, uri, .. }, Call::HttpRequest { method: other_method, uri: other_uri, .. }) => {
            method == other_method && uri == other_uri
        }
        (Call::XComPush { key, .. }, Call::XComPush { key: other, .. }) => key == other,
        (Call::ArtifactCreate { name, .. }, Call::ArtifactCreate { name: other, .. }) => name == other,
        (Call::AssetSetExtra { asset, .. }, Call::AssetSetExtra { asset: other, .. })
        | (Call::AssetEvents { asset, .. }, Call::AssetEvents { asset: other, .. }) => asset == other,
        (Call::LabelSet { .. }, Call::LabelSet { .. }) | (Call::RetryDelaySet { .. }, Call::RetryDelaySet { .. }) => {
            true
        }
        (Call::AssetAdd { alias, .. }, Call::AssetAdd { alias: other, .. }) => alias == other,
        (Call::DagLook(wait), Call::DagLook(other)) => wait.of == other.of,
        (Call::DagTrigger(run), Call::DagTrigger(other)) => run.dag_id == other.dag_id,
        (Call::SqlQuery { statement, .. }, Call::SqlQuery { statement: other, .. })
        | (Call::SqlExecute { statement, .. }, Call::SqlExecute { statement: other, .. }) => statement == other,
        (Call::SqlTransaction { act, .. }, Call::SqlTransaction { act: other, .. }) => act == other,
        _ => false,
    }
}

/// Whether a call changes nothing, so that it can be asked more often than it was.
fn is_only_read(call: &Call) -> bool {
    match call {
        Call::XComPull { .. }
        | Call::XComPullRuns { .. }
        | Call::VariableGet { .. }
        | Call::ConnectionGet { .. }
        | Call::SqlOpen { .. }
        | Call::ObjectGet { .. }
        | Call::ObjectList { .. }
        | Call::ObjectHead { .. }
        | Call::ArtifactOpen { .. }
        | Call::AssetTriggering
        | Call::AssetEvents { .. }
        | Call::ApprovalFind { .. }
        | Call::DagLook(_) => true,
        Call::HttpRequest { method, .. } => method == "GET" || method == "HEAD",
        Call::XComPush { .. }
        | Call::ArtifactCreate { .. }
        | Call::ArtifactWrite { .. }
        | Call::ArtifactFinish { .. }
        | Call::StreamRead { .. }
        | Call::StreamDrop { .. }
        | Call::AssetSetExtra { .. }
        | Call::AssetAdd { .. }
        | Call::LabelSet { .. }
        | Call::RetryDelaySet { .. }
        | Call::DagTrigger(_)
        | Call::ObjectPut { .. }
        | Call::ObjectDelete { .. }
        | Call::SqlQuery { .. }
        | Call::SqlExecute { .. }
        | Call::SqlTransaction { .. }
        | Call::SqlNext { .. } => false,
    }
}

/// A call in words.
fn describe(call: &Call) -> String {
    let text = match call {
        Call::XComPush { key, .. } => format!("a push of XCom `{key}`"),
        Call::XComPull { task_id, key, .. } => format!("XCom `{key}` of task `{task_id}`"),
        Call::XComPullRuns { task_id, key, .. } => format!("XCom `{key}` of task `{task_id}` in all runs"),
        Call::VariableGet { key } => format!("variable `{key}`"),
        Call::ConnectionGet { id } => format!("connection `{id}`"),
        Call::ArtifactCreate { name, .. } => format!("a new artifact `{name}`"),
        Call::ArtifactOpen { task_id, name, .. } => format!("artifact `{name}` of task `{task_id}`"),
        Call::ArtifactWrite { .. } | Call::ArtifactFinish { .. } => "writing an artifact".to_owned(),
        Call::StreamRead { .. } | Call::StreamDrop { .. } => "reading a stream".to_owned(),
        Call::HttpRequest { method, uri, .. } => format!("{method} {uri}"),
        Call::AssetSetExtra { asset, .. } => format!("the extra of asset `{asset}`"),
        Call::AssetAdd { alias, name, .. } => format!("asset `{name}` through alias `{alias}`"),
        Call::AssetTriggering => "the events that the run was made for".to_owned(),
        Call::AssetEvents { asset, .. } => format!("the events of asset `{asset}`"),
        Call::ApprovalFind { subject } => format!("the answer to `{subject}`"),
        Call::LabelSet { label } => format!("the label `{label}`"),
        Call::RetryDelaySet { .. } => "the wait before the next try".to_owned(),
        Call::DagLook(wait) => format!("a look at dag `{}`", wait.of.dag_id),
        Call::DagTrigger(run) => format!("a run of dag `{}`", run.dag_id),
        Call::ObjectGet { connection, key } | Call::ObjectHead { connection, key } => {
            format!("object `{key}` of connection `{connection}`")
        }
        Call::ObjectPut { connection, key, .. } => format!("a new object `{key}` of connection `{connection}`"),
        Call::ObjectDelete { connection, key } => format!("the end of object `{key}` of connection `{connection}`"),
        Call::ObjectList { connection, prefix, .. } => {
            format!("the objects of connection `{connection}` below `{prefix}`")
        }
        Call::SqlOpen { id } => format!("the database of connection `{id}`"),
        Call::SqlQuery { statement, .. } | Call::SqlExecute { statement, .. } => format!("the statement `{statement}`"),
        Call::SqlTransaction { act, .. } => format!("a {}", act.statement()),
        Call::SqlNext { .. } => "more rows".to_owned(),
    };
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::sql::Datum,
        wire::{Connection, Value},
    };

    fn variable(key: &str) -> Call {
        Call::VariableGet { key: key.into() }
    }

    fn http(method: &str, uri: &str, body: &str) -> Call {
        Call::HttpRequest {
            method: method.into(),
            uri: uri.into(),
            headers: Vec::new(),
            body: body.into(),
            timeout_ms: None,
        }
    }

    fn recorded(calls: Vec<(Call, Option<Result<Reply, CallError>>)>) -> Answers {
        given(calls, Given::default())
    }

    fn given(calls: Vec<(Call, Option<Result<Reply, CallError>>)>, given: Given) -> Answers {
        Answers::new(calls.into_iter().map(|(request, reply)| RecordedCall { request, reply }).collect(), given)
    }

    /// A call that was answered with a text.
    fn told(request: Call, text: &str) -> (Call, Option<Result<Reply, CallError>>) {
        (request, Some(Ok(Reply::Text(text.into()))))
    }

    fn said(said: Said) -> String {
        match said {
            Said::Reply(Ok(Reply::Text(text))) => text,
            Said::Reply(Ok(Reply::Bytes(bytes))) => String::from_utf8(bytes).unwrap(),
            Said::Diverged(why) => why,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn answers_come_in_order_and_reads_may_be_repeated() {
        let mut answers = recorded(vec![
            told(variable("a"), "1"),
            (variable("b"), Some(Err(CallError::NotFound("b".into())))),
            told(variable("a"), "2"),
        ]);
        assert_eq!(said(answers.answer(&variable("a"))), "1");
        assert!(matches!(answers.answer(&variable("b")), Said::Reply(Err(CallError::NotFound(_)))));
        for _ in 0..3 {
            assert_eq!(said(answers.answer(&variable("a"))), "2");
        }
        let why = said(answers.answer(&variable("c")));
        assert!(why.contains("call 6") && why.contains("variable `c`") && why.contains("nothing more"), "{why}");
    }

    #[test]
    fn a_like_request_is_answered_and_another_is_a_divergence() {
        let response =
            |stream| Some(Ok(Reply::Response { stream: StreamKey(stream), status: 200, headers: Vec::new() }));
        let read = |stream| Call::StreamRead { stream: StreamKey(stream), max_bytes: 4 };
        let bytes = |text: &str| Some(Ok(Reply::Bytes(text.into())));
        let mut answers = recorded(vec![
            (http("POST", "http://h/1", "a"), response(7)),
            (http("POST", "http://h/2", "a"), response(8)),
            (read(7), bytes("abcdef")),
            (read(7), bytes("")),
            (read(8), bytes("part")),
        ]);
        let mut open = |body: &str, uri: &str| match answers.answer(&http("POST", uri, body)) {
            Said::Reply(Ok(Reply::Response { stream, .. })) => Ok(stream),
            other => Err(said(other)),
        };
        let one = open("changed", "http://h/1").unwrap();
        let two = open("a", "http://h/2").unwrap();
        let why = open("a", "http://h/1").unwrap_err();
        assert!(why.contains("POST http://h/1"), "a POST is not repeated: {why}");
        let pieces: Vec<_> =
            (0..4).map(|_| said(answers.answer(&Call::StreamRead { stream: one, max_bytes: 4 }))).collect();
        assert_eq!(pieces, ["abcd", "ef", "", ""]);
        assert_eq!(said(answers.answer(&Call::StreamRead { stream: two, max_bytes: 4 })), "part");
        let why = said(answers.answer(&Call::StreamRead { stream: two, max_bytes: 4 }));
        assert!(why.contains("more of POST http://h/2"), "{why}");
    }

    #[test]
    fn statements_are_answered_in_the_session_that_asked() {
        let session = |key| Some(Ok(Reply::Stream { stream: StreamKey(key), size: 0 }));
        let open = || Call::SqlOpen { id: "db".into() };
        let query = |key: u32, parameter| Call::SqlQuery {
            session: StreamKey(key),
            statement: "select $1".into(),
            parameters: vec![Datum::Integer(parameter)],
        };
        let rows = |key| Some(Ok(Reply::Rows { stream: StreamKey(key), columns: Vec::new() }));
        let next = |key| Call::SqlNext { stream: StreamKey(key) };
        let batch = |values: &[i64]| Reply::Batch(values.iter().map(|value| vec![Datum::Integer(*value)]).collect());
        let mut answers = recorded(vec![
            (open(), session(11)),
            (open(), session(12)),
            (query(12, 7), rows(13)),
            (next(13), Some(Ok(batch(&[7])))),
            (query(11, 7), rows(14)),
            (next(14), Some(Ok(batch(&[8])))),
            (next(14), Some(Ok(batch(&[])))),
        ]);
        let mut opened = |request: &Call| match answers.answer(request) {
            Said::Reply(Ok(Reply::Stream { stream, .. } | Reply::Rows { stream, .. })) => stream.0,
            other => panic!("{other:?}"),
        };
        let (one, two) = (opened(&open()), opened(&open()));
        let of_one = opened(&query(one, 7));
        let of_two = opened(&query(two, 7));
        let mut read = |key: u32| match answers.answer(&next(key)) {
            Said::Reply(Ok(Reply::Batch(rows))) => format!("{rows:?}"),
            other => said(other),
        };
        assert_eq!([read(of_one), read(of_one), read(of_one)], ["[[Integer(8)]]", "[]", "[]"]);
        assert_eq!(read(of_two), "[[Integer(7)]]");
        assert!(read(of_two).contains("more rows of the statement `select $1`"));
    }

    #[test]
    fn what_only_gives_is_always_taken() {
        let mut answers = recorded(Vec::new());
        let value = Value { media_type: "text/plain".into(), bytes: vec![1] };
        assert!(matches!(answers.answer(&Call::XComPush { key: "k".into(), value }), Said::Reply(Ok(Reply::Unit))));
        let create = Call::ArtifactCreate { name: "a".into(), media_type: "text/plain".into() };
        let Said::Reply(Ok(Reply::Stream { stream, .. })) = answers.answer(&create) else { panic!() };
        let write = Call::ArtifactWrite { stream, chunk: vec![0; 5] };
        assert!(matches!(answers.answer(&write), Said::Reply(Ok(Reply::Unit))));
        assert!(matches!(answers.answer(&Call::ArtifactFinish { stream }), Said::Reply(Ok(Reply::Size(5)))));
        assert!(matches!(answers.answer(&Call::StreamDrop { stream }), Said::Nothing));
    }

    #[test]
    fn what_was_under_way_when_the_attempt_was_ended_ends_it_again() {
        let mut answers = recorded(vec![(variable("a"), None)]);
        assert!(matches!(answers.answer(&variable("a")), Said::Stopped));
    }

    #[test]
    fn requests_with_a_secret_are_found_with_its_placeholder_and_with_its_value() {
        let connection = || Connection {
            id: "db".into(),
            conn_type: "http".into(),
            host: None,
            schema: None,
            login: None,
            password: Some("maskedmas".into()),
            port: None,
            extra: None,
        };
        let calls = || {
            vec![
                (Call::ConnectionGet { id: "db".into() }, Some(Ok(Reply::Connection(connection())))),
                told(http("GET", "http://h/?key=***", ""), "found"),
            ]
        };
        for (passwords, key) in
            [(BTreeMap::new(), "maskedmas"), ([("db".into(), "hunter2-0".into())].into(), "hunter2-0")]
        {
            let mut answers = given(calls(), Given { passwords, ..Given::default() });
            let Said::Reply(Ok(Reply::Connection(seen))) = answers.answer(&Call::ConnectionGet { id: "db".into() })
            else {
                panic!()
            };
            assert_eq!(seen.password.as_deref(), Some(key));
            assert_eq!(said(answers.answer(&http("GET", &format!("http://h/?key={key}"), ""))), "found");
            assert_eq!(answers.log_masker().mask(&format!("with {key}")), "with ***");
        }
    }

    #[test]
    fn values_that_were_taken_out_can_be_given() {
        let calls = || vec![told(variable("api_token"), "maskedmask"), told(variable("region"), "eu-west")];
        let mut answers = recorded(calls());
        assert_eq!(said(answers.answer(&variable("api_token"))), "maskedmask");
        assert_eq!(said(answers.answer(&variable("region"))), "eu-west");
        assert_eq!(answers.placeholders(), [Placeholder::Variable("api_token".into())]);
        let variables = [("api_token".to_owned(), "real".to_owned()), ("new".to_owned(), "value".to_owned())].into();
        let mut answers = given(calls(), Given { variables, ..Given::default() });
        assert_eq!(said(answers.answer(&variable("api_token"))), "real");
        assert_eq!(said(answers.answer(&variable("new"))), "value", "also what was never asked for");
        assert!(answers.placeholders().is_empty());
    }
}
