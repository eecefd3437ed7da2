"""The user that the function signs in as: its role, licence, permission sets, by the REST API.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_user.htm
"""

import time
from dataclasses import dataclass
from typing import Any

from clockify_salesforce.salesforce.client import Org, quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.salesforce_set_up.told import Told

Json = dict[str, Any]
CALL_S = 120.0
PROFILE = "Minimum Access - API Only Integrations"
LICENCE = "SalesforceAPIIntegrationPsl"
ROLE, ROLE_LABEL = "Clockify_Integration", "Clockify Integration"
DOCS = "docs/salesforce.md"


@dataclass(slots=True)
class Directory:
    """Users, roles and permission sets of the org. `org`: as an admin."""

    org: Org
    told: Told

    def admin(self, username: str) -> Json:
        """The signed-in admin's User, whose time zone and language the new one gets."""
        (user,) = self._query(
            "SELECT Id, Email, TimeZoneSidKey, LocaleSidKey, LanguageLocaleKey FROM User"
            f" WHERE Username = {quoted(username)}"
        )
        return user

    def user_id(self, username: str) -> str:
        """The id of an active user, "" where there is none."""
        rows = self._query("SELECT Id, IsActive FROM User WHERE Username =" + quoted(username))
        return str(rows[0]["Id"]) if rows and rows[0]["IsActive"] else ""

    # The role ------------------------------------------------------------------------------------

    def role(self, *, yes: bool) -> str:
        """The integration user's own role, above all others; "" where there is none.

        An Event is edited by its owner and by those above the owner, whoever has made it.
        https://help.salesforce.com/s/articleView?id=platform.admin_roles.htm
        """
        roles = self._query(
            "SELECT Id, Name, DeveloperName, ParentRoleId FROM UserRole WHERE PortalType = 'None'"
        )
        own = next((each for each in roles if each["DeveloperName"] == ROLE), None)
        role_id = str(own["Id"]) if own else self._new_role()
        tops = [
            each for each in roles if not each["ParentRoleId"] and each["DeveloperName"] != ROLE
        ]
        if own and own["ParentRoleId"]:
            self.told.refused(
                f"the role {ROLE_LABEL} lies below another one",
                f"move it to the top: Setup > Roles > {ROLE_LABEL}",
            )
        elif tops and role_id:
            self._move_below(role_id, tops, yes=yes)
        elif own:
            self.told.is_there(f"role {ROLE_LABEL}: is there, above all others")
        return role_id

    def _new_role(self) -> str:
        if self.told.dry_run:
            self.told.changed(f"role {ROLE_LABEL}, new")
            return "new"
        try:
            role = self._create("UserRole", {"Name": ROLE_LABEL, "DeveloperName": ROLE})
        except SalesforceRefused as refusal:
            self.told.refused(
                f"the role {ROLE_LABEL} is refused: {refusal.code}",
                f"make it at the top: Setup > Roles > Add Role, named {ROLE}; then run this again",
            )
            return ""
        self.told.changed(f"role {ROLE_LABEL}, new")
        return role

    def _move_below(self, role_id: str, tops: list[Json], *, yes: bool) -> None:
        names = ", ".join(str(each["Name"]) for each in tops[:8]) + " …" * (len(tops) > 8)
        todo = f"put {names} below it: Setup > Roles > Edit > This role reports to: {ROLE_LABEL}"
        if self.told.dry_run:
            self.told.changed(f"{names}: below {ROLE_LABEL}, after asking")
            return
        question = (
            f"Put the topmost roles ({names}) below the new one? Nobody else gets a right by it."
        )
        if not self.told.agrees(question, yes=yes):
            self.told.refused("the topmost roles are not below it", f"{todo}; or --yes")
            return
        for each in tops:
            try:
                self._update("UserRole", str(each["Id"]), {"ParentRoleId": role_id})
                self.told.changed(f"role {each['Name']}: below {ROLE_LABEL}")
            except SalesforceRefused as refusal:
                self.told.refused(f"{each['Name']} stays at the top: {refusal.code}", todo)

    # The user ------------------------------------------------------------------------------------

    def integration_user(self, username: str, email: str, role: str, admin: Json) -> str:
        """The integration user's id, "" where it could not be made."""
        rows = self._query(
            f"SELECT Id, IsActive, UserRoleId FROM User WHERE Username = {quoted(username)}"
        )
        if not rows:
            return self._new_user(username, email, role, admin)
        user = rows[0]
        wanted: Json = {} if user["IsActive"] else {"IsActive": True}
        if role and user["UserRoleId"] != role:
            wanted["UserRoleId"] = role
        if not wanted:
            self.told.is_there(f"user {username}: is there")
            return str(user["Id"])
        try:
            if not self.told.dry_run:
                self._update("User", str(user["Id"]), wanted)
            self.told.changed(f"user {username}: {' and '.join(wanted)}")
        except SalesforceRefused as refusal:
            self._refused_role(refusal)
        return str(user["Id"])

    def _new_user(self, username: str, email: str, role: str, admin: Json) -> str:
        profiles = self._query(f"SELECT Id FROM Profile WHERE Name = {quoted(PROFILE)}")
        if not profiles:
            self.told.refused(
                f"the org has no profile {PROFILE!r}",
                "it comes with the licence Salesforce Integration (Enterprise, Performance,"
                f" Unlimited, Developer): Setup > Company Information, and {DOCS}, step 3",
            )
            return ""
        if self.told.dry_run:
            self.told.changed(f"user {username}, new")
            return "new"
        user = {
            "Username": username,
            "LastName": "Clockify Integration",
            "Alias": "clockify",
            "Email": email,
            "ProfileId": profiles[0]["Id"],
            "EmailEncodingKey": "UTF-8",
            **{
                name: admin[name]
                for name in ("TimeZoneSidKey", "LocaleSidKey", "LanguageLocaleKey")
            },
        }
        try:
            return self._made(username, user, role)
        except SalesforceRefused as refusal:
            self.told.refused(
                f"the user is refused: {refusal.code}", _USER.get(refusal.code, _BY_HAND)
            )
        return ""

    def _made(self, username: str, user: Json, role: str) -> str:
        """Make the user; without its role where the licence may not have one. Raises."""
        try:
            made = self._create("User", user | ({"UserRoleId": role} if role else {}))
        except SalesforceRefused as refusal:
            if not role or refusal.code in _USER:
                raise
            made = self._create("User", user)
            self._refused_role(refusal)
        self.told.changed(f"user {username}, new")
        return made

    def _refused_role(self, refusal: SalesforceRefused) -> None:
        self.told.refused(
            f"the user may not have the role: {refusal.code}",
            "give it a full Salesforce licence and a profile with API Only User, then the role"
            f" {ROLE_LABEL}: Setup > Users; the check then tells whose Events it may edit",
        )

    # What it may ---------------------------------------------------------------------------------

    def licence(self, user: str) -> bool:
        """Assign the licence without which the permission set is refused."""
        found = self._query(
            f"SELECT Id FROM PermissionSetLicense WHERE DeveloperName = {quoted(LICENCE)}"
        )
        if not found:
            self.told.refused(
                f"the org has no permission set licence {LICENCE}",
                "Setup > Company Information > Permission Set Licenses shows what there is",
            )
            return False
        pair = {"PermissionSetLicenseId": str(found[0]["Id"]), "AssigneeId": user}
        return self._assign("PermissionSetLicenseAssign", pair, f"licence {LICENCE}")

    def has(self, permission_set: str) -> bool:
        """Whether the org has a permission set of this name."""
        soql = f"SELECT Id FROM PermissionSet WHERE Name = {quoted(permission_set)}"
        return bool(self._query(soql))

    def permission_set(self, name: str, user: str, whom: str) -> bool:
        """Assign one of the project's permission sets."""
        found = self._query(f"SELECT Id FROM PermissionSet WHERE Name = {quoted(name)}")
        if not found:
            if self.told.dry_run:
                self.told.changed(f"permission set {name}: assigned to {whom}")
                return True
            self.told.refused(f"there is no permission set {name}", "mend its deployment, above")
            return False
        pair = {"PermissionSetId": str(found[0]["Id"]), "AssigneeId": user}
        return self._assign("PermissionSetAssignment", pair, f"permission set {name}, {whom}")

    def _assign(self, kind: str, pair: dict[str, str], what: str) -> bool:
        which = " AND ".join(f"{name} = {quoted(value)}" for name, value in pair.items())
        if pair["AssigneeId"] != "new" and self._query(f"SELECT Id FROM {kind} WHERE {which}"):
            self.told.is_there(f"{what}: is there")
            return True
        if self.told.dry_run:
            self.told.changed(what)
            return True
        try:
            self._create(kind, pair)
        except SalesforceRefused as refusal:
            if refusal.code != "DUPLICATE_VALUE":
                self.told.refused(
                    f"{what}: {refusal.code}",
                    f"Setup > Users > the user > assign it there: {pair[kind_id(pair)]}",
                )
                return False
        self.told.changed(what)
        return True

    def take_away(self, username: str, admin: str) -> None:
        """Take the assignments away and deactivate the user; a user cannot be deleted."""
        self.take_sets_away(username, admin, "Clockify_")
        rows = self._query(f"SELECT Id, IsActive FROM User WHERE Username = {quoted(username)}")
        for user in rows:
            if user["IsActive"]:
                if not self.told.dry_run:
                    self._update("User", str(user["Id"]), {"IsActive": False})
                self.told.changed(f"user {username}: deactivated")

    def take_sets_away(self, username: str, admin: str, beginning: str) -> None:
        """Take the permission sets whose names begin so away from the user and from the admin."""
        rows = self._query(f"SELECT Id FROM User WHERE Username = {quoted(username)}")
        users = [str(each["Id"]) for each in rows] + [admin]
        listed = ", ".join(map(quoted, users))
        sets = self._query(f"SELECT Id, Name FROM PermissionSet WHERE Name LIKE '{beginning}%'")
        for permission_set in sets:
            own = quoted(str(permission_set["Id"]))
            which = f"PermissionSetId = {own} AND AssigneeId IN ({listed})"
            for each in self._query(f"SELECT Id FROM PermissionSetAssignment WHERE {which}"):
                if not self.told.dry_run:
                    self._delete("PermissionSetAssignment", str(each["Id"]))
                self.told.changed(f"permission set {permission_set['Name']}: taken away")

    # REST ----------------------------------------------------------------------------------------

    def _query(self, soql: str) -> list[Json]:
        return self.org.query(soql, _deadline())

    def _create(self, name: str, values: Json) -> str:
        answer = self.org.call("POST", f"sobjects/{name}", _deadline(), json=values)
        return str(answer["id"])

    def _update(self, name: str, record_id: str, values: Json) -> None:
        self.org.call("PATCH", f"sobjects/{name}/{record_id}", _deadline(), json=values)

    def _delete(self, name: str, record_id: str) -> None:
        self.org.call("DELETE", f"sobjects/{name}/{record_id}", _deadline())


def kind_id(pair: dict[str, str]) -> str:
    """The name of what is assigned."""
    return next(name for name in pair if name != "AssigneeId")


_BY_HAND = f"make the user by hand ({DOCS}, step 3), then run this again with --username"
_USER = {
    "LICENSE_LIMIT_EXCEEDED": "no licence Salesforce Integration is free: deactivate a user who has"
    " one (Setup > Company Information > User Licenses), or name a user that is there: --username",
    "DUPLICATE_USERNAME": "somebody else in the world has this username: choose one, --username",
}


def _deadline() -> float:
    return time.monotonic() + CALL_S
