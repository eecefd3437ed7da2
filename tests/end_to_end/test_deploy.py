"""deploy.sh with the real gcloud, against stand-ins of Google's APIs and of Clockify on loopback.

What is asserted is what gcloud really sent. gcloud, curl and Python run behind wrappers that write
down their arguments and environments, where no secret may turn up. A command of gcloud takes half
a second, so the first run is made once, and most tests go on from a twin of what it made.
"""

import base64
import copy
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from commands import webhooks
from sandbox import google_cloud
from sandbox.clockify import API_HOST, KEY, WORKSPACE, ClockifyApi
from sandbox.google_apis import BUILDER, NUMBER, PROJECT, REGION, GoogleApis, Request
from sandbox.salesforce import CONSUMER_KEY, CONSUMER_SECRET, DOMAIN
from sandbox.world import Function, World

PROJECT_FOLDER = Path(__file__).resolve().parents[2]
NAME = "clockify-salesforce"
ACCOUNT = f"{NAME}@{PROJECT}.iam.gserviceaccount.com"
URL = f"https://{NAME}-{NUMBER}.{REGION}.run.app"
READS = "roles/secretmanager.secretAccessor"
SECRETS = f"projects/{PROJECT}/secrets"
QUEUE = f"projects/{PROJECT}/locations/{REGION}/queues/{NAME}-retry"
TOKEN = "made-up-access-token"
CREDENTIALS = {"domain": DOMAIN, "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
ROTATED = "another-consumer-secret"
# deploy.sh keeps secrets in shell variables; one that came exported would be handed on.
SAME_NAMES = (
    *("TOKEN", "CREDENTIALS", "SIGNING_SECRETS", "API_KEY", "FOUND"),
    *("typed", "now", "found", "kept"),
)

Json = dict[str, Any]


def twin(clockify: ClockifyApi) -> ClockifyApi:
    """Another Clockify that holds the same webhooks."""
    return ClockifyApi(hooks=copy.deepcopy(clockify.hooks), made=clockify.made)


@dataclass
class Outcome:
    """How a run of deploy.sh ended, and the requests by which it changed something."""

    code: int
    out: str
    err: str
    writes: list[Request]

    @property
    def commands(self) -> list[str]:
        """The commands that it printed because they change something."""
        return [line[2:] for line in self.out.splitlines() if line.startswith("+ ")]


@dataclass
class Desk:
    """A person's machine with a copy of the project on it, a Google project, and a Clockify."""

    folder: Path
    google: GoogleApis = field(default_factory=GoogleApis)
    clockify: ClockifyApi = field(default_factory=ClockifyApi)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.google.others[API_HOST] = self.clockify
        self.record = self.folder / "record"
        for program, real in (
            ("gcloud", shutil.which("gcloud")),
            ("curl", shutil.which("curl")),
            ("python", sys.executable),
        ):
            self.write(
                f"bin/{program}",
                f'#!/bin/sh\n{{ echo "$0" "$@"; env; }} >>"{self.record}"\nexec {real} "$@"\n',
            ).chmod(0o755)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CLOUDSDK") and not name.lower().endswith("_proxy")
        } | {
            **self.google.environment(self.folder),
            "HOME": str(self.folder),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHON": str(self.folder / "bin/python"),
            "WAIT_SECONDS": "0",
        }
        self.key_file = self.write("key", KEY + "\n")
        self.credentials_file = self.write("credentials", json.dumps(CREDENTIALS, indent=2))

    def write(self, name: str, text: str) -> Path:
        """Write a file on this machine and return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def deploy(self, *options: str | Path, text: str = "", **environment: str) -> Outcome:
        """Run deploy.sh where nobody can answer; `text` is its stdin."""
        before = len(self.google.writes())
        result = subprocess.run(
            ["bash", self.script, *map(str, options)],
            input=text,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        writes = self.google.writes()[before:]
        return Outcome(result.returncode, result.stdout, result.stderr, writes)

    def deploy_at_terminal(self, *options: str, answers: dict[str, str]) -> tuple[int, str]:
        """Run deploy.sh on a pseudo-terminal; return its exit code and all that was on the screen.

        `answers` says what is typed after which words on the screen.
        """
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", self.script, *options],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.environment,
        )
        os.close(slave)
        screen, asked = "", list(answers)
        while True:
            try:
                shown = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                break
            screen += shown.decode()
            if asked and asked[0] in screen:
                os.write(master, answers[asked.pop(0)].encode() + b"\n")
        os.close(master)
        return process.wait(timeout=60), screen

    @property
    def script(self) -> str:
        """The path of deploy.sh in this machine's copy of the project."""
        return str(self.folder.parent / "project" / "deploy.sh")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the project in it, and much that must not be uploaded."""
    if shutil.which("gcloud") is None:
        pytest.fail(
            "gcloud is not installed, and deploy.sh is tested with nothing less: apt-get install"
            " google-cloud-cli, or https://cloud.google.com/sdk/docs/install"
        )
    folder = tmp_path_factory.mktemp("deploy")
    project = folder / "project"
    project.mkdir()
    for path in PROJECT_FOLDER.iterdir():
        if path.suffix in (".py", ".sh", ".md", ".txt", ".toml") or path.name in (
            *(".gcloudignore", ".python-version"),
        ):
            shutil.copy(path, project)
    for package in ("clockify_salesforce", "commands"):
        shutil.copytree(PROJECT_FOLDER / package, project / package)  # with its __pycache__
    for name in ("credentials.json", "tests/test_main.py", ".git/config", ".venv/lib/main.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("not for the cloud")
    return folder


@dataclass
class Run:
    """The state after a run that other tests go on from, and how the run ended."""

    desk: Desk
    outcome: Outcome


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[Run]:
    """Yield the first run on an empty project, with a Clockify API key."""
    desk = Desk(folder / "first")
    outcome = desk.deploy(
        "--salesforce-credentials-file",
        desk.credentials_file,
        f"--clockify-api-key-file={desk.key_file}",
        **dict.fromkeys(SAME_NAMES, "from-the-environment"),
    )
    yield Run(desk, outcome)
    desk.google.close()


@pytest.fixture(scope="module")
def changed(folder: Path, first: Run) -> Iterator[Run]:
    """Yield a later run with other choices, in front of a queue that somebody has changed."""
    desk = Desk(folder / "changed", first.desk.google.twin(), twin(first.desk.clockify))
    desk.google.queues[f"{NAME}-retry"]["retryConfig"]["maxAttempts"] = 3
    stored = desk.google.values[f"{NAME}-signing-secrets"]
    stored.append(stored[0] + b"\n" + b"old" * 11)
    outcome = desk.deploy(
        *("--nightly-repair", "--workspace", WORKSPACE, "--clockify-api-key-file", desk.key_file),
        *("--salesforce-credentials-file=-", "--event-subject={project}, {user}: {description}"),
        "--drop-old-signing-secrets",
        text=json.dumps(CREDENTIALS | {"consumer_secret": ROTATED}),
    )
    yield Run(desk, outcome)
    desk.google.close()


@pytest.fixture
def payload() -> Json:
    """Return a time entry as Clockify sends it."""
    path = PROJECT_FOLDER / "tests" / "payloads" / "TIMER_STOPPED.json"
    return dict(json.loads(path.read_text()))


@pytest.fixture
def deployed(folder: Path, tmp_path: Path, first: Run) -> Iterator[Desk]:
    """Yield a desk in front of what the first run made."""
    desk = Desk(folder / tmp_path.name, first.desk.google.twin(), twin(first.desk.clockify))
    yield desk
    desk.google.close()


@pytest.fixture
def empty(folder: Path, tmp_path: Path) -> Iterator[Desk]:
    """Yield a desk in front of an empty project."""
    desk = Desk(folder / tmp_path.name)
    yield desk
    desk.google.close()


def bindings(writes: list[Request]) -> set[tuple[str, str, str]]:
    """Return who was given which role on which resource: (resource, role, member)."""
    return {
        (request.path.removesuffix(":setIamPolicy"), binding["role"], member)
        for request in writes
        if request.path.endswith(":setIamPolicy")
        for binding in request.body["policy"]["bindings"]
        for member in binding["members"]
    }


def the(writes: list[Request], end: str) -> Json:
    """Return the body of the one write whose path ends so."""
    (body,) = [request.body for request in writes if request.path.endswith(end)]
    return body


def container(body: Json) -> Json:
    """Return the one container of a Cloud Run service."""
    (only,) = body["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(container: Json) -> dict[str, str]:
    """Return a container's environment."""
    return {each["name"]: each["value"] for each in container["env"]}


# --- The first run --------------------------------------------------------------------------------


def test_first_run_ends_with_the_url(first: Run) -> None:
    """All is there in one command, and the stand-in knew every request of gcloud's."""
    assert first.outcome.code == 0, first.outcome.err
    assert first.outcome.out.endswith(f"The URL for Clockify's webhooks:\n  {URL}\n")
    assert "refuses a stranger (401)" in first.outcome.out
    assert first.desk.google.unknown == []
    assert [call["Clockify-Signature"] for call in first.desk.google.function_calls] == [
        "deploy-check"
    ]


def test_first_run_enables_what_it_needs_and_no_more(first: Run) -> None:
    """Six APIs."""
    assert first.desk.google.enabled == {
        f"{name}.googleapis.com"
        for name in (
            "run",
            "cloudbuild",
            "artifactregistry",
            "secretmanager",
            "cloudtasks",
            "iam",
        )
    }


def test_first_run_gives_rights_on_exactly_its_resources(first: Run) -> None:
    """The account may read its two secrets and add to its queue; only the builder may build."""
    account = f"serviceAccount:{ACCOUNT}"
    assert bindings(first.outcome.writes) == {
        (f"/v1/{SECRETS}/{NAME}-salesforce", READS, account),
        (f"/v1/{SECRETS}/{NAME}-signing-secrets", READS, account),
        (f"/v2/{QUEUE}", "roles/cloudtasks.enqueuer", account),
        (f"/v1/projects/{PROJECT}", "roles/run.builder", f"serviceAccount:{BUILDER}"),
    }


def test_first_run_stores_what_the_function_reads(first: Run) -> None:
    """The sign-in's JSON, and the signing secret of each webhook, one per line."""
    values = first.desk.google.values
    (credentials,) = values[f"{NAME}-salesforce"]
    assert json.loads(credentials) == CREDENTIALS
    (secrets,) = values[f"{NAME}-signing-secrets"]
    hooks = first.desk.clockify.hooks
    assert secrets.decode() == "\n".join(hook["authToken"] for hook in hooks)
    assert [hook["webhookEvent"] for hook in hooks] == list(webhooks.EVENTS)
    assert {hook["url"] for hook in hooks} == {URL}


def test_first_run_makes_the_queue_with_its_schedule(first: Run) -> None:
    """10 s, doubled up to an hour, for 7 days: as many attempts as go into them."""
    queue = the(first.outcome.writes, "/queues")
    assert queue["name"] == QUEUE
    assert queue["retryConfig"] == {
        "minBackoff": "10s",
        "maxBackoff": "3600s",
        "maxDoublings": 16,
        "maxRetryDuration": "604800s",
        "maxAttempts": 177,
    }
    waits = [min(10 * 2**retry, 3600) for retry in range(176)]
    assert sum(waits[:-1]) < 7 * 24 * 3600 <= sum(waits)


def test_first_run_deploys_the_function_as_designed(first: Run) -> None:
    """Threads and concurrency agree; it is public, boosted and capped; settings name secrets."""
    service = the(first.outcome.writes, "/services")
    template, function = service["spec"]["template"], container(service)
    settings = environment(function)
    assert template["spec"]["containerConcurrency"] == int(settings["THREADS"]) == 80
    assert template["spec"]["serviceAccountName"] == ACCOUNT
    assert template["spec"]["timeoutSeconds"] == 60
    assert function["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}
    marks = template["metadata"]["annotations"]
    assert marks["run.googleapis.com/startup-cpu-boost"] == "True"
    assert marks["autoscaling.knative.dev/maxScale"] == "1"
    assert service["metadata"]["annotations"]["run.googleapis.com/invoker-iam-disabled"] == "True"
    assert settings == {
        "SIGNING_SECRETS": f"{SECRETS}/{NAME}-signing-secrets",
        "SALESFORCE_CREDENTIALS": f"{SECRETS}/{NAME}-salesforce",
        "RETRY_QUEUE": QUEUE,
        "FUNCTION_URL": URL,
        "THREADS": "80",
    }
    build = the(first.outcome.writes, "builds:submit")["buildpackBuild"]
    assert build["functionTarget"] == "clockify_webhook"
    assert build["baseImage"] == "python313"


def test_upload_holds_exactly_the_product(first: Run, tmp_path: Path) -> None:
    """What goes up is what the function and the repair import, and what they run on."""
    (upload,) = first.desk.google.uploads
    for name, content in upload.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = "import sys; sys.path.insert(0, '.'); import main, commands.backfill"
    settings = environment(container(the(first.outcome.writes, "/services")))
    imported = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr
    packages = {
        str(path.relative_to(PROJECT_FOLDER))
        for package in ("clockify_salesforce", "commands")
        for path in (PROJECT_FOLDER / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert set(upload) == packages | {
        *("main.py", "mapping.py", "requirements.txt", ".python-version")
    }


def test_no_secret_is_in_an_argument_environment_log_or_request(first: Run, changed: Run) -> None:
    """Each travels through a pipe, and to Google in the body of addVersion alone."""
    for run in (first, changed):
        desk = run.desk
        hooks = [hook["authToken"] for hook in desk.clockify.hooks]
        secrets = [KEY, CREDENTIALS["consumer_secret"], ROTATED, *hooks]
        commands = desk.record.read_text()
        assert "gcloud secrets versions add" in commands
        logs = [path.read_text() for path in (desk.folder / "gcloud" / "logs").rglob("*.log")]
        for text in (commands, run.outcome.out, run.outcome.err, *logs):
            assert not [secret for secret in (*secrets, TOKEN) if secret in text]
        encoded = [base64.b64encode(secret.encode()).decode() for secret in secrets]
        for request in desk.google.requests:
            if not request.path.endswith(":addVersion"):
                text = f"{request} {request.query} {request.body}"
                assert not [secret for secret in (*secrets, *encoded) if secret in text]
    assert f"{SAME_NAMES[0]}=from-the-environment" not in first.desk.record.read_text()


def test_stored_secrets_let_the_function_answer_200(
    first: Run, world: World, payload: Json
) -> None:
    """A function with these settings and these secrets takes a message of each webhook."""
    for name, versions in first.desk.google.values.items():
        world.secrets[name] = [version.decode() for version in versions]
    settings: Json = {
        name: value.replace(PROJECT, google_cloud.PROJECT)
        for name, value in environment(container(the(first.outcome.writes, "/services"))).items()
    }
    function = Function(world, **settings)
    answers = [
        function.post(hook["webhookEvent"], payload, signature=hook["authToken"]).status_code
        for hook in first.desk.clockify.hooks
    ]
    stranger = function.post("TIMER_STOPPED", payload, signature="deploy-check").status_code
    function.stop()
    assert (answers, stranger) == ([200] * 6, 401)


# --- Later runs -----------------------------------------------------------------------------------


def test_second_run_changes_nothing_and_says_so(deployed: Desk) -> None:
    """No request that writes is sent, to Google or to Clockify."""
    hooks = list(deployed.clockify.hooks)
    again = deployed.deploy("--clockify-api-key-file", deployed.key_file)
    assert (again.code, again.writes, again.commands) == (0, [], []), again.err
    assert "Nothing differed, nothing was changed." in again.out
    assert deployed.clockify.hooks == hooks


def test_changed_choices_change_only_what_differs(changed: Run) -> None:
    """A new credential, a new Subject, the queue as it was, the repair, no old signing secret."""
    assert changed.outcome.code == 0, changed.outcome.err
    assert [str(request).split("/")[-1] for request in changed.outcome.writes] == [
        "cloudscheduler.googleapis.com:enable",
        f"{NAME}-salesforce:addVersion",
        "secrets",
        f"{NAME}-clockify-api-key:addVersion",
        f"{NAME}-clockify-api-key:setIamPolicy",
        f"{NAME}-retry",
        *("o", "builds:submit", NAME),  # the upload, the build, the function
        *("o", "builds:submit", "jobs"),
        f"{NAME}-repair:setIamPolicy",
        "jobs",  # of Cloud Scheduler
        f"{NAME}-signing-secrets:addVersion",
    ]
    first, _with_an_old_one, last = changed.desk.google.values[f"{NAME}-signing-secrets"]
    assert last == first


def test_choices_stay(folder: Path, tmp_path: Path, changed: Run) -> None:
    """A later run without the options changes nothing: what was chosen stays chosen."""
    desk = Desk(folder / tmp_path.name, changed.desk.google.twin())
    again = desk.deploy()
    desk.google.close()
    assert (again.code, again.writes) == (0, []), again.err
    assert f"job {NAME}-repair: is there, same source, same settings" in again.out


def test_failures_half_way_are_made_good_by_the_same_command(empty: Desk, first: Run) -> None:
    """Wherever a run stops, the next one goes on, and ends with what one run would have made."""
    google = empty.google
    google.unknown_account_answers = 2  # and a new account takes its time
    empty.clockify.faults.refused_webhook = 3
    options = (
        "--salesforce-credentials-file",
        empty.credentials_file,
        "--clockify-api-key-file",
        empty.key_file,
    )
    google.tombstones.add(f"{NAME}-retry")
    stopped = empty.deploy(*options)
    assert stopped.code == 1
    assert "Google keeps the name of the deleted queue" in stopped.err
    assert "the same command goes on" in stopped.err
    google.tombstones.clear()
    google.fail("builds:submit")
    stopped = empty.deploy(*options)
    assert stopped.code == 1
    assert google.services == {}
    google.failing.clear()
    stopped = empty.deploy(*options)
    assert (stopped.code, len(empty.clockify.hooks)) == (1, 3)
    assert len(google.values[f"{NAME}-signing-secrets"][-1].split()) == 3
    empty.clockify.faults.refused_webhook = None
    assert empty.deploy(*options).code == 0
    whole = first.desk.google
    assert google.policies == whole.policies
    assert google.values[f"{NAME}-salesforce"] == whole.values[f"{NAME}-salesforce"]
    assert google.values[f"{NAME}-signing-secrets"][-1].decode().split() == [
        hook["authToken"] for hook in empty.clockify.hooks
    ]
    assert google.unknown == []


def test_dry_run_prints_the_commands_of_the_first_run(empty: Desk, first: Run) -> None:
    """Every one, but for the signing secrets that do not exist yet; and nothing is changed."""
    dry = empty.deploy(
        "--dry-run",
        "--salesforce-credentials-file",
        empty.credentials_file,
        "--clockify-api-key-file",
        empty.key_file,
    )
    assert (dry.code, dry.writes, empty.clockify.hooks) == (0, [], []), dry.err
    store = f"gcloud secrets versions add {NAME}-signing-secrets --data-file=-"
    assert dry.commands == [line for line in first.outcome.commands if line != store]
    assert "TIMER_STOPPED: would be created" in dry.err


# --- Clockify's webhooks --------------------------------------------------------------------------


def test_no_key_says_what_to_click(deployed: Desk) -> None:
    """By hand: the URL, the events, and how to hand in their signing secrets."""
    deployed.google.values[f"{NAME}-signing-secrets"] = []
    told = deployed.deploy()
    assert (told.code, told.writes) == (0, []), told.err
    assert f"with this URL:\n  {URL}" in told.out
    assert "Timer stopped" in told.out
    assert "./deploy.sh --signing-secrets-file FILE" in told.out


def test_plans_limit_is_told_and_secrets_from_a_file_stay(deployed: Desk) -> None:
    """Three webhooks fit; the secrets from the file are stored, then those of the webhooks too."""
    deployed.clockify.hooks, deployed.clockify.webhook_limit = [], 3
    secrets = deployed.write("secrets", f"{'a' * 32}\r\n{'b' * 32}\r\n")
    result = deployed.deploy(
        *("--signing-secrets-file", secrets, "--clockify-api-key-file", deployed.key_file)
    )
    assert result.code == 0, result.err
    assert [request.path.split(":")[-1] for request in result.writes] == ["addVersion"] * 2
    assert "plan's limit. Without: TIME_ENTRY_DELETED" in result.err
    new = [hook["authToken"] for hook in deployed.clockify.hooks]
    assert len(new) == 3
    stored = [
        version.decode().split() for version in deployed.google.values[f"{NAME}-signing-secrets"]
    ]
    assert stored[1:] == [["a" * 32, "b" * 32], [*new, "a" * 32, "b" * 32]]


# --- The nightly repair ---------------------------------------------------------------------------


def test_nightly_repair_is_a_job_with_a_schedule(changed: Run) -> None:
    """A job that runs backfill.py as the function's account, which may start just this job."""
    writes, account = changed.outcome.writes, f"serviceAccount:{ACCOUNT}"
    spec = the(writes, f"/namespaces/{PROJECT}/jobs")["spec"]["template"]["spec"]["template"][
        "spec"
    ]
    (repair,) = spec["containers"]
    assert repair["command"] == ["/cnb/lifecycle/launcher"]
    assert repair["args"] == [
        *(
            "--",
            "python",
            "-m",
            "commands.backfill",
            "--workspace",
            WORKSPACE,
            "--days",
            "7",
            "--apply",
        )
    ]
    assert spec["serviceAccountName"] == ACCOUNT
    settings = environment(repair)
    assert settings["CLOCKIFY_API_KEY"] == f"{SECRETS}/{NAME}-clockify-api-key"
    assert settings["SALESFORCE_CREDENTIALS"] == f"{SECRETS}/{NAME}-salesforce"
    assert settings["EVENT_SUBJECT"] == "{project}, {user}: {description}"
    job = f"projects/{PROJECT}/locations/{REGION}/jobs/{NAME}-repair"
    assert bindings(writes) == {
        (f"/v1/{SECRETS}/{NAME}-clockify-api-key", READS, account),
        (f"/v1/{job}", "roles/run.invoker", account),
    }
    schedule = the(writes, f"/locations/{REGION}/jobs")
    assert schedule["schedule"] == "17 2 * * *"
    assert schedule["httpTarget"] == {
        "uri": f"https://run.googleapis.com/v2/{job}:run",
        "httpMethod": "POST",
        "oauthToken": {"serviceAccountEmail": ACCOUNT},
    }
    assert changed.desk.google.values[f"{NAME}-clockify-api-key"] == [KEY.encode()]


# --- Taking it away -------------------------------------------------------------------------------


def test_delete_takes_all_away_but_what_is_not_its_own(
    folder: Path, tmp_path: Path, changed: Run
) -> None:
    """After the right answer everything is gone, but for a secret that somebody else made."""
    google = changed.desk.google.twin()
    google.secrets[f"{NAME}-salesforce"]["labels"] = {}
    google.secrets["another"] = {"name": "another"}
    desk = Desk(folder / tmp_path.name, google, twin(changed.desk.clockify))
    code, screen = desk.deploy_at_terminal(
        *("--delete", "--clockify-api-key-file", str(desk.key_file)),
        answers={"Type the function's name": NAME},
    )
    google.close()
    assert code == 0, screen
    assert f"secrets {NAME}-salesforce: stays" in screen
    assert set(google.secrets) == {f"{NAME}-salesforce", "another"}
    assert (google.services, google.jobs, google.schedules, google.queues) == ({}, {}, {}, {})
    assert (set(google.accounts), google.packages) == ({BUILDER}, set())
    assert desk.clockify.hooks == []
    assert google.unknown == []


def test_delete_with_another_answer_deletes_nothing(deployed: Desk) -> None:
    """It asks for the function's name; where nobody can answer, it wants --yes."""
    code, screen = deployed.deploy_at_terminal(
        "--delete", answers={"Type the function's name": "yes"}
    )
    assert (code, deployed.google.writes()) == (1, [])
    assert "nothing was deleted" in screen
    unasked = deployed.deploy("--delete")
    assert (unasked.code, unasked.writes) == (1, [])
    assert "add --yes" in unasked.err


# --- At a terminal --------------------------------------------------------------------------------


def test_values_typed_at_a_prompt_are_never_echoed(empty: Desk) -> None:
    """What is asked for is stored as it was typed, and never on the screen."""
    empty.google.fail("cloudtasks")  # what comes after the values is another test's matter
    code, screen = empty.deploy_at_terminal(
        answers={
            "Paste your JSON as one line: ": json.dumps(CREDENTIALS),
            "Clockify API key, to create the webhooks (Enter: by hand): ": KEY,
        }
    )
    assert code == 1
    (stored,) = empty.google.values[f"{NAME}-salesforce"]
    assert json.loads(stored) == CREDENTIALS
    for secret in (KEY, CREDENTIALS["consumer_key"], CREDENTIALS["consumer_secret"]):
        assert secret not in screen


# --- Wrong starts ---------------------------------------------------------------------------------


def hide_gcloud(desk: Desk) -> None:
    """Leave only the programs that every machine has, without gcloud."""
    (desk.folder / "bin" / "gcloud").unlink()
    for program in ("bash", "dirname", "mktemp", "rm", "cat", "grep", "sed", "env"):
        (desk.folder / "bin" / program).symlink_to(str(shutil.which(program)))
    desk.environment["PATH"] = str(desk.folder / "bin")


def sign_out(desk: Desk) -> None:
    """Forget the access token."""
    del desk.environment["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"]


def forget_project(desk: Desk) -> None:
    """Leave gcloud without a project."""
    del desk.environment["CLOUDSDK_CORE_PROJECT"]


def end_billing(desk: Desk) -> None:
    """Take the billing account from the project."""
    desk.google.billing = False


def take_rights(desk: Desk) -> None:
    """Leave the person without two of the rights."""
    desk.google.denied |= {"run.services.create", "secretmanager.secrets.setIamPolicy"}


def leave(desk: Desk) -> None:
    """Leave all as it is."""


GIVEN = ("--salesforce-credentials-file", "{credentials}")


@pytest.mark.parametrize(
    ("spoil", "options", "file", "sentence"),
    [
        (hide_gcloud, GIVEN, "", "gcloud is not installed"),
        (sign_out, GIVEN, "", "gcloud is not signed in: run  gcloud auth login"),
        (forget_project, GIVEN, "", "no project is set: run  gcloud config set project"),
        (leave, (*GIVEN, "--project", "another"), "", "there is no project 'another'"),
        (end_billing, GIVEN, "", "has no billing: run  gcloud billing projects link demo-proj"),
        (take_rights, GIVEN, "", "secretmanager.secrets.setIamPolicy run.services.create. Have"),
        (leave, (), "", "the Salesforce credentials are missing"),
        (leave, ("--salesforce-credentials-file", "{file}"), "domain: acme", "are not JSON"),
        (leave, ("--salesforce-credentials-file", "nowhere"), "", "cannot read the file"),
        (leave, ("--salesforce-credentials-file", "."), "", "cannot read the file"),
        (
            leave,
            (*GIVEN, "--signing-secrets-file", "{file}"),
            f"{'a' * 32}\n\n{'b' * 32}\n",
            "Line 2 of the signing secrets is empty",
        ),
        (leave, (*GIVEN, "--clockify-api-key-file", "{file}"), "two words", "API key"),
        (leave, (*GIVEN, "--keep-api-key"), "", "the Clockify API key is missing"),
        (leave, (*GIVEN, "--nightly-repair"), "", "--nightly-repair needs --workspace"),
        (leave, ("--frobnicate",), "", "unknown option"),
        (leave, ("--frobnicate", "x"), "", "unknown option: --frobnicate"),
        (leave, ("--project",), "", "unknown option, or one without its value: --project"),
        (leave, ("--service", "No"), "", "--service takes 6 to 30"),
        (leave, (*GIVEN, "--event-subject", "{{projekt}}"), "", "EVENT_SUBJECT: only"),
        (leave, (*GIVEN, "--event-subject", "a~~b"), "", "must not hold ~~"),
    ],
)
def test_wrong_start_is_one_sentence_and_makes_nothing(
    empty: Desk, spoil: Any, options: tuple[str, ...], file: str, sentence: str
) -> None:
    """It says what is wrong before anything is made, without the value that is wrong."""
    spoil(empty)
    paths = {"credentials": empty.credentials_file, "file": empty.write("file", file)}
    result = empty.deploy(*(option.format(**paths) for option in options))
    assert (result.code, result.writes) == (1, []), result.err
    assert result.err.startswith("deploy.sh: ")
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert empty.clockify.created == []
