"""Talk to Clockify's REST API: read time entries and users, list and create webhooks.

It does not know what a time entry means for Salesforce; that is mapping.py's part. The API
key goes into one header and never into a message, a log or a URL.
https://docs.clockify.me/
"""

import email.utils
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import requests

from clockify_salesforce.errors import IntegrationError

REGIONS = ("", "euc1", "use2", "euw2", "apse2")
TIMEOUT = (3.0, 10.0)  # seconds to connect, seconds to wait for the answer
PAGE_SIZE = 200
CLOCK_TOLERANCE_S = 3.0  # Clockify tells whole seconds

Json = dict[str, Any]


class ClockifyError(IntegrationError):
    """Clockify did not do what it was asked; `status` is its HTTP status, None without one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def api_url(region: str = "") -> str:
    """Return the base URL of the REST API: '' for the global region, else e.g. 'euc1'."""
    if region not in REGIONS:
        known = ", ".join(name for name in REGIONS if name)
        # What was given is not quoted: where region and key are swapped, it is the key.
        raise ClockifyError(
            "What stands in front of the Clockify API key is no region of Clockify's: the region,"
            f" one of {known}, comes first, then a space and the key; a global key stands alone."
        )
    return f"https://{region or 'api'}.clockify.me/api/v1"


def reports_url(region: str = "") -> str:
    """Return the base URL of the Reports API of a region, '' for the global one."""
    if not region:
        return "https://reports.api.clockify.me/v1"
    return api_url(region).removesuffix("/api/v1") + "/report/v1"


def region_and_key(text: str) -> tuple[str, str]:
    """Split what a secret, file or prompt holds: a key, or its region, a space and the key."""
    *region, key = text.split() or [""]
    return " ".join(region), key


class Clockify:
    """One account's view of Clockify, over one pooled HTTP session.

    `patience` is how many seconds in all a call may wait for 429 and 5xx to pass: 0, for the
    function, gives up at once. `on_wait` is told each wait in seconds before it begins.
    """

    def __init__(
        self,
        *,
        api_key: str,
        region: str = "",
        patience: float = 0.0,
        on_wait: Callable[[float], None] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ClockifyError(
                "The Clockify API key is empty or has a space or line break in it: copy it again"
                " from Clockify, Preferences, Advanced, Manage API keys."
            )
        self._base = api_url(region)
        self._reports = reports_url(region)
        self._patience = patience
        self._on_wait = on_wait
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["X-Api-Key"] = api_key
        self.clock_ahead_s = 0.0  # of this machine's clock, as of the last answer

    def time_entry(self, workspace: str, entry: str) -> Json | None:
        """Return one time entry with its project, task and tags, None when it is gone.

        https://docs.clockify.me/#tag/Time-entry/operation/getTimeEntry
        """
        path = f"/workspaces/{quote(workspace, '')}/time-entries/{quote(entry, '')}"
        try:
            return _object(self.get(path, hydrated="true"), path)
        except ClockifyError as error:
            # Some of Clockify's calls answer so for what is gone: "… doesn't belong to Workspace".
            if error.status == 404 or (error.status == 400 and "belong" in str(error)):
                return None
            raise

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
        return _object(self._call("POST", self._base + path, json=body).json(), path)

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

    def get(self, path: str, **params: str | int) -> Any:
        """Return the JSON answer to GET `path`, a path below the region's /api/v1."""
        return self._call("GET", self._base + path, params=params).json()

    def get_pages(self, path: str, **params: str | int) -> Iterator[Json]:
        """Yield the objects of a paged list, page after page, to its Last-Page header."""
        page = 0
        while True:
            page += 1
            query = {"page-size": PAGE_SIZE, **params, "page": page}
            response = self._call("GET", self._base + path, params=query)
            items = response.json()
            if not isinstance(items, list):
                raise ClockifyError(f"Clockify's answer to {path} is not a list.")
            yield from (_object(item, path) for item in items)
            last = response.headers.get("Last-Page")
            if last == "true" or not items:
                return
            if last is None and len(items) < int(query["page-size"]):
                return

    def report(self, path: str, body: Json) -> Json:
        """Return the JSON answer to POST `path` on the Reports API."""
        return _object(self._call("POST", self._reports + path, json=body).json(), path)

    def _call(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, str | int] | None = None,
        json: Json | None = None,
    ) -> requests.Response:
        """Send one request, wait within `patience` where Clockify asks for it, and check it."""
        waited = 0.0
        attempt = 0
        while True:
            attempt += 1
            failure: ClockifyError
            wait = min(2.0**attempt, 60.0)
            again = method != "POST" or "/reports/" in url  # a POST may have been carried out
            try:
                response = self._session.request(
                    method,
                    url,
                    params=params,
                    json=json,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                failure = ClockifyError(
                    f"Clockify could not be reached at {url.split('?')[0]}"
                    f" ({type(error).__name__}): check the network and status.clockify.me."
                )
            else:
                self.clock_ahead_s = _clock_ahead(response)
                if 200 <= response.status_code < 300 and (method == "DELETE" or _is_json(response)):
                    return response
                failure = _refusal(response, url)
                if response.status_code == 429:
                    again = True  # refused before it was looked at
                    wait = _retry_after(response, default=wait)
                elif response.status_code < 500:
                    again = False
            if not again or waited + wait > self._patience:
                raise failure
            if self._on_wait:
                self._on_wait(wait)
            time.sleep(wait)
            waited += wait


def _is_json(response: requests.Response) -> bool:
    """Tell whether the answer's body is JSON."""
    try:
        response.json()
    except ValueError:
        return False
    return True


def _clock_ahead(response: requests.Response) -> float:
    """Seconds by which this machine's clock is ahead of Clockify's; 0.0 for less than a few.

    https://www.rfc-editor.org/rfc/rfc9110#name-date
    """
    try:
        theirs = email.utils.parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError):
        return 0.0
    ahead = time.time() - theirs
    return ahead if abs(ahead) > CLOCK_TOLERANCE_S else 0.0


def _retry_after(response: requests.Response, *, default: float) -> float:
    """Return the seconds that a 429 asks to wait: its Retry-After, a number or a date."""
    header = response.headers.get("Retry-After", "")
    try:
        return max(float(header), 0.1)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.1)
    except (TypeError, ValueError):
        return default


def _refusal(response: requests.Response, url: str) -> ClockifyError:
    """Return the error for an answer that is not a success, with what to do about it.

    https://docs.clockify.me/#section/Errors
    """
    status = response.status_code
    where = url.split("?")[0]
    if status == 401:
        message = (
            f"Clockify refused the API key at {where}: make a new one in Clockify, Preferences,"
            " Advanced, Manage API keys. A workspace on a subdomain or in another region needs"
            " a key of its own."
        )
    elif status == 403:
        message = (
            f"Clockify forbids this key's owner {where}: it takes an owner or admin of the"
            " workspace, and a plan that has the feature."
        )
    elif status == 404:
        message = f"Clockify has nothing at {where}: check the workspace's id and the region."
    elif status == 429:
        message = "Clockify's limit of requests is used up: wait (Free: 30 an hour) and try again."
    elif status >= 500 or status < 400:
        message = f"Clockify answered {where} with HTTP {status}: try again later."
    else:
        message = f"Clockify refused {where} with HTTP {status}: {_reason(response)}"
    return ClockifyError(message, status=status)


def _reason(response: requests.Response) -> str:
    """Return Clockify's own words for a refusal, shortened, or say that there are none."""
    try:
        answer = response.json()
    except ValueError:
        return "no reason given."
    message = answer.get("message") if isinstance(answer, dict) else None
    return str(message)[:200] if message else "no reason given."


def _object(answer: Any, path: str) -> Json:
    """Return `answer` if it is a JSON object, else raise ClockifyError."""
    if not isinstance(answer, dict):
        raise ClockifyError(f"Clockify's answer to {path} is not a JSON object.")
    return answer
