"""Bulk API 2.0: ingest jobs, whose CSV is worked on while the one who uploaded it waits.

A job's records are cut into batches of 10,000, which are done side by side, each in collections of
200 that take the org as long as one of sObject collections does. Every record has its own result;
the results come in no certain order.
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm
"""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

from sandbox.internet import Answer, Request
from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.graph import Graph
from sandbox.salesforce.metadata import NUMBERS, SYSTEM
from sandbox.salesforce.sobject_collections import LIMIT, Write, tried

BATCH = 10_000
MOST_BYTES = 150 * 1024 * 1024
_OVER = ("JobComplete", "Failed", "Aborted")


@dataclass
class BulkMoods:
    """What may come of a job; a number counts the jobs that it still happens to."""

    is_off: bool = False  # for this org or user; which error says so is not documented
    is_held: bool = False  # jobs that were uploaded wait to be worked on
    fails: int = 0  # the job as a whole, in the middle
    loses: int = 0  # one record of the job is in none of the three results
    tells_nothing: bool = False  # an empty list of results has not even a header
    order: Random = field(default_factory=lambda: Random(0))


@dataclass
class Job:
    """One ingest job; `done`: its records' results, by their place in the upload."""

    id: str
    wanted: Json
    state: str = "Open"
    content: bytes = b""
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    done: dict[int, Json] = field(default_factory=dict)
    message: str = ""
    gives_up_at: int | None = None  # as many records done
    lost: int | None = None  # the place of the record that no result tells

    @property
    def failed(self) -> int:
        """How many records were refused."""
        return sum(not each["success"] for each in self.done.values())


class Bulk(Graph):
    """What stands behind jobs/ingest."""

    def reset(self) -> None:
        """Forget all records and jobs."""
        super().reset()
        self.jobs: dict[str, Job] = {}
        self.bulk = BulkMoods()
        self._at_work: set[asyncio.Task[None]] = set()

    async def bulk_answer(self, request: Request) -> Answer | None:
        """Answer a request about jobs, None where it is about something else. Raises Refusal."""
        path = urlsplit(request.path).path
        before, prefix, rest = path.partition(f"/services/data/v{self.version}/jobs/ingest")
        if before or not prefix:
            return None
        match request.method, [part for part in rest.split("/") if part]:
            case "POST", []:
                return Answer(200, self._create_job(_object(request.body)))
            case "GET", []:
                jobs = [self._info(job) for job in self.jobs.values()]
                return Answer(200, {"done": True, "records": jobs, "nextRecordsUrl": None})
            case "GET", [job_id]:
                return Answer(200, self._info(self._job(job_id)))
            case "PUT", [job_id, "batches"]:
                self._upload(self._job(job_id), request)
                return Answer(201)
            case "PATCH", [job_id]:
                return Answer(200, self._change_state(self._job(job_id), _object(request.body)))
            case "DELETE", [job_id]:
                del self.jobs[self._job(job_id).id]
                return Answer(204)
            case "GET", [
                job_id,
                "successfulResults" | "failedResults" | "unprocessedrecords" as of,
            ]:
                return Answer(200, self._results(self._job(job_id), of), content_type="text/csv")
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")

    # --- A job's life -----------------------------------------------------------------------------

    def _create_job(self, wanted: Json) -> Json:
        if self.bulk.is_off:
            raise Refusal(403, "FEATURENOTENABLED", "Bulk API is not enabled for this user or org")
        name, external = wanted.get("object", ""), wanted.get("externalIdFieldName")
        if wanted.get("operation") not in ("insert", "update", "upsert", "delete"):
            raise Refusal(400, "INVALIDJOB", "operation")
        if wanted.get("contentType", "CSV") != "CSV":
            raise Refusal(400, "INVALIDJOB", "contentType")
        self._check_object(name)
        if wanted["operation"] == "upsert":
            if not external:
                raise Refusal(400, "INVALIDJOB", "External ID was blank for upsert")
            self._check_external(name, external)
        self._number += 1
        job = Job(f"750Kj{self._number:010d}AAA", wanted)
        self.jobs[job.id] = job
        return self._info(job)

    def _job(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        return self.jobs[job_id]

    def _upload(self, job: Job, request: Request) -> None:
        if not request.headers.get("content-type", "").startswith("text/csv"):
            raise Refusal(415, "UNSUPPORTED_MEDIA_TYPE", "text/csv belongs here")
        if job.state != "Open" or job.content:
            raise Refusal(400, "INVALIDJOBSTATE", "the job's data has been uploaded")
        if len(request.body) > MOST_BYTES:
            raise Refusal(413, "REQUEST_ENTITY_TOO_LARGE", "150 MB")
        job.content = request.body

    def _change_state(self, job: Job, wanted: Json) -> Json:
        state = wanted.get("state")
        if state == "Aborted" and job.state not in _OVER:
            job.state = "Aborted"
        elif state == "UploadComplete" and job.state == "Open":
            job.state = state
            task = asyncio.get_running_loop().create_task(self._work_on(job))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        else:
            raise Refusal(400, "INVALIDJOBSTATE", f"{job.state} to {state}")
        return self._info(job)

    def _info(self, job: Job) -> Json:
        told = {"errorMessage": job.message} if job.message else {}
        return {
            "id": job.id,
            "object": job.wanted["object"],
            "operation": job.wanted["operation"],
            "externalIdFieldName": job.wanted.get("externalIdFieldName"),
            "createdById": self.USER_ID,
            "state": job.state,
            "jobType": "V2Ingest",
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "contentUrl": f"services/data/v{self.version}/jobs/ingest/{job.id}/batches",
            "lineEnding": job.wanted.get("lineEnding", "LF"),
            "columnDelimiter": "COMMA",
            "apiVersion": float(self.version),
            "numberRecordsProcessed": len(job.done),
            "numberRecordsFailed": job.failed,
            "retries": 0,
            "totalProcessingTime": 0,
        } | told

    # --- The work ---------------------------------------------------------------------------------

    async def _work_on(self, job: Job) -> None:
        while self.bulk.is_held and self._goes_on(job):
            await asyncio.sleep(0.01)
        if not self._goes_on(job):
            return
        job.state = "InProgress"
        rows = list(csv.reader(io.StringIO(job.content.decode(), newline="")))
        job.content = b""
        job.header, job.rows = (rows[0], rows[1:]) if rows else ([], [])
        unknown = [each for each in job.header if not self._takes(job, each)]
        if unknown:
            job.state = "Failed"
            job.message = f"InvalidBatch : Field name not found : {unknown[0]}"
            return
        if self.bulk.fails:
            self.bulk.fails -= 1
            job.gives_up_at = len(job.rows) // 2
        if self.bulk.loses and job.rows:
            self.bulk.loses -= 1
            job.lost = self.bulk.order.randrange(len(job.rows))
        places = range(0, len(job.rows), BATCH)
        await asyncio.gather(*(self._batch(job, at) for at in places))
        if self._goes_on(job):
            job.state = "JobComplete"

    def _goes_on(self, job: Job) -> bool:
        """False once it was aborted or failed, or the org is as new again."""
        return self.jobs.get(job.id) is job and job.state not in _OVER

    def _takes(self, job: Job, column: str) -> bool:
        name = job.wanted["object"]
        relation, dot, external = column.partition(".")
        if dot:  # a parent by its external id, like Account__r.Clockify_Client_Id__c
            near = self._related(name, relation)
            parent = near[1].refers[0] if near and not self._is_hidden(name, near[0]) else ""
            return bool(parent) and external in self.fields[parent]
        known = column in self.fields[name] or column in SYSTEM
        return known and not self._is_hidden(name, column)

    async def _batch(self, job: Job, begin: int) -> None:
        end = min(begin + BATCH, len(job.rows))
        for at in range(begin, end, LIMIT):
            await asyncio.sleep(self.latency)
            if job.gives_up_at is not None and len(job.done) >= job.gives_up_at:
                job.state = "Failed"
                job.message = "InternalServerError : the batch was tried too often"
            if not self._goes_on(job):
                return
            places = range(at, min(at + LIMIT, end))
            writes = [self._ready_row(job, job.rows[place]) for place in places]
            results = self._write_each(writes, all_or_none=False)
            job.done |= zip(places, results, strict=True)

    def _ready_row(self, job: Job, row: list[str]) -> Write:
        name, operation = job.wanted["object"], job.wanted["operation"]
        external = job.wanted.get("externalIdFieldName")
        try:
            record = self._read_row(name, job.header, row)
        except ValueError as error:
            refusal = Refusal(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", str(error))

            def fail() -> Json:
                raise refusal

            return fail
        ready: Callable[[Json], Write] = {
            "insert": lambda each: self._ready_insert(each | {"attributes": {"type": name}}),
            "update": self._ready_update,
            "upsert": lambda each: self._ready_upsert(name, str(external), each),
            "delete": lambda each: self._ready_delete({"id": each["Id"]}),
        }[operation]
        return tried(ready, record)

    def _read_row(self, name: str, header: list[str], row: list[str]) -> Json:
        """A row's values: an empty cell is left alone, #N/A empties the field.

        https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_csv_valid_record_rows.htm
        """
        read: dict[str, Callable[[str], Any]] = {
            **dict.fromkeys(NUMBERS, float),
            "int": int,
            "boolean": _truth,
        }
        record: Json = {}
        for column, cell in zip(header, row, strict=True):
            if "." in column:
                relation, _, external = column.partition(".")
                if cell:
                    record[relation] = {external: cell}
                continue
            kind = self._field(name, column).type
            if cell == "#N/A":
                record[column] = None
            elif cell:
                record[column] = read.get(kind, str)(cell)
        return record

    # --- Its results ------------------------------------------------------------------------------

    def _results(self, job: Job, of: str) -> str:
        if job.state not in _OVER:
            raise Refusal(400, "INVALIDJOBSTATE", "the job is not complete")
        rows = list(self._result_rows(job, of))
        self.bulk.order.shuffle(rows)
        head = {
            "successfulResults": ["sf__Id", "sf__Created"],
            "failedResults": ["sf__Id", "sf__Error"],
        }.get(of, [])
        if not rows and self.bulk.tells_nothing:
            return ""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow([*head, *job.header])
        out.writerows(rows)
        return text.getvalue()

    def _result_rows(self, job: Job, of: str) -> Iterator[list[str]]:
        for place, row in enumerate(job.rows):
            result = job.done.get(place)
            if place == job.lost:
                continue
            if result is None:
                if of == "unprocessedrecords":
                    yield row
            elif of == "successfulResults" and result["success"]:
                # An update has none.
                created = str(result.get("created", False)).lower()
                yield [result["id"], created, *row]
            elif of == "failedResults" and not result["success"]:
                yield ["", _error(result["errors"][0]), *row]


def _truth(cell: str) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}[cell.lower()]


def _object(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refusal(400, "JSON_PARSER_ERROR", "an object belongs here")
    return found


def _error(error: Mapping[str, Any]) -> str:
    """As simple-salesforce's user guide has it, and those who log such results.

    https://simple-salesforce.readthedocs.io/en/latest/user_guide/bulk2.html
    """
    return f"{error['statusCode']}:{error['message']}:{' '.join(error['fields'])}--"
