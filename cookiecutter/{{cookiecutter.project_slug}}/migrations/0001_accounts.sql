-- Who may sign in. An id is nobody else's after its account is gone; a stamp is a new one with each new password.
CREATE TABLE account (
{% if cookiecutter.database == 'postgres' %}
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
{% else %}
    id INTEGER PRIMARY KEY AUTOINCREMENT,
{% endif %}
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    stamp TEXT NOT NULL,
{% if cookiecutter.database == 'postgres' %}
    picture BYTEA,
    picture_type TEXT
);
{% else %}
    picture BLOB,
    picture_type TEXT
) STRICT;
{% endif %}
