"""The API of the stand-in: lists, single records, webhooks, and what goes wrong."""

import email.utils
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from sandbox.clockify import bodies
from sandbox.clockify.reports import Reports
from sandbox.clockify.values import Answer, Client, Json

KEY = "the-clockify-api-key"
API_HOST = "api.clockify.me"
# https://docs.clockify.me/#tag/Webhooks; the last of those about entries was there until 2025.
EVENTS = frozenset(
    {
        *("NEW_TIMER_STARTED", "TIMER_STOPPED", "NEW_TIME_ENTRY", "TIME_ENTRY_UPDATED"),
        *("TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED", "TIME_ENTRY_SPLIT"),
        "TIME_ENTRY_BATCH_DELETED",
        *("NEW_CLIENT", "CLIENT_UPDATED", "CLIENT_DELETED"),
        *("NEW_PROJECT", "PROJECT_UPDATED", "PROJECT_DELETED"),
        *("NEW_TASK", "TASK_UPDATED", "TASK_DELETED", "NEW_INVOICE", "INVOICE_UPDATED"),
        *("NEW_TAG", "TAG_UPDATED", "TAG_DELETED", "EXPENSE_CREATED", "EXPENSE_UPDATED"),
    }
)

_NOT_FOUND = {"message": "not found", "code": 404}


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
class ClockifyApi(Reports):
    """One workspace; call it to answer a request."""

    webhook_limit: int = 10
    list_lag_s: float = 45.0  # so long a new entry may be missing from a user's list
    largest_page: int = 5000
    largest_invoice_page: int = 200  # Clockify names none; clients of its API keep to this
    invoices_status: int = 200  # where the plan has no invoices: another, not documented which
    gone_status: int = 400  # of a record that is gone: 400 or 404
    # A webhook's id -> what was answered to its messages, the newest first.
    deliveries: dict[str, list[int]] = field(default_factory=dict)
    canned: dict[tuple[str, str], Answer] = field(default_factory=dict)  # (method, path) -> answer
    tells_time: bool = False  # in the header Date, which may be wrong to whoever asks
    faults: Faults = field(default_factory=Faults)
    hooks: list[Json] = field(default_factory=list)
    created: list[Json] = field(default_factory=list)  # what webhooks were asked for
    made: int = 0  # webhooks ever: neither an id nor a signing secret comes twice
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and path

    def __post_init__(self) -> None:
        super().__post_init__()
        self.api_key = KEY
        self._hour_began = float("-inf")
        self._in_hour = 0

    def reset(self) -> None:
        """Make it as new: an empty workspace, no faults; but no id comes twice."""
        ids = self._ids
        self.__init__()  # type: ignore[misc]
        self._ids = ids

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
        # A list, as of statuses, may be one value or one a status.
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
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
                return (200, self._hydrated(entry), {}) if entry else self._gone("Time entry")
            case "GET", ["users"]:
                return _page(
                    [bodies.user_body(user) for user in self.users.values()] if own else [], query
                )
            case "GET", ["user-groups"]:
                return _page(self._groups() if own else [], query)
            case "GET", ["user", user, "time-entries"]:
                return self._list(user, query) if own and user in self.users else _page([], query)
            case "POST", ["reports", "detailed"]:
                return self._detailed(json.loads(body), own=own)
            case "POST", ["reports", "summary"]:
                return self._summary(json.loads(body), own=own)
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
            case "GET", ["clients" | "projects" | "invoices", *_]:
                return self._records(parts[3:], query) if own else _page([], query)
        return 404, _NOT_FOUND, {}

    def _records(self, at: list[str], query: dict[str, str]) -> Answer:
        """Clients, projects, tasks and invoices, in lists and one by one."""
        if at[0] == "invoices" and self.invoices_status != 200:
            return self.invoices_status, {"message": "Access Denied", "code": 4031}, {}
        match at:
            case ["clients"]:
                clients, none = list(self.clients), Client()
                archived = {each: self.details.get(each, none).archived for each in clients}
                return self._listed(_wanted(archived, query), query, self._client)
            case ["projects"]:
                archived = {each.id: each.archived for each in [*self.projects.values()]}
                return self._listed(_wanted(archived, query), query, self._project)
            case ["invoices"]:
                return self._invoice_list(query)
            case ["projects", project, "tasks"] if project in self.projects:
                tasks = list(self._tasks_of.get(project, {}).values())
                return self._listed(tasks, query, self._task)
        return self._one(at)

    def _one(self, at: list[str]) -> Answer:
        """A single record, or the refusal of one that is gone."""
        match at:
            case ["projects", project, "tasks", task] if project in self.projects:
                if task not in self._tasks_of.get(project, {}).values():
                    return self._gone("Task", "Project")
                return 200, self._task(task), {}
            case ["clients", client]:
                known = client in self.clients
                return (200, self._client(client), {}) if known else self._gone("Client")
            case ["invoices", invoice]:
                known = invoice in self.invoices
                return (200, self._whole_invoice(invoice), {}) if known else self._gone("Invoice")
            case ["projects", project, *more]:
                known = project in self.projects and not more
                return (200, self._project(project), {}) if known else self._gone("Project")
        return 404, _NOT_FOUND, {}

    def _gone(self, kind: str, within: str = "Workspace") -> Answer:
        """Seen live for what is gone or of another workspace; a 404 was never seen."""
        if self.gone_status != 400:
            return self.gone_status, _NOT_FOUND, {}
        return 400, {"message": f"{kind} doesn't belong to {within}", "code": 501}, {}

    def _listed(self, ids: list[str], query: dict[str, str], body: Callable[[str], Json]) -> Answer:
        """One page of a list; only what is on it is written out."""
        size = int(query.get("page-size", 50))
        if not 1 <= size <= self.largest_page:
            return 400, {"message": f"page-size: 1 to {self.largest_page}", "code": 501}, {}
        status, shown, headers = _page(ids, query)
        return status, [body(each) for each in shown], headers

    def _invoice_list(self, query: dict[str, str]) -> Answer:
        if int(query.get("page-size", 50)) > self.largest_invoice_page:
            message = f"page-size: 1 to {self.largest_invoice_page}"
            return 400, {"message": message, "code": 501}, {}
        statuses = query["statuses"].split(",") if "statuses" in query else None
        every = list(self.invoices.values())
        found = [each for each in every if statuses is None or each.status in statuses]
        status, shown, headers = _page(found, query)
        rows = [bodies.invoice_row(each, self.clients.get(each.client or "", "")) for each in shown]
        return status, {"total": len(found), "invoices": rows}, headers

    def _whole_invoice(self, invoice_id: str) -> Json:
        """An invoice as REST has it: with its items, and with what of it is paid."""
        invoice = self.invoices[invoice_id]
        paid = {"paid": invoice.paid, "balance": invoice.amount - invoice.paid}
        return self._invoice(invoice_id, percent=self.percent_in_rest) | paid

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

    def _groups(self) -> list[Json]:
        return [
            {
                "id": bodies.hashed_id(name),
                "name": name,
                "workspaceId": self.workspaces[0],
                "userIds": users,
                "teamManagers": [],
            }
            for name, users in self.groups.items()
        ]

    def _deliveries(self, hook_id: str) -> list[Json]:
        """https://docs.clockify.me/#tag/Webhooks/operation/getLogsForWebhook"""
        return [
            {
                "id": f"{number:024x}",
                "webhookId": hook_id,
                "statusCode": status,
                "respondedAt": bodies.z(datetime.fromtimestamp(self.clock() - 60 * number, UTC)),
                "requestBody": '{"description": "somebody\'s"}',
                "responseBody": '{"result": "created"}',
            }
            for number, status in enumerate(self.deliveries.get(hook_id, []))
        ]

    def _create_webhook(self, wanted: Json) -> Answer:
        if not 2 <= len(wanted.get("name", "")) <= 30:
            return 400, {"message": "Webhook already exists", "code": 501}, {}
        if wanted.get("webhookEvent") not in EVENTS:
            return 400, {"message": "webhookEvent: no such event", "code": 501}, {}
        if len(self.hooks) >= self.webhook_limit:
            return 400, {"message": "Maximum number of webhooks reached", "code": 501}, {}
        if len(self.created) == self.faults.refused_webhook:
            return 500, {"message": "Something went wrong", "code": 500}, {}
        hook = self.add_webhook(wanted["webhookEvent"], wanted["url"])
        self.created.append(wanted)
        return 201, hook, {}


def _page(items: list[Any], query: dict[str, str]) -> Answer:
    page, size = int(query.get("page", 1)), int(query.get("page-size", 50))
    last = "true" if page * size >= len(items) else "false"
    return 200, items[(page - 1) * size : page * size], {"Last-Page": last}


def _wanted(archived: dict[str, bool], query: dict[str, str]) -> list[str]:
    """Those that are archived or those that are not; both where nothing is asked for."""
    if "archived" not in query:
        return list(archived)
    return [each for each, is_so in archived.items() if is_so is (query["archived"] == "true")]


def _too_many(headers: dict[str, str]) -> Answer:
    return 429, {"message": "Too many requests", "code": 429}, headers


def _wall_clock(moment: str, zone: str) -> datetime:
    """Read the moment as Clockify does: what stands there, zone or not, is local time."""
    wall = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))
    return wall.astimezone(UTC)
