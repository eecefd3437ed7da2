"""Read both sides of a period in the order of time, ahead of need, so that memory stays flat.

Clockify's reports and Salesforce's pages are asked for in threads, a few at once.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from clockify_salesforce.clockify.history import LONGEST, History, Window
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.repair.patience import PatientOrg
from commands.repair.tasks import Tasks
from mapping import EXTERNAL_ID

Json = dict[str, Any]
T = TypeVar("T")

WORKSPACE = "Clockify_Workspace_Id__c"
# Clockify allows 50 requests a second.
PER_SECOND = 45.0
AT_ONCE = 3  # parts of the period that are read side by side
AHEAD = 1  # windows of a part that are read and not yet taken
# A report gives 1,000 rows: where people work as before, a part has this many.
ROWS = 800
DAY, SHORTEST = timedelta(days=1), timedelta(hours=6)
EVENTS_AHEAD = 2_500


class Readers:
    """Clockify's history for several threads, each with a connection of its own, at its pace."""

    def __init__(self, make: Callable[[], History]) -> None:
        self._make = make
        self._free: list[History] = []
        self._lock = threading.Lock()
        self._next_at = time.monotonic()
        self.is_limited = False  # Clockify has asked to wait: no more than one at once then

    def take(self) -> History:
        """One for the caller alone."""
        with self._lock:
            return self._free.pop() if self._free else self._make()

    def give_back(self, history: History) -> None:
        """Let others have it."""
        with self._lock:
            self._free.append(history)

    def now(self, entry_id: str) -> Json | None:
        """One entry as Clockify has it now; see History.now."""
        return self.use(lambda history: history.now(entry_id))

    def use(self, work: Callable[[History], T]) -> T:
        """Ask something with one of them, at the pace."""
        with self.one() as history:
            return work(history)

    @contextlib.contextmanager
    def one(self) -> Iterator[History]:
        """One of them for a while; a request may begin at once."""
        history = self.take()
        try:
            self.wait()
            yield history
        finally:
            self.give_back(history)

    def wait(self) -> None:
        """Wait until one more request may begin; what the last second left over may be used up."""
        with self._lock:
            now = time.monotonic()
            self._next_at = max(self._next_at, now - 1.0) + 1 / PER_SECOND
            wait_s = self._next_at - now
        if wait_s > 0:
            time.sleep(wait_s)


class _Part:
    """A part of the period, whose windows are read one after the other."""

    def __init__(self, readers: Readers, since: datetime, until: datetime) -> None:
        self.found: deque[Window] = deque()
        self.is_read = False
        self.is_reading = False
        self._readers = readers
        self._history = readers.take()
        self._windows = self._history.windows(since, until)

    def read(self) -> Window | None:
        """The next window, None behind the last."""
        self._readers.wait()
        return next(self._windows, None)

    def close(self) -> None:
        """Let others have what it reads with."""
        self._readers.give_back(self._history)


class Windows:
    """Clockify's entries of a period, a window at a time and in order."""

    def __init__(self, tasks: Tasks, readers: Readers, since: datetime, until: datetime) -> None:
        self._tasks = tasks
        self._readers = readers
        self._since, self._until = since, until
        self._at = since  # up to which the windows have been taken
        self._entries = 0

    def __iter__(self) -> Iterator[Window]:
        """Yield the windows. Raises ClockifyError."""
        yield from self._first()
        parts: deque[_Part] = deque()
        planned = self._at
        while planned < self._until or parts:
            while planned < self._until and len(parts) < (
                1 if self._readers.is_limited else AT_ONCE
            ):
                end = min(planned + self._length(), self._until)
                parts.append(_Part(self._readers, planned, end))
                planned = end
            for part in parts:
                self._read(part, AHEAD)
            window = self._next(parts[0], AHEAD)
            if window is None:
                parts.popleft().close()
            else:
                yield self._taken(window)

    def _first(self) -> Iterator[Window]:
        """The windows of the first day or more, one by one: they tell how long parts should be."""
        part = _Part(self._readers, self._since, self._until)
        while self._at - self._since < DAY and (window := self._next(part, 1)):
            yield self._taken(window)
        part.close()

    def _taken(self, window: Window) -> Window:
        self._at = window.until
        self._entries += len(window.entries)
        return window

    def _length(self) -> timedelta:
        if self._readers.is_limited:
            return self._until - self._since  # in as few reports as can be
        length = (self._at - self._since) * ROWS / max(1, self._entries)
        return timedelta(seconds=round(min(LONGEST, max(SHORTEST, length)).total_seconds()))

    def _next(self, part: _Part, ahead: int) -> Window | None:
        self._read(part, ahead)
        self._tasks.wait(
            lambda: bool(part.found) or part.is_read, lambda: "Clockify: its report of entries"
        )
        return part.found.popleft() if part.found else None

    def _read(self, part: _Part, ahead: int) -> None:
        if part.is_reading or part.is_read or len(part.found) >= ahead:
            return
        part.is_reading = True

        def took(window: Window | None) -> None:
            part.is_reading = False
            if window is None:
                part.is_read = True
            else:
                part.found.append(window)

        self._tasks.start(part.read, took)


class Events:
    """The Events of a period that are a workspace's, or tell no workspace, by their start.

    Archived ones too: an Event that ended over a year ago is hidden from query, not from queryAll.
    https://help.salesforce.com/s/articleView?id=000385690
    """

    def __init__(
        self,
        tasks: Tasks,
        org: PatientOrg,
        fields: str,
        workspace: str,
        since: datetime,
        until: datetime,
    ) -> None:
        """`fields`: for SELECT, with Id and StartDateTime."""
        self._tasks = tasks
        self._org = org
        self._select = (
            f"SELECT {fields} FROM Event WHERE ({WORKSPACE} = {quoted(workspace)} OR {WORKSPACE} ="
            f" null) AND {EXTERNAL_ID} != null AND IsDeleted = false"
        )
        self._at, self._until = since, until
        self._end = since  # of the query at work
        self._cursor = ""
        self._last: tuple[datetime, set[str]] = (since, set())  # the latest start, and whose it is
        self._found: deque[tuple[datetime, Json]] = deque()
        self._is_reading = self._is_read = False

    def before(self, moment: datetime) -> Iterator[Json]:
        """Yield, and forget, the Events that start before the moment. Raises IntegrationError."""
        while True:
            self.read_ahead()
            self._tasks.wait(
                lambda: bool(self._found) or self._is_read, lambda: "Salesforce: its Events"
            )
            while self._found and self._found[0][0] < moment:
                yield self._found.popleft()[1]
            if self._found or self._is_read:
                return

    def read_ahead(self) -> None:
        """Begin to read the next page, unless enough has been read."""
        if self._is_reading or self._is_read or len(self._found) >= EVENTS_AHEAD:
            return
        self._is_reading = True

        def took(found: list[tuple[datetime, Json]]) -> None:
            self._is_reading = False
            self._found += found
            self._is_read = not self._cursor and self._end >= self._until
            self.read_ahead()

        self._tasks.start(self._page, took)

    def _page(self) -> list[tuple[datetime, Json]]:
        """The next page's Events that have not been read, each with its start."""
        if self._cursor:
            try:
                page = self._org.page(self._cursor)
            except SalesforceRefused as refusal:
                if refusal.code != "INVALID_QUERY_LOCATOR":
                    raise
                page = self._query(self._last[0])  # it is kept for a while only: from there again
        else:
            page = self._query(self._end)
        self._cursor = "" if page.get("done", True) else self._org.org.next_page(page)
        return list(self._new(page["records"]))

    def _query(self, since: datetime) -> Json:
        if not self._cursor:
            self._end = min(since + LONGEST, self._until)
        return self._org.page(
            "queryAll",
            q=f"{self._select} AND StartDateTime >= {soql(since)} AND StartDateTime <"
            f" {soql(self._end)} ORDER BY StartDateTime",
        )

    def _new(self, events: list[Json]) -> Iterator[tuple[datetime, Json]]:
        for event in events:
            start = datetime.fromisoformat(event["StartDateTime"])
            latest, ids = self._last
            if start == latest and event["Id"] in ids:
                continue
            self._last = (start, ids if start == latest else set())
            self._last[1].add(event["Id"])
            yield start, event


def soql(moment: datetime) -> str:
    """A moment as SOQL has it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
