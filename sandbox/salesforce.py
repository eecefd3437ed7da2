"""Stand in for one Salesforce org: it keeps records and refuses what Salesforce refuses.

Custom fields, validation rules and the integration user's rights are read from the project's own
`force-app/`, so that the product, the metadata and this agree or a test fails. A write is not
atomic where Salesforce's is not: two upserts of one new value meet a DUPLICATE_VALUE.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import jwt

from sandbox import formula, soql
from sandbox.internet import Answer, Request

FORCE_APP = Path(__file__).resolve().parent.parent / "force-app/main/default"
DOMAIN = "sandbox.my"
HOST = f"{DOMAIN}.salesforce.com"
CONSUMER_KEY, CONSUMER_SECRET = "3MVG9-made-up-consumer-key", "made-up-consumer-secret"
ADMIN_ID = "005Kj000000AdmnIAE"
USERNAME = "integration@sandbox.example"
PREFIXES = {
    "Event": "00U",
    "User": "005",
    "Account": "001",
    "Opportunity": "006",
    "Contact": "003",
    "Lead": "00Q",
    "Case": "500",
    "Clockify_State__c": "a00",
    "Machine__c": "a01",  # a custom object that may have activities
    "Note__c": "a02",  # and one that may not
}
_WHO, _PAGE = ("Contact", "Lead"), 2000
_SYSTEM = {
    "Id": "id",
    "IsDeleted": "boolean",
    "CreatedById": "reference",
    "CreatedDate": "datetime",
    "LastModifiedById": "reference",
    "LastModifiedDate": "datetime",
    "SystemModstamp": "datetime",
    "OwnerId": "reference",
}
_NAME = {"Name": 255}
_STANDARD: dict[str, dict[str, str | int]] = {
    "Event": {
        "Subject": 255,
        "Description": 32_000,
        "StartDateTime": "datetime",
        "EndDateTime": "datetime",
        "ShowAs": 40,
        "WhatId": "reference",
        "WhoId": "reference",
        "Location": 255,
        "IsAllDayEvent": "boolean",
        "DurationInMinutes": "number",
        "IsArchived": "boolean",
    },
    "User": {**_NAME, "Username": 80, "Email": 128, "IsActive": "boolean", "UserType": 40},
    "Account": {**_NAME},
    "Opportunity": {**_NAME, "AccountId": "reference", "StageName": 255, "IsClosed": "boolean"},
    "Contact": {**_NAME, "Email": 128},
    "Lead": {**_NAME},
    "Case": {**_NAME},
    "Clockify_State__c": {**_NAME},
    "Machine__c": {**_NAME},
    "Note__c": {**_NAME},
}
Json = dict[str, Any]
_XML = {"m": "http://soap.sforce.com/2006/04/metadata"}


class Refusal(Exception):
    """An error of the REST API: `status`, and the list that is its body."""

    def __init__(self, status: int, code: str, message: str, *fields: str) -> None:
        super().__init__(code)
        self.status = status
        self.error = {"message": message, "errorCode": code, "fields": list(fields)}


@dataclass
class Faults:
    """What goes wrong, each a share of the requests from 0 to 1; `chance` is seeded."""

    outage: float = 0  # connections are refused and reset
    reset: float = 0  # the connection breaks before the write
    lost: float = 0  # the write is made and its answer lost
    error: float = 0  # 503 SERVER_UNAVAILABLE as JSON
    html: float = 0  # 502 as a gateway's HTML page
    hang: float = 0  # no answer for 30 s
    lock: float = 0  # UNABLE_TO_LOCK_ROW
    expired: float = 0  # the session has ended
    limit: float = 0  # the day's API calls are used up
    rule: float = 0  # a rule of the org's own refuses every Event
    slow: float = 0  # 2 s
    chance: Random = field(default_factory=lambda: Random(0))

    def strikes(self, kind: str) -> bool:
        """Tell whether this request meets this fault."""
        share: float = getattr(self, kind)
        return share > 0 and self.chance.random() < share

    def clear(self) -> None:
        """Let everything be well again."""
        for kind in FAULTS:
            setattr(self, kind, 0)


FAULTS = (
    "outage",
    "reset",
    "lost",
    "error",
    "html",
    "hang",
    "lock",
    "expired",
    "limit",
    "rule",
    "slow",
)


@dataclass(frozen=True)
class _Field:
    type: str
    length: int = 0
    unique: bool = False
    external: bool = False
    required: bool = False


class SalesforceOrg:
    """One org. Requests come in one thread; the tests' methods may be called from another."""

    USER_ID = "005Kj000000IntgIAC"

    def __init__(self, version: str = "65.0") -> None:
        self._version = version
        self.fields = {name: _fields(name) for name in PREFIXES}
        self._rules = {name: _rules(name) for name in PREFIXES}
        self._visible = _permissions()
        self.clock: Callable[[], float] = time.time
        self.jwt_public_key: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all records, faults and counts."""
        self.records: dict[str, dict[str, Json]] = {name: {} for name in PREFIXES}
        self._holders: dict[tuple[str, str], dict[str, list[str]]] = {}  # also the deleted ones
        self._events_of_day: dict[str, set[str]] = {}  # day -> Events that began then, or once did
        self._cursors: dict[str, tuple[list[Json], str]] = {}
        self._number = 0
        self._undo: list[Callable[[], object]] = []  # of the transaction, the newest last
        self._tokens: set[str] = set()
        self.hidden: set[str] = set()  # fields that are not deployed, like Event.Clockify_Hours__c
        self.faults = Faults()
        self.latency = 0.0
        self.token_status: int | None = None
        self.multiday = False
        # Two things that Salesforce's documentation does not say.
        self.bin_keeps_unique = self.archive_hides_id = False
        self.consumer_secret = CONSUMER_SECRET
        self.requests: list[tuple[str, str]] = []
        self.sign_ins = 0
        self._put(
            "User",
            self.USER_ID,
            {
                "Name": "Clockify Integration",
                "IsActive": True,
                "Username": USERNAME,
                "Email": USERNAME,
                "UserType": "Standard",
            },
        )

    # --- For tests and for people -----------------------------------------------------------------

    def events(self) -> list[Json]:
        """Every live Event."""
        return [
            dict(record)
            for record in list(self.records["Event"].values())
            if not record["IsDeleted"]
        ]

    def event(self, entry_id: str) -> Json | None:
        """The live Event of a time entry."""
        key = "Clockify_Time_Entry_Id__c"
        return next((event for event in self.events() if event.get(key) == entry_id), None)

    def forget_events(self) -> None:
        """Forget all Events, those in the recycle bin too, and the requests so far."""
        self.records["Event"].clear()
        self._holders.pop(("Event", "Clockify_Time_Entry_Id__c"), None)
        self._events_of_day.clear()
        self.requests.clear()
        self.sign_ins = 0

    def add(self, name: str, *, record_id: str | None = None, **values: Any) -> str:
        """Make a record as an admin would, and return its id."""
        if name == "User":
            values = {"IsActive": True, "UserType": "Standard"} | values
        return self._insert(name, values, record_id, user=ADMIN_ID)

    def change(self, name: str, record_id: str, **values: Any) -> None:
        """Change a record as a person does in the browser."""
        self._update(name, self.records[name][record_id], values, user=ADMIN_ID)

    def remove(self, name: str, record_id: str, *, user: str = ADMIN_ID) -> None:
        """Delete a record as a person does in the browser."""
        self._delete(self.records[name][record_id], user)

    # --- HTTP -------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Answer:
        """Answer one HTTP request to the org's host."""
        faults = self.faults
        if faults.strikes("outage") or faults.strikes("reset"):
            return Answer(lost=True)
        if request.path.startswith("/services/oauth2/token"):
            self.sign_ins += 1
            await asyncio.sleep(self.latency)
            return self._token(request)
        self.requests.append((request.method, request.path.split(f"/v{self._version}/")[-1]))
        if faults.strikes("hang"):
            await asyncio.sleep(30)
            return Answer(lost=True)
        if faults.strikes("slow"):
            await asyncio.sleep(2)
        if faults.strikes("html"):
            return Answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>")
        self._undo.clear()
        try:
            answer = await self._api(request)
        except Refusal as refusal:
            answer = Answer(refusal.status, [refusal.error])
        return Answer(lost=True) if faults.strikes("lost") else answer

    def _token(self, request: Request) -> Answer:
        """https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm"""
        if self.token_status is not None:
            return Answer(self.token_status, "<html>sign-in is down</html>")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") == "client_credentials":
            given = (form.get("client_id"), form.get("client_secret"))
            # simple-salesforce sends them as basic authentication.
            if request.headers.get("authorization", "").startswith("Basic "):
                pair = base64.b64decode(request.headers["authorization"][6:]).decode()
                given = tuple(pair.split(":", 1))  # type: ignore[assignment]
            if given != (CONSUMER_KEY, self.consumer_secret):
                return Answer(
                    400,
                    {"error": "invalid_client", "error_description": "invalid client credentials"},
                )
        elif form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            try:
                claims = jwt.decode(
                    form["assertion"],
                    self.jwt_public_key or "",
                    ["RS256"],
                    audience="https://login.salesforce.com",
                    issuer=CONSUMER_KEY,
                )
            except jwt.InvalidTokenError:
                return Answer(400, {"error": "invalid_grant", "error_description": "bad assertion"})
            if claims.get("sub") != USERNAME:
                return Answer(
                    400, {"error": "invalid_grant", "error_description": "user hasn't approved"}
                )
        else:
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "no"})
        self._number += 1
        token = f"00Dmade-up-session-{self._number}"
        self._tokens.add(token)
        return Answer(
            200,
            {
                "access_token": token,
                "instance_url": f"https://{HOST}",
                "token_type": "Bearer",
                "issued_at": "0",
                "signature": "x",
                "id": f"https://{HOST}/id/00D/{self.USER_ID}",
            },
        )

    async def _api(self, request: Request) -> Answer:
        if self.faults.strikes("expired"):
            self._tokens.clear()
        if request.headers.get("authorization", "")[7:] not in self._tokens:
            raise Refusal(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.faults.strikes("limit"):
            raise Refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        if self.faults.strikes("error"):
            raise Refusal(503, "SERVER_UNAVAILABLE", "Server is too busy")
        url = urlsplit(request.path)
        prefix = f"/services/data/v{self._version}/"
        if not url.path.startswith(prefix):
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            raise Refusal(400, "JSON_PARSER_ERROR", "Unexpected character") from None
        parts = [unquote(part) for part in url.path.removeprefix(prefix).strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, answer = await self._route(request.method, parts, query, body)
        used = {"Sforce-Limit-Info": f"api-usage={len(self.requests)}/100000"}
        return Answer(status, answer, used)

    async def _route(
        self, method: str, parts: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        match method, parts:
            case "GET", ["query" | "queryAll" as verb]:
                return 200, self._query(query.get("q", ""), all_rows=verb == "queryAll")
            case "GET", ["query" | "queryAll", cursor]:
                return 200, self._next_page(cursor)
            case "GET", ["sobjects"]:
                described = [
                    {"name": name, "keyPrefix": prefix, "custom": name.endswith("__c")}
                    for name, prefix in PREFIXES.items()
                ]
                return 200, {"sobjects": described}
            case "GET", ["sobjects", name, "describe"]:
                return 200, self._describe(name)
            case "GET", [""]:  # which resources there are, and who asks
                return 200, {"identity": f"https://{HOST}/id/00D/{self.USER_ID}"}
            case "GET", ["limits"]:
                return 200, {"DailyApiRequests": {"Max": 100_000, "Remaining": 99_000}}
            case "POST", ["composite"]:
                return 200, await self._composite(body)
            case "PATCH", ["composite", "sobjects", name, external]:
                return 200, await self._each(
                    body, lambda record: self._upsert_in_collection(name, external, record)
                )
            case "PATCH", ["composite", "sobjects"]:
                return 200, await self._each(body, self._update_by_id)
            case "DELETE", ["composite", "sobjects"]:
                ids = [{"id": each} for each in query["ids"].split(",")]
                return 200, await self._each({"records": ids}, self._delete_by_id)
            case "POST", ["sobjects", name]:
                await self._write_takes_time()
                return 201, {"id": self._insert(name, body), "success": True, "errors": []}
            case _, ["sobjects", name, external, value] if name in PREFIXES:
                return await self._by_external_id(method, name, external, value, query, body)
            case _, ["sobjects", name, record_id] if name in PREFIXES:
                record = self._live(name, record_id)
                if method == "GET":
                    return 200, self._shown(name, record)
                await self._write_takes_time()
                if method == "DELETE":
                    self._delete(record)
                else:
                    self._update(name, record, body)
                return 204, None
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")

    async def _by_external_id(
        self,
        method: str,
        name: str,
        external: str,
        value: str,
        query: Mapping[str, str],
        body: Any,
    ) -> tuple[int, Any]:
        self._check_external(name, external)
        record = self._find(name, external, value)
        if method == "PATCH":
            if not isinstance(body, dict):
                raise Refusal(400, "JSON_PARSER_ERROR", "an object belongs here")
            if external in body:
                raise Refusal(400, "INVALID_FIELD", f"{external} stands in the URL already")
            if record is None and query.get("updateOnly") == "true":
                raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
            # Another call may come in between, as in Salesforce.
            await self._write_takes_time()
            result = self._upsert(name, external, value, body, record)
            return (201 if result["created"] else 200), result
        if record is None:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        if method == "GET":
            return 200, self._shown(name, record)
        if method != "DELETE":
            raise Refusal(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed")
        await self._write_takes_time()
        self._delete(record)
        return 204, None

    async def _composite(self, body: Any) -> Json:
        """Up to 25 parts in one call; with allOrNone all of them happen or none.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite_post.htm
        """
        parts = body["compositeRequest"]
        if len(parts) > 25:
            raise Refusal(400, "LIMIT_EXCEEDED", "at most 25 subrequests")
        names = [part["referenceId"] for part in parts]
        if len(set(names)) != len(names):
            raise Refusal(400, "INVALID_INPUT", "Duplicate referenceId")
        await asyncio.sleep(self.latency)
        all_or_none = body.get("allOrNone", False)
        begun, failed, results = len(self._undo), False, []
        latency, self.latency = self.latency, 0.0
        try:
            for part in parts:
                if failed and all_or_none:
                    results.append((400, None))
                    continue
                results.append(self._part(part))
                failed = failed or results[-1][0] >= 400
        finally:
            self.latency = latency
        if failed and all_or_none:
            while len(self._undo) > begun:
                self._undo.pop()()
            results = [each if each[0] >= 400 and each[1] else (400, None) for each in results]
        self._undo.clear()
        halted = {
            "errorCode": "PROCESSING_HALTED",
            "message": "The transaction was rolled back since another operation in the same"
            " transaction failed.",
        }
        return {
            "compositeResponse": [
                {
                    "body": [halted] if status == 400 and answer is None else answer,
                    "httpHeaders": {},
                    "httpStatusCode": status,
                    "referenceId": name,
                }
                for name, (status, answer) in zip(names, results, strict=True)
            ]
        }

    def _part(self, part: Json) -> tuple[int, Any]:
        url = urlsplit(part["url"])
        parts = url.path.split(f"/v{self._version}/", 1)[1].strip("/").split("/")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        # Nothing in it waits, so that no other call comes in between.
        work = self._route(
            part["method"], [unquote(each) for each in parts], query, part.get("body")
        )
        try:
            work.send(None)
        except StopIteration as done:
            result: tuple[int, Any] = done.value
            return result
        except Refusal as refusal:
            return refusal.status, [refusal.error]
        raise RuntimeError("a part of a composite has waited")

    async def _each(self, body: Any, write: Callable[[Json], Json]) -> list[Json]:
        """sObject collections: up to 200 records, each with its own result."""
        if len(body["records"]) > 200:
            raise Refusal(400, "EXCEEDED_MAX_RECORDS", "at most 200 records")
        results = []
        for record in body["records"]:
            record.pop("attributes", None)
            try:
                results.append({"success": True, "errors": []} | write(record))
            except Refusal as refusal:
                error = refusal.error
                results.append(
                    {
                        "success": False,
                        "errors": [
                            {
                                "statusCode": error["errorCode"],
                                "message": error["message"],
                                "fields": error["fields"],
                            }
                        ],
                    }
                )
        if self.latency:
            await asyncio.sleep(self.latency)
        return results

    def _update_by_id(self, record: Json) -> Json:
        record_id = record.pop("id", None) or record.pop("Id")
        name = next(name for name, prefix in PREFIXES.items() if record_id.startswith(prefix))
        self._update(name, self._live(name, record_id), record)
        return {"id": record_id}

    def _delete_by_id(self, record: Json) -> Json:
        name = next(name for name, prefix in PREFIXES.items() if record["id"].startswith(prefix))
        self._delete(self._live(name, record["id"]))
        return {"id": record["id"]}

    async def _write_takes_time(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        self._meet_lock()

    def _meet_lock(self) -> None:
        if self.faults.strikes("lock"):
            raise Refusal(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access")

    # --- Reading ----------------------------------------------------------------------------------

    def _query(self, text: str, *, all_rows: bool) -> Json:
        try:
            query = soql.parse(text)
        except soql.Malformed as error:
            raise Refusal(400, "MALFORMED_QUERY", str(error)) from None
        if query.object not in PREFIXES:
            raise Refusal(400, "INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
        for name in query.names:
            self._check_field(query.object, name)
        for name in query.filtered:
            if self.fields[query.object].get(name, _Field("")).type == "textarea":
                raise Refusal(
                    400, "INVALID_FIELD", f"field '{name}' can not be filtered in a query call"
                )
        found = [
            record
            for record in self._candidates(query)
            if (all_rows or not (record["IsDeleted"] or self._is_archived(record)))
            and query.where(record)
        ]
        for name, descending in reversed(query.order):
            found.sort(
                key=lambda row: (row.get(name) is not None, row.get(name)), reverse=descending
            )
        rows = [self._shown(query.object, record, query.fields) for record in found[: query.limit]]
        return self._page(rows, "queryAll" if all_rows else "query")

    def _candidates(self, query: soql.Query) -> list[Json]:
        """The records that can match: by an indexed field where the query names one."""
        records = self.records[query.object]
        for name, values in query.equal:
            if self.fields[query.object].get(name, _Field("")).unique:
                holders = self._holders.get((query.object, name), {})
                return [
                    records[each]
                    for value in values
                    for each in holders.get(value, [])
                    if each in records
                ]
        days = {
            sign: f"{moment.astimezone(UTC):%Y-%m-%d}"
            for name, sign, moment in query.bounds
            if name == "StartDateTime"
        }
        if ">=" in days and "<" in days:
            began = [
                ids for day, ids in self._events_of_day.items() if days[">="] <= day <= days["<"]
            ]
            return [records[each] for each in sorted(set().union(*began)) if each in records]
        return list(records.values())

    def _page(self, rows: list[Json], verb: str, total: int | None = None) -> Json:
        answer: Json = {"totalSize": len(rows), "done": len(rows) <= _PAGE, "records": rows[:_PAGE]}
        if not answer["done"]:
            self._number += 1
            cursor = f"01g-{self._number}"
            self._cursors[cursor] = (rows[_PAGE:], verb)
            answer["nextRecordsUrl"] = f"/services/data/v{self._version}/{verb}/{cursor}"
        return answer

    def _next_page(self, cursor: str) -> Json:
        if cursor not in self._cursors:
            raise Refusal(404, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(*self._cursors.pop(cursor))

    def _is_archived(self, record: Json) -> bool:
        end = record.get("EndDateTime")
        return end is not None and _moment(end).timestamp() < self.clock() - 365 * 86_400

    def _shown(self, name: str, record: Json, fields: list[str] | None = None) -> Json:
        names = fields or [*_SYSTEM, *self.fields[name]]
        row = {"attributes": {"type": name, "url": f"/sobjects/{name}/{record['Id']}"}}
        return row | {each: record.get(each) for each in names}

    def _describe(self, name: str) -> Json:
        if name not in PREFIXES:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        fields = [{"name": each, "type": "string", "length": 0} for each in self.fields[name]]
        children = []
        if name not in ("Event", "Note__c", "User"):
            children = [{"childSObject": "Event", "field": "WhoId" if name in _WHO else "WhatId"}]
        return {
            "name": name,
            "keyPrefix": PREFIXES[name],
            "fields": fields,
            "childRelationships": children,
        }

    def _live(self, name: str, record_id: str) -> Json:
        record = self.records[name].get(_with_checksum(record_id[:15]))
        if record is None:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        if record["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        return record

    def _find(self, name: str, external: str, value: str) -> Json | None:
        for record_id in self._holders.get((name, external), {}).get(value, []):
            record = self.records[name].get(record_id)
            if record is None:
                continue
            if self.archive_hides_id and self._is_archived(record):
                continue
            if not record["IsDeleted"] and record.get(external) == value:
                return record
        return None

    # --- Writing ----------------------------------------------------------------------------------

    def _upsert(
        self, name: str, external: str, value: str, values: Json, found: Json | None
    ) -> Json:
        """Write what was found a moment ago, or insert; the world may have changed since."""
        result: Json = {"success": True, "errors": [], "created": found is None}
        if found is None:
            return result | {"id": self._insert(name, {**values, external: value})}
        if found["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        self._update(name, found, values)
        return result | {"id": found["Id"]}

    def _upsert_in_collection(self, name: str, external: str, record: Json) -> Json:
        self._check_external(name, external)
        self._meet_lock()
        value = record.pop(external)
        return self._upsert(name, external, value, record, self._find(name, external, value))

    def _check_external(self, name: str, external: str) -> None:
        known = self.fields[name].get(external)
        if known is None or not known.external or self._is_hidden(name, external):
            raise Refusal(
                404,
                "NOT_FOUND",
                f"Provided external ID field does not exist or is not accessible: {external}",
            )

    def _insert(
        self, name: str, values: Json, record_id: str | None = None, user: str | None = None
    ) -> str:
        self._number += 1
        record_id = record_id or _with_checksum(f"{PREFIXES[name]}Kj{self._number:010d}")
        defaults = {
            each: False for each, kind in self.fields[name].items() if kind.type == "boolean"
        }
        owner = {"OwnerId": user or self.USER_ID} if name == "Event" else {}
        self._put(name, record_id, defaults | owner | values, user=user)
        return record_id

    def _put(self, name: str, record_id: str, values: Json, user: str | None = None) -> None:
        now = self._now()
        fresh = {
            "Id": record_id,
            "IsDeleted": False,
            "CreatedById": user or self.USER_ID,
            "CreatedDate": now,
            "IsArchived": False,
        }
        self._write(name, fresh, values, None, user)
        self.records[name][record_id] = fresh
        self._undo.append(lambda: self.records[name].pop(record_id))

    def _update(self, name: str, record: Json, values: Json, user: str | None = None) -> None:
        changed = dict(record)
        self._write(name, changed, values, record, user)
        old = dict(record)
        self._undo.append(lambda: record.update(old))
        record.update(changed)

    def _write(
        self, name: str, record: Json, values: Json, old: Json | None, user: str | None
    ) -> None:
        """Check and write into `record`; the rules see it next to `old`."""
        for each, value in values.items():
            self._check_field(name, each, as_person=user is not None)
            record[each] = self._value(name, each, value)
        if name == "Event":
            self._check_event(record, by_integration=user is None)
        self._check_required(name, record)
        self._check_rules(name, record, old)
        for each, kind in self.fields[name].items():
            if kind.unique and record.get(each) is not None:
                self._claim(name, each, record)
        if name == "Event":
            day = str(record["StartDateTime"])[:10]
            self._events_of_day.setdefault(day, set()).add(record["Id"])
        record["LastModifiedById"] = user or self.USER_ID
        record["LastModifiedDate"] = record["SystemModstamp"] = self._now()

    def _claim(self, name: str, unique: str, record: Json) -> None:
        holders = self._holders.setdefault((name, unique), {}).setdefault(record[unique], [])
        for each in holders:
            holder = self.records[name].get(each)
            if holder is None or each == record["Id"]:
                continue
            if holder.get(unique) == record[unique] and (
                not holder["IsDeleted"] or self.bin_keeps_unique
            ):
                raise Refusal(
                    400,
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {unique} duplicates"
                    f" value on record with id: {holder['Id'][:15]}",
                    unique,
                )
        if record["Id"] not in holders:
            holders.append(record["Id"])

    def _delete(self, record: Json, user: str | None = None) -> None:
        if record["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        old = dict(record)
        self._undo.append(lambda: record.update(old))
        record["IsDeleted"] = True
        record["LastModifiedById"] = user or self.USER_ID
        record["LastModifiedDate"] = record["SystemModstamp"] = self._now()

    def _check_field(self, name: str, field_name: str, *, as_person: bool = False) -> None:
        known = field_name in self.fields[name] or field_name in _SYSTEM
        if not known or (not as_person and self._is_hidden(name, field_name)):
            raise Refusal(
                400, "INVALID_FIELD", f"No such column '{field_name}' on sobject of type {name}"
            )

    def _is_hidden(self, name: str, field_name: str) -> bool:
        """Not deployed, or not in the integration user's permission set."""
        if f"{name}.{field_name}" in self.hidden:
            return True
        # A required field has no security of its own.
        kind = self.fields[name].get(field_name)
        if not field_name.endswith("__c") or (kind is not None and kind.required):
            return False
        return f"{name}.{field_name}" not in self._visible

    def _value(self, name: str, field_name: str, value: Any) -> Any:
        kind = self.fields[name].get(field_name) or _Field(_SYSTEM[field_name])
        if value is None or value == "":
            return False if kind.type == "boolean" else None
        given = {bool: "boolean", int: "number", float: "number", str: "text"}.get(type(value))
        if given != (kind.type if kind.type in ("boolean", "number") else "text"):
            raise Refusal(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {kind.type}", field_name
            )
        if kind.type == "datetime":
            return self._written(value, field_name)
        if kind.type == "reference":
            return self._referenced(name, field_name, value)
        # Salesforce counts UTF-16 code units, and a line break may be kept as two.
        if kind.length and len(value.encode("utf-16-le")) // 2 + value.count("\n") > kind.length:
            raise Refusal(400, "STRING_TOO_LONG", f"{field_name}: data value too large", field_name)
        return value

    def _written(self, value: str, field_name: str) -> str:
        try:
            moment = _moment(value)
        except ValueError:
            raise Refusal(400, "JSON_PARSER_ERROR", "not a dateTime", field_name) from None
        if not 1700 <= moment.year <= 4000:
            raise Refusal(400, "JSON_PARSER_ERROR", "dateTime out of range", field_name)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")

    def _referenced(self, name: str, field_name: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", value):
            raise Refusal(
                400, "MALFORMED_ID", f"{field_name}: id value of incorrect type: x", field_name
            )
        full = _with_checksum(value[:15])
        holder = next((each for each, prefix in PREFIXES.items() if full.startswith(prefix)), "")
        wanted = {
            "OwnerId": holder == "User",
            "WhoId": holder in _WHO,
            "WhatId": holder not in ("", "User", "Event", "Note__c", *_WHO),
        }
        target = self.records.get(holder, {}).get(full)
        if not wanted.get(field_name, True) or target is None:
            raise Refusal(
                400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field_name
            )
        if target["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        if field_name == "OwnerId" and not target.get("IsActive"):
            raise Refusal(
                400,
                "INACTIVE_OWNER_OR_USER",
                f"operation performed with inactive user [{full[:15]}] as owner of event",
                "OwnerId",
            )
        if target.get("_hidden"):
            raise Refusal(
                400,
                "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
                f"insufficient access rights on cross-reference id: {full[:15]}",
            )
        return full

    def _check_event(self, record: Json, *, by_integration: bool) -> None:
        for each in ("StartDateTime", "EndDateTime"):
            if record.get(each) is None:
                raise Refusal(
                    400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{each}]", each
                )
        span = _moment(record["EndDateTime"]) - _moment(record["StartDateTime"])
        longest = timedelta(days=14) if self.multiday else timedelta(minutes=1440)
        if not timedelta(0) <= span <= longest:
            raise Refusal(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                f"Duration must be between 0 and {longest // timedelta(minutes=1)} minutes",
                "DurationInMinutes",
            )
        if self.faults.strikes("rule") and by_integration:
            raise Refusal(
                400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Events need a location", "Location"
            )

    def _check_required(self, name: str, record: Json) -> None:
        for each, kind in self.fields[name].items():
            if kind.required and record.get(each) is None:
                raise Refusal(
                    400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{each}]", each
                )

    def _check_rules(self, name: str, record: Json, old: Json | None) -> None:
        for rule in self._rules[name]:
            if formula.evaluate(rule["formula"], new=record, old=old):
                raise Refusal(
                    400,
                    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                    rule["message"],
                    *([rule["field"]] if rule["field"] else []),
                )

    def _now(self) -> str:
        moment = datetime.fromtimestamp(self.clock(), UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment


def _with_checksum(fifteen: str) -> str:
    """The 18-character form of an id: https://help.salesforce.com/s/articleView?id=000383751"""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    return fifteen + "".join(
        letters[sum(1 << n for n, char in enumerate(fifteen[at : at + 5]) if char.isupper())]
        for at in (0, 5, 10)
    )


def _text(tree: ElementTree.Element, tag: str) -> str:
    return tree.findtext(f"m:{tag}", "", _XML)


def _fields(name: str) -> dict[str, _Field]:
    """An object's fields: the standard ones that matter here, and those of `force-app/`."""
    known = {
        each: _Field("string", kind) if isinstance(kind, int) else _Field(kind)
        for each, kind in _STANDARD[name].items()
    }
    folder = FORCE_APP / "objects" / ("Activity" if name == "Event" else name) / "fields"
    types = {
        "Text": "string",
        "Number": "number",
        "Checkbox": "boolean",
        "LongTextArea": "textarea",
    }
    for file in sorted(folder.glob("*.field-meta.xml")):
        tree = ElementTree.parse(file).getroot()
        known[_text(tree, "fullName")] = _Field(
            types[_text(tree, "type")],
            int(_text(tree, "length") or 0),
            unique=_text(tree, "unique") == "true",
            external=_text(tree, "externalId") == "true",
            required=_text(tree, "required") == "true",
        )
    return known


def _rules(name: str) -> list[dict[str, str]]:
    rules = []
    for file in sorted(FORCE_APP.glob(f"objects/{name}/validationRules/*.xml")):
        tree = ElementTree.parse(file).getroot()
        if _text(tree, "active") == "true":
            rules.append(
                {
                    "formula": _text(tree, "errorConditionFormula"),
                    "field": _text(tree, "errorDisplayField"),
                    "message": _text(tree, "errorMessage"),
                }
            )
    return rules


def _permissions() -> set[str]:
    """The custom fields that the integration user sees."""
    visible: set[str] = set()
    tree = ElementTree.parse(
        FORCE_APP / "permissionsets/Clockify_Integration.permissionset-meta.xml"
    ).getroot()
    for each in tree.findall("m:fieldPermissions", _XML):
        if _text(each, "readable") == "true":
            visible.add(_text(each, "field"))
    return visible
