"""Composite graph: up to 75 graphs in one call, each a transaction of its own.

https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-graph.html
"""

import json
import re
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from sandbox.salesforce.composite import HALTED, Composite, named_parts, told
from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.rest import Result
from sandbox.salesforce.sobject_collections import tried

# https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-graph-limits.html
GRAPHS, NODES, DEPTH, KINDS, FAILURES = 75, 500, 15, 15, 14
# Unique, alphanumeric at its beginning, shorter than 40 characters and without a period:
# https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_graph_introduction.htm
_GRAPH_ID = re.compile(r"[A-Za-z0-9][^.]{0,38}")
_REFERENCE = re.compile(r"@\{(\w+)")
_RECORDS = re.compile(r"/services/data/v[\d.]+/sobjects/(\w+)(/[^/]+(?:/[^/]+)?)?/?")


class Graph(Composite):
    """What stands behind composite/graph."""

    def reset(self) -> None:
        """Forget all records."""
        super().reset()
        # "My subrequests were not executed in order": but for what a reference asks for, no order
        # is promised, and other orders were met.
        # https://dfc-org-production.my.site.com/forums/ForumsMain?id=9062I000000R5utQAC
        self.graph_keeps_order = False
        # Whether a graph of a wrong form fails the whole request, or itself alone: not said.
        self.graph_refuses_whole = True

    async def _do(self, method: str, url: str, body: Any) -> Result:
        path = urlsplit(url).path
        if method == "POST" and path == f"/services/data/v{self.version}/composite/graph":
            return 200, await self._graphs(body)
        return await super()._do(method, url, body)

    async def _graphs(self, body: Any) -> Json:
        graphs = _well_formed(body)
        refusals = [_refusal(graph["compositeRequest"]) for graph in graphs]
        if self.graph_refuses_whole and any(refusals):
            raise next(each for each in refusals if each)
        firsts = [
            None if wrong else tried(lambda part: self._work(part, {}), self._order(graph)[0])
            for graph, wrong in zip(graphs, refusals, strict=True)
        ]
        began = self._now()
        await self._write_takes_time()
        answers: list[Json] = []
        for graph, wrong, first in zip(graphs, refusals, firsts, strict=True):
            parts = graph["compositeRequest"]
            failures = sum(not each["isSuccessful"] for each in answers)
            if failures > FAILURES:
                results: list[Result] = [(400, [HALTED])] * len(parts)
            elif wrong:
                halted: list[Result] = [(400, [HALTED])] * (len(parts) - 1)
                results = [(wrong.status, [wrong.error]), *halted]
            else:
                results = self._graph(graph, first, began)
            answers.append(
                {
                    "graphId": graph["graphId"],
                    "graphResponse": {"compositeResponse": told(parts, results)},
                    "isSuccessful": all(status < 400 for status, _ in results),
                }
            )
        return {"graphs": answers}

    def _graph(self, graph: Json, first: Any, began: str) -> list[Result]:
        """The results of one graph's nodes, in the order in which it names them."""
        order = self._order(graph)
        results = self._together(order, first, began)
        by_name = {part["referenceId"]: result for part, result in zip(order, results, strict=True)}
        return [by_name[part["referenceId"]] for part in graph["compositeRequest"]]

    def _order(self, graph: Json) -> list[Json]:
        """The nodes as they are worked on: each behind those that it refers to.

        Nodes of one kind are done together, which is why their kinds are limited. Where the order
        is not kept, kinds that do not depend on each other come the other way round.
        """
        parts: list[Json] = graph["compositeRequest"]
        depths = _depths(parts)
        by_depth = sorted(parts, key=lambda part: depths[part["referenceId"]])
        if self.graph_keeps_order:
            return by_depth
        order: list[Json] = []
        for _, layer in groupby(by_depth, key=lambda part: depths[part["referenceId"]]):
            kinds: dict[object, list[Json]] = {}
            for part in layer:
                kinds.setdefault(_kind(part), []).append(part)
            order += [part for kind in reversed(kinds.values()) for part in kind]
        return order


def _well_formed(body: Any) -> list[Json]:
    """The graphs of a request. Which codes its refusals have is not documented."""
    graphs = body.get("graphs") if isinstance(body, dict) else None
    if not isinstance(graphs, list) or not graphs:
        raise Refusal(400, "JSON_PARSER_ERROR", "graphs: a list belongs here")
    if len(graphs) > GRAPHS:
        raise Refusal(400, "LIMIT_EXCEEDED", f"at most {GRAPHS} graphs")
    parts = [part for graph in graphs for part in named_parts(graph)]
    if len(parts) > NODES:
        raise Refusal(400, "LIMIT_EXCEEDED", f"at most {NODES} nodes")
    if len({_kind(part) for part in parts}) > KINDS:
        raise Refusal(400, "LIMIT_EXCEEDED", f"at most {KINDS} different nodes")
    names = [str(graph.get("graphId", "")) for graph in graphs]
    if len(set(names)) < len(names) or not all(_GRAPH_ID.fullmatch(name) for name in names):
        raise Refusal(400, "INVALID_INPUT", "graphId")
    return graphs


def _refusal(parts: list[Json]) -> Refusal | None:
    """Why a graph is refused, None where it is not."""
    for part in parts:
        record = _RECORDS.fullmatch(urlsplit(part["url"]).path)
        allowed = ("POST",) if record and not record[2] else ("GET", "PATCH", "DELETE", "POST")
        if record is None or part["method"] not in allowed:
            message = f"composite graph does not support {part['method']} {part['url']}"
            return Refusal(400, "INVALID_INPUT", message)
    try:
        deepest = max(_depths(parts).values())
    except RecursionError:
        return Refusal(400, "INVALID_INPUT", "the graph goes round in a circle")
    if deepest > DEPTH:
        return Refusal(400, "LIMIT_EXCEEDED", f"a graph is at most {DEPTH} deep")
    return None


def _depths(parts: list[Json]) -> dict[str, int]:
    """How deep each node lies: 1 where it refers to no other of the graph."""
    needs = {part["referenceId"]: set[str]() for part in parts}
    for part in parts:
        named = _REFERENCE.findall(part["url"] + json.dumps(part.get("body")))
        needs[part["referenceId"]] = {each for each in named if each in needs}
    depths: dict[str, int] = {}

    def depth(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise RecursionError
        if name not in depths:
            depths[name] = 1 + max((depth(each, (*path, name)) for each in needs[name]), default=0)
        return depths[name]

    for name in needs:
        depth(name, ())
    return depths


def _kind(part: Json) -> tuple[str, str, str]:
    """Nodes differ by method, version and object."""
    path = urlsplit(part["url"]).path.split("/")
    return part["method"], "/".join(path[:4]), "/".join(path[4:6]).lower()
