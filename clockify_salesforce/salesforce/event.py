"""An activity as it is going to be written, and how it gives way to what is refused. Pure.

Most are Events of time entries; a Task of a task is written alike, and has a status besides.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_event.htm
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Part
from clockify_salesforce.salesforce.errors import (
    GONE,
    LINK_CODES,
    LINKS,
    OWNER_CODES,
    SalesforceRefused,
)
from clockify_salesforce.salesforce.records import Draft, Known, Made, Nothing
from clockify_salesforce.salesforce.wish import (
    LINK_FIELDS,
    Wish,
    changed,
    mark_of,
    marked,
    marked_status,
)
from mapping import EVENT, Target, Upsert


@dataclass(frozen=True, slots=True)
class EventDraft:
    """What an activity is written with. `known`: of the one that is there.

    `status`: the org's own word for that of a task, "" to leave it alone.

    `own_user_id`: it goes to the integration user, whatever was wished. `refused`: of LINK_FIELDS,
    what Salesforce did not take.
    """

    upsert: Upsert
    wish: Wish
    known: Known
    path: str = ""
    has_mark: bool = True
    is_shortened: bool = False
    own_user_id: str | None = None
    refused: frozenset[str] = frozenset()
    status: str = ""

    @property
    def new_mark(self) -> str:
        """What `Clockify_Links__c` is going to hold."""
        ids = marked(self.known.mark) | self.wish.fields
        mark = mark_of({name: each for name, each in ids.items() if name not in self.refused})
        status = self.upsert.status if self.status else marked_status(self.known.mark)
        return f"{mark} {status}" if status else mark

    def body(self) -> Json:
        """Every field but the external id, which stands in the URL."""
        body: Json = dict(self.upsert.event)
        if not self.known.exists:
            body |= self.upsert.on_create
        if self.is_shortened:
            body |= self.upsert.shortened or {}
        sent = changed(self.wish, self.known.mark)
        body |= {
            name: each for name, each in sent.items() if each or self.known.exists is not False
        }
        if self.own_user_id:
            body["OwnerId"] = self.own_user_id
        if self.status and marked_status(self.known.mark) != self.upsert.status:
            body["Status"] = self.status
        if self.has_mark and (mark := self.new_mark) != self.known.mark:
            body[LINKS] = mark
        return body

    def parts(self) -> list[Part]:
        """One upsert by Clockify's id."""
        path = self.path or _by_clockify_id(self.upsert.target, self.upsert.entry_id)
        return [Part(_part(self.upsert.target), "PATCH", path, self.body())]

    def made(self, answers: list[Json]) -> Made:
        """It exists, with its mark. One that was deleted in Salesforce lacks what it once had."""
        mark = self.new_mark if self.has_mark else None
        # An answer to a write by the Event's own id has no body.
        record_id = str(answers[0].get("id") or self.known.record_id)
        if answers[0].get("created") is not True:
            return Made(Result.UPDATED, True, mark, record_id)
        lacks = (
            replace(self, known=replace(self.known, mark=None))
            if self.known.exists and self.known.mark
            else None
        )
        return Made(Result.CREATED, True, mark, record_id, lacks)

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple[Draft, str]:
        """Take back what Salesforce refuses and the Event can do without; name it for the log.

        Each way removes something, so the caller's loop ends. Raises the refusal itself where no
        way is left.
        """
        for way in (_by_its_own_id, _without_mark, _shortened, _another_owner, _next_link):
            found = way(self, refusal, own_user_id)
            if found is not None:
                return found
        raise refusal


Way = tuple[EventDraft, str] | None


def _by_its_own_id(draft: EventDraft, refusal: SalesforceRefused, _: object) -> Way:
    """An Event that holds the entry's id although it is not found by it.

    An archived one, which ended over a year ago, can be written by its own id; one in the recycle
    bin cannot, and whether it holds on to the id is nowhere said.
    """
    target = draft.upsert.target
    found = [each for each in refusal.ids if each.startswith(target.prefix)]
    is_duplicate = refusal.code == "DUPLICATE_VALUE" and target.external_id in refusal.fields
    if not is_duplicate or not found or draft.path:
        return None
    known = replace(draft.known, exists=True, record_id=found[0])
    return replace(draft, path=f"sobjects/{target.object}/{found[0]}", known=known), ""


def _without_mark(draft: EventDraft, refusal: SalesforceRefused, _: object) -> Way:
    if LINKS not in refusal.fields or not draft.has_mark:
        return None
    return replace(draft, has_mark=False), f"{LINKS}: left out for an hour: {refusal}"


def _shortened(draft: EventDraft, refusal: SalesforceRefused, _: object) -> Way:
    """An org without multiday events refuses more than 24 hours."""
    too_long = refusal.code == "FIELD_INTEGRITY_EXCEPTION" and not _blamed(draft, refusal)
    if not too_long or draft.is_shortened or not draft.upsert.shortened:
        return None
    return replace(draft, is_shortened=True), ""


def _another_owner(
    draft: EventDraft, refusal: SalesforceRefused, own_user_id: Callable[[], str]
) -> Way:
    """Leave the owner alone; one who may own nothing any more gives it to the integration user."""
    blamed = "OwnerId" in _blamed(draft, refusal)
    if refusal.code not in OWNER_CODES and not (refusal.code in LINK_CODES and blamed):
        return None
    if draft.own_user_id:
        return None
    note = f"OwnerId: {refusal.code}"
    if "OwnerId" in changed(draft.wish, draft.known.mark):
        refused = draft.refused | {"OwnerId"}
        return replace(draft, wish=replace(draft.wish, owner=None), refused=refused), note
    # Nothing was said of the owner: the one that is there has been deactivated.
    refused = draft.refused | {"OwnerId"}
    wish = replace(draft.wish, owner=None)
    return replace(draft, wish=wish, refused=refused, own_user_id=own_user_id()), (
        f"{note}: the Event goes to the integration user"
    )


def _next_link(draft: EventDraft, refusal: SalesforceRefused, _: object) -> Way:
    """A link that Salesforce refuses gives way to the next one, the last one to none."""
    if refusal.code not in LINK_CODES:
        return None
    sent = changed(draft.wish, draft.known.mark)
    if draft.wish.links and sent.get(draft.wish.links[0].field):
        first, *others = draft.wish.links
        refused = draft.refused if others else draft.refused | {"WhatId", "WhoId"}
        wish = replace(draft.wish, links=tuple(others))
        return replace(draft, wish=wish, refused=refused), f"{first.field}: {refusal.code}"
    if sent.get("OwnerId"):  # Salesforce does not say what it means
        wish = replace(draft.wish, owner=None)
        return replace(draft, wish=wish, refused=draft.refused | {"OwnerId"}), (
            f"OwnerId: {refusal.code}"
        )
    return None


def _blamed(draft: EventDraft, refusal: SalesforceRefused) -> set[str]:
    """Which of owner and links the refusal names, by field or by id."""
    sent = changed(draft.wish, draft.known.mark)
    return {
        name
        for name in LINK_FIELDS
        if name in refusal.fields or str(sent.get(name))[:15] in refusal.ids
    }


@dataclass(frozen=True, slots=True)
class Removal:
    """An activity that is to go away. `known`: of it; `by_record_id`: by its own id."""

    entry_id: str
    known: Known
    by_record_id: bool = False
    target: Target = EVENT

    def parts(self) -> list[Part]:
        """One deletion, by Clockify's id at first."""
        path = _by_clockify_id(self.target, self.entry_id)
        if self.by_record_id:
            path = f"sobjects/{self.target.object}/{self.known.record_id}"
        return [Part(_part(self.target), "DELETE", path)]

    def made(self, answers: list[Json]) -> Made:
        """Deleted."""
        return Made(Result.DELETED, False)

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple[Draft, str]:
        """Gone already is as good, unless it is the field that Salesforce does not find.

        An archived Event may not be found by the entry's id, but is by its own.
        """
        if refusal.code not in GONE or self.target.external_id in refusal.fields:
            raise refusal
        if self.known.record_id and not self.by_record_id:
            return replace(self, by_record_id=True), ""
        return Nothing(Result.DELETED, Known(exists=False)), ""


def _by_clockify_id(target: Target, entry_id: str) -> str:
    return f"sobjects/{target.object}/{target.external_id}/{entry_id}"


def _part(target: Target) -> str:
    return target.object.lower()
