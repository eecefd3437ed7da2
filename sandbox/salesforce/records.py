"""What the org has stored, how it is found, and how a transaction is undone."""

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sandbox import soql
from sandbox.salesforce import metadata
from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.metadata import FORCE_APP, PREFIXES, SYSTEM, Field

ADMIN_ID = "005Kj000000AdmnIAE"


class Records:
    """Records by object and id. One that changes is replaced, so the one before can come back."""

    USER_ID = "005Kj000000IntgIAC"

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.time
        # A test's own thread changes records while the org answers.
        self._alone = threading.RLock()
        self._within = 0
        self._began: str | None = None

    def reset(self) -> None:
        """Forget all records, and what was deployed beside `main/default`."""
        self.records: dict[str, dict[str, Json]] = {}
        # Each index also holds what has changed or gone since: whoever looks compares.
        self._holders: dict[tuple[str, str], dict[object, dict[str, None]]] = {}
        self._events_of_day: dict[str, set[str]] = {}
        self._changes: dict[str, list[tuple[str, str]]] = {}
        self._undo: list[tuple[str, str, Json | None]] = []
        self._number = 0
        # Two things that Salesforce's documentation does not say.
        self.bin_keeps_unique = self.archive_hides_id = False
        self._packages = [FORCE_APP / "default"]
        self._assigned = {"Clockify_Integration"}
        self._added: dict[tuple[str, str], Field] = {}
        self._learn()

    # --- What there is ----------------------------------------------------------------------------

    def deploy(
        self, package: str | Path = "data", *, assign: Iterable[str] = ("Clockify_Data",)
    ) -> None:
        """Deploy a folder of force-app/main, or another of its kind.

        `assign`: permission sets that the integration user is then given.
        """
        folder = FORCE_APP / package
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        if folder not in self._packages:
            self._packages.append(folder)
        self._assigned |= set(assign)
        self._learn()

    def withdraw(self, package: str | Path = "data") -> None:
        """Take away what a folder deployed, and the records of its objects."""
        self._packages = [each for each in self._packages if each != FORCE_APP / package]
        self._learn()

    def assign(self, *permission_sets: str) -> None:
        """Give the integration user these permission sets and no others."""
        self._assigned = set(permission_sets)
        self._learn()

    def add_field(self, name: str, field_name: str, field: Field) -> None:
        """Give an object a field of the org's own."""
        self._added[name, field_name] = field
        self._learn()

    def _learn(self) -> None:
        """Read from the packages what the org knows."""
        others = [each for each in metadata.custom_objects(self._packages) if each not in PREFIXES]
        self.prefixes = PREFIXES | {
            name: f"a{number:02d}" for number, name in enumerate(dict.fromkeys(others), 3)
        }
        self.objects = {name: metadata.read_object(name, self._packages) for name in self.prefixes}
        self.fields = {name: dict(each.fields) for name, each in self.objects.items()}
        for (name, field_name), field in self._added.items():
            if name in self.fields:
                self.fields[name][field_name] = field
        self._permitted = metadata.permissions(self._packages, self._assigned)
        self._unique = {
            name: [each for each, field in known.items() if field.unique]
            for name, known in self.fields.items()
        }
        self._indexed = {
            name: [
                each
                for each, field in known.items()
                if field.unique or field.external or field.refers or each == "Name"
            ]
            for name, known in self.fields.items()
        }
        self.records = {name: self.records.get(name, {}) for name in self.prefixes}
        self._changes = {name: self._changes.get(name, []) for name in self.prefixes}

    def _field(self, name: str, field_name: str) -> Field:
        return self.fields[name].get(field_name) or SYSTEM[field_name]

    def _related(self, name: str, relation: str) -> tuple[str, Field] | None:
        """The reference field behind a relation's name, like Account__r or Owner."""
        for each, field in (*self.fields[name].items(), *SYSTEM.items()):
            if field.relation and field.relation.lower() == relation.lower():
                return each, field
        return None

    def _object_of(self, record_id: str) -> str:
        """The object that an id is of, "" where none has its prefix."""
        return next(
            (each for each, prefix in self.prefixes.items() if record_id.startswith(prefix)), ""
        )

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
        for each in self._indexed[name]:
            if (value := record.get(each)) is not None:
                index = self._holders.setdefault((name, each), {})
                index.setdefault(self._key(name, each, value), {})[record_id] = None
        if name == "Event":
            day = str(record["StartDateTime"])[:10]
            self._events_of_day.setdefault(day, set()).add(record_id)
        insort(self._changes[name], (record["SystemModstamp"], record_id))
        self.records[name][record_id] = record

    # --- Finding ----------------------------------------------------------------------------------

    def _key(self, name: str, field_name: str, value: object) -> object:
        """What makes two values of an indexed field one and the same."""
        field = self._field(name, field_name)
        if field.refers and isinstance(value, str):
            return with_checksum(value[:15])
        return value.casefold() if isinstance(value, str) and not field.case_sensitive else value

    def _held(self, name: str, indexed: str, value: object) -> Iterator[Json]:
        """The records that hold a value of an indexed field, those in the recycle bin too."""
        key = self._key(name, indexed, value)
        for record_id in list(self._holders.get((name, indexed), {}).get(key, ())):
            record = self.records[name].get(record_id)
            held = None if record is None else record.get(indexed)
            if record is not None and held is not None and self._key(name, indexed, held) == key:
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
            if (found := self._equal(name, field, values)) is not None:
                return found
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

    def _equal(self, name: str, field: str, values: Iterable[str]) -> list[Json] | None:
        """The records whose field has one of some values, None where no index tells."""
        values = dict.fromkeys(values)
        relation, dot, far = field.partition(".")
        if dot:
            near = self._related(name, relation)
            if near is None or near[0] not in self._indexed[name] or len(near[1].refers) != 1:
                return None
            parents = self._equal(near[1].refers[0], far, values)
            if parents is None:
                return None
            return self._equal(name, near[0], [each["Id"] for each in parents])
        if field in self._indexed[name]:
            keys = dict.fromkeys(self._key(name, field, value) for value in values)
            return [each for key in keys for each in self._held(name, field, key)]
        if field == "Id":
            records = self.records[name]
            full = dict.fromkeys(with_checksum(value[:15]) for value in values)
            return [records[each] for each in full if each in records]
        return None

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
