"""Compare Clockify's clients, projects, tasks and invoices with Salesforce, and repair them.

In this order, so that what refers to something finds it. What of them is looked at:

- all clients and projects, of which a request of Clockify's tells a thousand;
- tasks, which take a request for each project: of those projects of which Salesforce holds
  something else than Clockify, and of all where it holds no task of the workspace. On a project
  where somebody has worked, the tracked hours differ. They are written after its tasks, so that
  the next run looks again at the projects that one which was broken off had begun;
- invoices, as `invoices.py` says.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.kinds import CLIENTS_ARE_THERE
from commands.repair.change import Planned, RecordChange
from commands.repair.clients import Clients
from commands.repair.hours import DEPLOY, RollUp
from commands.repair.invoices import GRAPHS, Invoices
from commands.repair.one_kind import ASKED_AT_ONCE, KINDS, OneKind, Shared, Surplus
from commands.repair.projects import TRACKED, Projects
from commands.repair.records import QUERIES, TAKEN, Compared, chunks, rows_by_id
from commands.repair.task_records import TaskRecords
from commands.repair.writing import is_about_one_entry

PORTION, MOST = 16, 500  # projects whose tasks are read and written together: at first, at most
A_NIGHT = 40  # projects whose tasks are read in a night where Clockify gives 30 requests an hour
INVOICES = 400  # that are asked for and compared as a whole at a time
# Where there is no such object or field, or the integration user does not see it.
_NOT_THERE = ("INVALID_TYPE", "INVALID_FIELD", "NOT_FOUND", "INSUFFICIENT_ACCESS")
# What Clockify answers to a key that may not see something, and where the plan does not have it.
_NOT_ALLOWED = (402, 403, 404)

Json = dict[str, Any]


class Kinds:
    """Brings what a workspace has beside time entries to Salesforce."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.counts: dict[str, Counter[str]] = {}
        self.hours: Counter[str] = Counter()
        self._portion, self._projects_read = PORTION, 0

    def run(self) -> None:
        """Compare and repair all of it. Raises IntegrationError; another run goes on then."""
        there = self._there()
        if "clients" in there:
            self._do("clients", self._clients)
        if "projects" in there or "tasks" in there:
            both = [name for name in ("projects", "tasks") if name in there]
            self._do(", ".join(both), partial(self._projects, there))
        if "invoices" in there:
            self._do("invoices", self._invoices)
        for name in there:
            if name not in ("clients", "projects", "tasks", "invoices"):
                self._do(name, partial(self._plain, name))

    # What is to be had ----------------------------------------------------------------------------

    def _there(self) -> list[str]:
        """The kinds for which the org has what they need, in order."""
        wanted = [name for name in KINDS if name in self._shared.wishes.names]
        there: list[str] = []
        missing: list[str] = []
        for asked in chunks(wanted, QUERIES):
            soql = [self._question(name) for name in asked]
            answers = self._shared.org.patiently(partial(self._shared.org.org.queries, soql))
            for name, answer in zip(asked, answers, strict=True):
                if isinstance(answer, SalesforceUnavailable):
                    raise answer
                if isinstance(answer, SalesforceRefused) and answer.code not in _NOT_THERE:
                    raise answer
                is_there = not isinstance(answer, SalesforceRefused)
                (there if is_there else missing).append(name)
        if missing:
            self._leave_out(missing, f"the org does not have what they need: {DEPLOY}")
        return there

    def _question(self, name: str) -> str:
        target = KINDS[name].target
        field = target.external_id
        if name == "clients":
            field = CLIENTS_ARE_THERE
        return f"SELECT Id, {field} FROM {target.object} LIMIT 1"

    def _leave_out(self, names: Sequence[str], why: str) -> None:
        self._shared.tell(f"Left out: {', '.join(names)}: {why}.")
        for name in names:
            self.counts.pop(name, None)

    def _do(self, name: str, work: Callable[[], None]) -> None:
        """Do one kind's work; what the key or the integration user may not see is told."""
        try:
            work()
        except ClockifyError as error:
            if error.status not in _NOT_ALLOWED:
                raise
            self._leave_out(name.split(", "), str(error).rstrip("."))
        except SalesforceRefused as refusal:
            if refusal.code not in _NOT_THERE:
                raise
            named = ", ".join(refusal.fields)
            told = f"{refusal.code} {named}".rstrip()
            self._leave_out(name.split(", "), f"{told}: {DEPLOY}")

    def _kind(self, name: str, **options: Any) -> OneKind:
        found = OneKind(self._shared, name, **options)
        self.counts[name] = found.count
        return found

    # Kind by kind ---------------------------------------------------------------------------------

    def _clients(self) -> None:
        def send(batch: list[Planned]) -> list[Json]:
            return clients.send(batch)

        kind = self._kind("clients", send=send)
        clients = Clients(kind)
        with self._shared.readers.one() as history:
            for chunk in chunks(history.lists.clients(), TAKEN):
                kind.plan(clients.compare(chunk))
        kind.finish()

    def _projects(self, there: Sequence[str]) -> None:
        projects = Projects(self._shared)
        writes = "projects" in there
        if writes:
            projects.read_totals()
        kind = self._kind("projects") if writes else OneKind(self._shared, "projects")
        tasks = TaskRecords(self._kind("tasks")) if "tasks" in there else None
        for contents, hours in projects.chunks():
            found = kind.records.compare(kind.records.read(contents), hours)
            kind.count["unchanged"] += found.unchanged
            kind.count["left alone"] += found.foreign
            if tasks is not None:
                self._with_tasks(kind if writes else None, found, contents, tasks)
            else:
                kind.plan(found.changes)
            self._learn(kind, found)
        kind.finish()
        gone = self._mark_gone(kind) if writes else []
        if tasks is not None:
            tasks.finish(gone)
        if writes:
            self._roll_up(projects)

    def _with_tasks(
        self,
        kind: OneKind | None,
        found: Compared,
        contents: Sequence[Json],
        tasks: TaskRecords,
    ) -> None:
        """Some projects with their tasks, in portions of which each is done for good.

        `kind`: of the projects, where they are written too. Where Clockify gives 30 requests an
        hour, a run may be ended before it has asked for more than a few dozen projects' tasks.
        """
        late = {each.entry_id: each for each in (self._create(kind, found) if kind else [])}
        updated = {each.entry_id: each for each in found.updated}
        ids = [each.entry_id for each in found.changes]
        if tasks.takes_all:
            ids = [str(each["id"]) for each in contents]
        clients = {str(each["id"]): each.get("clientId") for each in contents}
        while ids:
            if self._has_no_time():
                self._shared.tell(
                    f"{len(ids):,} projects and their tasks are left to the next run, or one over"
                    " more than 31 days."
                )
                return
            portion, ids = ids[: self._portion], ids[self._portion :]
            self._projects_read += len(portion)
            tasks.take(portion, clients)
            if kind is not None:
                kind.plan(updated[each] for each in portion if each in updated)
                kind.finish()
                self._write_late(kind, [late[each] for each in portion if each in late])

    def _has_no_time(self) -> bool:
        """Tell whether a night has had its share of requests; set the size of the next portion."""
        is_limited = self._shared.readers.is_limited
        self._portion = PORTION if is_limited else min(MOST, 2 * self._portion)
        return is_limited and not self._shared.wishes.is_patient and self._projects_read >= A_NIGHT

    def _learn(self, kind: OneKind, found: Compared) -> None:
        """Have time entries find the projects' records without asking for each by itself."""
        shared, target = self._shared, kind.kind.target
        if found.created and shared.wishes.apply:
            kind.finish()
            ids = [each.entry_id for each in found.created]
            rows = rows_by_id(shared.org, target, ids)
            found.there |= {entry_id: row["Id"] for entry_id, row in rows.items()}
        for entry_id, record_id in found.there.items():
            shared.directory.learn(target, entry_id, record_id)

    def _write_late(self, kind: OneKind, changes: Sequence[RecordChange]) -> None:
        """Write the rest of what was created, and so is counted already."""
        if self._shared.wishes.apply and changes:
            writer = kind.new_writer(Counter())
            for change in changes:
                writer.add(change)
            writer.finish()

    def _roll_up(self, projects: Projects) -> None:
        shared = self._shared
        roll_up = RollUp(shared.org, apply=shared.wishes.apply, tell=shared.tell, show=shared.show)
        projects.roll_up(roll_up)
        self.hours = roll_up.count

    def _create(self, kind: OneKind, found: Compared) -> list[RecordChange]:
        """Make new projects without their tracked hours, and return what is to write these."""
        late = []
        for change in found.created:
            hours = change.fields.pop(TRACKED, None)
            late.append(
                RecordChange(
                    change.entry_id, change.object, change.external_id, None, {TRACKED: hours}
                )
            )
        kind.plan(found.created)
        kind.finish()
        return late

    def _mark_gone(self, kind: OneKind) -> list[str]:
        """Mark the records of what is gone in Clockify, and return Clockify's ids of them.

        Those that a message has marked are among them: no message tells of their tasks.
        """
        marks = kind.records.marks

        def act(gone: Sequence[Surplus]) -> None:
            target, marked = kind.kind.target, Counter[str]()
            writer = kind.new_writer(marked)
            for each in gone:
                writer.add(
                    RecordChange(
                        each.entry_id,
                        target.object,
                        target.external_id,
                        each.record_id,
                        dict.fromkeys(marks, True),
                    )
                )
            writer.finish()
            kind.count["deleted"] += marked["updated"]
            kind.count["meanwhile"] += marked["meanwhile"]

        if marks:
            kind.take_away([Surplus(*each) for each in kind.records.surplus()], act)
        return kind.records.gone

    def _invoices(self) -> None:
        def send(batch: list[Planned]) -> list[Json]:
            return invoices.send(batch)

        kind = self._kind("invoices", batch=GRAPHS, send=send)
        invoices = Invoices(self._shared.org, kind.records, kind.refuse)
        with self._shared.readers.one() as history:
            for chunk in chunks(history.lists.invoices(), TAKEN):
                wanted, unchanged = invoices.changed(chunk)
                kind.count["unchanged"] += unchanged
                for ids in chunks(wanted, INVOICES):
                    changes, unchanged = invoices.compare(self._asked(kind, ids))
                    kind.count["unchanged"] += unchanged
                    kind.plan(changes)
        kind.finish()

    def _asked(self, kind: OneKind, ids: Sequence[str]) -> Iterable[Json]:
        """Invoices as a whole."""

        def ask(invoice: str) -> Json | ClockifyError:
            try:
                return self._shared.readers.use(lambda history: history.lists.invoice(invoice))
            except ClockifyError as error:
                if not is_about_one_entry(error):
                    raise
                return error

        answers = self._shared.tasks.each(
            ask, ids, at_once=ASKED_AT_ONCE, what="Clockify: single invoices"
        )
        for invoice, answer in zip(ids, answers, strict=True):
            if isinstance(answer, ClockifyError):
                kind.refuse(invoice, f"Clockify does not tell it: {answer}")
            else:
                yield answer

    def _plain(self, name: str) -> None:
        """A kind of one's own: a list of records."""
        kind = self._kind(name)
        path = kind.kind.path.rpartition("/")[0]
        if "{" in path:
            self._leave_out([name], "Clockify has no list of all of them")
            return
        with self._shared.readers.one() as history:
            for chunk in chunks(history.lists.all(path), TAKEN):
                found = kind.records.compare(kind.records.read(chunk))
                kind.count["unchanged"] += found.unchanged
                kind.count["left alone"] += found.foreign
                kind.plan(found.changes)
        kind.finish()
        self._mark_gone(kind)
