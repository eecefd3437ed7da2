"""Whether the org is ready for clients, projects, tasks and invoices: a line for each that is used.

A describe an object and one query; nothing is written. What nobody can see so, such as a duplicate
rule that blocks new Accounts, the log tells with the first Account that is refused.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clockify_salesforce.kinds import KINDS
from clockify_salesforce.salesforce.client import Json, Org
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.checks.findings import SET_UP, Findings, Verdict, bad, few, good
from commands.checks.throw_away import deadline

DATA = Path(__file__).resolve().parents[2] / "force-app/main/data/objects"
HOURS = "hours"
# What a kind writes, and what the integration user must be able to do with it.
EDIT, WRITE = ("edit",), ("create", "edit")
OBJECTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **{kind.plural: {kind.target.object: WRITE} for kind in KINDS},
    "clients": {"Account": EDIT},
    "tasks": {"Task": (*WRITE, "delete")},
    "invoices": {"Clockify_Invoice__c": WRITE, "Clockify_Invoice_Line__c": (*WRITE, "delete")},
    HOURS: {"Account": EDIT, "Opportunity": EDIT},
}
CLIENT_ID = "Clockify_Client_Id__c"
_RIGHTS = {"create": "createable", "edit": "updateable", "delete": "deletable"}


@dataclass(slots=True)
class OtherKinds:
    """One org's checks. `creates_accounts`: for a client that has none."""

    org: Org
    findings: Findings
    kinds: tuple[str, ...]
    creates_accounts: bool
    _described: dict[str, Json | None] = field(default_factory=dict)

    def check(self) -> None:
        """Look at each kind, and at the hours where people look."""
        for kind in (*self.kinds, HOURS):
            self.findings.look("salesforce", kind, partial(self._kind, kind))

    def _kind(self, kind: str) -> Verdict:
        again = f"{SET_UP} --with {','.join(self.kinds)}"
        missing, forbidden = self._lacks(kind)
        if missing:
            return bad(
                f"missing, or hidden from the integration user: {few(missing)}",
                f"deploy it and assign the permission set Clockify_Data: {again}",
            )
        if forbidden:
            return bad(
                f"the integration user may not {few(forbidden)}",
                f"assign it the permission set Clockify_Data as it is deployed: {again}",
            )
        more: Mapping[str, Callable[[], Verdict]] = {"clients": self._new_accounts}
        more = {**more, "tasks": self._statuses}
        written = f"the integration user may write {' and '.join(OBJECTS[kind])}"
        return more[kind]() if kind in more else good(written)

    def _lacks(self, kind: str) -> tuple[list[str], list[str]]:
        """What is not there, and what the integration user may not do. Raises as Org.call does."""
        missing, forbidden = [], []
        for name, rights in OBJECTS[kind].items():
            described = self._describe(name)
            if described is None:
                missing.append(name)
                continue
            wanted = {
                *rights,
                *(("create",) if kind == "clients" and self.creates_accounts else ()),
            }
            forbidden += [
                f"{right} {name}" for right in sorted(wanted) if not described[_RIGHTS[right]]
            ]
            known = {str(each["name"]): each for each in described["fields"]}
            for each in _fields(kind, name):
                if each not in known:
                    missing.append(f"{name}.{each}")
                elif not (known[each]["createable"] and known[each]["updateable"]):
                    forbidden.append(f"write {name}.{each}")
        return missing, forbidden

    def _describe(self, name: str) -> Json | None:
        """An object as the integration user sees it, None where it does not."""
        if name not in self._described:
            try:
                answer = self.org.call("GET", f"sobjects/{name}/describe", deadline())
            except SalesforceRefused:
                answer = None
            self._described[name] = answer
        return self._described[name]

    def _new_accounts(self) -> Verdict:
        """Whether an Account can be made of a client's name alone."""
        if not self.creates_accounts:
            return good("an Account that fits gets the client's id; none is made")
        account = self._describe("Account") or {"fields": []}
        required = [
            str(each["name"])
            for each in account["fields"]
            if each["name"] != "Name"
            and each["createable"]
            and not (each["nillable"] or each["defaultedOnCreate"])
        ]
        if required:
            return bad(
                f"Account asks for {few(required)}, and Clockify has only the client's name",
                "give it a default value or make it optional (Setup > Object Manager > Account >"
                " Fields), or take create_accounts out of mapping.toml and run  ./deploy.sh",
            )
        return good("the integration user may write Account, and make one of a client's name")

    def _statuses(self) -> Verdict:
        """https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_taskstatus.htm"""
        rows = self.org.query(
            "SELECT ApiName, IsClosed, IsDefault FROM TaskStatus ORDER BY SortOrder", deadline()
        )
        found: dict[bool, list[Json]] = {False: [], True: []}
        for row in sorted(rows, key=lambda row: row["IsDefault"] is not True):
            found[bool(row["IsClosed"])].append(row)
        lacking = [
            word for closed, word in ((False, "open"), (True, "closed")) if not found[closed]
        ]
        if lacking:
            return bad(
                f"Tasks have no {' and no '.join(lacking)} status",
                "add one: Setup > Object Manager > Task > Fields > Status",
            )
        chosen = {closed: found[closed][0] for closed in found}
        text = f"ACTIVE becomes {chosen[False]['ApiName']!r}, DONE {chosen[True]['ApiName']!r}"
        if not chosen[False]["IsDefault"]:
            return good(text, "no open status is the default one: the first is taken")
        return good(text)


def _fields(kind: str, name: str) -> list[str]:
    """The fields of an object that a kind writes, as they are deployed."""
    if kind == "clients":
        return [CLIENT_ID]
    folder = DATA / ("Activity" if name == "Task" else name) / "fields"
    return sorted(file.name.split(".")[0] for file in folder.glob("*.field-meta.xml"))
