"""The org as the integration user meets it: what is deployed, what it may, how an Event behaves.

About 50 API calls. Everything is made by `throw_away.py`; what is made in other people's calendars
is taken back within the same call, so that none of it is ever seen.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from clockify_salesforce.clockify.people import email_address
from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Org, Part, quoted
from clockify_salesforce.salesforce.errors import STATE, SalesforceRefused
from clockify_salesforce.salesforce.records import Conflict, Known, Nothing, Records
from clockify_salesforce.state import State
from commands.checks.findings import SET_UP, Findings, Verdict, bad, good, told, unknown
from commands.checks.throw_away import CALL_S, START, SUBJECT, ThrowAway, entry, event_of
from mapping import EXTERNAL_ID

FORCE_APP = Path(__file__).resolve().parents[2] / "force-app/main/default/objects"
AT_ONCE = 20  # writes on the same version
PEOPLE_OF_A_ROLE, ROLES, PEOPLE_A_CALL = 5, 40, 8
USERS = 2000
SCARCE = 0.05  # of API calls and of storage
AFTER_SIGN_IN = ("API calls", "storage", "left behind", "fields", "rights")
OF_STATE = ("compare-and-set", "all or nothing")
OF_EVENTS = (
    *("Event", "automation", "seconds", "reminder", "edit and delete", "recycle bin"),
    *("over 24 hours", "calendars"),
)


@dataclass(slots=True)
class Salesforce:
    """One org's checks. `emails`: of Clockify's people, None where nobody can ask Clockify."""

    org: Org
    findings: Findings
    rules: Rules
    emails: frozenset[str] | None = None
    throw_away: ThrowAway = field(init=False)
    _described: dict[str, Json] = field(default_factory=dict)
    _sent: Json = field(default_factory=dict)
    _limits: Json | None = None
    _missing: list[str] = field(default_factory=list)  # objects, and fields as Object.Field
    _user_id: str = ""

    def __post_init__(self) -> None:
        self.throw_away = ThrowAway(self.org)

    def check(self) -> None:
        """Look at everything that can be looked at."""
        if not self._look("sign-in", self.sign_in):
            self._skip((*AFTER_SIGN_IN, *OF_STATE, "people", *OF_EVENTS), "there is no sign-in")
            return
        if not self._look("API calls", self._api_calls):
            rest = (*AFTER_SIGN_IN[1:], *OF_STATE, "people", *OF_EVENTS)
            self._skip(rest, "there are no API calls left")
            return
        self._look("storage", self._storage)
        self._look("left behind", self._left_behind)
        are_there = self._look("fields", self._fields)
        may_write = are_there and self._look("rights", self._rights)
        if not are_there:
            self._skip(("rights",), "fields are missing")
        people = self._people_at_work()
        if may_write:
            self._look("compare-and-set", self._compare_and_set)
            self._look("all or nothing", self._all_or_nothing)
            self._check_events(people)
        else:
            why = "rights are missing" if are_there else "fields are missing"
            self._skip((*OF_STATE, *OF_EVENTS), why)

    def _check_events(self, people: Sequence["Person"]) -> None:
        if not self._look("Event", self._event):
            self._skip(OF_EVENTS[1:], "no Event can be made")
            return
        self._look("automation", self._automation)
        self._look("seconds", self._seconds)
        self._look("reminder", self._reminder)
        if self._look("edit and delete", self._edit_and_delete):
            self._look("recycle bin", self._recycle_bin)
        else:
            self._skip(("recycle bin",), "no Event can be deleted")
        self._look("over 24 hours", self._over_24_hours)
        self._look("calendars", lambda: self._calendars(people))

    def _look(self, name: str, at: Callable[[], Verdict]) -> bool:
        return self.findings.look("salesforce", name, at)

    def _skip(self, names: tuple[str, ...], why: str) -> None:
        self.findings.skip("salesforce", names, why)

    # The org and its user ------------------------------------------------------------------------

    @property
    def is_signed_in(self) -> bool:
        """Whether Salesforce has told who the integration user is."""
        return bool(self._user_id)

    def sign_in(self) -> Verdict:
        """Sign in as the function does. Raises IntegrationError."""
        began = time.monotonic()
        try:
            self._user_id = self.org.user_id(_deadline())
        except SalesforceUnavailable as error:
            if "REQUEST_LIMIT_EXCEEDED" not in str(error):
                raise
            return good("the org lets the integration user in")
        return good(f"as user {self._user_id}, in {time.monotonic() - began:.1f} s")

    def _api_calls(self) -> Verdict:
        """What is left today: of the limits, else of what each answer tells along.

        Only who has View Setup and Configuration may read the limits.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm
        """
        try:
            most, left = self._limit("DailyApiRequests")
        except SalesforceUnavailable as error:
            return bad(str(error), told(SalesforceRefused("REQUEST_LIMIT_EXCEEDED"))[1])
        if most is None and self.org.api_usage:
            used, most = self.org.api_usage
            left = most - used
        if most is None or left is None:
            return unknown("Salesforce does not tell this user: Setup > Company Information")
        text = f"{most - left:,} of {most:,} in the last 24 hours, {left:,} left"
        if left < most * SCARCE:
            return bad(text, told(SalesforceRefused("REQUEST_LIMIT_EXCEEDED"))[1])
        return good(text)

    def _storage(self) -> Verdict:
        most, left = self._limit("DataStorageMB")
        if most is None or left is None:
            return unknown("Salesforce does not tell this user: Setup > Storage Usage")
        text = f"{left:,} of {most:,} MB left; an Event or a state is 2 KB"
        if left < most * SCARCE:
            return bad(text, "delete what nobody needs, or buy more: Setup > Storage Usage")
        return good(text)

    def _left_behind(self) -> Verdict:
        """What an earlier run could not take away, because it was killed or Salesforce was down."""
        count, left = self.throw_away.take_away()
        if left:
            return bad(f"cannot be deleted: {_few(left)}", "delete them by hand, as an admin")
        if count:
            return good(f"{count} records of an earlier run are taken away")
        return good("nothing by an earlier run")

    def clean_up(self) -> Verdict:
        """Take away all that was made."""
        _, left = self.throw_away.take_away()
        if left:
            return bad(
                f"throw-away records are still there: {_few(left)}",
                "run the check again, or delete them by hand: their Clockify Time Entry ID begins"
                " with clockify-check",
            )
        return good("all throw-away records are taken away")

    def matched_person(self) -> str | None:
        """The Clockify id of somebody who is matched, None where nobody is. Raises as Org.call."""
        rows = self.org.query(
            "SELECT Clockify_User_Id__c FROM User"
            " WHERE IsActive = true AND Clockify_User_Id__c != null LIMIT 1",
            _deadline(),
        )
        return re.split(r"[^A-Za-z0-9]+", str(rows[0]["Clockify_User_Id__c"]))[0] if rows else None

    def _limit(self, name: str) -> tuple[int | None, int | None]:
        """How much there is of it, and how much is left; None where Salesforce does not say."""
        if self._limits is None:
            try:
                self._limits = self.org.call("GET", "limits", _deadline())
            except SalesforceRefused:
                self._limits = {}
        limit = self._limits.get(name)
        if not isinstance(limit, dict):
            return None, None
        return int(limit["Max"]), int(limit["Remaining"])

    # What is deployed ----------------------------------------------------------------------------

    def _fields(self) -> Verdict:
        missing, wanted = self._missing, self._wanted()
        for name, fields in wanted.items():
            try:
                self._described[name] = self.org.call(
                    "GET", f"sobjects/{name}/describe", _deadline()
                )
            except SalesforceRefused:
                missing.append(name)
                continue
            known = {str(each["name"]): each for each in self._described[name]["fields"]}
            missing += [f"{name}.{each}" for each in fields if each not in known]
            ids = [EXTERNAL_ID, "Key__c"]
            missing += [
                f"{name}.{each} as a unique external id"
                for each in ids
                if each in known and not (known[each]["externalId"] and known[each]["unique"])
            ]
        if missing:
            return bad(
                f"missing, or hidden from the integration user: {', '.join(missing)}",
                f"deploy them and assign the permission set Clockify_Integration: {SET_UP}",
            )
        count = sum(map(len, wanted.values()))
        return good(f"{count} fields of {len(wanted)} objects are there and visible")

    def _wanted(self) -> dict[str, list[str]]:
        """Object -> the fields that are deployed, written, or looked up in it."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for file in FORCE_APP.glob("*/fields/*.field-meta.xml"):
            owner = file.parent.parent.name
            name = "Event" if owner == "Activity" else owner
            wanted[name].add(file.name.removesuffix(".field-meta.xml"))
        wanted["Event"] |= set(self._new_event("fields"))
        for link in self.rules.links:
            wanted[link.object].add(link.field)
        return {name: sorted(fields) for name, fields in wanted.items()}

    def _rights(self) -> Verdict:
        lacks = []
        for name in ("Event", STATE):
            described = self._described[name]
            rights = {"create": "createable", "edit": "updateable", "delete": "deletable"}
            lacks += [f"{right} {name}" for right, is_so in rights.items() if not described[is_so]]
        written = {*self._new_event("rights"), "OwnerId", "WhatId", "WhoId"}
        lacks += [
            f"write Event.{each['name']}"
            for each in self._described["Event"]["fields"]
            if each["name"] in written and not (each["createable"] and each["updateable"])
        ]
        if lacks:
            return bad(
                f"the integration user may not {', '.join(sorted(lacks))}",
                f"assign it the permission set Clockify_Integration as it is deployed: {SET_UP}",
            )
        return good("the integration user may create, edit and delete Events and states")

    # State ---------------------------------------------------------------------------------------

    def _compare_and_set(self) -> Verdict:
        key = self.throw_away.key("state")
        if not self._writes(key, 0):
            return bad("a new state is not taken", f"deploy {STATE} as it is here: {SET_UP}")
        if self._writes(key, 0):
            return bad(
                "a second write on the same version is taken, so a newer entry could be lost",
                f"switch on the validation rule Compare_And_Set of {STATE}: {SET_UP}",
            )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            taken = sum(pool.map(lambda _: self._writes(key, 1), range(AT_ONCE)))
        if taken != 1:
            return bad(
                f"of {AT_ONCE} writes on the same version at the same moment {taken} are taken",
                f"one has to be: switch on the validation rule Compare_And_Set of {STATE}, and"
                f" keep other automation off that object: {SET_UP}",
            )
        return good(f"a second write is refused; of {AT_ONCE} at the same moment one is taken")

    def _writes(self, key: str, version: int) -> bool:
        """Write a state on this version; False where the org refuses it because of that."""
        state = State(newest="check", newest_ms=version, by="check")
        nothing = Nothing(Result.IGNORED, Known())
        try:
            Records(self.org).write(key, Known(version=version), state, nothing, _deadline())
        except Conflict:
            return False
        return True

    def _all_or_nothing(self) -> Verdict:
        key, entry_id = self.throw_away.key("whole"), self.throw_away.entry_id("whole")
        state = {"Version__c": 1, "Based_On__c": 0, "State__c": "{}"}
        event = self._new_event("whole") | {"EndDateTime": "2000-01-01T00:00:00Z"}  # before START
        parts = [
            Part("state", "PATCH", f"sobjects/{STATE}/Key__c/{key}", state),
            Part("event", "PATCH", f"sobjects/Event/{EXTERNAL_ID}/{entry_id}", event),
        ]
        try:
            self.org.composite(parts, _deadline())
        except SalesforceRefused as refusal:
            if refusal.part != "event":
                raise
        else:
            return bad("an Event that ends before it begins is taken", "ask Salesforce's support")
        soql = f"SELECT Id FROM {STATE} WHERE Key__c = {quoted(key)}"
        if self.org.query(soql, _deadline()):
            return bad(
                "a state is kept although its Event was refused",
                "look for automation on Event that saves in a transaction of its own",
            )
        return good("where an Event is refused, its state is not kept either")

    # An Event ------------------------------------------------------------------------------------

    def _new_event(self, what: str, minutes: float = 30.0) -> Json:
        return event_of(entry(self.throw_away.entry_id(what), minutes=minutes), self.rules)

    def _put(self, what: str, body: Json) -> Json:
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.throw_away.entry_id(what)}"
        answer: Json = self.org.call("PATCH", path, _deadline(), json=body)
        return answer

    def _remove(self, what: str) -> None:
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.throw_away.entry_id(what)}"
        self.org.call("DELETE", path, _deadline())

    def _found(self, what: str, *more: str) -> Json | None:
        """The Event of a made-up entry with all that was sent for it."""
        fields = dict.fromkeys(("Id", *self._new_event(what), *more))
        which = f"{EXTERNAL_ID} = {quoted(self.throw_away.entry_id(what))}"
        soql = f"SELECT {', '.join(fields)} FROM Event WHERE {which}"
        rows = self.org.query(soql, _deadline())
        return rows[0] if rows else None

    def _event(self) -> Verdict:
        self._sent = self._new_event("event")
        self._put("event", self._sent)
        if self._found("event") is None:
            return bad(
                "an Event was made and is not found by its entry's id",
                f"see that Event.{EXTERNAL_ID} is an external id: {SET_UP}",
            )
        return good("is made, and found by its entry's id")

    def _automation(self) -> Verdict:
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
            _deadline(),
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
        if linked or found["OwnerId"] != self._user_id:
            names = ", ".join([*linked, *["OwnerId"] * (found["OwnerId"] != self._user_id)])
            return good(f"the org's own automation sets {names}, and that stays")
        if found["LastModifiedById"] != self._user_id:
            return good("another user's automation touches the Event and changes nothing of it")
        return good("none that changes or copies an Event")

    def _seconds(self) -> Verdict:
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

    def _reminder(self) -> Verdict:
        found = self._found("event")
        if found and found["IsReminderSet"] is not False:
            return bad(
                "a new Event reminds its owner of what is done already",
                "look for a flow or trigger on Event that sets reminders",
            )
        return good("none is set")

    def _edit_and_delete(self) -> Verdict:
        body = self._new_event("event", minutes=45.0)
        self._put("event", body)
        found = self._found("event")
        if found is None or not _same(body["EndDateTime"], found["EndDateTime"]):
            return bad("an edit is taken and not kept", "look for a flow or trigger on Event")
        self._remove("event")
        if self._found("event") is not None:
            return bad("a deleted Event is still there", "look for a flow or trigger on Event")
        return good("an Event is edited, and deleted")

    def _recycle_bin(self) -> Verdict:
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

    def _over_24_hours(self) -> Verdict:
        try:
            self._put("long", self._new_event("long", minutes=30 * 60.0))
        except SalesforceRefused as refusal:
            if refusal.code != "FIELD_INTEGRITY_EXCEPTION":
                raise
            return good("is refused: such an Event ends after 24 h and tells the whole span")
        return good("is taken: multiday events are switched on")

    # People --------------------------------------------------------------------------------------

    def _people_at_work(self) -> list["Person"]:
        """Those whose time is logged: matched with Clockify, else everybody."""
        users: list[Person] = []
        if any(each.startswith("User") for each in self._missing):
            self._skip(("people",), "fields are missing")
            return []

        def look() -> Verdict:
            users.extend(self._users())
            return self._matched(users)

        self._look("people", look)
        known = [each for each in users if each.is_active and self._is_of_clockify(each)]
        return known or [each for each in users if each.is_active]

    def _users(self) -> list["Person"]:
        rows = self.org.query(
            "SELECT Id, Name, Email, IsActive, UserRoleId, Clockify_User_Id__c FROM User"
            " WHERE UserType = 'Standard' AND (IsActive = true OR Clockify_User_Id__c != null)"
            f" ORDER BY Name LIMIT {USERS}",
            _deadline(),
        )
        return [
            Person(
                str(row["Id"]),
                str(row["Name"]),
                email_address(row["Email"]),
                str(row["UserRoleId"] or ""),
                is_active=row["IsActive"] is True,
                is_matched=bool(row["Clockify_User_Id__c"]),
            )
            for row in rows
            if row["Id"] != self._user_id
        ]

    def _is_of_clockify(self, person: "Person") -> bool:
        return person.is_matched or (self.emails is not None and person.email in self.emails)

    def _matched(self, users: Sequence["Person"]) -> Verdict:
        gone = [each.name for each in users if each.is_matched and not each.is_active]
        if gone:
            return bad(
                f"not active, so nobody gets their Events: {_few(gone)}",
                "activate the User, or take its Clockify User ID away (Setup > Users)",
            )
        by_id = sum(each.is_matched for each in users)
        by_email = sum(self._is_of_clockify(each) for each in users) - by_id
        text = f"{by_id} found by their Clockify id"
        if self.emails is not None:
            others = sum(each.is_matched and each.email not in self.emails for each in users)
            left = len(self.emails - {each.email for each in users}) - others
            text += f", {by_email} by their e-mail address"
            if left > 0:
                return good(
                    f"{text}; {left} addresses of Clockify's people are no active User's",
                    "match those whose address differs: python -m commands.match_records",
                )
        return good(text)

    def _calendars(self, people: Sequence["Person"]) -> Verdict:
        """Write into up to five calendars of each role, edit that, and take it back in one call."""
        of_role: dict[str, list[Person]] = defaultdict(list)
        for person in people:
            if len(of_role[person.role]) < PEOPLE_OF_A_ROLE:
                of_role[person.role].append(person)
        chosen = [person for role in list(of_role)[:ROLES] for person in of_role[role]]
        if not chosen:
            return unknown("the org has nobody else in it")
        refused: dict[str, list[str]] = defaultdict(list)
        for at in range(0, len(chosen), PEOPLE_A_CALL):
            for person, why in self._refused(chosen[at : at + PEOPLE_A_CALL]):
                lacks = "" if person.role else ", who has no role"
                refused[told(why)[1]].append(f"{person.name}{lacks}")
        if refused:
            names = [name for each in refused.values() for name in each]
            return bad(
                f"{len(names)} of {len(chosen)} cannot be written or edited again: {_few(names)}",
                "; ".join(refused),
            )
        return good(
            f"{len(chosen)} of {len(chosen)} can be written and edited again; roles: {len(of_role)}"
        )

    def _refused(self, people: list["Person"]) -> list[tuple["Person", SalesforceRefused]]:
        found: list[tuple[Person, SalesforceRefused]] = []
        while people:
            parts = [part for person in people for part in self._calendar_parts(person)]
            try:
                self.org.composite(parts, _deadline())
                break
            except SalesforceRefused as refusal:
                person_id = refusal.part.split("_")[0]
                blamed = [each for each in people if each.id == person_id]
                if not blamed:
                    raise
                found += [(each, refusal) for each in blamed]
                people = [each for each in people if each.id != person_id]
        return found

    def _calendar_parts(self, person: "Person") -> list[Part]:
        what = f"of-{person.id}"
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.throw_away.entry_id(what)}"
        body = self._new_event(what)
        return [
            Part(f"{person.id}_make", "PATCH", path, body | {"OwnerId": person.id}),
            Part(f"{person.id}_edit", "PATCH", path, body),
            Part(f"{person.id}_delete", "DELETE", path),
        ]


@dataclass(frozen=True, slots=True)
class Person:
    """A User of Salesforce's. `role`: an id, "" for none."""

    id: str
    name: str
    email: str | None
    role: str
    is_active: bool
    is_matched: bool


def _same(sent: object, found: object) -> bool:
    """Tell whether what was sent is what is there, the seconds of a time apart."""
    if isinstance(sent, str) and isinstance(found, str) and sent[4:5] == "-" and "T" in sent[:11]:
        there, here = datetime.fromisoformat(found), datetime.fromisoformat(sent)
        return abs(there - here) < timedelta(minutes=1)
    if isinstance(sent, float) and isinstance(found, int | float):
        return abs(sent - found) < 0.001
    return (sent or None) == (found or None)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _deadline() -> float:
    return time.monotonic() + CALL_S
