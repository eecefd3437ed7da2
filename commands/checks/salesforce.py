"""The org as the integration user meets it: what is deployed, what it may, how states behave.

About 50 API calls with `events.py` and `people.py`. All that is made is `throw_away.py`'s.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Org, Part, quoted
from clockify_salesforce.salesforce.errors import STATE, SalesforceRefused
from clockify_salesforce.salesforce.records import Conflict, Known, Nothing, Records
from clockify_salesforce.state import State
from commands.checks.events import Events
from commands.checks.findings import SET_UP, Findings, Verdict, bad, few, good, told, unknown
from commands.checks.kinds import OtherKinds
from commands.checks.people import People, Person
from commands.checks.throw_away import ThrowAway, deadline
from mapping import EXTERNAL_ID

FORCE_APP = Path(__file__).resolve().parents[2] / "force-app/main/default/objects"
AT_ONCE = 20  # writes on the same version
SCARCE = 0.05  # of API calls and of storage
AFTER_SIGN_IN = ("API calls", "storage", "left behind", "fields", "rights")
OF_STATE = ("compare-and-set", "all or nothing")
OF_EVENTS = (
    *("Event", "automation", "seconds", "reminder", "edit and delete", "recycle bin"),
    *("over 24 hours", "calendars"),
)


@dataclass(slots=True)
class Salesforce:
    """One org's checks. `kinds`: what is used beside time entries.

    `emails`: of Clockify's people, None where nobody can ask Clockify.
    """

    org: Org
    findings: Findings
    rules: Rules
    emails: frozenset[str] | None = None
    kinds: tuple[str, ...] = ()
    throw_away: ThrowAway = field(init=False)
    events: Events = field(init=False)
    _described: dict[str, Json] = field(default_factory=dict)
    _limits: Json | None = None
    _missing: list[str] = field(default_factory=list)  # objects, and fields as Object.Field

    def __post_init__(self) -> None:
        self.throw_away = ThrowAway(self.org)
        self.events = Events(self.org, self.rules, self.throw_away)

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
        if self.kinds:
            OtherKinds(
                self.org,
                self.findings,
                self.kinds,
                creates_accounts=self.rules.accounts.are_created,
            ).check()
        people = People(self.events, self.emails)
        users = self._users(people)
        if may_write:
            self._look("compare-and-set", self._compare_and_set)
            self._look("all or nothing", self._all_or_nothing)
            if self._check_events():
                self._look("calendars", lambda: people.calendars(people.at_work(users)))
        else:
            why = "rights are missing" if are_there else "fields are missing"
            self._skip((*OF_STATE, *OF_EVENTS), why)

    def _check_events(self) -> bool:
        """Whether there may be any."""
        events = self.events
        if not self._look("Event", events.event):
            self._skip(OF_EVENTS[1:], "no Event can be made")
            return False
        self._look("automation", events.automation)
        self._look("seconds", events.seconds)
        self._look("reminder", events.reminder)
        if self._look("edit and delete", events.edit_and_delete):
            self._look("recycle bin", events.recycle_bin)
        else:
            self._skip(("recycle bin",), "no Event can be deleted")
        self._look("over 24 hours", events.over_24_hours)
        return True

    def _users(self, people: People) -> list[Person]:
        """Everybody in the org, none where their Clockify ids cannot be read."""
        users: list[Person] = []
        if any(each.startswith("User") for each in self._missing):
            self._skip(("people",), "fields are missing")
            return users

        def look() -> Verdict:
            users.extend(people.users())
            return people.matched(users)

        self._look("people", look)
        return users

    def _look(self, name: str, at: Callable[[], Verdict]) -> bool:
        return self.findings.look("salesforce", name, at)

    def _skip(self, names: tuple[str, ...], why: str) -> None:
        self.findings.skip("salesforce", names, why)

    # The org and its user ------------------------------------------------------------------------

    @property
    def is_signed_in(self) -> bool:
        """Whether Salesforce has told who the integration user is."""
        return bool(self.events.user_id)

    def sign_in(self) -> Verdict:
        """Sign in as the function does. Raises IntegrationError."""
        began = time.monotonic()
        try:
            self.events.user_id = self.org.user_id(deadline())
        except SalesforceUnavailable as error:
            if "REQUEST_LIMIT_EXCEEDED" not in str(error):
                raise
            return good("the org lets the integration user in")
        return good(f"as user {self.events.user_id}, in {time.monotonic() - began:.1f} s")

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
            return bad(f"cannot be deleted: {few(left)}", "delete them by hand, as an admin")
        if count:
            return good(f"{count} records of an earlier run are taken away")
        return good("nothing by an earlier run")

    def clean_up(self) -> Verdict:
        """Take away all that was made."""
        _, left = self.throw_away.take_away()
        if left:
            return bad(
                f"throw-away records are still there: {few(left)}",
                "run the check again, or delete them by hand: their Clockify Time Entry ID begins"
                " with clockify-check",
            )
        return good("all throw-away records are taken away")

    def matched_person(self) -> str | None:
        """The Clockify id of somebody who is matched, None where nobody is. Raises as Org.call."""
        rows = self.org.query(
            "SELECT Clockify_User_Id__c FROM User"
            " WHERE IsActive = true AND Clockify_User_Id__c != null LIMIT 1",
            deadline(),
        )
        return re.split(r"[^A-Za-z0-9]+", str(rows[0]["Clockify_User_Id__c"]))[0] if rows else None

    def _limit(self, name: str) -> tuple[int | None, int | None]:
        """How much there is of it, and how much is left; None where Salesforce does not say."""
        if self._limits is None:
            try:
                self._limits = self.org.call("GET", "limits", deadline())
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
                    "GET", f"sobjects/{name}/describe", deadline()
                )
            except SalesforceRefused:
                missing.append(name)
                continue
            known = {str(each["name"]): each for each in self._described[name]["fields"]}
            spelled = {each.casefold() for each in known}  # in mapping.toml as anybody likes
            missing += [f"{name}.{each}" for each in fields if each.casefold() not in spelled]
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
        wanted["Event"] |= set(self.events.new("fields"))
        for link in self.rules.links:
            wanted[link.object].add(link.field)
        return {name: sorted(fields) for name, fields in wanted.items()}

    def _rights(self) -> Verdict:
        lacks = []
        for name in ("Event", STATE):
            described = self._described[name]
            rights = {"create": "createable", "edit": "updateable", "delete": "deletable"}
            lacks += [f"{right} {name}" for right, is_so in rights.items() if not described[is_so]]
        written = {*self.events.new("rights"), "OwnerId", "WhatId", "WhoId"}
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
            Records(self.org).write(key, Known(version=version), state, nothing, deadline())
        except Conflict:
            return False
        return True

    def _all_or_nothing(self) -> Verdict:
        key, entry_id = self.throw_away.key("whole"), self.throw_away.entry_id("whole")
        state = {"Version__c": 1, "Based_On__c": 0, "State__c": "{}"}
        event = self.events.new("whole") | {"EndDateTime": "2000-01-01T00:00:00Z"}  # before START
        parts = [
            Part("state", "PATCH", f"sobjects/{STATE}/Key__c/{key}", state),
            Part("event", "PATCH", f"sobjects/Event/{EXTERNAL_ID}/{entry_id}", event),
        ]
        try:
            self.org.composite(parts, deadline())
        except SalesforceRefused as refusal:
            if refusal.part != "event":
                raise
        else:
            return bad("an Event that ends before it begins is taken", "ask Salesforce's support")
        soql = f"SELECT Id FROM {STATE} WHERE Key__c = {quoted(key)}"
        if self.org.query(soql, deadline()):
            return bad(
                "a state is kept although its Event was refused",
                "look for automation on Event that saves in a transaction of its own",
            )
        return good("where an Event is refused, its state is not kept either")
