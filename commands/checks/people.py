"""The people whose time is logged: who is found, and into whose calendars the function may write.

What is tried in somebody else's calendar is taken back within the same call, all or nothing, so
that nobody ever sees it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from clockify_salesforce.clockify.people import email_address
from clockify_salesforce.salesforce.client import Part
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.checks.events import Events
from commands.checks.findings import Verdict, bad, few, good, told, unknown
from commands.checks.throw_away import deadline
from mapping import EXTERNAL_ID

PEOPLE_OF_A_ROLE, ROLES, PEOPLE_A_CALL = 5, 40, 8
USERS = 2000


@dataclass(frozen=True, slots=True)
class Person:
    """A User of Salesforce's. `role`: an id, "" for none."""

    id: str
    name: str
    email: str | None
    role: str
    is_active: bool
    is_matched: bool


@dataclass(frozen=True, slots=True)
class People:
    """`emails`: of Clockify's people, None where nobody can ask Clockify."""

    events: Events
    emails: frozenset[str] | None

    def at_work(self, users: Sequence[Person]) -> list[Person]:
        """Those whose time is logged: active, and known in Clockify; else everybody active."""
        active = [each for each in users if each.is_active]
        return [each for each in active if self.is_of_clockify(each)] or active

    def users(self) -> list[Person]:
        rows = self.events.org.query(
            "SELECT Id, Name, Email, IsActive, UserRoleId, Clockify_User_Id__c FROM User"
            " WHERE UserType = 'Standard' AND (IsActive = true OR Clockify_User_Id__c != null)"
            f" ORDER BY Name LIMIT {USERS}",
            deadline(),
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
            if row["Id"] != self.events.user_id
        ]

    def is_of_clockify(self, person: Person) -> bool:
        return person.is_matched or (self.emails is not None and person.email in self.emails)

    def matched(self, users: Sequence[Person]) -> Verdict:
        gone = [each.name for each in users if each.is_matched and not each.is_active]
        if gone:
            return bad(
                f"not active, so nobody gets their Events: {few(gone)}",
                "activate the User, or take its Clockify User ID away (Setup > Users)",
            )
        by_id = sum(each.is_matched for each in users)
        by_email = sum(self.is_of_clockify(each) for each in users) - by_id
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

    def calendars(self, people: Sequence[Person]) -> Verdict:
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
                f"{len(names)} of {len(chosen)} cannot be written or edited again: {few(names)}",
                "; ".join(refused),
            )
        return good(
            f"{len(chosen)} of {len(chosen)} can be written and edited again; roles: {len(of_role)}"
        )

    def _refused(self, people: list[Person]) -> list[tuple[Person, SalesforceRefused]]:
        found: list[tuple[Person, SalesforceRefused]] = []
        while people:
            parts = [part for person in people for part in self._calendar_parts(person)]
            try:
                self.events.org.composite(parts, deadline())
                break
            except SalesforceRefused as refusal:
                person_id = refusal.part.split("_")[0]
                blamed = [each for each in people if each.id == person_id]
                if not blamed:
                    raise
                found += [(each, refusal) for each in blamed]
                people = [each for each in people if each.id != person_id]
        return found

    def _calendar_parts(self, person: Person) -> list[Part]:
        what = f"of-{person.id}"
        path = f"sobjects/Event/{EXTERNAL_ID}/{self.events.throw_away.entry_id(what)}"
        body = self.events.new(what)
        return [
            Part(f"{person.id}_make", "PATCH", path, body | {"OwnerId": person.id}),
            Part(f"{person.id}_edit", "PATCH", path, body),
            Part(f"{person.id}_delete", "DELETE", path),
        ]
