"""Write a record and its state in one call, all or nothing, and give way to what is refused of it.

`Clockify_State__c` has one validation rule, which makes each write a compare-and-set: it refuses a
state that is not based on the version that is there. So whoever was slower writes nothing, neither
the state nor the record, and decides again (`delivery.py`). No rule of ours is on Event itself,
where it would meet the org's own automation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from clockify_salesforce import state as states
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Org, Part, quoted
from clockify_salesforce.salesforce.errors import LINKS, RULE, STATE, SalesforceRefused
from clockify_salesforce.state import State
from mapping import EXTERNAL_ID

NO_MARK_S = 3600.0


class Conflict(IntegrationError):
    """Another write of the record was faster: nothing is written."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a record: its state with the version that is there, 0 where there is none.

    `exists`: whether Salesforce holds an Event of it; None where nobody has looked. `mark`: what
    `Clockify_Links__c` on it holds. `record_id`: of the Event, where it is known.
    """

    version: int = 0
    state: State | None = None
    exists: bool | None = None
    mark: str | None = None
    record_id: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write has made of the record, and what is known of it now. `notes`: left out."""

    known: Known
    result: Result
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """`exists`, `mark`, `record_id`: as in Known. `rest`: what is still to be written."""

    result: Result
    exists: bool | None
    mark: str | None = None
    record_id: str = ""
    rest: "Draft | None" = None


class Draft(Protocol):
    """A record as it is going to be written, or not to be there."""

    def parts(self) -> list[Part]:
        """The requests that write it, beside that of its state."""
        ...

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple["Draft", str]:
        """What else may be written instead, and a note for the log. Raises the refusal itself."""
        ...

    def made(self, answers: list[Json]) -> "Made":
        """What Salesforce's answers to the parts say."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """The state alone."""

    result: Result
    known: "Known"

    def parts(self) -> list[Part]:
        return []

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple[Draft, str]:
        raise refusal

    def made(self, answers: list[Json]) -> "Made":
        known = self.known
        return Made(self.result, known.exists, known.mark, known.record_id)


class Records:
    """The records of one org with their states. Safe between threads."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._no_mark_until = 0.0

    @property
    def has_mark(self) -> bool:
        """False while Salesforce says that Clockify_Links__c is not there."""
        return time.monotonic() >= self._no_mark_until

    def read(self, key: str, entry_id: str, deadline: float) -> Known:
        """Read state and mark of a time entry, in one call. Raises as Org.call does.

        queryAll, because an Event that ended over a year ago is archived and hidden from query:
        https://help.salesforce.com/s/articleView?id=000385690
        """
        mark = f", {LINKS}" if self.has_mark else ""
        there = "AND IsDeleted = false"
        rows = self._org.queries(
            [
                f"SELECT Version__c, State__c FROM {STATE} WHERE Key__c = {quoted(key)} {there}",
                f"SELECT Id{mark} FROM Event WHERE {EXTERNAL_ID} = {quoted(entry_id)} {there}",
            ],
            deadline,
            deleted=True,
        )
        if mark and isinstance(rows[1], SalesforceRefused) and LINKS in rows[1].fields:
            self._no_mark_until = time.monotonic() + NO_MARK_S
            return self.read(key, entry_id, deadline)
        for each in rows:
            if isinstance(each, IntegrationError):
                raise each
        kept, event = (each["records"][:1] for each in rows if isinstance(each, dict))
        exists = bool(event)
        found = event[0].get(LINKS) if event else None
        record_id = str(event[0]["Id"]) if event else ""
        if not kept:
            return Known(exists=exists, mark=found, record_id=record_id)
        state = states.from_json(kept[0].get("State__c"))
        note = "" if state else f"{key}: its state is of a version that is not known: begun anew"
        version = int(kept[0]["Version__c"] or 0)
        return Known(version, state, exists, found, record_id, note)

    def write(self, key: str, known: Known, state: State, draft: Draft, deadline: float) -> Written:
        """Write the state, and the record as the draft says or gives way to.

        Raises Conflict where `known` is not what is there, SalesforceUnavailable,
        SalesforceRefused; then neither is written, unless the answer was lost.
        """
        notes: list[str] = []
        kept = Part(
            "state",
            "PATCH",
            f"sobjects/{STATE}/Key__c/{key}",
            {
                "Version__c": known.version + 1,
                "Based_On__c": known.version,
                "State__c": states.to_json(state),
            },
        )
        while True:
            try:
                answers = self._org.composite([kept, *draft.parts()], deadline)
            except SalesforceRefused as refusal:
                if refusal.part == "state" and refusal.code in _CONFLICTS:
                    raise Conflict(f"{key}: another write was faster") from None
                if LINKS in refusal.fields and refusal.code == "INVALID_FIELD":
                    self._no_mark_until = time.monotonic() + NO_MARK_S
                draft, note = draft.give_way(refusal, lambda: self._org.user_id(deadline))
                notes += [note] if note else []
                continue
            made = draft.made(answers[1:])
            now = Known(known.version + 1, state, made.exists, made.mark, made.record_id)
            if made.rest is not None:
                self.write(key, now, state, made.rest, deadline)
                now = replace(now, version=now.version + 1)
            return Written(now, made.result, tuple(notes))


# A state that somebody else has made, changed or cleaned up in between.
_CONFLICTS = frozenset({RULE, "DUPLICATE_VALUE", "ENTITY_IS_DELETED"})
