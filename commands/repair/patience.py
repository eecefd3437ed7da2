"""Call Salesforce and wait for minutes where it cannot answer now."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.client import Org

CALL_S = 300.0
PAUSES_S = (5, 15, 60, 120, 300)
COLLECTION = "composite/sobjects"

Json = dict[str, Any]


class PatientOrg:
    """An org whose outages are waited for. Safe between threads."""

    def __init__(self, org: Org, tell: Callable[[str], None]) -> None:
        """`tell` says a sentence to whoever waits."""
        self.org = org
        self._tell = tell

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Make one call. Raises SalesforceRefused, and SalesforceUnavailable after minutes."""
        for pause_s in PAUSES_S:
            try:
                return self.org.call(method, path, time.monotonic() + CALL_S, **request)
            except SalesforceUnavailable as error:
                self._tell(f"{error}: trying again in {pause_s} s")
                time.sleep(pause_s)
        return self.org.call(method, path, time.monotonic() + CALL_S, **request)

    def rows(self, soql: str, *, archived: bool = False) -> Iterator[Json]:
        """Yield a query's rows a page at a time.

        `archived`: an Event that ended a year ago is hidden from query, and so queryAll is asked,
        which needs IsDeleted = false: https://help.salesforce.com/s/articleView?id=000385690
        """
        answer = self.call("GET", "queryAll" if archived else "query", params={"q": soql})
        while True:
            if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
                raise IntegrationError("Salesforce answered a query with no rows: run this again")
            yield from answer["records"]
            if answer.get("done", True):
                return
            answer = self.call("GET", self.org.next_page(answer))

    def collection(self, method: str, path: str, records: Sequence[Json]) -> list[Json]:
        """Write or delete up to 200 records in one call; each has its own result, in order.

        `path`: behind composite/sobjects. A deletion reads the records' ids only.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
        """
        if method == "DELETE":
            ids = ",".join(record["id"] for record in records)
            answer = self.call(method, COLLECTION, params={"ids": ids, "allOrNone": "false"})
        else:
            body = {"allOrNone": False, "records": records}
            answer = self.call(method, COLLECTION + path, json=body)
        if (
            not isinstance(answer, list)
            or len(answer) != len(records)
            or not all(isinstance(each, dict) for each in answer)
        ):
            raise IntegrationError("Salesforce did not tell each record's result: run this again")
        return answer
