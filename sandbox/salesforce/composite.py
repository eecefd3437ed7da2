"""Composite: up to 25 requests in one call, each by itself or all of them as one transaction.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite_post.htm
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sandbox.salesforce.faults import (
    CALLER,
    Caller,
    Json,
    Refusal,
    calling,
    saves_duplicates,
)
from sandbox.salesforce.rest import Rest, Result
from sandbox.salesforce.sobject_collections import tried

PARTS, QUERIES = 25, 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
# A text that looks like this stands for a value out of an earlier part's answer, also where a
# person wrote it into a description; Salesforce knows no way to escape it.
_REFERENCE = re.compile(r"@\{([^}]*)\}")
_INHERITED = {"accept", "authorization", "content-type"}
HALTED = {
    "errorCode": "PROCESSING_HALTED",
    "message": "The transaction was rolled back since another operation in the same transaction"
    " failed.",
}


class _Failed(Exception):
    """One part of several that are all or nothing."""


class Composite(Rest):
    """The whole of /services/data/vNN.0/."""

    def reset(self) -> None:
        """Forget all records."""
        super().reset()
        self.latency = 0.0  # seconds that a write takes

    async def _do(self, method: str, url: str, body: Any) -> Result:
        """Do one request as a transaction of its own. Raises Refusal."""
        path = urlsplit(url).path
        if method == "POST" and path == f"/services/data/v{self.version}/composite":
            return 200, await self._composite(body)
        work = self._ready(method, url, body)
        began = self._now()
        if work.writes:
            await self._write_takes_time()
        with self.transaction(began):
            return work.run()

    async def _write_takes_time(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)

    async def _composite(self, body: Any) -> Json:
        parts = _parts(body)
        whole = body.get("allOrNone") is True
        results = await (self._all_or_none(parts) if whole else self._one_by_one(parts))
        return {"compositeResponse": told(parts, results)}

    async def _one_by_one(self, parts: list[Json]) -> list[Result]:
        results: list[Result] = []
        for part in parts:
            try:
                known = _answers(parts, results)
                url, body = _resolved(part["url"], known), _resolved(part.get("body"), known)
                with calling(_caller(part)):
                    results.append(await self._do(part["method"], url, body))
            except Refusal as refusal:
                results.append((refusal.status, [refusal.error]))
        return results

    async def _all_or_none(self, parts: list[Json]) -> list[Result]:
        """All parts in one transaction.

        The first part's record is looked up when the call arrives. Of two calls about one record
        the second waits for the row's lock, and then is checked against what the first has stored.
        """
        begin = tried(lambda part: self._work(part, {}), parts[0])
        began = self._now()
        if any(part["method"] != "GET" for part in parts):
            await self._write_takes_time()
        return self._together(parts, begin, began)

    def _together(self, parts: list[Json], begin: Any, began: str) -> list[Result]:
        """One transaction of all parts; where one fails, the others say that they were halted."""
        results: list[Result] = []
        try:
            with self.transaction(began):
                for place, part in enumerate(parts):
                    results.append(self._part(part, _answers(parts, results), begin, place))
                    if results[-1][0] >= 400:
                        raise _Failed
        except _Failed:
            failed = len(results) - 1
            halted: Result = (400, [HALTED])
            return [results[place] if place == failed else halted for place in range(len(parts))]
        return results

    def _part(self, part: Json, known: Mapping[str, Any], begin: Any, place: int) -> Result:
        try:
            with self.transaction(), calling(_caller(part)):
                result: Result = begin() if place == 0 else self._work(part, known)()
                return result
        except Refusal as refusal:
            return refusal.status, [refusal.error]

    def _work(self, part: Json, known: Mapping[str, Any]) -> Any:
        url, body = _resolved(part["url"], known), _resolved(part.get("body"), known)
        return self._ready(part["method"], url, body, all_or_none=True).run


def told(parts: list[Json], results: list[Result]) -> list[Json]:
    """The parts' answers as a composite tells them."""
    return [
        {
            "body": answer,
            "httpHeaders": {},
            "httpStatusCode": status,
            "referenceId": part["referenceId"],
        }
        for part, (status, answer) in zip(parts, results, strict=True)
    ]


def _caller(part: Json) -> Caller:
    """Who calls in a part: of the whole request's headers only three are inherited.

    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/requests_composite.htm
    """
    return replace(CALLER.get(), saves_duplicates=saves_duplicates(part.get("httpHeaders") or {}))


def _parts(body: Any) -> list[Json]:
    """The parts of a composite whose form is right; nothing is done where one's is not."""
    parts = named_parts(body)
    # The codes of the following are not documented; the limits are.
    if len(parts) > PARTS:
        raise Refusal(400, "LIMIT_EXCEEDED", f"at most {PARTS} subrequests")
    paths = [urlsplit(part["url"]).path for part in parts]
    if sum("/query" in path or path.endswith("/composite/sobjects") for path in paths) > QUERIES:
        message = f"at most {QUERIES} queries and sObject collections"
        raise Refusal(400, "LIMIT_EXCEEDED", message)
    return parts


def named_parts(body: Any) -> list[Json]:
    """The parts of a composite or of a graph, each with a name of its own."""
    parts = body.get("compositeRequest") if isinstance(body, dict) else None
    if not isinstance(parts, list) or not parts:
        raise Refusal(400, "JSON_PARSER_ERROR", "compositeRequest: a list belongs here")
    for part in parts:
        for name in ("method", "url", "referenceId"):
            if not isinstance(part, dict) or not isinstance(part.get(name), str):
                message = (
                    f"a value belongs here, or request may be missing a required field: {name}"
                )
                raise Refusal(400, "JSON_PARSER_ERROR", message)
        if {each.lower() for each in part.get("httpHeaders") or {}} & _INHERITED:
            message = "httpHeaders: Accept, Authorization and Content-Type are inherited"
            raise Refusal(400, "INVALID_INPUT", message)
    names = [part["referenceId"] for part in parts]
    for name in names:
        # https://github.com/guardian/support-service-lambdas/pull/1512
        if not _NAME.fullmatch(name):
            message = (
                f"Provided referenceId ('{name}') must start with a letter or a number, and it can"
                " contain only letters, numbers and underscores ('_')."
            )
            raise Refusal(400, "INVALID_INPUT", message)
    if len(set(names)) < len(names):
        raise Refusal(400, "INVALID_INPUT", "Duplicate referenceId")
    return parts


def _answers(parts: list[Json], results: list[Result]) -> dict[str, Any]:
    return {
        part["referenceId"]: answer
        for part, (status, answer) in zip(parts, results, strict=False)
        if status < 400
    }


def _resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """`value` with what its references stand for. Raises Refusal where one stands for nothing.

    The refusal's words: https://pastebin.com/WFttLHq3 and CumulusCI's tests of its composite task.
    """
    if isinstance(value, dict):
        return {name: _resolved(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, known) for each in value]
    if not isinstance(value, str) or "@{" not in value:
        return value
    return _REFERENCE.sub(lambda match: _referred(match[1], known), value)


def _referred(reference: str, known: Mapping[str, Any]) -> str:
    name, *path = [each for each in re.split(r"[.\[\]]+", reference) if each] or [""]
    found = known.get(name)
    for step in path:
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = None
    if found is None or isinstance(found, dict | list):
        message = f"Invalid reference specified. No value for {reference} found in {name}"
        raise Refusal(400, "PROCESSING_HALTED", message)
    return str(found)
