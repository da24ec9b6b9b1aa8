//! Databases for dags in YAML: queries, statements, and waits for what a query finds.
//!
//! ```yaml
//! dag_id: closing
//! grants: {connections: [warehouse]}
//! tasks:
//!   there: {uses: sql/wait, with: {connection: warehouse, statement: "select count(*) from orders where day = $1", parameters: ["{{ ds }}"]}}
//!   orders: {uses: sql/query, with: {connection: warehouse, statement: "select id, customer from orders"}, needs: [there]}
//!   close: {uses: sql/execute, with: {connection: warehouse, statements: ["update orders set open = false"]}, needs: [orders]}
//! ```

use std::time::Duration;

use airlock_sdk::{
    chrono::{DateTime, TimeDelta, Utc},
    prelude::*,
    serde_json::{Map, Value},
    sql::{Datum, ToDatum},
};

/// Rows that `query` returns if it is not told otherwise.
const USUAL_ROWS: usize = 10_000;

/// The rows of a query: a list of objects, bytes in them as lists of numbers. More than `max_rows` (10,000) is a failure. Airflow: SQLExecuteQueryOperator.
#[task]
fn query(
    connection: String,
    statement: String,
    parameters: Option<Vec<Value>>,
    max_rows: Option<usize>,
) -> Result<Vec<Map<String, Value>>> {
    let database = sql::connect(&connection)?;
    let most = max_rows.unwrap_or(USUAL_ROWS);
    let parameters = data(parameters);
    let mut found = Vec::new();
    for row in database.query(&statement, &borrowed(&parameters))?.read() {
        if found.len() == most {
            return Err(Fatal::new(format!("the query answers more than {most} rows; see `max_rows`")).into());
        }
        found.push(row?);
    }
    Ok(found)
}

/// Runs `statements` one after the other in a transaction; the result is how many rows each changed. `parameters` are those of a single
/// statement. Airflow: SQLExecuteQueryOperator.
#[task]
fn execute(connection: String, statements: Vec<String>, parameters: Option<Vec<Value>>) -> Result<Vec<u64>> {
    ensure!(parameters.is_none() || statements.len() == 1, "parameters are for a single statement");
    let mut database = sql::connect(&connection)?;
    let parameters = data(parameters);
    let transaction = database.transaction()?;
    let changed = statements.iter().map(|statement| transaction.execute(statement, &borrowed(&parameters)));
    let changed = changed.collect::<Result<Vec<_>, _>>()?;
    transaction.commit()?;
    Ok(changed)
}

/// Waits until the first value of a query's first row is there, and neither 0, false nor empty. Between two looks, `poke_interval`
/// apart (a minute), it holds nothing; after `timeout` (a week) it fails, or is skipped if it may `soft_fail`. Airflow: SqlSensor.
#[task]
fn wait(
    ctx: &Context,
    connection: String,
    statement: String,
    parameters: Option<Vec<Value>>,
    poke_interval: Option<String>,
    timeout: Option<String>,
    soft_fail: Option<bool>,
) -> Result<()> {
    let duration = |text: Option<String>, usual: Duration| match text {
        Some(text) => humantime::parse_duration(&text).context(format!("duration `{text}`")).map_err(Fatal::because),
        None => Ok(usual),
    };
    let pause = duration(poke_interval, Duration::from_mins(1))?;
    let timeout = duration(timeout, Duration::from_hours(7 * 24))?;
    let database = sql::connect(&connection)?;
    let parameters = data(parameters);
    let first = database.query(&statement, &borrowed(&parameters))?.next().transpose()?;
    if first.and_then(|row| row.into_iter().next()).is_some_and(|value| holds(&value)) {
        return Ok(());
    }
    let until = ctx.started_at() + TimeDelta::from_std(timeout).map_err(Fatal::because)?;
    if now() < until {
        return Err(Later::after(pause).into());
    }
    let text = format!("the query found nothing within {}", humantime::format_duration(timeout));
    if soft_fail.unwrap_or(false) { Err(Skip::because(text).into()) } else { Err(Fatal::new(text).into()) }
}

fn holds(value: &Datum) -> bool {
    match value {
        Datum::Null | Datum::Boolean(false) | Datum::Integer(0) => false,
        Datum::Decimal(text) | Datum::Text(text) => !text.is_empty() && text.parse() != Ok(0.0),
        Datum::Float(value) => *value != 0.0,
        _ => true,
    }
}

/// JSON as a database takes it.
fn data(parameters: Option<Vec<Value>>) -> Vec<Datum> {
    let datum = |value: Value| match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => Datum::Boolean(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Datum::Integer(whole),
            // No `f64` has all its digits.
            (None, Some(whole)) => Datum::Decimal(whole.to_string()),
            (None, None) => number.as_f64().map_or_else(|| Datum::Decimal(number.to_string()), Datum::Float),
        },
        Value::String(text) => Datum::Text(text),
        other => Datum::Json(other.to_string()),
    };
    parameters.unwrap_or_default().into_iter().map(datum).collect()
}

fn borrowed(parameters: &[Datum]) -> Vec<&dyn ToDatum> {
    parameters.iter().map(|datum| datum as &dyn ToDatum).collect()
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's clock is the task's own")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

airlock_sdk::export!(tasks = [query, execute, wait]);

#[cfg(test)]
mod tests {
    use airlock_sdk::{serde_json::json, sql::Answer, testing::Host};

    use super::*;

    #[test]
    fn rows_are_objects_and_no_more_than_wanted() {
        let answer = Answer::rows(["id", "name"]).row(&[&1, &"ada"]).row(&[&2, &Option::<String>::None]);
        let host = Host::new().sql("db", "select 1", answer);
        let run = |most| host.run(|_| query::run("db".into(), "select 1".into(), Some(vec![json!("x")]), most));
        assert_eq!(json!(run(None).unwrap()), json!([{"id": 1, "name": "ada"}, {"id": 2, "name": null}]));
        assert!(run(Some(1)).unwrap_err().to_string().contains("more than 1 rows"));
        assert_eq!(host.statements()[0].parameters, [Datum::Text("x".into())]);
    }

    #[test]
    fn parameters_keep_all_their_digits() {
        let parameters = vec![json!(7), json!(u64::MAX), json!(0.5)];
        let kept = [Datum::Integer(7), Datum::Decimal(u64::MAX.to_string()), Datum::Float(0.5)];
        assert_eq!(data(Some(parameters)), kept);
    }

    #[test]
    fn statements_take_effect_together() {
        let host = Host::new().sql("db", "a", Answer::changed(2));
        let run = |statements: &[&str]| {
            let statements = statements.iter().map(|text| (*text).to_owned()).collect();
            host.run(|_| execute::run("db".into(), statements, None))
        };
        assert_eq!(run(&["a", "a"]).unwrap(), [2, 2]);
        assert!(run(&["a", "b"]).is_err());
        let asked: Vec<_> = host.statements().into_iter().map(|asked| asked.statement).collect();
        assert_eq!(asked, ["BEGIN", "a", "a", "COMMIT", "BEGIN", "a", "ROLLBACK"]);
    }

    #[test]
    fn a_wait_ends_when_something_is_found() {
        let host = Host::new().sql("db", "q", Answer::rows(["n"])).sql("db", "q", Answer::rows(["n"]).row(&[&0])).sql(
            "db",
            "q",
            Answer::rows(["n"]).row(&[&3]),
        );
        let run = || host.run(|ctx| wait::run(ctx, "db".into(), "q".into(), None, None, None, None));
        assert!(run().unwrap_err().find::<Later>().is_some());
        assert!(run().unwrap_err().find::<Later>().is_some());
        assert!(run().is_ok());
    }
}
