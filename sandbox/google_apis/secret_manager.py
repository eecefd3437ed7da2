"""Secret Manager's REST API: secrets, their versions, and a `latest` that comes late."""

import base64
from typing import TYPE_CHECKING

from sandbox.google_apis.answers import (
    NUMBER,
    PROJECT,
    Json,
    Refused,
    Request,
    missing,
    refuse_if_there,
    violated,
)

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis


def secretmanager(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for secrets and versions."""
    if request.method == "POST" and path.endswith("/secrets"):
        return _create(google, request)
    if path.endswith("/secrets"):
        return {"secrets": list(google.secrets.values())}
    name, _, rest = path.split("/secrets/")[1].partition("/")
    name, _, verb = name.partition(":")
    if name not in google.secrets:
        raise missing(f"Secret [{name}]")
    if verb == "addVersion":
        google.values[name].append(base64.b64decode(request.body["payload"]["data"]))
        google.late[f"{name}/latest"] = google.late_latest
        number = len(google.values[name])
        return _version(google, name, number) | {"clientSpecifiedPayloadChecksum": True}
    if rest == "versions":
        count = len(google.values[name])
        return {"versions": [_version(google, name, each + 1) for each in range(count)]}
    if rest:
        return _read(google, name, rest.removeprefix("versions/"))
    if request.method == "DELETE":
        del google.values[name]
        google.policies.pop(f"secretmanager/projects/{PROJECT}/secrets/{name}", None)
        return google.secrets.pop(name) and {}
    if request.method == "PATCH":
        google.secrets[name] |= request.body
    return google.secrets[name]


def _create(google: "GoogleApis", request: Request) -> Json:
    name = request.query["secretId"][0]
    refuse_if_there(name, google.secrets)
    if "automatic" in request.body["replication"] and "gcp.resourceLocations" in google.constraints:
        # https://cloud.google.com/resource-manager/docs/organization-policy/defining-locations
        raise violated("gcp.resourceLocations", "attempting to create a secret in [global].")
    google.secrets[name] = {**request.body, "name": f"projects/{PROJECT}/secrets/{name}"}
    google.values[name] = []
    return google.secrets[name]


def _read(google: "GoogleApis", name: str, rest: str) -> Json:
    """Describe or access a version. `latest` is eventually consistent, a number is not.

    https://cloud.google.com/secret-manager/docs/reference/rpc, "consistency"
    """
    which, _, verb = rest.partition(":")
    number = len(google.values[name]) if which == "latest" else int(which)
    if which == "latest" and google.is_late(f"{name}/latest"):
        number -= 1
    if not 1 <= number <= len(google.values[name]):
        raise missing(f"Secret Version [{name}/versions/{which}]")
    version = _version(google, name, number)
    if verb != "access":
        return version
    if version["state"] != "ENABLED":
        message = f"Secret Version [{version['name']}] is in {version['state']} state."
        raise Refused(400, "FAILED_PRECONDITION", message)
    data = base64.b64encode(google.values[name][number - 1]).decode()
    return {"name": version["name"], "payload": {"data": data}}


def _version(google: "GoogleApis", name: str, number: int) -> Json:
    return {
        "name": f"projects/{NUMBER}/secrets/{name}/versions/{number}",
        "state": google.version_states.get(f"{name}/{number}", "ENABLED"),
        "createTime": "2026-11-02T08:30:00Z",
    }
