"""What a kind of Clockify's besides time entries says of itself, and how its bodies are read. Pure.

A kind is one module: the event types that tell of it, where its records are in Salesforce, and a
function that reads a body, a webhook's or the REST API's, into a decision.
https://docs.clockify.me/
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from clockify_salesforce.decisions import Decision, Target
from clockify_salesforce.errors import BadMessage, UnusableEntry
from clockify_salesforce.time_entry import (
    LONG_TEXT_LIMIT,
    TEXT_LIMIT,
    Json,
    clean,
    cut,
    read_id,
    read_name,
)

LARGEST_AMOUNT = 10**16  # in minor units: a Number(16,2) has 14 digits before the point

_DURATION = re.compile(
    r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """`name`: how a record's state begins in Clockify_State__c, and what commands call it.

    `writes`, `deletes`: event types. `read`: a body, and whether Clockify has deleted it. `keys`:
    what `read` reads of a body; `within`: of the objects of a list in it. `path`: of one in
    Clockify's REST API below the workspace, with a body's fields in braces. `sample`: what the
    webhook's test button sends, field and value.
    """

    name: str
    writes: frozenset[str]
    deletes: frozenset[str]
    target: Target
    read: Callable[["Body", bool], Decision]
    keys: frozenset[str]
    path: str
    sample: tuple[str, str]
    within: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def plural(self) -> str:
        """What commands call several of it."""
        return f"{self.name}s"

    @property
    def events(self) -> frozenset[str]:
        """The event types that tell of it."""
        return self.writes | self.deletes

    def path_of(self, content: Mapping[str, Json]) -> str:
        """`path` for the one that a body tells of."""
        return re.sub(r"\{(\w+)\}", lambda name: read_id(content.get(name[1])) or "-", self.path)

    def tells_path(self, content: Mapping[str, Json]) -> bool:
        """Whether a body has all that `path_of` puts in."""
        return all(read_id(content.get(name)) for name in re.findall(r"\{(\w+)\}", self.path))


class Body:
    """A body's fields, read safely: clean and bounded texts, well-formed ids, exact amounts."""

    def __init__(self, kind: str, fields: Mapping[str, Json]) -> None:
        self._kind = kind
        self._fields = fields

    @property
    def id(self) -> str:
        """Clockify's id of it. Raises BadMessage where there is none."""
        found = read_id(self._fields.get("id"))
        if found is None:
            raise BadMessage(
                f"id: Clockify's id of the {self._kind} belongs here (letters and digits)"
            )
        return found

    def within(self, key: str) -> "Body":
        """An object in it, an empty one where there is none."""
        value = self._fields.get(key)
        return Body(self._kind, value if isinstance(value, dict) else {})

    def each(self, key: str) -> list["Body"]:
        """The objects of a list in it."""
        value = self._fields.get(key)
        found = value if isinstance(value, list) else []
        return [Body(self._kind, item) for item in found if isinstance(item, dict)]

    def reference(self, key: str) -> str | None:
        """The id of something else, None where there is none or it is not one."""
        return read_id(self._fields.get(key))

    def first_reference(self, key: str) -> str | None:
        """The first id of a list, None where there is none."""
        value = self._fields.get(key)
        return read_id(value[0]) if isinstance(value, list) and value else None

    def name(self, key: str, limit: int = TEXT_LIMIT) -> str | None:
        """A text on one line, None where there is none."""
        return read_name(self._fields.get(key), limit) or None

    def text(self, key: str, limit: int = LONG_TEXT_LIMIT) -> str | None:
        """A text of several lines, None where there is none."""
        return cut(clean(self._fields.get(key)), limit) or None

    def flag(self, key: str) -> bool:
        """True where it says so."""
        return self._fields.get(key) is True

    def hours(self, key: str) -> float | None:
        """Hours of a duration like PT44H10M, None where there is none.

        https://en.wikipedia.org/wiki/ISO_8601#Durations
        """
        value = self._fields.get(key)
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None or value == "P":
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return round((days * 86_400 + hours * 3_600 + minutes * 60 + seconds) / 3_600, 2)

    def day(self, key: str) -> str | None:
        """The day of a date or an instant in UTC, like 2026-11-03; None where there is none."""
        value = self._fields.get(key)
        if value in (None, ""):
            return None
        try:
            return date.fromisoformat(str(value)[:10]).isoformat()
        except ValueError:
            raise self._unusable(key, "a day belongs here, like 2026-11-03T00:00:00Z") from None

    def hundredths(self, key: str) -> float | None:
        """A whole number of minor units, as the amount that they are; None where there is none.

        Dividing two whole numbers of up to 16 digits gives the float nearest to the amount, which
        is written with its two decimals. Raises UnusableEntry for what Salesforce cannot hold.
        """
        value = self._fields.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unusable(key, "a whole number of minor units belongs here, like 142800")
        if abs(value) >= LARGEST_AMOUNT:
            raise self._unusable(key, "it is more than Salesforce's field holds")
        return value / 100

    def whole(self, key: str) -> int | None:
        """A whole number, None where there is none."""
        value = self._fields.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def _unusable(self, key: str, what: str) -> UnusableEntry:
        return UnusableEntry(
            f"{self._kind} {key}: {what}", entry_id=read_id(self._fields.get("id"))
        )
