"""What is known of one object's records by one of its fields, and what to ask Salesforce for it.

The records that carry Clockify's ids are few, so all of them are read at once; where one answer
does not hold them, each is asked for when it is needed. Nothing is called here, and nothing raised.
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from clockify_salesforce.cache import FOUND_S, MISSING_S, NO_TIME, Freshness, told
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused

# After a look-up without an answer, so that not every message waits for it.
PAUSE_S = 15.0
# One answer of Salesforce's holds 2,000 rows. Where there are more, those changed last are kept.
ROWS = 2000
ROWS_OF_ONE = 200  # that are read to find one value
KEPT = 10_000  # values that are known of each field
# The field or the object is not there, is hidden from the integration user, or of another kind.
_MISSING = ("INVALID_FIELD", "INVALID_TYPE")


@dataclass(frozen=True, slots=True)
class Values:
    """What a field holds.

    `normal`: the form in which two values are compared, None for what no record can have; only this
    goes into SOQL. `are_listed`: it may hold several, with anything but letters and digits between
    them. `are_shared`: several records may have the same one.
    """

    normal: Callable[[str], str | None]
    are_listed: bool
    are_shared: bool

    def of(self, text: str) -> set[str]:
        """The values in a field's text."""
        parts = [text, *re.split(r"[^A-Za-z0-9]+", text)] if self.are_listed else [text]
        return {value for part in parts if (value := self.normal(part)) is not None}


@dataclass(frozen=True, slots=True)
class Known:
    """The records that have a value; without any, `freshness` tells whether that is sure."""

    freshness: Freshness
    ids: tuple[str, ...] = ()

    @property
    def is_missing(self) -> bool:
        """True where an answer is needed and none is there."""
        return self.freshness is Freshness.UNKNOWN


@dataclass(frozen=True, slots=True)
class Question:
    """What Salesforce is asked: for the records with one value, or, None, with any."""

    value: str | None
    soql: str


class Extent(Enum):
    """How much of an object's records has been read."""

    UNREAD = "nothing"
    WHOLE = "every record that has a value"
    LARGE = "there are more than one answer holds: each value is asked for by itself"


@dataclass(frozen=True, slots=True)
class _Answer:
    ids: tuple[str, ...]
    known_at: float


class Lookup:
    """One look-up. Times are of time.monotonic(), in seconds. Safe between threads."""

    def __init__(
        self,
        source: str,
        field: str,
        values: Values,
        condition: str = "",
        *,
        is_optional: bool = False,
    ) -> None:
        """`source`: the object; `condition`: SOQL, which of its records count.

        `is_optional`: an org without it is nothing to tell, and sure to have no such record.

        Raises SettingsError where `source` or `field` is no name of the API's.
        """
        for name in (source, field):
            if not re.fullmatch(r"[A-Za-z]\w{0,79}", name, re.ASCII):
                raise SettingsError(
                    "links: the API name of an object and of its field belong here, like Case and"
                    " Clockify_Project_Id__c"
                )
        self.name = f"{source}.{field}"
        self.is_optional = is_optional
        self._field, self._values = field, values
        where = f"{condition} AND {field}" if condition else field
        self._select = f"SELECT Id, {field} FROM {source} WHERE {where}"
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._extent = Extent.UNREAD
        self._read_at = float("-inf")  # when all records were asked for
        self._off_until = self._paused_until = float("-inf")
        self._problem = ""

    def known(self, value: str | None, now: float) -> Known:
        """What is known of the records with this value; None is no record's."""
        normal = self._values.normal(value) if value else None
        if normal is None:
            return Known(Freshness.FRESH)
        with self._lock:
            if now < self._off_until:
                return Known(Freshness.OFF)
            answer = self._answers.get(normal)
            if answer is None and self._extent is Extent.WHOLE:
                answer = _Answer((), self._read_at)
        if answer is None:
            return Known(Freshness.UNKNOWN)
        kept_s = FOUND_S if answer.ids else MISSING_S
        is_old = now - answer.known_at > kept_s
        return Known(Freshness.STALE if is_old else Freshness.FRESH, answer.ids)

    def is_due(self, value: str | None, now: float) -> bool:
        """Tell whether Salesforce should be asked for this value now."""
        wanted = self.known(value, now).freshness in (Freshness.UNKNOWN, Freshness.STALE)
        return wanted and not self.is_paused(now)

    def is_paused(self, now: float) -> bool:
        """True for a while after a look-up that had no answer."""
        return now < self._paused_until

    def reads_all(self, now: float) -> bool:
        """Tell whether the next question is for all records, and not for one value."""
        return self._extent is not Extent.LARGE or now - self._read_at > FOUND_S

    def goes_along(self, now: float) -> bool:
        """Tell whether it is worth being read in a call that is made for another look-up."""
        is_old = now - self._read_at > MISSING_S
        return self._extent is Extent.WHOLE and is_old and not self.is_paused(now)

    def question(self, value: str | None, now: float) -> Question:
        """What to ask Salesforce for where this value is due, or for a look-up that goes along."""
        normal = self._values.normal(value) if value else None
        if normal is None or self.reads_all(now):
            soql = f"{self._select} != null ORDER BY LastModifiedDate DESC LIMIT {ROWS}"
            return Question(None, soql)
        # An id has no wild card but "_", and what that finds beside it is left out by `take`.
        like = f"LIKE {quoted(f'%{normal}%')}" if self._values.are_listed else f"= {quoted(normal)}"
        return Question(normal, f"{self._select} {like} LIMIT {ROWS_OF_ONE}")

    def take(self, question: Question, answer: object, now: float) -> str:
        """Keep an answer, or the error that stands for one; return a note for the log, "" none."""
        if isinstance(answer, SalesforceRefused) and answer.code in _MISSING:
            self._switch_off(now)
            if self.is_optional:
                return ""
            return f"{self.name} is not looked up for an hour: {answer.code}"
        if isinstance(answer, Exception):
            return self.pause(answer, now)
        try:
            rows = self._rows(answer)
            is_whole = isinstance(answer, Mapping) and answer["done"] is True
        except (KeyError, TypeError, ValueError) as error:
            return self.pause(error, now)
        if question.value is None:
            self._keep_all(rows, now, is_whole=is_whole and len(rows) < ROWS)
        else:
            ids = tuple(record_id for record_id, values in rows if question.value in values)
            with self._lock:
                self._keep({question.value: ids}, now)
        return ""

    def learn(self, value: str, record_id: str, now: float) -> None:
        """Keep that the record has just got this value."""
        normal = self._values.normal(value)
        if normal is not None:
            with self._lock:
                self._keep({normal: (record_id,)}, now)

    def pause(self, error: Exception, now: float) -> str:
        """Ask nothing for a while; what is known stays in force. Returns a note for the log."""
        # A refusal's own sentence is about Events.
        problem = error.code if isinstance(error, SalesforceRefused) else told(error)
        with self._lock:
            self._paused_until, self._problem = now + PAUSE_S, problem
        return self.unread

    @property
    def unread(self) -> str:
        """The note for the log where an answer is missing."""
        return f"{self.name} was not read: {self._problem or NO_TIME}"

    def _switch_off(self, now: float) -> None:
        with self._lock:
            self._off_until = now + FOUND_S
            self._extent, self._problem = Extent.UNREAD, ""

    def _keep_all(self, rows: list[tuple[str, set[str]]], now: float, *, is_whole: bool) -> None:
        found: dict[str, tuple[str, ...]] = {}
        for record_id, values in rows:
            for value in values:
                found[value] = (*found.get(value, ()), record_id)
        is_whole = is_whole and len(found) <= KEPT
        if not is_whole and self._values.are_shared:
            found = {}  # a record that was left out may have the same value
        with self._lock:
            self._extent = Extent.WHOLE if is_whole else Extent.LARGE
            self._read_at = now
            self._answers.clear()
            self._keep(found, now)

    def _keep(self, found: Mapping[str, tuple[str, ...]], now: float) -> None:
        """The caller holds the lock."""
        self._problem = ""
        for value, ids in found.items():
            self._answers[value] = _Answer(ids, now)
            self._answers.move_to_end(value)
        while len(self._answers) > KEPT:
            self._answers.popitem(last=False)

    def _rows(self, answer: Any) -> list[tuple[str, set[str]]]:
        """The records' ids, each with its values. Raises KeyError, TypeError, ValueError."""
        rows = []
        for row in answer["records"]:
            # Salesforce spells a field as it was made, whatever the query's capitals.
            fields = {name.casefold(): value for name, value in dict(row).items()}
            record_id = str(fields["id"])
            if not re.fullmatch(r"[A-Za-z0-9]{18}", record_id):
                raise ValueError("an Id of Salesforce's has 18 letters and digits")
            rows.append((record_id, self._values.of(str(fields[self._field.casefold()] or ""))))
        return rows
