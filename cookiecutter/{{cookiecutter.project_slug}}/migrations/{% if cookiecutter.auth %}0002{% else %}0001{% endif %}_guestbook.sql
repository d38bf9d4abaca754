-- The guestbook. Once it has run, a migration stays as it is: what is to change is another file, with the next number.
CREATE TABLE entry (
{% if cookiecutter.database == 'postgres' %}
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
{% if cookiecutter.auth %}
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
{% else %}
    name TEXT NOT NULL,
{% endif %}
{% else %}
    id INTEGER PRIMARY KEY,
{% if cookiecutter.auth %}
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
{% else %}
    name TEXT NOT NULL,
{% endif %}
{% endif %}
    message TEXT NOT NULL
{% if cookiecutter.database == 'postgres' %}
);
{% else %}
) STRICT;
{% endif %}
