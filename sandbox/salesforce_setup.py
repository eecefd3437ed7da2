"""Stand in for an org as its admin meets it with `sf`: deployments, users, roles, licences, apps.

It refuses what Salesforce refuses: a report on fields that nobody sees yet, a permission set whose
licence is missing, a role that a licence may not have, an app where the org has not opted in, a new
app's sign-in for a while. What nobody knows it can do either way.
https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_rest_deploy.htm
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import jwt
from cryptography import x509

from sandbox import soql
from sandbox.internet import Answer, Request
from sandbox.salesforce import ADMIN_ID, HOST, SalesforceOrg
from sandbox.salesforce.faults import Refusal
from sandbox.salesforce.records import with_checksum

ORG_ID, ADMIN = "00DKj0000000001MAA", "ada@acme.example"
TOKEN = "00DKj0000000001!AQ.the-admins-own-session"
PROFILE = "Minimum Access - API Only Integrations"
LICENCE = "SalesforceAPIIntegrationPsl"
_XML = {"m": "http://soap.sforce.com/2006/04/metadata"}
_PREFIXES = {
    "User": "005",
    "UserRole": "00E",
    "PermissionSet": "0PS",
    "PermissionSetAssignment": "0Pa",
    "PermissionSetLicense": "0PL",
    "PermissionSetLicenseAssign": "2LA",
}
_APP = "ExternalClientApplication"
# Types of which one and the same name is usual, and their folders.
_FOLDERS = {
    _APP: "externalClientApps",
    "ExtlClntAppGlobalOauthSettings": "extlClntAppGlobalOauthSets",
    "ExtlClntAppOauthSettings": "extlClntAppOauthSettings",
    "ExtlClntAppOauthConfigurablePolicies": "extlClntAppOauthPolicies",
    "ExtlClntAppConfigurablePolicies": "extlClntAppPolicies",
    "CustomField": "objects",
    "CustomObject": "objects",
    "Report": "reports",
    "Dashboard": "dashboards",
    "PermissionSet": "permissionsets",
    "CustomTab": "tabs",
}

Json = dict[str, Any]
Key = tuple[str, str]  # type and full name of a component


@dataclass
class SalesforceSetup:
    """One org's Setup. `org`: what the integration user then works with."""

    org: SalesforceOrg
    # What this org refuses.
    integration_licences: int = 5
    takes_roles: bool = True  # for users with the integration licence: nobody says
    takes_external_apps: bool = True  # it has opted in
    takes_another_key: bool = True  # a consumer key in place of the one that is there: nobody says
    refuses: dict[str, str] = field(default_factory=dict)  # a component's name -> why
    late: int = 0  # sign-ins before a new app is known

    def __post_init__(self) -> None:
        self.components: dict[Key, bytes] = {}
        self.rows: dict[str, dict[str, Json]] = {name: {} for name in _PREFIXES}
        self.rows["Profile"] = {
            "00eKj000000Prof1IAA": {"Id": "00eKj000000Prof1IAA", "Name": PROFILE}
        }
        self.rows["Organization"] = {ORG_ID: _organization()}
        self.requests: list[tuple[str, str]] = []
        self.deployments: dict[str, Json] = {}
        self.writes = 0
        self._numbers = 0
        self._not_yet = 0
        self.insert(
            "User",
            Id=ADMIN_ID,
            Username=ADMIN,
            Email=ADMIN,
            IsActive=True,
            TimeZoneSidKey="Europe/Berlin",
            LocaleSidKey="de_DE",
            LanguageLocaleKey="en_US",
            UserRoleId=None,
        )
        self.insert("PermissionSetLicense", DeveloperName=LICENCE)
        for name in ("CEO", "Sales"):
            self.insert(
                "UserRole", Name=name, DeveloperName=name, ParentRoleId=None, PortalType="None"
            )

    def insert(self, name: str, **values: Any) -> str:
        """Make a row, and return its id."""
        self._numbers += 1
        made = with_checksum(f"{_PREFIXES[name]}Kj{self._numbers:010d}")
        record_id = str(values.setdefault("Id", made))
        self.rows[name][record_id] = values
        return record_id

    def find(self, name: str, **values: Any) -> Json | None:
        """The row that has these values."""
        rows = self.rows[name].values()
        return next((each for each in rows if values.items() <= each.items()), None)

    # HTTP ----------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Answer:
        """Answer the admin, and let the org answer everybody else."""
        path = re.sub(r"^/+", "/", request.path)
        if path.startswith("/services/oauth2/token"):
            return self._sign_in(request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return await self.org.answer(request)
        self.requests.append((request.method, path))
        if _is_of_the_org(path):
            session: Any = self.org.session(is_admin=True).body
            headers = {**request.headers, "authorization": f"Bearer {session['access_token']}"}
            return await self.org.answer(replace(request, path=path, headers=headers))
        try:
            status, body = self._route(request.method, path, request)
        except Refusal as refusal:
            status, body = refusal.status, [refusal.error]
        return Answer(status, body)

    def _route(self, method: str, path: str, request: Request) -> tuple[int, Any]:
        address = urlsplit(path)
        if address.path == "/services/oauth2/userinfo":
            return 200, {
                "user_id": ADMIN_ID,
                "organization_id": ORG_ID,
                "preferred_username": ADMIN,
            }
        if address.path.rstrip("/") == "/services/data":
            return 200, [{"label": "Winter", "url": "/services/data/v65.0", "version": "65.0"}]
        parts = [unquote(part) for part in address.path.strip("/").split("/")[3:]]
        match method, parts:
            case "GET", []:
                return 200, {"identity": f"https://{HOST}/id/{ORG_ID}/{ADMIN_ID}"}
            case "GET", ["query"]:
                return 200, self._query(parse_qs(address.query)["q"][0])
            case "POST", ["metadata", "deployRequest"]:
                return 201, self._deploy(request)
            case "GET", ["metadata", "deployRequest", deployment]:
                return 200, self.deployments[deployment]
            case _, ["sobjects", name, *at] if name in _PREFIXES:
                return self._record(method, name, at, request.body)
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")

    def _query(self, text: str) -> Json:
        # Developer hubs only, which no such org is.
        if "ScratchOrgInfo" in text:
            raise Refusal(400, "INVALID_TYPE", "sObject type 'ScratchOrgInfo' is not supported.")
        query = soql.parse(text)
        rows = [
            {"attributes": {"type": query.object}} | {each: row.get(each) for each in query.fields}
            for row in self.rows[query.object].values()
            if query.where(row)
        ]
        return {"totalSize": len(rows), "done": True, "records": rows}

    def _record(self, method: str, name: str, at: list[str], body: bytes) -> tuple[int, Any]:
        rows = self.rows[name]
        if method == "GET":
            return 200, {"attributes": {"type": name}, **rows[at[0]]}
        self.writes += 1
        if method == "DELETE":
            del rows[at[0]]
            if name == "PermissionSetAssignment":
                self._tell_the_org()
            return 204, None
        values = json.loads(body)
        if method == "PATCH":
            if name == "User":
                self._check_user({**rows[at[0]], **values})
            rows[at[0]] |= values
            return 204, None
        check: Callable[[Json], None] | None = {
            "User": self._check_user,
            "PermissionSetAssignment": self._check_assignment,
        }.get(name)
        if check:
            check(values)
        if name == "User":
            values = {"IsActive": True, "UserRoleId": None, **values}
        if name == "UserRole":
            values = {"ParentRoleId": None, "PortalType": "None", **values}
        made = self.insert(name, **values)
        if name == "PermissionSetAssignment":
            self._tell_the_org()
        return 201, {"id": made, "success": True, "errors": []}

    def _check_user(self, user: Json) -> None:
        others = [each for each in self.rows["User"].values() if each.get("Id") != user.get("Id")]
        if any(each["Username"] == user["Username"] for each in others):
            raise Refusal(400, "DUPLICATE_USERNAME", "Duplicate Username.", "Username")
        integrations = [each for each in others if each.get("ProfileId") and each["IsActive"]]
        if user.get("ProfileId") and len(integrations) >= self.integration_licences:
            raise Refusal(400, "LICENSE_LIMIT_EXCEEDED", "License Limit Exceeded", "IsActive")
        if user.get("ProfileId") and user.get("UserRoleId") and not self.takes_roles:
            message = "This user license can't have a role."
            raise Refusal(400, "FIELD_INTEGRITY_EXCEPTION", message, "UserRoleId")

    def _check_assignment(self, pair: Json) -> None:
        name = self.rows["PermissionSet"][pair["PermissionSetId"]]["Name"]
        user = self.rows["User"][pair["AssigneeId"]]
        has = self.find("PermissionSetLicenseAssign", AssigneeId=pair["AssigneeId"])
        if name == "Clockify_Integration" and user.get("ProfileId") and not has:
            # The profile's licence alone holds none of the set's permissions.
            message = "Can't assign permission set to user: license"
            raise Refusal(400, "FIELD_INTEGRITY_EXCEPTION", message)

    # Deployments ---------------------------------------------------------------------------------

    def _deploy(self, request: Request) -> Json:
        """All or nothing: what is not refused is there when the next question comes."""
        options, archive = _parts(request)
        done: list[Json] = []
        failed: list[Json] = []
        added, removed = _components(archive)
        for key, content in added.items():
            why = self._refused(key, added)
            changed = self.components.get(key) != content
            (failed if why else done).append(_message(key, why, changed=changed, deleted=False))
        for key in removed:
            there = key in self.components
            done.append(_message(key, "", changed=there, deleted=there))
        if not failed and not options.get("checkOnly"):
            self._keep(added, removed)
        self._numbers += 1
        deployment = f"0AfKj{self._numbers:010d}AAA"
        result = {
            "id": deployment,
            "done": True,
            "status": "Failed" if failed else "Succeeded",
            "success": not failed,
            "checkOnly": bool(options.get("checkOnly")),
            "rollbackOnError": True,
            "numberComponentsDeployed": len(done),
            "numberComponentsTotal": len(done) + len(failed),
            "numberComponentErrors": len(failed),
            "numberTestsCompleted": 0,
            "numberTestsTotal": 0,
            "numberTestErrors": 0,
            "details": {
                "componentSuccesses": done,
                "componentFailures": failed,
                "runTestResult": {"numFailures": 0, "numTestsRun": 0, "totalTime": 0},
            },
        }
        self.deployments[deployment] = {"id": deployment, "deployResult": result}
        return {"id": deployment, "deployResult": {**result, "done": False, "status": "Pending"}}

    def _keep(self, added: dict[Key, bytes], removed: list[Key]) -> None:
        changed = {key: each for key, each in added.items() if self.components.get(key) != each}
        self.writes += len(changed) + sum(key in self.components for key in removed)
        if any(kind == "ExtlClntAppGlobalOauthSettings" for kind, _ in changed):
            self._not_yet = self.late
        self.components |= added
        for kind, name in removed:
            self.components.pop((kind, name), None)
            if kind == "CustomObject":  # with all that it consists of
                own = [
                    key for key in self.components if key[1].startswith((f"{name}.", f"{name}-"))
                ]
                for key in own:
                    del self.components[key]
        for kind, name in changed:
            if kind == "PermissionSet" and not self.find("PermissionSet", Name=name):
                self.insert("PermissionSet", Name=name)
        self._tell_the_org()
        if ("CustomObject", "Clockify_Project__c") in removed:
            self.org.withdraw("data")
        for kind, name in removed:
            if kind == "PermissionSet" and (row := self.find("PermissionSet", Name=name)):
                del self.rows["PermissionSet"][row["Id"]]

    def _tell_the_org(self) -> None:
        """Let the org have main/data where it is deployed, for whom it is assigned to."""
        if ("CustomObject", "Clockify_Project__c") not in self.components:
            return
        row = self.find("PermissionSet", Name="Clockify_Data")
        users = [user["Id"] for user in self.rows["User"].values() if user.get("ProfileId")]
        assigned = row is not None and any(
            self.find("PermissionSetAssignment", PermissionSetId=row["Id"], AssigneeId=user)
            for user in users
        )
        self.org.assign("Clockify_Integration", *(("Clockify_Data",) if assigned else ()))
        self.org.deploy("data", assign=())

    def _refused(self, key: Key, added: dict[Key, bytes]) -> str:
        """Why the org does not take a component, "" where it does."""
        kind, name = key
        if name in self.refuses:
            return self.refuses[name]
        if kind in ("Report", "Dashboard") and not name.endswith("/") and "/" in name:
            is_data = name.startswith("Clockify_Data/")
            if not self._admin_sees("Clockify_Data_Reader" if is_data else "Clockify_Admin"):
                return "field: Invalid value specified: Activity.Clockify_Hours__c"
        if kind == _APP and not self.takes_external_apps:
            return "External Client Apps aren't enabled for this organization"
        if kind == "ExtlClntAppOauthConfigurablePolicies" and not self.find(
            "PermissionSet", Name="Clockify_Integration"
        ):
            return "no PermissionSet named Clockify_Integration found"
        there = self.components.get(key)
        is_key = kind == "ExtlClntAppGlobalOauthSettings" and there is not None
        if is_key and there != added[key] and not self.takes_another_key:
            return "consumerKey: this value can't be changed"
        return ""

    def _admin_sees(self, by: str) -> bool:
        row = self.find("PermissionSet", Name=by)
        return row is not None and bool(
            self.find("PermissionSetAssignment", PermissionSetId=row["Id"], AssigneeId=ADMIN_ID)
        )

    # The function's sign-in ----------------------------------------------------------------------

    def _sign_in(self, request: Request) -> Answer:
        """JWT bearer, as the deployed app allows it.

        https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm
        """
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        app = self.components.get(("ExtlClntAppGlobalOauthSettings", "Clockify"))
        if app is None:
            return _no("invalid_client_id", "client identifier invalid")
        if self._not_yet:
            self._not_yet -= 1
            return _no("invalid_client", "app must be installed into org")
        tree = ElementTree.fromstring(app)
        certificate = x509.load_pem_x509_certificate(_text(tree, "certificate").encode())
        try:
            claims = jwt.decode(
                form["assertion"],
                certificate.public_key(),  # type: ignore[arg-type]
                ["RS256"],
                audience="https://login.salesforce.com",
                issuer=_text(tree, "consumerKey"),
            )
        except jwt.InvalidIssuerError:
            return _no("invalid_client_id", "client identifier invalid")
        except jwt.InvalidTokenError:
            return _no("invalid_grant", "invalid assertion")
        user = self.find("User", Username=claims.get("sub"), IsActive=True)
        row = self.find("PermissionSet", Name="Clockify_Integration")
        may = (
            user
            and row
            and self.find(
                "PermissionSetAssignment", PermissionSetId=row["Id"], AssigneeId=user["Id"]
            )
        )
        if not may:
            return _no("invalid_grant", "user hasn't approved this consumer")
        return self.org.session()


def _is_of_the_org(path: str) -> bool:
    """Whether it is about records, and not about Setup: as the match of people reads and writes."""
    return "_Id__c" in path or "composite" in path


def _organization() -> Json:
    return {
        "Id": ORG_ID,
        "Name": "Acme",
        "InstanceName": "EU1",
        "IsSandbox": False,
        "TrialExpirationDate": None,
        "NamespacePrefix": None,
        "OrganizationType": "Enterprise Edition",
    }


def _parts(request: Request) -> tuple[Json, zipfile.ZipFile]:
    """The deployment's options, and the zip file of what is deployed."""
    boundary = request.headers["content-type"].split("boundary=")[1].encode()
    options: Json = {}
    archive = b""
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            archive = content.removesuffix(b"\r\n")
        elif b'name="entity_content"' in head:
            options = json.loads(content)["deployOptions"]
    return options, zipfile.ZipFile(io.BytesIO(archive))


def _components(archive: zipfile.ZipFile) -> tuple[dict[Key, bytes], list[Key]]:
    """What the archive's manifests add, each with its content, and what they remove."""
    added: dict[Key, bytes] = {}
    removed: list[Key] = []
    files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    for path, content in files.items():
        name = path.rsplit("/", 1)[-1]
        if name == "package.xml":
            for kind, member in _members(content):
                added[kind, member] = _content(files, kind, member)
        elif name.startswith("destructiveChanges"):
            removed += _members(content)
    return added, removed


def _content(files: dict[str, bytes], kind: str, member: str) -> bytes:
    """A component's file; a field's is that of its object."""
    owner = member.split(".")[0].rstrip("/")
    for path, content in files.items():
        if _FOLDERS.get(kind, "") in path and re.search(
            rf"/{re.escape(owner)}\.[A-Za-z]+(-meta\.xml)?$", f"/{path}"
        ):
            return content
    return b""


def _members(manifest: bytes) -> list[Key]:
    tree = ElementTree.fromstring(manifest)
    return [
        (_text(types, "name"), str(member.text))
        for types in tree.findall("m:types", _XML)
        for member in types.findall("m:members", _XML)
    ]


def _message(key: Key, why: str, *, changed: bool, deleted: bool) -> Json:
    kind, name = key
    told: Json = {
        "componentType": kind,
        "fullName": name,
        "fileName": f"{name}.xml",
        "success": not why,
        "changed": changed and not why,
        "created": changed and not why and not deleted,
        "deleted": deleted,
        "createdDate": "2026-01-01T00:00:00.000Z",
    }
    return told | ({"problem": why, "problemType": "Error"} if why else {"id": f"id-of-{name}"})


def _text(tree: ElementTree.Element, tag: str) -> str:
    return tree.findtext(f"m:{tag}", "", _XML)


def _no(error: str, description: str) -> Answer:
    return Answer(400, {"error": error, "error_description": description})
