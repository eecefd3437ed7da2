"""Write what is planned, side by side, and look at each record's own result.

In collections of 200 records; what is beyond a few thousand goes as bulk jobs (`bulk_jobs.py`).
What messages have come for since it was read is settled afterwards (`settle.py`).
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Outcome
from clockify_salesforce.salesforce.errors import GONE, SalesforceRefused, refusal_of
from commands.repair.bulk_jobs import BulkJobs
from commands.repair.change import Cell, Change, GraphChange, Heaps, Planned
from commands.repair.patience import CALL_S, PatientOrg
from commands.repair.settle import Settling
from commands.repair.tasks import Tasks

BATCH = 200  # records in a call
# So many changes wait: enough that every worker finds a batch whose parents nobody holds.
ROOM = 10_000
RECORD_TRIES = 4
# So many written entries are looked at in one call, whether a message has come for them.
VERIFIED = 1_000
SETTLED_AT_ONCE = 4

Json = dict[str, Any]
Refuse = Callable[[str, str], None]


class Writer:
    """What is written, and what became of it. Its methods belong to the thread of `tasks`."""

    def __init__(
        self,
        org: PatientOrg,
        tasks: Tasks,
        settling: Settling,
        count: Counter[str],
        refuse: Refuse,
        *,
        workers: int,
        bulk: BulkJobs | None,
        tell: Callable[[str], None],
        what: str = "Events",
        batch: int = BATCH,
        send: Callable[[list[Planned]], list[Json]] | None = None,
    ) -> None:
        """`workers`: so many write at once; `refuse` takes an entry's id and the reason.

        `bulk`: None where no bulk job is to be made. `what`: is written, in words. `send`: writes
        up to `batch` changes and returns their results, as a collection does, where they are not to
        be one.
        """
        self._org = org
        self._tasks = tasks
        self._settling = settling
        self._count = count
        self._refuse = refuse
        self._workers = workers
        self._tell = tell
        self._bulk = bulk
        self._what, self._batch = what, batch
        self._send = send or self._in_collection
        self._heaps = Heaps()
        self._running = 0
        self._is_draining = False
        self._pressed_at: float | None = None
        self._unverified: list[str] = []
        self._to_settle: deque[str] = deque()
        self._verifying = self._settling_now = 0
        # An org without multiday events refuses more than 24 hours; the first refusal tells.
        self.shortens = False

    def add(self, change: Planned) -> None:
        """Have a change written, sooner or later. Raises IntegrationError, of any change."""
        self._tasks.look()
        if self._bulk is not None and isinstance(change, Change) and self._bulk.takes():
            if self._bulk.add(change):
                self._begin()
        else:
            self._heaps.add(change)
            if self._heaps.size % max(1, self._batch // 4) == 0:
                self._begin()
        if not self._has_room():
            self._tasks.wait(self._has_room, self.waiting_for)

    def _has_room(self) -> bool:
        return self._heaps.size < ROOM and not (self._bulk and self._bulk.is_full)

    def finish(self) -> None:
        """Write what is left, and settle what messages have come for. Raises as `add` does."""
        self._is_draining = True
        while True:
            self._begin()
            self._tasks.wait(self._is_written, self.waiting_for)
            self._verify()
            self._tasks.wait(self._is_settled, self.waiting_for)
            if self._is_written():
                break
        self._is_draining = False

    def stop(self) -> None:
        """End at once: bulk jobs that are open are aborted."""
        if self._bulk is not None:
            self._bulk.abort()

    def settle(self, entry_id: str) -> None:
        """Have one entry settled by itself."""
        self._to_settle.append(entry_id)
        self._settle_next()

    def delete(self, events: Mapping[str, str]) -> None:
        """Delete Events: Event id -> entry id."""
        ids = list(events)
        for at in range(0, len(ids), BATCH):
            waiting = ids[at : at + BATCH]
            for attempt in range(1, RECORD_TRIES + 1):
                records = [{"id": each} for each in waiting]
                results = self._org.collection("DELETE", "", records)
                waiting = [
                    each
                    for each, result in zip(waiting, results, strict=True)
                    if not self._is_deleted(events[each], result, last=attempt == RECORD_TRIES)
                ]
                if not waiting:
                    break
                time.sleep(0.2)
        self._unverified += events.values()

    def waiting_for(self) -> str:
        """What is being waited for, in words."""
        bulk = self._bulk.waiting_for() if self._bulk else ""
        writes = (
            f"{self._running} batches of up to {self._batch} {self._what}" if self._running else ""
        )
        parts = [part for part in (bulk, writes) if part]
        return "Salesforce: " + (" and ".join(parts) or "what messages have changed meanwhile")

    # Collections ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Give every worker that is free a batch, if there is one."""
        if self._bulk is not None:
            for change in self._bulk.begin(self._heaps, self._took_job, drains=self._is_draining):
                self._heaps.add(change)
        if self._org.is_pressed:
            self._org.is_pressed = False
            self._less_at_once()
        presses = self._is_draining or self._heaps.size >= ROOM
        while self._running < self._workers:
            wanted = max(1, min(self._workers, math.isqrt(self._heaps.size // self._batch)))
            least = 1 if presses else self._batch
            taken = self._heaps.take(self._batch, least=least, workers=wanted)
            if taken is None:
                return
            self._write(*taken)

    def _write(self, batch: list[Planned], cells: set[Cell]) -> None:
        self._running += 1

        def work() -> tuple[list[Json], float]:
            began = time.monotonic()
            results = self._send(batch)
            seconds = time.monotonic() - began
            if not all(result.get("success") is True for result in results):
                time.sleep(0.2)  # so that a lock goes before its record is written again
            return results, seconds

        def took(found: tuple[list[Json], float]) -> None:
            results, seconds = found
            if self._bulk is not None:
                self._bulk.note_collection(seconds)
            self._running -= 1
            self._heaps.let_go(cells)
            for change, result in zip(batch, results, strict=True):
                self._took(change, result)
            self._written([change.entry_id for change in batch])
            self._begin()

        self._tasks.start(work, took)

    def _in_collection(self, batch: list[Planned]) -> list[Json]:
        changes = [each for each in batch if not isinstance(each, GraphChange)]
        return self._org.collection("PATCH", changes[0].path, [each.record() for each in changes])

    def _took_job(
        self, written: list[str], created: int, refused: list[tuple[Change, Json]]
    ) -> None:
        """What became of a bulk job: entries written, how many created, and what was refused."""
        self._count["created"] += created
        self._count["updated"] += len(written) - created
        for change, error in refused:
            self._took(change, {"success": False, "errors": [error]})
        self._written(written)
        self._begin()

    def _took(self, change: Planned, result: Json) -> None:
        """Count what became of one record, or have it written again."""
        if result.get("success") is True:
            self._count["created" if result.get("created") else "updated"] += 1
            return
        change.tries += 1
        is_last = change.tries >= RECORD_TRIES
        refusal = refusal_in(result, last=is_last)
        if refusal is None:
            self._less_at_once()
            if is_last:
                self._refuse(change.entry_id, "Salesforce cannot take it now")
            else:
                self._heaps.add(change)
            return
        if change.is_lost(refusal):
            self.settle(change.entry_id)
            return
        try:
            note = change.give_way(refusal, self._own_user_id)
        except SalesforceRefused:
            self._refuse(change.entry_id, str(refusal))
            return
        self._count["notes"] += bool(note)
        self.shortens |= change.is_shortened
        self._heaps.add(change)

    def _less_at_once(self) -> None:
        """Write less at once where records are locked or calls run too long; told once."""
        now = time.monotonic()
        if self._workers == 1 or (self._pressed_at is not None and now - self._pressed_at < 10):
            return
        if self._pressed_at is None:
            self._tell(
                "Salesforce has records locked or too many calls at work: from now on less is"
                " written at once (--jobs)."
            )
        self._pressed_at = now
        self._workers //= 2

    def _own_user_id(self) -> str:
        return self._org.org.user_id(time.monotonic() + CALL_S)

    def _is_deleted(self, entry_id: str, result: Json, *, last: bool) -> bool:
        """Count what became of a deletion; False where it has to be tried again."""
        if result.get("success") is True:
            self._count["deleted"] += 1
            return True
        refusal = refusal_in(result, last=last)
        if refusal is None and not last:
            return False
        if refusal is None:
            self._refuse(entry_id, "Salesforce cannot delete it now")
        elif refusal.code not in GONE:
            self._refuse(entry_id, str(refusal))
        return True

    # Messages that came meanwhile ----------------------------------------------------------------

    def _written(self, entry_ids: list[str]) -> None:
        self._unverified += entry_ids
        if len(self._unverified) >= VERIFIED:
            self._verify()

    def _verify(self) -> None:
        """Ask which of the written entries a message has come for since they were read."""
        if not self._unverified:
            return
        written, self._unverified = self._unverified, []
        self._verifying += 1

        def took(found: list[str]) -> None:
            self._verifying -= 1
            self._count["meanwhile"] += len(found)
            self._to_settle.extend(found)
            self._settle_next()

        self._tasks.start(lambda: self._settling.messaged(written), took)

    def _settle_next(self) -> None:
        while self._to_settle and self._settling_now < SETTLED_AT_ONCE:
            entry_id = self._to_settle.popleft()
            self._settling_now += 1
            self._tasks.start(
                partial(self._settled, entry_id),
                lambda found, entry_id=entry_id: self._took_settled(entry_id, found),  # type: ignore[misc]
            )

    def _settled(self, entry_id: str) -> Outcome | IntegrationError:
        try:
            return self._settling.settle(entry_id)
        except ClockifyError as error:
            if not is_about_one_entry(error):
                raise
            return error
        except SalesforceRefused as refusal:
            return refusal

    def _took_settled(self, entry_id: str, found: Outcome | IntegrationError) -> None:
        self._settling_now -= 1
        if isinstance(found, Outcome):
            self._count["notes"] += len(found.notes)
        else:
            self._refuse(entry_id, str(found))
        self._settle_next()

    def _is_written(self) -> bool:
        self._begin()
        at_work = self._running or self._heaps.size
        return not at_work and not (self._bulk and self._bulk.is_at_work)

    def _is_settled(self) -> bool:
        return not (self._unverified or self._verifying or self._to_settle or self._settling_now)


def refusal_in(result: Json, *, last: bool) -> SalesforceRefused | None:
    """Why a record was refused; None where another try may help."""
    errors = result.get("errors")
    error = errors[0] if isinstance(errors, list) and errors else {}
    return refusal_of(error, last=last)


def is_about_one_entry(error: ClockifyError) -> bool:
    """Tell whether Clockify refused the one entry that it was asked for, and not the key or all."""
    return error.status is not None and 400 <= error.status < 500 and error.status not in (401, 429)
