"""What could not be applied, as requests for the retry queue: the same messages once more.

A request out of the queue is checked and decided as if Clockify had sent it, but for its first
receipt. A single entry keeps its body byte for byte; what is too large for a task, and what is left
of a list, is cut to what is read of it, and then carries its fingerprint along.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence

import mapping
from clockify_salesforce import retry_queue
from clockify_salesforce.errors import QueueUnavailable
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Message, Waiting
from clockify_salesforce.settings import Settings
from clockify_salesforce.webhook import (
    DOUBTFUL,
    EVENT_TYPE,
    FIRST_RECEIVED,
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
    headers = {
        "Content-Type": "application/json",
        SIGNATURE: message.signature,
        FIRST_RECEIVED: str(message.received_ms),
        RECEIVED_BY: message.received_by,
    }
    if message.event_type is not None:
        headers[EVENT_TYPE] = message.event_type
    if message.doubtful:
        headers[DOUBTFUL] = "1"
    if is_whole and len(waiting) == 1 and len(message.body) <= LARGEST_TASK:
        _enqueue(settings, headers, message.body, deadline)
        return
    for body in _packed(waiting, rules):
        if time.monotonic() > deadline:
            raise QueueUnavailable("there was no time left to put all of it into the retry queue")
        said = f"{message.event_type}\n{message.received_ms}\n".encode() + body
        name = hashlib.sha256(said).hexdigest()[:40]
        _enqueue(settings, headers, body, deadline, name=name)


def _enqueue(
    settings: Settings, headers: dict[str, str], body: bytes, deadline: float, *, name: str = ""
) -> None:
    retry_queue.enqueue(
        settings.retry_queue, settings.function_url, headers, body, deadline=deadline, name=name
    )


def _packed(waiting: Sequence[Waiting], rules: Rules) -> Iterator[bytes]:
    """As few bodies as their size allows; a list of one is sent as that one."""
    pack: list[bytes] = []
    size = 0
    for each in waiting:
        kept = mapping.essential(each.entry.content, rules=rules)
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
