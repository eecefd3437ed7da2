"""Who may what, and which APIs are on: projects, billing, service usage, service accounts, IAM."""

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sandbox.google_apis.answers import (
    NUMBER,
    PROJECT,
    Json,
    Refused,
    Request,
    forbidden,
    missing,
    refuse_if_there,
)

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis


def policy(google: "GoogleApis", name: str, request: Request) -> Json:
    """Answer getIamPolicy and setIamPolicy of any resource."""
    resource = re.sub(r"^/v\d\w*/", "", request.path.rsplit(":", 1)[0])
    if "/queues/" in resource and google.is_late("queue"):
        raise missing("Queue")
    if request.path.endswith(":setIamPolicy"):
        _check_members(google, request.body["policy"])
        before = google.policies.get(f"{name}/{resource}", {})
        if "roles/run.builder" in str(request.body) and "roles/run.builder" not in str(before):
            google.late["build"] = google.late_builds
        google.policies[f"{name}/{resource}"] = request.body["policy"]
    return google.policies.get(f"{name}/{resource}", {"etag": "BwX=", "version": 1})


def _check_members(google: "GoogleApis", wanted: Json) -> None:
    members = {member for binding in wanted["bindings"] for member in binding["members"]}
    if "allUsers" in members and "iam.allowedPolicyMemberDomains" in google.constraints:
        # https://cloud.google.com/resource-manager/docs/organization-policy/restricting-domains
        message = "One or more users named in the policy do not belong to a permitted customer."
        raise Refused(400, "FAILED_PRECONDITION", message)
    for account in (member.removeprefix("serviceAccount:") for member in members - {"allUsers"}):
        if account not in google.accounts or google.is_late(account):
            raise Refused(400, "INVALID_ARGUMENT", f"Service account {account} does not exist.")


def cloudresourcemanager(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for the project itself, and which rights the caller has in it."""
    if not path.startswith(f"/v1/projects/{PROJECT}"):
        raise forbidden("resourcemanager.projects.get")
    if path.endswith(":testIamPermissions"):
        asked = request.body["permissions"]
        return {"permissions": [right for right in asked if right not in google.denied]}
    return {"projectId": PROJECT, "projectNumber": NUMBER, "lifecycleState": "ACTIVE"}


def cloudbilling(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer whether the project has billing."""
    return {"name": path[4:], "projectId": PROJECT, "billingEnabled": google.billing}


def serviceusage(google: "GoogleApis", request: Request, path: str) -> Json:
    """Enable APIs, and tell which are. A new one refuses its first request all the same."""
    new: set[str] = set()
    if path.endswith(":batchEnable"):
        new = set(request.body["serviceIds"]) - google.enabled
    elif path.endswith(":enable"):
        new = {path.split("/")[-1].split(":")[0]} - google.enabled
    for name in new:
        google.late[name] = google.late_apis
    google.enabled |= new
    if request.method == "POST":
        return {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}
    if path.endswith("/services"):
        return {"services": [_api(name) for name in sorted(google.enabled)]}
    if path.endswith(":batchGet"):
        names = [name.split("/")[-1] for name in request.query["names"]]
        return {"services": [_api(name, name in google.enabled) for name in names]}
    name = path.split("/")[-1]
    return _api(name, name in google.enabled)


def _api(name: str, enabled: bool = True) -> Json:
    return {
        "name": f"projects/{NUMBER}/services/{name}",
        "config": {"name": name, "title": name},
        "state": "ENABLED" if enabled else "DISABLED",
    }


def iam(google: "GoogleApis", request: Request, path: str) -> Json:
    """Make, list and delete service accounts; a new one is not known to policies at once."""
    if request.method == "POST" and path.endswith("/serviceAccounts"):
        email = f"{request.body['accountId']}@{PROJECT}.iam.gserviceaccount.com"
        refuse_if_there(email, google.accounts)
        google.late[email] = google.late_accounts
        google.accounts[email] = {
            "name": f"projects/{PROJECT}/serviceAccounts/{email}",
            "email": email,
            **request.body.get("serviceAccount", {}),
        }
        return google.accounts[email]
    if path.endswith("/serviceAccounts"):
        return {"accounts": list(google.accounts.values())}
    email = unquote(path.split("/")[-1])
    if email not in google.accounts:
        # Not 404, and also to an Owner: `gcloud iam service-accounts describe --help` says so.
        raise forbidden("iam.serviceAccounts.get")
    return google.accounts.pop(email) if request.method == "DELETE" else google.accounts[email]
