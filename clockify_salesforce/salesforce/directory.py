"""Find the Salesforce records of an Event: whose calendar it is in, and what it is related to.

A message costs no call of its own: what is known of users, projects and clients is read in one call
for all and kept for an hour. A look-up that fails is told to the log and costs the Event its owner
or link, never the Event. Nothing is written here. docs/owners-and-links.md tells it to an admin.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clockify_salesforce.cache import NO_TIME, Cached, Freshness, Patience, told
from clockify_salesforce.clockify.people import ClockifyAccess, People, clockify_id, email_address
from clockify_salesforce.mapping_rules import DEFAULT_LINKS
from clockify_salesforce.mapping_rules import Link as LinkRule
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.lookup import PAUSE_S, Lookup, Values
from clockify_salesforce.salesforce.wish import LINK_FIELDS, Link, Wish
from mapping import EVENT, Target, Upsert

LEAST_S = 0.3  # with less time left, Salesforce is not asked

# Key prefixes of the standard objects that Clockify's browser extension is used on.
# https://help.salesforce.com/s/articleView?id=000385203
WHO_PREFIXES = {"003": "Contact", "00Q": "Lead"}
WHAT_PREFIXES = {
    "001": "Account",
    "006": "Opportunity",
    "01t": "Product2",
    "02i": "Asset",
    "0Q0": "Quote",
    "0WO": "WorkOrder",
    "500": "Case",
    "501": "Solution",
    "701": "Campaign",
    "800": "Contract",
    "801": "Order",
}
_FIELD_OF = dict.fromkeys(WHO_PREFIXES, "WhoId") | dict.fromkeys(WHAT_PREFIXES, "WhatId")

_ID = Values(clockify_id, are_listed=False, are_shared=False)
_IDS = Values(clockify_id, are_listed=True, are_shared=False)
_ADDRESS = Values(email_address, are_listed=False, are_shared=True)
_ACTIVE = "IsActive = true"
QUERIES = 5  # that one composite call holds


@dataclass(frozen=True, slots=True)
class _Found:
    """Records in order of preference; none, and `is_sure` tells whether that is sure."""

    ids: tuple[str, ...]
    is_sure: bool
    notes: tuple[str, ...] = ()


_Wanted = tuple[Lookup, str | None]  # and the value of whose records something is asked


class Directory:
    """What an instance knows of an org's users, projects, clients and objects.

    Safe between threads: one of them reads, the others go on with what is known.
    """

    def __init__(
        self,
        org: Org,
        *,
        clockify: ClockifyAccess | None = None,
        links: Sequence[LinkRule] = DEFAULT_LINKS,
        projects: Sequence[Target] = (),
    ) -> None:
        """`clockify`: tells a person's e-mail address, which a webhook leaves out.

        `links`: what an Event may be related to, in order of preference; `projects`: objects of
        ours for a project's own record, which an org need not have. Raises SettingsError where one
        has no name that could be an object's or a field's.
        """
        self._org = org
        self._people = People(clockify) if clockify else None
        self._users = Lookup("User", "Clockify_User_Id__c", _IDS, _ACTIVE)
        self._users_by_email = Lookup("User", "Email", _ADDRESS, _ACTIVE)
        self._links = [
            (rule.source, Lookup(rule.object, rule.field, _IDS if rule.several else _ID))
            for rule in links
        ]
        self._projects = [
            Lookup(each.object, each.external_id, _ID, is_optional=True) for each in projects
        ]
        self._lookups = [
            *(self._users, self._users_by_email, *(each for _, each in self._links)),
            *self._projects,
        ]
        self._reading = threading.Lock()
        self._custom = Cached(frozenset[str](), pause_s=PAUSE_S, needs_s=LEAST_S)  # key prefixes

    def wish(self, decision: Upsert, deadline: float) -> Wish:
        """Say what an Event's owner and links should be. Raises nothing.

        `deadline`: of time.monotonic(); a part of what is left is used at most.
        """
        try:
            return self._wish(decision, Patience.before(deadline))
        except Exception as error:  # noqa: BLE001
            # A mistake of ours costs no Event.
            note = f"owner and links were not looked up: {told(error)}"
            return Wish(unknown=frozenset(LINK_FIELDS), notes=(note,))

    def learn(self, target: Target, clockify_id: str, record_id: str) -> None:
        """Keep that a record with this id of Clockify's is there now: what comes next needs it."""
        name = f"{target.object}.{target.external_id}"
        for lookup in self._lookups:
            if lookup.name == name and record_id:
                lookup.learn(clockify_id, record_id, time.monotonic())

    def is_paused(self) -> bool:
        """True for PAUSE_S after Salesforce gave no answer: later, `wish` may know more."""
        now = time.monotonic()
        return any(lookup.is_paused(now) for lookup in self._lookups)

    def _wish(self, decision: Upsert, patience: Patience) -> Wish:
        read = self._read([(self._users, decision.user_id), *self._chain(decision)], patience)
        owner, related = self._owner(decision, patience), self._related(decision, patience)
        return Wish(
            owner.owner,
            related.links,
            owner.unknown | related.unknown,
            tuple(dict.fromkeys((*read, *owner.notes, *related.notes))),
        )

    # The person ----------------------------------------------------------------------------------

    def _owner(self, decision: Upsert, patience: Patience) -> Wish:
        """The active User with Clockify's id of the person, else the only one with the address."""
        by_id = (self._users, decision.user_id)
        user = _first([by_id], patience.now)
        if user.ids or self._users.known(decision.user_id, patience.now).is_missing:
            return _owned(user)
        address, problem = self._address(decision, patience)
        by_email = (self._users_by_email, address)
        read = self._read([by_email], patience)
        user = _first([by_id, by_email], patience.now)
        notes = (*read, *user.notes, *filter(None, [problem]))
        return _owned(_Found(user.ids, user.is_sure and not problem, notes))

    def _address(self, decision: Upsert, patience: Patience) -> tuple[str | None, str]:
        """The person's e-mail address if any, or why it is not known."""
        user_id, workspace_id = decision.user_id, decision.workspace_id
        if decision.user_email or not (self._people and user_id and workspace_id):
            return decision.user_email, ""
        return self._people.email(workspace_id, user_id, patience)

    # What the time was for -----------------------------------------------------------------------

    def _related(self, decision: Upsert, patience: Patience) -> Wish:
        """The record that the description names, then those of the project and of the client."""
        found = _first(self._chain(decision), patience.now)
        links = tuple(Link("WhatId", record_id) for record_id in found.ids)
        unknown = frozenset[str]() if found.is_sure else frozenset({"WhatId"})
        if decision.record_id is None:
            return Wish(links=links, unknown=unknown, notes=found.notes)
        field, note = self._field_of(decision.record_id[:3], patience)
        if field is not None:
            named = (Link(field, decision.record_id), *links)
            return Wish(links=tuple(dict.fromkeys(named)), notes=found.notes)
        if not self._custom.is_known:
            return Wish(unknown=frozenset({"WhatId"}), notes=(note,))
        return Wish(links=links, unknown=unknown, notes=(note, *found.notes))

    def _chain(self, decision: Upsert) -> list[_Wanted]:
        """Where to look, in order of preference; a Task is at home in its project."""
        ids = {"project": decision.project_id, "client": decision.client_id}
        chain = [(lookup, ids[source]) for source, lookup in self._links]
        at = len(chain)
        if decision.target != EVENT:
            at = sum(source == "project" for source, _ in self._links)
        chain[at:at] = [(lookup, decision.project_id) for lookup in self._projects]
        return chain

    def _field_of(self, prefix: str, patience: Patience) -> tuple[str | None, str]:
        """WhatId or WhoId for a record whose id begins so; or None and why."""
        if field := _FIELD_OF.get(prefix):
            return field, ""
        freshness = self._custom.refresh(partial(self._custom_prefixes, patience), patience)
        if prefix in self._custom.value:
            return "WhatId", ""
        if freshness is Freshness.UNKNOWN:
            return None, f"the org's objects were not read: {self._custom.problem or NO_TIME}"
        return None, f"no object with Events has ids like the description's, {prefix}…"

    def _custom_prefixes(self, patience: Patience) -> frozenset[str]:
        """Key prefixes of the org's custom objects. Raises IntegrationError, and what it meets.

        Whether one may have Events, its description does not tell: Salesforce refuses the link, and
        the next one is taken.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_describeGlobal.htm
        """
        answer = self._org.call("GET", "sobjects", patience.until)
        return frozenset(
            str(each["keyPrefix"])
            for each in answer["sobjects"]
            if str(each["name"]).endswith("__c") and each["keyPrefix"]
        )

    # Salesforce ----------------------------------------------------------------------------------

    def _read(self, wanted: Sequence[_Wanted], patience: Patience) -> list[str]:
        """Ask Salesforce, in one call, for what is unknown or too old. Returns notes for the log.

        Where an object has more records than one answer holds, a second call asks for the one.
        """
        notes: list[str] = []
        for _ in range(2):
            due = self._due(wanted, patience.now)
            if not due:
                break
            if not any(lookup.reads_all(patience.now) for lookup, _ in due):
                return notes + self._ask(due, patience)
            # What is only too old is good enough while another thread reads it.
            waits = any(lookup.known(value, patience.now).is_missing for lookup, value in due)
            if not self._reading.acquire(timeout=patience.left() if waits else 0.0):
                break
            try:
                # The other thread may have read it.
                notes += self._ask(self._due(wanted, patience.now), patience)
            finally:
                self._reading.release()
        return notes

    def _due(self, wanted: Sequence[_Wanted], now: float) -> list[_Wanted]:
        due = [(lookup, value) for lookup, value in wanted if lookup.is_due(value, now)]
        if any(lookup.reads_all(now) for lookup, _ in due):
            # So that all of them are read anew in one call every five minutes at most.
            there = {lookup for lookup, _ in due}
            along = (lookup for lookup in self._lookups if lookup.goes_along(now))
            due += [(lookup, None) for lookup in along if lookup not in there]
        return due

    def _ask(self, due: Sequence[_Wanted], patience: Patience) -> list[str]:
        if patience.left() < LEAST_S:
            return []
        now = patience.now
        asked = [(lookup, lookup.question(value, now)) for lookup, value in due]
        answers: list[object] = []
        try:
            for at in range(0, len(asked), QUERIES):
                soql = [question.soql for _, question in asked[at : at + QUERIES]]
                answers += self._org.queries(soql, patience.until)
            answered = list(zip(asked, answers, strict=True))
        except Exception as error:  # noqa: BLE001
            # It is the org that gives no answer: no look-up tries again right away.
            for lookup in self._lookups:
                lookup.pause(error, now)
            return [lookup.unread for lookup, _ in asked]
        notes = [lookup.take(question, answer, now) for (lookup, question), answer in answered]
        return [note for note in notes if note]


def _first(chain: Sequence[_Wanted], now: float) -> _Found:
    """The records that are known by these values, the first of them being sure.

    Behind a look-up without an answer nothing counts, because what it would find comes first. One
    that is switched off is passed over.
    """
    ids: list[str] = []
    notes: list[str] = []
    is_sure = True
    for lookup, value in chain:
        known = lookup.known(value, now)
        if known.is_missing and not ids:
            return _Found((), is_sure=False, notes=(*notes, lookup.unread))
        if known.freshness is Freshness.OFF and not lookup.is_optional:
            is_sure = False
        if len(known.ids) > 1:
            notes.append(f"{lookup.name}: several records have the same value")
        elif known.ids:
            ids += known.ids
    return _Found(tuple(ids), is_sure or bool(ids), tuple(notes))


def _owned(user: _Found) -> Wish:
    owner = user.ids[0] if user.ids else None
    unknown = frozenset[str]() if owner or user.is_sure else frozenset({"OwnerId"})
    return Wish(owner=owner, unknown=unknown, notes=user.notes)
