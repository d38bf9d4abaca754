"""What the tests ask of a WSGI application, one path for each; `checked` is the same below wsgiref's own checker."""

import os
import sys
import threading
import time
from wsgiref.validate import validator

CLOSED = threading.Event()


class Pieces:
    """A body that tells when it is closed."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        for at in range(self.count):
            yield b"%d\n" % at * 1000

    def close(self):
        CLOSED.set()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    plain = [("Content-Type", "text/plain; charset=utf-8")]
    if path == "/environ":
        names = environ["QUERY_STRING"].split(",")
        start_response("200 OK", plain)
        return ["\n".join(f"{name}={environ.get(name)!r}" for name in names).encode()]
    if path == "/os":
        start_response("200 OK", plain)
        return [" ".join(sorted(os.environ)).encode()]
    if path == "/pid":
        start_response("200 OK", plain)
        return [str(os.getpid()).encode()]
    if path == "/echo":
        start_response("200 OK", plain)
        return [environ["wsgi.input"].read(-1)]
    if path == "/lines":
        lines = [environ["wsgi.input"].readline(), *environ["wsgi.input"].readlines()]
        start_response("200 OK", plain)
        return [b"|".join(line.rstrip() for line in lines)]
    if path == "/unread":
        start_response("200 OK", plain)
        return [b"did not look"]
    if path == "/pieces":
        start_response("200 OK", plain)
        return Pieces(int(environ["QUERY_STRING"] or 10))
    if path == "/closed":
        start_response("200 OK", plain)
        return [str(CLOSED.wait(10)).encode()]
    if path == "/write":
        write = start_response("201 Created", plain + [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        write(b"one ")
        write(b"two ")
        return [b"three"]
    if path == "/nothing":
        start_response("204 No Content", [])
        return []
    if path == "/file":
        file = open(__file__, "rb")
        start_response("200 OK", plain)
        return environ["wsgi.file_wrapper"](file)
    if path == "/log":
        print("hello from the application", file=environ["wsgi.errors"])
        start_response("200 OK", plain)
        return [b"logged"]
    if path == "/again":
        start_response("200 OK", plain)
        try:
            raise ValueError("not that")
        except ValueError:
            start_response("418 I'm a Teapot", plain, sys.exc_info())
        return [b"short and stout"]
    if path == "/raise":
        raise ValueError("no such thing")
    if path == "/raise-later":
        start_response("200 OK", plain)
        return raising()
    if path == "/no-head":
        return [b"without a head"]
    if path == "/header":
        start_response("200 OK", plain + [("X-Bad", "a\r\nSet-Cookie: b=1")])
        return [b""]
    if path == "/pretend":
        start_response("200 OK", plain + [("Purlin-Wsgi-Failed", "1")])
        return [b"{}"]
    if path == "/exit":
        raise SystemExit(3)
    if path == "/die":
        os._exit(7)
    if path == "/die-later":
        start_response("200 OK", plain)
        return dying()
    if path == "/slow":
        time.sleep(1)
        start_response("200 OK", plain)
        return [b"at last"]
    if path == "/hang":
        time.sleep(600)
    if path == "/stdin":
        start_response("200 OK", plain)
        return [repr(sys.stdin.read()).encode()]
    start_response("404 Not Found", plain)
    return [path.encode("latin-1")]


def raising():
    yield b"half"
    raise ValueError("in the middle")


def dying():
    yield b"half"
    os._exit(7)


def make():
    return application


def not_thread_safe(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{environ['wsgi.multithread']} {environ['wsgi.multiprocess']} {environ['wsgi.run_once']}".encode()]


checked = validator(application)
