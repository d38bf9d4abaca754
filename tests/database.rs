//! A database, its migrations, and one transaction a request: promised for SQLite and PostgreSQL alike.

#[cfg(all(feature = "postgres", unix))]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
