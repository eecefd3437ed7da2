"""Stand in for Clockify: what a workspace holds, what its API answers, what its webhooks send.

Call an instance to answer an HTTP request; change time entries with the methods a person's clicks
stand for (`start`, `stop`, `add`, `edit`, `split`, `delete`, `restore`), each of which returns the
webhook messages that Clockify would send. It knows no transport, keeps everything in memory and
bears 100,000 entries. https://docs.clockify.me/
"""

import email.utils
import hashlib
import json
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

KEY = "the-clockify-api-key"
WORKSPACE = "64a687e29ae1f428e7ebe303"
API_HOST = "api.clockify.me"

Json = dict[str, Any]
Answer = tuple[int, Any, dict[str, str]]
Message = tuple[str, Json]  # Clockify-Webhook-Event-Type and the body

_NOT_FOUND = {"message": "not found", "code": 404}
# Seen live for what is gone or of another workspace; a 404 was never seen.
_GONE = {"message": "Time entry doesn't belong to Workspace", "code": 501}


@dataclass(frozen=True, slots=True)
class User:
    """A member of the workspace."""

    id: str
    name: str
    email: str
    status: str = "ACTIVE"


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `client` is the id of a client or None."""

    id: str
    name: str
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A time entry; `end` is None while its timer runs. `touched`: of the API's clock."""

    id: str
    user: str
    start: datetime
    end: datetime | None
    description: str = ""
    project: str | None = None
    task: str | None = None  # its name
    tags: tuple[str, ...] = ()
    billable: bool = False
    type: str = "REGULAR"
    custom: tuple[tuple[str, Any], ...] = ()  # custom fields: name and value
    approved: bool = False
    touched: float = 0.0


@dataclass
class Faults:
    """What goes wrong; a number counts the requests that it still happens to."""

    too_many: int = 0  # 429
    retry_after: str | None = None  # the Retry-After of a 429
    broken: int = 0  # 5xx
    broken_status: int = 503
    hourly: int | None = None  # the Free plan's 30 an hour
    hour_s: float = 3600.0  # how long Clockify's hour is
    refused_webhook: int | None = None  # the creation, counted from 0, that is answered 500
    # Called with method and path after each answer: what people do while somebody reads.
    meanwhile: Callable[[str, str], None] | None = None


@dataclass
class ClockifyApi:
    """One workspace (and the names of others that the key sees); call it to answer a request."""

    webhook_limit: int = 10
    workspaces: list[str] = field(default_factory=lambda: [WORKSPACE])
    time_zone: str = "UTC"  # of the account that the key belongs to
    list_lag_s: float = 45.0  # so long a new entry may be missing from a user's list
    report_lag_s: float = 0.0
    report_days: int = 31  # the longest report of the Free plan
    report_page: int = 1000  # the largest page of a report
    report_totals: bool = True
    report_is_sorted: bool = True
    report_is_one_page: bool = False  # whatever page is asked for
    report_has_gaps: bool = False  # a null among the rows
    # Nobody says whether a report leaves out deactivated people, and how it takes a status alone.
    report_has_inactive: bool = True
    report_takes_status: str = "yes"  # yes, empty (no row then) or no (HTTP 400)
    report_tells: frozenset[str] = frozenset({"type", "customFields"})
    rows: dict[str, Json] = field(default_factory=dict)  # entry or * -> what its row says instead
    gone_status: int = 400  # of an entry that is gone: 400 or 404
    # A webhook's id -> what was answered to its messages, the newest first.
    deliveries: dict[str, list[int]] = field(default_factory=dict)
    canned: dict[tuple[str, str], Answer] = field(default_factory=dict)  # (method, path) -> answer
    clock: Callable[[], float] = time.time
    tells_time: bool = False  # in the header Date, which may be wrong to whoever asks
    faults: Faults = field(default_factory=Faults)

    users: dict[str, User] = field(default_factory=dict)
    clients: dict[str, str] = field(default_factory=dict)  # id -> name
    projects: dict[str, Project] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)  # name -> ids of users
    entries: dict[str, Entry] = field(default_factory=dict)
    deleted: dict[str, Entry] = field(default_factory=dict)
    hooks: list[Json] = field(default_factory=list)
    created: list[Json] = field(default_factory=list)  # what webhooks were asked for
    made: int = 0  # webhooks ever: neither an id nor a signing secret comes twice
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and path

    def __post_init__(self) -> None:
        self.api_key = KEY
        self._lock = threading.RLock()
        self._by_start: list[tuple[datetime, str]] = []
        self._hour_began = float("-inf")
        self._in_hour = 0
        self._ids = 0

    def reset(self) -> None:
        """Make it as new: an empty workspace, no faults; but no id comes twice."""
        ids = self._ids
        self.__init__()  # type: ignore[misc]
        self._ids = ids

    # What people do ----------------------------------------------------------------------------

    def add_user(self, name: str, email: str | None = None, status: str = "ACTIVE") -> str:
        """Add a member and return the id."""
        user = User(
            self._new_id(), name, email or f"{name.split()[0].lower()}@acme.example", status
        )
        self.users[user.id] = user
        return user.id

    def add_client(self, name: str) -> str:
        """Add a client and return its id."""
        client = self._new_id()
        self.clients[client] = name
        return client

    def add_project(self, name: str, client: str | None = None) -> str:
        """Add a project and return its id."""
        project = Project(self._new_id(), name, client)
        self.projects[project.id] = project
        return project.id

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

    def add_webhook(self, event: str, url: str) -> Json:
        """Keep a webhook with a signing secret of its own, and return it."""
        number, self.made = self.made, self.made + 1
        hook = {
            "id": f"{number:024x}",
            "webhookEvent": event,
            "url": url,
            "authToken": f"{number}{event.replace('_', '')}".ljust(32, "x")[:32],
            "enabled": True,
            "deliveryEnabled": True,
        }
        self.hooks.append(hook)
        return hook

    # What Clockify sends and answers -----------------------------------------------------------

    def webhook_body(self, entry: Entry) -> Json:
        """The body of a webhook: a time entry with its project, task, tags and user."""
        user = self.users[entry.user]
        return self._hydrated(entry) | {
            "currentlyRunning": entry.end is None,
            "user": {"id": user.id, "name": user.name, "status": user.status},
        }

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request: HTTP status, JSON, headers. `path` carries the query string."""
        with self._lock:
            self.requests.append((method, path))
            sent = {name.lower(): value for name, value in headers.items()}
            if sent.get("x-api-key") != self.api_key:
                return 401, {"message": "Api key does not exist", "code": 4003}, {}
            canned = self.canned.get((method, urlsplit(path).path.removeprefix("/api/v1")))
            status, answer, told = self._fault() or canned or self._route(method, path, body)
            if self.tells_time:
                told = told | {"Date": email.utils.formatdate(self.clock(), usegmt=True)}
        if self.faults.meanwhile:
            self.faults.meanwhile(method, path)
        return status, answer, told

    def _fault(self) -> Answer | None:
        faults, retry = self.faults, {}
        if faults.retry_after is not None:
            retry = {"Retry-After": faults.retry_after}
        if faults.hourly is not None:
            now = self.clock()
            if now - self._hour_began >= faults.hour_s:
                self._hour_began, self._in_hour = now, 0
            self._in_hour += 1
            if self._in_hour > faults.hourly:
                left = max(1, round(self._hour_began + faults.hour_s - now + 0.5))
                return _too_many({"Retry-After": str(left)} | retry)
        if faults.broken:
            faults.broken -= 1
            return faults.broken_status, {"message": "Something went wrong", "code": 500}, {}
        if faults.too_many:
            faults.too_many -= 1
            return _too_many(retry)
        return None

    def _route(self, method: str, path: str, body: bytes) -> Answer:
        url = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        parts = parts[1:] if parts[0] in ("api", "report") else parts
        if parts == ["v1", "workspaces"]:
            return 200, [{"id": name, "name": "Acme"} for name in self.workspaces], {}
        if parts[:2] != ["v1", "workspaces"] or len(parts) < 4 or parts[2] not in self.workspaces:
            return 404, _NOT_FOUND, {}
        # Other workspaces that the key sees hold nothing.
        own = parts[2] == self.workspaces[0]
        match method, parts[3:]:
            case "GET", ["time-entries", entry_id]:
                entry = self.entries.get(entry_id) if own else None
                gone = _GONE if self.gone_status == 400 else _NOT_FOUND
                return (200, self._hydrated(entry), {}) if entry else (self.gone_status, gone, {})
            case "GET", ["users"]:
                return _page([_user(user) for user in self.users.values()] if own else [], query)
            case "GET", ["user-groups"]:
                return _page(self._groups() if own else [], query)
            case "GET", ["clients"]:
                return _page(self._clients() if own else [], query)
            case "GET", ["projects"]:
                found = [self._project(project) for project in self.projects] if own else []
                return _page(found, query)
            case "GET", ["user", user, "time-entries"]:
                return self._list(user, query) if own and user in self.users else _page([], query)
            case "POST", ["reports", "detailed"]:
                return self._report(json.loads(body), own=own)
            case "GET", ["webhooks"]:
                found = self.hooks if own else []
                return 200, {"webhooks": found, "workspaceWebhookCount": len(found)}, {}
            case "POST", ["webhooks"]:
                return self._create_webhook(json.loads(body))
            case "POST", ["webhooks", hook_id, "logs"]:
                return 200, self._deliveries(hook_id), {}
            case "DELETE", ["webhooks", hook_id]:
                self.hooks = [hook for hook in self.hooks if hook["id"] != hook_id]
                return 200, {}, {}
        return 404, _NOT_FOUND, {}

    def _list(self, user: str, query: dict[str, str]) -> Answer:
        """A user's entries, newest first; the window is wall clock where the account lives."""
        since, until = (
            _wall_clock(query[name], self.time_zone) if name in query else edge
            for name, edge in (
                ("start", datetime.min.replace(tzinfo=UTC)),
                ("end", datetime.max.replace(tzinfo=UTC)),
            )
        )
        now = self.clock()
        found = [
            self._hydrated(entry)
            for entry in reversed(self._between(since, until))
            if entry.user == user and now - entry.touched >= self.list_lag_s
        ]
        return _page(found, query)

    def _report(self, body: Json, *, own: bool) -> Answer:
        """The detailed report: rows of another shape, in the order of their start."""
        try:
            since = datetime.fromisoformat(body["dateRangeStart"])
            until = datetime.fromisoformat(body["dateRangeEnd"])
            page, size = body["detailedFilter"]["page"], body["detailedFilter"]["pageSize"]
        except (KeyError, ValueError):
            return (
                400,
                {"message": "dateRangeStart, dateRangeEnd, page or pageSize", "code": 501},
                {},
            )
        if until - since > timedelta(days=self.report_days):
            return 400, {"message": "Date range is too long for your plan", "code": 501}, {}
        if not 1 <= size <= self.report_page:
            return 400, {"message": f"pageSize: 1 to {self.report_page}", "code": 501}, {}
        people, approval = body.get("users") or {}, body.get("approvalState", "ALL")
        if people and not people.get("ids") and self.report_takes_status == "no":
            return 400, {"message": "users.ids must not be null", "code": 501}, {}
        wanted = set(people.get("ids") or self.users)
        if people and not people.get("ids") and self.report_takes_status == "empty":
            wanted = set()
        if not self.report_has_inactive and people.get("status") != "ALL":
            wanted = {each for each in wanted if self.users[each].status == "ACTIVE"}
        now = self.clock()
        found = [
            entry
            for entry in (self._between(since, until) if own else [])
            if entry.user in wanted
            and now - entry.touched >= self.report_lag_s
            and approval in ("ALL", "APPROVED" if entry.approved else "UNAPPROVED")
        ]
        if body.get("sortOrder", "DESCENDING") == "DESCENDING":
            found.reverse()
        if not self.report_is_sorted:
            found.sort(key=lambda entry: hashlib.sha256(entry.id.encode()).digest())
        zone = ZoneInfo(body.get("timeZone") or self.time_zone)
        page = 1 if self.report_is_one_page else page
        shown = found[(page - 1) * size : page * size]
        rows: list[Json | None] = [
            self._row(entry, zone) | self.rows.get("*", {}) | self.rows.get(entry.id, {})
            for entry in shown
        ]
        if self.report_has_gaps and rows:
            rows.insert(1, None)
        total = {"_id": "", "totalTime": 0, "entriesCount": len(found), "totalAmount": None}
        totals: list[Json | None] = [total if found and self.report_totals else None]
        return 200, {"totals": totals, "timeentries": rows}, {}

    def _row(self, entry: Entry, zone: ZoneInfo) -> Json:
        user = self.users[entry.user]
        project = self.projects[entry.project] if entry.project else None
        seconds = round((entry.end - entry.start).total_seconds()) if entry.end else None
        told = {"type": entry.type, "customFields": _custom(entry)}
        return {name: told[name] for name in told if name in self.report_tells} | {
            "_id": entry.id,
            "description": entry.description,
            "userId": user.id,
            "userName": user.name,
            "userEmail": user.email,
            "timeInterval": {
                "start": entry.start.astimezone(zone).isoformat(),
                "end": entry.end.astimezone(zone).isoformat() if entry.end else None,
                "duration": seconds,
            },
            "billable": entry.billable,
            "projectId": project.id if project else None,
            "projectName": project.name if project else None,
            "projectColor": "#0B83D9" if project else None,
            "clientId": project.client if project else None,
            "clientName": self.clients.get(project.client or "") if project else None,
            "taskId": _task_id(entry.task) if entry.task else None,
            "taskName": entry.task,
            "tags": [{"_id": _task_id(tag), "name": tag} for tag in entry.tags],
            "isLocked": False,
            "approvalRequestId": None,
            "invoicingInfo": None,
        }

    def _hydrated(self, entry: Entry) -> Json:
        return {
            "id": entry.id,
            "description": entry.description,
            "userId": entry.user,
            "billable": entry.billable,
            "projectId": entry.project,
            "timeInterval": {
                "start": _z(entry.start),
                "end": _z(entry.end) if entry.end else None,
                "duration": _iso_duration(entry.end - entry.start) if entry.end else None,
            },
            "workspaceId": self.workspaces[0],
            "isLocked": False,
            "hourlyRate": None,
            "costRate": None,
            "customFieldValues": _custom(entry),
            "type": entry.type,
            "approvalStatus": "APPROVED" if entry.approved else None,
            "kioskId": None,
            "project": self._project(entry.project) if entry.project else None,
            "task": (
                {
                    "id": _task_id(entry.task),
                    "name": entry.task,
                    "projectId": entry.project,
                    "status": "ACTIVE",
                }
                if entry.task
                else None
            ),
            "tags": [
                {"id": _task_id(tag), "name": tag, "workspaceId": self.workspaces[0]}
                for tag in entry.tags
            ],
        }

    def _project(self, project_id: str) -> Json:
        project = self.projects[project_id]
        return {
            "id": project.id,
            "name": project.name,
            "clientId": project.client or "",
            "clientName": self.clients.get(project.client or "", ""),
            "workspaceId": self.workspaces[0],
            "billable": True,
            "archived": False,
            "color": "#0B83D9",
            "public": True,
            "template": False,
        }

    def _groups(self) -> list[Json]:
        return [
            {
                "id": _task_id(name),
                "name": name,
                "workspaceId": self.workspaces[0],
                "userIds": users,
                "teamManagers": [],
            }
            for name, users in self.groups.items()
        ]

    def _clients(self) -> list[Json]:
        return [
            {"id": client, "name": name, "workspaceId": self.workspaces[0], "archived": False}
            for client, name in self.clients.items()
        ]

    def _deliveries(self, hook_id: str) -> list[Json]:
        """https://docs.clockify.me/#tag/Webhooks/operation/getLogsForWebhook"""
        return [
            {
                "id": f"{number:024x}",
                "webhookId": hook_id,
                "statusCode": status,
                "respondedAt": _z(datetime.fromtimestamp(self.clock() - 60 * number, UTC)),
                "requestBody": '{"description": "somebody\'s"}',
                "responseBody": '{"result": "created"}',
            }
            for number, status in enumerate(self.deliveries.get(hook_id, []))
        ]

    def _create_webhook(self, wanted: Json) -> Answer:
        if not 2 <= len(wanted.get("name", "")) <= 30:
            return 400, {"message": "Webhook already exists", "code": 501}, {}
        if len(self.hooks) >= self.webhook_limit:
            return 400, {"message": "Maximum number of webhooks reached", "code": 501}, {}
        if len(self.created) == self.faults.refused_webhook:
            return 500, {"message": "Something went wrong", "code": 500}, {}
        hook = self.add_webhook(wanted["webhookEvent"], wanted["url"])
        self.created.append(wanted)
        return 201, hook, {}

    # What it keeps -----------------------------------------------------------------------------

    def _keep(self, entry: Entry) -> Json:
        """Keep the entry's new state and return its webhook body."""
        with self._lock:
            if entry.id in self.entries:
                self._drop(self.entries[entry.id])
            entry = self.entries[entry.id] = replace(entry, touched=self.clock())
            insort(self._by_start, (entry.start, entry.id))
            return self.webhook_body(entry)

    def _drop(self, entry: Entry) -> None:
        del self._by_start[bisect_left(self._by_start, (entry.start, entry.id))]

    def _between(self, since: datetime, until: datetime) -> list[Entry]:
        """The entries that start in the window, both edges included, in order."""
        first = bisect_left(self._by_start, (since, ""))
        last = bisect_right(self._by_start, (until, "~"))
        return [self.entries[entry_id] for _, entry_id in self._by_start[first:last]]

    def _new_id(self) -> str:
        with self._lock:
            self._ids += 1
            return f"64c777ddd3fc{self._ids:012x}"


def _page(items: list[Json], query: dict[str, str]) -> Answer:
    page, size = int(query.get("page", 1)), int(query.get("page-size", 50))
    last = "true" if page * size >= len(items) else "false"
    return 200, items[(page - 1) * size : page * size], {"Last-Page": last}


def _user(user: User) -> Json:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "status": user.status,
        "memberships": [],
    }


def _custom(entry: Entry) -> list[Json]:
    return [
        {
            "customFieldId": _task_id(name),
            "timeEntryId": entry.id,
            "name": name,
            "type": "TXT",
            "value": value,
        }
        for name, value in entry.custom
    ]


def _too_many(headers: dict[str, str]) -> Answer:
    return 429, {"message": "Too many requests", "code": 429}, headers


def _wall_clock(moment: str, zone: str) -> datetime:
    """Read the moment as Clockify does: what stands there, zone or not, is local time."""
    wall = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))
    return wall.astimezone(UTC)


def _task_id(name: str) -> str:
    """An id that is the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _iso_duration(span: timedelta) -> str:
    hours, rest = divmod(round(span.total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = (
        f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + f"{seconds}S" * bool(seconds)
    )
    return f"PT{parts or '0S'}"
