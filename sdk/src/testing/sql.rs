//! What a native test's host answers to statements.

use super::{Host, host::with};
use crate::{
    error::HostError,
    sql::{Answer, Column, Datum},
};

/// Answers, by connection and statement, and what was asked.
#[derive(Debug, Default)]
pub(super) struct Sql {
    answers: Vec<(String, String, Answer)>,
    asked: Vec<Asked>,
}

/// A statement that a task ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Of which connection.
    pub connection: String,
    /// `BEGIN`, `COMMIT` and `ROLLBACK` too.
    pub statement: String,
    /// Its parameters.
    pub parameters: Vec<Datum>,
}

impl Host {
    /// Answers `statement` on connection `id` with `answer`, whatever its parameters are and however it is broken into lines;
    /// of several answers that fit, the first is used up first, and the last stays. No database is involved.
    pub fn sql(self, id: &str, statement: &str, answer: Answer) -> Self {
        self.state.borrow_mut().sql.answers.push((id.to_owned(), plain(statement), answer));
        self
    }

    /// The statements that were run.
    pub fn statements(&self) -> Vec<Asked> {
        self.state.borrow().sql.asked.clone()
    }
}

/// With one space where there are several or a new line.
fn plain(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub struct Session(String);

pub struct Rows(Option<Vec<Vec<Datum>>>);

pub fn sql_open(id: &str) -> Result<Session, HostError> {
    with(id, |state| {
        if let Some(grants) = &state.grants
            && !grants.connections.iter().chain(grants.connection_secrets).any(|known| *known == id)
        {
            return Err(HostError::Denied(format!("connection:{id}")));
        }
        Ok(Session(id.to_owned()))
    })
}

impl Session {
    pub fn query(&self, statement: &str, parameters: Vec<Datum>) -> Result<(Vec<Column>, Rows), HostError> {
        let answer = self.answer(statement, parameters)?;
        Ok((answer.columns, Rows(Some(answer.rows))))
    }

    pub fn execute(&self, statement: &str, parameters: Vec<Datum>) -> Result<u64, HostError> {
        Ok(self.answer(statement, parameters)?.changed)
    }

    pub fn begin(&self) -> Result<(), HostError> {
        self.note("BEGIN")
    }

    pub fn commit(&self) -> Result<(), HostError> {
        self.note("COMMIT")
    }

    pub fn rollback(&self) -> Result<(), HostError> {
        self.note("ROLLBACK")
    }

    fn note(&self, statement: &str) -> Result<(), HostError> {
        with(statement, |state| {
            let asked = Asked { connection: self.0.clone(), statement: statement.to_owned(), parameters: Vec::new() };
            state.sql.asked.push(asked);
            Ok(())
        })
    }

    fn answer(&self, statement: &str, parameters: Vec<Datum>) -> Result<Answer, HostError> {
        let statement = plain(statement);
        with(&statement.clone(), |state| {
            let fits = |(id, known, _): &&(String, String, Answer)| *id == self.0 && *known == statement;
            let Some(answer) = state.sql.answers.iter().find(fits).map(|(_, _, answer)| answer.clone()) else {
                return Err(HostError::Unavailable(format!("`{statement}`; set an answer with `Host::sql`")));
            };
            if state.sql.answers.iter().filter(fits).count() > 1
                && let Some(at) = state.sql.answers.iter().position(|known| fits(&known))
            {
                drop(state.sql.answers.remove(at));
            }
            state.sql.asked.push(Asked { connection: self.0.clone(), statement, parameters });
            match answer.error {
                Some(error) => Err(error),
                None => Ok(answer),
            }
        })
    }
}

impl Rows {
    #[expect(clippy::unnecessary_wraps, reason = "the wasm side may fail")]
    pub fn next(&mut self) -> Result<Vec<Vec<Datum>>, HostError> {
        Ok(self.0.take().unwrap_or_default())
    }
}
