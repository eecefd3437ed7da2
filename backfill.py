"""Compare Clockify's history of a period with the Events in Salesforce, and repair what differs.

For a first import, after an outage, and nightly. Clockify's word is the truth, and the same mapping
as for its messages says what an Event looks like. Nothing is changed without --apply. It keeps
nothing but the file of refused entries: stopped at any point, the next run ends in the same state.

Exit code: 0 all in order, 1 something is left (the last lines say what), 2 the call is wrong.
"""

import argparse
import getpass
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

import mapping
from clockify import REGIONS, Clockify, ClockifyError
from links import PAUSE_S, Directory
from mapping import EXTERNAL_ID, VERSION, BadMessage, Field, Ignore, IntegrationError, Upsert
from salesforce import (
    LINK_FIELDS,
    LINKS,
    RULE,
    Links,
    Org,
    SalesforceRefused,
    SalesforceUnavailable,
    event_body,
    give_way,
    quoted,
    refusal_of,
)

# Clockify's Free plan gives 31 days a report, and its detailed report up to 1,000 rows a page; some
# have met a limit of 200. https://docs.clockify.me/#tag/Time-Entry-Report
LONGEST_REPORT, SECOND = timedelta(days=31), timedelta(seconds=1)
PAGE_SIZES = (1000, 200)
# What happened in Clockify so shortly before a report may be missing in it. So its rows count as
# older by that, and a message of the last minute wins.
REPORT_LAG_MS = 60_000
# Records in a call, for sObject collections; ids in a query, whose URL has 16,000 characters.
# https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
BATCH, QUERIED = 200, 300
CALL_S, READ_S = 300.0, 120.0  # 200 records may start 200 automations of the org's
CLOCKIFY_TIMEOUT = (5.0, 60.0)
CLOCKIFY_PATIENCE_S = 3 * 3600.0  # for one call: the Free plan allows 30 an hour
SALESFORCE_PAUSES_S = (5, 15, 60, 120, 300)
RECORD_TRIES = 4
LINE_EVERY_S = 10.0
CLOCKS_DIFFER = timedelta(minutes=5)  # between this machine and Salesforce
SURPLUS_KEPT = 50_000

COLLECTION = "composite/sobjects"
_GONE = ("ENTITY_IS_DELETED", "NOT_FOUND")
COMPARED = (
    "Subject StartDateTime EndDateTime Description ShowAs Clockify_Hours__c Clockify_Project__c"
    " Clockify_Client__c Clockify_Task__c Clockify_Tags__c Clockify_Billable__c"
)
READ = ", ".join(["Id", EXTERNAL_ID, VERSION, LINKS, "CreatedById", *COMPARED.split()])

Json = dict[str, Any]


class WrongCall(IntegrationError):
    """An option or a setting is missing or wrong."""


# Clockify --------------------------------------------------------------------------------------


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
        starts = [_start(row) or datetime.max.replace(tzinfo=UTC) for row in self.rows]
        return starts[-1].replace(microsecond=0) if starts == sorted(starts) else None


class History:
    """A workspace's time entries, read by detailed reports.

    One report tells all people's entries of 31 days with e-mail addresses, 1,000 in a call; the
    list of a user's entries needs a call for each user, reads its window as wall clock of the
    account's time zone and leaves out the newest. A page after the first may have shifted by what
    people do meanwhile, so there is none: the next report begins where the first page ended.
    https://docs.clockify.me/#tag/Time-Entry-Report/operation/generateDetailedReport
    """

    def __init__(self, clockify: Clockify, workspace: str, users: Sequence[str] = ()) -> None:
        """`users`: Clockify's ids of those whose entries are wanted; none: everybody's."""
        self._clockify = clockify
        self._workspace = workspace
        self._users = list(users)
        self._sizes = list(PAGE_SIZES)

    def windows(self, since: datetime, until: datetime) -> Iterator[Window]:
        """Yield the period's entries in order, a page's worth at a time. Raises ClockifyError."""
        longest = LONGEST_REPORT
        while since < until:
            end = min(since + longest, until)
            read_ms = _now_ms()
            page = self._page(since, end, 1)
            rows, last = page.rows, page.last_start
            longest = LONGEST_REPORT
            if not self._is_whole(page, since, end):
                if last is not None and last > since:
                    end = last
                elif end - since > SECOND:
                    # All of one second, or in no order: a shorter report shows them whole.
                    longest = SECOND if last else (end - since) // 2 // SECOND * SECOND
                    continue
                else:
                    rows = self._pages(since, end)
            inside = [row for row in rows if since <= (_start(row) or since) < end]
            entries = [entry_of(row, self._workspace) for row in inside]
            yield Window(since, end, entries, read_ms)
            if last is None:
                longest = min(LONGEST_REPORT, (end - since) * 2)
            since = end

    def _is_whole(self, page: _Page, since: datetime, until: datetime) -> bool:
        if page.total is not None or not page.rows:
            return len(page.rows) >= (page.total or 0)
        return not self._page(since, until, 2).rows

    def _pages(self, since: datetime, until: datetime) -> list[Json]:
        """All pages of a report that cannot be shorter, again if it has changed meanwhile."""
        for _ in range(RECORD_TRIES):
            rows: dict[str, Json] = {}
            number, page = 0, _Page([], None)
            while number == 0 or (page.rows and len(rows) != page.total):
                number += 1
                page = self._page(since, until, number)
                rows |= {_row_id(row): row for row in page.rows}
            if page.total in (None, len(rows)):
                return list(rows.values())
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

    def now(self, entry_id: str) -> Json | None:
        """One entry as Clockify has it now, None where it is gone. Raises ClockifyError."""
        return self._clockify.time_entry(self._workspace, entry_id)


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


def _start(row: Json) -> datetime | None:
    """When the row's entry starts, None where that cannot be read."""
    try:
        return datetime.fromisoformat(row["timeInterval"]["start"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


# Compare ---------------------------------------------------------------------------------------


def differences(event: Json, wanted: Mapping[str, Field]) -> list[str]:
    """The names of the fields in which an Event, as Salesforce returns it, is not as wanted."""
    return [name for name, value in wanted.items() if not _is_same(event.get(name), value)]


def _is_same(stored: object, wanted: Field) -> bool:
    """Compare with what Salesforce makes of a value: no text is null, ends are trimmed."""
    if isinstance(wanted, float):
        return isinstance(stored, int | float) and abs(stored - wanted) < 0.00005
    if isinstance(wanted, bool):
        return (stored or False) == wanted
    if stored and wanted and re.match(r"\d{4}-\d\d-\d\dT", wanted):
        have = datetime.fromisoformat(str(stored)).replace(microsecond=0)
        want = datetime.fromisoformat(wanted).replace(microsecond=0)
        # An org that keeps no seconds must not be written again each time; the hours field tells
        # any change that is more than a shift within the minute.
        return have in (want, want.replace(second=0))
    return _tidy(stored) == _tidy(wanted)


def _tidy(text: object) -> str:
    return str(text or "").replace("\r\n", "\n").strip()


@dataclass(slots=True)
class Change:
    """An Event that is to be created (`event_id` None) or updated; `body`: field -> value."""

    decision: Upsert
    body: dict[str, Field | int]
    event_id: str | None
    tries: int = 0


class Repair:
    """Bring the Events of a period to what Clockify says; without `apply`, only count."""

    def __init__(
        self,
        org: Org,
        history: History,
        directory: Directory,
        refusals: "Refusals",
        *,
        apply: bool,
        subject: str,
        most_deletions: int,
        deletes: bool,
        tell: Callable[[str], None],
        show: Callable[[str], None],
    ) -> None:
        """`most_deletions`: where more would go, none goes; `deletes`: False: none is looked for.

        `tell` says a sentence to whoever waits, `show` takes a line for each change.
        """
        self._org = org
        self._history = history
        self._directory = directory
        self._refusals = refusals
        self._apply = apply
        self._subject = subject
        self._most_deletions = most_deletions
        self._deletes = deletes
        self._tell = tell
        self._show = show
        self.count: Counter[str] = Counter()
        self._creations: list[Change] = []
        self._updates: list[Change] = []
        self._doubts: list[str] = []
        self._surplus: dict[str, None] = {}  # entry ids, in order
        self._found_elsewhere: set[str] = set()
        # An org without multiday events refuses more than 24 hours; the first refusal tells.
        self._shortens = False
        self._link_pauses = [PAUSE_S, PAUSE_S]
        self._began = datetime.now(UTC) - CLOCKS_DIFFER
        self._user_id = self._own_user_id()

    def take(self, window: Window) -> None:
        """Compare one window's entries with the Events that start in it, and write what differs."""
        version = window.read_ms - REPORT_LAG_MS
        wanted: dict[str, Upsert] = {}
        there: set[str] = set()
        for entry in window.entries:
            there.add(entry["id"])
            self._refusals.waiting.discard(entry["id"])
            if upsert := self._decide(entry):
                wanted[upsert.entry_id] = upsert
        self.count["entries"] += len(there)
        inside = (
            f"{EXTERNAL_ID} != null AND StartDateTime >= {_soql(window.since)}"
            f" AND StartDateTime < {_soql(window.until)}"
        )
        for event in self._events(inside):
            entry_id = event[EXTERNAL_ID]
            if entry_id in wanted:
                self._compare(event, wanted.pop(entry_id), version)
            elif entry_id not in there and self._deletes:
                self._note_surplus(event)
        # The others have no Event, or one of another time.
        for event in self._events_of(list(wanted)):
            self._found_elsewhere.add(event[EXTERNAL_ID])
            self._compare(event, wanted.pop(event[EXTERNAL_ID]), version)
        for upsert in wanted.values():
            self._create(upsert, version)
        if len(self._doubts) >= BATCH:
            self._settle_doubts()

    def finish(self, is_in_period: Callable[[Json], bool]) -> None:
        """Settle what single windows could not: what waits, what was deleted, what is surplus."""
        self._flush()
        self._settle_doubts()
        for chunk in _chunks(sorted(self._refusals.waiting), BATCH):
            self._settle(chunk)
        if self._apply:
            self._settle(self._deleted_meanwhile())
        surplus = [each for each in self._surplus if each not in self._found_elsewhere]
        if len(surplus) > self._most_deletions:
            self.count["surplus"] = len(surplus)
            self._tell(
                f"{len(surplus):,} Events have no time entry in this workspace, more than"
                f" --most-deletions {self._most_deletions:,}: none is deleted. See that the"
                " workspace is the right one; then run this with a larger number."
            )
            surplus = []
        if surplus:
            self._tell(f"Asking Clockify for {len(surplus):,} entries that no report names.")
        for chunk in _chunks(surplus, BATCH):
            self._settle(chunk, passes_over=is_in_period)
        self._flush()

    # Decide ------------------------------------------------------------------------------------

    def _decide(self, entry: Json) -> Upsert | None:
        """What the entry's Event should be; None for none, which is counted."""
        try:
            decision = mapping.decide(None, entry, subject=self._subject)
        except BadMessage as error:
            self._refuse(entry["id"], str(error))
            return None
        if isinstance(decision, Ignore):
            self.count["running"] += 1
            return None
        return decision if isinstance(decision, Upsert) else None

    def _links(self, decision: Upsert) -> Links:
        """Owner and links, with some patience for a look-up that has no answer."""
        links = self._directory.links(decision, time.monotonic() + CALL_S)
        while links.failed and self._link_pauses:
            pause_s = self._link_pauses.pop()
            self._tell(f"{links.notes[-1]}: looking again in {pause_s:.0f} s")
            time.sleep(pause_s)
            links = self._directory.links(decision, time.monotonic() + CALL_S)
        self.count["notes"] += len(links.notes)
        return links

    def _compare(self, event: Json, decision: Upsert, version: int, *, asked: bool = False) -> None:
        """Plan the update of an Event that is not as it should be.

        `asked`: Clockify was asked for this very entry, so that no doubt is left.
        """
        short = dict(decision.event) | dict(decision.shortened or {})
        differing = differences(event, decision.event)
        if differing and decision.shortened and not differences(event, short):
            self._shortens, differing = True, []
        body = self._body(decision, version, self._links(decision))
        # The same wish as before: owner and links may have been chosen in Salesforce since.
        relinks = LINKS in body and body[LINKS] != event.get(LINKS)
        if not relinks:
            body = self._body(decision, version, Links())
        if not differing and not relinks:
            self.count["unchanged"] += 1
        elif (event.get(VERSION) or 0) <= version:
            self._plan(Change(decision, body, event["Id"]), differing + [LINKS] * relinks)
        elif asked:
            self.count["newer"] += 1
        else:
            # A message came while the report was made, or so shortly before that it may lack it.
            self._doubts.append(decision.entry_id)

    def _create(self, decision: Upsert, version: int) -> None:
        body = self._body(decision, version, self._links(decision))
        self._plan(Change(decision, body, None), [])

    def _body(self, decision: Upsert, version: int, links: Links) -> dict[str, Field | int]:
        body = event_body(decision, version, links)
        if self._shortens:
            body |= decision.shortened or {}
        return body

    def _plan(self, change: Change, differing: list[str]) -> None:
        kind = "update" if change.event_id else "create"
        what = ", ".join(differing) or str(change.decision.event["StartDateTime"])
        self._show(f"{kind} {change.decision.entry_id}: {what}")
        if not self._apply:
            self.count[f"{kind}d"] += 1
            return
        changes = self._updates if change.event_id else self._creations
        changes.append(change)
        if len(changes) == BATCH:
            self._write(changes)
            changes.clear()

    def _note_surplus(self, event: Json) -> None:
        if event["CreatedById"] != self._user_id:
            self.count["foreign"] += 1
        elif len(self._surplus) < SURPLUS_KEPT:
            self._surplus[event[EXTERNAL_ID]] = None

    # Settle single entries -----------------------------------------------------------------------

    def _settle_doubts(self) -> None:
        doubts, self._doubts = self._doubts, []
        for chunk in _chunks(doubts, BATCH):
            self._settle(chunk)

    def _settle(
        self, entry_ids: Sequence[str], *, passes_over: Callable[[Json], bool] | None = None
    ) -> None:
        """Ask Clockify for each entry itself, and do what follows.

        `passes_over`: entries that another part of the run has compared already.
        """
        gone: dict[str, int] = {}
        there: dict[str, tuple[Upsert, int]] = {}
        for entry_id in entry_ids:
            asked_ms = _now_ms()
            try:
                entry = self._history.now(entry_id)
            except ClockifyError as error:
                if error.status not in (400, 403):
                    raise
                self._refuse(entry_id, f"Clockify does not say whether it is there: {error}")
                continue
            if entry is None:
                gone[entry_id] = asked_ms
            elif not (passes_over and passes_over(entry)) and (upsert := self._decide(entry)):
                there[entry_id] = (upsert, asked_ms)
        events = {event[EXTERNAL_ID]: event for event in self._events_of([*gone, *there])}
        for entry_id, (upsert, asked_ms) in there.items():
            if entry_id in events:
                self._compare(events[entry_id], upsert, asked_ms, asked=True)
            else:
                self._create(upsert, asked_ms)
        self._flush()
        self._delete({events[each]["Id"]: (each, gone[each]) for each in gone if each in events})

    def _deleted_meanwhile(self) -> list[str]:
        """Entries whose deletion came by message while this run, from what it had read, wrote."""
        since = _soql(self._began)
        deleted = self._rows(
            f"SELECT {EXTERNAL_ID} FROM Event WHERE IsDeleted = true AND {EXTERNAL_ID} != null"
            f" AND SystemModstamp >= {since} AND LastModifiedById = {quoted(self._user_id)}"
        )
        ids = list(dict.fromkeys(row[EXTERNAL_ID] for row in deleted))
        return [
            event[EXTERNAL_ID] for event in self._events_of(ids, f" AND CreatedDate >= {since}")
        ]

    # Salesforce ----------------------------------------------------------------------------------

    def _events_of(self, entry_ids: Sequence[str], condition: str = "") -> Iterator[Json]:
        """The Events of these entries, archived ones too."""
        for chunk in _chunks(entry_ids, QUERIED):
            yield from self._events(
                f"{EXTERNAL_ID} IN ({', '.join(map(quoted, chunk))}){condition}"
            )

    def _events(self, condition: str) -> Iterator[Json]:
        return self._rows(f"SELECT {READ} FROM Event WHERE IsDeleted = false AND {condition}")

    def _rows(self, soql: str) -> Iterator[Json]:
        """Yield SOQL's rows a page at a time.

        queryAll, because an Event that ended a year ago is archived and hidden from query:
        https://help.salesforce.com/s/articleView?id=000385690
        """
        answer = self._call("GET", "queryAll", params={"q": soql})
        while True:
            yield from answer["records"]
            if answer.get("done", True):
                return
            answer = self._call("GET", re.sub(r".*/v\d+\.0/", "", answer["nextRecordsUrl"]))

    def _own_user_id(self) -> str:
        """The integration user's id, which Salesforce names among its resources.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_discoveryresource.htm
        """
        answer = self._call("GET", "")
        identity = str(answer.get("identity") if isinstance(answer, dict) else None)
        user_id = mapping.salesforce_id(identity.rsplit("/", 1)[-1])
        if user_id is None:
            raise IntegrationError("Salesforce does not tell who the integration user is")
        return user_id

    def _write(self, changes: Sequence[Change]) -> None:
        """Create or update one batch, and look at each record's own result."""
        creates = changes[0].event_id is None
        path = f"{COLLECTION}/Event/{EXTERNAL_ID}" if creates else COLLECTION
        waiting = list(changes)
        while waiting:
            records: list[Json] = [
                change.body
                | ({EXTERNAL_ID: change.decision.entry_id} if creates else {"Id": change.event_id})
                for change in waiting
            ]
            results = self._collection("PATCH", path, records)
            waiting = [
                change
                for change, result in zip(waiting, results, strict=True)
                if self._goes_again(change, result)
            ]
            _pause(waiting)

    def _goes_again(self, change: Change, result: Json) -> bool:
        """Count what became of one record; True where it has to be written again."""
        entry_id = change.decision.entry_id
        if result.get("success"):
            self.count["created" if result.get("created") else "updated"] += 1
            return False
        change.tries += 1
        refusal = _refusal(result, last=change.tries >= RECORD_TRIES)
        if refusal is None:
            if change.tries >= RECORD_TRIES:
                self._refuse(entry_id, "Salesforce cannot take it now")
            return change.tries < RECORD_TRIES
        if refusal.code == RULE and VERSION in refusal.fields:
            self.count["newer"] += 1
        elif refusal.code in _GONE and change.event_id and not set(LINK_FIELDS) & set(change.body):
            self.count["newer"] += 1  # a message has deleted it since it was read
        else:
            before = change.body.get("EndDateTime")
            try:
                self.count["notes"] += len(give_way(change.body, refusal, change.decision))
            except SalesforceRefused:
                self._refuse(entry_id, str(refusal))
                return False
            self._shortens |= change.body.get("EndDateTime") != before
            return True
        return False

    def _delete(self, events: Mapping[str, tuple[str, int]]) -> None:
        """Delete Events of entries that are gone: Event id -> entry id and when Clockify said so.

        First each gets that time as its version, which Salesforce refuses where a newer message was
        quicker. One that comes between this and the deletion shows afterwards in the recycle bin.
        """
        for entry_id, _ in events.values():
            self._show(f"delete {entry_id}: it is gone in Clockify")
        if not self._apply:
            self.count["deleted"] += len(events)
            return
        stamps = [{"Id": each, VERSION: asked_ms} for each, (_, asked_ms) in events.items()]
        stamped = self._each_record("PATCH", stamps, events)
        deleted = self._each_record("DELETE", [{"Id": each} for each in stamped], events)
        self.count["deleted"] += len(deleted)
        if not deleted:
            return
        in_bin = self._rows(
            f"SELECT Id, {VERSION} FROM Event WHERE IsDeleted = true"
            f" AND Id IN ({', '.join(map(quoted, deleted))})"
        )
        too_soon = [
            events[row["Id"]][0] for row in in_bin if (row[VERSION] or 0) > events[row["Id"]][1]
        ]
        self.count["deleted"] -= len(too_soon)
        self._settle(too_soon)

    def _each_record(
        self, method: str, records: list[Json], events: Mapping[str, tuple[str, int]]
    ) -> list[str]:
        """Stamp or delete each record by its id; return the ids of those that were."""
        done: list[str] = []
        for attempt in range(1, RECORD_TRIES + 1):
            if not records:
                break
            again = []
            for record, result in zip(
                records, self._collection(method, COLLECTION, records), strict=True
            ):
                entry_id = events[record["Id"]][0]
                refusal = _refusal(result, last=attempt == RECORD_TRIES)
                if result.get("success"):
                    done.append(record["Id"])
                elif refusal is None and attempt < RECORD_TRIES:
                    again.append(record)
                elif refusal is None:
                    self._refuse(entry_id, "Salesforce cannot delete it now")
                elif refusal.code == RULE and VERSION in refusal.fields:
                    self.count["newer"] += 1
                elif refusal.code not in _GONE:
                    self._refuse(entry_id, str(refusal))
            records = again
            _pause(records)
        return done

    def _collection(self, method: str, path: str, records: list[Json]) -> list[Json]:
        """Write or delete up to 200 records in one call; each has its own result, in order."""
        if method == "DELETE":
            params = {"ids": ",".join(record["Id"] for record in records), "allOrNone": "false"}
            answer = self._call(method, path, params=params)
        else:
            typed = [{"attributes": {"type": "Event"}} | record for record in records]
            answer = self._call(method, path, json={"allOrNone": False, "records": typed})
        if not isinstance(answer, list) or len(answer) != len(records):
            raise IntegrationError("Salesforce did not tell each record's result: run this again")
        return answer

    def _call(self, method: str, path: str, **request: Any) -> Any:
        """Make one call, and wait for minutes where Salesforce cannot answer now."""
        for pause_s in SALESFORCE_PAUSES_S:
            try:
                return self._org.call(method, path, time.monotonic() + CALL_S, **request)
            except SalesforceUnavailable as error:
                self._tell(f"{error}: trying again in {pause_s} s")
                time.sleep(pause_s)
        return self._org.call(method, path, time.monotonic() + CALL_S, **request)

    def _flush(self) -> None:
        for changes in (self._creations, self._updates):
            if changes:
                self._write(changes)
                changes.clear()

    def _refuse(self, entry_id: str, reason: str) -> None:
        self.count["refused"] += 1
        self._tell(f"{entry_id}: {reason}")
        if self._apply:
            self._refusals.add(entry_id, reason)


def _refusal(result: Json, *, last: bool) -> SalesforceRefused | None:
    """Why a record was refused; None where another try may help."""
    errors = result.get("errors")
    error = errors[0] if isinstance(errors, list) and errors else {}
    return refusal_of(error, last=last)


def _pause(waiting: Sequence[object]) -> None:
    """Let a lock go before its record is written again."""
    if waiting:
        time.sleep(0.2)


class Refusals:
    """The file of entries that Salesforce refused: one JSON object a line, with the reason.

    `waiting`: what an earlier run has left. Each line is on disk at once, and only a run that comes
    to its end takes the earlier lines out, so that a run may be stopped at any point.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0
        self.waiting: set[str] = set()
        if path.exists():
            text = path.read_text(encoding="utf-8")
            self._before = len(text.encode())
            self.waiting = {entry_id for line in text.splitlines() if (entry_id := _line_id(line))}

    def add(self, entry_id: str, reason: str) -> None:
        """Keep one entry for the next run."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"entry": entry_id, "reason": reason}) + "\n")

    def finish(self) -> bool:
        """Take out the lines of earlier runs; tell whether any is left."""
        if not self._path.exists():
            return False
        left = self._path.read_bytes()[self._before :]
        if not left:
            self._path.unlink()
            return False
        new = self._path.with_suffix(self._path.suffix + ".new")
        new.write_bytes(left)
        new.replace(self._path)
        return True


def _line_id(line: str) -> str | None:
    """The entry's id in a line of the file; a line that broke off has none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return str(found["entry"]) if isinstance(found, dict) and "entry" in found else None


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut into lists of `size`."""
    everything = list(items)
    for at in range(0, len(everything), size):
        yield everything[at : at + size]


def _soql(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# The call --------------------------------------------------------------------------------------


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Compare Clockify's time entries of a period with the Events in Salesforce."
        " Nothing is changed without --apply.",
        epilog="Credentials come from files, or from Secret Manager as the function's do:"
        " SALESFORCE_CREDENTIALS and CLOCKIFY_API_KEY name the secrets. Exit code: 0 all in order,"
        " 1 something is left, 2 the call is wrong.",
    )
    parser.add_argument("--workspace", required=True, help="Clockify's id of the workspace")
    parser.add_argument("--days", type=int, help="the last N days, today and tomorrow")
    parser.add_argument("--from", dest="since", type=_day, help="first day (UTC), like 2026-01-01")
    parser.add_argument("--to", dest="until", type=_day, help="last day (UTC); else tomorrow")
    parser.add_argument(
        "--user",
        dest="users",
        action="append",
        default=[],
        help="Clockify's id of a user, for these users' entries only; nothing is deleted then",
    )
    parser.add_argument("--apply", action="store_true", help="change Salesforce")
    parser.add_argument("--list", action="store_true", help="print each change")
    parser.add_argument(
        "--region",
        default=os.environ.get("CLOCKIFY_REGION", ""),
        choices=REGIONS,
        help="Clockify's region, if any (or CLOCKIFY_REGION)",
    )
    parser.add_argument("--salesforce-credentials-file", type=Path, metavar="FILE")
    parser.add_argument("--clockify-api-key-file", type=Path, metavar="FILE")
    parser.add_argument(
        "--refused-file",
        type=Path,
        metavar="FILE",
        default=Path("backfill-refused.jsonl"),
        help="what Salesforce refused, for the next run to take up (%(default)s)",
    )
    parser.add_argument(
        "--most-deletions",
        type=int,
        default=1000,
        metavar="N",
        help="where more Events than this are surplus, delete none (%(default)s)",
    )
    arguments = parser.parse_args()
    if (arguments.days is None) == (arguments.since is None):
        parser.error("name the period: --days N, or --from DAY and perhaps --to DAY")
    if arguments.days is not None and (arguments.days < 1 or arguments.until):
        parser.error("--days is at least 1 and goes without --to")
    if arguments.since and arguments.until and arguments.until < arguments.since:
        parser.error("--to lies before --from")
    return arguments


def _day(text: str) -> datetime:
    day = date.fromisoformat(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def period(arguments: argparse.Namespace, now: datetime) -> tuple[datetime, datetime]:
    """The first moment of the period and the first one behind it."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    if arguments.days is not None:
        # Where the sun rises first, tomorrow has begun.
        return today - arguments.days * day, today + 2 * day
    return arguments.since, (arguments.until or today + day) + day


def text_of(file: Path | None, setting: str) -> Callable[[], str] | None:
    """What reads a secret: from the file, else from Secret Manager; None where neither is named.

    Raises WrongCall for a file that cannot be read.
    """
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongCall(f"{file} cannot be read ({type(error).__name__})") from None
        return lambda: text
    name = os.environ.get(setting, "").strip()
    if not name:
        return None
    if not re.fullmatch(r"projects/[^/]+/secrets/[^/]+(/versions/[^/]+)?", name):
        raise WrongCall(f"{setting} is wrong: set it to something like projects/P/secrets/S")
    from google_cloud import Secret  # Google's libraries, which a file does without

    return Secret(name).value


def api_key(arguments: argparse.Namespace) -> tuple[str, str]:
    """Clockify's region and API key; the secret may hold both. Raises IntegrationError."""
    read = text_of(arguments.clockify_api_key_file, "CLOCKIFY_API_KEY")
    if read is not None:
        text = read()
    elif sys.stdin.isatty():
        text = getpass.getpass("Clockify API key: ")
    else:
        raise WrongCall("no Clockify API key: set CLOCKIFY_API_KEY or --clockify-api-key-file")
    *region, key = text.split() or [""]
    return (region[0] if region else arguments.region), key


class Progress:
    """A bar on a terminal, plain lines in a log; both on stderr."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._began = self._told = time.monotonic()
        self._bar = tqdm(
            total=round((until - since) / timedelta(days=1), 2),
            disable=None,  # not on a terminal
            bar_format="{l_bar}{bar}| {n:.0f} of {total:.0f} days, {remaining} left{postfix}",
            file=sys.stderr,
        )
        self._since, self._until = since, until

    def tell(self, text: str) -> None:
        """Say a sentence without spoiling the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def reach(self, moment: datetime, entries: int) -> None:
        """Show that all before `moment` is done."""
        rate = entries / max(0.001, time.monotonic() - self._began)
        told = f"{entries:,} entries, {rate:,.0f}/s"
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update(round((moment - self._since) / timedelta(days=1), 2) - self._bar.n)
        late = time.monotonic() - self._told >= LINE_EVERY_S
        if self._bar.disable and (late or moment >= self._until):
            self._told = time.monotonic()
            done = (moment - self._since) / (self._until - self._since)
            self.tell(f"{done:4.0%}, up to {moment:%Y-%m-%d %H:%M}: {told}")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def summary(count: Counter[str], *, apply: bool) -> str:
    """The run's result, a line for each kind."""
    done = ("created", "updated", "deleted") if apply else ("to create", "to update", "to delete")
    lines = [
        (done[0], count["created"], ""),
        (done[1], count["updated"], ""),
        (done[2], count["deleted"], ""),
        ("unchanged", count["unchanged"], ""),
    ]
    rare = [
        ("still running", count["running"], "no Event before it is stopped"),
        ("newer", count["newer"], "a message has been quicker"),
        ("left alone", count["foreign"], "made by somebody else, gone in Clockify"),
        ("surplus", count["surplus"], "not deleted: too many"),
        ("refused", count["refused"], "see above"),
        ("notes", count["notes"], "owner or links that were left out"),
    ]
    lines += [line for line in rare if line[1]]
    return "\n".join(f"  {name:<14}{number:>10,}  {why}".rstrip() for name, number, why in lines)


def run(arguments: argparse.Namespace) -> int:
    """Compare and, with --apply, repair. Returns the exit code; raises IntegrationError."""
    since, until = period(arguments, datetime.now(UTC))
    version = os.environ.get("SALESFORCE_API_VERSION") or "65.0"
    subject = mapping.check_subject(os.environ.get("EVENT_SUBJECT") or mapping.DEFAULT_SUBJECT)
    credentials = text_of(arguments.salesforce_credentials_file, "SALESFORCE_CREDENTIALS")
    if credentials is None:
        raise WrongCall(
            "no Salesforce credentials: set SALESFORCE_CREDENTIALS or --salesforce-credentials-file"
        )
    region, key = api_key(arguments)
    progress = Progress(since, until)

    def clockify(*, timeout: tuple[float, float] = CLOCKIFY_TIMEOUT) -> Clockify:
        return Clockify(
            api_key=key,
            region=region,
            patience=CLOCKIFY_PATIENCE_S,
            on_wait=lambda wait_s: progress.tell(
                f"Clockify asks to wait: going on in {wait_s:,.0f} s"
                f" (at {datetime.now() + timedelta(seconds=wait_s):%H:%M:%S})"
            ),
            timeout=timeout,
        )

    org = Org(credentials, version=version, read_s=READ_S)
    history = History(clockify(), arguments.workspace, arguments.users)
    refusals = Refusals(arguments.refused_file)

    def is_in_period(entry: Json) -> bool:
        start = _start(entry)
        return start is not None and since <= start < until

    try:
        repair = Repair(
            org,
            history,
            Directory(org, clockify=clockify),
            refusals,
            apply=arguments.apply,
            subject=subject,
            most_deletions=arguments.most_deletions,
            deletes=not arguments.users,
            tell=progress.tell,
            show=print if arguments.list else lambda line: None,
        )
        for window in history.windows(since, until):
            repair.take(window)
            progress.reach(window.until, repair.count["entries"])
        repair.finish(is_in_period)
    finally:
        progress.close()
    is_left = bool(repair.count["surplus"] or repair.count["refused"])
    if arguments.apply and refusals.finish():
        progress.tell(f"{arguments.refused_file} holds what was refused; the next run takes it up.")
    what = "Salesforce now holds" if arguments.apply else "Dry run, nothing is changed:"
    last = until - timedelta(days=1)
    print(f"{what} Clockify's entries from {since:%Y-%m-%d} to {last:%Y-%m-%d} (UTC)")
    print(summary(repair.count, apply=arguments.apply))
    return 1 if is_left else 0


def main() -> int:
    """Run the command line and return the exit code."""
    # Cloud Run ends a job with SIGTERM: as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(read_arguments())
    except WrongCall as error:
        print(error, file=sys.stderr)
        return 2
    except IntegrationError as error:
        print(f"{error}\nStopped before the end: run the same command again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on where it matters.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
