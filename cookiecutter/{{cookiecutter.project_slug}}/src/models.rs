//! What the database holds: a function for each thing that is asked of it.

use purlin::Result;
{% if cookiecutter.database == 'postgres' %}
use purlin::sqlx::{self, Postgres};
{% else %}
use purlin::sqlx::{self, Sqlite};
{% endif %}
use serde::{Deserialize, Serialize};

/// The transaction of a request: the last argument of a handler.
{% if cookiecutter.database == 'postgres' %}
pub type Tx = purlin::database::Tx<Postgres>;
{% else %}
pub type Tx = purlin::database::Tx<Sqlite>;
{% endif %}

{% if cookiecutter.auth %}
/// An entry of the guestbook, with who wrote it.
#[derive(Serialize)]
pub struct Entry {
    pub id: i64,
    pub account: String,
    pub name: String,
    pub has_picture: bool,
    pub message: String,
}

/// What somebody writes into the guestbook.
#[derive(Deserialize)]
pub struct NewEntry {
    pub message: String,
}

/// The entries, newest first; the last hundred.
pub async fn entries(tx: &mut Tx) -> Result<Vec<Entry>> {
    let rows = sqlx::query_as(
        "SELECT entry.id, account.id, account.name, account.picture IS NOT NULL, entry.message
         FROM entry JOIN account ON account.id = entry.account
         ORDER BY entry.id DESC LIMIT 100",
    );
    let rows: Vec<(i64, i64, String, bool, String)> = rows.fetch_all(&mut **tx).await?;
    let entries = rows.into_iter();
    let entries = entries.map(|(id, account, name, has_picture, message)| Entry {
        id,
        account: account.to_string(),
        name,
        has_picture,
        message,
    });
    Ok(entries.collect())
}

/// Writes an entry into the book.
pub async fn add(tx: &mut Tx, account: i64, entry: &NewEntry) -> Result<()> {
    sqlx::query("INSERT INTO entry (account, message) VALUES ($1, $2)")
        .bind(account)
        .bind(&entry.message)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Takes an entry out of the book, if it is this account's; whether it was.
pub async fn delete(tx: &mut Tx, account: i64, entry: i64) -> Result<bool> {
    let deleted = sqlx::query("DELETE FROM entry WHERE id = $1 AND account = $2")
        .bind(entry)
        .bind(account)
        .execute(&mut **tx)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// An account's picture, with its media type.
pub async fn picture(tx: &mut Tx, account: i64) -> Result<Option<(String, Vec<u8>)>> {
    let row = "SELECT picture_type, picture FROM account WHERE id = $1 AND picture IS NOT NULL";
    Ok(sqlx::query_as(row)
        .bind(account)
        .fetch_optional(&mut **tx)
        .await?)
}

/// Gives an account a picture.
pub async fn save_picture(tx: &mut Tx, account: i64, kind: &str, bytes: &[u8]) -> Result<()> {
    sqlx::query("UPDATE account SET picture_type = $1, picture = $2 WHERE id = $3")
        .bind(kind)
        .bind(bytes)
        .bind(account)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
{% else %}
/// An entry of the guestbook, and the form that makes one.
#[derive(Deserialize, Serialize)]
pub struct Entry {
    pub name: String,
    pub message: String,
}

/// The entries, newest first; the last hundred.
pub async fn entries(tx: &mut Tx) -> Result<Vec<Entry>> {
    let rows = sqlx::query_as("SELECT name, message FROM entry ORDER BY id DESC LIMIT 100");
    let rows: Vec<(String, String)> = rows.fetch_all(&mut **tx).await?;
    let entries = rows.into_iter();
    Ok(entries
        .map(|(name, message)| Entry { name, message })
        .collect())
}

/// Writes an entry into the book.
pub async fn add(tx: &mut Tx, entry: &Entry) -> Result<()> {
    sqlx::query("INSERT INTO entry (name, message) VALUES ($1, $2)")
        .bind(&entry.name)
        .bind(&entry.message)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
{% endif %}
