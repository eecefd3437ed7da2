"""Check a request and answer it: what is let in, and how whoever sent it hears."""

import contextlib
import json
import re
import socket
from collections.abc import Callable, Mapping

import flask
from werkzeug.exceptions import HTTPException

from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Message

LARGEST_BODY = 1024 * 1024
SIGNATURE, EVENT_TYPE = "Clockify-Signature", "Clockify-Webhook-Event-Type"
# Of a request that comes out of the retry queue.
FIRST_RECEIVED = "X-First-Received"  # milliseconds since 1970
RECEIVED_BY = "X-Received-By"  # the instance whose clock that was
DOUBTFUL = "X-Doubtful"  # present: Clockify has to be asked


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
    """Return the request as an authentic Message.

    Nothing of the body is looked at before the signature is. Raises Refused.
    """
    if request.method != "POST":
        raise Refused(405, "only POST is taken here: this is the URL of Clockify's webhooks")
    if (request.content_length or 0) > LARGEST_BODY:
        raise Refused(413, "the body is larger than 1 MiB")
    signature = request.headers.get(SIGNATURE, "")
    if not signature or not is_authentic(signature.encode("latin-1", "replace")):
        raise Refused(401, "unauthorized")
    try:
        body = request.stream.read(LARGEST_BODY + 1)
    except (OSError, HTTPException):
        raise Refused(400, "the body broke off") from None
    if len(body) > LARGEST_BODY:
        raise Refused(413, "the body is larger than 1 MiB")
    headers = request.headers
    first = headers.get(FIRST_RECEIVED) or headers.get("Clockify-First-Received") or ""
    queued = re.fullmatch(r"[0-9]{1,15}", first) is not None
    return Message(
        event_type=headers.get(EVENT_TYPE),
        body=body,
        signature=signature,
        received_ms=int(first) if queued else now_ms,
        received_by=headers.get(RECEIVED_BY, "")[:16] if queued else instance,
        queued=queued,
        doubtful=queued and (DOUBTFUL in headers or "Clockify-Doubtful" in headers),
        deadline=deadline,
    )


def answer(request: flask.Request, status: int, body: Mapping[str, object]) -> flask.Response:
    """The answer as JSON; whoever still sends a body that nobody reads is hung up on."""
    text = json.dumps(body)
    response = flask.Response(text, status, mimetype="application/json")
    if status == 405:
        response.headers["Allow"] = "POST"
    if status in (401, 405, 413) and request.content_length != 0:
        # functions-framework reads what is left of a body before it answers, however slowly that
        # comes, unless the answer is a stream; and gunicorn waits for the other side to hang up,
        # unless nothing more can come.
        response = flask.Response(iter([text]), status, response.headers)
        response.headers["Connection"] = "close"
        response.call_on_close(lambda: _stop_reading(request))
    return response


def _stop_reading(request: flask.Request) -> None:
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):  # the other side has hung up already
            connection.shutdown(socket.SHUT_RD)
