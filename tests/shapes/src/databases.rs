//! Statements that a test chooses.

use airlock_sdk::{
    prelude::*,
    serde_json::{Value, json},
    sql::{Connection, Datum, ToDatum},
};

/// Does `steps` on a connection, one after the other; answers what came of each.
#[task]
pub fn statements(connection: &str, steps: &[Value]) -> Result<Vec<Value>> {
    let mut database = sql::connect(connection)?;
    let mut outcomes = Vec::new();
    for step in steps {
        let outcome = match step.get("transaction").and_then(Value::as_array) {
            Some(inner) => transaction(&mut database, inner, step["end"].as_str()),
            None => perform(&database, step),
        };
        outcomes.push(outcome.unwrap_or_else(|error| json!({"error": error.to_string()})));
    }
    Ok(outcomes)
}

fn transaction(database: &mut Connection, steps: &[Value], end: Option<&str>) -> Result<Value> {
    let transaction = database.transaction()?;
    let perform = |step| match perform(&transaction, step) {
        Err(error) if step["regardless"] == true => Ok(json!({"error": error.to_string()})),
        outcome => outcome,
    };
    let outcomes = steps.iter().map(perform).collect::<Result<Vec<_>>>()?;
    match end {
        Some("commit") => transaction.commit()?,
        Some("rollback") => transaction.rollback()?,
        _ => drop(transaction),
    }
    Ok(outcomes.into())
}

fn perform(database: &Connection, step: &Value) -> Result<Value> {
    let parameters: Vec<Datum> =
        step["parameters"].as_array().into_iter().flatten().map(datum).collect::<Result<_>>()?;
    let parameters: Vec<&dyn ToDatum> = parameters.iter().map(|datum| datum as &dyn ToDatum).collect();
    let text = |field: &str| step[field].as_str();
    if let Some(statement) = text("execute") {
        return Ok(database.execute(statement, &parameters)?.into());
    }
    if let Some(statement) = text("count") {
        let rows = database.query(statement, &parameters)?;
        let mut count = 0;
        for row in rows {
            row?;
            count += 1;
        }
        return Ok(count.into());
    }
    if let Some(id) = text("open") {
        // Held until the step is over.
        let opened: Vec<_> =
            (0..step["times"].as_u64().unwrap_or(1)).map(|_| sql::connect(id)).collect::<Result<_, _>>()?;
        return Ok(opened.len().into());
    }
    let statement = text("query").or(text("half")).ok_or_else(|| Fatal::new("a step without a statement"))?;
    let mut rows = database.query(statement, &parameters)?;
    if text("half").is_some() {
        // While its rows are open, another statement is asked for; then it is dropped.
        let first = rows.next().transpose()?;
        let meanwhile = database.execute("select 1", &[]).err().map(|error| error.to_string());
        return Ok(json!([format!("{first:?}"), meanwhile]));
    }
    let columns: Vec<_> = rows.columns().iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    let rows = rows.map(|row| Ok(row?.iter().map(|datum| format!("{datum:?}")).collect()));
    let rows = rows.collect::<Result<Vec<Vec<String>>>>()?;
    Ok(json!({"columns": columns, "rows": rows}))
}

/// `{"decimal": "1.5"}` and its like; all else as it is in JSON.
fn datum(value: &Value) -> Result<Datum> {
    if let Some((kind, value)) = value.as_object().and_then(|fields| fields.iter().next()) {
        let text = value.as_str().unwrap_or_default().to_owned();
        return Ok(match kind.as_str() {
            "decimal" => Datum::Decimal(text),
            "bytes" => Datum::Bytes(text.into_bytes()),
            "time" => Datum::Time(text),
            "json" => Datum::Json(text),
            "long" => Datum::Text("x".repeat(usize::try_from(value.as_u64().unwrap_or(0))?)),
            other => bail!("no kind `{other}`"),
        });
    }
    Ok(match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => value.to_datum(),
        Value::String(text) => text.to_datum(),
        number => match number.as_i64() {
            Some(whole) => whole.to_datum(),
            None => number.as_f64().to_datum(),
        },
    })
}
