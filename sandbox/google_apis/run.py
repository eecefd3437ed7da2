"""From source to a running function: Cloud Storage, Artifact Registry, Cloud Build, Cloud Run."""

import base64
import hashlib
import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

from sandbox.google_apis.answers import (
    BUILDER,
    NUMBER,
    PROJECT,
    REGION,
    Json,
    Refused,
    Request,
    missing,
    refuse_if_there,
)

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis

REPOSITORY = f"projects/{PROJECT}/locations/{REGION}/repositories/cloud-run-source-deploy"
MAY_BUILD = ("roles/editor", "roles/owner", "roles/run.builder", "roles/cloudbuild.builds.builder")
OPEN = "run.googleapis.com/invoker-iam-disabled"


def storage(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for buckets."""
    if path.endswith("/b"):
        if request.method == "POST":
            google.buckets.add(request.body["name"])
            return {"name": request.body["name"]}
        return {"items": [{"name": name, "id": name} for name in sorted(google.buckets)]}
    bucket = path.split("/b/")[1].split("/")[0]
    if bucket not in google.buckets:
        raise missing(f"bucket {bucket}")
    return {"name": bucket, "projectNumber": NUMBER, "location": REGION.upper()}


def upload(google: "GoogleApis", path: str, query: dict[str, list[str]], body: bytes) -> Json:
    """Take an archive of sources and return the object that Cloud Storage would make of it."""
    content = body
    if body.startswith(b"--"):  # multipart/related: the object's JSON, then its bytes
        boundary = body[: body.index(b"\n")].strip()
        start = min(
            body.index(magic) for magic in (b"PK\x03\x04", b"\x1f\x8b\x08") if magic in body
        )
        content = body[start : body.rindex(b"\n" + boundary)]
    if content.startswith(b"PK"):  # `builds submit` sends a tarball of the same
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            google.uploads.append({name: archive.read(name) for name in names})
    return {
        "bucket": path.split("/b/")[1].split("/")[0],
        "name": query.get("name", ["source.zip"])[0],
        "generation": "1",
        "size": str(len(content)),
        "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
    }


def artifactregistry(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for the repository of images and the packages in it."""
    done: Json = {"done": True, "response": {"name": REPOSITORY}}
    if request.method == "POST" and path.endswith("/repositories"):
        google.repositories.add(request.query["repositoryId"][0])
        return {"name": f"projects/{PROJECT}/locations/{REGION}/operations/1", **done}
    if "/operations/" in path:
        return {"name": path[4:], **done}
    if "/packages/" in path:
        name = path.split("/")[-1]
        if name not in google.packages:
            raise missing("Package")
        if request.method == "DELETE":
            google.packages.remove(name)
            return {"name": f"projects/{PROJECT}/locations/{REGION}/operations/2", **done}
        return {"name": path[4:]}
    if path.split("/")[-1] not in google.repositories:
        raise missing("Repository")
    return {"name": path[4:], "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}


def cloudbuild(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for builds, and whose account makes them."""
    if path.endswith("/defaultServiceAccount"):
        return {"name": path[4:], "serviceAccountEmail": google.accounts[BUILDER]["name"]}
    if request.method == "POST":
        account = request.body.get("serviceAccount", BUILDER).split("/")[-1]
        _check_builder(google, account)
        google.builds.append(request.body)
        google.packages.add(request.body["steps"][0]["args"][2].split("/")[-1])
        return {"name": "operations/build/1", "metadata": {"build": _build(google)}}
    if "/operations/" in path:
        if google.build_fails:
            return {
                "name": path[4:],
                "done": True,
                "metadata": {"build": _build(google)},
                "error": {"code": 2, "message": "Build failed; check build logs for details"},
            }
        return {"name": path[4:], "done": True, "response": _build(google)}
    return _build(google)


def _build(google: "GoogleApis") -> Json:
    return {
        "name": f"projects/{NUMBER}/locations/{REGION}/builds/b1",
        "id": "b1",
        "projectId": PROJECT,
        "status": "FAILURE" if google.build_fails else "SUCCESS",
        "logUrl": "https://console.cloud.google.com/b1",
        "results": {"images": [{"name": "image", "digest": "sha256:" + "0" * 64}]},
    }


def _check_builder(google: "GoogleApis", account: str) -> None:
    """Refuse a build whose account is switched off or may not read the sources, or not yet."""
    if google.accounts.get(account, {"disabled": True}).get("disabled"):
        message = f"could not resolve source: service account {account} is disabled."
        raise Refused(400, "FAILED_PRECONDITION", message)
    bindings = google.policies.get(f"cloudresourcemanager/projects/{PROJECT}", {})
    may = any(
        f"serviceAccount:{account}" in binding["members"] and binding["role"] in MAY_BUILD
        for binding in bindings.get("bindings", [])
    )
    if not may or google.is_late("build"):
        raise Refused(
            400,
            "INVALID_ARGUMENT",
            f"Invalid build request. could not resolve source: googleapi: Error 403: {account} does"
            " not have storage.objects.get access to the Google Cloud Storage object. Permission"
            " 'storage.objects.get' denied on resource (or it may not exist)., forbidden",
        )


def run(google: "GoogleApis", request: Request, path: str) -> Any:
    """Answer for services, jobs, and builds that Cloud Run submits."""
    if path.endswith("/builds:submit"):
        _check_builder(google, request.body.get("serviceAccount", BUILDER).split("/")[-1])
        google.packages.add(request.body["imageUri"].split("/")[-1])
        name = f"projects/{PROJECT}/locations/{REGION}/operations/b1"
        return {
            "buildOperation": {"name": name, "metadata": {"build": _build(google)}},
            "baseImageUri": f"{REGION}-docker.pkg.dev/serverless-runtimes/google-22/python313",
        }
    if path.endswith("/locations"):
        return {"locations": [{"locationId": REGION}]}
    kept = google.jobs if "/jobs" in path else google.services
    if request.method == "GET" and path.endswith("/jobs"):
        return {"items": list(kept.values())}
    name = path.split("/")[-1]
    if request.method == "POST":
        name = request.body["metadata"]["name"]
        refuse_if_there(name, kept)
    elif name not in kept:
        raise missing(f"Resource '{name}'")
    if request.method == "DELETE":
        del kept[name]
        return {"status": "Success"}
    if request.method in ("POST", "PUT"):
        _check_openness(google, request.body)
        kept[name] = _deployed(name, request.body, is_service=kept is google.services)
    return kept[name]


def _check_openness(google: "GoogleApis", body: Json) -> None:
    """Refuse what constraints/run.managed.requireInvokerIam forbids.

    https://cloud.google.com/run/docs/securing/managing-access#invoker_check
    """
    is_open = str(body["metadata"].get("annotations", {}).get(OPEN, "")).lower() == "true"
    if is_open and "run.managed.requireInvokerIam" in google.constraints:
        message = "metadata.annotations: invoker_iam_disabled is not currently available."
        raise Refused(400, "INVALID_ARGUMENT", message)


def _deployed(name: str, body: Json, *, is_service: bool) -> Json:
    conditions = [{"type": "Ready", "status": "True"}]
    if is_service:
        conditions += [
            {"type": "ConfigurationsReady", "status": "True"},
            {"type": "RoutesReady", "status": "True"},
        ]
    url = f"https://{name}-{NUMBER}.{REGION}.run.app"
    return {
        **body,
        "metadata": {**body["metadata"], "generation": 1, "namespace": NUMBER},
        "status": {
            "observedGeneration": 1,
            "conditions": conditions,
            "latestReadyRevisionName": f"{name}-00001",
            "latestCreatedRevisionName": f"{name}-00001",
            "url": url,
            "address": {"url": url},
            "traffic": [{"revisionName": f"{name}-00001", "percent": 100}],
        },
    }


def call_function(google: "GoogleApis", host: str, headers: dict[str, str]) -> int:
    """Return the HTTP status of a stranger's request.

    403 is Google's own where the service is not open to the internet; 503 the function's where it
    has no signing secrets to read.
    """
    google.function_calls.append(headers)
    name = re.sub(rf"-{NUMBER}\..*", "", host)
    if name not in google.services:
        return 404
    annotations = google.services[name]["metadata"].get("annotations", {})
    policy = google.policies.get(
        f"run/projects/{PROJECT}/locations/{REGION}/services/{name}", {"bindings": []}
    )
    if str(annotations.get(OPEN, "")).lower() != "true" and "allUsers" not in str(policy):
        return 403
    return 401 if google.values.get(f"{name}-signing-secrets") else 503
