"""Call Salesforce and wait for minutes where it cannot answer now."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.bulk import BulkOrg

CALL_S = 300.0
PAUSES_S = (5, 15, 60, 120, 300)
# Too many calls of 20 s and more at once; where the day's calls are used up, the text goes on.
# https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm
_TOO_MANY = "now: REQUEST_LIMIT_EXCEEDED"
COLLECTION = "composite/sobjects"

Json = dict[str, Any]
T = TypeVar("T")


class PatientOrg:
    """An org whose outages are waited for. Safe between threads."""

    def __init__(self, org: BulkOrg, tell: Callable[[str], None]) -> None:
        """`tell` says a sentence to whoever waits."""
        self.org = org
        self.is_pressed = False  # it has had too many long calls at once
        self._tell = tell
        self._lock = threading.Lock()
        self._told, self._told_at = "", 0.0

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Make one call. Raises SalesforceRefused, and SalesforceUnavailable after minutes."""
        return self.patiently(lambda deadline: self.org.call(method, path, deadline, **request))

    def patiently(self, work: Callable[[float], T]) -> T:
        """Do `work`, which gets a deadline of time.monotonic(), again while Salesforce is down.

        Raises as `call` does.
        """
        for pause_s in PAUSES_S:
            try:
                return work(time.monotonic() + CALL_S)
            except SalesforceUnavailable as error:
                if _TOO_MANY in str(error):
                    self.is_pressed = True
                self._say(f"{error}: trying again in {pause_s} s")
                time.sleep(pause_s)
        return work(time.monotonic() + CALL_S)

    def _say(self, text: str) -> None:
        """Tell it once where several threads meet the same."""
        with self._lock:
            is_new = text != self._told or time.monotonic() - self._told_at > PAUSES_S[0]
            if is_new:
                self._told, self._told_at = text, time.monotonic()
        if is_new:
            self._tell(text)

    def rows(self, soql: str) -> Iterator[Json]:
        """Yield a query's rows."""
        page = self.page("query", q=soql)
        while True:
            yield from page["records"]
            if page.get("done", True):
                return
            page = self.page(self.org.next_page(page))

    def page(self, path: str, **params: str) -> Json:
        """One page of a query's answer. Raises as `call` does."""
        answer = self.call("GET", path, params=params)
        if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
            raise IntegrationError("Salesforce answered a query with no rows: run this again")
        return answer

    def queries(self, soql: Sequence[str]) -> list[Json]:
        """The answers to up to five queries, archived Events too, in one call. Raises as `call`."""
        answers: list[Json] = []
        for answer in self.patiently(
            lambda deadline: self.org.queries(soql, deadline, deleted=True)
        ):
            if isinstance(answer, IntegrationError):
                raise answer
            answers.append(answer)
        return answers

    def collection(
        self, method: str, path: str, records: Sequence[Json], headers: Json | None = None
    ) -> list[Json]:
        """Write or delete up to 200 records in one call; each has its own result, in order.

        `path`: behind composite/sobjects; `headers`: more of them. A deletion reads the records'
        ids only.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
        """
        if method == "DELETE":
            ids = ",".join(record["id"] for record in records)
            answer = self.call(method, COLLECTION, params={"ids": ids, "allOrNone": "false"})
        else:
            body = {"allOrNone": False, "records": records}
            more = {"headers": headers} if headers else {}
            answer = self.call(method, COLLECTION + path, json=body, **more)
        if (
            not isinstance(answer, list)
            or len(answer) != len(records)
            or not all(isinstance(each, dict) for each in answer)
        ):
            raise IntegrationError("Salesforce did not tell each record's result: run this again")
        return answer
