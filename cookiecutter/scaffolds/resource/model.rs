{% if database == 'none' %}
//! {{ plural.title }}: what one says, what must hold of it, and where they are kept.
{% else %}
//! {{ plural.title }}: what one says, what must hold of it, and the queries.
{% endif %}

{% if database != 'none' %}
use crate::models::Tx;
{% endif %}
{% if database == 'none' %}
use purlin::form::{Problems, Rules};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
{% else %}
use purlin::Result;
use purlin::form::{Problems, Rules};
use purlin::sqlx;
use serde::{Deserialize, Serialize};
{% endif %}

/// What the form says that makes {{ name.article }}, or changes one.
#[derive(Clone, Deserialize, Serialize)]
pub struct {{ name.pascal }}Form {
{% for field in fields %}
    pub {{ field.name }}: {{ field.rust }},
{% endfor %}
}

/// {{ name.article_title }}, with the number that it is kept under.
#[derive(Clone, Serialize)]
pub struct {{ name.pascal }} {
    pub id: i64,
    #[serde(flatten)]
    pub form: {{ name.pascal }}Form,
}

{% if rules %}
impl Rules for {{ name.pascal }}Form {
    fn check(&self, problems: &mut Problems) {
{% for field in fields if field.kind in ['text', 'longtext', 'email', 'date'] %}
{% if field.kind == 'email' %}
        let is_address = is_email(&self.{{ field.name }});
        problems.unless(is_address, "{{ field.name }}", "Please give an e-mail address.");
{% elif field.kind == 'date' %}
        let is_day = is_date(&self.{{ field.name }});
        problems.unless(is_day, "{{ field.name }}", "Please give a day, as 2026-12-31.");
{% else %}
        let is_there = !self.{{ field.name }}.trim().is_empty();
        problems.unless(is_there, "{{ field.name }}", "Please fill in the {{ field.phrase }}.");
        let letters = self.{{ field.name }}.chars().count();
        problems.unless(letters <= {{ field.most }}, "{{ field.name }}", "At most {{ field.most_in_words }} letters, please.");
{% endif %}
{% endfor %}
    }
}
{% else %}
/// What the types of the fields say is all that must hold.
impl Rules for {{ name.pascal }}Form {}
{% endif %}
{% if has_email %}

/// Whether a mail could go there: something, an @, and something else.
fn is_email(text: &str) -> bool {
    // What is around it is kept too.
    let is_short = text.len() <= 254;
    let text = text.trim();
    let parts: Vec<&str> = text.split('@').collect();
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    is_short && parts.len() == 2 && parts.iter().all(|part| !part.is_empty()) && text.chars().all(plain)
}
{% endif %}
{% if has_date %}

/// Whether this is a day of the calendar, in the way in which browsers send one: 2026-12-31.
fn is_date(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    if !matches!((year.len(), month.len(), day.len()), (4, 2, 2)) || !parts.iter().all(|part| digits(part)) {
        return false;
    }
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(year), number(month), number(day));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}
{% endif %}
{% if database == 'none' %}

/// The last thousand, until the site is stopped.
#[derive(Clone, Default)]
pub struct {{ plural.pascal }}(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last: i64,
    by_id: BTreeMap<i64, {{ name.pascal }}Form>,
}

impl {{ plural.pascal }} {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, newest first.
    pub fn all(&self) -> Vec<{{ name.pascal }}> {
        let kept = self.kept();
        let newest_first = kept.by_id.iter().rev();
        newest_first
            .map(|(&id, form)| {{ name.pascal }} {
                id,
                form: form.clone(),
            })
            .collect()
    }

    /// The one with this number.
    pub fn find(&self, id: i64) -> Option<{{ name.pascal }}> {
        let form = self.kept().by_id.get(&id)?.clone();
        Some({{ name.pascal }} { id, form })
    }

    /// Keeps a new one, under the number that is returned.
    pub fn add(&self, form: {{ name.pascal }}Form) -> i64 {
        let mut kept = self.kept();
        kept.last += 1;
        let id = kept.last;
        kept.by_id.insert(id, form);
        if kept.by_id.len() > 1000 {
            kept.by_id.pop_first();
        }
        id
    }

    /// Puts this in the place of what is there; whether there is something.
    pub fn change(&self, id: i64, form: {{ name.pascal }}Form) -> bool {
        match self.kept().by_id.get_mut(&id) {
            Some(there) => {
                *there = form;
                true
            }
            None => false,
        }
    }

    /// Deletes one; whether it was there.
    pub fn delete(&self, id: i64) -> bool {
        self.kept().by_id.remove(&id).is_some()
    }
}
{% else %}

type Row = ({% for type in row %}{{ type }}{% if not loop.last %}, {% endif %}{% endfor %});

fn {{ name.snake }}(({% for column in columns %}{{ column }}{% if not loop.last %}, {% endif %}{% endfor %}): Row) -> {{ name.pascal }} {
    let form = {{ name.pascal }}Form { {% for field in fields %}{{ field.name }}{% if not loop.last %}, {% endif %}{% endfor %} };
    {{ name.pascal }} { id, form }
}

/// All of them, newest first; the last hundred.
pub async fn all(tx: &mut Tx) -> Result<Vec<{{ name.pascal }}>> {
    let rows = sqlx::query_as(
        "SELECT {{ columns | join(', ') }}
         FROM {{ plural.snake }} ORDER BY id DESC LIMIT 100",
    );
    let rows: Vec<Row> = rows.fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map({{ name.snake }}).collect())
}

/// The one with this number.
pub async fn find(tx: &mut Tx, id: i64) -> Result<Option<{{ name.pascal }}>> {
    let row = sqlx::query_as(
        "SELECT {{ columns | join(', ') }}
         FROM {{ plural.snake }} WHERE id = $1",
    );
    let row: Option<Row> = row.bind(id).fetch_optional(&mut **tx).await?;
    Ok(row.map({{ name.snake }}))
}

/// Keeps a new one, under the number that is returned.
pub async fn add(tx: &mut Tx, form: &{{ name.pascal }}Form) -> Result<i64> {
    let id = sqlx::query_scalar(
        "INSERT INTO {{ plural.snake }} ({% for field in fields %}{{ field.name }}{% if not loop.last %}, {% endif %}{% endfor %})
         VALUES ({% for field in fields %}${{ loop.index }}{% if not loop.last %}, {% endif %}{% endfor %}) RETURNING id",
    )
{% for field in fields %}
    .bind({% if field.rust == 'String' %}&{% endif %}form.{{ field.name }})
{% endfor %}
    .fetch_one(&mut **tx)
    .await?;
    Ok(id)
}

/// Puts this in the place of what is there; whether there is something.
pub async fn change(tx: &mut Tx, id: i64, form: &{{ name.pascal }}Form) -> Result<bool> {
    let changed = sqlx::query(
        "UPDATE {{ plural.snake }}
         SET {% for field in fields %}{{ field.name }} = ${{ loop.index + 1 }}{% if not loop.last %}, {% endif %}{% endfor +%}
         WHERE id = $1",
    )
    .bind(id)
{% for field in fields %}
    .bind({% if field.rust == 'String' %}&{% endif %}form.{{ field.name }})
{% endfor %}
    .execute(&mut **tx)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Deletes one; whether it was there.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<bool> {
    let deleted = sqlx::query("DELETE FROM {{ plural.snake }} WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(deleted.rows_affected() > 0)
}
{% endif %}
