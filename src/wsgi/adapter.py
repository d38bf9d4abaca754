"""Serves a WSGI application (PEP 3333) by FastCGI 1.0, on the unix socket that is file descriptor 0.

    python3 adapter.py [--path FOLDER]... [--threads N] [--multiprocess] APPLICATION

APPLICATION is `module:attribute` (`shop.wsgi:application`; of `module` alone `application` or `app` is taken; with `()` at its end the
attribute is called first, for a factory), a file of such a module `./shop.wsgi:attribute`, or a PasteDeploy file `production.ini`,
`production.ini#name`, for which PasteDeploy has to be installed. FOLDER is put before `sys.path`.

Where the environment names a control channel in PURLIN_CONTROL, the line `ready` is written into it once requests are taken, and
its end means: finish what is under way, and exit. SIGTERM means the same, where there is no such channel.

One connection has one request at a time (another one is refused, as FastCGI has it: FCGI_CANT_MPX_CONN), and may be kept for the
next. An application that fails before it has answered is told of in an answer of its own, with the header `Purlin-Wsgi-Failed`; one
that fails later has its traceback in the request's standard error, and the request ends with the status 1: whoever asked then
knows that the answer is not whole.

Nothing beyond Python's own library is needed; Python 3.8 or later.
"""

import argparse
import importlib
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from wsgiref.util import FileWrapper, is_hop_by_hop

# FastCGI 1.0, §8
VERSION = 1
BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = range(1, 12)
RESPONDER = 1
KEEP_CONN = 1
COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)
HEADER = struct.Struct('!BBHHBx')
MAX_CONTENT = 0xfff8
# The header of the answer that tells of a failure; no application can send it.
FAILED = 'purlin-wsgi-failed'
# A request's parameters: more than any server lets through.
MAX_PARAMS = 1 << 20


class Gone(OSError):
    """The client, or the connection, is gone."""


class Refused(Exception):
    """What arrived is no FastCGI that is known here."""


def record(kind, request, content=b''):
    padding = -len(content) % 8
    return HEADER.pack(VERSION, kind, request, len(content), padding) + content + b'\0' * padding


def stream(kind, request, content):
    """The records of so many bytes of a stream; none for none, since an empty one ends it."""
    if len(content) <= MAX_CONTENT:
        return record(kind, request, content) if content else b''
    view = memoryview(content)
    return b''.join(record(kind, request, bytes(view[at:at + MAX_CONTENT])) for at in range(0, len(view), MAX_CONTENT))


def end(request, app, protocol=COMPLETE):
    return record(END, request, struct.pack('!IB3x', app, protocol))


def pairs(content):
    """Names and values (§3.4), as text in which each character is a byte (PEP 3333, "Unicode Issues")."""
    text = content.decode('latin-1')
    at, all_of_it, found = 0, len(content), {}
    try:
        while at < all_of_it:
            name = content[at]
            if name > 127:
                name = (name & 127) << 24 | content[at + 1] << 16 | content[at + 2] << 8 | content[at + 3]
                at += 3
            value = content[at + 1]
            if value > 127:
                value = (value & 127) << 24 | content[at + 2] << 16 | content[at + 3] << 8 | content[at + 4]
                at += 3
            middle = at + 2 + name
            at = middle + value
            found[text[middle - name:middle]] = text[middle:at]
    except IndexError:
        raise Refused('half the length of a name or a value') from None
    if at > all_of_it:
        raise Refused('half a name or a value')
    return found


def pair(name, value):
    return bytes([len(name), len(value)]) + name.encode() + value.encode()


class Connection:
    """A connection, of which one thread reads, and several may write."""

    def __init__(self, sock, threads):
        self.sock = sock
        self.threads = threads
        self.buffer = bytearray()
        self.lock = threading.Lock()

    def send(self, content):
        with self.lock:
            try:
                self.sock.sendall(content)
            except OSError as error:
                raise Gone('the client is gone') from error

    def is_aborted(self):
        """Whether the next that was heard is that nobody waits any more; without waiting for it."""
        heard = self.buffer
        if not heard:
            try:
                heard = self.sock.recv(HEADER.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True
        return len(heard) < 2 or heard[1] == ABORT

    def take(self, length):
        while len(self.buffer) < length:
            try:
                piece = self.sock.recv(65536)
            except OSError as error:
                raise Gone('the client is gone') from error
            if not piece:
                raise Gone('the client is gone')
            self.buffer += piece
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    def record(self, current):
        """The next record of the request `current`, or that begins one; of none, any. What is of the connection itself is answered."""
        while True:
            version, kind, request, length, padding = HEADER.unpack(self.take(HEADER.size))
            if version != VERSION:
                raise Refused('expected FastCGI 1.0, found version %d' % version)
            content = self.take(length + padding)[:length]
            if request == 0:
                self.management(kind, content)
            elif kind == BEGIN and current and request != current:
                self.send(end(request, 0, CANT_MPX_CONN))
            elif request == current:
                return kind, request, content
            # What is left of another request is nobody's: its end may be all that there is.
            if not current:
                return kind, request, content

    def management(self, kind, content):
        if kind != GET_VALUES:
            self.send(record(UNKNOWN_TYPE, 0, bytes([kind]) + b'\0' * 7))
            return
        threads = str(self.threads)
        known = {'FCGI_MAX_CONNS': threads, 'FCGI_MAX_REQS': threads, 'FCGI_MPXS_CONNS': '0'}
        asked = [name for name in pairs(content) if name in known]
        self.send(record(GET_VALUES_RESULT, 0, b''.join(pair(name, known[name]) for name in asked)))


class Input:
    """`wsgi.input`: the request's body as it comes."""

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request
        self.buffer = bytearray()
        self.ended = False

    def fill(self):
        """Takes one more piece; whether there was one."""
        if self.ended:
            return False
        kind, _, content = self.connection.record(self.request)
        if kind == ABORT:
            self.ended = True
            raise Gone('the client has left before the end of its request')
        if kind == STDIN:
            self.buffer += content
            self.ended = not content
        return not self.ended

    def cut(self, length):
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    def read(self, size=-1):
        if size is None or size < 0:
            while self.fill():
                pass
            return self.cut(len(self.buffer))
        while len(self.buffer) < size and self.fill():
            pass
        return self.cut(size)

    def readline(self, size=-1):
        searched = 0
        while True:
            at = self.buffer.find(b'\n', searched)
            most = len(self.buffer) if size is None or size < 0 else size
            if at >= 0:
                return self.cut(min(at + 1, most))
            if size is not None and 0 <= size <= len(self.buffer):
                return self.cut(size)
            searched = len(self.buffer)
            if not self.fill():
                return self.cut(most)

    def readlines(self, hint=-1):
        lines, length = [], 0
        for line in self:
            lines.append(line)
            length += len(line)
            if hint is not None and 0 < hint <= length:
                break
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line


class Errors:
    """`wsgi.errors`: text for the log, as long as the request lasts, and for this process's own log after it."""

    encoding = 'utf-8'

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError('expected text, found %s' % type(text).__name__)
        connection = self.connection
        if connection is None:
            return sys.stderr.write(text)
        try:
            connection.send(stream(STDERR, self.request, text.encode('utf-8', 'backslashreplace')))
        except Gone:
            sys.stderr.write(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        if self.connection is None:
            sys.stderr.flush()


class Answer:
    """One request's answer, on its way."""

    def __init__(self, connection, request, errors):
        self.connection = connection
        self.request = request
        self.errors = errors
        self.head = None
        self.sent = False
        # Of its failure, in its place.
        self.told = False

    def start(self, status, headers, exc_info=None):
        """`start_response`."""
        if exc_info:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                # No circle of the frame and its traceback.
                exc_info = None
        elif self.head is not None:
            raise AssertionError('start_response was called a second time, without exc_info')
        if not isinstance(status, str) or len(status) < 4 or not status[:3].isdigit() or status[3] != ' ':
            raise AssertionError('expected a status as "200 OK", found %r' % (status,))
        lines = ['Status: ' + status]
        length = False
        for name, value in headers:
            if not isinstance(name, str) or not isinstance(value, str):
                raise AssertionError('expected text for a header, found %r: %r' % (name, value))
            if is_hop_by_hop(name):
                raise AssertionError('%s is for the server to say' % name)
            if any(ord(letter) < 32 and letter != '\t' or letter == '\x7f' for letter in name + value):
                raise AssertionError('a control character in the header %r: %r' % (name, value))
            if name.lower() in ('status', FAILED):
                raise AssertionError('the header %s is for the server to say' % name)
            length = length or name.lower() == 'content-length'
            lines.append(name + ': ' + value)
        if any(ord(letter) < 32 for letter in status):
            raise AssertionError('a control character in the status %r' % status)
        self.head = lines
        self.has_length = length
        return self.write

    def write(self, content):
        """What `start_response` returns; each piece leaves at once."""
        if not isinstance(content, bytes):
            raise AssertionError('expected bytes for the body, found %s' % type(content).__name__)
        if self.head is None:
            raise AssertionError('a body without a call of start_response')
        if content:
            if self.sent and self.connection.is_aborted():
                raise Gone('the client has left')
            self.send(content)

    def send(self, content, ended=b''):
        head = b''
        if not self.sent:
            head = '\r\n'.join(self.head + ['', '']).encode('latin-1')
            self.sent = True
        self.connection.send(stream(STDOUT, self.request, head + content) + ended)

    def run(self, application, environ):
        """Whether the application has answered whole."""
        result = None
        try:
            result = application(environ, self.start)
            if self.head is not None and not self.sent and not self.has_length and isinstance(result, (list, tuple)) and len(result) == 1:
                # Known without asking for more: no chunks then.
                self.head.append('Content-Length: %d' % len(result[0]))
            for piece in result:
                self.write(piece)
            if self.head is None:
                raise AssertionError('the application has not called start_response')
            if not self.sent:
                self.send(b'')
            return True
        except Gone:
            return False
        except BaseException as error:  # SystemExit too: an application does not end its process
            self.failed(error)
            return self.told
        finally:
            # Whatever happened (PEP 3333).
            close = getattr(result, 'close', None)
            if close is not None:
                try:
                    close()
                except BaseException:
                    self.errors.write(traceback.format_exc())


    def failed(self, error):
        """Tells of a failure: in place of the answer, or after the half of it that has left."""
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals is globals():
            frames = frames.tb_next
        told = ''.join(traceback.format_exception(type(error), error, frames))
        if self.sent:
            self.errors.write(told)
            return
        account = {
            'what': traceback.format_exception_only(type(error), error)[-1].strip()[:2000],
            # The innermost first.
            'places': [[at.filename, at.lineno or 0] for at in reversed(traceback.extract_tb(frames))][:50],
            'traceback': told[-20000:],
        }
        self.head = ['Status: 500 Internal Server Error', 'Content-Type: application/json', FAILED + ': 1']
        self.told = True
        self.send(json.dumps(account).encode())


class Server:
    def __init__(self, application, listener, threads, multiprocess):
        self.application = application
        self.listener = listener
        self.threads = threads
        self.multiprocess = multiprocess
        # Its other end is closed when all is to end, which every thread then sees.
        self.stopping, self.stop_end = os.pipe()
        self.lock = threading.Lock()

    def stop(self):
        with self.lock:
            if self.stop_end is not None:
                os.close(self.stop_end)
                self.stop_end = None

    def wait(self, thing):
        """Whether there is something to do, and not to end."""
        poll = select.poll()
        poll.register(thing, select.POLLIN)
        poll.register(self.stopping, select.POLLIN)
        ready = [number for number, _ in poll.poll()]
        return self.stopping not in ready

    def work(self):
        """One thread: a connection at a time. It accepts none while it has one, so that another process may."""
        while self.wait(self.listener):
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # Another one was faster.
                continue
            except OSError as error:
                # No file descriptors, no memory: there may be some in a moment.
                sys.stderr.write('cannot accept: %s\n' % error)
                time.sleep(0.1)
                continue
            with sock:
                sock.setblocking(True)
                try:
                    self.serve(Connection(sock, self.threads))
                except Gone:
                    pass
                except Refused as refused:
                    sys.stderr.write('a connection was closed: %s\n' % refused)
                except Exception:
                    traceback.print_exc()

    def serve(self, connection):
        """The requests of a connection, one after another."""
        while connection.buffer or self.wait(connection.sock):
            kind, request, content = connection.record(0)
            if kind != BEGIN or request == 0:
                continue
            role, flags = struct.unpack_from('!HB', content)
            if role != RESPONDER:
                connection.send(end(request, 0, UNKNOWN_ROLE))
            elif not self.request(connection, request):
                return
            if not flags & KEEP_CONN:
                return

    def request(self, connection, request):
        """One request. Whether the connection can take another one."""
        params = bytearray()
        while True:
            kind, _, content = connection.record(request)
            if kind == ABORT:
                connection.send(end(request, 0))
                return True
            if kind != PARAMS:
                continue
            if not content:
                break
            params += content
            if len(params) > MAX_PARAMS:
                raise Refused('more than a megabyte of parameters')
        errors = Errors(connection, request)
        environ = self.environ(bytes(params), Input(connection, request), errors)
        answer = Answer(connection, request, errors)
        whole = answer.run(self.application, environ)
        # Whoever keeps it writes to this process's own log from now on.
        errors.connection = None
        connection.send(end(request, 0 if whole else 1))
        return whole

    def environ(self, params, body, errors):
        environ = pairs(params)
        environ.setdefault('SCRIPT_NAME', '')
        environ.setdefault('PATH_INFO', '')
        https = environ.get('HTTPS', 'off').lower() in ('on', '1')
        environ['wsgi.version'] = (1, 0)
        environ['wsgi.url_scheme'] = environ.get('REQUEST_SCHEME') or ('https' if https else 'http')
        environ['wsgi.input'] = body
        # It ends by itself, also where there is no CONTENT_LENGTH.
        environ['wsgi.input_terminated'] = True
        environ['wsgi.errors'] = errors
        environ['wsgi.multithread'] = self.threads > 1
        environ['wsgi.multiprocess'] = self.multiprocess
        environ['wsgi.run_once'] = False
        environ['wsgi.file_wrapper'] = FileWrapper
        return environ

    def run(self, control):
        threads = [threading.Thread(target=self.work, name='request-%d' % at, daemon=True) for at in range(self.threads)]
        for thread in threads:
            thread.start()
        if control is not None:
            control.sendall(b'ready\n')
            threading.Thread(target=self.hear, args=(control,), daemon=True).start()
        for thread in threads:
            thread.join()
        path = self.listener.getsockname()
        self.listener.close()
        os.close(self.stopping)
        if control is not None and isinstance(path, str) and path:
            # Whoever made it may have died: the last one finds the folder empty.
            try:
                os.unlink(path)
                os.rmdir(os.path.dirname(path))
            except OSError:
                pass

    def hear(self, control):
        """The end of the control channel: the site stops, or has died."""
        with control:
            try:
                while control.recv(64):
                    pass
            except OSError:
                pass
        self.stop()


def load(name):
    """The application of this name."""
    path, _, section = name.partition('#')
    if path.endswith('.ini'):
        try:
            from paste.deploy import loadapp
        except ImportError:
            raise SystemExit('%s: PasteDeploy is not installed, which reads such a file' % path)
        import configparser
        import logging.config
        path = os.path.abspath(path)
        parser = configparser.RawConfigParser()
        parser.read(path)
        if parser.has_section('loggers'):
            defaults = {'__file__': path, 'here': os.path.dirname(path)}
            logging.config.fileConfig(path, defaults, disable_existing_loggers=False)
        return loadapp('config:' + path, name=section or None)
    module, _, attribute = name.partition(':')
    if os.sep in module or module.endswith('.wsgi'):
        loader = importlib.machinery.SourceFileLoader('purlin_wsgi_application', os.path.abspath(module))
        found = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        sys.modules[loader.name] = found
        loader.exec_module(found)
    else:
        found = importlib.import_module(module)
    if not attribute:
        attribute = next((usual for usual in ('application', 'app') if hasattr(found, usual)), 'application')
    call = attribute.endswith('()')
    for part in (attribute[:-2] if call else attribute).split('.'):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise SystemExit('expected `%s` in the module %s, found none' % (part, module))
    if call:
        found = found()
    if not callable(found):
        raise SystemExit('expected an application at %s, found %r, which cannot be called' % (name, found))
    return found


def main():
    parser = argparse.ArgumentParser(description='Serves a WSGI application by FastCGI on file descriptor 0.')
    parser.add_argument('application')
    parser.add_argument('--path', action='append', default=[])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--multiprocess', action='store_true')
    options = parser.parse_args()
    # The folder of this file is no place of modules.
    sys.path[:1] = [os.path.abspath(path) for path in options.path] or [os.getcwd()]
    # The socket gets another number: what reads standard input, in the application, shall find nothing there.
    listener = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    listener.setblocking(False)
    # What the application starts is told nothing of them.
    for name in ('LISTEN_FDS', 'LISTEN_FDS_FIRST_FD'):
        os.environ.pop(name, None)
    number = os.environ.pop('PURLIN_CONTROL', None)
    control = None
    if number is not None:
        control = socket.socket(fileno=int(number))
        os.set_inheritable(control.fileno(), False)
        control.setblocking(True)
    server = Server(load(options.application), listener, max(1, options.threads), options.multiprocess)
    # The site decides when it ends: Ctrl-C, and what ends a whole group of processes, reach both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if control else lambda *_: server.stop())
    server.run(control)


if __name__ == '__main__':
    main()
