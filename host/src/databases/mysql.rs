//! `MySQL` and `MariaDB`.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::{
    Arguments as _, Column as _, ConnectOptions as _, Connection as _, Decode, MySql as Sqlx, Row as _, Statement as _,
    Type, TypeInfo as _, ValueRef as _,
    mysql::{
        MySqlArguments, MySqlColumn, MySqlConnectOptions, MySqlConnection, MySqlQueryResult, MySqlRow, MySqlSslMode,
        MySqlStatement, MySqlTypeInfo, MySqlValueRef, types::MySqlTime,
    },
};

use super::{
    DatabaseError, Server, Shared, SslMode, not_connected, pool,
    run::{Dialect, Driver},
    times::{self, Time},
};
use crate::{
    model::sql::{Column, Datum, Row},
    secrets::SecretString,
};

#[derive(Debug)]
pub(super) struct MySql;

pub(super) async fn connect(shared: &Shared, server: &Server<'_>) -> Result<Driver<MySql>, DatabaseError> {
    let id = &server.connection.row.id;
    let relay = server.relay(shared).await?;
    let mut options = MySqlConnectOptions::new()
        // TLS knows the server by this name; the socket is the relay's.
        .host(server.host)
        .socket(relay.socket())
        .username(server.login().unwrap_or("root"))
        .ssl_mode(match server.sslmode {
            SslMode::Disable => MySqlSslMode::Disabled,
            SslMode::Prefer => MySqlSslMode::Preferred,
            SslMode::Require => MySqlSslMode::Required,
            SslMode::VerifyCa => MySqlSslMode::VerifyCa,
            SslMode::VerifyFull => MySqlSslMode::VerifyIdentity,
        })
        .disable_statement_logging();
    if let Some(database) = server.database() {
        options = options.database(database);
    }
    if let Some(password) = server.connection.password.as_ref().map(SecretString::expose) {
        options = options.password(password);
    }
    if let Some(pem) = &server.root_cert {
        options = options.ssl_ca_from_pem(pem.clone().into_bytes());
    }
    let connection =
        MySqlConnection::connect_with(&options).await.map_err(|error| not_connected(id.as_str(), &error))?;
    Ok(Driver { connection, meter: relay.meter.clone(), owner: pool::owner(server.connection) })
}

impl Dialect for MySql {
    type Database = Sqlx;

    fn arguments(parameters: &[Datum], prepared: &MySqlStatement) -> Result<MySqlArguments, String> {
        let wanted = match prepared.parameters() {
            Some(sqlx::Either::Right(count)) => count,
            _ => 0,
        };
        if wanted != parameters.len() {
            return Err(format!("the statement has {wanted} parameters, and {} are given", parameters.len()));
        }
        let mut arguments = MySqlArguments::default();
        for datum in parameters {
            match datum {
                Datum::Null => arguments.add(Option::<String>::None),
                Datum::Boolean(value) => arguments.add(*value),
                Datum::Integer(value) => arguments.add(*value),
                Datum::Float(value) => arguments.add(*value),
                Datum::Decimal(text) | Datum::Text(text) | Datum::Json(text) => arguments.add(text.as_str()),
                Datum::Bytes(bytes) => arguments.add(bytes.as_slice()),
                Datum::Time(text) => arguments.add(Time::parse(text)?.to_mysql()),
            }
            .map_err(|error| error.to_string())?;
        }
        Ok(arguments)
    }

    fn column(column: &MySqlColumn) -> Column {
        Column { name: column.name().to_owned(), type_name: type_name(column.type_info()).to_lowercase() }
    }

    fn row(row: &MySqlRow) -> Result<Row, String> {
        let columns = row.columns().iter().enumerate();
        columns
            .map(|(at, column)| {
                let value = row.try_get_raw(at).map_err(|error| error.to_string())?;
                read(value).map_err(|why| format!("column `{}`: {why}", column.name()))
            })
            .collect()
    }

    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }

    /// There is no way to take back what a session set, so that the next user gets a connection of its own.
    async fn keep(_: &Arc<Shared>, driver: Driver<Self>) {
        driver.close().await;
    }
}

/// What the server calls a type: texts that are compared by their bytes (`utf8mb4_bin`, as all JSON of MariaDB is) have the flag of
/// binary ones, and are none.
fn type_name(info: &MySqlTypeInfo) -> &str {
    match info.name() {
        name if !<str as Type<Sqlx>>::compatible(info) => name,
        "BINARY" => "CHAR",
        "VARBINARY" => "VARCHAR",
        "TINYBLOB" => "TINYTEXT",
        "BLOB" => "TEXT",
        "MEDIUMBLOB" => "MEDIUMTEXT",
        "LONGBLOB" => "LONGTEXT",
        name => name,
    }
}

fn read(value: MySqlValueRef<'_>) -> Result<Datum, String> {
    fn decode<'r, T: Decode<'r, Sqlx>>(value: MySqlValueRef<'r>) -> Result<T, String> {
        T::decode(value).map_err(|error| error.to_string())
    }
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let name = type_name(&value.type_info()).to_owned();
    Ok(match name.as_str() {
        // `tinyint(1)`, which has other numbers, too.
        "BOOLEAN" => {
            let is_unsigned = <u8 as Type<Sqlx>>::compatible(&value.type_info());
            let number = if is_unsigned { i64::from(decode::<u8>(value)?) } else { decode(value)? };
            match number {
                0 | 1 => Datum::Boolean(number == 1),
                _ => Datum::Integer(number),
            }
        }
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Datum::Integer(decode(value)?),
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED"
        | "YEAR" | "BIT" => {
            let number: u64 = decode(value)?;
            i64::try_from(number).map_or_else(|_| Datum::Decimal(number.to_string()), Datum::Integer)
        }
        "FLOAT" => Datum::Float(decode::<f32>(value)?.into()),
        "DOUBLE" => Datum::Float(decode(value)?),
        "DECIMAL" => Datum::Decimal(decode(value)?),
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET" => {
            Datum::Text(decode(value)?)
        }
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
            Datum::Bytes(decode::<&[u8]>(value)?.to_vec())
        }
        "JSON" => Datum::Json(decode(value)?),
        "DATE" => Datum::Time(decode::<NaiveDate>(value)?.to_string()),
        "TIME" => Datum::Time(decode::<MySqlTime>(value)?.to_string()),
        "DATETIME" => Datum::Time(times::of_local(decode::<NaiveDateTime>(value)?)),
        // Sessions are in UTC.
        "TIMESTAMP" => Datum::Time(times::of_instant(decode::<DateTime<Utc>>(value)?)),
        other => return Err(format!("its type `{}` can't be read; cast it to char", other.to_lowercase())),
    })
}
