//! `PostgreSQL`, and what speaks its protocol.

use std::sync::Arc;

use sqlx::{
    Arguments as _, Column as _, ConnectOptions as _, Connection as _, Encode, Executor as _, Postgres as Sqlx,
    Row as _, Statement as _, Type, TypeInfo as _, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    postgres::{
        PgArgumentBuffer, PgArguments, PgColumn, PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgSslMode,
        PgStatement, PgTypeInfo, PgTypeKind, PgValueRef,
    },
};
use uuid::Uuid;

use super::{
    DatabaseError, Server, Shared, SslMode, not_connected, numeric,
    pool::{self, Pool},
    relay,
    run::{Dialect, Driver},
    session::ANSWER_TIMEOUT,
    times::{self, array},
};
use crate::{
    model::sql::{Column, Datum, Row},
    secrets::SecretString,
};

/// Statements of a session that the server keeps parsed.
const STATEMENTS: usize = 32;
/// How long taking back what a session set may take.
const RESET_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Postgres;

pub(super) async fn connect(shared: &Shared, server: &Server<'_>) -> Result<Driver<Postgres>, DatabaseError> {
    let id = &server.connection.row.id;
    let relay = server.relay(shared).await?;
    let mut options = PgConnectOptions::new_without_pgpass()
        // TLS knows the server by this name; the socket is the relay's.
        .host(server.host)
        .socket(relay.folder())
        .port(relay::PORT)
        .application_name("airlock")
        .statement_cache_capacity(STATEMENTS)
        .ssl_mode(match server.sslmode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    options = options.username(server.login().unwrap_or("postgres"));
    if let Some(database) = server.database() {
        options = options.database(database);
    }
    if let Some(password) = server.connection.password.as_ref().map(SecretString::expose) {
        options = options.password(password);
    }
    if let Some(pem) = &server.root_cert {
        options = options.ssl_root_cert_from_pem(pem.clone().into_bytes());
    }
    let connection = PgConnection::connect_with(&options).await.map_err(|error| not_connected(id.as_str(), &error))?;
    let mut driver = Driver { connection, meter: relay.meter.clone(), owner: pool::owner(server.connection) };
    driver.prepare_session().await.map_err(|error| not_connected(id.as_str(), &error))?;
    Ok(driver)
}

impl Driver<Postgres> {
    /// What each session begins with. It tells whether the connection is alive, too.
    pub async fn prepare_session(&mut self) -> sqlx::Result<()> {
        self.meter.reset();
        let limit_ms = ANSWER_TIMEOUT.as_millis();
        let set = format!("SELECT set_config('statement_timeout', '{limit_ms}', false)");
        self.connection.execute(sqlx::AssertSqlSafe(set)).await?;
        // So that it notices when nobody waits any more. Servers before PostgreSQL 14 don't know it.
        let watch = "SELECT set_config('client_connection_check_interval', '5s', false)";
        match self.connection.execute(watch).await {
            Ok(_) | Err(sqlx::Error::Database(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Dialect for Postgres {
    type Database = Sqlx;

    fn arguments(parameters: &[Datum], prepared: &PgStatement) -> Result<PgArguments, String> {
        let types = match prepared.parameters() {
            Some(sqlx::Either::Left(types)) => types,
            _ => &[],
        };
        if types.len() != parameters.len() {
            return Err(format!("the statement has {} parameters, and {} are given", types.len(), parameters.len()));
        }
        let mut arguments = PgArguments::default();
        for (number, (datum, wanted)) in parameters.iter().zip(types).enumerate() {
            add(&mut arguments, datum, wanted).map_err(|why| format!("parameter ${}: {why}", number + 1))?;
        }
        Ok(arguments)
    }

    fn column(column: &PgColumn) -> Column {
        Column { name: column.name().to_owned(), type_name: column.type_info().name().to_lowercase() }
    }

    fn row(row: &PgRow) -> Result<Row, String> {
        let columns = row.columns().iter().enumerate();
        columns
            .map(|(at, column)| {
                let value = row.try_get_raw(at).map_err(|error| error.to_string())?;
                read(&value).map_err(|why| format!("column `{}`: {why}", column.name()))
            })
            .collect()
    }

    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }

    async fn keep(shared: &Arc<Shared>, mut driver: Driver<Self>) {
        let reset = async {
            driver.connection.clear_cached_statements().await?;
            driver.connection.execute("DISCARD ALL").await.map(drop)
        };
        // In a transaction that a statement began, it is refused: such a connection is closed.
        if let Ok(Ok(())) = tokio::time::timeout(RESET_TIMEOUT, reset).await {
            Pool::put(shared, driver);
        }
    }
}

/// Bytes as the server wants them for a parameter; what type they are of, it has said itself.
struct Raw(Vec<u8>);

impl Type<Sqlx> for Raw {
    fn type_info() -> PgTypeInfo {
        <[u8] as Type<Sqlx>>::type_info()
    }
}

impl Encode<'_, Sqlx> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

/// The type that a domain is made of.
fn ground(kind: &PgTypeInfo) -> &PgTypeInfo {
    match kind.kind() {
        PgTypeKind::Domain(of) => ground(of),
        _ => kind,
    }
}

fn add(arguments: &mut PgArguments, datum: &Datum, wanted: &PgTypeInfo) -> Result<(), String> {
    let wanted = ground(wanted);
    let refused = || format!("{} can't be a value of type `{}`", datum.kind(), wanted.name().to_lowercase());
    let bytes = match encode(datum, wanted)? {
        Encoded::Null => return arguments.add(Option::<Raw>::None.map(|raw| raw.0)).map_err(|error| error.to_string()),
        Encoded::Bytes(bytes) => bytes,
        Encoded::No => return Err(refused()),
        Encoded::Unknown => {
            let name = wanted.name().to_lowercase();
            return Err(format!("its type `{name}` can't be given; give a text and write it as `$1::text::{name}`"));
        }
    };
    arguments.add(Raw(bytes)).map_err(|error| error.to_string())
}

enum Encoded {
    Null,
    Bytes(Vec<u8>),
    /// The type can't have such a value.
    No,
    /// Nothing is known of the type.
    Unknown,
}

/// In the server's binary format. <https://www.postgresql.org/docs/current/protocol-overview.html>
fn encode(datum: &Datum, wanted: &PgTypeInfo) -> Result<Encoded, String> {
    if *datum == Datum::Null {
        return Ok(Encoded::Null);
    }
    if matches!(wanted.kind(), PgTypeKind::Enum(_)) {
        return Ok(match datum {
            Datum::Text(text) => Encoded::Bytes(text.clone().into_bytes()),
            _ => Encoded::No,
        });
    }
    let range = |error: std::num::TryFromIntError| error.to_string();
    let bytes = match (wanted.name(), datum) {
        ("BOOL", Datum::Boolean(value)) => vec![u8::from(*value)],
        ("INT2", Datum::Integer(value)) => i16::try_from(*value).map_err(range)?.to_be_bytes().to_vec(),
        ("INT4", Datum::Integer(value)) => i32::try_from(*value).map_err(range)?.to_be_bytes().to_vec(),
        ("INT8", Datum::Integer(value)) => value.to_be_bytes().to_vec(),
        ("OID", Datum::Integer(value)) => u32::try_from(*value).map_err(range)?.to_be_bytes().to_vec(),
        #[expect(clippy::cast_possible_truncation, reason = "the column has no more digits")]
        ("FLOAT4", Datum::Float(value)) => (*value as f32).to_be_bytes().to_vec(),
        ("FLOAT8", Datum::Float(value)) => value.to_be_bytes().to_vec(),
        ("FLOAT4" | "FLOAT8", Datum::Integer(_)) => return encode(&as_float(datum)?, wanted),
        ("NUMERIC", Datum::Integer(value)) => numeric::to_bytes(&value.to_string())?,
        ("NUMERIC", Datum::Float(value)) => numeric::to_bytes(&value.to_string())?,
        ("NUMERIC", Datum::Decimal(digits)) => numeric::to_bytes(digits)?,
        (
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext",
            Datum::Text(text) | Datum::Decimal(text) | Datum::Time(text) | Datum::Json(text),
        )
        | ("JSON", Datum::Json(text) | Datum::Text(text)) => text.clone().into_bytes(),
        ("JSONB", Datum::Json(text) | Datum::Text(text)) => [&[1], text.as_bytes()].concat(),
        ("BYTEA", Datum::Bytes(bytes)) => bytes.clone(),
        ("UUID", Datum::Text(text)) => {
            Uuid::parse_str(text).map_err(|_| "the text is no UUID".to_owned())?.as_bytes().to_vec()
        }
        ("DATE" | "TIME" | "TIMESTAMP" | "TIMESTAMPTZ", Datum::Time(text) | Datum::Text(text)) => {
            times::to_postgres(wanted.name(), text)?
        }
        (
            "BOOL" | "INT2" | "INT4" | "INT8" | "OID" | "FLOAT4" | "FLOAT8" | "NUMERIC" | "TEXT" | "VARCHAR" | "CHAR"
            | "NAME" | "UNKNOWN" | "citext" | "JSON" | "JSONB" | "BYTEA" | "UUID" | "DATE" | "TIME" | "TIMESTAMP"
            | "TIMESTAMPTZ",
            _,
        ) => return Ok(Encoded::No),
        _ => return Ok(Encoded::Unknown),
    };
    Ok(Encoded::Bytes(bytes))
}

fn as_float(datum: &Datum) -> Result<Datum, String> {
    match datum {
        // Digits are read as programs read them.
        Datum::Integer(value) => value.to_string().parse().map(Datum::Float).map_err(|_| "no float".to_owned()),
        other => Ok(other.clone()),
    }
}

fn read(value: &PgValueRef<'_>) -> Result<Datum, String> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let kind = value.type_info();
    let kind = ground(&kind);
    let bytes = value.as_bytes().map_err(|error| error.to_string())?;
    decode(kind.name(), matches!(kind.kind(), PgTypeKind::Enum(_)), bytes)
}

/// From the server's binary format.
fn decode(name: &str, is_enum: bool, bytes: &[u8]) -> Result<Datum, String> {
    let text = || String::from_utf8(bytes.to_vec()).map_err(|_| "its text is not UTF-8".to_owned());
    if is_enum {
        return text().map(Datum::Text);
    }
    Ok(match name {
        "BOOL" => Datum::Boolean(array::<1>(bytes)? != [0]),
        "INT2" => Datum::Integer(i16::from_be_bytes(array(bytes)?).into()),
        "INT4" => Datum::Integer(i32::from_be_bytes(array(bytes)?).into()),
        "INT8" => Datum::Integer(i64::from_be_bytes(array(bytes)?)),
        "OID" => Datum::Integer(u32::from_be_bytes(array(bytes)?).into()),
        "FLOAT4" => Datum::Float(f32::from_be_bytes(array(bytes)?).into()),
        "FLOAT8" => Datum::Float(f64::from_be_bytes(array(bytes)?)),
        "NUMERIC" => Datum::Decimal(numeric::from_bytes(bytes)?),
        "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "NAME" | "UNKNOWN" | "citext" => Datum::Text(text()?),
        "BYTEA" => Datum::Bytes(bytes.to_vec()),
        "JSON" => Datum::Json(text()?),
        "JSONB" => match bytes.split_first() {
            Some((1, json)) => Datum::Json(String::from_utf8(json.to_vec()).map_err(|error| error.to_string())?),
            _ => return Err("it is JSON of an unknown version".into()),
        },
        "UUID" => Datum::Text(Uuid::from_bytes(array(bytes)?).to_string()),
        "DATE" | "TIME" | "TIMESTAMP" | "TIMESTAMPTZ" => Datum::Time(times::from_postgres(name, bytes)?),
        "VOID" => Datum::Null,
        other => {
            let name = other.to_lowercase();
            return Err(format!(
                "its type `{name}` can't be read; write it as `::text`, or `to_json(..)` for arrays and records"
            ));
        }
    })
}
