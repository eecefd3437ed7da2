"""webhook.py: what is let in as a message, and what a queued request may say of itself."""

import io
import time
import zlib
from collections.abc import Mapping
from typing import Any

import flask
import pytest

from clockify_salesforce import webhook
from clockify_salesforce.message import Message

NOW_MS = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000
SECRET = "s" * 32
APP = flask.Flask("test")


def checked(
    headers: Mapping[str, str] = {},
    *,
    body: bytes = b"{}",
    **changes: Any,
) -> Message:
    """A good request, with changes."""
    request = {"method": "POST", "data": body, "headers": {webhook.SIGNATURE: SECRET, **headers}}
    with APP.test_request_context("/", **(request | changes)):
        return webhook.check(
            flask.request,
            is_authentic=lambda signature: signature == SECRET.encode(),
            now_ms=NOW_MS,
            instance="this one",
            deadline=time.monotonic() + 7.5,
        )


def refused(*args: Any, **kwargs: Any) -> int:
    with pytest.raises(webhook.Refused) as caught:
        checked(*args, **kwargs)
    return caught.value.status


def test_good_request_is_a_message() -> None:
    message = checked({webhook.EVENT_TYPE: "TIMER_STOPPED"}, body=b'{"id": "1"}')
    assert (message.event_type, message.body) == ("TIMER_STOPPED", b'{"id": "1"}')
    assert (message.received_ms, message.received_by) == (NOW_MS, "this one")
    assert (message.queued, message.doubtful, message.signature) == (False, False, SECRET)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_method_is_405(method: str) -> None:
    assert refused(method=method) == 405


@pytest.mark.parametrize(
    "signature",
    ["", " ", "x", SECRET[:-1], SECRET + "s", SECRET.upper(), f"{SECRET} {SECRET}", "ſ" * 32],
)
def test_other_signature_is_401_and_the_body_is_not_looked_at(signature: str) -> None:
    headers = {webhook.SIGNATURE: signature}
    assert refused(headers, input_stream=Unread(b"12345"), data=None) == 401


class Unread(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("it was read")


def test_body_of_one_mebibyte_is_taken_and_a_byte_more_is_413() -> None:
    assert len(checked(body=b" " * webhook.LARGEST_BODY).body) == webhook.LARGEST_BODY
    assert refused(body=b" " * (webhook.LARGEST_BODY + 1)) == 413


AGES_DAYS = {"6.9 days": 6.9, "7.1 days": 7.1, "30 days": 30, "from the future": -1}


@pytest.mark.parametrize("age", list(AGES_DAYS))
@pytest.mark.parametrize("name", [webhook.FIRST_RECEIVED, "Clockify-First-Received"])
def test_first_receipt_of_a_queued_request_is_believed_whatever_its_age(
    name: str, age: str
) -> None:
    first_ms = NOW_MS - round(AGES_DAYS[age] * DAY_MS)
    message = checked({name: str(first_ms), webhook.RECEIVED_BY: "a1b2c3d4"})
    assert (message.received_ms, message.queued) == (first_ms, True)
    assert message.received_by == "a1b2c3d4"


@pytest.mark.parametrize(
    "first", ["", "-1", "1e3", "12 ", "٣٤٥", "1" * 16, "0x10", "1,2", "nan", "1.0"]
)
def test_first_receipt_that_no_queue_of_ours_can_have_sent_is_as_if_it_was_not_there(
    first: str,
) -> None:
    message = checked(
        {webhook.FIRST_RECEIVED: first, webhook.RECEIVED_BY: "another", webhook.DOUBTFUL: "1"}
    )
    assert (message.received_ms, message.queued, message.doubtful) == (NOW_MS, False, False)
    assert message.received_by == "this one"


@pytest.mark.parametrize(
    ("said", "believed"),
    [("a1b2", "a1b2"), (None, ""), ("", ""), ("x" * 65, ""), ('a"b', ""), ("a b", "")],
)
def test_instance_of_a_queued_request_is_a_name_or_not_known(
    said: str | None, believed: str
) -> None:
    headers = {webhook.FIRST_RECEIVED: "1"} | ({webhook.RECEIVED_BY: said} if said else {})
    assert checked(headers).received_by == believed


@pytest.mark.parametrize("name", [webhook.DOUBTFUL, "Clockify-Doubtful"])
def test_doubt_of_a_queued_request_is_kept(name: str) -> None:
    assert checked({webhook.FIRST_RECEIVED: "1", name: "1"}).doubtful
    assert not checked({webhook.FIRST_RECEIVED: "1"}).doubtful


@pytest.mark.parametrize("status", [400, 401, 404, 405, 408, 413, 500, 503])
def test_answer_to_what_is_not_taken_is_a_stream(status: int) -> None:
    with APP.test_request_context("/", method="POST", data=b"x"):
        response = webhook.answer(flask.request, status, {"error": "e"})
    assert response.is_streamed  # or functions-framework reads the rest of the body first
    assert (response.status_code, response.content_length) == (status, 14)
    assert response.headers.get("Allow") == ("POST" if status == 405 else None)


def test_answer_to_what_is_taken_is_json() -> None:
    with APP.test_request_context("/", method="POST", data=b"x"):
        response = webhook.answer(flask.request, 200, {"result": "created"})
    assert (response.status_code, response.json) == (200, {"result": "created"})
    assert not response.is_streamed


# --- Compressed by ourselves ----------------------------------------------------------------------

QUEUED = {webhook.FIRST_RECEIVED: str(NOW_MS), webhook.PACKED: "1"}


def test_queued_body_that_is_compressed_is_read() -> None:
    body = b'{"id": "1"}'
    assert checked(QUEUED, body=zlib.compress(body)).body == body
    # Nobody but the queue compresses.
    assert checked({webhook.PACKED: "1"}, body=body).body == body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 400),
        (zlib.compress(b"{}")[:-1], 413),
        (zlib.compress(b" " * (webhook.LARGEST_BODY + 1)), 413),
    ],
)
def test_body_that_is_compressed_wrongly_is_refused(body: bytes, status: int) -> None:
    assert refused(QUEUED, body=body) == status
