"""One JSON line a message, in the form that Cloud Logging reads.

It never holds a header, a secret, an e-mail address or a description, and it is bounded: Cloud
Logging takes 256 KB a line. https://cloud.google.com/logging/docs/structured-logging
"""

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from werkzeug.datastructures import Headers

from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.errors import IntegrationError, NotRestored, SalesforceUnavailable
from clockify_salesforce.message import Message, Outcome, Result, Waiting
from clockify_salesforce.salesforce.client import Org

NOTES, NOTE_LENGTH, REASON_LENGTH, ENTRIES = 20, 500, 1000, 10
_ERRORS = {Result.UNUSABLE, Result.EXPIRED}


@dataclass(slots=True)
class Line:
    """What is told of one request; it is begun before the request is looked at.

    `problem`: why the message was not taken, "" where it was.
    """

    headers: Headers
    org: Org
    message: Message | None = None
    applied: Sequence[Outcome | Waiting] = ()
    problem: str = ""
    began: float = field(default_factory=time.perf_counter)
    calls_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.calls_before = self.org.calls

    def severity(self, status: int) -> str:
        """What passes by itself is a warning; what somebody has to mend is an error."""
        errors = [each.error for each in self.applied if isinstance(each, Waiting)]
        outcomes = [each for each in self.applied if isinstance(each, Outcome)]
        passes = bool(errors) and all(map(_passes, errors))
        is_retry = self.message is not None and self.message.queued
        if (
            (errors and not passes)
            or (status >= 500 and not (passes and is_retry))
            or any(each.result in _ERRORS for each in outcomes)
        ):
            return "ERROR"
        odd = status >= 400 or errors or any(each.notes for each in outcomes)
        return "WARNING" if odd else "INFO"

    def write(self, status: int, result: str, project: str) -> None:
        """Write it to stdout, tied to the request's trace. `project`: Google Cloud's id of it."""
        kind = ((self.message.event_type if self.message else None) or "no event type")[:64]
        result = result if status < 400 else "refused" if status < 500 else "not taken"
        ids = [_entry_id(each) for each in self.applied]
        reasons = [self.problem, *map(_reason, self.applied)]
        notes = [
            note[:NOTE_LENGTH]
            for each in self.applied
            if isinstance(each, Outcome)
            for note in each.notes
        ]
        line: dict[str, object] = {
            "severity": self.severity(status),
            "message": f"{kind}: {result}",
            "event": kind,
            "entry": ",".join([each for each in ids if each][:ENTRIES]),
            "result": result,
            "status": status,
            "milliseconds": round((time.perf_counter() - self.began) * 1000, 1),
            "salesforce_calls": self.org.calls - self.calls_before,
            "queued": bool(self.message and self.message.queued),
            "reason": next(filter(None, reasons), "")[:REASON_LENGTH],
            "left_out": notes[:NOTES],
        }
        if trace := _trace(self.headers):
            line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}"
        kept = {key: value for key, value in line.items() if value not in ("", [])}
        sys.stdout.write(json.dumps(kept) + "\n")
        sys.stdout.flush()


def _passes(error: IntegrationError) -> bool:
    """Tell whether it passes by itself."""
    if isinstance(error, ClockifyError):
        return error.status is None or error.status == 429 or error.status >= 500
    return isinstance(error, SalesforceUnavailable | NotRestored)


def _entry_id(each: Outcome | Waiting) -> str | None:
    return each.entry_id if isinstance(each, Outcome) else each.entry.decision.entry_id


def _reason(each: Outcome | Waiting) -> str:
    return each.reason if isinstance(each, Outcome) else str(each.error)


def unexpected(error: Exception) -> str:
    """A mistake of ours and the places that it passed through; its own text may quote the entry."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"unexpected {type(error).__name__}: {where}"


def _trace(headers: Headers) -> str | None:
    """The request's trace id. https://www.w3.org/TR/trace-context/"""
    parent = re.match(r"[0-9a-f]{2}-([0-9a-f]{32})-", headers.get("traceparent") or "")
    older = re.match(r"([0-9a-f]{32})(/|;|$)", headers.get("X-Cloud-Trace-Context") or "")
    found = parent or older
    return found[1] if found else None
