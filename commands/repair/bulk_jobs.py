"""Many changes as jobs of the Bulk API 2.0: collected on disk, sent, awaited, and looked at.

A job has no more records than Salesforce works on one after the other, and of those with the same
parent (What or Who) there is one job at a time. Where an org or its user has no Bulk API, or a job
fails, changes go the way of the few, in collections.
"""

import contextlib
import copyreg
import csv
import io
import itertools
import pickle
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.bulk import EMPTIED, RUNNING, Job, cell, error_of
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.records import Known
from clockify_salesforce.salesforce.wish import Link, Wish
from commands.repair.change import Cell, Change, Heaps, Json
from commands.repair.patience import CALL_S, PAUSES_S, PatientOrg
from commands.repair.tasks import Tasks
from mapping import EXTERNAL_ID, Upsert

BULK_BEYOND = 10_000  # changes; fewer are written in collections as fast
# Where a collection of 200 takes less, eight of them side by side are faster than jobs are.
SLOW_S = 0.4
AT_HAND = 2_000  # changes that go in collections after all wait in memory
AT_A_TIME = 100  # changes that are written to disk together
# Salesforce does the records of a job one after the other, up to 10,000; more of them side by side.
# With fewer, and fewer still at first, several jobs are at work at once.
MOST_RECORDS, MOST_BYTES = 6_000, 20 * 1024 * 1024
SHARE = 4  # a job that has no parents to mind has this part of the changes so far
LEAST = 2_000  # a job costs about as many calls as so many records in collections
LOOKS_S = (0.5, 2.0, 4.0, 6.0, 6.0, 6.0, 10.0, 15.0)  # from one look at a job to the next
EARLIER_S = 3600.0  # how long another run's job is waited for
ABORT_S = 8.0

# What was written: entry ids, how many were created, and what was refused with its error.
Took = Callable[[list[str], int, list[tuple[Change, Json]]], None]


def _by_fields(value: object) -> tuple[type, tuple[object, ...]]:
    kind: Any = type(value)
    return kind, tuple(getattr(value, name) for name in kind.__slots__)


# As dataclasses pickle themselves, they look all their fields up anew, which takes four times as
# long.
for _kind in (EventDraft, Upsert, Wish, Link, Known):
    copyreg.pickle(_kind, _by_fields)


class _Spool:
    """Changes on disk. `entries`: the key of each, as Salesforce tells it, and its entry's id."""

    def __init__(self, cell: Cell, most: int) -> None:
        self.cell, self._most = cell, most
        self.entries: dict[str, str] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._unwritten: list[Change] = []

    def add(self, change: Change) -> None:
        self.entries[key_of(change)] = change.entry_id
        self._unwritten.append(change)
        if len(self._unwritten) == AT_A_TIME:
            self._write()

    def _write(self) -> None:
        pickle.dump(self._unwritten, self._file, pickle.HIGHEST_PROTOCOL)
        self._unwritten = []

    @property
    def size(self) -> int:
        return len(self.entries)

    @property
    def key(self) -> str:
        """The field that a record is known by."""
        return "Id" if self.cell.updates else EXTERNAL_ID

    @property
    def is_full(self) -> bool:
        return self.size >= self._most or self._file.tell() >= MOST_BYTES

    def __iter__(self) -> Iterator[Change]:
        """All changes. What is read is what `add` has written: nobody else has the file."""
        if self._unwritten:
            self._write()
        self._file.seek(0)
        for _ in range(-(-self.size // AT_A_TIME)):
            changes: list[Change] = pickle.load(self._file)  # noqa: S301
            yield from changes

    def without(self, done: Collection[str]) -> Iterator[Change]:
        """The changes with other keys."""
        for change in self:
            if key_of(change) not in done:
                yield change


def key_of(change: Change) -> str:
    """What a bulk job's results know the change's record by."""
    return change.record_id or change.entry_id


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a job: of each record that was done, by its key, `created` and the error.

    `problem`: why not all of them were done; `is_off`: there is no Bulk API.
    """

    records: dict[str, tuple[str, str]] = field(default_factory=dict)
    problem: str = ""
    is_off: bool = False


class BulkJobs:
    """The bulk jobs of a run. Its methods belong to the thread of `tasks`."""

    def __init__(
        self,
        org: PatientOrg,
        tasks: Tasks,
        columns: Sequence[str],
        *,
        beyond: int,
        only_where_slow: bool,
        at_once: int,
        tell: Callable[[str], None],
    ) -> None:
        """`columns`: the fields of Event that a change may have.

        `beyond`: so many changes are too few for jobs; `only_where_slow`: and so are more, unless a
        collection takes SLOW_S. `at_once`: so many jobs.
        """
        self._org = org
        self._tasks = tasks
        self._columns = tuple(columns)
        self._known = frozenset(columns)
        self._beyond = beyond
        self._least_s = SLOW_S if only_where_slow else 0.0
        self._collection_s = 0.0  # on average, the latest counting most
        self._at_once = at_once
        self._tell = tell
        self._seen = 0
        self._is_off = False
        self._spools: dict[Cell, _Spool] = {}
        self._ready: list[_Spool] = []
        self._left: deque[Iterator[Change]] = deque()  # what goes in collections after all
        self._running: list[_Spool] = []
        self._open: dict[str, Job] = {}
        self._one_at_once = threading.Lock()  # of what is held in memory as a whole

    def wait_for_earlier(self) -> None:
        """Wait for the jobs of a run that was killed, which still write what that run had read.

        Raises IntegrationError.
        """
        until = time.monotonic() + EARLIER_S
        for look_s in itertools.chain(LOOKS_S, itertools.repeat(LOOKS_S[-1])):
            deadline = time.monotonic() + CALL_S
            try:
                user_id = self._org.org.user_id(deadline)
                found = self._org.patiently(self._org.org.jobs)
            except SalesforceRefused:
                return  # no Bulk API
            at_work = [
                job
                for job in found
                if job.state in RUNNING
                and (job.object, job.by) == ("Event", user_id)
                and job.operation in ("upsert", "update")
            ]
            if not at_work:
                return
            if time.monotonic() > until:
                raise IntegrationError(
                    f"A bulk job of an earlier run, {at_work[0].id}, does not end: abort it in"
                    " Salesforce, Setup, Bulk Data Load Jobs."
                )
            if look_s == LOOKS_S[0]:
                self._tell("An earlier run's bulk jobs are still at work: waiting for them.")
            time.sleep(look_s)

    def takes(self) -> bool:
        """Tell whether the next change goes as a part of a job."""
        self._seen += 1
        is_many = not self._is_off and self._seen > self._beyond
        return is_many and self._collection_s >= self._least_s

    def note_collection(self, seconds: float) -> None:
        """Learn how long the org takes for a collection of records."""
        before = self._collection_s or seconds
        self._collection_s = 0.8 * before + 0.2 * seconds

    def add(self, change: Change) -> bool:
        """Collect a change; tell whether that makes a job that may begin."""
        lane = change.cell()._replace(owners=None)
        if lane not in self._spools:
            share = MOST_RECORDS if lane.links is not None else max(1, self._seen // SHARE)
            self._spools[lane] = _Spool(lane, min(MOST_RECORDS, share))
        spool = self._spools[lane]
        spool.add(change)
        if not spool.is_full:
            return False
        self._ready.append(self._spools.pop(lane))
        return True

    @property
    def is_full(self) -> bool:
        """So much waits that nothing more should be read."""
        return len(self._ready) > 1 or bool(self._left)

    @property
    def is_at_work(self) -> bool:
        """Something is neither written nor handed over."""
        return bool(self._spools or self._ready or self._left or self._running)

    def waiting_for(self) -> str:
        """What is being waited for, in words; "" for nothing."""
        if not self._running:
            return ""
        events = sum(spool.size for spool in self._running)
        return f"{len(self._running)} bulk jobs with {events:,} Events"

    def begin(self, heaps: Heaps, took: Took, *, drains: bool) -> Iterator[Change]:
        """Begin the jobs that may; yield what goes in collections, as long as there is room.

        `drains`: no more changes come.
        """
        if drains or self._is_off:
            self._close()
        for spool in list(self._ready):
            if len(self._running) < self._at_once and heaps.is_free(spool.cell):
                self._ready.remove(spool)
                self._start(spool, heaps, took)
        while self._left and heaps.size < AT_HAND:
            change = next(self._left[0], None)
            if change is None:
                self._left.popleft()
            else:
                yield change

    def abort(self) -> None:
        """End the jobs that are open: another run does what they have not done."""
        # Not given back: one that is just being made is known then, and no other is made.
        self._one_at_once.acquire(timeout=ABORT_S / 2)
        deadline = time.monotonic() + ABORT_S
        for job in list(self._open.values()):
            with contextlib.suppress(IntegrationError):
                self._org.org.abort(job, deadline)

    def _close(self) -> None:
        """Make jobs of what is collected, and hand over what is too little for one."""
        for spool in self._spools.values():
            if spool.size < LEAST:
                self._left.append(iter(spool))
            else:
                self._ready.append(spool)
        self._spools.clear()
        if self._is_off:
            self._left += map(iter, self._ready)
            self._ready.clear()

    def _start(self, spool: _Spool, heaps: Heaps, took: Took) -> None:
        heaps.hold({spool.cell})
        self._running.append(spool)

        def follow(result: _Result) -> None:
            self._running.remove(spool)
            heaps.let_go({spool.cell})
            if result.is_off and not self._is_off:
                self._is_off = True
                self._tell(
                    f"Salesforce takes no bulk jobs here ({result.problem}): the Events are written"
                    " in collections of 200."
                )
            elif result.problem and not result.is_off:
                self._tell(f"{result.problem}: what it has not written goes in collections of 200.")
            took(*self._told(spool, result.records))

        self._tasks.start(lambda: self._run(spool), follow)

    def _told(
        self, spool: _Spool, records: dict[str, tuple[str, str]]
    ) -> tuple[list[str], int, list[tuple[Change, Json]]]:
        """What became of the changes; those that no result tells are handed over."""
        created = sum(created == "true" for created, error in records.values() if not error)
        errors = {key: error for key, (_, error) in records.items() if error}
        written = [
            entry_id
            for key, entry_id in spool.entries.items()
            if key in records and key not in errors
        ]
        refused: list[tuple[Change, Json]] = []
        if errors:
            refused = [
                (change, error_of(errors[key_of(change)]))
                for change in spool
                if key_of(change) in errors
            ]
        if len(written) + len(refused) < spool.size:
            self._left.append(spool.without(records.keys()))
        return written, created, refused

    # In a thread of the job's own ----------------------------------------------------------------

    def _run(self, spool: _Spool) -> _Result:
        """Send a job and wait for its end."""
        try:
            with self._one_at_once:
                job = self._sent(spool)
        except SalesforceRefused as refusal:
            return _Result(problem=refusal.code, is_off=True)
        try:
            for look_s in itertools.chain(LOOKS_S, itertools.repeat(LOOKS_S[-1])):
                time.sleep(look_s)
                job = self._org.patiently(partial(self._org.org.job, job))
                if job.is_over:
                    break
        finally:
            self._open.pop(job.id, None)

        if job.state == "JobComplete" and job.processed == spool.size and not job.failed:
            created = "" if spool.cell.updates else "true"
            return _Result(dict.fromkeys(spool.entries, (created, "")))

        def results(deadline: float) -> dict[str, tuple[str, str]]:
            found = self._org.org.results(job, spool.key, deadline)
            return {key: (created, error) for key, created, error in found}

        problem = ""
        if job.state != "JobComplete":
            why = re.match(r"\w+( : Field name not found : \w+)?", job.message)
            problem = f"A bulk job of {spool.size:,} Events ended as {job.state}"
            problem += f" ({why[0]})" if why else ""
        with self._one_at_once:
            return _Result(self._org.patiently(results), problem)

    def _sent(self, spool: _Spool) -> Job:
        """Create a job and give it the spool's changes. Raises IntegrationError."""
        with tempfile.TemporaryFile() as file:
            self._write_csv(spool, file)
            return self._sent_file(spool, file)

    def _sent_file(self, spool: _Spool, file: IO[bytes]) -> Job:
        operation = "update" if spool.cell.updates else "upsert"
        external_id = None if spool.cell.updates else EXTERNAL_ID
        for pause_s in (*PAUSES_S, None):
            job: Job | None = None
            try:
                deadline = time.monotonic() + CALL_S
                job = self._org.org.create_job(
                    operation, "Event", deadline, external_id=external_id
                )
                self._open[job.id] = job
                file.seek(0)
                self._org.org.upload(job, file, deadline)
            except (SalesforceRefused, SalesforceUnavailable) as error:
                if job is not None:
                    with contextlib.suppress(IntegrationError):
                        self._org.org.abort(job, time.monotonic() + ABORT_S)
                    del self._open[job.id]
                if pause_s is None or isinstance(error, SalesforceRefused):
                    raise
                self._tell(f"{error}: trying again in {pause_s} s")
                time.sleep(pause_s)
            else:
                return job
        raise AssertionError

    def _write_csv(self, spool: _Spool, file: IO[bytes]) -> None:
        """Write the spool's changes: an empty cell leaves a field alone.

        What CSV has no words for is left out, and goes in collections as all that no result tells.
        """
        text = io.TextIOWrapper(file, "utf-8", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([spool.key, *self._columns])
        for change in spool:
            body = change.draft.body()
            if body.keys() <= self._known and EMPTIED not in body.values():
                cells = [cell(body[name]) if name in body else "" for name in self._columns]
                rows.writerow([key_of(change), *cells])
        text.detach()
