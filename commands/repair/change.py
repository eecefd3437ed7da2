"""A change that is planned, and who may write it at the same time as others. Pure."""

import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.wish import marked
from mapping import EXTERNAL_ID

Json = dict[str, Any]

# Parents are told apart by so many groups; fewer only means that less is written at once.
GROUPS = 8


@dataclass(slots=True)
class Change:
    """An Event that is to be created (`event_id` None) or updated."""

    draft: EventDraft
    event_id: str | None
    tries: int = 0

    @property
    def entry_id(self) -> str:
        """The time entry's id."""
        return self.draft.upsert.entry_id

    def record(self) -> Json:
        """As a collection takes it."""
        key = {"id": self.event_id} if self.event_id else {EXTERNAL_ID: self.entry_id}
        return {"attributes": {"type": "Event"}} | key | self.draft.body()

    def cell(self) -> "Cell":
        """Which of the heaps of `Heaps` it belongs to."""
        ids = marked(self.draft.known.mark) | self.draft.wish.fields
        link = ids.get("WhatId") or ids.get("WhoId")
        return Cell(self.event_id is not None, _group(ids.get("OwnerId")), _group(link))


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
        self._heaps: dict[Cell, list[Change]] = {}
        self._owners: Counter[int] = Counter()
        self._links: Counter[int] = Counter()
        self.size = 0

    def add(self, change: Change) -> None:
        """Put a change onto its heap."""
        self._heaps.setdefault(change.cell(), []).append(change)
        self.size += 1

    def take(self, most: int, *, least: int, workers: int) -> tuple[list[Change], set[Cell]] | None:
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
        taken: list[Change] = []
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

    def __iter__(self) -> Iterator[Change]:
        for heap in self._heaps.values():
            yield from heap
