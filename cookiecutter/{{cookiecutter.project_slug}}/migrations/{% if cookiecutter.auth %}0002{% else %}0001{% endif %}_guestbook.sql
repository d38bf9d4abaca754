-- The guestbook. Once it has run, a migration stays as it is: what is to change is another file, with the next number.
CREATE TABLE entry (
{% if cookiecutter.database == 'postgres' %}
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
{% else %}
    id INTEGER PRIMARY KEY,
{% endif %}
{% if cookiecutter.auth %}
    account {{ 'BIGINT' if cookiecutter.database == 'postgres' else 'INTEGER' }} NOT NULL REFERENCES account (id) ON DELETE CASCADE,
{% else %}
    name TEXT NOT NULL,
{% endif %}
    message TEXT NOT NULL
{% if cookiecutter.database == 'postgres' %}
);
{% else %}
) STRICT;
{% endif %}
