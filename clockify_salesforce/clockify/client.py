"""Talk to Clockify's REST API: read time entries and users, list and create webhooks.

It does not know what a time entry means for Salesforce; that is mapping.py's part. The API
key goes into one header and never into a message, a log or a URL.
https://docs.clockify.me/
"""

import email.utils
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import requests

from clockify_salesforce.clockify.api_key import REGIONS as REGIONS
from clockify_salesforce.clockify.api_key import api_url, read_region, reports_url
from clockify_salesforce.clockify.api_key import region_and_key as region_and_key
from clockify_salesforce.errors import IntegrationError

TIMEOUT = (3.0, 10.0)  # seconds to connect, seconds to wait for the answer
PAGE_SIZE = 200
MOST_PAGES = 1000
LARGEST_ANSWER = 32 * 1024 * 1024  # bytes; a report's page of 1,000 rows has one or two million
CLOCK_TOLERANCE_S = 3.0  # Clockify tells whole seconds
SEEN_S = 60.0  # so long a key that could read a workspace still can

# Clockify's code for what it does not accept; the sentence tells what. Seen for what was deleted:
# "Time entry", "Project", "Client", "Invoice doesn't belong to Workspace". The sentence about a
# person who is no member of a project, and may not see its tasks, ends alike and is another:
# https://github.com/lucassabreu/clockify-cli/issues/200
_NOT_ACCEPTED = 501
_GONE = re.compile(
    r"^(?!user\b).*\bbelongs? to (the |this )?(workspace|project)\b", re.IGNORECASE | re.DOTALL
)
# Its code for a path that there is not, which tells nothing of a record.
_NO_ROUTE = 3000

Json = dict[str, Any]


class ClockifyError(IntegrationError):
    """Clockify did not do what it was asked.

    `status`: the HTTP status of its answer, None without one; `code`: the number in its own error.
    """

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NoWorkspace(ClockifyError):
    """Nobody tells in which workspace Clockify could be asked."""


class _Gone(ClockifyError):
    """Clockify itself says that it has no such thing."""


class Clockify:
    """One account's view of Clockify, over one pooled HTTP session.

    `patience` is how many seconds in all a call may wait for 429 and 5xx to pass: 0, for the
    function, gives up at once. `on_wait` is told each wait in seconds before it begins.
    `readable`: a workspace's id -> when the key could read it, of time.monotonic(); clients of one
    key may share it.
    """

    def __init__(
        self,
        *,
        api_key: str,
        region: str = "",
        patience: float = 0.0,
        on_wait: Callable[[float], None] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        readable: dict[str, float] | None = None,
    ) -> None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ClockifyError(
                "The Clockify API key is empty or has a space or line break in it: copy it again"
                " from Clockify, Preferences, Advanced, Manage API keys."
            )
        region = read_region(region)
        self._base, self._reports = api_url(region), reports_url(region)
        self._patience = patience
        self._on_wait = on_wait
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["X-Api-Key"] = api_key
        self._readable = {} if readable is None else readable
        self.clock_ahead_s = 0.0  # of this machine's clock, as of the last answer

    def time_entry(
        self, workspace: str, entry: str, *, timeout: tuple[float, float] | None = None
    ) -> Json | None:
        """Return one time entry with its project, task and tags, None when it is gone.

        Gone is what Clockify itself says it has not, with a key that reads the workspace at that
        moment: a gateway's page, a key of another region or without the right raises ClockifyError.
        https://docs.clockify.me/#tag/Time-entry/operation/getTimeEntry
        """
        path = f"time-entries/{quote(entry, '')}"
        return self.record(workspace, path, entry, timeout=timeout, hydrated="true")

    def record(
        self,
        workspace: str,
        path: str,
        record_id: str,
        *,
        timeout: tuple[float, float] | None = None,
        **params: str | int,
    ) -> Json | None:
        """Return what is at `path` below the workspace and has this id, None when it is gone.

        As `time_entry` does.
        """
        path = f"/workspaces/{quote(workspace, '')}/{path}"
        try:
            found = _object(self.get(path, timeout=timeout, **params), path)
        except _Gone:
            self._check_readable(workspace, timeout)
            return None
        if found.get("id") != record_id:
            raise ClockifyError(f"Clockify answered {path} with something else: try again.")
        return found

    def workspaces(self, *, timeout: tuple[float, float] | None = None) -> list[str]:
        """Return the ids of the workspaces that the key reads now.

        https://docs.clockify.me/#tag/Workspace/operation/getWorkspacesOfUser
        """
        found = self.get("/workspaces", timeout=timeout)
        if not isinstance(found, list):
            raise ClockifyError("Clockify's answer to /workspaces is not a list.")
        ids = [str(each["id"]) for each in found if isinstance(each, dict) and each.get("id")]
        self._readable.update(dict.fromkeys(ids, time.monotonic()))
        return ids

    def user_groups(self, workspace: str) -> dict[str, list[str]]:
        """Return the groups of each user who is in any: user id -> names and ids of groups.

        https://docs.clockify.me/#tag/Group/operation/getUserGroups
        """
        groups: dict[str, list[str]] = {}
        for group in self.get_pages(f"/workspaces/{quote(workspace, '')}/user-groups"):
            users = group.get("userIds")
            for user in users if isinstance(users, list) else []:
                groups.setdefault(str(user), []).extend(
                    str(group[key]) for key in ("name", "id") if group.get(key)
                )
        return groups

    def _check_readable(self, workspace: str, timeout: tuple[float, float] | None) -> None:
        """Raise ClockifyError unless the key has read the workspace within the last minute."""
        if time.monotonic() - self._readable.get(workspace, float("-inf")) > SEEN_S:
            self._readable.pop(workspace, None)
            if workspace not in self.workspaces(timeout=timeout):
                raise ClockifyError(
                    f"The Clockify API key does not see the workspace {workspace}: it takes a key"
                    " of this workspace's region or subdomain, of one of its owners or admins."
                )

    def webhooks(self, workspace: str) -> list[Json]:
        """Return the workspace's webhooks, each with `url`, `webhookEvent` and `authToken`.

        https://docs.clockify.me/#tag/Webhooks/operation/getWebhooks
        """
        path = f"/workspaces/{quote(workspace, '')}/webhooks"
        answer = self.get(path)
        hooks = answer.get("webhooks") if isinstance(answer, dict) else answer
        if not isinstance(hooks, list):
            raise ClockifyError(f"Clockify's answer to {path} is not a list of webhooks.")
        return [_object(hook, path) for hook in hooks]

    def deliveries(self, workspace: str, webhook: str) -> list[Json]:
        """Return what a webhook sent in the last days, the newest first, at most 50.

        Each has the `statusCode` that was answered, and `respondedAt`; its bodies concern nobody.
        https://docs.clockify.me/#tag/Webhooks/operation/getLogsForWebhook
        """
        path = f"/workspaces/{quote(workspace, '')}/webhooks/{quote(webhook, '')}/logs"
        wanted = {"status": "ALL", "sortByNewest": True}
        params: dict[str, str | int] = {"page": 0, "size": 50}
        answer = self._call("POST", self._base + path, params=params, body=wanted).answer
        if not isinstance(answer, list):
            raise ClockifyError(f"Clockify's answer to {path} is not a list.")
        return [_object(each, path) for each in answer]

    def create_webhook(self, workspace: str, *, name: str, url: str, event: str) -> Json:
        """Create a webhook for one event and return it; `name` has 2 to 30 characters.

        https://docs.clockify.me/#tag/Webhooks/operation/create
        """
        path = f"/workspaces/{quote(workspace, '')}/webhooks"
        body = {
            "name": name,
            "url": url,
            "webhookEvent": event,
            "triggerSourceType": "WORKSPACE_ID",
            "triggerSource": [],
        }
        return _object(self._call("POST", self._base + path, body=body).answer, path)

    def delete_webhook(self, workspace: str, webhook: str) -> None:
        """Delete a webhook; one that is gone already is no error.

        https://docs.clockify.me/#tag/Webhooks/operation/delete
        """
        path = f"/workspaces/{quote(workspace, '')}/webhooks/{quote(webhook, '')}"
        try:
            self._call("DELETE", self._base + path)
        except ClockifyError as error:
            if error.status != 404:
                raise

    def get(
        self, path: str, *, timeout: tuple[float, float] | None = None, **params: str | int
    ) -> Any:
        """Return the JSON answer to GET `path`, a path below the region's /api/v1."""
        return self._call("GET", self._base + path, params=params, timeout=timeout).answer

    def get_pages(self, path: str, **params: str | int) -> Iterator[Json]:
        """Yield the objects of a paged list, page after page, to its Last-Page header."""
        before: list[Any] = []
        for page in range(1, MOST_PAGES + 1):
            query = {"page-size": PAGE_SIZE, **params, "page": page}
            reply = self._call("GET", self._base + path, params=query)
            items = reply.answer
            if not isinstance(items, list):
                raise ClockifyError(f"Clockify's answer to {path} is not a list.")
            if items and items == before:
                raise ClockifyError(f"Clockify answers {path} with the same page again.")
            yield from (item for item in items if isinstance(item, dict))
            last = reply.headers.get("Last-Page")
            if last == "true" or not items:
                return
            if last is None and len(items) < int(query["page-size"]):
                return
            before = items
        raise ClockifyError(f"Clockify's answer to {path} has no end.")

    def report(self, path: str, body: Json) -> Json:
        """Return the JSON answer to POST `path` on the Reports API."""
        return _object(self._call("POST", self._reports + path, body=body).answer, path)

    def _call(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, str | int] | None = None,
        body: Json | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> "_Reply":
        """Send one request, wait within `patience` where Clockify asks for it, and check it."""
        waited, attempt = 0.0, 0
        while True:
            attempt += 1
            wait = min(2.0**attempt, 60.0)
            again = method != "POST" or "/reports/" in url  # a POST may have been carried out
            try:
                reply = self._send(method, url, params, body, timeout or self._timeout)
            except requests.RequestException as error:
                failure = ClockifyError(
                    f"Clockify could not be reached at {url} ({type(error).__name__}): check the"
                    " network and status.clockify.me."
                )
            else:
                if 200 <= reply.status < 300 and (method == "DELETE" or reply.is_json):
                    return reply
                failure = _refusal(reply, url)
                if reply.status == 429:
                    again = True  # refused before it was looked at
                    wait = _retry_after(reply.headers.get("Retry-After", ""), default=wait)
                elif reply.status < 500:
                    again = False
            if not again or waited + wait > self._patience:
                raise failure
            if self._on_wait:
                self._on_wait(wait)
            time.sleep(wait)
            waited += wait

    def _send(
        self,
        method: str,
        url: str,
        params: dict[str, str | int] | None,
        body: Json | None,
        timeout: tuple[float, float],
    ) -> "_Reply":
        """Send one request and read its whole answer in time.

        Raises RequestException, and ClockifyError for an answer without end.

        A redirect is not followed: it would carry the API key to wherever it points.
        """
        until = time.monotonic() + sum(timeout)
        with self._session.request(
            method,
            url,
            params=params,
            json=body,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            self.clock_ahead_s = _clock_ahead(response.headers.get("Date", ""))
            read = bytearray()
            for chunk in response.iter_content(64 * 1024):
                read += chunk
                if len(read) > LARGEST_ANSWER:
                    raise ClockifyError(f"Clockify's answer at {url} is too large to be one.")
                if time.monotonic() > until:
                    raise requests.Timeout("the answer takes too long")
            return _Reply(response.status_code, response.headers, bytes(read))


def report_of(since: datetime, until: datetime) -> Json:
    """What the requests for all reports of a span have in common; `until` is not within it.

    https://docs.clockify.me/#tag/Time-Entry-Report
    """
    return {
        "dateRangeStart": f"{since:%Y-%m-%dT%H:%M:%S}.000Z",
        "dateRangeEnd": f"{until - timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%S}.999Z",
        "timeZone": "UTC",
        "exportType": "JSON",
        "rounding": False,
    }


class _Reply:
    """An answer of Clockify's, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.is_json = True
        try:
            self.answer: Any = json.loads(body)
        except (ValueError, RecursionError):
            self.answer, self.is_json = None, False

    @property
    def code(self) -> int | None:
        """The number in Clockify's own error, None where it is none of Clockify's.

        https://docs.clockify.me/#section/Errors
        """
        error = self.answer if isinstance(self.answer, dict) else {}
        code = error.get("code")
        is_own = isinstance(error.get("message"), str) and type(code) is int
        return code if is_own else None

    @property
    def is_gone(self) -> bool:
        """Clockify says that it has not what was asked for: most calls by 400, some by 404."""
        if self.status == 400 and self.code == _NOT_ACCEPTED:
            return bool(_GONE.search(self.answer["message"]))
        return self.status == 404 and self.code not in (None, _NO_ROUTE)


def _clock_ahead(date: str) -> float:
    """Seconds by which this machine's clock is ahead of Clockify's; 0.0 for less than a few.

    https://www.rfc-editor.org/rfc/rfc9110#name-date
    """
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    ahead = time.time() - theirs
    return ahead if abs(ahead) > CLOCK_TOLERANCE_S else 0.0


def _retry_after(header: str, *, default: float) -> float:
    """Return the seconds that a 429 asks to wait: its Retry-After, a number or a date.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", header):
        return max(float(header), 0.1)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.1)
    except (TypeError, ValueError, OverflowError):
        return default


def _refusal(reply: _Reply, url: str) -> ClockifyError:
    """Return the error for an answer that is not a success, with what to do about it.

    Clockify's own words are not quoted: they name people, and repeat what they were sent.
    """
    status = reply.status
    told = f"HTTP {status}" if reply.code is None else f"HTTP {status}, code {reply.code}"
    if status == 401:
        message = (
            f"Clockify refused the API key at {url} ({told}): make a new one in Clockify,"
            " Preferences, Advanced, Manage API keys. A workspace on a subdomain or in another"
            " region needs a key of its own."
        )
    elif status == 403:
        message = (
            f"Clockify forbids this key's owner {url} ({told}): it takes an owner or admin of the"
            " workspace, and a plan that has the feature."
        )
    elif status == 404:
        message = (
            f"Clockify has nothing at {url} ({told}): check the workspace's id and the region."
        )
    elif status == 429:
        message = "Clockify's limit of requests is used up: wait (Free: 30 an hour) and try again."
    elif 300 <= status < 400:
        message = f"Clockify has moved {url} ({told}): check the region or subdomain."
    elif status >= 500 or status < 300:
        message = f"Clockify answered {url} with {told}: try again later."
    else:
        message = f"Clockify refused {url} with {told}: check the workspace's id and the region."
    kind = _Gone if reply.is_gone else ClockifyError
    return kind(message, status=status, code=reply.code)


def _object(answer: Any, path: str) -> Json:
    """Return `answer` if it is a JSON object, else raise ClockifyError."""
    if not isinstance(answer, dict):
        raise ClockifyError(f"Clockify's answer to {path} is not a JSON object.")
    return answer
