"""The function that Clockify's webhooks call: check, decide, apply, answer.

A message is in Salesforce, or in the retry queue, before Clockify hears 2xx. What an entry means is
mapping's part; in which order it reaches Salesforce is delivery's. Nothing is kept here but caches,
so Cloud Run may add and end instances at will.
https://clockify.me/help/integrations/webhooks
"""

import os

# Cloud Run sets this, and functions-framework hands it to gunicorn as the time after which a worker
# without a sign of life is killed: an idle instance has no CPU to give one. It is read after this.
os.environ["CLOUD_RUN_TIMEOUT_SECONDS"] = "0"

import json
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

import flask
from werkzeug.datastructures import Headers

import mapping
from clockify_salesforce import server, webhook
from clockify_salesforce.delivery import Arrival, Delivery
from clockify_salesforce.errors import (
    BadMessage,
    IntegrationError,
    QueueUnavailable,
    SalesforceUnavailable,
)
from clockify_salesforce.retry_queue import enqueue
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.secret import Secret, SigningSecrets
from clockify_salesforce.settings import Settings, read_settings
from clockify_salesforce.webhook import DOUBTFUL, EVENT_TYPE, FIRST_RECEIVED, SIGNATURE

LARGEST_TASK = 96_000  # bytes of a body; Cloud Tasks takes 100 KB with the headers
# Clockify's patience is not known: answer well below 10 s, the hand-over to the queue included.
BUDGET_S = 7.5


class NotYet(IntegrationError):
    """Neither Salesforce nor the retry queue has it: whoever sent it must send it again."""


@dataclass(slots=True)
class Message:
    """An authentic request. `queued`: it comes out of the retry queue."""

    event_type: str | None
    body: bytes
    signature: str
    received_ms: int
    queued: bool
    doubtful: bool
    deadline: float  # of time.monotonic()
    arrivals: list[Arrival] = field(default_factory=list)


class Function:
    """What one instance keeps: clients, secrets in memory, and the memory of recent messages."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.signing_secrets = SigningSecrets(settings.signing_secrets)
        self.credentials = Secret(settings.salesforce_credentials)
        self.org = Org(self.credentials.value, version=settings.salesforce_api_version)
        self.delivery = Delivery(
            self.org,
            api_key=Secret(settings.clockify_api_key) if settings.clockify_api_key else None,
            subject=settings.event_subject,
            leaves_tombstones=bool(settings.retry_queue),
        )

    # Check -----------------------------------------------------------------------------------

    def check(self, request: flask.Request) -> Message:
        """Return the request as an authentic Message. Raises Refused."""
        message = webhook.check(
            request,
            is_authentic=self.signing_secrets.matches,
            now_ms=time.time_ns() // 1_000_000,
            instance="",
            deadline=time.monotonic() + BUDGET_S,
        )
        return Message(
            message.event_type,
            message.body,
            message.signature,
            message.received_ms,
            message.queued,
            message.doubtful,
            message.deadline,
        )

    # Decide ----------------------------------------------------------------------------------

    def decide(self, message: Message) -> None:
        """Say what each time entry of the message means; raise BadMessage before anything is done.

        A kind of event that changes no Event is not even parsed.
        """
        event_type, subject = message.event_type, self.settings.event_subject
        if event_type is not None and event_type not in mapping.UPSERTS | mapping.DELETES:
            entries: list[mapping.Json] = [None]
        else:
            entries = mapping.entries(event_type, mapping.parse(message.body))
        several = len(entries) > 1
        message.arrivals = [
            Arrival(
                event_type,
                entry,
                mapping.decide(event_type, entry, subject=subject),
                fingerprint=hash((event_type, json.dumps(entry) if several else message.body)),
                first_ms=message.received_ms,
                queued=message.queued,
                doubtful=message.doubtful,
                deadline=message.deadline,
            )
            for entry in entries
        ]

    # Apply -----------------------------------------------------------------------------------

    def apply(self, message: Message) -> None:
        """Bring each time entry to Salesforce; what cannot be is left with its error."""
        for arrival in message.arrivals:
            try:
                if len(message.arrivals) > 1 and time.monotonic() > message.deadline:
                    raise SalesforceUnavailable("there was no time left for this entry")
                arrival.result = self.delivery.deliver(arrival)
            except IntegrationError as error:
                arrival.error = error
            except Exception as error:  # noqa: BLE001
                # A mistake of ours must not lose the entry either: it waits until we mend it.
                arrival.error = NotYet(f"unexpected {type(error).__name__}: {_where(error)}")

    # Answer ----------------------------------------------------------------------------------

    def answer(self, message: Message) -> tuple[int, dict[str, object]]:
        """Hand over what could not be applied, and return HTTP status and body. Raises NotYet."""
        waiting = [arrival for arrival in message.arrivals if arrival.error is not None]
        if waiting:
            self._hand_over(message, waiting)
        body: dict[str, object] = {"result": _overall(message.arrivals)}
        if waiting:
            refused = any(isinstance(arrival.error, SalesforceRefused) for arrival in waiting)
            body["reason"] = (
                "an admin has to mend something in Salesforce: see the function's log"
                if refused
                else "Salesforce cannot take it now"
            )
        if len(message.arrivals) == 1:
            body |= {"id": entry_id} if (entry_id := message.arrivals[0].entry_id) else {}
        else:
            body["entries"] = [{"result": a.result, "id": a.entry_id} for a in message.arrivals]
        return (202 if waiting else 200), body

    def _hand_over(self, message: Message, waiting: list[Arrival]) -> None:
        """Put what waits into the retry queue, as the same request with its first receipt."""
        settings = self.settings
        if not settings.retry_queue:
            raise NotYet(f"{waiting[0].error} (and RETRY_QUEUE is not set)")
        if message.queued and len(waiting) == len(message.arrivals):
            raise NotYet(str(waiting[0].error))
        for pack, task in _tasks(message, waiting):
            headers = {
                "Content-Type": "application/json",
                SIGNATURE: message.signature,
                FIRST_RECEIVED: str(pack[0].first_ms),
            }
            if message.event_type is not None:
                headers[EVENT_TYPE] = message.event_type
            if pack[0].doubtful:
                headers[DOUBTFUL] = "1"
            try:
                enqueue(
                    settings.retry_queue,
                    settings.function_url,
                    headers,
                    task,
                    deadline=message.deadline,
                )
            except QueueUnavailable as error:
                raise NotYet(f"{waiting[0].error}; {error}") from None
            for arrival in pack:
                arrival.result = "queued"


def clockify_webhook(request: flask.Request) -> flask.Response:
    """Serve one request: a Clockify webhook, or one that comes again out of the retry queue.

    Answers 200 `{"result": "created|updated|deleted|ignored|stale", "id": …}`, 202 where the
    message waits in the retry queue, and 4xx or 5xx `{"error": …}` where it is in neither.
    """
    began = time.perf_counter()
    calls_before = FUNCTION.org.calls
    message: Message | None = None
    problem = ""
    try:
        message = FUNCTION.check(request)
        FUNCTION.decide(message)
        FUNCTION.apply(message)
        status, body = FUNCTION.answer(message)
    except IntegrationError as error:
        status, problem = _status(error), str(error)
        body = {"error": problem if status < 500 else "not taken: it has to be sent again"}
    except Exception as error:  # noqa: BLE001
        status, problem = 500, f"unexpected {type(error).__name__}: {_where(error)}"
        body = {"error": "not taken: it has to be sent again"}
    _log(request, message, status, problem, began, FUNCTION.org.calls - calls_before)
    return webhook.answer(request, status, body)


def _status(error: IntegrationError) -> int:
    """The one place where an error becomes an HTTP code."""
    if isinstance(error, webhook.Refused):
        return error.status
    return 400 if isinstance(error, BadMessage) else 503


def _log(
    request: flask.Request,
    message: Message | None,
    status: int,
    problem: str,
    began: float,
    calls: int,
) -> None:
    """Write the message's one log line, in the form that Cloud Logging reads.

    https://cloud.google.com/logging/docs/structured-logging
    """
    arrivals = message.arrivals if message else []
    errors = [arrival.error for arrival in arrivals if arrival.error is not None]
    notes = [note for arrival in arrivals for note in arrival.notes]
    severity = "WARNING" if status >= 400 or errors or notes else "INFO"
    # What passes by itself is a warning; what somebody has to mend is an error.
    if status >= 500 or not all(isinstance(error, SalesforceUnavailable) for error in errors):
        severity = "ERROR"
    result = _overall(arrivals) if status < 400 else "refused" if status < 500 else "not taken"
    kind = ((message.event_type if message else None) or "no event type")[:64]
    line: dict[str, object] = {
        "severity": severity,
        "message": f"{kind}: {result}",
        "event": kind,
        "entry": ",".join(arrival.entry_id for arrival in arrivals[:10] if arrival.entry_id),
        "result": result,
        "status": status,
        "milliseconds": round((time.perf_counter() - began) * 1000, 1),
        "salesforce_calls": calls,
        "queued": bool(message and message.queued),
        "reason": problem or (str(errors[0]) if errors else ""),
        "left_out": notes,
    }
    if trace := _trace(request.headers):
        project = FUNCTION.settings.project
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}"
    told = {key: value for key, value in line.items() if value not in ("", [])}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _tasks(message: Message, waiting: list[Arrival]) -> Iterator[tuple[list[Arrival], bytes]]:
    """Pack what waits into as few task bodies as their size allows, each of one first receipt."""
    if len(message.arrivals) == 1 and len(message.body) <= LARGEST_TASK:
        yield waiting, message.body
        return
    pack: list[Arrival] = []
    size = 0
    for arrival in waiting:
        length = len(_compact(mapping.essential(arrival.entry))) + 1
        same = pack and (pack[0].first_ms, pack[0].doubtful) == (arrival.first_ms, arrival.doubtful)
        if pack and (not same or size + length > LARGEST_TASK):
            yield pack, _packed(pack)
            pack, size = [], 0
        pack.append(arrival)
        size += length
    yield pack, _packed(pack)


def _packed(arrivals: list[Arrival]) -> bytes:
    entries = [mapping.essential(arrival.entry) for arrival in arrivals]
    return _compact(entries if len(entries) > 1 else entries[0])


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _overall(arrivals: list[Arrival]) -> str:
    """The result of a message: of its entries, the one that is furthest from done."""
    results = {arrival.result for arrival in arrivals} or {"ignored"}
    for result in ("queued", "created", "updated", "deleted", "stale"):
        if result in results:
            return result
    return "ignored"


def _trace(headers: Headers) -> str | None:
    """The request's trace id. https://www.w3.org/TR/trace-context/"""
    parent = re.match(r"[0-9a-f]{2}-([0-9a-f]{32})-", headers.get("traceparent") or "")
    older = re.match(r"([0-9a-f]{32})(/|;|$)", headers.get("X-Cloud-Trace-Context") or "")
    found = parent or older
    return found[1] if found else None


def _where(error: Exception) -> str:
    """The places that an unexpected error passed through; its own text may quote the entry."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)


try:
    FUNCTION = Function(read_settings(os.environ))
except IntegrationError as error:
    # Cloud Run keeps the revision before this one serving when a new one does not start.
    raise SystemExit(f"The function cannot start. {error}") from None

if flask.has_app_context():  # functions-framework's
    server.set_up(flask.current_app)
