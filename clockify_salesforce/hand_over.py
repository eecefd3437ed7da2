"""What could not be applied, as requests for the retry queue: the same messages once more.

A request out of the queue is checked and decided as if Clockify had sent it, but for its first
receipt. A single entry keeps its body byte for byte; what is too large for a task, and what is left
of a list, is cut to what is read of it, and then carries its fingerprint along. An invoice of
hundreds of lines may have to be compressed besides.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Iterator, Sequence

import mapping
from clockify_salesforce import retry_queue
from clockify_salesforce.errors import QueueUnavailable
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Message, Waiting
from clockify_salesforce.settings import Settings
from clockify_salesforce.state import Receipt
from clockify_salesforce.webhook import (
    DOUBTFUL,
    EVENT_TYPE,
    FIRST_RECEIVED,
    PACKED,
    RECEIVED_BY,
    SIGNATURE,
)

HAND_OVER_S = 1.5  # after the message's own deadline
LARGEST_TASK = 96_500  # bytes of a body; Cloud Tasks takes 100 KB with the headers
ENTRIES_A_TASK = 500
FINGERPRINT = "fingerprint"  # in an entry that was cut


def hand_over(
    message: Message, waiting: Sequence[Waiting], is_whole: bool, rules: Rules, settings: Settings
) -> None:
    """Put what waits into the retry queue. Raises QueueUnavailable; then it is not all in it.

    `is_whole`: it is all that the message holds. What is packed has a name in the queue, so that a
    second try puts nothing into it twice.
    """
    deadline = message.deadline + HAND_OVER_S
    if is_whole and len(waiting) == 1 and len(message.body) <= LARGEST_TASK:
        headers = _headers(message, waiting[0].receipt)
        _enqueue(settings, headers, message.body, deadline)
        return
    for headers, alike in _alike(message, waiting):
        for body in _packed(message, alike, rules):
            if len(body) > LARGEST_TASK:
                body, headers[PACKED] = zlib.compress(body), "1"
            else:
                headers.pop(PACKED, None)
            if len(body) > LARGEST_TASK:
                raise QueueUnavailable(
                    f"{alike[0].error} (and the retry queue cannot keep it: compressed, it has"
                    f" {len(body):,} bytes, and {LARGEST_TASK:,} at most fit. Clockify sends it"
                    " again; after that, the repair takes it up: docs/kinds.md)"
                )
            if time.monotonic() > deadline:
                raise QueueUnavailable("there was no time left to put all of it into the queue")
            said = f"{message.event_type}\n{headers[FIRST_RECEIVED]}\n".encode() + body
            name = hashlib.sha256(said).hexdigest()[:40]
            _enqueue(settings, headers, body, deadline, name=name)


def _alike(
    message: Message, waiting: Sequence[Waiting]
) -> Iterator[tuple[dict[str, str], list[Waiting]]]:
    """Entries of one receipt together, which is what the headers of a request tell."""
    found: dict[str, tuple[dict[str, str], list[Waiting]]] = {}
    for each in waiting:
        headers = _headers(message, each.receipt)
        found.setdefault(json.dumps(headers), (headers, []))[1].append(each)
    yield from found.values()


def _headers(message: Message, receipt: Receipt | None) -> dict[str, str]:
    """The message's own, and when it came first, which is not always now: it may be a repeat."""
    headers = {
        "Content-Type": "application/json",
        SIGNATURE: message.signature,
        FIRST_RECEIVED: str(receipt.first_ms if receipt else message.received_ms),
        RECEIVED_BY: receipt.by if receipt else message.received_by,
    }
    if message.event_type is not None:
        headers[EVENT_TYPE] = message.event_type
    if receipt.doubtful if receipt else message.doubtful:
        headers[DOUBTFUL] = "1"
    return headers


def _enqueue(
    settings: Settings, headers: dict[str, str], body: bytes, deadline: float, *, name: str = ""
) -> None:
    retry_queue.enqueue(
        settings.retry_queue, settings.function_url, headers, body, deadline=deadline, name=name
    )


def _packed(message: Message, waiting: Sequence[Waiting], rules: Rules) -> Iterator[bytes]:
    """As few bodies as their size allows; a list of one is sent as that one."""
    pack: list[bytes] = []
    size = 0
    for each in waiting:
        kept = mapping.essential(each.entry.content, rules=rules, event_type=message.event_type)
        if isinstance(kept, dict):
            kept = kept | {FINGERPRINT: each.entry.fingerprint}
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
        if pack and (size + len(text) > LARGEST_TASK or len(pack) == ENTRIES_A_TASK):
            yield _joined(pack)
            pack, size = [], 0
        pack.append(text)
        size += len(text) + 1
    if pack:
        yield _joined(pack)


def _joined(pack: list[bytes]) -> bytes:
    return pack[0] if len(pack) == 1 else b"[" + b",".join(pack) + b"]"
