"""Know a message that comes again, and which of an entry's messages is the newest.

Clockify delivers at least once and in no order, and repeats a message byte for byte a minute
later, even after a 200; its messages carry no version. So the time of the first receipt decides.
Salesforce itself refuses an older state (the validation rule on Event); what it cannot know is kept
here, per instance, bounded, for ten minutes. Times are milliseconds since 1970 and given.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from mapping import DELETES, RESTORED

REMEMBERED_MS = 10 * 60_000
# Repeats come 14 to 90 s later: this many entries cover 45 messages a second.
REMEMBERED_ENTRIES = 4096
REMEMBERED_MESSAGES = 16  # of one entry
# Without a word from Clockify, the same message this soon after its first receipt is a repeat.
REPEAT_MS = 2 * 60_000


class Verdict(Enum):
    """What a message is, seen from those before it."""

    NEWEST = "new, or the entry's newest once more"
    STALE = "overtaken"
    DOUBTFUL = "a repeat, or somebody changed something and changed it back: ask Clockify"


@dataclass(frozen=True, slots=True)
class Receipt:
    """`first_ms`: when this very message came first, which is its version."""

    verdict: Verdict
    first_ms: int


@dataclass(slots=True)
class _Entry:
    seen: dict[int, int] = field(default_factory=dict)  # fingerprint -> first receipt
    newest: int | None = None  # fingerprint of the message that came first last
    written_ms: int = 0  # first receipt of the newest message that writes the Event
    deleted_ms: int = 0  # and of the newest that deletes it
    restored_ms: int = 0  # and of the newest that brings it back
    gone: bool = False
    heard_deletion: bool = False  # from Clockify itself, so that none after it is missed
    touched_ms: int = 0


class Order:
    """An instance's memory of the entries that it has lately heard of. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def receive(
        self,
        entry_id: str,
        event_type: str | None,
        fingerprint: int,
        now_ms: int,
        *,
        can_ask: bool = False,
    ) -> Receipt:
        """Note a message that came from Clockify and say what it is.

        `can_ask`: a doubtful case is handed to the caller, who asks Clockify.
        """
        with self._lock:
            entry = self._entry(entry_id, now_ms)
            while now_ms in (entry.written_ms, entry.deleted_ms):
                now_ms += 1  # two messages of one entry never share a time
            first_ms = entry.seen.get(fingerprint)
            revives = event_type == RESTORED or event_type in DELETES
            if first_ms is not None and fingerprint == entry.newest:
                return Receipt(Verdict.NEWEST, first_ms)
            if entry.gone and not revives:
                return Receipt(Verdict.STALE, first_ms or now_ms)
            if first_ms is not None and can_ask:
                return Receipt(Verdict.DOUBTFUL, first_ms)
            if first_ms is not None and now_ms - first_ms <= REPEAT_MS:
                return Receipt(Verdict.STALE, first_ms)
            while len(entry.seen) >= REMEMBERED_MESSAGES:
                entry.seen.pop(next(iter(entry.seen)))
            entry.seen[fingerprint] = now_ms
            if now_ms > max(entry.written_ms, entry.deleted_ms):
                entry.newest = fingerprint
            _note(entry, event_type, now_ms)
            entry.heard_deletion |= event_type in DELETES
            return Receipt(Verdict.NEWEST, now_ms)

    def note_queued(
        self, entry_id: str, event_type: str | None, first_ms: int, now_ms: int
    ) -> None:
        """Note a message that comes out of the retry queue."""
        with self._lock:
            _note(self._entry(entry_id, now_ms), event_type, first_ms)

    def note_truth(self, entry_id: str, now_ms: int, *, gone: bool) -> None:
        """Note what Clockify said when it was asked: any message seen before is doubtful now."""
        with self._lock:
            entry = self._entry(entry_id, now_ms)
            entry.newest = None
            _note(entry, "TIME_ENTRY_DELETED" if gone else RESTORED, now_ms)

    def overtaken(self, entry_id: str, first_ms: int, *, delete: bool) -> bool:
        """Tell whether a newer message voids this one: a delete, or for a `delete` a write.

        An older *write* is not looked for: Salesforce refuses it.
        """
        with self._lock:
            entry = self._entries.get(entry_id)
            if entry is None:
                return False
            return (entry.written_ms if delete else entry.deleted_ms) > first_ms

    def knows_deletion(self, entry_id: str) -> bool:
        """Tell whether a delete of the entry has come by here, so that `overtaken` knows of it."""
        with self._lock:
            entry = self._entries.get(entry_id)
            return entry is not None and entry.heard_deletion

    def restored_since(self, entry_id: str, deleted_ms: int) -> bool:
        """Tell whether a TIME_ENTRY_RESTORED has come after a deletion at `deleted_ms`."""
        with self._lock:
            entry = self._entries.get(entry_id)
            return entry is not None and entry.restored_ms > deleted_ms

    def _entry(self, entry_id: str, now_ms: int) -> _Entry:
        """The entry's memory, made most recent; what is too old or too much is forgotten."""
        entry = self._entries.get(entry_id)
        if entry is None or now_ms - entry.touched_ms > REMEMBERED_MS:
            entry = self._entries[entry_id] = _Entry()
        self._entries.move_to_end(entry_id)
        entry.touched_ms = now_ms
        while len(self._entries) > REMEMBERED_ENTRIES:
            self._entries.popitem(last=False)
        return entry


def _note(entry: _Entry, event_type: str | None, first_ms: int) -> None:
    if event_type in DELETES:
        entry.deleted_ms = max(entry.deleted_ms, first_ms)
        entry.gone = entry.deleted_ms > entry.written_ms
    else:
        entry.written_ms = max(entry.written_ms, first_ms)
        if event_type == RESTORED:
            entry.restored_ms = max(entry.restored_ms, first_ms)
            entry.gone = entry.gone and first_ms <= entry.deleted_ms


class Turns:
    """Keep a delete apart from the writes of the same entry; writes need not wait for each other.

    Salesforce orders writes by their version, but a delete that is on its way has none.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writers: dict[str, int] = {}  # -1: a delete is at work

    @contextmanager
    def take(self, entry_id: str, *, alone: bool, deadline: float) -> Iterator[bool]:
        """Wait for the entry until `deadline` (time.monotonic); give False if it stayed taken."""
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._free(entry_id, alone), timeout=deadline - time.monotonic()
            )
            if free:
                self._writers[entry_id] = -1 if alone else self._writers.get(entry_id, 0) + 1
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    left = 0 if alone else self._writers[entry_id] - 1
                    if left:
                        self._writers[entry_id] = left
                    else:
                        del self._writers[entry_id]
                    self._changed.notify_all()

    def _free(self, entry_id: str, alone: bool) -> bool:
        at_work = self._writers.get(entry_id, 0)
        return at_work == 0 if alone else at_work >= 0
