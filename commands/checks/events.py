"""How an Event of the integration user's behaves, from its making to its deletion."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.client import Json, Org, quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.checks.findings import SET_UP, Verdict, bad, good
from commands.checks.throw_away import START, SUBJECT, ThrowAway, deadline, entry, event_of
from mapping import EXTERNAL_ID


@dataclass(slots=True)
class Events:
    """Checks in this order; each goes on from the one before. `user_id`: the integration user's."""

    org: Org
    rules: Rules
    throw_away: ThrowAway
    user_id: str = ""
    _sent: Json = field(default_factory=dict)

    def new(self, what: str, minutes: float = 30.0) -> Json:
        return event_of(entry(self.throw_away.entry_id(what), minutes=minutes), self.rules)

    def _put(self, what: str, body: Json) -> Json:
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.throw_away.entry_id(what)}"
        answer: Json = self.org.call("PATCH", path, deadline(), json=body)
        return answer

    def _remove(self, what: str) -> None:
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.throw_away.entry_id(what)}"
        self.org.call("DELETE", path, deadline())

    def _found(self, what: str, *more: str) -> Json | None:
        """The Event of a made-up entry with all that was sent for it."""
        fields = dict.fromkeys(("Id", *self.new(what), *more))
        which = f"{EXTERNAL_ID} = {quoted(self.throw_away.entry_id(what))}"
        soql = f"SELECT {', '.join(fields)} FROM Event WHERE {which}"
        rows = self.org.query(soql, deadline())
        return rows[0] if rows else None

    def event(self) -> Verdict:
        self._sent = self.new("event")
        self._put("event", self._sent)
        if self._found("event") is None:
            return bad(
                "an Event was made and is not found by its entry's id",
                f"see that Event.{EXTERNAL_ID} is an external id: {SET_UP}",
            )
        return good("is made, and found by its entry's id")

    def automation(self) -> Verdict:
        """What somebody else has made of the Event since it was written."""
        found = self._found("event", "OwnerId", "WhatId", "WhoId", "LastModifiedById")
        if found is None:
            return bad(
                "the Event is gone already", "look for a flow or trigger on Event that deletes"
            )
        changed = [
            name
            for name, sent in self._sent.items()
            if name != "StartDateTime" and not _same(sent, found.get(name))
        ]
        linked = [name for name in ("WhatId", "WhoId") if found.get(name)]
        copies = self.org.query(
            f"SELECT Id FROM Event WHERE Subject = {quoted(SUBJECT)} AND {EXTERNAL_ID} = null"
            f" AND StartDateTime > {(START - timedelta(days=1)).isoformat()}",
            deadline(),
        )
        if copies:
            return bad(
                f"somebody has made {len(copies)} copies of the Event",
                "keep Events with a Clockify Time Entry ID out of Einstein Activity Capture and"
                " of syncs with Outlook or Google",
            )
        if changed:
            return bad(
                f"a flow or trigger changes {', '.join(changed)}, which the next edit writes again",
                "let it pass Events with a Clockify Time Entry ID (Setup > Flows)",
            )
        if linked or found["OwnerId"] != self.user_id:
            names = ", ".join([*linked, *["OwnerId"] * (found["OwnerId"] != self.user_id)])
            return good(f"the org's own automation sets {names}, and that stays")
        if found["LastModifiedById"] != self.user_id:
            return good("another user's automation touches the Event and changes nothing of it")
        return good("none that changes or copies an Event")

    def seconds(self) -> Verdict:
        found = self._found("event")
        start = datetime.fromisoformat(str(found["StartDateTime"])) if found else None
        if start == START:
            return good("an Event keeps the seconds of its times")
        if start is not None and abs(start - START) < timedelta(minutes=1):
            return good("an Event loses the seconds; Clockify Hours is exact")
        return bad(
            f"an Event for {START.isoformat()} begins at {start}",
            "look for a flow or trigger on Event that moves it",
        )

    def reminder(self) -> Verdict:
        found = self._found("event")
        if found and found["IsReminderSet"] is not False:
            return bad(
                "a new Event reminds its owner of what is done already",
                "look for a flow or trigger on Event that sets reminders",
            )
        return good("none is set")

    def edit_and_delete(self) -> Verdict:
        body = self.new("event", minutes=45.0)
        self._put("event", body)
        found = self._found("event")
        if found is None or not _same(body["EndDateTime"], found["EndDateTime"]):
            return bad("an edit is taken and not kept", "look for a flow or trigger on Event")
        self._remove("event")
        if self._found("event") is not None:
            return bad("a deleted Event is still there", "look for a flow or trigger on Event")
        return good("an Event is edited, and deleted")

    def recycle_bin(self) -> Verdict:
        try:
            self._put("event", self._sent)
        except SalesforceRefused as refusal:
            if refusal.code not in ("DUPLICATE_VALUE", "ENTITY_IS_DELETED"):
                raise
            return good(
                "holds on to an entry's id",
                "an entry that is deleted and then restored in Clockify waits in the queue until"
                " somebody empties the recycle bin (python -m commands.waiting says so)",
            )
        return good("does not hold on to an entry's id: what is restored is made again")

    def over_24_hours(self) -> Verdict:
        try:
            self._put("long", self.new("long", minutes=30 * 60.0))
        except SalesforceRefused as refusal:
            if refusal.code != "FIELD_INTEGRITY_EXCEPTION":
                raise
            return good("is refused: such an Event ends after 24 h and tells the whole span")
        return good("is taken: multiday events are switched on")


def _same(sent: object, found: object) -> bool:
    """Tell whether what was sent is what is there, the seconds of a time apart."""
    if isinstance(sent, str) and isinstance(found, str) and sent[4:5] == "-" and "T" in sent[:11]:
        there, here = datetime.fromisoformat(found), datetime.fromisoformat(sent)
        return abs(there - here) < timedelta(minutes=1)
    if isinstance(sent, float) and isinstance(found, int | float):
        return abs(sent - found) < 0.001
    return (sent or None) == (found or None)
