"""sObject collections: up to 200 records in a call, each with its own result.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
"""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.reading import Reading

LIMIT = 200
# The work of one record, looked up already; it returns the record's result.
Write = Callable[[], Json]


class Collections(Reading):
    """Inserts, updates, upserts and deletes of many records, whatever object they are of."""

    def _collection(
        self, method: str, at: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[list[Write], bool]:
        """The work of a request to composite/sobjects/`at`, and whether it is all or nothing."""
        ready: Callable[[Json], Write]
        if method == "DELETE" and not at:
            ids = [{"id": each} for each in query.get("ids", "").split(",")]
            body = {"records": ids, "allOrNone": query.get("allOrNone") == "true"}
            ready = self._ready_delete
        elif method == "PATCH" and len(at) == 2:
            self._check_object(at[0])
            self._check_external(at[0], at[1])
            ready = lambda record: self._ready_upsert(at[0], at[1], record)  # noqa: E731
        elif method == "PATCH" and not at:
            ready = self._ready_update
        elif method == "POST" and not at:
            ready = self._ready_insert
        else:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        records = body.get("records") if isinstance(body, dict) else None
        if not isinstance(records, list):
            raise Refusal(400, "JSON_PARSER_ERROR", "records: a list belongs here")
        if len(records) > LIMIT:
            # https://github.com/sorenkrabbe/Chrome-Salesforce-inspector/issues/134
            message = "record limit reached. cannot submit more than 200 records into this call"
            raise Refusal(400, "EXCEEDED_ID_LIMIT", message)
        return [tried(ready, record) for record in records], body.get("allOrNone") is True

    def _write_each(self, writes: list[Write], *, all_or_none: bool) -> list[Json]:
        """Do the work of each record and return their results; one's failure is its own."""
        results: list[Json] = []
        try:
            with self.transaction():
                for write in writes:
                    try:
                        with self.transaction():
                            results.append({"success": True, "errors": []} | write())
                    except Refusal as refusal:
                        results.append(_failure(refusal))
                if all_or_none and not all(each["success"] for each in results):
                    raise Refusal(
                        400,
                        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                        "Record rolled back because not all records were valid and the request was"
                        " using AllOrNone header",
                    )
        except Refusal as refusal:
            results = [_failure(refusal) if each["success"] else each for each in results]
        return results

    def _known_object(self, record_id: str) -> str:
        if not (name := self._object_of(record_id)):
            raise Refusal(400, "MALFORMED_ID", "malformed id")
        return name

    def _ready_insert(self, record: Json) -> Write:
        name = record["attributes"]["type"]
        self._check_object(name)
        return lambda: {"id": self.insert(name, _values(record))}

    def _ready_upsert(self, name: str, external: str, record: Json) -> Write:
        values = _values(record)
        value = values.pop(external, None)
        if not isinstance(value, str):
            raise Refusal(400, "MISSING_ARGUMENT", f"{external} not specified", external)
        found = self._find(name, external, value)
        return lambda: self.upsert(name, external, value, values, found)

    def _ready_update(self, record: Json) -> Write:
        values = _values(record)
        record_id = values.pop("id", None) or values.pop("Id")
        name = self._known_object(record_id)
        self._live(name, record_id)

        def write() -> Json:
            self.update(name, record_id, values)
            return {"id": record_id}

        return write

    def _ready_delete(self, record: Json) -> Write:
        record_id = record["id"]
        name = self._known_object(record_id)
        self._live(name, record_id)

        def write() -> Json:
            self.delete(name, record_id)
            return {"id": record_id}

        return write


def tried(ready: Callable[[Json], Callable[[], Any]], request: Json) -> Callable[[], Any]:
    """Look up at once what a request is about; where that fails, its work is to say so."""
    try:
        return ready(request)
    except Refusal as refusal:
        error = refusal

        def fail() -> Any:
            raise error

        return fail


def _values(record: Json) -> Json:
    return {name: value for name, value in record.items() if name != "attributes"}


def _failure(refusal: Refusal) -> Json:
    error = refusal.error
    shown = {
        "statusCode": error["errorCode"],
        "message": error["message"],
        "fields": error["fields"],
    }
    return {"success": False, "errors": [shown]}
