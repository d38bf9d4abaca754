"""An application of the time before: WSGI, and nothing else."""


def application(environ, start_response):
    body = f"Hello from Python, below {environ['SCRIPT_NAME'] or '/'}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
