"""Compare one kind's records, as Clockify's lists tell them, with those in Salesforce.

Clockify's are taken a few thousand at a time, and Salesforce is asked for those only, so that
memory stays flat. What differs is planned for a `Writer`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from clockify_salesforce import kinds
from clockify_salesforce.decisions import Field, Match, Record, Reference, Target, Upsert
from clockify_salesforce.errors import BadMessage
from clockify_salesforce.kinds.kind import Kind
from clockify_salesforce.salesforce.client import quoted
from commands.repair.change import RecordChange
from commands.repair.compare import differences
from commands.repair.patience import PatientOrg
from commands.repair.reading import WORKSPACE

# A query may be 16,384 characters of URL, and a composite call holds five.
LISTED, QUERIES = 400, 5
TAKEN = LISTED * QUERIES  # so many are compared at a time, which takes one call

Json = dict[str, Any]
T = TypeVar("T")
Decided = TypeVar("Decided", Match, Record, Upsert)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield so many at a time."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def rows_with(
    org: PatientOrg, what: str, name: str, values: Sequence[str], *, select: str
) -> list[Json]:
    """The records of object `what` whose field `name` has one of the values, archived ones too.

    Raises as PatientOrg.call does.
    """
    queries = [
        f"SELECT {select} FROM {what} WHERE {name} IN ({','.join(map(quoted, chunk))})"
        " AND IsDeleted = false"
        for chunk in chunks(values, LISTED)
    ]
    return [
        row
        for asked in chunks(queries, QUERIES)
        for answer in org.queries(asked)
        for row in answer["records"]
    ]


def rows_by_id(
    org: PatientOrg, target: Target, ids: Sequence[str], fields: Iterable[str] = ()
) -> dict[str, Json]:
    """The records with these ids of Clockify's, by them, each with `Id` and the fields.

    Raises as PatientOrg.call does.
    """
    name = target.external_id
    select = ", ".join(dict.fromkeys(["Id", name, *fields]))
    return {row[name]: row for row in rows_with(org, target.object, name, ids, select=select)}


def read_each(
    kind: Kind, contents: Iterable[Json], sort: type[Decided], refuse: Callable[[str, str], None]
) -> Iterator[Decided]:
    """What Clockify's records mean, those of one sort; what cannot be read is refused."""
    for content in contents:
        try:
            decision = kinds.read(kind, content)
        except BadMessage as error:
            refuse(str(content.get("id"))[:64], str(error))
            continue
        if isinstance(decision, sort):
            yield decision


class References:
    """The Salesforce ids of what records refer to, by Clockify's ids; each is asked for once."""

    def __init__(self, org: PatientOrg) -> None:
        self._org = org
        self._known: dict[Target, dict[str, str | None]] = {}

    def read(self, references: Iterable[Reference]) -> None:
        """Ask Salesforce for those that are not known. Raises as PatientOrg.call does."""
        wanted: dict[Target, dict[str, None]] = {}
        for each in references:
            known = self._known.setdefault(each.target, {})
            if each.clockify_id is not None and each.clockify_id not in known:
                wanted.setdefault(each.target, {})[each.clockify_id] = None
        for target, ids in wanted.items():
            rows = rows_by_id(self._org, target, list(ids))
            found = {entry_id: row["Id"] for entry_id, row in rows.items()}
            self._known[target].update(dict.fromkeys(ids, None) | found)

    def fields(self, references: Iterable[Reference]) -> dict[str, Field]:
        """The lookup fields: None where nothing has the id, or nothing is referred to."""
        return {
            each.field: self._known[each.target].get(each.clockify_id)
            if each.clockify_id is not None
            else None
            for each in references
        }


@dataclass
class Compared:
    """What is to be done for some records.

    `there`: Clockify's id -> the record's, of those that are there. `unchanged`, `foreign`: so many
    are as they should be, or another workspace's.
    """

    created: list[RecordChange] = field(default_factory=list)
    updated: list[RecordChange] = field(default_factory=list)
    there: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    foreign: int = 0

    @property
    def changes(self) -> list[RecordChange]:
        """All that is to be written."""
        return self.created + self.updated


class Records:
    """One kind's records, of one workspace."""

    def __init__(
        self,
        org: PatientOrg,
        kind: Kind,
        workspace: str,
        references: References,
        *,
        refuse: Callable[[str, str], None],
    ) -> None:
        """`refuse` takes an id and the reason."""
        self._org = org
        self._kind = kind
        self._workspace = workspace
        self._references = references
        self._refuse = refuse
        self.seen: set[str] = set()
        self.gone: list[str] = []  # Clockify's ids, marked or not, as `surplus` has found them

    def read(self, contents: Iterable[Json]) -> list[Record]:
        """What Clockify's records mean; what cannot be read is refused."""
        of_workspace = ({"workspaceId": self._workspace} | content for content in contents)
        decisions = read_each(self._kind, of_workspace, Record, self._refuse)
        found = {decision.entry_id: decision for decision in decisions}
        self.seen |= found.keys()
        return list(found.values())

    def compare(
        self, decisions: Sequence[Record], more: Mapping[str, Mapping[str, Field]] | None = None
    ) -> Compared:
        """Compare with what Salesforce holds. Raises as PatientOrg.call does.

        `more`: Clockify's id -> fields that count more than those of the decision.
        """
        found = Compared()
        if not decisions:
            return found
        self._references.read(each for one in decisions for each in one.references)
        target = decisions[0].target
        more = more or {}
        extra = [name for one in decisions for name in more.get(one.entry_id, {})]
        names = [*decisions[0].fields, *extra, *(each.field for each in decisions[0].references)]
        rows = rows_by_id(self._org, target, [each.entry_id for each in decisions], names)
        for decision in decisions:
            links = self._references.fields(decision.references)
            wanted = dict(decision.fields) | links | dict(more.get(decision.entry_id, {}))
            self._compare_one(found, decision, wanted, links, rows.get(decision.entry_id))
        return found

    def _compare_one(
        self,
        found: Compared,
        decision: Record,
        wanted: Mapping[str, Field],
        links: Mapping[str, Field],
        row: Json | None,
    ) -> None:
        parent = next((str(each) for each in links.values() if each), None)

        def change(record_id: str | None, fields: Json) -> RecordChange:
            target = decision.target
            entry_id = decision.entry_id
            return RecordChange(
                entry_id, target.object, target.external_id, record_id, fields, parent
            )

        if row is None:
            found.created.append(change(None, dict(wanted)))
            return
        found.there[decision.entry_id] = row["Id"]
        if row.get(WORKSPACE) not in (None, self._workspace):
            found.foreign += 1
        elif differing := differences(row, wanted):
            found.updated.append(change(row["Id"], {name: wanted[name] for name in differing}))
        else:
            found.unchanged += 1

    def surplus(self) -> Iterator[tuple[str, str]]:
        """Yield (Clockify's id, the record's) of those that no list has named, and are not marked.

        Raises as PatientOrg.call does.
        """
        target, marks = self._kind.target, self.marks
        soql = (
            f"SELECT Id, {target.external_id}, {', '.join(marks)} FROM {target.object}"
            f" WHERE {WORKSPACE} = {quoted(self._workspace)} AND {target.external_id} != null"
        )
        for row in self._org.rows(soql):
            if row[target.external_id] in self.seen:
                continue
            self.gone.append(row[target.external_id])
            if not all(row[name] for name in marks):
                yield row[target.external_id], row["Id"]

    @property
    def marks(self) -> list[str]:
        """The fields that say of a record that it is gone in Clockify; none where none does."""
        body: Json = {"id": "0" * 24}
        there, gone = (kinds.read(self._kind, body, gone=each) for each in (False, True))
        if not (self._kind.deletes and isinstance(there, Record) and isinstance(gone, Record)):
            return []
        if WORKSPACE not in there.fields:
            return []  # it may be another workspace's
        return [name for name, value in gone.fields.items() if value is True]
