"""What writes much at once: jobs of the Bulk API 2.0, and graphs of requests.

Bulk API 2.0: many records of one object in a job, which Salesforce works on in its own time.
A job is created, gets its records as CSV, is closed, and then tells each record's own result, in no
certain order. Of a job's records Salesforce does 10,000 one after the other, and more than those
side by side. What is written, and what follows of a result, is the caller's part.
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import requests
from simple_salesforce.api import Salesforce

from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.mapping_rules import Field
from clockify_salesforce.salesforce.client import Json, Org, Part
from clockify_salesforce.salesforce.errors import HALTED

PATH = "jobs/ingest"
# https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm
EMPTIED = "#N/A"
RUNNING = ("UploadComplete", "InProgress")
OVER = ("JobComplete", "Failed", "Aborted")


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest job as Salesforce tells it. `state`: Open, one of RUNNING, or one of OVER.

    `operation`, `object`: what it does to what; `by`: the id of the user who has made it.
    """

    id: str
    state: str
    operation: str
    object: str
    by: str
    processed: int
    failed: int
    message: str

    @property
    def is_over(self) -> bool:
        """Nothing more is done of it."""
        return self.state in OVER


class BulkOrg(Org):
    """An org that also takes bulk jobs. Each method raises as Org.call does."""

    def create_job(
        self, operation: str, name: str, deadline: float, *, external_id: str | None = None
    ) -> Job:
        """Create a job that does `operation` (update, upsert) to the object `name`."""
        wanted = {"object": name, "operation": operation, "contentType": "CSV", "lineEnding": "LF"}
        if external_id:
            wanted["externalIdFieldName"] = external_id
        return _job(self.call("POST", PATH, deadline, json=wanted))

    def upload(self, job: Job, content: IO[bytes], deadline: float) -> None:
        """Give a job its CSV, 150 MB at most, and let it begin.

        A job takes its content once, so that none of this is tried again: on an error it is to be
        aborted, and another made.
        """
        headers = {"Content-Type": "text/csv; charset=UTF-8"}
        path = f"{PATH}/{job.id}"
        self.call("PUT", f"{path}/batches", deadline, tries=1, data=content, headers=headers)
        self.call("PATCH", path, deadline, tries=1, json={"state": "UploadComplete"})

    def abort(self, job: Job, deadline: float) -> None:
        """End a job; what it has written stays."""
        self.call("PATCH", f"{PATH}/{job.id}", deadline, tries=1, json={"state": "Aborted"})

    def job(self, job: Job, deadline: float) -> Job:
        """The job as it is now."""
        return _job(self.call("GET", f"{PATH}/{job.id}", deadline))

    def jobs(self, deadline: float) -> list[Job]:
        """The org's latest 1,000 ingest jobs that the user may see."""
        answer = self.call("GET", PATH, deadline)
        records = answer.get("records") if isinstance(answer, dict) else None
        return [_job(each) for each in records or []]

    def results(self, job: Job, key: str, deadline: float) -> Iterator[tuple[str, str, str]]:
        """Yield for each record that was done: its `key` column, `sf__Created`, `sf__Error`.

        Of the last two one is "". A record that is not among them was not done.
        """
        for kind, told in (("successfulResults", "sf__Created"), ("failedResults", "sf__Error")):
            content = self.call("GET", f"{PATH}/{job.id}/{kind}", deadline) or b""
            rows = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""))
            header = next(rows, None)
            if header is None:
                continue
            try:
                at, what = header.index(key), header.index(told)
                for row in rows:
                    error = row[what] if kind == "failedResults" else ""
                    yield row[at], "" if error else row[what], error
            except (ValueError, IndexError, csv.Error):
                raise SalesforceUnavailable("Salesforce tells a job's results oddly") from None

    def graphs(self, graphs: Mapping[str, Sequence[Part]], deadline: float) -> dict[str, Json]:
        """Write several graphs in one call, each all or nothing; return what became of each.

        A result is as a collection's: `success`, and `errors` where it is false; their code is
        HALTED for a graph that was not begun, because too many before it had failed. At most 75
        graphs, and 500 requests in all. Raises as Org.call does.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_graph_introduction.htm
        """
        base = f"/services/data/v{self._version}/"
        body = [
            {
                "graphId": name,
                "compositeRequest": [
                    {"method": each.method, "url": base + each.path, "referenceId": each.reference}
                    | ({"body": each.body} if each.body is not None else {})
                    for each in parts
                ],
            }
            for name, parts in graphs.items()
        ]
        answer = self.call("POST", "composite/graph", deadline, json={"graphs": body})
        told = answer.get("graphs") if isinstance(answer, dict) else None
        results = {
            str(each.get("graphId")): _graph_result(each)
            for each in told or []
            if isinstance(each, dict)
        }
        if results.keys() != graphs.keys():
            raise SalesforceUnavailable("Salesforce did not tell each graph's result")
        return results

    def _sign_in(self, deadline: float) -> Salesforce:
        """simple-salesforce reads every answer as JSON, and an empty one as a mistake."""
        client = super()._sign_in(deadline)
        as_json = client.parse_result_to_json

        def parse(answer: requests.Response) -> Any:
            if answer.headers.get("Content-Type", "").startswith("text/csv"):
                return answer.content
            return as_json(answer) if answer.content else ""

        vars(client)["parse_result_to_json"] = parse
        return client


def cell(value: Field) -> str:
    """A value of JSON as CSV has it; nothing empties the field, for "" would leave it alone."""
    if value is None or value == "":
        return EMPTIED
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def error_of(text: str) -> Json:
    """A record's `sf__Error`, "CODE:message:fields--", in the form of an error of the REST API."""
    code, _, rest = text.partition(":")
    message, _, fields = rest.rpartition(":")
    named = fields.strip().removesuffix("--").replace(",", " ").split()
    return {"errorCode": code, "message": message or rest, "fields": named if message else []}


def _graph_result(told: Json) -> Json:
    """What became of one graph, in the form of a collection's result."""
    if told.get("isSuccessful") is True:
        return {"success": True, "errors": []}
    answer = told.get("graphResponse")
    parts = answer.get("compositeResponse") if isinstance(answer, dict) else None
    bodies = [each.get("body") for each in parts or [] if isinstance(each, dict)]
    errors = [error for body in bodies if isinstance(body, list) for error in body]
    # The one that failed tells why; the others only that they were rolled back.
    errors.sort(key=lambda error: error.get("errorCode") == HALTED)
    return {"success": False, "errors": errors[:1]}


def _job(told: Any) -> Job:
    if not isinstance(told, dict) or not told.get("id"):
        raise SalesforceUnavailable("Salesforce did not tell a bulk job's state")
    return Job(
        str(told["id"]),
        str(told.get("state")),
        str(told.get("operation")),
        str(told.get("object")),
        str(told.get("createdById")),
        int(told.get("numberRecordsProcessed") or 0),
        int(told.get("numberRecordsFailed") or 0),
        str(told.get("errorMessage") or ""),
    )
