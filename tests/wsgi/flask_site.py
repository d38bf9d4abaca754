"""A site as Flask's tutorial makes them: a form, a session, a redirect, a template, an upload, a streamed answer."""

from flask import Flask, Response, abort, flash, redirect, render_template_string, request, session, url_for

app = Flask(__name__)
app.secret_key = "only for the tests"

PAGE = """<!doctype html><title>Shop</title>
{% for message in get_flashed_messages() %}<p class=flash>{{ message }}</p>{% endfor %}
<p id=user>{{ session.get("user", "nobody") }}</p>
<form method=post action="{{ url_for('login') }}"><input name=user></form>"""


@app.get("/")
def home():
    return render_template_string(PAGE)


@app.route("/login", methods=["POST"])
def login():
    session["user"] = request.form["user"]
    flash(f"Hello, {request.form['user']}!")
    return redirect(url_for("home"))


@app.get("/items/<int:number>")
def item(number):
    if number > 100:
        abort(404)
    return {"item": number, "url": url_for("item", number=number, _external=True), "address": request.remote_addr}


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{file.filename} {len(file.read())}"


@app.get("/stream")
def stream():
    return Response((f"{line}\n" for line in range(3)), mimetype="text/plain")


@app.get("/fails")
def fails():
    return {}["no such key"]
