"""SOQL over the org's records, its pages, and what describe tells of an object."""

from datetime import UTC, datetime

from sandbox import soql
from sandbox.salesforce import metadata
from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.metadata import PREFIXES, SYSTEM
from sandbox.salesforce.saving import Saving

PAGE = 2000


class Reading(Saving):
    """Reads, as the integration user sees the org."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version

    def reset(self) -> None:
        """Forget all records, and the cursors of queries."""
        super().reset()
        self._cursors: dict[str, tuple[list[Json], str]] = {}

    def _query(self, text: str, *, all_rows: bool) -> Json:
        try:
            query = soql.parse(text, datetime.fromtimestamp(self.clock(), UTC))
        except soql.Malformed as error:
            raise Refusal(400, "MALFORMED_QUERY", str(error)) from None
        self._check_query(query)
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

    def _check_query(self, query: soql.Query) -> None:
        name = query.object
        if name not in PREFIXES or self._is_hidden(name):
            raise Refusal(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        for each in query.names:
            self._check_field(name, each)
        kinds = self.fields[name]
        long = {each for each in query.names if each in kinds and kinds[each].type == "textarea"}
        # https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_fieldexpression.htm
        for each in query.filtered:
            if each in long:
                message = f"field '{each}' can not be filtered in a query call"
                raise Refusal(400, "INVALID_FIELD", message)
        for each, _ in query.order:
            if each in long:
                message = f"field '{each}' can not be sorted in a query call"
                raise Refusal(400, "MALFORMED_QUERY", message)

    def _page(self, rows: list[Json], verb: str) -> Json:
        answer: Json = {"totalSize": len(rows), "done": len(rows) <= PAGE, "records": rows[:PAGE]}
        if not answer["done"]:
            self._number += 1
            cursor = f"01g-{self._number}"
            self._cursors[cursor] = (rows[PAGE:], verb)
            answer["nextRecordsUrl"] = f"/services/data/v{self.version}/{verb}/{cursor}"
        return answer

    def _next_page(self, cursor: str) -> Json:
        if cursor not in self._cursors:
            raise Refusal(404, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(*self._cursors.pop(cursor))

    def _shown(self, name: str, record: Json, fields: list[str] | None = None) -> Json:
        names = fields or [
            each for each in (*SYSTEM, *self.fields[name]) if not self._is_hidden(name, each)
        ]
        row = {"attributes": {"type": name, "url": f"/sobjects/{name}/{record['Id']}"}}
        return row | {each: record.get(each) for each in names}

    def _describe(self, name: str) -> Json:
        self._check_object(name)
        fields = [
            {
                "name": each,
                "type": kind.type,
                "length": kind.length,
                "externalId": kind.external,
                "unique": kind.unique,
                "createable": f"{name}.{each}" not in self.read_only,
                "updateable": f"{name}.{each}" not in self.read_only,
            }
            for each, kind in self.fields[name].items()
            if not self._is_hidden(name, each)
        ]
        may_write = name not in self.read_only
        children = []
        if name not in metadata.WITHOUT_EVENTS:
            link = "WhoId" if name in metadata.WHO else "WhatId"
            children = [{"childSObject": "Event", "field": link}]
        return {
            "name": name,
            "keyPrefix": PREFIXES[name],
            "createable": may_write,
            "updateable": may_write,
            "deletable": may_write,
            "fields": fields,
            "childRelationships": children,
        }
