"""The tasks of projects that have changed, and the Tasks of those that are gone in Clockify."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.kinds.project import PROJECT
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.drafts import Drafts
from clockify_salesforce.salesforce.errors import LINKS
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.records import Known
from commands.repair.change import Change
from commands.repair.compare import differences
from commands.repair.hours import OPPORTUNITIES
from commands.repair.one_kind import ASKED_AT_ONCE, OneKind, Surplus
from commands.repair.patience import CALL_S
from commands.repair.reading import WORKSPACE
from commands.repair.records import LISTED, TAKEN, chunks, read_each, rows_by_id, rows_with
from commands.repair.task_links import TaskLinks
from commands.repair.writing import is_about_one_entry
from mapping import Upsert

TOLD = 5  # notes
STATUSES = "SELECT ApiName, IsClosed, IsDefault FROM TaskStatus ORDER BY SortOrder"

Json = dict[str, Any]


class TaskRecords:
    """Tasks of one workspace."""

    def __init__(self, kind: OneKind) -> None:
        self._kind = kind
        self._org = kind.shared.org
        self._projects: dict[str, str] = {}  # task id -> project id
        kind.settling.more = lambda task: {"projectId": self._projects.get(task, "")}
        self._own = f"{WORKSPACE} = {quoted(kind.shared.workspace)}"
        shared = kind.shared
        self._links = TaskLinks(self._org, shared.directory, shared.rules.links)
        self._drafts = Drafts(
            cast(Directory, self._links),
            rules=shared.rules,
            own_user_id=shared.org.org.user_id,
        )
        self._statuses = tuple(self._org.rows(STATUSES))
        self._told: set[str] = set()
        # Where there is none yet, no project has had its tasks looked at.
        self._is_first = not list(self._org.rows(f"{self._select('Id')} LIMIT 1"))
        self.takes_all = self._is_first or kind.shared.wishes.all_tasks

    def _select(self, fields: str) -> str:
        target = self._kind.kind.target
        return (
            f"SELECT {fields} FROM {target.object} WHERE {self._own}"
            f" AND {target.external_id} != null"
        )

    def take(self, projects: Sequence[str], clients: Mapping[str, object]) -> None:
        """Compare and write the tasks of some projects. Raises IntegrationError.

        `clients`: project id -> client id.
        """
        for chunk in chunks(self._tasks_of(projects, clients), TAKEN):
            self._kind.plan(self._compare(chunk))
        if not self.takes_all:
            self._kind.take_away(list(self._gone(projects)), self._delete)
        self._kind.finish()

    def finish(self, gone: Sequence[str]) -> None:
        """Look for the Tasks of tasks that no project has any more. Raises IntegrationError.

        `gone`: projects that Clockify no longer has.
        """
        if self.takes_all and not self._is_first:
            self._kind.take_away(list(self._gone(None)), self._delete)
        elif gone:
            self._kind.take_away(list(self._gone(gone)), self._delete)
        self._kind.finish()

    def _tasks_of(self, projects: Sequence[str], clients: Mapping[str, object]) -> Iterator[Json]:
        """The tasks of projects, each with what its body does not tell: workspace and client."""
        shared = self._kind.shared

        def ask(project: str) -> list[Json] | ClockifyError:
            try:
                return shared.readers.use(lambda history: history.lists.tasks(project))
            except ClockifyError as error:
                if not is_about_one_entry(error):
                    raise
                return error  # it was deleted a moment ago

        for asked in chunks(projects, LISTED):
            answers = shared.tasks.each(
                ask, asked, at_once=ASKED_AT_ONCE, what="Clockify: tasks of projects"
            )
            for project, answer in zip(asked, answers, strict=True):
                for task in answer if isinstance(answer, list) else []:
                    self._projects[str(task.get("id"))] = project
                    more = {"workspaceId": shared.workspace, "clientId": clients.get(project)}
                    yield {"projectId": project} | task | more

    def _compare(self, tasks: Iterable[Json]) -> Iterator[Change]:
        """Yield what is to be written; the rest is counted."""
        kind = self._kind
        decisions = {one.entry_id: one for one in read_each(kind.kind, tasks, Upsert, kind.refuse)}
        self._links.read(decisions.values())
        target = self._kind.kind.target
        names = [LINKS, WORKSPACE, *(name for one in decisions.values() for name in one.event)]
        rows = rows_by_id(self._org, target, list(decisions), names)
        for decision in decisions.values():
            row = rows.get(decision.entry_id)
            if row is not None and row[WORKSPACE] not in (None, self._kind.shared.workspace):
                self._kind.count["left alone"] += 1
            elif change := self._change(decision, row):
                yield change
            else:
                self._kind.count["unchanged"] += 1

    def _change(self, decision: Upsert, row: Json | None) -> Change | None:
        """What makes a Task what it should be; None where it is."""
        rows = ((row,) if row else (), self._statuses)
        known = Known(exists=False, rows=rows)
        if row is not None:
            known = Known(exists=True, mark=row[LINKS], record_id=row["Id"], rows=rows)
        draft, notes = self._drafts.draft(decision, known, time.monotonic() + CALL_S, has_mark=True)
        self._note(notes)
        if not isinstance(draft, EventDraft):
            return None
        if row is None:
            return Change(draft, None)
        is_same = not differences(row, decision.event) and draft.new_mark == known.mark
        return None if is_same else Change(replace(draft, path=row["Id"]), row["Id"])

    def _note(self, notes: Iterable[str]) -> None:
        """Tell what was left out, once."""
        for note in notes:
            self._kind.count["notes"] += 1
            if note not in self._told and len(self._told) < TOLD:
                self._told.add(note)
                self._kind.shared.tell(note)

    def _gone(self, projects: Sequence[str] | None) -> Iterator[Surplus]:
        """Tasks that no list has named, of all or of these projects."""
        external = self._kind.kind.target.external_id
        select = self._select(f"Id, {external}, WhatId")
        if projects is None:
            rows = [row for row in self._org.rows(select) if row[external] not in self._projects]
            parents = self._projects_of({str(row["WhatId"]) for row in rows if row["WhatId"]})
            for row in rows:
                if row["WhatId"] in parents:
                    yield self._surplus(row, parents[row["WhatId"]])
                else:
                    self._kind.count["left alone"] += 1
            return
        for chunk in chunks(projects, LISTED):
            parents = self._records_of(chunk)
            for ids in chunks(parents, LISTED):
                listed = ",".join(map(quoted, ids))
                for row in self._org.rows(f"{select} AND WhatId IN ({listed})"):
                    if row[external] not in self._projects:
                        yield self._surplus(row, parents[row["WhatId"]])

    def _surplus(self, row: Json, project: str) -> Surplus:
        task = row[self._kind.kind.target.external_id]
        self._projects[task] = project
        return Surplus(task, row["Id"], {"projectId": project})

    def _delete(self, gone: Sequence[Surplus]) -> None:
        self._kind.writer.delete({each.record_id: each.entry_id for each in gone})

    def _records_of(self, projects: Sequence[str]) -> dict[str, str]:
        """What may be related to projects: the record's id -> the project's."""
        return {
            row["Id"]: row[field]
            for what, field in (
                (PROJECT.object, PROJECT.external_id),
                (OPPORTUNITIES.object, OPPORTUNITIES.field),
            )
            for row in rows_with(self._org, what, field, projects, select=f"Id, {field}")
        }

    def _projects_of(self, records: Iterable[str]) -> dict[str, str]:
        """The same, for records."""
        ids = sorted(records)
        return {
            row["Id"]: row[field]
            for what, field in (
                (PROJECT.object, PROJECT.external_id),
                (OPPORTUNITIES.object, OPPORTUNITIES.field),
            )
            for row in rows_with(self._org, what, "Id", ids, select=f"Id, {field}")
            if row[field]
        }
