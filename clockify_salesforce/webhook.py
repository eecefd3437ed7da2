"""Whether a request is a webhook of ours, and how it is answered so that nobody keeps a thread.

Strangers may send whatever they like, as slowly as they like. What is not taken is answered at
once, and is the connection's last: nothing more is read from it, and nobody waits for its end.
"""

import contextlib
import errno
import functools
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping

import flask
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Message

LARGEST_BODY = 1024 * 1024
BODY_S, WATCH_EVERY_S = 3.0, 0.25  # Clockify and Cloud Tasks send a body at once
_LEFT = 64 * 1024  # bytes; as much as gunicorn throws away of what nobody reads

SIGNATURE, EVENT_TYPE = "Clockify-Signature", "Clockify-Webhook-Event-Type"
# Our own headers of a queued request: milliseconds since 1970; an instance's name; present.
FIRST_RECEIVED, RECEIVED_BY, DOUBTFUL = "X-First-Received", "X-Received-By", "X-Doubtful"
PACKED = "X-Packed"  # present: the body is compressed, as zlib does it
# What the version before put into the queue, where a request may wait for a week.
_OLD_FIRST_RECEIVED, _OLD_DOUBTFUL = "Clockify-First-Received", "Clockify-Doubtful"


class Refused(IntegrationError):
    """A request that is not a webhook's; `status` is the HTTP code that it hears."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(
    request: flask.Request,
    *,
    is_authentic: Callable[[bytes], bool],
    now_ms: int,
    instance: str,
    deadline: float,
) -> Message:
    """Return the request as an authentic Message; raise Refused.

    `is_authentic` is told the signature before anything of the body is looked at; what it raises
    passes through. `now_ms`: milliseconds since 1970. `instance`: this one's name. `deadline`: of
    time.monotonic().
    """
    if request.method != "POST":
        raise Refused(405, "only POST is taken here: this is the URL of Clockify's webhooks")
    if (request.content_length or 0) > LARGEST_BODY:
        raise Refused(413, "the body is larger than 1 MiB")
    signature = request.headers.get(SIGNATURE, "")
    if not signature or not is_authentic(signature.encode("latin-1", "replace")):
        raise Refused(401, "unauthorized")
    body = _body(request, min(deadline, time.monotonic() + BODY_S))
    first_ms = _first_received(request.headers)
    queued = first_ms is not None
    if queued and PACKED in request.headers:
        body = _unpacked(body)
    return Message(
        event_type=request.headers.get(EVENT_TYPE),
        body=body,
        signature=signature,
        received_ms=now_ms if first_ms is None else first_ms,
        received_by=_received_by(request.headers) if queued else instance,
        queued=queued,
        doubtful=queued and (DOUBTFUL in request.headers or _OLD_DOUBTFUL in request.headers),
        deadline=deadline,
    )


def answer(request: flask.Request, status: int, body: Mapping[str, object]) -> flask.Response:
    """Return `body` as JSON; what is not taken (400 and above) is the connection's last answer.

    functions-framework reads what is left of a request before it answers, however slowly that
    comes, unless the answer is a stream; and gunicorn's only thread that accepts connections waits
    up to 2 s for the other side to hang up after the last answer, unless the connection is shut.
    gunicorn ignores a `Connection` header of ours.
    """
    text = json.dumps(body).encode()
    response = flask.Response(text, status, mimetype="application/json")
    if status >= 400:
        response = flask.Response(iter([text]), status, response.headers)
        response.content_length = len(text)
    if status == 405:
        response.headers["Allow"] = "POST"
    if status >= 400 or _closes(request):
        response.call_on_close(functools.partial(_end, _connection(request)))
    return response


def _closes(request: flask.Request) -> bool:
    old = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
    return old or request.headers.get("Connection", "").strip().lower() == "close"


def _connection(request: flask.Request) -> socket.socket | None:
    found = request.environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def _end(connection: socket.socket | None) -> None:
    """End it for both sides: what was answered is on its way.

    Linux tells nobody that there is room again once nothing is to be read any more. A sender that
    waits for room would wait for a minute, unless there was room before, or it is reset after.
    """
    if connection is not None:
        _unread(connection)
        _shut(connection, socket.SHUT_RDWR)
        if _unread(connection):
            _reset_when_closed(connection)
        # gunicorn takes up the next request that it has read ahead, unless the connection broke.
        raise BrokenPipeError(errno.EPIPE, "nothing more is read from this connection")


def _unread(connection: socket.socket) -> bytes:
    """Take what has come so far, and wait for no more."""
    try:
        return connection.recv(_LEFT, socket.MSG_DONTWAIT)
    except OSError:  # nothing has come, or the other side has hung up
        return b""


def _reset_when_closed(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _shut(connection: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # the other side has hung up already
        connection.shutdown(how)


def _body(request: flask.Request, until: float) -> bytes:
    """Read the body; raise Refused where it is too long, breaks off, or has not come by `until`."""
    try:
        with _WATCH.over(_connection(request), until):
            body: bytes = request.stream.read(LARGEST_BODY + 1)
    except (OSError, HTTPException, ParseException):
        whole = False
    else:
        # gunicorn ends a body where the connection ends, werkzeug leaves it to gunicorn.
        whole = request.content_length is None or len(body) == request.content_length
    if not whole and time.monotonic() >= until:
        raise Refused(408, "the body did not come in time")
    if not whole:
        raise Refused(400, "the body broke off")
    if len(body) > LARGEST_BODY:
        raise Refused(413, "the body is larger than 1 MiB")
    return body


def _unpacked(body: bytes) -> bytes:
    """The body that was compressed. Raises Refused where it was not, or is too long."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(body, LARGEST_BODY)
    except zlib.error:
        raise Refused(400, "the body is not compressed as it says") from None
    if not unpacking.eof:
        raise Refused(413, "the body is larger than 1 MiB, or breaks off")
    return found


class _Watch:
    """Lets nothing more come in on a connection whose body takes too long.

    A socket's own time-out begins anew with each byte, and a timer would be a thread a message.
    """

    def __init__(self) -> None:
        self._until: dict[socket.socket, float] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, connection: socket.socket | None, until: float) -> Iterator[None]:
        """Watch over it until this ends; `until`: of time.monotonic()."""
        if connection is None:
            yield
            return
        self._start()
        self._until[connection] = until
        try:
            yield
        finally:
            del self._until[connection]

    def _start(self) -> None:
        # At the first message, for gunicorn forks after the function is loaded.
        if self._thread is None and self._starting.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            for connection, until in list(self._until.items()):
                if now >= until:
                    _reset_when_closed(connection)  # as in _end
                    _shut(connection, socket.SHUT_RD)


_WATCH = _Watch()


def _first_received(headers: Headers) -> int | None:
    """When a queued request came first; None for one that no queue of ours can have sent."""
    first = headers.get(FIRST_RECEIVED) or headers.get(_OLD_FIRST_RECEIVED) or ""
    return int(first) if re.fullmatch(r"[0-9]{1,15}", first) else None


def _received_by(headers: Headers) -> str:
    """The instance whose clock that was, "" where it is not known."""
    name = headers.get(RECEIVED_BY, "")
    return name if re.fullmatch(r"[0-9A-Za-z_-]{1,64}", name) else ""
