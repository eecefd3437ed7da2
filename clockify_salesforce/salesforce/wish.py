"""What Clockify asks for of an Event's owner and links, told apart from what a person chose.

`Clockify_Links__c` on the Event, the mark, keeps the three ids that Clockify asked for last and
Salesforce took. OwnerId, WhatId and WhoId are sent only where the wish differs from the mark, so
what a person chooses in Salesforce stays until the person, project, client or link is changed in
Clockify, or what they are matched with. What Salesforce refuses is not in the mark, so it is tried
again at the next edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LINK_FIELDS = ("OwnerId", "WhatId", "WhoId")
_NO_ID = 18 * "-"
_IDS_LENGTH = 18 * len(LINK_FIELDS) + 2  # of the ids in a mark


@dataclass(frozen=True, slots=True)
class Link:
    """A record that the Event may be related to. `field`: WhatId or WhoId."""

    field: str
    record_id: str  # 18 characters


@dataclass(frozen=True, slots=True)
class Wish:
    """`owner`: a User's id, None where nobody matches, which leaves the owner alone.

    `links`: in order of preference; the first that Salesforce takes becomes the only one, and none
    clears both. `unknown`: of LINK_FIELDS, what could not be looked up and stays as it is.
    `notes`: what was not found or not read, for the log.
    """

    owner: str | None = None
    links: tuple[Link, ...] = ()
    unknown: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def is_nobody(self) -> bool:
        """True where it is known that the person has no user in Salesforce."""
        return self.owner is None and "OwnerId" not in self.unknown

    @property
    def fields(self) -> dict[str, str | None]:
        """Field -> id that is wished for, None to clear; no key: leave it alone."""
        first = self.links[0] if self.links else None
        wished: dict[str, str | None] = {"WhatId": None, "WhoId": None}
        if first:
            wished[first.field] = first.record_id
        if self.owner:
            wished["OwnerId"] = self.owner
        return {name: value for name, value in wished.items() if name not in self.unknown}


def marked(mark: str | None) -> dict[str, str | None]:
    """The ids in a mark by field; nothing where there is no mark or it is not one.

    Behind them, the mark of a task has its status.
    """
    ids = (mark or "")[:_IDS_LENGTH].split(" ")
    if len(ids) != len(LINK_FIELDS):
        return {}
    return {
        name: None if each == _NO_ID else each for name, each in zip(LINK_FIELDS, ids, strict=True)
    }


def marked_status(mark: str | None) -> str:
    """The status of Clockify's in the mark of a task, "" where there is none."""
    return (mark or "")[_IDS_LENGTH:].strip()


def mark_of(ids: Mapping[str, str | None]) -> str:
    """The mark that keeps these ids: each in 18 characters, a blank between two."""
    return " ".join(ids.get(name) or _NO_ID for name in LINK_FIELDS)


def changed(wish: Wish, mark: str | None) -> dict[str, str | None]:
    """What of the wish differs from the mark, and so has to be sent."""
    before = marked(mark)
    return {
        name: value
        for name, value in wish.fields.items()
        if name not in before or before[name] != value
    }
