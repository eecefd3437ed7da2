"""Read a workspace's time entries of a period from Clockify, as a webhook would send each.

One detailed report tells all people's entries of 31 days, with e-mail addresses, 1,000 in a call.
The list of a user's entries would take a call for each user, reads its window as wall clock of the
account's time zone and leaves out the newest. A page after the first may have shifted by what
people do meanwhile, so there is none: the next report begins where the first page ended.
https://docs.clockify.me/#tag/Time-Entry-Report/operation/generateDetailedReport
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from clockify_salesforce.clockify.client import Clockify, ClockifyError, report_of
from clockify_salesforce.clockify.lists import Lists
from clockify_salesforce.clockify.totals import Totals
from clockify_salesforce.mapping_rules import Rules

# Clockify's Free plan gives 31 days a report.
LONGEST, SECOND = timedelta(days=31), timedelta(seconds=1)
# Clockify's help speaks of 1,000 rows a page; some have met a limit of 200.
# https://clockify.me/help/troubleshooting/detailed-report-with-a-lot-of-data
PAGE_SIZES = (1000, 200)
READINGS = 4  # of a report that changes while it is read
MOST_PAGES = 1000

# A date and time without a zone.
_NAIVE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """Every time entry that starts from `since` up to `until`, as Clockify had it at `read_ms`."""

    since: datetime
    until: datetime
    entries: list[Json]
    read_ms: int


@dataclass(frozen=True, slots=True)
class Asks:
    """What is asked of a period's entries beside what a report's rows tell.

    `users`: Clockify's ids of those whose entries are wanted; none: everybody's. `approved`: only
    what is approved. `groups`: the groups of each person. `told`: what an entry has to tell, of
    `type` and `customFieldValues`; where its row does not, it is asked for by itself.
    """

    users: Sequence[str] = ()
    approved: bool = False
    groups: bool = False
    told: Sequence[str] = ()

    @classmethod
    def of(cls, rules: Rules, users: Sequence[str] = ()) -> "Asks":
        """What has to be known of an entry, so that the rules say of it what a message would.

        ShowAs reads the type as well; without it a new Event is Busy, which is worth no call.
        """
        filters = {condition.name for condition in (*rules.only, *rules.never)}
        told = ["type"] if "type" in filters else []
        told += ["customFieldValues"] if rules.custom_fields else []
        return cls(users, "approved" in filters, "group" in filters, told)


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Json]  # those that can be read
    starts: list[datetime | None]  # of the rows
    count: int  # of rows, read or not
    is_full: bool  # as many rows as were asked for
    total: int | None  # rows of the whole report

    @property
    def last_start(self) -> datetime | None:
        """The second in which the last row starts, None if the rows are not in order."""
        starts = [start or datetime.max.replace(tzinfo=UTC) for start in self.starts]
        in_order = bool(starts) and starts == sorted(starts)
        return starts[-1].replace(microsecond=0) if in_order else None


class History:
    """A workspace's time entries."""

    def __init__(
        self, clockify: Clockify, workspace: str, users: Sequence[str] = (), *, asks: Asks = Asks()
    ) -> None:
        """`users`: as in `asks`, where nothing else is asked."""
        self._clockify = clockify
        self._workspace = workspace
        self._users = list(users or asks.users)
        self._asks = asks
        self._people: dict[str, Json] = {}  # user id -> name and e-mail address
        self._groups: dict[str, list[str]] | None = None  # user id -> names and ids
        self._others: list[str] | None = None  # workspaces that the key sees
        self._sizes = list(PAGE_SIZES)
        # Whether a report that asks for people of any status answers all: None, not known yet.
        self._takes_status: bool | None = None

    @property
    def lists(self) -> Lists:
        """What the workspace has beside time entries."""
        return Lists(self._clockify, self._workspace)

    @property
    def totals(self) -> Totals:
        """What was tracked by project, in all time."""
        return Totals(self._clockify, self._workspace)

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        """Yield the period's entries in order, a page's worth at a time. Raises ClockifyError."""
        longest = LONGEST
        while since < until:
            end = min(since + longest, until)
            began = time.monotonic()
            page = self._page(since, end, 1)
            read_ms = self.clock_ms() - round((time.monotonic() - began) * 1000)
            rows, starts, last = page.rows, page.starts, page.last_start
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
                    starts = [start_of(row) for row in rows]
            entries = [
                entry_of(row, self._workspace)
                for row, start in zip(rows, starts, strict=True)
                if since <= (start or since) < end
            ]
            self._people |= {str(entry["userId"]): entry["user"] for entry in entries}
            yield Window(since, end, [self._complete(entry) for entry in entries], read_ms)
            if last is None:
                longest = min(LONGEST, (end - since) * 2)
            since = end

    def _is_whole(self, page: _Page, since: datetime, until: datetime) -> bool:
        if page.total is not None or not page.rows:
            return page.count >= (page.total or 0)
        second = self._page(since, until, 2).rows
        if _ids(second) == _ids(page.rows):
            return not page.is_full  # the number of the page is not looked at: there is one page
        return not second

    def _pages(self, since: datetime, until: datetime) -> list[Json]:
        """All pages of a report that cannot be shorter, read until two readings agree."""
        before: set[str] = set()
        first: set[str] = set()  # of the first page
        for _ in range(READINGS):
            rows: dict[str, Json] = {}
            for number in range(1, MOST_PAGES):
                page = self._page(since, until, number).rows
                if number > 1 and page and _ids(page) == first:
                    raise ClockifyError(
                        f"Clockify's report of {since:%Y-%m-%dT%H:%M:%SZ} has more rows than it"
                        " gives: each of its pages is the same."
                    )
                if _ids(page) <= rows.keys():
                    break
                first = first if rows else _ids(page)
                rows |= {_row_id(row): row for row in page}
            if rows.keys() == before:
                return list(rows.values())
            before = set(rows)
        raise ClockifyError(
            f"Clockify's report of {since:%Y-%m-%dT%H:%M:%SZ} changes while it is read: run this"
            " again when fewer people work."
        )

    def _page(self, since: datetime, until: datetime, number: int) -> _Page:
        """One page of the report; `until` itself is left out.

        Whether it leaves out the entries of people who have been deactivated, unless people of any
        status are asked for, Clockify does not say; nor whether it takes that without naming them.
        So both are asked until one of them has answered something.
        """
        if self._takes_status is False:
            return self._report(since, until, number, any_status=False)
        try:
            page = self._report(since, until, number, any_status=True)
        except ClockifyError as error:
            if error.status != 400 or self._takes_status:
                raise
            page = self._report(since, until, number, any_status=False)
            self._takes_status = False
            return page
        if page.rows:
            self._takes_status = True
        elif self._takes_status is None and not self._users:
            plain = self._report(since, until, number, any_status=False)
            if plain.rows:
                self._takes_status = False
                return plain
        return page

    def _report(self, since: datetime, until: datetime, number: int, *, any_status: bool) -> _Page:
        path = f"/workspaces/{quote(self._workspace, '')}/reports/detailed"
        try:
            answer = self._clockify.report(path, self._asked(since, until, number, any_status))
        except ClockifyError as error:
            if error.status != 400 or len(self._sizes) == 1:
                raise
            del self._sizes[0]
            return self._report(since, until, number, any_status=any_status)
        rows = answer.get("timeentries", answer.get("timeEntries"))
        if not isinstance(rows, list):
            raise ClockifyError(f"Clockify's answer to {path} has no time entries in it.")
        totals = answer.get("totals")
        first = totals[0] if isinstance(totals, list) and totals else None
        count = first.get("entriesCount") if isinstance(first, dict) else None
        read = [row for row in rows if isinstance(row, dict)]
        return _Page(
            rows=read,
            starts=[start_of(row) for row in read],
            count=len(rows),
            is_full=len(rows) >= self._sizes[0],
            total=count if isinstance(count, int) else None,
        )

    def _asked(self, since: datetime, until: datetime, number: int, any_status: bool) -> Json:
        """The request for one page of a report."""
        asked: Json = {
            **report_of(since, until),
            "amountShown": "HIDE_AMOUNT",
            "sortOrder": "ASCENDING",
            "detailedFilter": {
                "page": number,
                "pageSize": self._sizes[0],
                "sortColumn": "DATE",
                "options": {"totals": "CALCULATE"},
            },
        }
        if self._asks.approved:
            asked["approvalState"] = "APPROVED"
        if self._users:
            asked["users"] = {"ids": self._users, "contains": "CONTAINS", "status": "ALL"}
        elif any_status:
            asked["users"] = {"contains": "CONTAINS", "status": "ALL"}
        return asked

    def clock_ms(self) -> int:
        """The time in milliseconds since 1970, right also where this machine's clock is wrong.

        It is compared with the times at which the function received its messages.
        """
        return round((time.time() - self._clockify.clock_ahead_s) * 1000)

    def now(self, entry_id: str, *, is_ours: bool = False) -> Json | None:
        """One entry as Clockify has it now, None where it is gone. Raises ClockifyError.

        `is_ours`: it is known to be of this workspace. Otherwise, as other workspaces may write
        into the same org, gone is what is in none that the key sees.
        """
        entry = self._clockify.time_entry(self._workspace, entry_id)
        if entry is None and not is_ours:
            if self._others is None:
                seen = self._clockify.workspaces()
                self._others = [each for each in seen if each != self._workspace]
            for workspace in self._others:
                entry = entry or self._clockify.time_entry(workspace, entry_id)
        if entry is None:
            return None
        if not entry.get("user"):
            entry["user"] = self._person(str(entry.get("userId")))
        return self._with_groups(entry)

    def _complete(self, entry: Json) -> Json:
        """The entry with what is asked for and its row does not tell."""
        if self._asks.approved:
            entry = entry | {"approvalStatus": "APPROVED"}
        if not entry["id"] or all(entry.get(name) is not None for name in self._asks.told):
            return self._with_groups(entry)
        found = self._clockify.time_entry(self._workspace, str(entry["id"])) or {}
        more = {name: value for name, value in found.items() if entry.get(name) is None}
        return self._with_groups(entry | more)

    def _with_groups(self, entry: Json) -> Json:
        if not self._asks.groups:
            return entry
        if self._groups is None:
            self._groups = self._clockify.user_groups(self._workspace)
        return entry | {"groupsOfUser": self._groups.get(str(entry.get("userId")), [])}

    def _person(self, user_id: str) -> Json | None:
        """Who a user is, which an entry by itself need not tell as a webhook and a report do."""
        if user_id not in self._people:
            path = f"/workspaces/{quote(self._workspace, '')}/users"
            for user in self._clockify.get_pages(path):
                self._people.setdefault(str(user.get("id")), user)
        return self._people.setdefault(user_id, {})


def entry_of(row: Json, workspace: str) -> Json:
    """Turn a row of the detailed report into the time entry that a webhook sends."""
    project, task, tags = row.get("projectId"), row.get("taskName"), row.get("tags")
    return {
        "id": _row_id(row),
        "workspaceId": workspace,
        "description": row.get("description"),
        "userId": row.get("userId"),
        "billable": row.get("billable"),
        "type": row.get("type"),
        "timeInterval": _interval_of(row),
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
        "tags": [
            {"id": _row_id(tag), "name": tag.get("name")} for tag in tags if isinstance(tag, dict)
        ]
        if isinstance(tags, list)
        else None,
        "customFieldValues": _custom_of(row),
        "user": {
            "id": row.get("userId"),
            "name": row.get("userName"),
            "email": row.get("userEmail"),
        },
    }


def _interval_of(row: Json) -> Json | None:
    """The row's times; one without a zone is UTC, which is what was asked for."""
    interval = row.get("timeInterval")
    if not isinstance(interval, dict):
        return None
    told = {
        name: value + "Z"
        for name in ("start", "end")
        if isinstance(value := interval.get(name), str)
        and "+" not in value
        and _NAIVE.fullmatch(value)
    }
    return {**interval, **told} if told else interval


def _custom_of(row: Json) -> list[Json] | None:
    """The row's custom fields, which no document describes, in the form of an entry's."""
    fields = row.get("customFields", row.get("customFieldValues"))
    if not isinstance(fields, list):
        return None
    if not fields:
        return fields
    return [
        {
            "customFieldId": field.get("customFieldId", _row_id(field)),
            "name": field.get("name", field.get("customFieldName")),
            "value": field.get("value"),
        }
        for field in fields
        if isinstance(field, dict)
    ]


def _row_id(row: Mapping[str, Any]) -> str:
    return str(row.get("_id") or row.get("id") or "")


def _ids(rows: Sequence[Json]) -> set[str]:
    return {_row_id(row) for row in rows}


def start_of(row: Json) -> datetime | None:
    """When the row's or entry's work starts, None where that cannot be read."""
    interval = _interval_of(row)
    try:
        return datetime.fromisoformat((interval or {})["start"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
