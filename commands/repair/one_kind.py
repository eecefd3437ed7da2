"""What a run does with the records of one kind: compared, planned, written, counted."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clockify_salesforce import kinds
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.kinds.kind import Kind
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.directory import Directory
from commands.repair.change import Planned
from commands.repair.patience import PatientOrg
from commands.repair.reading import Readers
from commands.repair.records import Records, References
from commands.repair.settle import Clock, Settling
from commands.repair.tasks import Tasks
from commands.repair.writing import BATCH, Writer, is_about_one_entry

ASKED_AT_ONCE = 8  # of Clockify
REFUSALS_TOLD = 20  # of each kind

Json = dict[str, Any]


KINDS: Mapping[str, Kind] = {kind.plural: kind for kind in kinds.KINDS}


@dataclass(frozen=True, slots=True)
class KindWishes:
    """How a run is to be.

    `names`: of the kinds. `asked`: as the command line has it: who has named a kind hears more of
    it. `apply`, `most_deletions`, `at_once`: as in Wishes. `all_tasks`: the tasks of every project.
    `is_patient`: also what takes many hours where Clockify gives 30 requests in each.
    """

    names: Collection[str]
    asked: Collection[str]
    apply: bool
    most_deletions: int
    at_once: int
    all_tasks: bool = False
    is_patient: bool = True


@dataclass(frozen=True, slots=True)
class Surplus:
    """A record that no list of Clockify's has named. `more`: what it is asked for by, beside."""

    entry_id: str
    record_id: str
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the kinds of a run have in common.

    `tell` says a sentence to whoever waits, `show` takes a line for each change.
    """

    org: PatientOrg
    readers: Readers
    tasks: Tasks
    directory: Directory
    clock: Clock
    references: References
    wishes: KindWishes
    workspace: str
    rules: Rules
    tell: Callable[[str], None]
    show: Callable[[str], None]


class OneKind:
    """The records of one kind in one run."""

    def __init__(
        self,
        shared: Shared,
        name: str,
        *,
        batch: int = BATCH,
        send: Callable[[list[Planned]], list[Json]] | None = None,
    ) -> None:
        """`batch`, `send`: as in Writer."""
        self.shared, self.name, self.kind = shared, name, KINDS[name]
        self.count: Counter[str] = Counter()
        self.records = Records(
            shared.org, self.kind, shared.workspace, shared.references, refuse=self.refuse
        )
        self.settling = Settling(
            shared.org,
            shared.directory,
            shared.readers,
            shared.clock,
            rules=shared.rules,
            workspace=shared.workspace,
            kind=self.kind,
        )
        self._batch, self._sender = batch, send
        self.writer = self.new_writer(self.count)
        if shared.wishes.apply:
            self.settling.begin()

    def new_writer(self, count: Counter[str]) -> Writer:
        """One that counts into `count`."""
        return Writer(
            self.shared.org,
            self.shared.tasks,
            self.settling,
            count,
            self.refuse,
            workers=self.shared.wishes.at_once,
            bulk=None,
            tell=self.shared.tell,
            what=self.name,
            batch=self._batch,
            send=self._sender,
        )

    def plan(self, changes: Iterable[Planned], writer: Writer | None = None) -> None:
        """Have changes written; in a dry run, count them. Raises IntegrationError."""
        for change in changes:
            verb = "update" if change.record_id else "create"
            self.shared.show(f"{verb} {self.kind.name} {change.entry_id}")
            if self.shared.wishes.apply:
                (writer or self.writer).add(change)
            else:
                self.count[f"{verb}d"] += 1

    def finish(self) -> None:
        """Write what is left, and settle what messages have come for. Raises IntegrationError."""
        self.writer.finish()

    def refuse(self, entry_id: str, reason: str) -> None:
        """Count and tell what cannot be written."""
        self.count["refused"] += 1
        if self.count["refused"] <= REFUSALS_TOLD:
            self.shared.tell(f"{self.kind.name} {entry_id}: {reason}")

    def take_away(
        self, surplus: Sequence[Surplus], act: Callable[[Sequence[Surplus]], None]
    ) -> None:
        """Have `act` done for what Clockify itself says is gone, and count it as deleted."""
        most = self.shared.wishes.most_deletions
        if len(surplus) > most:
            self.count["surplus"] += len(surplus)
            self.shared.tell(
                f"{len(surplus):,} {self.name} are not in this workspace any more: more than"
                f" --most-deletions {most:,}, and so none is touched. See that the workspace is the"
                " right one; then run this with a larger number."
            )
            return
        answers = self.shared.tasks.each(
            self._is_gone, surplus, at_once=ASKED_AT_ONCE, what=f"Clockify: single {self.name}"
        )
        gone = []
        for each, answer in zip(surplus, answers, strict=True):
            if isinstance(answer, ClockifyError):
                self.refuse(each.entry_id, f"Clockify does not say whether it is there: {answer}")
            elif answer:
                self.shared.show(f"delete {self.kind.name} {each.entry_id}: it is gone in Clockify")
                gone.append(each)
        if self.shared.wishes.apply:
            act(gone)
        else:
            self.count["deleted"] += len(gone)

    def _is_gone(self, one: Surplus) -> bool | ClockifyError:
        path = self.kind.path_of({"id": one.entry_id, **one.more})
        try:
            found = self.shared.readers.use(
                lambda history: history.lists.record(path, one.entry_id)
            )
        except ClockifyError as error:
            if not is_about_one_entry(error):
                raise
            return error
        return found is None
