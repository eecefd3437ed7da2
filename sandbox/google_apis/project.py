"""One Google Cloud project: what is in it, what is late or forbidden in it, and what was asked."""

import copy
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from sandbox.google_apis import access, monitoring, run, secret_manager, tasks
from sandbox.google_apis.answers import BUILDER, PROJECT, Json, Refused, Request, disabled
from sandbox.google_apis.server import handler

Answer = Callable[["GoogleApis", Request, str], Any]

ANSWERS: dict[str, Answer] = {
    "secretmanager": secret_manager.secretmanager,
    "iam": access.iam,
    "serviceusage": access.serviceusage,
    "cloudtasks": tasks.cloudtasks,
    "cloudbuild": run.cloudbuild,
    "artifactregistry": run.artifactregistry,
    "cloudresourcemanager": access.cloudresourcemanager,
    "cloudbilling": access.cloudbilling,
    "cloudscheduler": tasks.cloudscheduler,
    "monitoring": monitoring.monitoring,
    "run": run.run,
    "storage": run.storage,
}
# What answers without being enabled; the others only once they are.
ALWAYS = ("serviceusage", "cloudresourcemanager", "cloudbilling", "storage")


@dataclass
class GoogleApis:
    """The state of one Google Cloud project, and a server that shows it to gcloud."""

    # How many requests what is new refuses: it is not known everywhere at once.
    late_apis: int = 1
    late_accounts: int = 1
    late_builds: int = 1
    late_queues: int = 1
    late_latest: int = 1
    late: dict[str, int] = field(default_factory=dict)
    # What an organisation in Europe usually forbids; run.managed.requireInvokerIam and
    # iam.allowedPolicyMemberDomains are others.
    constraints: set[str] = field(default_factory=lambda: {"gcp.resourceLocations"})

    billing: bool = True
    denied: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    accounts: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    values: dict[str, list[bytes]] = field(default_factory=dict)
    version_states: dict[str, str] = field(default_factory=dict)  # NAME/NUMBER -> DISABLED …
    queues: dict[str, Json] = field(default_factory=dict)
    deleted_queues: set[str] = field(default_factory=set)  # whose names are taken for days
    tasks: list[Json] = field(default_factory=list)
    services: dict[str, Json] = field(default_factory=dict)
    jobs: dict[str, Json] = field(default_factory=dict)
    schedules: dict[str, Json] = field(default_factory=dict)
    channels: dict[str, Json] = field(default_factory=dict)
    alert_policies: dict[str, Json] = field(default_factory=dict)
    monitoring_made: int = 0
    packages: set[str] = field(default_factory=set)
    buckets: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    build_fails: bool = False

    builds: list[Json] = field(default_factory=list)  # that gcloud submitted by itself
    uploads: list[dict[str, bytes]] = field(default_factory=list)  # file name -> content
    requests: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # requests that this stand-in does not know
    failing: list[tuple[str, int]] = field(default_factory=list)
    function_calls: list[dict[str, str]] = field(default_factory=list)  # their headers
    # host -> answer(method, path, headers, body): other hosts behind the proxy, such as Clockify
    others: dict[str, Callable[[str, str, dict[str, str], bytes], tuple[int, Any, object]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.accounts.setdefault(
            BUILDER, {"name": f"projects/{PROJECT}/serviceAccounts/{BUILDER}", "email": BUILDER}
        )
        self._authority = trustme.CA()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def twin(self) -> "GoogleApis":
        """Return a project with the same things in it, that has had no request yet."""
        past = ("requests", "failing", "uploads", "builds", "function_calls", "others")
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
            **{
                f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"http://{name}.test/"
                for name in ANSWERS
            },
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "http://storage.test/storage/v1/",
            "https_proxy": f"http://127.0.0.1:{self.port}",
            "CURL_CA_BUNDLE": str(bundle),
            "REQUESTS_CA_BUNDLE": str(bundle),
        }

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

    def fail(self, pattern: str, status: int = 400) -> None:
        """Answer requests whose 'METHOD host path' matches with this HTTP status, and no others."""
        self.failing = [(pattern, status)]

    def is_late(self, thing: str) -> bool:
        """Whether a thing that was made a moment ago is not known yet, this time."""
        if self.late.get(thing, 0) < 1:
            return False
        self.late[thing] -= 1
        return True

    def answer(self, request: Request) -> Any:
        """Return the JSON for one request of gcloud, or raise Refused."""
        for pattern, status in self.failing:
            if re.search(pattern, str(request)):
                raise Refused(status, "PERMISSION_DENIED" if status == 403 else "INVALID_ARGUMENT")
        name = request.host.removesuffix(".test").removesuffix(".googleapis.com")
        name = re.sub(r"^[a-z]+-[a-z]+\d-", "", name)  # Cloud Run has the region in front
        if name not in ANSWERS:
            self.unknown.append(str(request))
            raise Refused(501, "UNIMPLEMENTED", f"no stand-in for {request}")
        api = f"{name}.googleapis.com"
        if name not in ALWAYS and (api not in self.enabled or self.is_late(api)):
            raise disabled(name)
        if request.path.endswith((":getIamPolicy", ":setIamPolicy")):
            return access.policy(self, name, request)
        return ANSWERS[name](self, request, request.path)
