-- {{ plural.title }}. Once it has run, a migration stays as it is: what is to change is another file, with the next number.
CREATE TABLE {{ plural.snake }} (
{% if database == 'postgres' %}
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
{% else %}
    id INTEGER PRIMARY KEY AUTOINCREMENT,
{% endif %}
{% for field in fields %}
    {{ field.name }} {{ field.sql }} NOT NULL{% if not loop.last %},{% endif +%}
{% endfor %}
{% if database == 'postgres' %}
);
{% else %}
) STRICT;
{% endif %}
