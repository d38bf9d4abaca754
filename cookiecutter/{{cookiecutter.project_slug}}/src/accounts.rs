//! Who may sign in: the table of accounts, and what signing in asks of it.

use purlin::Result;
use purlin::auth::{Account, Accounts, PasswordHash, new_stamp};
use purlin::database::Pool;
{% if cookiecutter.database == 'postgres' %}
use purlin::sqlx::{self, Postgres};
{% else %}
use purlin::sqlx::{self, Sqlite};
{% endif %}

/// Somebody with an account.
#[derive(Clone)]
pub struct User {
    pub id: i64,
    name: String,
    hash: String,
    stamp: String,
}

impl Account for User {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn password_hash(&self) -> Option<&str> {
        Some(&self.hash)
    }

    fn stamp(&self) -> &str {
        &self.stamp
    }
}

/// The table.
#[derive(Clone)]
{% if cookiecutter.database == 'postgres' %}
pub struct Users(pub Pool<Postgres>);
{% else %}
pub struct Users(pub Pool<Sqlite>);
{% endif %}

type Row = (i64, String, String, String);

fn user((id, name, hash, stamp): Row) -> User {
    User {
        id,
        name,
        hash,
        stamp,
    }
}

/// One address has one way to be written.
fn address(email: &str) -> String {
    email.trim().to_lowercase()
}

impl Users {
    /// A new account; `None` if there is one with this address.
    pub async fn add(&self, email: &str, name: &str, hash: PasswordHash) -> Result<Option<User>> {
        let row: Option<Row> = sqlx::query_as(
            "INSERT INTO account (email, name, hash, stamp) VALUES ($1, $2, $3, $4)
             ON CONFLICT (email) DO NOTHING RETURNING id, name, hash, stamp",
        )
        .bind(address(email))
        .bind(name.trim())
        .bind(hash.as_str())
        .bind(new_stamp())
        .fetch_optional(&self.0)
        .await?;
        Ok(row.map(user))
    }
}

impl Accounts for Users {
    type User = User;

    async fn by_login(&self, login: &str) -> Result<Option<User>> {
        let row: Option<Row> =
            sqlx::query_as("SELECT id, name, hash, stamp FROM account WHERE email = $1")
                .bind(address(login))
                .fetch_optional(&self.0)
                .await?;
        Ok(row.map(user))
    }

    async fn by_id(&self, id: &str) -> Result<Option<User>> {
        let Ok(id) = id.parse::<i64>() else {
            return Ok(None);
        };
        let row: Option<Row> =
            sqlx::query_as("SELECT id, name, hash, stamp FROM account WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.0)
                .await?;
        Ok(row.map(user))
    }

    async fn save_hash(&self, user: &User, hash: &PasswordHash) -> Result<()> {
        sqlx::query("UPDATE account SET hash = $1 WHERE id = $2")
            .bind(hash.as_str())
            .bind(user.id)
            .execute(&self.0)
            .await?;
        Ok(())
    }
}
