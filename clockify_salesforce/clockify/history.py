"""Read a workspace's time entries of a period from Clockify, as a webhook would send each.

One detailed report tells all people's entries of 31 days, with e-mail addresses, 1,000 in a call.
The list of a user's entries would take a call for each user, reads its window as wall clock of the
account's time zone and leaves out the newest. A page after the first may have shifted by what
people do meanwhile, so there is none: the next report begins where the first page ended.
https://docs.clockify.me/#tag/Time-Entry-Report/operation/generateDetailedReport
"""

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from clockify_salesforce.clockify.client import Clockify, ClockifyError

# Clockify's Free plan gives 31 days a report.
LONGEST, SECOND = timedelta(days=31), timedelta(seconds=1)
# Clockify's help speaks of 1,000 rows a page; some have met a limit of 200.
# https://clockify.me/help/troubleshooting/detailed-report-with-a-lot-of-data
PAGE_SIZES = (1000, 200)
READINGS = 4  # of a report that changes while it is read

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """Every time entry that starts from `since` up to `until`, as Clockify had it at `read_ms`."""

    since: datetime
    until: datetime
    entries: list[Json]
    read_ms: int


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Json]
    total: int | None  # rows of the whole report

    @property
    def last_start(self) -> datetime | None:
        """The second in which the last row starts, None if the rows are not in order."""
        starts = [start_of(row) or datetime.max.replace(tzinfo=UTC) for row in self.rows]
        in_order = bool(starts) and starts == sorted(starts)
        return starts[-1].replace(microsecond=0) if in_order else None


class History:
    """A workspace's time entries."""

    def __init__(self, clockify: Clockify, workspace: str, users: Sequence[str] = ()) -> None:
        """`users`: Clockify's ids of those whose entries are wanted; none: everybody's."""
        self._clockify = clockify
        self._workspace = workspace
        self._users = list(users)
        self._people: dict[str, Json] = {}  # user id -> name and e-mail address
        self._sizes = list(PAGE_SIZES)

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        """Yield the period's entries in order, a page's worth at a time. Raises ClockifyError."""
        longest = LONGEST
        while since < until:
            end = min(since + longest, until)
            began = time.monotonic()
            page = self._page(since, end, 1)
            read_ms = self.clock_ms() - round((time.monotonic() - began) * 1000)
            rows, last = page.rows, page.last_start
            longest = LONGEST
            if not self._is_whole(page, since, end):
                if last is not None and last > since:
                    end = last
                elif end - since > SECOND:
                    # All of one second, or in no order: a shorter report shows them whole.
                    longest = SECOND if last else (end - since) // 2 // SECOND * SECOND
                    continue
                else:
                    rows = self._pages(since, end)
            inside = [row for row in rows if since <= (start_of(row) or since) < end]
            entries = [entry_of(row, self._workspace) for row in inside]
            self._people |= {str(entry["userId"]): entry["user"] for entry in entries}
            yield Window(since, end, entries, read_ms)
            if last is None:
                longest = min(LONGEST, (end - since) * 2)
            since = end

    def _is_whole(self, page: _Page, since: datetime, until: datetime) -> bool:
        if page.total is not None or not page.rows:
            return len(page.rows) >= (page.total or 0)
        return not self._page(since, until, 2).rows

    def _pages(self, since: datetime, until: datetime) -> list[Json]:
        """All pages of a report that cannot be shorter, read until two readings agree."""
        before: set[str] = set()
        for _ in range(READINGS):
            rows: dict[str, Json] = {}
            number = 0
            while page := self._page(since, until, number := number + 1).rows:
                rows |= {_row_id(row): row for row in page}
            if rows.keys() == before:
                return list(rows.values())
            before = set(rows)
        raise ClockifyError(
            f"Clockify's report of {since:%Y-%m-%dT%H:%M:%SZ} changes while it is read: run this"
            " again when fewer people work."
        )

    def _page(self, since: datetime, until: datetime, number: int) -> _Page:
        """One page of the report; `until` itself is left out."""
        body: Json = {
            "dateRangeStart": f"{since:%Y-%m-%dT%H:%M:%S}.000Z",
            "dateRangeEnd": f"{until - timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%S}.999Z",
            "timeZone": "UTC",
            "exportType": "JSON",
            "rounding": False,
            "amountShown": "HIDE_AMOUNT",
            "sortOrder": "ASCENDING",
            "detailedFilter": {
                "page": number,
                "pageSize": self._sizes[0],
                "sortColumn": "DATE",
                "options": {"totals": "CALCULATE"},
            },
        }
        if self._users:
            body["users"] = {"ids": self._users, "contains": "CONTAINS", "status": "ALL"}
        path = f"/workspaces/{quote(self._workspace, '')}/reports/detailed"
        try:
            answer = self._clockify.report(path, body)
        except ClockifyError as error:
            if error.status != 400 or len(self._sizes) == 1:
                raise
            del self._sizes[0]
            return self._page(since, until, number)
        rows = answer.get("timeentries", answer.get("timeEntries"))
        if not isinstance(rows, list):
            raise ClockifyError(f"Clockify's answer to {path} has no time entries in it.")
        totals = answer.get("totals")
        first = totals[0] if isinstance(totals, list) and totals else None
        count = first.get("entriesCount") if isinstance(first, dict) else None
        return _Page(rows, count if isinstance(count, int) else None)

    def clock_ms(self) -> int:
        """The time in milliseconds since 1970, right also where this machine's clock is wrong.

        It becomes the version of Events, next to those of the function's messages: a clock that is
        ahead would make Salesforce refuse the messages that come.
        """
        return round((time.time() - self._clockify.clock_ahead_s) * 1000)

    def now(self, entry_id: str) -> Json | None:
        """One entry as Clockify has it now, None where it is gone. Raises ClockifyError.

        Other workspaces may write into the same org: gone is what is in none that the key sees.
        """
        entry = self._clockify.time_entry(self._workspace, entry_id)
        for workspace in self._other_workspaces if entry is None else ():
            try:
                entry = entry or self._clockify.time_entry(workspace, entry_id)
            except ClockifyError as error:
                if error.status not in (400, 403):
                    raise
        if entry is not None and not entry.get("user"):
            entry["user"] = self._person(str(entry.get("userId")))
        return entry

    def _person(self, user_id: str) -> Json | None:
        """Who a user is, which an entry by itself need not tell as a webhook and a report do."""
        if user_id not in self._people:
            path = f"/workspaces/{quote(self._workspace, '')}/users"
            for user in self._clockify.get_pages(path):
                self._people.setdefault(str(user.get("id")), user)
        return self._people.setdefault(user_id, {})

    @functools.cached_property
    def _other_workspaces(self) -> list[str]:
        found = self._clockify.get("/workspaces")
        ids = [str(each.get("id")) for each in found if isinstance(each, dict)]
        return [each for each in ids if each != self._workspace]


def entry_of(row: Json, workspace: str) -> Json:
    """Turn a row of the detailed report into the time entry that a webhook sends."""
    project, task = row.get("projectId"), row.get("taskName")
    return {
        "id": _row_id(row),
        "workspaceId": workspace,
        "description": row.get("description"),
        "userId": row.get("userId"),
        "billable": row.get("billable"),
        "type": row.get("type"),
        "timeInterval": row.get("timeInterval"),
        "projectId": project,
        "project": {
            "id": project,
            "name": row.get("projectName"),
            "clientId": row.get("clientId"),
            "clientName": row.get("clientName"),
        }
        if project
        else None,
        "task": {"id": row.get("taskId"), "name": task} if task else None,
        "tags": row.get("tags"),
        "user": {
            "id": row.get("userId"),
            "name": row.get("userName"),
            "email": row.get("userEmail"),
        },
    }


def _row_id(row: Json) -> str:
    return str(row.get("_id") or row.get("id") or "")


def start_of(row: Json) -> datetime | None:
    """When the row's entry starts, None where that cannot be read."""
    try:
        return datetime.fromisoformat(row["timeInterval"]["start"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
