"""Bring one time entry's decision to Salesforce so that the newest message wins.

Salesforce refuses an older write by itself. What is left are the rare ways in which an old state
could return: a message that Clockify repeats, one that comes late out of the retry queue, and a
delete, which carries no version.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import mapping
from clockify_salesforce.clockify.client import Clockify, region_and_key
from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.order import Order, Turns, Verdict
from clockify_salesforce.salesforce.client import TAKEN_BACK, Org
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.secret import Secret
from mapping import Decision, Delete, Ignore, Upsert

# To connect and to read, in seconds: Clockify's API is asked while its webhook waits.
CLOCKIFY_TIMEOUT = (1.5, 3.0)


@dataclass(slots=True)
class Arrival:
    """One time entry of a message on its way, and what has become of it.

    `first_ms`: when the message came first, in milliseconds since 1970; it is the Event's version.
    `queued`: it comes out of the retry queue. `doubtful`: Clockify has to be asked.
    """

    event_type: str | None
    entry: mapping.Json
    decision: Decision
    fingerprint: int
    first_ms: int
    queued: bool
    doubtful: bool
    deadline: float  # of time.monotonic()
    result: str = ""  # created, updated, deleted, ignored, stale or queued
    error: IntegrationError | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def entry_id(self) -> str | None:
        """Clockify's id of the time entry, None for a message without one."""
        return self.decision.entry_id


class Delivery:
    """How an instance delivers; it keeps the memory of recent messages. Safe between threads."""

    def __init__(
        self, org: Org, *, api_key: Secret | None, subject: str, leaves_tombstones: bool
    ) -> None:
        """`api_key`: Clockify's, to settle doubt; `subject`: the Subject template.

        `leaves_tombstones`: there is a retry queue, out of which a write may come after a delete.
        """
        self._org = org
        self._api_key = api_key
        self._directory = Directory(org, clockify=self._clockify if api_key else None)
        self._subject = subject
        self._leaves_tombstones = leaves_tombstones
        self._order = Order()
        self._turns = Turns()

    def deliver(self, arrival: Arrival) -> str:
        """Apply the arrival's decision and return its result. Raises IntegrationError."""
        decision, event_type = arrival.decision, arrival.event_type
        if isinstance(decision, Ignore):
            return "ignored"
        if arrival.queued:
            self._order.note_queued(decision.entry_id, event_type, arrival.first_ms, _now_ms())
        else:
            receipt = self._order.receive(
                decision.entry_id,
                event_type,
                arrival.fingerprint,
                arrival.first_ms,
                can_ask=self._can_ask(arrival.entry),
            )
            arrival.first_ms = receipt.first_ms
            arrival.doubtful = receipt.verdict is Verdict.DOUBTFUL
            if receipt.verdict is Verdict.STALE:
                return "stale"
        if not arrival.doubtful:
            # A late write may have to be taken back, and that must not meet another write.
            alone = isinstance(decision, Delete) or arrival.queued
            with self._turn(arrival, alone=alone):
                result = self._apply(arrival, decision)
            if result is not None:
                return result
        if self._can_ask(arrival.entry):
            return self._deliver_truth(arrival, decision.entry_id)
        if arrival.doubtful:
            return "stale"
        with self._turn(arrival, alone=True):
            return self._take_back(arrival, decision.entry_id)

    @contextmanager
    def _turn(self, arrival: Arrival, *, alone: bool) -> Iterator[None]:
        entry_id = str(arrival.entry_id)
        with self._turns.take(entry_id, alone=alone, deadline=arrival.deadline) as free:
            if not free:
                raise SalesforceUnavailable("another message of this entry is still on its way")
            yield

    def _apply(self, arrival: Arrival, decision: Upsert | Delete) -> str | None:
        """Apply the decision; None where an Event was made of an entry that had been deleted."""
        if isinstance(decision, Delete):
            return self._delete(arrival, decision)
        return self._upsert(arrival, decision)

    def _delete(self, arrival: Arrival, decision: Delete) -> str:
        entry_id, first_ms, deadline = decision.entry_id, arrival.first_ms, arrival.deadline
        if self._order.overtaken(entry_id, first_ms, delete=True):
            return "stale"
        if not arrival.queued:
            try:
                found = self._org.delete(entry_id, deadline, tries=1)
            except SalesforceUnavailable:
                pass  # It may have been carried out or not: what follows is right for either.
            else:
                # Not found: the message that should have made the Event may be in the queue.
                late = decision.finished and self._leaves_tombstones
                if found or not late:
                    return "deleted"
        return "deleted" if self._org.bury(entry_id, first_ms, deadline) else "stale"

    def _upsert(self, arrival: Arrival, decision: Upsert) -> str | None:
        entry_id, first_ms, deadline = decision.entry_id, arrival.first_ms, arrival.deadline
        if self._order.overtaken(entry_id, first_ms, delete=False):
            # A try of its that seemed to fail may have been written after the delete.
            return self._take_back(arrival, entry_id) if arrival.queued else "stale"
        result = self._write(arrival, decision)
        late = arrival.queued and result != "stale"
        revived = arrival.event_type == mapping.UPDATED and result == "created"
        if not (late or revived) or self._order.knows_deletion(entry_id):
            return result
        # This instance has not heard of a deletion; another one, or one before it, may have.
        deleted_ms = self._org.buried(entry_id, deadline)
        if deleted_ms is None:
            return result
        if result == "created" and arrival.event_type != mapping.RESTORED:
            return result if self._order.restored_since(entry_id, deleted_ms) else None
        return None if deleted_ms > first_ms else result

    def _take_back(self, arrival: Arrival, entry_id: str) -> str:
        """Delete the Event of an entry that was deleted, unless it has been restored since."""
        if not self._order.restored_since(entry_id, arrival.first_ms):
            self._org.bury(entry_id, arrival.first_ms, arrival.deadline, subject=TAKEN_BACK)
        return "stale"

    def _write(self, arrival: Arrival, decision: Upsert) -> str:
        """Upsert with owner and links."""
        links = self._directory.links(decision, arrival.deadline)
        arrival.notes += links.notes
        written = self._org.upsert(decision, arrival.first_ms, links, arrival.deadline)
        arrival.notes += written.left_out
        return written.result

    def _deliver_truth(self, arrival: Arrival, entry_id: str) -> str:
        """Settle a doubtful case: ask Clockify for the entry, and write what it says.

        `arrival` itself stays doubtful: should this fail, Clockify is asked again.
        """
        arrival.doubtful = True
        asked_ms = _now_ms()
        entry = self._ask_clockify(arrival.entry, entry_id, arrival.deadline)
        truth: Decision = Delete(entry_id)
        if entry is not None:
            truth = mapping.decide(None, entry, subject=self._subject)
        self._order.note_truth(entry_id, asked_ms, gone=entry is None)
        if isinstance(truth, Ignore):
            return "ignored"
        settled = replace(arrival, event_type=None, decision=truth, first_ms=asked_ms, queued=False)
        with self._turn(settled, alone=isinstance(truth, Delete)):
            return self._apply(settled, truth) or "stale"

    def _can_ask(self, entry: mapping.Json) -> bool:
        """Tell whether Clockify can be asked: there is a key, and the message names a workspace."""
        named = isinstance(entry, dict) and isinstance(entry.get("workspaceId"), str)
        return named and self._api_key is not None

    def _ask_clockify(self, entry: Any, entry_id: str, deadline: float) -> mapping.Json:
        """The entry as Clockify has it now, None if it is gone. Raises IntegrationError."""
        left = max(1.0, deadline - time.monotonic())
        connect_s, read_s = CLOCKIFY_TIMEOUT
        clockify = self._clockify(timeout=(min(connect_s, left / 3), min(read_s, left * 2 / 3)))
        found = clockify.time_entry(entry["workspaceId"], entry_id)
        if found is not None and not found.get("user"):
            found["user"] = entry.get("user")  # an entry asked for by itself need not name it
        return found

    def _clockify(self, *, timeout: tuple[float, float]) -> Clockify:
        region, key = region_and_key(self._api_key.value() if self._api_key else "")
        return Clockify(api_key=key, region=region, timeout=timeout)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
