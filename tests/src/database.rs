//! A server's database, past the server.

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};

use crate::{postgres, server::Server};

/// Where it is.
#[derive(Debug, Clone)]
pub enum Database {
    /// Its URL, by no proxy.
    Postgres(String),
    Sqlite(PathBuf),
}

impl Database {
    /// That of `server`.
    pub fn of(server: &Server) -> Self {
        server.postgres_url().map_or_else(|| Self::Sqlite(server.data_dir().join("airlock.db")), Self::Postgres)
    }

    /// What one column of one row is, as text; none if the database is not there, or answers no row.
    pub async fn ask(&self, statement: String) -> Option<String> {
        let database = self.clone();
        let ask = move || match &database {
            Self::Postgres(url) => postgres::ask(url, &statement),
            Self::Sqlite(path) => {
                // Whoever may write would tidy up after a server that was killed.
                let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
                connection
                    .query_row(&statement, [], |row| {
                        row.get_ref(0)?
                            .as_str()
                            .map(ToOwned::to_owned)
                            .or_else(|_| row.get::<_, i64>(0).map(|number| number.to_string()))
                    })
                    .ok()
            }
        };
        tokio::task::spawn_blocking(ask).await.expect("a statement can be waited for")
    }

    /// Changes rows of a server that is stopped.
    pub fn change(&self, statement: &str) {
        match self {
            Self::Postgres(url) => {
                postgres::ask(url, statement).expect("the statement is understood");
            }
            Self::Sqlite(path) => {
                let database = Connection::open(path).expect("the database can be opened");
                database.execute(statement, []).expect("the statement is understood");
            }
        }
    }

    /// What it takes on disk.
    pub async fn size_bytes(&self) -> u64 {
        let size = match self {
            Self::Sqlite(path) => return path.metadata().expect("the database is there").len(),
            Self::Postgres(_) => {
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c \
                 WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
            }
        };
        self.ask(size.to_owned()).await.and_then(|size| size.parse().ok()).expect("the database has a size")
    }

    /// Whether `text` stands anywhere in it as it is.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Sqlite(path) => {
                let bytes = std::fs::read(path).expect("the database can be read");
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }
            Self::Postgres(url) => {
                let ask = |statement: &str| postgres::ask(url, statement).expect("the database can be read");
                let of_bytes: Vec<_> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                let of_bytes = of_bytes.concat();
                let tables =
                    "SELECT string_agg(quote_ident(tablename), ' ') FROM pg_tables WHERE schemaname = current_schema()";
                ask(tables).split_whitespace().any(|table| {
                    let rows = ask(&format!("SELECT CAST(t AS text) FROM {table} AS t"));
                    rows.contains(text) || rows.contains(&of_bytes)
                })
            }
        }
    }
}
