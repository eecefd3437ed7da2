"""What deploy.sh has made in the Google Cloud project, as it is now; nothing is changed.

https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.settings import Settings, read_settings
from commands.checks.findings import Findings, Verdict, bad, good, unknown
from commands.google_cloud import GoogleCloud, GoogleError, Json

OPEN = "run.googleapis.com/invoker-iam-disabled"
CHECKS = ("service", "settings", "secrets", "queue", "waiting", "repair", "alerts")
LONG = timedelta(hours=1)
TASKS = 1000


@dataclass(slots=True)
class Deployment:
    """What is deployed, as far as it could be read; the other areas go on from it."""

    cloud: GoogleCloud
    service: str
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    account: str = ""
    settings: Settings | None = None
    values: dict[str, str] = field(default_factory=dict)  # a setting that names a secret -> value

    @property
    def url(self) -> str:
        """Where the function answers, "" where that is not known."""
        return self.environment.get("FUNCTION_URL", "")

    def secret(self, setting: str) -> str:
        """The value of the secret that a setting names, "" for none. Raises GoogleError."""
        name = self.environment.get(setting, "")
        if setting not in self.values and name:
            self.values[setting] = self.cloud.secret(name)
        return self.values.get(setting, "")


@dataclass(slots=True)
class Google:
    """The checks of one deployment."""

    deployment: Deployment
    findings: Findings

    def check(self) -> None:
        """Look at everything that can be looked at."""
        if not self.read():
            self.findings.skip("google", CHECKS[1:], "there is no service")
            return
        self._look("settings", self._settings)
        self._look("secrets", self._secrets)
        if self._look("queue", self._queue):
            self._look("waiting", self._waiting)
        else:
            self.findings.skip("google", ("waiting",), "the queue does not run")
        self._look("repair", self._repair)
        self._look("alerts", self._alerts)

    def read(self) -> bool:
        """Read what is deployed; True where the service is there and open."""
        return self._look("service", self._service)

    def _look(self, name: str, at: Callable[[], Verdict]) -> bool:
        return self.findings.look("google", name, at)

    def _service(self) -> Verdict:
        here = self.deployment
        try:
            service = read_service(here)
        except GoogleError as error:
            if not error.is_missing:
                raise
            where = f"{here.cloud.region} of project {here.cloud.project}"
            return bad(f"there is no service {here.service} in {where}", "run  ./deploy.sh")
        conditions = service.get("status", {}).get("conditions", [])
        ready: Json = next((each for each in conditions if each.get("type") == "Ready"), {})
        if ready.get("status") != "True":
            return bad(
                f"{here.service} is not ready: {ready.get('reason', 'no reason is told')}",
                f"see  gcloud run services logs read {here.service} --region={here.cloud.region}"
                ",  and run  ./deploy.sh",
            )
        if not _is_open(service) and not self._everybody_may_call():
            return bad(
                f"{here.service} lets nobody in without a Google account, and so not Clockify",
                "run  ./deploy.sh",
            )
        return good(f"{here.service} is ready, and open to Clockify: {here.url}")

    def _everybody_may_call(self) -> bool:
        here = self.deployment
        name = f"projects/{here.cloud.project}/locations/{here.cloud.region}/services"
        policy = here.cloud.get(
            f"{here.cloud.region}-run", f"v1/{name}/{here.service}:getIamPolicy"
        )
        return "allUsers" in _members(policy, "roles/run.invoker")

    def _settings(self) -> Verdict:
        here = self.deployment
        try:
            here.settings = read_settings(here.environment)
        except IntegrationError as error:
            return bad(str(error), "run  ./deploy.sh")
        if not here.settings.retry_queue:
            return bad("RETRY_QUEUE is not set, so nothing can wait", "run  ./deploy.sh")
        key = "kept" if here.settings.clockify_api_key else "not kept"
        return good(f"all are there; Clockify's API key is {key}")

    def _secrets(self) -> Verdict:
        """Each has a value, and the function's account and nobody else is let in to it."""
        here, wanted = self.deployment, f"serviceAccount:{self.deployment.account}"
        for setting in ("SIGNING_SECRETS", "SALESFORCE_CREDENTIALS", "CLOCKIFY_API_KEY"):
            name = here.environment.get(setting, "")
            if not name:
                continue
            short = name.split("/")[3]
            try:
                here.secret(setting)
            except GoogleError as error:
                if error.status not in (400, 404):
                    raise
                return bad(f"{short} has no value that can be read", "run  ./deploy.sh")
            parent = "/".join(name.split("/")[:4])
            policy = here.cloud.get("secretmanager", f"v1/{parent}:getIamPolicy")
            readers = _members(policy, "roles/secretmanager.secretAccessor")
            if wanted not in readers:
                return bad(f"{short} cannot be read by the function", "run  ./deploy.sh")
            for other in sorted(readers - {wanted}):
                return bad(
                    f"{short} can be read by another account too: {other}",
                    f"gcloud secrets remove-iam-policy-binding {short} --member={other}"
                    " --role=roles/secretmanager.secretAccessor",
                )
        return good(f"{len(here.values)}, read by {here.account} only")

    # What waits ----------------------------------------------------------------------------------

    def _queue(self) -> Verdict:
        here = self.deployment
        name = here.environment.get("RETRY_QUEUE", "")
        if not name:
            return bad("there is none", "run  ./deploy.sh")
        short, region = name.rsplit("/", 1)[-1], name.split("/")[3]
        try:
            queue = here.cloud.get("cloudtasks", f"v2/{name}")
        except GoogleError as error:
            if not error.is_missing:
                raise
            return bad(f"there is no queue {short} in {region}", "run  ./deploy.sh")
        if queue.get("state") != "RUNNING":
            return bad(
                f"{short} is {str(queue.get('state')).lower()}: what waits is not tried again",
                f"gcloud tasks queues resume {short} --location={region}",
            )
        policy = here.cloud.post("cloudtasks", f"v2/{name}:getIamPolicy")
        if f"serviceAccount:{here.account}" not in _members(policy, "roles/cloudtasks.enqueuer"):
            return bad(f"the function may not put anything into {short}", "run  ./deploy.sh")
        return good(f"{short} runs, and takes what the function hands over")

    def _waiting(self) -> Verdict:
        name = self.deployment.environment["RETRY_QUEUE"]
        page = self.deployment.cloud.get("cloudtasks", f"v2/{name}/tasks", pageSize=str(TASKS))
        tasks = page.get("tasks", [])
        if not tasks:
            return good("nothing waits")
        oldest = min(moment_of(each["createTime"]) for each in tasks)
        age = datetime.now(UTC) - oldest
        more = " or more" if page.get("nextPageToken") else ""
        text = f"{len(tasks)}{more} since {oldest:%Y-%m-%d %H:%M} UTC"
        if age > LONG:
            return bad(text, "see why and what mends it: python -m commands.waiting")
        return good(f"{text}: they are tried again by themselves")

    # What runs by itself, and who hears of it ---------------------------------------------------

    def _repair(self) -> Verdict:
        here = self.deployment
        jobs = _repairs(here)
        if not jobs:
            if here.labels.get("nightly-repair") == "yes":
                return bad("the nightly repair's job is gone", "run  ./deploy.sh")
            return unknown("none is set up: ./deploy.sh --nightly-repair compares every night")
        told = []
        for job in jobs:
            name = str(job["metadata"]["name"])
            if problem := self._schedule(name):
                return problem
            last = job.get("status", {}).get("latestCreatedExecution") or {}
            result = str(last.get("completionStatus") or "")
            if result in ("EXECUTION_FAILED", "EXECUTION_CANCELLED"):
                return bad(
                    f"{name} did not end well on {last.get('completionTimestamp')}",
                    f"see  gcloud run jobs executions describe {last.get('name')}"
                    f" --region={here.cloud.region}  and docs/failures.md",
                )
            told.append(f"{name}: {_SAID.get(result, 'has not run yet')}")
        return good("; ".join(told))

    def _schedule(self, job: str) -> Verdict | None:
        """What is wrong about a job's schedule, None where it is right."""
        cloud = self.deployment.cloud
        where = f"v1/projects/{cloud.project}/locations/{cloud.region}/jobs/{job}"
        try:
            schedule = cloud.get("cloudscheduler", where)
        except GoogleError as error:
            if not error.is_missing:
                raise
            return bad(f"{job} has no schedule, so it never runs", "run  ./deploy.sh")
        if schedule.get("state", "ENABLED") != "ENABLED":
            return bad(
                f"the schedule of {job} is {str(schedule['state']).lower()}",
                f"gcloud scheduler jobs resume {job} --location={cloud.region}",
            )
        if schedule.get("status", {}).get("code"):
            return bad(f"the schedule could not start {job} the last time", "run  ./deploy.sh")
        return None

    def _alerts(self) -> Verdict:
        here = self.deployment
        try:
            policies = here.cloud.items(
                "monitoring", f"v3/projects/{here.cloud.project}/alertPolicies", "alertPolicies"
            )
        except GoogleError as error:
            if "is not enabled" not in str(error):
                raise
            policies = []
        own = [
            each
            for each in policies
            if each.get("userLabels", {}).get("clockify_salesforce") == here.service
        ]
        if not own:
            return unknown(
                "none, so nobody is told where something is wrong: ./deploy.sh --alerts-to EMAIL"
            )
        silent = [
            str(each.get("displayName"))
            for each in own
            if each.get("enabled") is False or not each.get("notificationChannels")
        ]
        if silent:
            return bad(
                f"switched off, or told to nobody: {', '.join(silent)}",
                "run  ./deploy.sh --alerts-to EMAIL",
            )
        return good(f"{len(own)} are on")


_SAID = {
    "EXECUTION_SUCCEEDED": "ended well the last time",
    "EXECUTION_RUNNING": "runs now",
    "EXECUTION_PENDING": "is about to run",
}


def read_service(here: Deployment) -> Json:
    """The service; its settings, labels and account are kept. Raises GoogleError."""
    path = f"apis/serving.knative.dev/v1/namespaces/{here.cloud.project}/services/{here.service}"
    service = here.cloud.get(f"{here.cloud.region}-run", path)
    template = service["spec"]["template"]["spec"]
    (container, *_) = template["containers"]
    here.environment = {
        str(each["name"]): str(each.get("value", "")) for each in container.get("env", [])
    }
    here.labels = service["metadata"].get("labels", {})
    here.account = str(template.get("serviceAccountName", ""))
    return service


def moment_of(text: str) -> datetime:
    """A timestamp of Google's, which may tell nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def _is_open(service: Json) -> bool:
    marks = service["metadata"].get("annotations", {})
    return str(marks.get(OPEN, "")).lower() == "true"


def _members(policy: Json, role: str) -> set[str]:
    return {
        str(member)
        for binding in policy.get("bindings", [])
        if binding.get("role") == role
        for member in binding.get("members", [])
    }


def _repairs(here: Deployment) -> list[Json]:
    """The jobs that repair: every night, and every week, of each workspace."""
    path = f"apis/run.googleapis.com/v1/namespaces/{here.cloud.project}/jobs"
    jobs = here.cloud.get(f"{here.cloud.region}-run", path).get("items", [])
    name = re.compile(rf"{re.escape(here.service)}-(repair|weekly)(-[0-9a-f]+)?")
    return [each for each in jobs if name.fullmatch(str(each["metadata"]["name"]))]
