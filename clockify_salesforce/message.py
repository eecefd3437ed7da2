"""The values that go through the function: a message comes in, outcomes go out."""

from dataclasses import dataclass
from enum import StrEnum

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.state import Receipt
from mapping import Decision, Json


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One record that a message tells of, most often a time entry.

    `decision`: what it means; `fingerprint`: of its message.
    """

    content: Json
    decision: Decision
    fingerprint: str

    @property
    def key(self) -> str:
        """The record's key in `Clockify_State__c`."""
        return f"{self.decision.kind}:{self.decision.entry_id}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A time entry that could not be applied, and why: it has to come again, with its receipt."""

    entry: Entry
    error: IntegrationError
    receipt: Receipt | None = None


class Result(StrEnum):
    """What became of a time entry, as Clockify is told; the furthest from done stands first."""

    QUEUED = "queued"  # it waits in the retry queue
    EXPIRED = "expired"  # it has waited too long: the repair takes it up
    UNUSABLE = "unusable"  # no repeat can ever make it right
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    STALE = "stale"  # something newer is there
    IGNORED = "ignored"  # it means nothing for Salesforce


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one time entry. `reason`: why nothing was done, for the log.

    `notes`: what was left out of the Event or is odd about the message, for the log.
    """

    result: Result
    entry_id: str | None
    reason: str = ""
    notes: tuple[str, ...] = ()


class NotTaken(IntegrationError):
    """Neither Salesforce nor the retry queue has it: whoever sent it must send it again.

    `slows_nobody`: out of the queue, and not because Salesforce is down: a 503 would make the queue
    slow down for all that waits in it.
    """

    def __init__(self, error: IntegrationError, message: Message, why: str = "") -> None:
        super().__init__(f"{error} (and {why})" if why else str(error))
        self.slows_nobody = message.queued and not isinstance(error, SalesforceUnavailable)
