"""Bring a decision to Salesforce: sign in once, make the one call, and tell what its errors mean.

simple-salesforce signs in and calls; this adds what it lacks: time-outs, a pool for all threads,
one sign-in at a time, a bound on tries, and Salesforce hosts only. It does not decide what an Event
looks like (mapping) nor which message is the newest (order).
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError
from simple_salesforce.login import SalesforceLogin
from urllib3.connection import HTTPConnection

from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.salesforce.credentials import sign_in_arguments
from clockify_salesforce.salesforce.errors import LINKS, RULE, SalesforceRefused, meaning
from clockify_salesforce.salesforce.records import Links, event_body, give_way, hidden_event
from mapping import EXTERNAL_ID, VERSION, Upsert

CONNECT_S, READ_S = 3.0, 5.0
TRIES = 3
# Cloud Run lets one instance have at most 1,000 requests at work.
POOL = 1000
EVENT = f"sobjects/Event/{EXTERNAL_ID}/"
# What stands in the recycle bin for an entry that was deleted before its Event could be written.
TOMBSTONE = "Deleted in Clockify"
# And for an Event of ours that came too late: no deletion of Clockify's.
TAKEN_BACK = "Taken back"
_LOGIN = "https://login.salesforce.com"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an upsert; `left_out`: fields that Salesforce refused, with the reason."""

    result: str  # created, updated or stale
    left_out: tuple[str, ...] = ()
    path: str = ""  # of the Event, for another call


class _Adapter(HTTPAdapter):
    """No call without a time-out, also where simple-salesforce passes none."""

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        # Behind a proxy, urllib3 leaves TCP_NODELAY out, and each call would wait 40 ms for an ACK.
        kwargs.setdefault("socket_options", HTTPConnection.default_socket_options)
        return super().proxy_manager_for(proxy, **kwargs)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = (CONNECT_S, READ_S)
        return super().send(request, *args, **kwargs)


class Org:
    """One Salesforce org as the integration user sees it. Safe between threads."""

    def __init__(
        self, credentials: Callable[[], str], *, version: str, read_s: float = READ_S
    ) -> None:
        """`credentials` gives the JSON of SALESFORCE_CREDENTIALS when a sign-in needs it.

        `read_s`: how long one answer may take, in seconds.
        """
        self._credentials = credentials
        self._read_s = read_s
        self._version = version
        self._session = requests.Session()
        # Salesforce's API sends no redirect; one would carry the session to another host.
        self._session.max_redirects = 0
        self._session.mount("https://", _Adapter(pool_maxsize=POOL))
        # Left to itself, requests looks through the environment and for a .netrc at every call,
        # which takes a seventh of a message's time.
        found = self._session.merge_environment_settings(_LOGIN, {}, None, None, None)
        self._session.proxies, self._session.verify = found["proxies"], found["verify"]
        self._session.trust_env = False
        self._signing_in = threading.Lock()
        self._client: Salesforce | None = None
        self._calls = threading.local()
        self._no_mark_until = 0.0

    @property
    def calls(self) -> int:
        """Calls that this thread has made to Salesforce, sign-ins included."""
        return getattr(self._calls, "made", 0)

    def upsert(self, decision: Upsert, version: int, links: Links, deadline: float) -> Written:
        """Write an Event unless a newer state of it is there.

        `version`: first receipt in milliseconds; `deadline`: of time.monotonic(). What Salesforce
        refuses of owner, links or length is given way to, and told. Raises SalesforceUnavailable,
        SalesforceRefused.
        """
        body = event_body(decision, version, links)
        if time.monotonic() < self._no_mark_until:
            body.pop(LINKS, None)
        left_out: list[str] = []
        path = EVENT + decision.entry_id
        while True:
            try:
                answer = self.call("PATCH", path, deadline, json=body)
            except SalesforceRefused as refusal:
                if self._is_stale(refusal, decision.entry_id, version, deadline):
                    return Written("stale")
                if hidden := hidden_event(refusal):
                    if path == hidden:
                        raise
                    path = hidden
                    continue
                left_out += give_way(body, refusal, decision)
                if LINKS in refusal.fields and refusal.code == "INVALID_FIELD":
                    left_out.append(f"{LINKS}: left out for an hour: {refusal}")
                    self._no_mark_until = time.monotonic() + 3600
                continue
            created = isinstance(answer, dict) and answer.get("created") is True
            return Written("created" if created else "updated", tuple(left_out), path)

    def _is_stale(
        self, refusal: SalesforceRefused, entry_id: str, version: int, deadline: float
    ) -> bool:
        """Tell whether a rule refused this version because a newer one is there.

        Where another rule of the org refuses it too, Salesforce may name only that one: one look.
        """
        if refusal.code != RULE or LINKS in refusal.fields:
            return False
        if VERSION in refusal.fields:
            return True
        soql = f"SELECT {VERSION} FROM Event WHERE {EXTERNAL_ID} = {quoted(entry_id)}"
        return any((row[VERSION] or 0) > version for row in self.query(soql, deadline))

    def delete(self, entry_id: str, deadline: float, *, tries: int = TRIES) -> bool:
        """Delete an entry's Event; tell whether there was one. Raises as `upsert`."""
        return self._delete(EVENT + entry_id, deadline, tries)

    def _delete(self, path: str, deadline: float, tries: int = TRIES) -> bool:
        try:
            self.call("DELETE", path, deadline, tries=tries)
        except SalesforceRefused as refusal:
            if refusal.code not in ("NOT_FOUND", "ENTITY_IS_DELETED"):
                raise
            return False
        return True

    def bury(
        self, entry_id: str, version: int, deadline: float, *, subject: str = TOMBSTONE
    ) -> bool:
        """Delete an entry's Event unless a newer state is there, and leave a tombstone.

        Stamping the version first lets Salesforce refuse an overtaken delete, and an Event that was
        never written is in the recycle bin all the same, where `buried` finds it when an older
        message comes late. `subject`: TAKEN_BACK where it is no deletion of Clockify's. Returns
        False if overtaken. Raises as `upsert`.
        """
        moment = datetime.fromtimestamp(version / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stamp = {"StartDateTime": moment, "EndDateTime": moment, "Subject": subject}
        path = EVENT + entry_id
        try:
            stamped = self.upsert(Upsert(entry_id, stamp), version, Links(), deadline)
            if stamped.result == "stale":
                return False
            path = stamped.path
        except SalesforceRefused as refusal:
            # A rule of the org's own, and `upsert` has seen that nothing newer is there; or the
            # recycle bin holds the entry already, and on to its id.
            if refusal.code not in (RULE, "ENTITY_IS_DELETED"):
                raise
        self._delete(path, deadline)
        return True

    def buried(self, entry_id: str, deadline: float) -> int | None:
        """Say when Clockify's deletion of the entry was received (ms), None if there was none.

        Only what the integration user deleted counts: whoever made an Event, as this user makes
        all of them, is also the last to have changed it.
        """
        found = self.query(
            "SELECT Subject, Clockify_Version__c, SystemModstamp, CreatedById, LastModifiedById"
            f" FROM Event WHERE {EXTERNAL_ID} = {quoted(entry_id)} AND IsDeleted = true",
            deadline,
            deleted=True,
        )
        times = [
            int(row[VERSION]) if row["Subject"] == TOMBSTONE else _ms(row["SystemModstamp"])
            for row in found
            if row["CreatedById"] == row["LastModifiedById"] and row["Subject"] != TAKEN_BACK
        ]
        return max(times, default=None)

    def query(self, soql: str, deadline: float, *, deleted: bool = False) -> list[dict[str, Any]]:
        """Run SOQL and return its rows, those of the recycle bin too if `deleted`."""
        rows: list[dict[str, Any]] = []
        path, params = "queryAll" if deleted else "query", {"q": soql}
        while True:
            answer = self.call("GET", path, deadline, params=params)
            rows += answer["records"]
            if answer.get("done", True):
                return rows
            path, params = answer["nextRecordsUrl"].split(f"/v{self._version}/", 1)[1], {}

    def queries(
        self, soql: Sequence[str], deadline: float
    ) -> list[dict[str, Any] | SalesforceRefused | SalesforceUnavailable]:
        """Run up to five SOQL queries in one call; for each its answer, or the error it met.

        An answer holds the first 2,000 rows in `records`, and in `done` whether these are all.
        Raises SalesforceUnavailable, SalesforceRefused where the call as a whole fails.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
        """
        base = f"/services/data/v{self._version}/query?"
        parts = [
            {"method": "GET", "url": base + urlencode({"q": each}), "referenceId": f"query{number}"}
            for number, each in enumerate(soql)
        ]
        answer = self.call(
            "POST", "composite", deadline, json={"allOrNone": False, "compositeRequest": parts}
        )
        return [_part(each) for each in answer["compositeResponse"]]

    def call(
        self, method: str, path: str, deadline: float, *, tries: int = TRIES, **request: Any
    ) -> Any:
        """Make one REST call, again where that may help: 3 tries until `deadline`.

        `path`: behind /services/data/vNN.0/. Returns the parsed answer, None if it is empty.
        Raises SalesforceUnavailable, SalesforceRefused.
        """
        for attempt in range(1, tries + 1):
            client = None
            try:
                client = self._signed_in(deadline)
                self._count()
                return client.restful(
                    path, method=method, timeout=_left(deadline, self._read_s), **request
                )
            except requests.RequestException as error:
                failure = f"no answer ({type(error).__name__})"
            except SalesforceAuthenticationFailed as error:
                code = str(error.code)
                if not code.isdigit():
                    raise SalesforceRefused(_sign_in_code(code)) from None
                failure = f"sign-in answered HTTP {code}"
            except SalesforceError as error:
                last = attempt == tries or method != "PATCH"
                refusal, failure = meaning(error, last=last)
                if refusal is not None:
                    raise refusal from None
                if error.status == 401 and client is not None:
                    self._sign_out(client, deadline)
            except ValueError as error:
                failure = f"an answer that is not JSON ({type(error).__name__})"
            if attempt == tries or deadline - time.monotonic() < 0.5:
                break
            time.sleep(0.1 * attempt)
        raise SalesforceUnavailable(f"Salesforce cannot take it now: {failure}")

    def _signed_in(self, deadline: float) -> Salesforce:
        """The client, signed in by the first thread that needs it while the others wait."""
        client = self._client
        if client is not None:
            return client
        if not self._signing_in.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise SalesforceUnavailable("Salesforce cannot take it now: the sign-in takes too long")
        try:
            if self._client is None:
                self._client = self._sign_in(deadline)
            return self._client
        finally:
            self._signing_in.release()

    def _sign_in(self, deadline: float) -> Salesforce:
        arguments: dict[str, Any] = sign_in_arguments(self._credentials())
        self._count()
        # The library passes no time-out on, so the session that it is given has one.
        session: Any = SimpleNamespace(
            post=partial(self._session.post, timeout=_left(deadline, self._read_s))
        )
        try:
            token, host = SalesforceLogin(session=session, **arguments)
        except AttributeError:  # the library's way to meet an answer without instance_url
            raise SalesforceUnavailable("Salesforce's sign-in named no instance") from None
        host = str(host).rstrip("/")
        if not isinstance(token, str) or not _is_salesforce(host):
            raise SalesforceUnavailable(
                "the sign-in answered with a host that is not Salesforce's: see 'domain' in"
                " SALESFORCE_CREDENTIALS"
            )
        # Given a session id, simple-salesforce leaves a 401 to us: by itself it signs in once for
        # each thread that meets it.
        client = Salesforce(
            session_id=token, instance=host, version=self._version, session=self._session
        )
        client.headers.pop("X-PrettyPrint", None)
        return client

    def _sign_out(self, client: Salesforce, deadline: float) -> None:
        """Forget an expired session, unless another thread has a new one already."""
        if not self._signing_in.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return
        try:
            if self._client is client:
                self._client = None
        finally:
            self._signing_in.release()

    def _count(self) -> None:
        self._calls.made = self.calls + 1


def quoted(text: str) -> str:
    """A SOQL string literal. https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm"""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _part(answer: dict[str, Any]) -> dict[str, Any] | SalesforceRefused | SalesforceUnavailable:
    """The answer to one request of several that were made in one call."""
    status, body = int(answer["httpStatusCode"]), answer["body"]
    if status == 200 and isinstance(body, dict):
        return body
    try:
        refusal, failure = meaning(SalesforceError("", status, "", body), last=True)
    except SalesforceUnavailable as error:
        return error
    return refusal or SalesforceUnavailable(f"Salesforce cannot take it now: {failure}")


def _left(deadline: float, read_s: float) -> tuple[float, float]:
    """Time-outs to connect and to read, which together end by the deadline."""
    left = max(0.3, deadline - time.monotonic())
    connect = min(CONNECT_S, left / 3)
    return connect, min(read_s, left - connect)


def _is_salesforce(host: str) -> bool:
    return re.fullmatch(r"([a-z0-9-]+\.)+salesforce\.com", host.lower()) is not None


def _sign_in_code(code: str) -> str:
    return f"sign-in, {code}" if re.fullmatch(r"\w{1,40}", code) else "sign-in"


def _ms(moment: str) -> int:
    """Milliseconds of a Salesforce date/time, like 2026-11-02T08:30:00.000+0000."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (datetime.fromisoformat(moment) - epoch) // timedelta(milliseconds=1)
