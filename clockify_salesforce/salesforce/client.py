"""Call one org's REST API: sign in once, in time and bounded, and tell what its errors mean.

simple-salesforce signs in and calls; this adds what it lacks: time-outs, a pool for all threads,
one sign-in at a time, a bound on tries and on answers, and Salesforce hosts only. What is written
is the part of `records.py`.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import urlencode

import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError
from simple_salesforce.login import SalesforceLogin

from clockify_salesforce import transport
from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.salesforce.credentials import sign_in_arguments
from clockify_salesforce.salesforce.errors import HALTED, SalesforceRefused, meaning, refusal_of
from mapping import salesforce_id

TRIES = 3
PARTS = 25  # of a composite call
# Cloud Run lets one instance have at most 1,000 requests at work.
POOL = 1000
# A query of the function's is answered in a page or two; the repair reads more, page by page.
PAGES = 100

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a composite call. `path`: behind /services/data/vNN.0/."""

    reference: str
    method: str
    path: str
    body: Json | None = None
    headers: Json | None = None


class _Passing(Exception):
    """What a further try may mend; its text names it for the log."""


class Org:
    """One Salesforce org as the integration user sees it. Safe between threads."""

    def __init__(
        self,
        credentials: Callable[[], str],
        *,
        version: str,
        read_s: float = transport.READ_S,
        largest: int = transport.LARGEST_ANSWER,
    ) -> None:
        """`credentials` gives the JSON of SALESFORCE_CREDENTIALS when a sign-in needs it.

        `read_s`: how long one answer may take, in seconds; `largest`: its bytes at most.
        """
        self._credentials = credentials
        self._read_s = read_s
        self._version = version
        self._session = transport.session(pool=POOL, largest=largest)
        self._signing_in = threading.Lock()
        self._client: Salesforce | None = None
        self._calls = threading.local()
        self._user_id: str | None = None

    @property
    def calls(self) -> int:
        """Calls that this thread has made to Salesforce, sign-ins included."""
        return getattr(self._calls, "made", 0)

    @property
    def api_usage(self) -> tuple[int, int] | None:
        """The org's calls in the last 24 hours and how many it may make, as the last answer told.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
        """
        usage = self._client.api_usage.get("api-usage") if self._client else None
        return (usage.used, usage.total) if usage else None

    # Calls ---------------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, deadline: float, *, tries: int = TRIES, **request: Any
    ) -> Any:
        """Make one REST call, again where that may help: 3 tries until `deadline`.

        `path`: behind /services/data/vNN.0/; `deadline`: of time.monotonic(). Returns the parsed
        answer, None if it is empty. Raises SalesforceUnavailable, SalesforceRefused.
        """

        def once(last: bool) -> Any:
            last = last or method != "PATCH"
            return self._request(method, path, deadline, last=last, **request)

        return _until_it_works(once, deadline, tries)

    def composite(self, parts: Sequence[Part], deadline: float) -> list[Json]:
        """Make up to 500 requests in one call, all or none of them; return the body of each.

        A body is {} where there is none. Raises SalesforceUnavailable, or SalesforceRefused whose
        `part` names the request that Salesforce refused: then nothing is written. More than a
        composite call takes goes as a composite graph.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_graph.htm
        """

        def once(last: bool) -> list[Json]:
            if len(parts) > PARTS:
                answers = self._graph(parts, deadline)
            else:
                answers = self._composite(parts, deadline, all_or_none=True)
            failed = [each for each in answers if not _is_done(each)]
            # The one that failed tells why; the others only that they were rolled back.
            failed.sort(key=lambda each: _error(each).get("errorCode") == HALTED)
            for each in failed[:1]:
                error = _error(each)
                if error.get("errorCode") in (None, HALTED) or int(each["httpStatusCode"]) >= 500:
                    raise _Passing(f"HTTP {each['httpStatusCode']} within a composite call")
                name = str(each["referenceId"])
                refusal = refusal_of(error, last=True, part=name, object=_object_of(parts, name))
                if refusal is None:
                    raise _Passing(str(error.get("errorCode")))
                raise refusal
            return [each["body"] or {} for each in answers]

        return _until_it_works(once, deadline, TRIES)

    def queries(
        self, soql: Sequence[str], deadline: float, *, deleted: bool = False
    ) -> list[Json | SalesforceRefused | SalesforceUnavailable]:
        """Run up to five SOQL queries in one call; for each its answer, or the error it met.

        An answer holds the first 2,000 rows in `records`, and in `done` whether these are all.
        `deleted`: archived records, and those of the recycle bin, too. Raises
        SalesforceUnavailable, SalesforceRefused where the call as a whole fails.
        """
        verb = "queryAll?" if deleted else "query?"
        parts = [
            Part(f"query{number}", "GET", verb + urlencode({"q": each}))
            for number, each in enumerate(soql)
        ]

        def once(last: bool) -> list[Json]:
            return self._composite(parts, deadline, all_or_none=False)

        return [_rows(each) for each in _until_it_works(once, deadline, TRIES)]

    def query(self, soql: str, deadline: float, *, deleted: bool = False) -> list[Json]:
        """Run SOQL and return its rows, those of the recycle bin too if `deleted`. Raises as call.

        A query of more than 100 pages is broken off as SalesforceUnavailable.
        """
        rows: list[Json] = []
        path, params = "queryAll" if deleted else "query", {"q": soql}
        for _ in range(PAGES):
            answer = self.call("GET", path, deadline, params=params)
            if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
                raise SalesforceUnavailable("Salesforce answered a query with no records")
            rows += answer["records"]
            if answer.get("done", True):
                return rows
            path, params = self.next_page(answer), {}
        raise SalesforceUnavailable(f"a query of Salesforce's has more than {PAGES} pages")

    def next_page(self, answer: Json) -> str:
        """The path of the page after this answer to a query."""
        return re.sub(r"^.*?/v\d+\.0/", "", str(answer.get("nextRecordsUrl")))

    def user_id(self, deadline: float) -> str:
        """The integration user's id, which Salesforce names among its resources. Raises as `call`.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_discoveryresource.htm
        """
        if self._user_id is None:
            answer = self.call("GET", "", deadline)
            identity = str(answer.get("identity") if isinstance(answer, dict) else None)
            self._user_id = salesforce_id(identity.rsplit("/", 1)[-1])
        if self._user_id is None:
            raise SalesforceUnavailable("Salesforce does not tell who the integration user is")
        return self._user_id

    def _composite(
        self, parts: Sequence[Part], deadline: float, *, all_or_none: bool
    ) -> list[Json]:
        """The answers to the parts, in order. Raises _Passing where they are not all there."""
        asked = {"allOrNone": all_or_none, "compositeRequest": self._asked(parts)}
        answer = self._request("POST", "composite", deadline, last=True, json=asked)
        return _answers(answer, parts)

    def _graph(self, parts: Sequence[Part], deadline: float) -> list[Json]:
        """The same as one graph, which is carried out as a whole or not at all."""
        asked = {"graphs": [{"graphId": "1", "compositeRequest": self._asked(parts)}]}
        answer = self._request("POST", "composite/graph", deadline, last=True, json=asked)
        graphs = answer.get("graphs") if isinstance(answer, dict) else None
        graph = graphs[0] if isinstance(graphs, list) and graphs else None
        return _answers(graph.get("graphResponse") if isinstance(graph, dict) else None, parts)

    def _asked(self, parts: Sequence[Part]) -> list[Json]:
        base = f"/services/data/v{self._version}/"
        return [
            {"method": each.method, "url": base + each.path, "referenceId": each.reference}
            | ({"body": each.body} if each.body is not None else {})
            | ({"httpHeaders": each.headers} if each.headers else {})
            for each in parts
        ]

    def _request(
        self, method: str, path: str, deadline: float, *, last: bool, **request: Any
    ) -> Any:
        """One try of one call. Raises _Passing, SalesforceUnavailable, SalesforceRefused.

        `last`: that a record has just been made or deleted is no longer taken for passing.
        """
        client = None
        try:
            client = self._signed_in(deadline)
            self._count()
            timeout = _left(deadline, self._read_s)
            return client.restful(path, method=method, timeout=timeout, **request)
        except requests.RequestException as error:
            failure = f"no answer ({type(error).__name__})"
        except SalesforceAuthenticationFailed as error:
            code = str(error.code)
            if not code.isdigit():
                raise SalesforceRefused(_sign_in_code(code)) from None
            failure = f"sign-in answered HTTP {code}"
        except SalesforceError as error:
            refusal, failure = meaning(error.status, error.content, last=last)
            if refusal is not None:
                raise refusal from None
            if error.status == 401 and client is not None:
                self._sign_out(client, deadline)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            # simple-salesforce's ways to meet an answer that is not what it expects.
            failure = f"an answer that is not Salesforce's ({type(error).__name__})"
        raise _Passing(failure)

    def _count(self) -> None:
        self._calls.made = self.calls + 1

    # Signing in ----------------------------------------------------------------------------------

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
        token, host = SalesforceLogin(session=session, **arguments)
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


def quoted(text: str) -> str:
    """A SOQL string literal. https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm"""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _until_it_works(once: Callable[[bool], T], deadline: float, tries: int) -> T:
    """Try until it works, told each time whether it is the last try."""
    for attempt in range(1, tries + 1):
        try:
            return once(attempt == tries)
        except _Passing as passing:
            failure = str(passing)
        if deadline - time.monotonic() < 0.5:
            break
        if attempt < tries:
            time.sleep(0.1 * attempt)
    raise SalesforceUnavailable(f"Salesforce cannot take it now: {failure}")


def _answers(answer: Any, parts: Sequence[Part]) -> list[Json]:
    """The answers to the parts, in order. Raises _Passing where they are not all there."""
    answers = answer.get("compositeResponse") if isinstance(answer, dict) else None
    names = [each.reference for each in parts]
    if not isinstance(answers, list) or names != [
        each.get("referenceId") if isinstance(each, dict) else None for each in answers
    ]:
        raise _Passing("an answer that does not tell each part's result")
    if not all(str(each.get("httpStatusCode")).isdigit() for each in answers):
        raise _Passing("an answer that does not tell each part's status")
    return answers


def _object_of(parts: Sequence[Part], reference: str) -> str:
    """Whose record a part writes."""
    return next(each.path.split("/")[1] for each in parts if each.reference == reference)


def _is_done(answer: Json) -> bool:
    """Tell whether a part was carried out: 200 or 201 that says so itself, or an empty 204."""
    status, body = int(answer["httpStatusCode"]), answer.get("body")
    if status == 204:
        return not body
    return status in (200, 201) and isinstance(body, dict) and body.get("success") is True


def _error(answer: Json) -> Json:
    """The first error of a part's answer, {} where it names none."""
    body = answer.get("body")
    first = body[0] if isinstance(body, list) and body else None
    return first if isinstance(first, dict) and first.get("errorCode") else {}


def _rows(answer: Json) -> Json | SalesforceRefused | SalesforceUnavailable:
    """The answer to one query of several that were made in one call."""
    status, body = int(answer["httpStatusCode"]), answer.get("body")
    if status == 200 and isinstance(body, dict) and isinstance(body.get("records"), list):
        return body
    try:
        refusal, failure = meaning(status, body, last=True)
    except SalesforceUnavailable as error:
        return error
    return refusal or SalesforceUnavailable(f"Salesforce cannot take it now: {failure}")


def _left(deadline: float, read_s: float) -> tuple[float, float]:
    """Time-outs to connect and to read, which together end by the deadline."""
    left = max(0.3, deadline - time.monotonic())
    connect = min(transport.CONNECT_S, left / 3)
    return connect, min(read_s, left - connect)


def _is_salesforce(host: str) -> bool:
    return re.fullmatch(r"([a-z0-9-]+\.)+salesforce\.com", host.lower()) is not None


def _sign_in_code(code: str) -> str:
    return f"sign-in, {code}" if re.fullmatch(r"\w{1,40}", code) else "sign-in"
