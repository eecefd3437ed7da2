"""A whole installation on loopback: a function at its public URL, as deploy.sh leaves it.

What `check` and `waiting` look at: Google's APIs over REST beside their gRPC, Cloud Tasks' queue
with what really waits in it, the function's own log as Cloud Logging keeps it, and Clockify's
webhooks. Their names are deploy.sh's.
"""

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from sandbox import google_cloud
from sandbox.clockify import KEY
from sandbox.google_apis import NUMBER, PROJECT, REGION, GoogleApis
from sandbox.internet import Answer, Request
from sandbox.world import Function, World

NAME = "clockify-salesforce"
HOST = f"{NAME}-{NUMBER}.{REGION}.run.app"
URL = f"https://{HOST}"
ACCOUNT = f"{NAME}@{PROJECT}.iam.gserviceaccount.com"
QUEUE = f"projects/{PROJECT}/locations/{REGION}/queues/{NAME}-retry"
SECRETS = {
    "SIGNING_SECRETS": f"{NAME}-signing-secrets",
    "SALESFORCE_CREDENTIALS": f"{NAME}-salesforce",
    "CLOCKIFY_API_KEY": f"{NAME}-clockify-api-key",
}
_OWN_NAMES = ("signing-secrets", "salesforce", "clockify-api-key")  # the world's for the same
EVENTS = (
    *("TIMER_STOPPED", "NEW_TIME_ENTRY", "TIME_ENTRY_UPDATED"),
    *("TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED", "TIME_ENTRY_SPLIT"),
)
# Google's own names of HTTP codes: https://cloud.google.com/apis/design/errors#handling_errors
_CODES = {500: (13, "INTERNAL"), 503: (14, "UNAVAILABLE")}

Json = dict[str, Any]


class Installation:
    """One company's, in a world."""

    def __init__(
        self, world: World, google: GoogleApis, function: Function, *, deployed: bool = True
    ) -> None:
        """`function`: what answers at the public URL; it has the queue.

        `deployed`: all of it is there already, as deploy.sh leaves it.
        """
        self.world, self.google, self.function = world, google, function
        self.alerts: list[Json] = []
        self.full_view = True  # whether the person may see what a task holds
        sites = world.internet.sites
        sites.update(
            {
                HOST: self._function,
                "cloudtasks.googleapis.com": self._tasks,
                "logging.googleapis.com": self._log,
                "monitoring.googleapis.com": self._monitoring,
                ".googleapis.com": self._google,
            }
        )
        if deployed:
            self.settle()

    def environment(self, folder: Path) -> dict[str, str]:
        """What leads commands to it, as somebody who is signed in with gcloud."""
        own = folder / "google"
        own.mkdir(exist_ok=True)
        bundle = {"CURL_CA_BUNDLE": str(self.world.internet.authority_file)}
        return self.google.environment(own) | self.world.environment() | bundle

    def settle(self) -> None:
        """Make what deploy.sh makes, in Google Cloud and in Clockify, anew."""
        self.google.enabled |= {
            f"{name}.googleapis.com"
            for name in ("run", "secretmanager", "cloudscheduler", "cloudtasks")
        }
        self.world.clockify.hooks.clear()
        self.world.clockify.made = 0
        self.alerts.clear()
        for event in EVENTS:
            self.world.clockify.add_webhook(event, URL)
        tokens = [hook["authToken"] for hook in self.world.clockify.hooks]
        known = [self.world.signing_secret, *tokens]  # the first as other tests use it
        self.world.secrets["signing-secrets"] = ["\n".join(known)]
        for secret, own in zip(SECRETS.values(), _OWN_NAMES, strict=True):
            self.google.secrets[secret] = {"name": f"projects/{PROJECT}/secrets/{secret}"}
            self.google.values[secret] = [self.world.secrets[own][-1].encode()]
            self._let(
                "secretmanager",
                f"projects/{PROJECT}/secrets/{secret}",
                "secretmanager.secretAccessor",
            )
        self.google.queues[f"{NAME}-retry"] = {"name": QUEUE, "state": "RUNNING"}
        self._let("cloudtasks", QUEUE, "cloudtasks.enqueuer")
        self.google.services[NAME] = self._service()
        job = f"{NAME}-repair"
        self.google.jobs[job] = {"metadata": {"name": job}, "spec": {}, "status": {}}
        self.google.schedules[job] = {"name": f"…/jobs/{job}", "state": "ENABLED"}

    def _let(self, api: str, resource: str, role: str) -> None:
        binding = {"role": f"roles/{role}", "members": [f"serviceAccount:{ACCOUNT}"]}
        self.google.policies[f"{api}/{resource}"] = {"bindings": [binding], "version": 1}

    def _service(self) -> Json:
        settings = {
            name: f"projects/{PROJECT}/secrets/{secret}" for name, secret in SECRETS.items()
        }
        settings |= {"RETRY_QUEUE": QUEUE, "FUNCTION_URL": URL, "THREADS": "80"}
        container = {"env": [{"name": name, "value": value} for name, value in settings.items()]}
        return {
            "metadata": {
                "name": NAME,
                "annotations": {"run.googleapis.com/invoker-iam-disabled": "true"},
                "labels": {"made-by": "clockify-salesforce", "nightly-repair": "yes"},
            },
            "spec": {
                "template": {"spec": {"containers": [container], "serviceAccountName": ACCOUNT}}
            },
            "status": {"url": URL, "conditions": [{"type": "Ready", "status": "True"}]},
        }

    # What answers --------------------------------------------------------------------------------

    async def _function(self, request: Request) -> Answer:
        """The function's public URL. What it reads is what is stored."""
        for secret, own in zip(SECRETS.values(), _OWN_NAMES, strict=True):
            if values := self.google.values.get(secret):
                self.world.secrets[own] = [each.decode() for each in values]
        url = self.function.url + request.path
        return await _passed_on(url, request, None)

    async def _google(self, request: Request) -> Answer:
        """All other APIs of Google's are the stand-in that gcloud talks to."""
        if request.host.endswith("run.googleapis.com") and request.path.endswith("/jobs"):
            return Answer(200, {"items": list(self.google.jobs.values())})
        proxy = f"http://127.0.0.1:{self.google.port}"
        return await _passed_on(f"http://{request.host}{request.path}", request, proxy)

    async def _monitoring(self, request: Request) -> Answer:
        """https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies/list"""
        return Answer(200, {"alertPolicies": self.alerts})

    async def _tasks(self, request: Request) -> Answer:
        """What waits; the queue itself is the other stand-in's.

        https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks
        """
        address = urlsplit(request.path)
        _, found, rest = address.path.partition("/tasks")
        if not found:
            return await self._google(request)
        waiting = self.world.tasks.waiting
        if rest.endswith(":run"):
            name = google_cloud.QUEUE + found + rest.removesuffix(":run")
            if name not in waiting:
                return Answer(404, {"error": {"code": 404, "status": "NOT_FOUND"}})
            self.world.tasks.run(waiting[name])
            return Answer(200, {"name": name.replace(google_cloud.QUEUE, QUEUE)})
        query = parse_qs(address.query)
        is_full = query.get("responseView") == ["FULL"]
        if is_full and not self.full_view:
            error = {
                "code": 403,
                "status": "PERMISSION_DENIED",
                "message": "cloudtasks.tasks.fullView",
            }
            return Answer(403, {"error": error})
        tasks = [_task(each, is_full=is_full) for each in list(waiting.values())]
        return Answer(200, {"tasks": tasks})

    async def _log(self, request: Request) -> Answer:
        """The function's log lines, the newest first.

        https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
        """
        lines = [
            {
                "timestamp": _z(time.time()),
                "severity": line["severity"],
                "jsonPayload": {key: value for key, value in line.items() if key != "severity"},
            }
            for line in reversed(self.function.log)
            if line.get("queued")
        ]
        size = json.loads(request.body).get("pageSize", 50)
        return Answer(200, {"entries": lines[:size]})


async def _passed_on(url: str, request: Request, proxy: str | None) -> Answer:
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in ("host", "connection", "content-length", "accept-encoding")
    }
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            request.method, url, data=request.body or None, headers=headers, proxy=proxy
        ) as answer,
    ):
        return Answer(answer.status, await answer.json(content_type=None))


def _task(task: google_cloud.Waiting, *, is_full: bool) -> Json:
    """A task as REST shows it; FULL has the body too."""
    http: Json = {"url": task.url, "httpMethod": "POST", "headers": task.headers}
    if is_full:
        http["body"] = base64.b64encode(task.body).decode()
    shown: Json = {
        "name": task.name.replace(google_cloud.QUEUE, QUEUE),
        "createTime": _z(task.created_at),
        "scheduleTime": _z(task.next_at),
        "dispatchCount": task.attempts,
        "responseCount": len(task.answers),
        "view": "FULL" if is_full else "BASIC",
        "httpRequest": http,
    }
    if task.answers:
        code, name = _CODES.get(task.answers[-1], (2, "UNKNOWN"))
        message = f"{name}({code}): HTTP status code {task.answers[-1]}"
        shown["lastAttempt"] = {
            "dispatchTime": _z(task.tried_at),
            "responseTime": _z(task.tried_at),
            "responseStatus": {"code": code, "message": message},
        }
    return shown


def _z(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


__all__ = ["ACCOUNT", "HOST", "KEY", "NAME", "QUEUE", "SECRETS", "URL", "Installation"]
