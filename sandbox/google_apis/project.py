"""Stand in for the Google APIs that deploy.sh reaches through gcloud and curl, on loopback.

One HTTP proxy plays the internet: gcloud's endpoints are overridden to http://NAME.test/, which
a proxy sees as absolute URIs, and https hosts come as CONNECT, answered with a throw-away CA.
It keeps what was made, in memory, and records every request. It knows only what deploy.sh needs;
the shapes are those that gcloud 528 sends and accepts.
"""

import base64
import copy
import hashlib
import io
import json
import re
import ssl
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

PROJECT = "demo-proj"
NUMBER = "123456789012"
REGION = "europe-west1"
BUILDER = f"{NUMBER}-compute@developer.gserviceaccount.com"
SERVICES = (
    "secretmanager",
    "iam",
    "serviceusage",
    "cloudtasks",
    "cloudbuild",
    "artifactregistry",
    "cloudresourcemanager",
    "cloudbilling",
    "cloudscheduler",
    "run",
)

# What answers only once it is enabled; the others always do.
GATED = (
    "secretmanager",
    "iam",
    "cloudtasks",
    "cloudbuild",
    "artifactregistry",
    "cloudscheduler",
    "run",
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as it arrived: `host` is the API's name, `body` the JSON or nothing."""

    method: str
    host: str
    path: str
    query: dict[str, list[str]]
    body: Json

    def __str__(self) -> str:
        return f"{self.method} {self.host} {self.path}"


class Refused(Exception):
    """Answer with a Google API error."""

    def __init__(self, status: int, reason: str, message: str = "", details: str = "") -> None:
        super().__init__(reason)
        self.status = status
        error = {"code": status, "message": message or reason, "status": reason}
        if details:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": details, "domain": "googleapis.com"}]
        self.body = {"error": error}


def missing(what: str) -> Refused:
    """Return the error for what is not there."""
    return Refused(404, "NOT_FOUND", f"{what} was not found (NOT_FOUND).")


def disabled(api: str) -> Refused:
    """Return the error of an API that is not enabled in the project."""
    message = f"{api} has not been used in project {NUMBER} before or it is disabled."
    return Refused(403, "PERMISSION_DENIED", message, "SERVICE_DISABLED")


@dataclass
class GoogleApis:
    """The state of one Google Cloud project, and a server that shows it to gcloud."""

    billing: bool = True
    denied: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    accounts: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    values: dict[str, list[bytes]] = field(default_factory=dict)
    queues: dict[str, Json] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)  # names of queues deleted a moment ago
    policies: dict[str, Json] = field(default_factory=dict)
    services: dict[str, Json] = field(default_factory=dict)
    jobs: dict[str, Json] = field(default_factory=dict)
    schedules: dict[str, Json] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    buckets: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    uploads: list[dict[str, bytes]] = field(default_factory=list)  # file name -> content
    requests: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # requests that this stand-in does not know
    failing: list[tuple[str, int]] = field(default_factory=list)
    # how many times a new service account is not known yet where a role is given to it
    unknown_account_answers: int = 0
    function_calls: list[dict[str, str]] = field(default_factory=list)  # their headers
    # host -> answer(method, path, headers, body): other hosts behind the proxy, such as Clockify
    others: dict[str, Callable[[str, str, dict[str, str], bytes], tuple[int, Any, object]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.accounts[BUILDER] = {
            "name": f"projects/{PROJECT}/serviceAccounts/{BUILDER}",
            "email": BUILDER,
        }
        self._authority = trustme.CA()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def twin(self) -> "GoogleApis":
        """Return a project with the same things in it, that has had no request yet."""
        past = ("requests", "failing", "uploads", "function_calls", "others")
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return GoogleApis(**copy.deepcopy({k: v for k, v in state.items() if k not in past}))

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what makes the real gcloud, curl and Python reach this world, signed in."""
        token, bundle = folder / "token", folder / "ca.pem"
        token.write_text("made-up-access-token")
        self._authority.cert_pem.write_to_path(str(bundle))
        return {
            "CLOUDSDK_CONFIG": str(folder / "gcloud"),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
            "CLOUDSDK_PROXY_PORT": str(self.port),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "http://storage.test/storage/v1/",
            **{
                f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"http://{name}.test/"
                for name in SERVICES
            },
            "https_proxy": f"http://127.0.0.1:{self.port}",
            "CURL_CA_BUNDLE": str(bundle),
            "REQUESTS_CA_BUNDLE": str(bundle),
        }

    def call_function(self, host: str, headers: dict[str, str]) -> int:
        """Return the HTTP status of a stranger's request: 503 without signing secrets to read."""
        self.function_calls.append(headers)
        name = host.split(f"-{NUMBER}.")[0]
        if name not in self.services:
            return 404
        return 401 if self.values.get(f"{name}-signing-secrets") else 503

    def certificate(self, host: str) -> ssl.SSLContext:
        """Return a server's TLS context for a host, under the throw-away CA."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    def writes(self) -> list[Request]:
        """Return the requests that change something: neither reads nor questions about rights."""
        reads = (":testIamPermissions", ":getIamPolicy")
        return [
            request
            for request in self.requests
            if request.method != "GET" and not request.path.endswith(reads)
        ]

    def fail(self, pattern: str, status: int = 403) -> None:
        """Answer requests whose 'METHOD host path' matches with this HTTP status, and no others."""
        self.failing = [(pattern, status)]

    def answer(self, request: Request) -> Any:
        """Return the JSON for one request of gcloud, or raise Refused."""
        for pattern, status in self.failing:
            if re.search(pattern, str(request)):
                raise Refused(status, "PERMISSION_DENIED" if status == 403 else "INTERNAL")
        name = request.host.removesuffix(".test").removesuffix(".googleapis.com")
        name = name.removeprefix(f"{REGION}-")
        if name not in (*SERVICES, "storage"):
            self.unknown.append(str(request))
            raise Refused(501, "UNIMPLEMENTED", f"no stand-in for {request}")
        if name in GATED and f"{name}.googleapis.com" not in self.enabled:
            raise disabled(name)
        if request.path.endswith((":getIamPolicy", ":setIamPolicy")):
            return self._policy(name, request)
        answer: Callable[[Request, str], Any] = getattr(self, f"_{name}")
        return answer(request, request.path)

    # --- IAM policies, of any resource ------------------------------------------------------------

    def _policy(self, name: str, request: Request) -> Json:
        resource = re.sub(r"^/v\d\w*/", "", request.path.rsplit(":", 1)[0])
        if request.path.endswith(":setIamPolicy"):
            self._check_members(request.body["policy"])
            self.policies[f"{name}/{resource}"] = request.body["policy"]
        return self.policies.get(f"{name}/{resource}", {"etag": "BwX=", "version": 1})

    def _check_members(self, policy: Json) -> None:
        members = {member for binding in policy["bindings"] for member in binding["members"]}
        for account in (member.removeprefix("serviceAccount:") for member in members):
            late = account != BUILDER and self.unknown_account_answers > 0
            self.unknown_account_answers -= late
            if late or account not in self.accounts:
                raise Refused(400, "INVALID_ARGUMENT", f"Service account {account} does not exist.")

    # --- Project, billing, APIs -------------------------------------------------------------------

    def _cloudresourcemanager(self, request: Request, path: str) -> Json:
        if not path.startswith(f"/v1/projects/{PROJECT}"):
            raise Refused(403, "PERMISSION_DENIED", "or it may not exist")
        if path.endswith(":testIamPermissions"):
            asked = request.body["permissions"]
            return {"permissions": [right for right in asked if right not in self.denied]}
        return {"projectId": PROJECT, "projectNumber": NUMBER, "lifecycleState": "ACTIVE"}

    def _cloudbilling(self, request: Request, path: str) -> Json:
        return {"name": path[4:], "projectId": PROJECT, "billingEnabled": self.billing}

    def _serviceusage(self, request: Request, path: str) -> Json:
        if path.endswith(":batchEnable"):
            self.enabled.update(request.body["serviceIds"])
        elif path.endswith(":enable"):
            self.enabled.add(path.split("/")[-1].split(":")[0])
        if request.method == "POST":
            return {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}
        if path.endswith("/services"):
            return {"services": [_api(name) for name in sorted(self.enabled)]}
        if path.endswith(":batchGet"):
            names = [name.split("/")[-1] for name in request.query["names"]]
            return {"services": [_api(name, name in self.enabled) for name in names]}
        name = path.split("/")[-1]
        return _api(name, name in self.enabled)

    # --- Service accounts -------------------------------------------------------------------------

    def _iam(self, request: Request, path: str) -> Json:
        if request.method == "POST" and path.endswith("/serviceAccounts"):
            email = f"{request.body['accountId']}@{PROJECT}.iam.gserviceaccount.com"
            _new(email, self.accounts)
            self.accounts[email] = {
                "name": f"projects/{PROJECT}/serviceAccounts/{email}",
                "email": email,
                **request.body.get("serviceAccount", {}),
            }
            return self.accounts[email]
        if path.endswith("/serviceAccounts"):
            return {"accounts": list(self.accounts.values())}
        email = unquote(path.split("/")[-1])
        if email not in self.accounts:
            # Not 404, and also to an Owner: `gcloud iam service-accounts describe --help` says so.
            raise Refused(
                403,
                "PERMISSION_DENIED",
                "Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist).",
            )
        return self.accounts.pop(email) if request.method == "DELETE" else self.accounts[email]

    # --- Secret Manager ---------------------------------------------------------------------------

    def _secretmanager(self, request: Request, path: str) -> Json:
        if request.method == "POST" and path.endswith("/secrets"):
            name = request.query["secretId"][0]
            _new(name, self.secrets)
            self.secrets[name] = {
                **request.body,
                "name": f"projects/{PROJECT}/secrets/{name}",
            }
            self.values[name] = []
            return self.secrets[name]
        if path.endswith("/secrets"):
            return {"secrets": list(self.secrets.values())}
        name, _, rest = path.split("/secrets/")[1].partition("/")
        name, _, verb = name.partition(":")
        if name not in self.secrets:
            raise missing(f"Secret [{name}]")
        if verb == "addVersion":
            self.values[name].append(base64.b64decode(request.body["payload"]["data"]))
            return self._version(name) | {"clientSpecifiedPayloadChecksum": True}
        if rest:
            if not self.values[name]:
                raise missing(f"Secret Version [{name}/versions/latest]")
            if rest.endswith(":access"):
                data = base64.b64encode(self.values[name][-1]).decode()
                return {"name": self._version(name)["name"], "payload": {"data": data}}
            return self._version(name)
        if request.method == "DELETE":
            del self.values[name]
            self.policies.pop(f"secretmanager/projects/{PROJECT}/secrets/{name}", None)
            return self.secrets.pop(name) and {}
        return self.secrets[name]

    def _version(self, name: str) -> Json:
        number = len(self.values[name])
        return {
            "name": f"projects/{NUMBER}/secrets/{name}/versions/{number}",
            "state": "ENABLED",
            "createTime": "2026-11-02T08:30:00Z",
        }

    # --- Cloud Tasks, Cloud Scheduler -------------------------------------------------------------

    def _cloudtasks(self, request: Request, path: str) -> Json:
        if path.endswith("/tasks"):
            return {"tasks": []}
        if request.method == "POST" and path.endswith("/queues"):
            queue = {"state": "RUNNING", **request.body}
            name = request.body["name"].split("/")[-1]
            _new(name, self.queues)
            if name not in self.tombstones:
                self.queues[name] = queue
            return queue
        name = path.split("/")[-1]
        if name not in self.queues:
            raise missing("Queue does not exist. Requested entity")
        if request.method == "DELETE":
            return self.queues.pop(name) and {}
        if request.method == "PATCH":
            for key, value in request.body.items():
                if isinstance(value, dict):
                    self.queues[name][key] = self.queues[name].get(key, {}) | value
        return self.queues[name]

    def _cloudscheduler(self, request: Request, path: str) -> Json:
        if request.method == "POST" and path.endswith("/jobs"):
            name = request.body["name"].split("/")[-1]
            _new(name, self.schedules)
            self.schedules[name] = request.body
            return self.schedules[name]
        name = path.split("/")[-1]
        if name not in self.schedules:
            raise missing("Job")
        if request.method == "DELETE":
            return self.schedules.pop(name) and {}
        if request.method == "PATCH":
            self.schedules[name] |= request.body
        return self.schedules[name]

    # --- Source, build, image ---------------------------------------------------------------------

    def _storage(self, request: Request, path: str) -> Json:
        if path.endswith("/b"):
            if request.method == "POST":
                self.buckets.add(request.body["name"])
                return {"name": request.body["name"]}
            return {"items": [{"name": name, "id": name} for name in sorted(self.buckets)]}
        bucket = path.split("/b/")[1].split("/")[0]
        if bucket not in self.buckets:
            raise missing(f"bucket {bucket}")
        return {"name": bucket, "projectNumber": NUMBER, "location": REGION.upper()}

    def upload(self, path: str, query: dict[str, list[str]], body: bytes) -> Json:
        """Take a zip of sources and return the object that Cloud Storage would make of it."""
        content = body
        if body.startswith(b"--"):  # multipart/related: the object's JSON, then its bytes
            boundary = body[: body.index(b"\n")].strip()
            content = body[body.index(b"PK\x03\x04") : body.rindex(b"\n" + boundary)]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.uploads.append({name: archive.read(name) for name in archive.namelist()})
        return {
            "bucket": path.split("/b/")[1].split("/")[0],
            "name": query.get("name", ["source.zip"])[0],
            "generation": "1",
            "size": str(len(content)),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
        }

    def _artifactregistry(self, request: Request, path: str) -> Json:
        if request.method == "POST" and path.endswith("/repositories"):
            self.repositories.add(request.query["repositoryId"][0])
            name = f"projects/{PROJECT}/locations/{REGION}/operations/1"
            made = f"projects/{PROJECT}/locations/{REGION}/repositories/cloud-run-source-deploy"
            return {"name": name, "done": True, "response": {"name": made}}
        if "/operations/" in path:
            made = f"projects/{PROJECT}/locations/{REGION}/repositories/cloud-run-source-deploy"
            return {"name": path[4:], "done": True, "response": {"name": made}}
        if "/packages/" in path:
            name = path.split("/")[-1]
            if name not in self.packages:
                raise missing("Package")
            if request.method == "DELETE":
                self.packages.remove(name)
                return {
                    "name": f"projects/{PROJECT}/locations/{REGION}/operations/2",
                    "done": True,
                    "response": {},
                }
            return {"name": path[4:]}
        if path.split("/")[-1] not in self.repositories:
            raise missing("Repository")
        return {"name": path[4:], "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}

    def _cloudbuild(self, request: Request, path: str) -> Json:
        if path.endswith("/defaultServiceAccount"):
            account = self.accounts[BUILDER]["name"]
            return {"name": path[4:], "serviceAccountEmail": account}
        build = self._build()
        if request.method == "POST":
            return {"name": "operations/build/1", "metadata": {"build": build}}
        if "/operations/" in path:
            return {"name": path[4:], "done": True, "response": build}
        return build

    def _build(self) -> Json:
        return {
            "name": f"projects/{NUMBER}/locations/{REGION}/builds/b1",
            "id": "b1",
            "projectId": PROJECT,
            "status": "SUCCESS",
            "logUrl": "https://console.cloud.google.com/b1",
            "results": {"images": [{"name": "image", "digest": "sha256:" + "0" * 64}]},
        }

    # --- Cloud Run --------------------------------------------------------------------------------

    def _run(self, request: Request, path: str) -> Json:
        if path.endswith("/builds:submit"):
            self.packages.add(request.body["imageUri"].split("/")[-1])
            name = f"projects/{PROJECT}/locations/{REGION}/operations/b1"
            return {
                "buildOperation": {"name": name, "metadata": {"build": self._build()}},
                "baseImageUri": f"{REGION}-docker.pkg.dev/serverless-runtimes/google-22/python313",
            }
        if path.endswith("/locations"):
            return {"locations": [{"locationId": REGION}]}
        kept = self.jobs if "/jobs" in path else self.services
        name = path.split("/")[-1]
        if request.method == "POST":
            name = request.body["metadata"]["name"]
            _new(name, kept)
        elif name not in kept:
            raise missing(f"Resource '{name}'")
        if request.method == "DELETE":
            del kept[name]
            return {"status": "Success"}
        if request.method in ("POST", "PUT"):
            conditions = [{"type": "Ready", "status": "True"}]
            if kept is self.services:
                conditions += [
                    {"type": "ConfigurationsReady", "status": "True"},
                    {"type": "RoutesReady", "status": "True"},
                ]
            metadata = {**request.body["metadata"], "generation": 1, "namespace": NUMBER}
            url = f"https://{name}-{NUMBER}.{REGION}.run.app"
            kept[name] = {
                **request.body,
                "metadata": metadata,
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
        return kept[name]


def _new(name: str, kept: Json) -> None:
    if name in kept:
        raise Refused(409, "ALREADY_EXISTS", f"{name} already exists.")


def _api(name: str, enabled: bool = True) -> Json:
    return {
        "name": f"projects/{NUMBER}/services/{name}",
        "config": {"name": name, "title": name},
        "state": "ENABLED" if enabled else "DISABLED",
    }


def _handler(world: GoogleApis) -> type[BaseHTTPRequestHandler]:
    """Return the handler class that answers for this world."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        tunnel = ""  # the host behind a CONNECT

        def do_CONNECT(self) -> None:
            self.tunnel = self.path.split(":")[0]
            self.send_response(200)
            self.end_headers()
            plain = self.connection
            self.connection = world.certificate(self.tunnel).wrap_socket(plain, server_side=True)
            self.rfile = self.connection.makefile("rb", self.rbufsize)
            self.wfile = self.connection.makefile("wb", self.wbufsize or -1)
            self.close_connection = False
            self.handle_one_request()
            self.wfile.flush()
            self.close_connection = True

        def _any(self) -> None:
            length = self.headers.get("Content-Length")
            if length is not None:
                body = self.rfile.read(int(length))
            elif self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            else:
                body = b""
            url = urlsplit(self.path)
            status, answer = self._answer(self.tunnel or url.hostname or "", url.path, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            if self.tunnel:  # a client must not use a connection again that is closing
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def _chunks(self) -> bytes:
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def _answer(self, host: str, path: str, body: bytes) -> tuple[int, Any]:
            query = parse_qs(urlsplit(self.path).query)
            if host in world.others:
                sent = dict(self.headers.items())
                status, answer, _ = world.others[host](self.command, self.path, sent, body)
                return status, answer
            if host.endswith(".run.app"):
                return world.call_function(host, dict(self.headers.items())), {}
            if path.startswith("/upload/"):
                world.requests.append(Request(self.command, host, path, query, {}))
                return 200, world.upload(path, query, body)
            request = Request(self.command, host, path, query, json.loads(body) if body else {})
            world.requests.append(request)
            try:
                return 200, world.answer(request)
            except Refused as refused:
                return refused.status, refused.body

        def log_message(self, *_: object) -> None:
            pass

    return Handler
