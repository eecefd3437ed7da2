"""Compare Clockify's entries with the Events in Salesforce, and repair what differs.

Window by window, so that memory stays flat; in collections of 200 records, each of which has its
own result. It decides nothing about what an Event looks like (mapping) and reads no settings.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mapping
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.clockify.history import History, Window
from clockify_salesforce.errors import BadMessage, IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.client import Org, quoted
from clockify_salesforce.salesforce.directory import PAUSE_S, Directory
from clockify_salesforce.salesforce.errors import (
    LINK_FIELDS,
    LINKS,
    RULE,
    SalesforceRefused,
    refusal_of,
)
from clockify_salesforce.salesforce.records import Links, event_body, give_way
from mapping import EXTERNAL_ID, VERSION, Field, Ignore, Upsert

# What happened in Clockify so shortly before a report may be missing in it. So its rows count as
# older by that, and a message of the last minute wins.
REPORT_LAG_MS = 60_000
BATCH = 200  # records in a call; so many ids in a query make a URL of 7,000 characters
CALL_S = 300.0
PAUSES_S = (5, 15, 60, 120, 300)  # where Salesforce cannot answer
RECORD_TRIES = 4
CLOCKS_DIFFER = timedelta(minutes=5)  # between Clockify and Salesforce, and more
REFUSALS_TOLD = 20  # those after them are in the file only
SURPLUS_KEPT = 50_000  # so many are remembered; more are too many anyway

COLLECTION = "composite/sobjects"
COMPARED = (
    "Subject StartDateTime EndDateTime Description ShowAs Clockify_Hours__c Clockify_Project__c"
    " Clockify_Client__c Clockify_Task__c Clockify_Tags__c Clockify_Billable__c"
)
READ = ", ".join(["Id", EXTERNAL_ID, VERSION, LINKS, "CreatedById", *COMPARED.split()])
_GONE = ("ENTITY_IS_DELETED", "NOT_FOUND")

Json = dict[str, Any]


def differences(event: Json, wanted: Mapping[str, Field]) -> list[str]:
    """The names of the fields in which an Event, as Salesforce returns it, is not as wanted."""
    return [name for name, value in wanted.items() if not _is_same(name, event.get(name), value)]


def _is_same(name: str, stored: object, wanted: Field) -> bool:
    """Compare with what Salesforce makes of a value: no text is null, ends are trimmed."""
    if isinstance(wanted, float):
        return isinstance(stored, int | float) and abs(stored - wanted) < 0.00005
    if isinstance(wanted, bool):
        return (stored or False) == wanted
    if stored and wanted and name in ("StartDateTime", "EndDateTime"):
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
        self._began_ms: int | None = None
        self._user_id = self._own_user_id()

    def take(self, window: Window) -> None:
        """Compare one window's entries with the Events that start in it, and write what differs."""
        version = window.read_ms - REPORT_LAG_MS
        self._began_ms = self._began_ms or window.read_ms
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
            if upsert := wanted.pop(event[EXTERNAL_ID], None):
                self._found_elsewhere.add(upsert.entry_id)
                self._compare(event, upsert, version)
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
            asked_ms = self._history.clock_ms()
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
        own = [event for event in events.values() if event["CreatedById"] == self._user_id]
        self._delete(
            {
                event["Id"]: (event[EXTERNAL_ID], gone[event[EXTERNAL_ID]])
                for event in own
                if event[EXTERNAL_ID] in gone
            }
        )

    def _deleted_meanwhile(self) -> list[str]:
        """Entries whose deletion came by message while this run, from what it had read, wrote."""
        began_s = (self._began_ms or self._history.clock_ms()) / 1000
        since = _soql(datetime.fromtimestamp(began_s, UTC) - CLOCKS_DIFFER)
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
        for chunk in _chunks(entry_ids, BATCH):
            yield from self._events(f"{EXTERNAL_ID} IN ({_listed(chunk)}){condition}")

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
                | ({EXTERNAL_ID: change.decision.entry_id} if creates else {"id": change.event_id})
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
        stamps = [{"id": each, VERSION: asked_ms} for each, (_, asked_ms) in events.items()]
        stamped = self._each_record("PATCH", stamps, events)
        deleted = self._each_record("DELETE", [{"id": each} for each in stamped], events)
        self.count["deleted"] += len(deleted)
        if not deleted:
            return
        in_bin = self._rows(
            f"SELECT Id, {VERSION} FROM Event WHERE IsDeleted = true AND Id IN ({_listed(deleted)})"
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
                entry_id = events[record["id"]][0]
                refusal = _refusal(result, last=attempt == RECORD_TRIES)
                if result.get("success"):
                    done.append(record["id"])
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
            params = {"ids": ",".join(record["id"] for record in records), "allOrNone": "false"}
            answer = self._call(method, path, params=params)
        else:
            typed = [{"attributes": {"type": "Event"}} | record for record in records]
            answer = self._call(method, path, json={"allOrNone": False, "records": typed})
        if not isinstance(answer, list) or len(answer) != len(records):
            raise IntegrationError("Salesforce did not tell each record's result: run this again")
        return answer

    def _call(self, method: str, path: str, **request: Any) -> Any:
        """Make one call, and wait for minutes where Salesforce cannot answer now."""
        for pause_s in PAUSES_S:
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
        is_kept = self._apply and self._refusals.add(entry_id, reason)
        if not is_kept or self.count["refused"] <= REFUSALS_TOLD:
            self._tell(f"{entry_id}: {reason}")


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
        self._line_broke_off = False
        self.waiting: set[str] = set()
        if path.exists():
            text = path.read_text(encoding="utf-8")
            self._before = len(text.encode())
            self.waiting = {entry_id for line in text.splitlines() if (entry_id := _line_id(line))}
            self._line_broke_off = not text.endswith("\n")

    def add(self, entry_id: str, reason: str) -> bool:
        """Keep one entry for the next run; False where the file cannot be written."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                line = json.dumps({"entry": entry_id, "reason": reason}) + "\n"
                file.write("\n" + line if self._line_broke_off else line)
                self._line_broke_off = False
        except OSError:
            return False
        return True

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


def _listed(texts: Iterable[str]) -> str:
    return ",".join(map(quoted, texts))


def _soql(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
