"""Compare Clockify's entries with the Events in Salesforce, and repair what differs.

Window by window, so that memory stays flat; in collections of 200 records, each of which has its
own result. States of entries are not written, but looked at after each batch (`settle.py`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import mapping
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.clockify.history import History, Window
from clockify_salesforce.errors import BadMessage
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.client import Org, quoted
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.errors import LINKS, SalesforceRefused, refusal_of
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.lookup import PAUSE_S
from clockify_salesforce.salesforce.records import Known
from clockify_salesforce.salesforce.wish import LINK_FIELDS, Wish
from commands.repair.compare import differences
from commands.repair.patience import CALL_S, PatientOrg
from commands.repair.refusals import Refusals
from commands.repair.settle import Clock, Settling
from mapping import EXTERNAL_ID, Decision, Ignore, Running, Upsert, Withdraw

BATCH = 200  # records in a call; so many ids in a query make a URL of 7,000 characters
RECORD_TRIES = 4
MARKED_S = 60.0  # so that no more than what came within about a minute is looked at
REFUSALS_TOLD = 20  # those after them are in the file only
SURPLUS_KEPT = 50_000  # so many are remembered; more are too many anyway

WORKSPACE = "Clockify_Workspace_Id__c"
COMPARED = (
    "StartDateTime EndDateTime Clockify_Hours__c Clockify_Project__c Clockify_Client__c"
    " Clockify_Task__c Clockify_Tags__c Clockify_Billable__c Clockify_Type__c"
)
_GONE = ("ENTITY_IS_DELETED", "NOT_FOUND")

Json = dict[str, Any]


@dataclass(slots=True)
class Change:
    """An Event that is to be created (`event_id` None) or updated."""

    draft: EventDraft
    event_id: str | None
    tries: int = 0

    @property
    def entry_id(self) -> str:
        """The time entry's id."""
        return self.draft.upsert.entry_id

    def record(self) -> Json:
        """As a collection takes it."""
        key = {"id": self.event_id} if self.event_id else {EXTERNAL_ID: self.entry_id}
        return {"attributes": {"type": "Event"}} | key | self.draft.body()


class Repair:
    """Bring the Events of a period to what Clockify says; without `apply`, only count."""

    def __init__(
        self,
        org: Org,
        history: History,
        directory: Directory,
        refusals: Refusals,
        clock: Clock,
        *,
        workspace: str,
        rules: Rules,
        apply: bool,
        most_deletions: int,
        deletes: bool,
        tell: Callable[[str], None],
        show: Callable[[str], None],
    ) -> None:
        """`most_deletions`: where more would go, none goes; `deletes`: False: none is looked for.

        `tell` says a sentence to whoever waits, `show` takes a line for each change.
        """
        self._org = PatientOrg(org, tell)
        self._history = history
        self._directory = directory
        self._settling = Settling(
            self._org, directory, history, clock, rules=rules, workspace=workspace
        )
        self._refusals = refusals
        self._workspace = workspace
        self._rules = rules
        self._apply = apply
        self._most_deletions = most_deletions
        self._deletes = deletes
        self._tell = tell
        self._show = show
        self.count: Counter[str] = Counter()
        fields = [*COMPARED.split(), *(rule.name for rule in rules.fields), "Description"]
        self._read = ", ".join(dict.fromkeys(["Id", EXTERNAL_ID, LINKS, WORKSPACE, *fields]))
        self._creations: list[Change] = []
        self._updates: list[Change] = []
        self._withdrawn: dict[str, str] = {}  # Event id -> entry id, which a filter leaves out
        self._surplus: dict[str, None] = {}  # entry ids, in order
        self._found_elsewhere: set[str] = set()
        # An org without multiday events refuses more than 24 hours; the first refusal tells.
        self._shortens = False
        self._link_pauses = [PAUSE_S, PAUSE_S]
        self._mark: datetime | None = None
        self._marked_at = float("-inf")

    def begin(self) -> None:
        """Note the moment before a window is read; what was read before it is written first."""
        if self._apply and time.monotonic() - self._marked_at > MARKED_S:
            self._flush()
            self._mark, self._marked_at = self._settling.mark(), time.monotonic()

    def take(self, window: Window) -> None:
        """Compare one window's entries with the Events that start in it, and write what differs."""
        wanted: dict[str, Upsert | Withdraw] = {}
        there: set[str] = set()
        for entry in window.entries:
            there.add(entry["id"])
            self._refusals.waiting.discard(entry["id"])
            decision = self._decide(entry)
            if isinstance(decision, Upsert | Withdraw):
                wanted[decision.entry_id] = decision
        self.count["entries"] += len(there)
        for event in self._events(
            f"({WORKSPACE} = {quoted(self._workspace)} OR {WORKSPACE} = null)"
            f" AND {EXTERNAL_ID} != null AND StartDateTime >= {_soql(window.since)}"
            f" AND StartDateTime < {_soql(window.until)}"
        ):
            entry_id = event[EXTERNAL_ID]
            if entry_id in wanted:
                self._compare(event, wanted.pop(entry_id))
            elif entry_id not in there and self._deletes:
                self._note_surplus(event)
        # The others have no Event, or one of another time.
        for event in self._events_of(list(wanted)):
            if decision := wanted.pop(event[EXTERNAL_ID], None):
                self._found_elsewhere.add(decision.entry_id)
                self._compare(event, decision)
        for decision in wanted.values():
            if isinstance(decision, Upsert):
                self._create(decision)

    def finish(self, is_in_period: Callable[[Json], bool]) -> None:
        """Settle what single windows could not: what waits, what is surplus, old states."""
        for chunk in _chunks(sorted(self._refusals.waiting), BATCH):
            self._ask_for(chunk)
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
            self._ask_for(chunk, passes_over=is_in_period)
        self._flush()
        if self._apply:
            self.count["cleaned up"] = self._settling.clean_up()

    # Decide ------------------------------------------------------------------------------------

    def _decide(self, entry: Json) -> Decision | None:
        """What the entry's Event should be; None where nothing is to be done, which is counted."""
        try:
            decision = mapping.decide(None, entry, rules=self._rules)
        except BadMessage as error:
            self._refuse(entry["id"], str(error))
            return None
        if isinstance(decision, Running):
            self.count["running"] += 1
        elif isinstance(decision, Withdraw):
            self.count["withdrawn"] += 1
        elif isinstance(decision, Ignore) and decision.warning:
            self._refuse(entry["id"], decision.reason)
        return decision

    def _wish(self, decision: Upsert) -> Wish:
        """Owner and links, with some patience for a look-up that has no answer."""
        wish = self._directory.wish(decision, time.monotonic() + CALL_S)
        while wish.unknown and self._link_pauses and self._directory.is_paused():
            pause_s = self._link_pauses.pop()
            self._tell(f"{wish.notes[-1]}: looking again in {pause_s:.0f} s")
            time.sleep(pause_s)
            wish = self._directory.wish(decision, time.monotonic() + CALL_S)
        self.count["notes"] += len(wish.notes)
        return wish

    def _compare(self, event: Json, decision: Upsert | Withdraw) -> None:
        """Plan the update of an Event that is not as it should be."""
        if event[WORKSPACE] not in (None, self._workspace):
            self.count["foreign"] += 1
            return
        if isinstance(decision, Withdraw):
            self._withdraw(event, decision)
            return
        decision = mapping.with_known_name(decision, event["Description"])
        differing = differences(event, decision.event)
        if differing and decision.shortened:
            short = dict(decision.event) | dict(decision.shortened)
            if not differences(event, short):
                self._shortens, differing = True, []
        draft = EventDraft(
            decision,
            self._wish(decision),
            Known(exists=True, mark=event[LINKS], record_id=event["Id"]),
            path=event["Id"],
            is_shortened=self._shortens,
        )
        # The same wish as before: owner and links may have been chosen in Salesforce since.
        if draft.new_mark != draft.known.mark:
            differing.append(LINKS)
        if differing:
            self._plan(Change(draft, event["Id"]), differing)
        else:
            self.count["unchanged"] += 1

    def _create(self, decision: Upsert) -> None:
        draft = EventDraft(
            decision, self._wish(decision), Known(exists=False), is_shortened=self._shortens
        )
        self._plan(Change(draft, None), [])

    def _plan(self, change: Change, differing: list[str]) -> None:
        kind = "update" if change.event_id else "create"
        what = ", ".join(differing) or str(change.draft.upsert.event["StartDateTime"])
        self._show(f"{kind} {change.entry_id}: {what}")
        if not self._apply:
            self.count[f"{kind}d"] += 1
            return
        changes = self._updates if change.event_id else self._creations
        changes.append(change)
        if len(changes) == BATCH:
            self._flush()

    def _withdraw(self, event: Json, decision: Withdraw) -> None:
        self._withdrawn[event["Id"]] = decision.entry_id
        if len(self._withdrawn) == BATCH:
            self._flush()

    def _note_surplus(self, event: Json) -> None:
        # An Event without a workspace was made before there was that field, or by somebody else.
        if event[WORKSPACE] is None:
            self.count["foreign"] += 1
        elif len(self._surplus) < SURPLUS_KEPT:
            self._surplus[event[EXTERNAL_ID]] = None

    # Ask Clockify for single entries -------------------------------------------------------------

    def _ask_for(
        self, entry_ids: Sequence[str], *, passes_over: Callable[[Json], bool] | None = None
    ) -> None:
        """Ask Clockify for each entry itself, and do what follows.

        `passes_over`: entries that another part of the run has compared already.
        """
        gone: set[str] = set()
        there: dict[str, Upsert | Withdraw] = {}
        for entry_id in entry_ids:
            try:
                entry = self._history.now(entry_id)
            except ClockifyError as error:
                if error.status in (None, 401, 429) or error.status >= 500:
                    raise
                self._refuse(entry_id, f"Clockify does not say whether it is there: {error}")
                continue
            if entry is None:
                gone.add(entry_id)
            elif entry.get("workspaceId") != self._workspace:
                self.count["foreign"] += 1
            elif not (passes_over and passes_over(entry)):
                decision = self._decide(entry)
                if isinstance(decision, Upsert | Withdraw):
                    there[entry_id] = decision
        surplus: dict[str, str] = {}
        for event in self._events_of([*gone, *there]):
            entry_id = event[EXTERNAL_ID]
            if decision := there.pop(entry_id, None):
                self._compare(event, decision)
            elif event[WORKSPACE] == self._workspace:
                surplus[event["Id"]] = entry_id
        for decision in there.values():
            if isinstance(decision, Upsert):
                self._create(decision)
        self._delete(surplus, "it is gone in Clockify")

    # Salesforce ----------------------------------------------------------------------------------

    def _events_of(self, entry_ids: Sequence[str]) -> Iterator[Json]:
        """The Events of these entries, archived ones too."""
        for chunk in _chunks(entry_ids, BATCH):
            yield from self._events(f"{EXTERNAL_ID} IN ({_listed(chunk)})")

    def _events(self, condition: str) -> Iterator[Json]:
        soql = f"SELECT {self._read} FROM Event WHERE {condition} AND IsDeleted = false"
        return self._org.rows(soql, archived=True)

    def _flush(self) -> None:
        """Write what is planned, and settle what messages have come for since it was read."""
        written: list[str] = []
        for changes in (self._creations, self._updates):
            while changes:
                batch = changes[:BATCH]
                del changes[:BATCH]
                written += [change.entry_id for change in batch]
                self._write(batch)
        withdrawn, self._withdrawn = self._withdrawn, {}
        self._delete(withdrawn, "mapping.toml leaves it out")
        self._settle_meanwhile(written)

    def _settle_meanwhile(self, written: Sequence[str]) -> None:
        if not written:
            return
        for entry_id in self._settling.messaged(written, self._mark):
            self._settle(entry_id)
            self.count["meanwhile"] += 1

    def _settle(self, entry_id: str) -> None:
        try:
            outcome = self._settling.settle(entry_id)
        except ClockifyError as error:
            if error.status in (None, 401, 429) or error.status >= 500:
                raise
            self._refuse(entry_id, str(error))
        except SalesforceRefused as refusal:
            self._refuse(entry_id, str(refusal))
        else:
            self.count["notes"] += len(outcome.notes)

    def _write(self, changes: Sequence[Change]) -> None:
        """Create or update one batch, and look at each record's own result."""
        path = "" if changes[0].event_id else f"/Event/{EXTERNAL_ID}"
        waiting = list(changes)
        while waiting:
            results = self._org.collection("PATCH", path, [each.record() for each in waiting])
            waiting = [
                change
                for change, result in zip(waiting, results, strict=True)
                if self._goes_again(change, result)
            ]
            # What was found by its own id is no creation any more.
            self._updates += [each for each in waiting if path and each.event_id]
            waiting = [each for each in waiting if not (path and each.event_id)]
            _pause(waiting)

    def _goes_again(self, change: Change, result: Json) -> bool:
        """Count what became of one record; True where it has to be written again."""
        if result.get("success") is True:
            self.count["created" if result.get("created") else "updated"] += 1
            return False
        change.tries += 1
        refusal = _refusal(result, last=change.tries >= RECORD_TRIES)
        if refusal is None:
            if change.tries >= RECORD_TRIES:
                self._refuse(change.entry_id, "Salesforce cannot take it now")
            return change.tries < RECORD_TRIES
        is_gone = refusal.code in _GONE and change.event_id
        if is_gone and not set(LINK_FIELDS) & set(change.draft.body()):
            self._settle(change.entry_id)  # somebody has deleted the Event since it was read
            return False
        try:
            draft, note = change.draft.give_way(refusal, self._own_user_id)
        except SalesforceRefused:
            draft, note = None, ""
        if not isinstance(draft, EventDraft):
            self._refuse(change.entry_id, str(refusal))
            return False
        self.count["notes"] += bool(note)
        self._shortens |= draft.is_shortened
        change.draft, change.event_id = draft, draft.path.rpartition("/")[2] or None
        return True

    def _own_user_id(self) -> str:
        return self._org.org.user_id(time.monotonic() + CALL_S)

    def _delete(self, events: dict[str, str], why: str) -> None:
        """Delete Events: Event id -> entry id."""
        for entry_id in events.values():
            self._show(f"delete {entry_id}: {why}")
        if not self._apply:
            self.count["deleted"] += len(events)
            return
        records: list[Json] = [{"id": event_id} for event_id in events]
        for attempt in range(1, RECORD_TRIES + 1):
            if not records:
                break
            again = []
            for record, result in zip(
                records, self._org.collection("DELETE", "", records), strict=True
            ):
                entry_id = events[record["id"]]
                if result.get("success") is True:
                    self.count["deleted"] += 1
                    continue
                refusal = _refusal(result, last=attempt == RECORD_TRIES)
                if refusal is None and attempt < RECORD_TRIES:
                    again.append(record)
                elif refusal is None:
                    self._refuse(entry_id, "Salesforce cannot delete it now")
                elif refusal.code not in _GONE:
                    self._refuse(entry_id, str(refusal))
            records = again
            _pause(records)
        self._settle_meanwhile(list(events.values()))

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


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut into lists of `size`."""
    everything = list(items)
    for at in range(0, len(everything), size):
        yield everything[at : at + size]


def _listed(texts: Iterable[str]) -> str:
    return ",".join(map(quoted, texts))


def _soql(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
