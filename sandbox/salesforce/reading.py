"""SOQL over the org's records, its pages, and what describe tells of an object."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox import soql
from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.metadata import ACTIVITIES, SYSTEM, WHO, Field
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
        found = self._found(query, all_rows=all_rows)
        if query.counts:
            return {"totalSize": len(found), "done": True, "records": []}
        rows = [self._row(query, record) for record in found[: query.limit]]
        return self._page(rows, "queryAll" if all_rows else "query")

    def _found(self, query: soql.Query, *, all_rows: bool) -> list[Json]:
        """The records of a query, in its order."""
        reaches = any("." in each for each in query.names)

        def seen(record: Json) -> Mapping[str, Any]:
            return _Reaching(self, query.object, record) if reaches else record

        found = [
            record
            for record in self._candidates(query)
            if (all_rows or not (record["IsDeleted"] or self._is_archived(record)))
            and query.where(seen(record))
        ]
        # Empty ones come first, whichever way it goes, but where the query says otherwise.
        for name, descending, nulls_last in reversed(query.order):
            pairs = [(seen(record).get(name), record) for record in found]
            empty = [record for value, record in pairs if value is None]
            full = [(value, record) for value, record in pairs if value is not None]
            full.sort(key=lambda pair: pair[0], reverse=descending)
            sorted_ones = [record for _, record in full]
            found = [*sorted_ones, *empty] if nulls_last else [*empty, *sorted_ones]
        return found

    def _row(self, query: soql.Query, record: Json) -> Json:
        row = self._shown(query.object, record, [each for each in query.fields if "." not in each])
        for each in query.fields:
            if "." in each:
                self._show_parent(row, query.object, record, each)
        for child in query.children:
            name, field_name = self._children(query.object, child.object)
            within = [
                each
                for each in self._held(name, field_name, record["Id"])
                if not each["IsDeleted"] and child.where(each)
            ]
            shown = [self._shown(name, each, child.fields) for each in within]
            # Where there are none the answer has null.
            row[child.object] = (
                {"totalSize": len(shown), "done": True, "records": shown} if shown else None
            )
        return row

    def _show_parent(self, row: Json, name: str, record: Json, path: str) -> None:
        """Add to a row one field of a parent, as an object in the row; null where there is none."""
        relation, _, rest = path.partition(".")
        parent = self._parent_of(name, record, relation)
        if parent is None:
            row.setdefault(relation, None)
            return
        holder, found = parent
        if row.get(relation) is None:
            row[relation] = self._shown(holder, found, [])
        if "." in rest:
            self._show_parent(row[relation], holder, found, rest)
        else:
            row[relation][rest] = found.get(rest)

    def _parent_of(self, name: str, record: Json, relation: str) -> tuple[str, Json] | None:
        near = self._related(name, relation)
        value = record.get(near[0]) if near else None
        if not isinstance(value, str):
            return None
        holder = self._object_of(value)
        found = self.records.get(holder, {}).get(value)
        return None if found is None else (holder, found)

    def _children(self, name: str, children: str) -> tuple[str, str]:
        """The object and its lookup field behind the name of a parent's children, like Lines__r."""
        for other, known in self.fields.items():
            for each, field in known.items():
                if field.children == children and name in field.refers:
                    return other, each
        message = f"Didn't understand relationship '{children}' in FROM part of query call."
        raise Refusal(400, "INVALID_TYPE", message)

    def _check_query(self, query: soql.Query) -> None:
        name = query.object
        if name not in self.prefixes or self._is_hidden(name):
            raise Refusal(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        long = {each for each in query.names if self._check_path(name, each).is_long_text}
        # https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_fieldexpression.htm
        for each in query.filtered:
            if each in long:
                message = f"field '{each}' can not be filtered in a query call"
                raise Refusal(400, "INVALID_FIELD", message)
        for each, *_ in query.order:
            if each in long:
                message = f"field '{each}' can not be sorted in a query call"
                raise Refusal(400, "MALFORMED_QUERY", message)
        for child in query.children:
            other, _ = self._children(name, child.object)
            for each in child.names:
                self._check_path(other, each)

    def _check_path(self, name: str, path: str) -> Field:
        """The field that a query names, its parents' too."""
        relation, dot, rest = path.partition(".")
        if not dot:
            self._check_field(name, path)
            return self._field(name, path)
        near = self._related(name, relation)
        if near is None or self._is_hidden(name, near[0]):
            message = f"Didn't understand relationship '{relation}' in field path."
            raise Refusal(400, "INVALID_FIELD", message)
        if len(near[1].refers) > 1:  # a polymorphic one has no fields but those of Name
            if rest not in ("Name", "Type", "Id"):
                raise Refusal(400, "INVALID_FIELD", f"No such column '{rest}' on entity 'Name'")
            return Field("string")
        return self._check_path(near[1].refers[0], rest)

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
        names = [each for each in (*SYSTEM, *self.fields[name]) if not self._is_hidden(name, each)]
        row: Json = {"attributes": {"type": name, "url": f"/sobjects/{name}/{record['Id']}"}}
        return row | {each: record.get(each) for each in (names if fields is None else fields)}

    def _describe(self, name: str) -> Json:
        """https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_describesobjects_describesobjectresult.htm"""
        self._check_object(name)
        fields = [
            self._described(name, each, kind)
            for each, kind in self.fields[name].items()
            if not self._is_hidden(name, each)
        ]
        return {
            "name": name,
            "keyPrefix": self.prefixes[name],
            "createable": self._may("create", name),
            "updateable": self._may("edit", name),
            "deletable": self._may("delete", name),
            "fields": fields,
            "childRelationships": list(self._described_children(name)),
        }

    def _described(self, name: str, field_name: str, kind: Field) -> Json:
        writable = f"{name}.{field_name}" not in self.read_only and not kind.calculated
        writable = writable and self._may_edit_field(name, field_name)
        chosen = kind.values
        if (name, field_name) == ("Task", "Status"):
            rows = self.records["TaskStatus"].values()
            chosen = tuple(str(row["ApiName"]) for row in rows)
        return {
            "name": field_name,
            "type": kind.type,
            "length": kind.length,
            "precision": kind.digits + kind.scale,
            "scale": kind.scale,
            "externalId": kind.external,
            "unique": kind.unique,
            "caseSensitive": kind.case_sensitive,
            "nillable": not kind.required,
            "defaultedOnCreate": kind.type == "boolean",
            "createable": writable,
            "updateable": writable,
            "referenceTo": list(kind.refers),
            "relationshipName": kind.relation or None,
            "restrictedPicklist": bool(kind.values),
            "picklistValues": [{"value": each, "label": each, "active": True} for each in chosen],
        }

    def _described_children(self, name: str) -> Iterator[Json]:
        if name in WHO or self.objects[name].has_activities:
            for activity in ACTIVITIES:
                link = "WhoId" if name in WHO else "WhatId"
                yield {"childSObject": activity, "field": link}
        for other, known in self.fields.items():
            for each, field in known.items():
                if field.children and name in field.refers and not self._is_hidden(other):
                    yield {
                        "childSObject": other,
                        "field": each,
                        "relationshipName": field.children,
                    }


class _Reaching(Mapping[str, Any]):
    """A record in which a path like Invoice__r.Name leads to its parent's field."""

    def __init__(self, org: Reading, name: str, record: Json) -> None:
        self._org, self._name, self._record = org, name, record

    def __getitem__(self, path: str) -> Any:
        relation, dot, rest = path.partition(".")
        if not dot:
            return self._record[path]
        parent = self._org._parent_of(self._name, self._record, relation)
        if parent is None:
            raise KeyError(path)
        if rest == "Type":
            return parent[0]
        return _Reaching(self._org, *parent)[rest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)
