"""Clients and the Accounts that they are matched with, as the function does it for one.

Who has Clockify's id, and who has the name and no id, is asked for many at a time.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clockify_salesforce.decisions import Match
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce import account
from clockify_salesforce.salesforce.account import AccountDraft, is_named, key_of
from clockify_salesforce.salesforce.records import Known
from commands.repair.change import Planned, RecordChange
from commands.repair.one_kind import OneKind
from commands.repair.patience import CALL_S
from commands.repair.records import QUERIES, chunks, read_each, rows_with

# Characters of a query's condition: with all else, and escaped, it has to fit into a URL.
LONGEST = 4_000
TOLD = 20  # clients without an Account

Json = dict[str, Any]


class Clients:
    """Clients of one workspace."""

    def __init__(self, kind: OneKind) -> None:
        self._kind = kind
        self._org = kind.shared.org
        self._accounts = kind.shared.rules.accounts
        self._taken: set[str] = set()  # Accounts that get an id in this run
        self._headers: Json | None = None  # of a call that writes Accounts

    def compare(self, clients: Iterable[Json]) -> Iterator[Planned]:
        """Yield what is to be written of Accounts; the rest is counted. Raises IntegrationError."""
        found = list(read_each(self._kind.kind, clients, Match, self._kind.refuse))
        own = self._own(found)
        others = self._same([one.name for one in found if one.name and one.entry_id not in own])
        for one in found:
            rows = (
                tuple(own.get(one.entry_id, ())),
                tuple(
                    row for row in others.get(key_of(one.name), ()) if row["Id"] not in self._taken
                ),
            )
            draft, notes = account.draft(one, Known(rows=rows), self._accounts, self._own_user_id)
            if isinstance(draft, AccountDraft):
                yield self._change(one, draft)
            elif rows[0]:
                self._kind.count["unchanged"] += 1
            else:
                self._unmatched(one, notes)

    def _unmatched(self, one: Match, notes: Sequence[str]) -> None:
        """Count it; whoever has asked for clients hears of it, and not every night's log."""
        count, shared = self._kind.count, self._kind.shared
        count["unmatched"] += 1
        if self._kind.name in shared.wishes.asked and count["unmatched"] <= TOLD:
            shared.tell(f"client {one.entry_id}: {'; '.join(notes)}")

    def send(self, batch: Sequence[Planned]) -> list[Json]:
        """Write a batch of RecordChange, all of them new Accounts or none."""
        changes = [each for each in batch if isinstance(each, RecordChange)]
        records = [each.record() for each in changes]
        return self._org.collection("PATCH", changes[0].path, records, self._headers)

    def _own(self, clients: Sequence[Match]) -> dict[str, list[Json]]:
        """The Accounts that have Clockify's ids, by these."""
        target = self._kind.kind.target
        found: dict[str, list[Json]] = defaultdict(list)
        for row in rows_with(
            self._org,
            target.object,
            target.external_id,
            [one.entry_id for one in clients],
            select=f"Id, Name, CreatedById, {target.external_id}",
        ):
            found[row[target.external_id]].append(row)
        return found

    def _same(self, names: Sequence[str]) -> dict[str, list[Json]]:
        """The Accounts with these names, but for capitals and spaces, and no Clockify id."""
        target = self._kind.kind.target
        head = f"SELECT Id, Name FROM {target.object} WHERE {target.external_id} = null"
        wanted = {key_of(name) for name in names}
        found: dict[str, dict[str, Json]] = defaultdict(dict)
        queries = [
            f"{head} AND IsDeleted = false AND ({condition})" for condition in _conditions(names)
        ]
        for asked in chunks(queries, QUERIES):
            for answer in self._org.queries(asked):
                for row in self._rows(answer):
                    # What a name finds, another one's blank may find as well.
                    if (key := key_of(row["Name"])) in wanted:
                        found[key][row["Id"]] = row
        return {key: list(rows.values()) for key, rows in found.items()}

    def _rows(self, answer: Json) -> Iterator[Json]:
        """The rows of an answer, and those of the pages behind it."""
        while True:
            yield from answer["records"]
            if answer.get("done", True):
                return
            answer = self._org.page(self._org.org.next_page(answer))

    def _change(self, one: Match, draft: AccountDraft) -> RecordChange:
        by_id = draft.result is not Result.CREATED
        record_id = draft.path.rpartition("/")[2] if by_id else None
        if record_id:
            self._taken.add(record_id)
        self._headers = draft.headers
        target = one.target
        return RecordChange(
            one.entry_id, target.object, target.external_id, record_id, dict(draft.body), record_id
        )

    def _own_user_id(self) -> str:
        return self._org.org.user_id(time.monotonic() + CALL_S)


def _conditions(names: Iterable[str]) -> Iterator[str]:
    """What finds these names, several in a condition."""
    condition = ""
    for name in dict.fromkeys(names):
        term = is_named(name)
        if condition and len(condition) + len(term) > LONGEST:
            yield condition
            condition = ""
        condition = f"{condition} OR {term}" if condition else term
    if condition:
        yield condition
