"""The values that go through the function: a message comes in, outcomes go out."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Message:
    """An authentic request: Clockify's webhook, or one that comes again out of the retry queue.

    `received_ms`: its first receipt, in milliseconds since 1970, by the clock of the instance that
    `received_by` names. `doubtful`: Clockify has to be asked. `deadline`: of time.monotonic().
    """

    event_type: str | None
    body: bytes
    signature: str
    received_ms: int
    received_by: str
    queued: bool
    doubtful: bool
    deadline: float


class Result(StrEnum):
    """What became of a message, or of one of its time entries, as Clockify is told."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    IGNORED = "ignored"  # it means nothing for Salesforce
    STALE = "stale"  # something newer is there
    UNUSABLE = "unusable"  # no repeat can ever make it right
    QUEUED = "queued"  # it waits in the retry queue
    EXPIRED = "expired"  # it has waited too long: the repair takes it up


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one time entry. `reason`: why nothing was done, for the log.

    `notes`: what was left out of the Event or is odd about the message, for the log.
    """

    result: Result
    entry_id: str | None
    reason: str = ""
    notes: tuple[str, ...] = ()
