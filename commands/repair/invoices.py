"""Compare invoices and their lines, and write each invoice that differs as a whole.

Clockify's list of invoices tells no items, subtotals and texts, and one invoice is a request: only
those are asked for that the list shows to have changed, and drafts, which change without a trace.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from clockify_salesforce.decisions import Lines, Record
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.salesforce.client import Part, quoted
from clockify_salesforce.salesforce.errors import HALTED
from commands.repair.change import GraphChange, Planned, RecordChange
from commands.repair.compare import differences
from commands.repair.patience import PatientOrg
from commands.repair.records import Compared, Records, chunks

# Of one call. https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_graph_limits.htm
GRAPHS, REQUESTS = 75, 500
DRAFT = "UNSENT"
WITH_LINES = 100  # invoices whose lines are read in a query

Json = dict[str, Any]


class Invoices:
    """Invoices of one workspace."""

    def __init__(
        self, org: PatientOrg, records: Records, refuse: Callable[[str, str], None]
    ) -> None:
        self._org = org
        self._records = records
        self._refuse = refuse

    def changed(self, listed: Iterable[Json]) -> tuple[list[str], int]:
        """Which of the list's invoices have to be asked for, and how many are as they should be.

        Raises as PatientOrg.call does.
        """
        told = [
            replace(
                one,
                lines=None,
                # What the list does not tell is not empty.
                fields={name: value for name, value in one.fields.items() if value is not None},
            )
            for one in self._records.read(listed)
        ]
        wanted: dict[str, None] = {}
        unchanged = 0
        for names in _alike(told).values():
            found = self._records.compare(names)
            wanted |= dict.fromkeys(each.entry_id for each in found.changes)
            unchanged += found.unchanged + found.foreign
        drafts = [one.entry_id for one in told if one.fields.get("Status__c") == DRAFT]
        there = len(wanted)
        wanted |= dict.fromkeys(drafts)
        return list(wanted), unchanged - (len(wanted) - there)

    def compare(self, invoices: Iterable[Json]) -> tuple[list[GraphChange], int]:
        """What is to be written of whole invoices, and how many are as they should be."""
        decisions = {one.entry_id: one for one in self._records.read(invoices)}
        found = self._records.compare([replace(one, lines=None) for one in decisions.values()])
        lines = self._lines_of(found, decisions)
        heads = {each.entry_id: each for each in found.changes}
        changes = []
        unchanged = 0
        for entry_id, decision in decisions.items():
            record_id = found.there.get(entry_id)
            parts = _parts(decision, heads.get(entry_id), record_id, lines.get(record_id or "", []))
            if len(parts) > REQUESTS:
                self._refuse(entry_id, "it and its lines take more than one call can write")
            elif parts:
                head = heads.get(entry_id)
                parent = head.parent if head else None
                changes.append(GraphChange(entry_id, record_id, parts, parent))
            else:
                unchanged += 1
        return changes, unchanged

    def _lines_of(self, found: Compared, decisions: Mapping[str, Record]) -> dict[str, list[Json]]:
        """The lines that Salesforce holds, by their invoices' record ids."""
        held: dict[str, list[Json]] = defaultdict(list)
        shape = next((one.lines for one in decisions.values() if one.lines), None)
        if shape is None:
            return held
        names = {name for one in decisions.values() for name in _names(one.lines)}
        select = ", ".join(["Id", shape.target.external_id, shape.parent, *sorted(names)])
        for ids in chunks(found.there.values(), WITH_LINES):
            soql = (
                f"SELECT {select} FROM {shape.target.object}"
                f" WHERE {shape.parent} IN ({','.join(map(quoted, ids))})"
            )
            for row in self._org.rows(soql):
                held[row[shape.parent]].append(row)
        return held

    def send(self, batch: Sequence[Planned]) -> list[Json]:
        """Write a batch of GraphChange, in as few calls as they fit in; the results in order."""
        results: dict[str, Json] = {}
        waiting: dict[str, list[Part]] = {}
        for change in batch:
            if not isinstance(change, GraphChange):
                continue
            if sum(map(len, waiting.values())) + len(change.parts) > REQUESTS:
                results |= self._send(waiting)
                waiting = {}
            waiting[change.entry_id] = change.parts
        results |= self._send(waiting)
        return [results[each.entry_id] | {"created": each.record_id is None} for each in batch]

    def _send(self, graphs: Mapping[str, list[Part]]) -> dict[str, Json]:
        """The results; those that were halted because others had failed are sent once more."""
        results: dict[str, Json] = {}
        left = dict(graphs)
        while left:
            told = self._org.patiently(partial(self._org.org.graphs, left))
            halted = {name for name, result in told.items() if _is_halted(result)}
            results |= {name: result for name, result in told.items() if name not in halted}
            if len(halted) == len(left):
                raise IntegrationError("Salesforce begins none of the invoices: run this again")
            left = {name: graphs[name] for name in halted}
        return results


def _is_halted(result: Json) -> bool:
    return any(error.get("errorCode") == HALTED for error in result["errors"])


def _alike(records: Iterable[Record]) -> dict[tuple[str, ...], list[Record]]:
    """Records by the names of the fields that are told of them."""
    found: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for one in records:
        found[tuple(one.fields)].append(one)
    return found


def _names(lines: Lines | None) -> set[str]:
    return {name for line in lines.lines for name in line.fields} if lines else set()


def _parts(
    decision: Record, head: RecordChange | None, record_id: str | None, held: Sequence[Json]
) -> list[Part]:
    """The requests that make an invoice and its lines what they should be; none where they are."""
    parts = []
    target = decision.target
    if head is not None:
        path = f"sobjects/{target.object}/{target.external_id}/{decision.entry_id}"
        parts.append(Part("record", "PATCH", path, head.fields))
    if decision.lines is None:
        return parts
    kind, parent = decision.lines.target, decision.lines.parent
    rows = {row[kind.external_id]: row for row in held}
    for number, line in enumerate(decision.lines.lines):
        row = rows.pop(line.key, None)
        if row is not None and not differences(row, line.fields):
            continue
        path = f"sobjects/{kind.object}/{kind.external_id}/{line.key}"
        body = dict(line.fields) | {parent: record_id or "@{record.id}"}
        parts.append(Part(f"line{number}", "PATCH", path, body))
    for number, row in enumerate(rows.values()):
        parts.append(Part(f"gone{number}", "DELETE", f"sobjects/{kind.object}/{row['Id']}"))
    return parts
