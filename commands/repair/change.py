"""A change that is planned, and who may write it at the same time as others. Pure."""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from clockify_salesforce.salesforce.client import Part
from clockify_salesforce.salesforce.errors import GONE, SalesforceRefused
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.wish import LINK_FIELDS, marked

Json = dict[str, Any]

# Parents are told apart by so many groups; fewer only means that less is written at once.
GROUPS = 8


@dataclass(slots=True)
class Change:
    """An Event or Task that is to be created (`record_id` None) or updated."""

    draft: EventDraft
    record_id: str | None
    tries: int = 0

    @property
    def entry_id(self) -> str:
        """Clockify's id of it."""
        return self.draft.upsert.entry_id

    @property
    def path(self) -> str:
        """Where a collection of such changes goes, behind composite/sobjects."""
        target = self.draft.upsert.target
        return "" if self.record_id else f"/{target.object}/{target.external_id}"

    @property
    def is_shortened(self) -> bool:
        """It holds 24 hours of more."""
        return self.draft.is_shortened

    def record(self) -> Json:
        """As a collection takes it."""
        target = self.draft.upsert.target
        key = {"id": self.record_id} if self.record_id else {target.external_id: self.entry_id}
        return {"attributes": {"type": target.object}} | key | self.draft.body()

    def cell(self) -> "Cell":
        """Which of the heaps of `Heaps` it belongs to."""
        ids = marked(self.draft.known.mark) | self.draft.wish.fields
        link = ids.get("WhatId") or ids.get("WhoId")
        return Cell(self.record_id is not None, _group(ids.get("OwnerId")), _group(link))

    def is_lost(self, refusal: SalesforceRefused) -> bool:
        """Somebody has deleted the Event since it was read."""
        is_gone = refusal.code in GONE and self.record_id is not None
        return is_gone and not set(LINK_FIELDS) & set(self.draft.body())

    def give_way(self, refusal: SalesforceRefused, own_user_id: Callable[[], str]) -> str:
        """Take back what is refused; return a note. Raises the refusal where nothing is left."""
        draft, note = self.draft.give_way(refusal, own_user_id)
        if not isinstance(draft, EventDraft):
            raise refusal
        self.draft, self.record_id = draft, draft.path.rpartition("/")[2] or None
        return note


class _AsItIs:
    """A change of a record with one parent, which is written as it is or refused."""

    __slots__ = ()
    record_id: str | None
    parent: str | None
    is_shortened: ClassVar[bool] = False

    def cell(self) -> "Cell":
        """Which of the heaps of `Heaps` it belongs to."""
        return Cell(self.record_id is not None, None, _group(self.parent))

    def is_lost(self, refusal: SalesforceRefused) -> bool:
        """Somebody has deleted the record, or a part of it, since it was read."""
        return refusal.code in GONE and self.record_id is not None and not refusal.fields

    def give_way(self, refusal: SalesforceRefused, own_user_id: Callable[[], str]) -> str:
        """There is nothing that it could do without: raises the refusal."""
        raise refusal


@dataclass(slots=True)
class RecordChange(_AsItIs):
    """A record that is to be created (`record_id` None: by its external id) or updated.

    `fields`: what is written; `parent`: the record that it belongs to, which Salesforce locks.
    """

    entry_id: str
    object: str
    external_id: str
    record_id: str | None
    fields: Json
    parent: str | None = None
    tries: int = 0

    @property
    def path(self) -> str:
        """Where a collection of such changes goes, behind composite/sobjects."""
        return "" if self.record_id else f"/{self.object}/{self.external_id}"

    def record(self) -> Json:
        """As a collection takes it."""
        key = {"id": self.record_id} if self.record_id else {self.external_id: self.entry_id}
        return {"attributes": {"type": self.object}} | key | self.fields


@dataclass(slots=True)
class GraphChange(_AsItIs):
    """A record with what belongs to it, which is written all or not at all.

    `record_id`: None where it is created; `parts`: the requests; `parent`: as in RecordChange.
    """

    entry_id: str
    record_id: str | None
    parts: list[Part]
    parent: str | None = None
    tries: int = 0


Listed = Change | RecordChange  # what collections take
Planned = Listed | GraphChange


class Cell(NamedTuple):
    """Changes whose parents are of the same groups; None: no parent of this kind.

    `updates`: they are updates, and else creations.
    """

    updates: bool
    owners: int | None
    links: int | None


def _group(record_id: str | None) -> int | None:
    return None if record_id is None else zlib.crc32(record_id.encode()) % GROUPS


class Heaps:
    """Planned changes by kind and parents, and which of them one worker may write next.

    Salesforce locks the parents of what it writes (owner, What and Who), so that two batches with a
    parent in common wait for one another, or fail. So while one is written, none is taken that has
    a parent of the same groups.
    """

    def __init__(self) -> None:
        self._heaps: dict[Cell, list[Planned]] = {}
        self._owners: Counter[int] = Counter()
        self._links: Counter[int] = Counter()
        self.size = 0

    def add(self, change: Planned) -> None:
        """Put a change onto its heap."""
        self._heaps.setdefault(change.cell(), []).append(change)
        self.size += 1

    def take(
        self, most: int, *, least: int, workers: int
    ) -> tuple[list[Planned], set[Cell]] | None:
        """Take a batch whose parents nobody holds, and hold them; None where there is none.

        It has `least` to `most` changes of one kind. `workers`: so many want something, and so none
        of them gets more groups than its share.
        """
        share = -(-GROUPS // max(1, workers))
        best: list[Cell] = []
        for updates in (False, True):
            found = self._fullest(updates=updates, share=share, most=most)
            if self._sum(found) > self._sum(best):
                best = found
        if not best or self._sum(best) < least:
            return None
        taken: list[Planned] = []
        cells: set[Cell] = set()
        for cell in best:
            heap = self._heaps[cell]
            part = heap[: most - len(taken)]
            del heap[: len(part)]
            if not heap:
                del self._heaps[cell]
            taken += part
            cells.add(cell)
            if len(taken) == most:
                break
        self.size -= len(taken)
        self.hold(cells)
        return taken, cells

    def is_free(self, cell: Cell) -> bool:
        """Nobody holds a parent of these groups."""
        held = cell.owners is not None and self._owners[cell.owners] > 0
        return not held and not (cell.links is not None and self._links[cell.links] > 0)

    def hold(self, cells: Collection[Cell]) -> None:
        """Keep others from the parents of these cells."""
        self._owners.update({cell.owners for cell in cells if cell.owners is not None})
        self._links.update({cell.links for cell in cells if cell.links is not None})

    def let_go(self, cells: Collection[Cell]) -> None:
        """Let others have the parents of these cells."""
        self._owners.subtract({cell.owners for cell in cells if cell.owners is not None})
        self._links.subtract({cell.links for cell in cells if cell.links is not None})

    def _fullest(self, *, updates: bool, share: int, most: int) -> list[Cell]:
        """Free cells, full ones first, of no more than `share` groups of each kind of parent."""
        free = (cell for cell in self._heaps if cell.updates is updates and self.is_free(cell))
        owners: set[int | None] = {None}
        links: set[int | None] = {None}
        found: list[Cell] = []
        size = 0
        for cell in sorted(free, key=lambda cell: -len(self._heaps[cell])):
            if size >= most:
                break
            if len(owners | {cell.owners}) <= share + 1 and len(links | {cell.links}) <= share + 1:
                owners.add(cell.owners)
                links.add(cell.links)
                found.append(cell)
                size += len(self._heaps[cell])
        return found

    def _sum(self, cells: Collection[Cell]) -> int:
        return sum(len(self._heaps[cell]) for cell in cells)

    def __iter__(self) -> Iterator[Planned]:
        for heap in self._heaps.values():
            yield from heap
