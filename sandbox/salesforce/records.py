"""What the org has stored, how it is found, and how a transaction is undone."""

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sandbox import soql
from sandbox.salesforce import metadata
from sandbox.salesforce.faults import Json, Refusal


class Records:
    """Records by object and id. One that changes is replaced, so the one before can come back."""

    USER_ID = "005Kj000000IntgIAC"

    def __init__(self) -> None:
        self.fields = {name: metadata.fields(name) for name in metadata.PREFIXES}
        self._unique = {
            name: [each for each, kind in known.items() if kind.unique]
            for name, known in self.fields.items()
        }
        self.clock: Callable[[], float] = time.time
        # A test's own thread changes records while the org answers.
        self._alone = threading.RLock()
        self._within = 0
        self._began: str | None = None

    def reset(self) -> None:
        """Forget all records."""
        self.records: dict[str, dict[str, Json]] = {name: {} for name in metadata.PREFIXES}
        # Each index also holds what has changed or gone since: whoever looks compares.
        self._holders: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._events_of_day: dict[str, set[str]] = {}
        self._changes: dict[str, list[tuple[str, str]]] = {name: [] for name in metadata.PREFIXES}
        self._undo: list[tuple[str, str, Json | None]] = []
        self._number = 0
        # Two things that Salesforce's documentation does not say.
        self.bin_keeps_unique = self.archive_hides_id = False

    # --- Transactions -----------------------------------------------------------------------------

    @contextmanager
    def transaction(self, at: str | None = None) -> Iterator[None]:
        """Undo all that was stored within where it raises; one within another is a savepoint.

        Nothing within may wait: then no other request comes in between, and a row lock is as good
        as held. `at`: when the write began, which is what SystemModstamp says although the record
        is seen only when all is done.
        """
        with self._alone:
            begun = len(self._undo)
            self._within += 1
            self._began = at or self._began
            try:
                yield
            except BaseException:
                while len(self._undo) > begun:
                    name, record_id, before = self._undo.pop()
                    if before is None:
                        del self.records[name][record_id]
                    else:
                        self.records[name][record_id] = before
                raise
            finally:
                self._within -= 1
                if not self._within:
                    self._undo.clear()
                    self._began = None

    def _store(self, name: str, record: Json) -> None:
        record_id = record["Id"]
        self._undo.append((name, record_id, self.records[name].get(record_id)))
        for unique in self._unique[name]:
            if (value := record.get(unique)) is not None:
                held = self._holders.setdefault((name, unique), {}).setdefault(value, [])
                if record_id not in held:
                    held.append(record_id)
        if name == "Event":
            day = str(record["StartDateTime"])[:10]
            self._events_of_day.setdefault(day, set()).add(record_id)
        insort(self._changes[name], (record["SystemModstamp"], record_id))
        self.records[name][record_id] = record

    # --- Finding ----------------------------------------------------------------------------------

    def _held(self, name: str, unique: str, value: str) -> Iterator[Json]:
        """The records that hold a value of a unique field, those in the recycle bin too."""
        for record_id in self._holders.get((name, unique), {}).get(value, []):
            record = self.records[name].get(record_id)
            if record is not None and record.get(unique) == value:
                yield record

    def _find(self, name: str, external: str, value: str) -> Json | None:
        """The live record of an external id."""
        for record in self._held(name, external, value):
            if self.archive_hides_id and self._is_archived(record):
                continue
            if not record["IsDeleted"]:
                return record
        return None

    def _live(self, name: str, record_id: str) -> Json:
        record = self.records[name].get(with_checksum(record_id[:15]))
        if record is None:
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        if record["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        return record

    def _candidates(self, query: soql.Query) -> Iterable[Json]:
        """The records that can match: by an index where the query names an indexed field."""
        name = query.object
        records = self.records[name]
        for field, values in query.equal:
            if field in self._unique[name]:
                return [each for value in values for each in self._held(name, field, value)]
            if field == "Id":
                full = dict.fromkeys(with_checksum(value[:15]) for value in values)
                return [records[each] for each in full if each in records]
        bounds = {
            (field, sign[0]): moment
            for field, sign, moment in query.bounds
            if sign in ("<", "<=", ">", ">=")
        }
        since, until = bounds.get(("SystemModstamp", ">")), bounds.get(("SystemModstamp", "<"))
        if since or until:
            return self._changed(name, since, until)
        since, until = bounds.get(("StartDateTime", ">")), bounds.get(("StartDateTime", "<"))
        if since and until:
            return self._begun(since, until)
        return list(records.values())

    def _changed(self, name: str, since: datetime | None, until: datetime | None) -> list[Json]:
        changes, records = self._changes[name], self.records[name]
        first = bisect_left(changes, (written(since), "")) if since else 0
        last = bisect_right(changes, (written(until), "~")) if until else len(changes)
        found = {
            record_id: record
            for stamp, record_id in changes[first:last]
            if (record := records.get(record_id)) is not None and record["SystemModstamp"] == stamp
        }
        return list(found.values())

    def _begun(self, since: datetime, until: datetime) -> list[Json]:
        first, last = written(since)[:10], written(until)[:10]
        ids = [ids for day, ids in self._events_of_day.items() if first <= day <= last]
        events = self.records["Event"]
        return [events[each] for each in sorted(set().union(*ids)) if each in events]

    def _is_archived(self, record: Json) -> bool:
        end = record.get("EndDateTime")
        return end is not None and instant(end).timestamp() < self.clock() - 365 * 86_400

    def _now(self) -> str:
        return self._began or written(datetime.fromtimestamp(self.clock(), UTC))


def instant(text: str) -> datetime:
    """A date/time of the API's, with its zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment


def written(moment: datetime) -> str:
    """A date/time as the API writes it, in UTC; in this form times compare as texts."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def with_checksum(fifteen: str) -> str:
    """The 18-character form of an id: https://help.salesforce.com/s/articleView?id=000383751"""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    return fifteen + "".join(
        letters[sum(1 << n for n, char in enumerate(fifteen[at : at + 5]) if char.isupper())]
        for at in (0, 5, 10)
    )
