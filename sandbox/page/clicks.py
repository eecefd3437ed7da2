"""What a person clicks in Clockify, and in Salesforce, when a button of the page is pressed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sandbox import acme
from sandbox.clockify import Entry
from sandbox.salesforce.faults import Refusal
from sandbox.webhooks import Sent, Webhooks
from sandbox.world import World

Asked = dict[str, Any]  # the JSON that a button sends


class NotNow(Exception):
    """What was asked cannot be done as things stand; the text says why and what to do first."""


class Clicks:
    """A method a button: it takes what the button sends and returns a sentence that tells."""

    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world, self._webhooks = world, webhooks
        self.discarded: dict[str, str] = {}  # person -> the entry whose timer was discarded last

    # In Clockify -------------------------------------------------------------------------------

    def start(self, asked: Asked) -> str:
        """Start a timer that began `minutes` ago."""
        user = self._user(asked)
        if running(self._world, user) is not None:
            raise NotNow("A timer runs already: stop it first")
        self._send(
            self._world.clockify.start(
                user,
                _now() - timedelta(minutes=float(asked.get("minutes") or 0)),
                description=str(asked.get("description", "")),
                project=asked.get("project") or None,
            )
        )
        return "The timer runs. Nothing goes to the calendar before it is stopped"

    def stop(self, asked: Asked) -> str:
        """Stop the person's timer."""
        self._send(self._world.clockify.stop(self._running(asked).id, _now()))
        return "The timer is stopped"

    def discard(self, asked: Asked) -> str:
        """Throw the running timer away."""
        entry = self._running(asked)
        self.discarded[entry.user] = entry.id
        self._send(self._world.clockify.delete(entry.id))
        return "The timer is discarded; Undo brings it back"

    def undo(self, asked: Asked) -> str:
        """Take the timer back that was discarded last; it runs on."""
        user = self._user(asked)
        if running(self._world, user) is not None:
            raise NotNow("A timer runs already: stop it first")
        if user not in self.discarded:
            raise NotNow("No timer was discarded")
        self._send(self._world.clockify.restore(self.discarded.pop(user)))
        return "The discarded timer runs on"

    def add(self, asked: Asked) -> str:
        """Add a finished entry by hand."""
        self._send(self._world.clockify.add(self._user(asked), **_fields(asked)))
        return "The entry is added"

    def edit(self, asked: Asked) -> str:
        """Change a finished entry."""
        self._send(self._world.clockify.edit(self._finished(asked).id, **_fields(asked)))
        return "The entry is changed"

    def split(self, asked: Asked) -> str:
        """Split an entry in the middle."""
        entry = self._finished(asked)
        assert entry.end is not None
        middle = (entry.start + (entry.end - entry.start) / 2).replace(microsecond=0)
        if middle <= entry.start:
            raise NotNow("The entry is too short to be split")
        self._send(*self._world.clockify.split(entry.id, middle))
        return "The entry is split in two"

    def delete(self, asked: Asked) -> str:
        """Delete an entry."""
        self._send(self._world.clockify.delete(self._finished(asked).id))
        return "The entry is deleted"

    def restore(self, asked: Asked) -> str:
        """Bring a deleted entry back."""
        entry = str(asked.get("entry"))
        if entry not in self._world.clockify.deleted:
            raise NotNow("The entry is not deleted")
        self._send(self._world.clockify.restore(entry))
        return "The entry is restored"

    def week(self, asked: Asked) -> str:
        """Add a working week of everybody's."""
        messages = list(acme.working_week(self._world, _monday(asked)))
        self._send(*messages)
        return f"{len(messages)} entries are added"

    def many(self, asked: Asked) -> str:
        """Import a thousand entries, of this week and the three before it."""
        first = _monday(asked) - timedelta(weeks=3)
        self._send(*acme.many_entries(self._world, 1000, first))
        return "1,000 entries are imported; their messages come 16 at a time"

    def repeat(self, asked: Asked) -> str:
        """Send an old message again: the one that is named, or the oldest of what changed last."""
        number = asked.get("message")
        sent = next((sent for sent in self._webhooks.sent if sent.number == number), None)
        sent = sent or oldest_of_newest(self._webhooks)
        if sent is None:
            raise NotNow("Clockify has sent no message yet: change something first")
        self._webhooks.again(sent)
        return f"Clockify repeats an old message: {sent.event}"

    # In Salesforce -----------------------------------------------------------------------------

    def change(self, asked: Asked) -> str:
        """Change an Event's owner (OwnerId) or link (WhatId), as a person does in Salesforce."""
        changes = {name: asked[name] or None for name in ("OwnerId", "WhatId") if name in asked}
        events = self._world.salesforce.records["Event"]
        event = events.get(str(asked.get("event")))
        if event is None or event["IsDeleted"]:
            raise NotNow("The Event is gone")
        try:
            self._world.salesforce.change("Event", event["Id"], **changes)
        except Refusal as refusal:
            raise NotNow(f"Salesforce refuses it: {refusal.error['message']}") from None
        return "The Event is changed in Salesforce; Clockify's edits will leave that as it is"

    # -------------------------------------------------------------------------------------------

    def _send(self, *messages: Any) -> None:
        self._webhooks.send(messages)

    def _user(self, asked: Asked) -> str:
        user = str(asked.get("user", ""))
        if user not in self._world.clockify.users:
            raise NotNow("Clockify knows no such person")
        return user

    def _running(self, asked: Asked) -> Entry:
        entry = running(self._world, self._user(asked))
        if entry is None:
            raise NotNow("No timer runs: start one first")
        return entry

    def _finished(self, asked: Asked) -> Entry:
        entry = self._world.clockify.entries.get(str(asked.get("entry")))
        if entry is None or entry.end is None:
            raise NotNow("Clockify has no such finished entry")
        return entry


IN_CLOCKIFY: dict[str, Callable[[Clicks, Asked], str]] = {
    "start": Clicks.start,
    "stop": Clicks.stop,
    "discard": Clicks.discard,
    "undo": Clicks.undo,
    "add": Clicks.add,
    "edit": Clicks.edit,
    "split": Clicks.split,
    "delete": Clicks.delete,
    "restore": Clicks.restore,
    "week": Clicks.week,
    "many": Clicks.many,
    "repeat": Clicks.repeat,
}


def running(world: World, user: str) -> Entry | None:
    """The person's entry whose timer runs."""
    entries = list(world.clockify.entries.values())
    return next((entry for entry in entries if entry.user == user and entry.end is None), None)


def oldest_of_newest(webhooks: Webhooks) -> Sent | None:
    """The oldest message of the entry that changed last, better one that changed more than once."""
    first: dict[str, Sent] = {}
    for sent in webhooks.sent:
        first.setdefault(sent.entry, sent)
    newest = list(reversed(webhooks.sent))
    twice = (first[sent.entry] for sent in newest if first[sent.entry] is not sent)
    return next(twice, newest[0] if newest else None)


def _fields(asked: Asked) -> dict[str, Any]:
    """An entry's fields as the page's form sends them; raise NotNow where they make no entry."""
    try:
        start, end = (datetime.fromisoformat(asked[name]) for name in ("start", "end"))
        start, end = start.astimezone(UTC), end.astimezone(UTC)
    except (KeyError, ValueError):
        raise NotNow("Start or end is no date and time") from None
    if end < start:
        raise NotNow("The end lies before the start")
    return {
        "start": start,
        "end": end,
        "description": str(asked.get("description", "")),
        "project": asked.get("project") or None,
        "type": str(asked.get("type") or "REGULAR"),
    }


def _monday(asked: Asked) -> datetime:
    try:
        zone = ZoneInfo(str(asked.get("zone") or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return acme.monday_of(datetime.now(UTC), zone)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
