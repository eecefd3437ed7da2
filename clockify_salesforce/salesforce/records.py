"""Write a record and its state in one call, all or nothing, and give way to what is refused of it.

`Clockify_State__c` has one validation rule, which makes each write a compare-and-set: it refuses a
state that is not based on the version that is there. So whoever was slower writes nothing, neither
the state nor the record, and decides again (`delivery.py`). No rule of ours is on Event itself,
where it would meet the org's own automation.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from clockify_salesforce import state as states
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Org, Part, quoted
from clockify_salesforce.salesforce.errors import LINKS, RULE, STATE, SalesforceRefused
from clockify_salesforce.state import State

NO_MARK_S = 3600.0


class Conflict(IntegrationError):
    """Another write of the record was faster: nothing is written."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a record: its state with the version that is there, 0 where there is none.

    `exists`: whether Salesforce holds it; None where nobody has looked. `mark`: what
    `Clockify_Links__c` on an activity holds. `record_id`: its own, where it is known. `rows`: what
    has been read besides, by question (`drafts.py`).
    """

    version: int = 0
    state: State | None = None
    exists: bool | None = None
    mark: str | None = None
    record_id: str = ""
    note: str = ""
    rows: tuple[tuple[Json, ...], ...] = ()


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

    def read(self, key: str, ask: Callable[[bool], Sequence[str]], deadline: float) -> Known:
        """Read a record and its state, in one call. Raises as Org.call does.

        `ask`: told whether there is a mark, gives the questions in SOQL, each with `IsDeleted =
        false`; the first is for the record itself, with `Id` and the mark. queryAll, because an
        Event that ended over a year ago is archived and hidden from query:
        https://help.salesforce.com/s/articleView?id=000385690
        """
        has_mark = self.has_mark
        states_of = f"SELECT Version__c, State__c FROM {STATE} WHERE Key__c = {quoted(key)}"
        soql = [f"{states_of} AND IsDeleted = false", *ask(has_mark)]
        answers = self._org.queries(soql, deadline, deleted=True)
        first = answers[1]
        if has_mark and isinstance(first, SalesforceRefused) and LINKS in first.fields:
            self._no_mark_until = time.monotonic() + NO_MARK_S
            return self.read(key, ask, deadline)
        rows: list[tuple[Json, ...]] = []
        for each, part in zip(answers, ("state", *("record" for _ in answers)), strict=False):
            if isinstance(each, SalesforceRefused):
                each.part = part
            if isinstance(each, IntegrationError):
                raise each
            rows.append(tuple(each["records"]))
        kept, own, *others = rows
        held = own[0] if own else {}
        known = Known(
            exists=bool(own),
            mark=held.get(LINKS),
            record_id=str(held.get("Id", "")),
            rows=(own, *others),
        )
        if not kept:
            return known
        state = states.from_json(kept[0].get("State__c"))
        note = "" if state else f"{key}: its state is of a version that is not known: begun anew"
        return replace(known, version=int(kept[0]["Version__c"] or 0), state=state, note=note)

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
