"""Compare Clockify's entries with the Events in Salesforce, and repair what differs.

Both are read in the order of time, a window at a time (`reading.py`); what differs is planned, and
written while the next windows are read (`writing.py`).
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import mapping
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.clockify.history import Window, start_of
from clockify_salesforce.errors import BadMessage, IntegrationError
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.bulk import BulkOrg
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.errors import LINKS
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.lookup import PAUSE_S
from clockify_salesforce.salesforce.records import Known
from clockify_salesforce.salesforce.wish import LINK_FIELDS, Wish
from commands.repair.bulk_jobs import BULK_BEYOND, BulkJobs
from commands.repair.change import Change
from commands.repair.compare import differences
from commands.repair.patience import CALL_S, PatientOrg
from commands.repair.reading import WORKSPACE, Events, Readers, Windows
from commands.repair.refusals import Refusals
from commands.repair.settle import Clock, Settling
from commands.repair.tasks import Tasks
from commands.repair.writing import Writer, is_about_one_entry
from mapping import EXTERNAL_ID, Decision, Ignore, Running, Upsert, Withdraw

REFUSALS_TOLD = 20  # those after them are in the file only
SURPLUS_KEPT = 50_000  # so many are remembered; more are too many anyway
ASKED = 2_000  # entries that are asked for at a time
ASKED_AT_ONCE = 8
# A query's URL may have 16,384 characters, and a composite call five queries.
LISTED, QUERIES = 400, 5
LOOK_UPS = 3  # at once
FIRST_S = 30.0  # for a question whose answer only saves others
KNOWN, KNOWN_S = 10_000, 60.0  # so many owners and links are kept for so long
_OWNER = frozenset({"OwnerId"})

COMPARED = (
    "StartDateTime EndDateTime Clockify_Hours__c Clockify_Project__c Clockify_Client__c"
    " Clockify_Task__c Clockify_Tags__c Clockify_Billable__c Clockify_Type__c"
)

Json = dict[str, Any]
Wanted = dict[str, Upsert | Withdraw]  # by entry id


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a run is to be.

    `apply`: change Salesforce, and do not only count. `deletes`: look for what is gone in Clockify.
    `most_deletions`: where more would go, none goes. `at_once`: so many writes.
    `bulk_beyond`: so many changes go in collections, and more as bulk jobs; 0: never; None:
    BULK_BEYOND, where the org takes long for a collection.
    """

    since: datetime
    until: datetime
    apply: bool
    deletes: bool
    most_deletions: int
    at_once: int
    bulk_beyond: int | None


class Repair:
    """Bring the Events of a period to what Clockify says."""

    def __init__(
        self,
        org: BulkOrg,
        readers: Readers,
        directory: Directory,
        refusals: Refusals,
        clock: Clock,
        wishes: Wishes,
        *,
        workspace: str,
        rules: Rules,
        tell: Callable[[str], None],
        show: Callable[[str], None],
    ) -> None:
        """`tell` says a sentence to whoever waits, `show` takes a line for each change."""
        self._org = PatientOrg(org, tell)
        self._readers = readers
        self._directory = directory
        self._refusals = refusals
        self._wishes = wishes
        self._workspace = workspace
        self._rules = rules
        self._tell = tell
        self._show = show
        self.count: Counter[str] = Counter()
        self._tasks = Tasks(lambda what: tell(f"Waiting for {what}."))
        self._settling = Settling(
            self._org, directory, readers, clock, rules=rules, workspace=workspace
        )
        fields = [*COMPARED.split(), *(rule.name for rule in rules.fields), "Description"]
        kept = list(dict.fromkeys([LINKS, WORKSPACE, *fields]))
        self._fields = ", ".join(["Id", EXTERNAL_ID, *kept])
        self._bulk = BulkJobs(
            self._org,
            self._tasks,
            [*kept, *LINK_FIELDS, "IsReminderSet"],
            beyond=BULK_BEYOND if wishes.bulk_beyond is None else wishes.bulk_beyond,
            only_where_slow=wishes.bulk_beyond is None,
            at_once=wishes.at_once,
            tell=tell,
        )
        self._writer = Writer(
            self._org,
            self._tasks,
            self._settling,
            self.count,
            self._refuse,
            workers=wishes.at_once,
            bulk=None if wishes.bulk_beyond == 0 else self._bulk,
            tell=tell,
        )
        self._is_first = False  # there is no Event of any entry
        self._homeless: Wanted = {}  # what has no Event of its own time
        self._looking = 0
        self._looked_up: deque[tuple[Wanted, list[Json]]] = deque()
        self._withdrawn: dict[str, str] = {}  # Event id -> entry id, which a filter leaves out
        self._surplus: dict[str, None] = {}  # entry ids, in order
        self._found_elsewhere: set[str] = set()
        self._link_pauses = [PAUSE_S, PAUSE_S]
        self._known: dict[tuple[str | None, ...], Wish] = {}
        self._known_until = 0.0

    def run(self, reached: Callable[[datetime, int], None]) -> None:
        """Compare and repair all of it; `reached` is told how far, and how many entries.

        Raises IntegrationError. What it has begun is ended then, and another run goes on.
        """
        try:
            if self._wishes.apply:
                self._settling.begin()
                if self._wishes.bulk_beyond != 0:
                    self._bulk.wait_for_earlier()
            self._is_first = self._holds_nothing()
            since, until = self._wishes.since, self._wishes.until
            events = Events(self._tasks, self._org, self._fields, self._workspace, since, until)
            events.read_ahead()
            for window in Windows(self._tasks, self._readers, since, until):
                self.take(window, events.before(window.until))
                reached(window.until, self.count["entries"])
            self.finish()
        except BaseException:
            self._writer.stop()
            raise

    def _holds_nothing(self) -> bool:
        """Tell whether Salesforce surely holds no Event of any entry: then none is looked for."""
        soql = f"SELECT Id FROM Event WHERE {EXTERNAL_ID} > '0' AND IsDeleted = false LIMIT 1"
        deadline = time.monotonic() + FIRST_S
        try:
            answer = self._org.org.call("GET", "queryAll", deadline, tries=1, params={"q": soql})
        except IntegrationError:
            return False
        return isinstance(answer, dict) and answer.get("records") == []

    def take(self, window: Window, events: Iterable[Json]) -> None:
        """Compare one window's entries with the Events that start in it, and plan what differs."""
        wanted: Wanted = {}
        there: set[str] = set()
        for entry in window.entries:
            there.add(entry["id"])
            self._refusals.waiting.discard(entry["id"])
            decision = self._decide(entry)
            if isinstance(decision, Upsert | Withdraw):
                wanted[decision.entry_id] = decision
        self.count["entries"] += len(there)
        for event in events:
            entry_id = event[EXTERNAL_ID]
            if entry_id in wanted:
                self._compare(event, wanted.pop(entry_id))
            elif entry_id not in there and self._wishes.deletes:
                self._note_surplus(event)
        # The others have no Event, or one of another time.
        self._homeless |= wanted
        if len(self._homeless) >= LISTED * QUERIES:
            self._look_up()
        self._take_looked_up()

    def finish(self) -> None:
        """Do what single windows could not: what waits, what is surplus, old states."""
        self._look_up()
        self._tasks.wait(lambda: not self._looking, lambda: "Salesforce: Events of another time")
        self._take_looked_up()
        for chunk in _chunks(sorted(self._refusals.waiting), ASKED):
            self._ask_for(chunk)
        surplus = [each for each in self._surplus if each not in self._found_elsewhere]
        most, number = self._wishes.most_deletions, len(surplus) + len(self._withdrawn)
        if number > most:
            self.count["surplus"] = number
            self._tell(
                f"{number:,} Events have no time entry in this workspace, or one that mapping.toml"
                f" leaves out: more than --most-deletions {most:,}, and so none is deleted. See"
                " that the workspace is the right one; then run this with a larger number."
            )
            surplus, self._withdrawn = [], {}
        if surplus:
            self._tell(f"Asking Clockify for {len(surplus):,} entries that no report names.")
        for chunk in _chunks(surplus, ASKED):
            self._ask_for(chunk, passes_over=self._is_in_period)
        self._delete(self._withdrawn, "mapping.toml leaves it out")
        self._writer.finish()
        if self._wishes.apply:
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
        """Owner and links, looked up each by itself: most entries are of the same few."""
        if len(self._known) > KNOWN or time.monotonic() > self._known_until:
            self._known.clear()
            self._known_until = time.monotonic() + KNOWN_S
        person = (decision.user_id, decision.user_email)
        subject = (decision.record_id, decision.project_id, decision.client_id)
        owner = self._known.get(person) or self._look_up_wish(
            person, replace(decision, record_id=None, project_id=None, client_id=None)
        )
        links = self._known.get(subject) or self._look_up_wish(
            subject, replace(decision, user_id=None, user_email=None)
        )
        notes = owner.notes + links.notes
        self.count["notes"] += len(notes)
        unknown = (owner.unknown & _OWNER) | (links.unknown - _OWNER)
        return Wish(owner.owner, links.links, unknown, notes)

    def _look_up_wish(self, by: tuple[str | None, ...], decision: Upsert) -> Wish:
        """Owner or links of one person or subject, with patience where there is no answer."""
        wish = self._directory.wish(decision, time.monotonic() + CALL_S)
        while wish.unknown and self._link_pauses and self._directory.is_paused():
            pause_s = self._link_pauses.pop()
            self._tell(f"{wish.notes[-1]}: looking again in {pause_s:.0f} s")
            time.sleep(pause_s)
            wish = self._directory.wish(decision, time.monotonic() + CALL_S)
        if not wish.unknown:
            self._known[by] = wish
        return wish

    def _compare(self, event: Json, decision: Upsert | Withdraw) -> None:
        """Plan the update of an Event that is not as it should be."""
        if event[WORKSPACE] not in (None, self._workspace):
            self.count["foreign"] += 1
            return
        if isinstance(decision, Withdraw):
            self._withdrawn[event["Id"]] = decision.entry_id
            return
        decision = mapping.with_known_name(decision, event["Description"])
        differing = differences(event, decision.event)
        if differing and decision.shortened:
            short = dict(decision.event) | dict(decision.shortened)
            if not differences(event, short):
                self._writer.shortens, differing = True, []
        wish = self._wish(decision)
        if self._is_unwanted(wish):
            self._withdrawn[event["Id"]] = decision.entry_id
            return
        known = Known(exists=True, mark=event[LINKS], record_id=event["Id"])
        shortens = self._writer.shortens
        draft = EventDraft(decision, wish, known, path=event["Id"], is_shortened=shortens)
        # The same wish as before: owner and links may have been chosen in Salesforce since.
        if draft.new_mark != known.mark:
            differing.append(LINKS)
        if differing:
            self._plan(Change(draft, event["Id"]), differing)
        else:
            self.count["unchanged"] += 1

    def _create(self, decision: Upsert | Withdraw) -> None:
        if isinstance(decision, Upsert):
            wish = self._wish(decision)
            if not self._is_unwanted(wish):
                shortens = self._writer.shortens
                draft = EventDraft(decision, wish, Known(exists=False), is_shortened=shortens)
                self._plan(Change(draft, None), [])

    def _is_unwanted(self, wish: Wish) -> bool:
        """The person has no user in Salesforce, and gets no Events then."""
        is_unwanted = wish.is_nobody and self._rules.unmatched == "no event"
        self.count["withdrawn"] += is_unwanted
        return is_unwanted

    def _plan(self, change: Change, differing: list[str]) -> None:
        kind = "update" if change.record_id else "create"
        what = ", ".join(differing) or str(change.draft.upsert.event["StartDateTime"])
        self._show(f"{kind} {change.entry_id}: {what}")
        if self._wishes.apply:
            self._writer.add(change)
        else:
            self.count[f"{kind}d"] += 1

    def _note_surplus(self, event: Json) -> None:
        # An Event without a workspace was made before there was that field, or by somebody else.
        if event[WORKSPACE] is None:
            self.count["foreign"] += 1
        elif len(self._surplus) < SURPLUS_KEPT:
            self._surplus[event[EXTERNAL_ID]] = None

    def _is_in_period(self, entry: Json) -> bool:
        start = start_of(entry)
        return start is not None and self._wishes.since <= start < self._wishes.until

    # Events of another time ----------------------------------------------------------------------

    def _look_up(self) -> None:
        """Look for the Events of entries that have none of their own time."""
        wanted, self._homeless = self._homeless, {}
        if not wanted:
            return
        if self._is_first:
            self._looked_up.append((wanted, []))
            return
        self._looking += 1

        def took(events: list[Json]) -> None:
            self._looking -= 1
            self._looked_up.append((wanted, events))

        self._tasks.start(lambda: self._events_of(list(wanted)), took)
        self._tasks.wait(
            lambda: self._looking < LOOK_UPS, lambda: "Salesforce: Events of another time"
        )

    def _take_looked_up(self) -> None:
        while self._looked_up:
            wanted, events = self._looked_up.popleft()
            for event in events:
                if decision := wanted.pop(event[EXTERNAL_ID], None):
                    self._found_elsewhere.add(decision.entry_id)
                    self._compare(event, decision)
            for decision in wanted.values():
                self._create(decision)

    def _events_of(self, entry_ids: Sequence[str]) -> list[Json]:
        """The Events of these entries, of whatever time and workspace."""
        events: list[Json] = []
        queries = [
            f"SELECT {self._fields} FROM Event WHERE {EXTERNAL_ID} IN"
            f" ({','.join(map(quoted, chunk))}) AND IsDeleted = false"
            for chunk in _chunks(entry_ids, LISTED)
        ]
        for asked in _chunks(queries, QUERIES):
            for answer in self._org.queries(asked):
                events += answer["records"]
        return events

    # Single entries ------------------------------------------------------------------------------

    def _ask_for(
        self, entry_ids: Sequence[str], *, passes_over: Callable[[Json], bool] | None = None
    ) -> None:
        """Ask Clockify for each entry itself, and do what follows.

        `passes_over`: entries that another part of the run has compared already.
        """
        gone: set[str] = set()
        there: Wanted = {}
        said = self._tasks.each(
            self._asked, entry_ids, at_once=ASKED_AT_ONCE, what="Clockify: single entries"
        )
        for entry_id, entry in zip(entry_ids, said, strict=True):
            if isinstance(entry, IntegrationError):
                self._refuse(entry_id, f"Clockify does not say whether it is there: {entry}")
            elif entry is None:
                gone.add(entry_id)
            elif entry.get("workspaceId") != self._workspace:
                self.count["foreign"] += 1
            else:
                decision = self._decide(entry)
                is_compared = passes_over is not None and passes_over(entry)
                if isinstance(decision, Withdraw) or (
                    isinstance(decision, Upsert) and not is_compared
                ):
                    there[entry_id] = decision
        surplus: dict[str, str] = {}
        for event in self._events_of([*gone, *there]):
            entry_id = event[EXTERNAL_ID]
            if decision := there.pop(entry_id, None):
                self._compare(event, decision)
            elif event[WORKSPACE] == self._workspace:
                surplus[event["Id"]] = entry_id
        for decision in there.values():
            self._create(decision)
        self._delete(surplus, "it is gone in Clockify")

    def _asked(self, entry_id: str) -> Json | ClockifyError | None:
        try:
            return self._readers.now(entry_id)
        except ClockifyError as error:
            if not is_about_one_entry(error):
                raise
            return error

    def _delete(self, events: dict[str, str], why: str) -> None:
        """Delete Events: Event id -> entry id."""
        for entry_id in events.values():
            self._show(f"delete {entry_id}: {why}")
        if self._wishes.apply:
            self._writer.delete(events)
        else:
            self.count["deleted"] += len(events)

    def _refuse(self, entry_id: str, reason: str) -> None:
        self.count["refused"] += 1
        is_kept = self._wishes.apply and self._refusals.add(entry_id, reason)
        if not is_kept or self.count["refused"] <= REFUSALS_TOLD:
            self._tell(f"{entry_id}: {reason}")


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
