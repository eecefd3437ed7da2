"""The REST API's resources, each made ready first and done a moment later.

What a request looks up when it arrives may have changed when it is done: that is how two upserts
of one new value meet a DUPLICATE_VALUE in Salesforce, and a deletion an ENTITY_IS_DELETED.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_list.htm
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.sobject_collections import Collections, Write

HOST = "sandbox.my.salesforce.com"
DAILY_CALLS = 100_000
Result = tuple[int, Any]


@dataclass(frozen=True)
class Work:
    """A request made ready: `run` does it and returns status and body, or raises Refusal."""

    run: Callable[[], Result]
    writes: bool = True


class Rest(Collections):
    """What stands behind /services/data/vNN.0/, composite apart."""

    def reset(self) -> None:
        """Forget all records."""
        super().reset()
        self.tells_limits = False
        self.used_mb = 300

    def _ready(self, method: str, url: str, body: Any, *, all_or_none: bool = False) -> Work:
        """Look up what a request is about. `all_or_none`: of the composite that it is in."""
        address = urlsplit(url)
        before, prefix, path = address.path.partition(f"/services/data/v{self.version}/")
        if before or not prefix:
            raise _not_there()
        parts = [unquote(part) for part in path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        match method, parts:
            case "GET", _ if (read := self._ready_read(parts, query)) is not None:
                return Work(lambda: (200, read()), writes=False)
            case _, ["composite", "sobjects", *at]:
                writes, whole = self._collection(method, at, query, body)
                return self._ready_collection(writes, whole=whole, in_composite=all_or_none)
            case "POST", ["sobjects", name]:
                self._check_object(name)
                values = _an_object(body)
                return Work(
                    lambda: (201, {"id": self.insert(name, values), "success": True, "errors": []})
                )
            case _, ["sobjects", name, external, value]:
                self._check_object(name)
                return self._ready_by_external_id(method, name, external, value, query, body)
            case _, ["sobjects", name, record_id]:
                self._check_object(name)
                return self._ready_by_id(method, name, record_id, query, body)
        raise _not_there()

    def _ready_read(self, parts: list[str], query: Mapping[str, str]) -> Callable[[], Json] | None:
        """The resources that are not one record's."""
        match parts:
            case ["query" | "queryAll" as verb]:
                return lambda: self._query(query.get("q", ""), all_rows=verb == "queryAll")
            case ["query" | "queryAll", cursor]:
                return lambda: self._next_page(cursor)
            case ["sobjects"]:
                return self._describe_global
            case ["sobjects", name, "describe"]:
                return lambda: self._describe(name)
            case [""]:  # which resources there are, and who asks
                return lambda: {"identity": f"https://{HOST}/id/00D/{self.USER_ID}"}
            case ["limits"]:
                return self._limits
        return None

    def _limits(self) -> Json:
        """For users with View Setup and Configuration, which an integration user need not have.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm
        """
        if not self.tells_limits:
            raise Refusal(403, "INSUFFICIENT_ACCESS", "You don't have permission to view limits.")
        used = {"DailyApiRequests": (DAILY_CALLS, 1000), "DataStorageMB": (5120, self.used_mb)}
        return {name: {"Max": most, "Remaining": most - now} for name, (most, now) in used.items()}

    def _describe_global(self) -> Json:
        return {
            "sobjects": [
                {"name": name, "keyPrefix": prefix, "custom": name.endswith("__c")}
                for name, prefix in self.prefixes.items()
                if not self._is_hidden(name)
            ]
        }

    def _ready_by_external_id(
        self,
        method: str,
        name: str,
        external: str,
        value: str,
        query: Mapping[str, str],
        body: Any,
    ) -> Work:
        self._check_external(name, external)
        found = self._find(name, external, value)
        if method == "PATCH":
            values = _an_object(body)
            if external in values:
                raise Refusal(400, "INVALID_FIELD", f"{external} stands in the URL already")
            if found is None and query.get("updateOnly") == "true":
                raise _not_there()

            def upsert() -> Result:
                result = self.upsert(name, external, value, values, found)
                return (201 if result["created"] else 200), result

            return Work(upsert)
        if found is None:
            raise _not_there()
        return self._ready_by_id(method, name, found["Id"], query, body)

    def _ready_by_id(
        self, method: str, name: str, record_id: str, query: Mapping[str, str], body: Any
    ) -> Work:
        record = self._live(name, record_id)
        if method == "GET":
            fields = query["fields"].split(",") if "fields" in query else None
            for each in fields or []:
                self._check_field(name, each)
            return Work(lambda: (200, self._shown(name, record, fields)), writes=False)
        if method not in ("PATCH", "DELETE"):
            raise Refusal(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed")

        def write() -> Result:
            if method == "DELETE":
                self.delete(name, record["Id"])
            else:
                self.update(name, record["Id"], _an_object(body))
            return 204, None

        return Work(write)

    def _ready_collection(self, writes: list[Write], *, whole: bool, in_composite: bool) -> Work:
        def write() -> Result:
            results = self._write_each(writes, all_or_none=whole or in_composite)
            failed = not all(each["success"] for each in results)
            return (400 if failed and in_composite else 200), results

        return Work(write)


def _not_there() -> Refusal:
    return Refusal(404, "NOT_FOUND", "The requested resource does not exist")


def _an_object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise Refusal(400, "JSON_PARSER_ERROR", "an object belongs here")
    return body
