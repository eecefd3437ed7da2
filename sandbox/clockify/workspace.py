"""One workspace: what it holds, and what people do in it.

What changes time entries returns the webhook messages that Clockify would send for it; so does what
changes or deletes a client, a project, a task or an invoice. `new` gives the message for one
that has been added.
"""

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sandbox.clockify import bodies
from sandbox.clockify.values import (
    WORKSPACE,
    Client,
    Entry,
    Invoice,
    Json,
    Message,
    Project,
    Task,
    User,
)


@dataclass
class Workspace:
    """What a workspace holds (and the names of others that the key sees)."""

    workspaces: list[str] = field(default_factory=lambda: [WORKSPACE])
    clock: Callable[[], float] = time.time
    # What 1 % of tax or discount is written as: when it is read, hundredths; in messages, nobody
    # has seen one.
    percent_in_rest: int = 100
    percent_in_messages: int = 1

    users: dict[str, User] = field(default_factory=dict)
    clients: dict[str, str] = field(default_factory=dict)  # id -> name
    details: dict[str, Client] = field(default_factory=dict)  # of clients, where there are any
    projects: dict[str, Project] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)  # name -> ids of users
    entries: dict[str, Entry] = field(default_factory=dict)
    deleted: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._by_start: list[tuple[datetime, str]] = []
        self._tracked: defaultdict[tuple[str, str | None], timedelta] = defaultdict(timedelta)
        self._tasks_of: defaultdict[str, dict[str, str]] = defaultdict(dict)  # ids by name
        self._ids = 0

    # Clients, projects, tasks and invoices ------------------------------------------------------

    def add_user(self, name: str, email: str | None = None, status: str = "ACTIVE") -> str:
        """Add a member and return the id."""
        user = User(
            self._new_id(), name, email or f"{name.split()[0].lower()}@acme.example", status
        )
        self.users[user.id] = user
        return user.id

    def add_client(self, name: str, **details: Any) -> str:
        """Add a client and return its id; `details` are fields of Client."""
        client = self._new_id()
        self.clients[client] = name
        if details:
            self.details[client] = Client(**details)
        return client

    def add_project(self, name: str, client: str | None = None, **fields: Any) -> str:
        """Add a project and return its id; `fields` are those of Project."""
        project = Project(self._new_id(), name, client, **fields)
        self.projects[project.id] = project
        return project.id

    def add_task(self, name: str, project: str, **fields: Any) -> str:
        """Add a task and return its id; `fields` are those of Task."""
        task = Task(self._new_id(), name, project, **fields)
        self.tasks[task.id] = task
        self._tasks_of[project][name] = task.id
        return task.id

    def add_invoice(self, number: str, client: str | None = None, **fields: Any) -> str:
        """Add an invoice and return its id; `fields` are those of Invoice."""
        invoice = Invoice(self._new_id(), number, client, **fields)
        self.invoices[invoice.id] = invoice
        return invoice.id

    def new(self, record: str) -> Message:
        """The message that a client, project, task or invoice is new."""
        kind = self._kind(record)
        return f"NEW_{kind}", self.body(record)

    def edit_client(self, client: str, name: str | None = None, **changes: Any) -> Message:
        """Change a client; `changes` are fields of Client."""
        self.clients[client] = name or self.clients[client]
        self.details[client] = replace(self.details.get(client, Client()), **changes)
        return "CLIENT_UPDATED", self.body(client)

    def edit_project(self, project: str, **changes: Any) -> Message:
        """Change a project; `changes` are fields of Project."""
        self.projects[project] = replace(self.projects[project], **changes)
        return "PROJECT_UPDATED", self.body(project)

    def edit_task(self, task: str, **changes: Any) -> Message:
        """Change a task; `changes` are fields of Task."""
        old = self.tasks[task]
        new = self.tasks[task] = replace(old, **changes)
        del self._tasks_of[old.project][old.name]
        self._tasks_of[new.project][new.name] = task
        return "TASK_UPDATED", self.body(task)

    def edit_invoice(self, invoice: str, **changes: Any) -> Message:
        """Change an invoice; `changes` are fields of Invoice."""
        self.invoices[invoice] = replace(self.invoices[invoice], **changes)
        return "INVOICE_UPDATED", self.body(invoice)

    def delete_client(self, client: str) -> Message:
        """Delete an archived client; its projects then have none, of which no message tells."""
        if not self.details.get(client, Client()).archived:
            raise ValueError("a client is archived before it is deleted")
        message = "CLIENT_DELETED", self.body(client)
        del self.clients[client], self.details[client]
        for project in self.projects.values():
            if project.client == client:
                self.projects[project.id] = replace(project, client=None)
        return message

    def delete_project(self, project: str) -> Message:
        """Delete an archived project with its tasks; its entries stay without either."""
        if not self.projects[project].archived:
            raise ValueError("a project is archived before it is deleted")
        message = "PROJECT_DELETED", self.body(project)
        for entry in list(self.entries.values()):
            if entry.project == project:
                self._keep(replace(entry, project=None, task=None))
        for task in self._tasks_of.pop(project, {}).values():
            del self.tasks[task]
        del self.projects[project]
        return message

    def delete_task(self, task: str) -> Message:
        """Delete a task that is done."""
        if self.tasks[task].status != "DONE":
            raise ValueError("a task is done before it is deleted")
        message = "TASK_DELETED", self.body(task)
        gone = self.tasks.pop(task)
        del self._tasks_of[gone.project][gone.name]
        return message

    def delete_invoice(self, invoice: str) -> None:
        """Delete an invoice, of which no message tells."""
        del self.invoices[invoice]

    def body(self, record: str) -> Json:
        """The body of a message about a client, project, task or invoice."""
        kind = self._kind(record)
        if kind == "CLIENT":
            return self._client(record)
        if kind == "PROJECT":
            return self._project(record)
        if kind == "TASK":
            return self._task(record)
        return self._invoice(record, percent=self.percent_in_messages)

    def _kind(self, record: str) -> str:
        held: dict[str, Any] = {
            "CLIENT": self.clients,
            "PROJECT": self.projects,
            "TASK": self.tasks,
            "INVOICE": self.invoices,
        }
        return next(kind for kind, records in held.items() if record in records)

    # Time entries -------------------------------------------------------------------------------

    def add(self, user: str, start: datetime, end: datetime, **fields: Any) -> Message:
        """Add a finished entry by hand; `fields` are those of Entry."""
        return "NEW_TIME_ENTRY", self._keep(Entry(self._new_id(), user, start, end, **fields))

    def start(self, user: str, start: datetime, **fields: Any) -> Message:
        """Start a timer."""
        return "NEW_TIMER_STARTED", self._keep(Entry(self._new_id(), user, start, None, **fields))

    def stop(self, entry: str, end: datetime) -> Message:
        """Stop a running timer."""
        return "TIMER_STOPPED", self._keep(replace(self.entries[entry], end=end))

    def edit(self, entry: str, **changes: Any) -> Message:
        """Change an entry; `changes` are fields of Entry."""
        return "TIME_ENTRY_UPDATED", self._keep(replace(self.entries[entry], **changes))

    def split(self, entry: str, at: datetime) -> list[Message]:
        """Split a finished entry in two; the part before `at` keeps its id.

        Which messages Clockify sends for the two parts it does not say; here one for each.
        """
        whole = self.entries[entry]
        if whole.end is None or not whole.start < at < whole.end:
            raise ValueError("an entry is split between its start and its end")
        parts = replace(whole, end=at), replace(whole, id=self._new_id(), start=at)
        return [("TIME_ENTRY_SPLIT", self._keep(part)) for part in parts]

    def delete(self, entry: str) -> Message:
        """Delete an entry; of a running one: discard its timer, which `restore` undoes."""
        with self._lock:
            gone = self.entries.pop(entry)
            self._drop(gone)
            gone = self.deleted[entry] = replace(gone, touched=self.clock())
        return "TIME_ENTRY_DELETED", self.webhook_body(gone)

    def restore(self, entry: str) -> Message:
        """Bring a deleted entry back."""
        with self._lock:
            return "TIME_ENTRY_RESTORED", self._keep(self.deleted.pop(entry))

    def import_entries(self, entries: Iterable[Entry]) -> None:
        """Add many entries at once, as Clockify's import does: no webhook, old already."""
        with self._lock:
            self.entries |= {entry.id: entry for entry in entries}
            self._by_start = sorted((entry.start, entry.id) for entry in self.entries.values())
            self._tracked.clear()
            for entry in self.entries.values():
                self._track(entry, entry.span)

    def webhook_body(self, entry: Entry) -> Json:
        """The body of a webhook: a time entry with its project, task, tags and user."""
        user = self.users[entry.user]
        return self._hydrated(entry) | {
            "currentlyRunning": entry.end is None,
            "user": {"id": user.id, "name": user.name, "status": user.status},
        }

    # What it keeps ------------------------------------------------------------------------------

    def _keep(self, entry: Entry) -> Json:
        """Keep the entry's new state and return its webhook body."""
        with self._lock:
            if entry.id in self.entries:
                self._drop(self.entries[entry.id])
            entry = self.entries[entry.id] = replace(entry, touched=self.clock())
            insort(self._by_start, (entry.start, entry.id))
            self._track(entry, entry.span)
            return self.webhook_body(entry)

    def _drop(self, entry: Entry) -> None:
        del self._by_start[bisect_left(self._by_start, (entry.start, entry.id))]
        self._track(entry, -entry.span)

    def _track(self, entry: Entry, span: timedelta) -> None:
        if entry.project:
            self._tracked[entry.project, None] += span
            if entry.task:
                self._tracked[entry.project, entry.task] += span

    def _between(self, since: datetime, until: datetime) -> list[Entry]:
        """The entries that start in the window, both edges included, in order."""
        first = bisect_left(self._by_start, (since, ""))
        last = bisect_right(self._by_start, (until, "~"))
        return [self.entries[entry_id] for _, entry_id in self._by_start[first:last]]

    def _new_id(self) -> str:
        with self._lock:
            self._ids += 1
            return f"64c777ddd3fc{self._ids:012x}"

    # How it is written --------------------------------------------------------------------------

    def _client(self, client: str) -> Json:
        details = self.details.get(client, Client())
        return bodies.client_body(client, self.clients[client], details, self.workspaces[0])

    def _project(self, project_id: str) -> Json:
        project = self.projects[project_id]
        client = self.clients.get(project.client or "", "")
        tracked = self._tracked[project_id, None]
        return bodies.project_body(project, client, tracked, self.workspaces[0])

    def _task(self, task_id: str) -> Json:
        task = self.tasks[task_id]
        return bodies.task_body(task, self._tracked[task.project, task.name])

    def _invoice(self, invoice_id: str, *, percent: int) -> Json:
        invoice = self.invoices[invoice_id]
        client = self.clients.get(invoice.client or "", "")
        user = next(iter(self.users), "")
        return bodies.invoice_body(invoice, client, user, percent=percent)

    def _task_id(self, entry: Entry) -> str:
        """The id of an entry's task, which need not be one of the workspace's tasks."""
        known = self._tasks_of.get(entry.project or "", {})
        return known.get(entry.task or "") or bodies.hashed_id(entry.task or "")

    def _hydrated(self, entry: Entry) -> Json:
        return {
            "id": entry.id,
            "description": entry.description,
            "userId": entry.user,
            "billable": entry.billable,
            "projectId": entry.project,
            "timeInterval": {
                "start": bodies.z(entry.start),
                "end": bodies.z(entry.end) if entry.end else None,
                "duration": bodies.iso_duration(entry.span) if entry.end else None,
            },
            "workspaceId": self.workspaces[0],
            "isLocked": False,
            "hourlyRate": None,
            "costRate": None,
            "customFieldValues": bodies.custom_fields(entry),
            "type": entry.type,
            "approvalStatus": "APPROVED" if entry.approved else None,
            "kioskId": None,
            "project": self._project_of_entry(entry.project) if entry.project else None,
            "task": (
                {
                    "id": self._task_id(entry),
                    "name": entry.task,
                    "projectId": entry.project,
                    "status": "ACTIVE",
                }
                if entry.task
                else None
            ),
            "tags": [
                {"id": bodies.hashed_id(tag), "name": tag, "workspaceId": self.workspaces[0]}
                for tag in entry.tags
            ],
        }

    def _project_of_entry(self, project_id: str) -> Json:
        """A project within an entry, without what changes from entry to entry."""
        project = self.projects[project_id]
        return {
            "id": project.id,
            "name": project.name,
            "clientId": project.client or "",
            "clientName": self.clients.get(project.client or "", ""),
            "workspaceId": self.workspaces[0],
            "billable": project.billable,
            "archived": project.archived,
            "color": project.color,
            "public": True,
            "template": False,
        }
