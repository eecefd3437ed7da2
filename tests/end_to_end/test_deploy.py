"""deploy.sh with the real gcloud, against stand-ins of Google's APIs and of Clockify on loopback.

What is asserted is what gcloud really sent. gcloud, curl and Python run behind wrappers that write
down their arguments and environments, where no secret may turn up. A command of gcloud takes half
a second and a run many of them; so the long runs (`scenario`) go on in the background, each from a
twin of what an earlier one made, while the other tests run.
"""

import base64
import copy
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
PLACE = f"projects/{PROJECT}/locations/{REGION}"
QUEUE = f"{PLACE}/queues/{NAME}-retry"
TOKEN = "made-up-access-token"
CREDENTIALS = {"domain": DOMAIN, "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
ROTATED = "another-consumer-secret"
OTHER_WORKSPACE, OTHER_KEY = "70b687e29ae1f428e7ebe399", "the-clockify-api-key-of-another-region"
ASKED_TO_BUILD = "builder@demo-proj.iam.gserviceaccount.com"
# deploy.sh keeps secrets in shell variables; one that came exported would be handed on.
SAME_NAMES = (
    *("TOKEN", "CREDENTIALS", "SIGNING_SECRETS", "API_KEY", "STORED_KEY", "FOUND", "ANSWER"),
    *("INPUT", "typed", "now", "found", "kept", "key"),
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
    project: Path
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

    def deploy(
        self,
        *options: str | Path,
        text: str = "",
        bash: tuple[str, ...] = (),
        check: bool = False,
        environment: dict[str, str] | None = None,
    ) -> Outcome:
        """Run deploy.sh where nobody can answer; `text` is its stdin, `bash` options of bash."""
        before = len(self.google.writes())
        if not check:  # it is tested by itself
            options = ("--no-check", *options)
        result = subprocess.run(
            ["bash", *bash, self.script, *map(str, options)],
            input=text,
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            timeout=600,
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
        return str(self.project / "deploy.sh")

    @property
    def stored(self) -> list[bytes]:
        """The versions of the signing secrets."""
        return self.google.values[f"{NAME}-signing-secrets"]

    def secrets(self) -> list[str]:
        """Every secret that this machine has seen."""
        hooks = [hook["authToken"] for hook in self.clockify.hooks]
        return [KEY, OTHER_KEY, CREDENTIALS["consumer_secret"], ROTATED, TOKEN, *hooks]


# --- The long runs --------------------------------------------------------------------------------


@dataclass
class Stage:
    """Where the long runs go on, two at a time; `after` waits for one and returns its result."""

    folder: Path
    project: Path
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))
    runs: dict[str, Future[Any]] = field(default_factory=dict)
    desks: list[Desk] = field(default_factory=list)

    def desk(
        self,
        name: str,
        google: GoogleApis | None = None,
        clockify: ClockifyApi | None = None,
        project: Path | None = None,
    ) -> Desk:
        """Return a machine in front of this Google project and this Clockify, else of new ones."""
        folder = self.folder / name
        desk = Desk(
            folder, project or self.project, google or GoogleApis(), clockify or ClockifyApi()
        )
        self.desks.append(desk)
        return desk

    def twin(self, name: str, of: Desk, project: Path | None = None) -> Desk:
        """Return a machine in front of the same things as another one."""
        return self.desk(name, of.google.twin(), twin(of.clockify), project or of.project)

    def after(self, name: str) -> Any:
        """Return the result of a long run."""
        return self.runs[name].result()


SCENARIOS: dict[str, tuple[Callable[[Stage], Any], tuple[str, ...]]] = {}


def scenario(*needs: str) -> Callable[[Callable[[Stage], Any]], Any]:
    """Make a fixture of a long run; it goes on in the background after those that it needs."""

    def made(run: Callable[[Stage], Any]) -> Any:
        SCENARIOS[run.__name__] = run, needs

        @pytest.fixture(scope="module", name=run.__name__)
        def result(stage: Stage) -> Any:
            return stage.after(run.__name__)

        return result

    return made


@dataclass
class Run:
    """The state after a run that other tests go on from, and how the run ended."""

    desk: Desk
    outcome: Outcome


@scenario()
def first(stage: Stage) -> Run:
    """The first run on an empty project, with a Clockify API key, and with bash -x."""
    desk = stage.desk("first")
    outcome = desk.deploy(
        "--salesforce-credentials-file",
        desk.credentials_file,
        f"--clockify-api-key-file={desk.key_file}",
        bash=("-x",),
        environment=dict.fromkeys(SAME_NAMES, "from-the-environment"),
    )
    return Run(desk, outcome)


@scenario("first")
def changed(stage: Stage) -> Run:
    """A later run with other choices, in front of what somebody has changed by hand."""
    project = stage.folder / "project-with-check"
    shutil.copytree(stage.project, project)
    (project / "commands" / "check.py").write_text(
        "import os, sys\nprint('CHECK', *sys.argv[1:], os.environ['CLOCKIFY_API_KEY'])\n"
    )
    desk = stage.twin("changed", stage.after("first").desk, project)
    queue = desk.google.queues[f"{NAME}-retry"]
    queue["retryConfig"]["maxAttempts"], queue["state"] = 3, "PAUSED"
    template = desk.google.services[NAME]["spec"]["template"]
    template["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] = "3"
    template["spec"]["containers"][0]["env"].append({"name": "BY_HAND", "value": "1"})
    desk.stored.append(desk.stored[0] + b"\n" + b"old" * 11)
    desk.google.late_apis = 0
    outcome = desk.deploy(
        *("--clockify-api-key-file", desk.key_file, "--salesforce-credentials-file=-"),
        *("--event-subject={project}, {user}: {description}", "--salesforce-api-version=66.0"),
        *("--alerts-to=ops@acme.example", "--repair-days=3", "--weekly-schedule=5 4 * * 6"),
        *("--drop-old-signing-secrets", "--memory=1Gi"),
        text=json.dumps(CREDENTIALS | {"consumer_secret": ROTATED}),
        check=True,
    )
    return Run(desk, outcome)


@scenario("changed")
def stays(stage: Stage) -> Run:
    """A run without options after one with many."""
    desk = stage.twin("stays", stage.after("changed").desk)
    return Run(desk, desk.deploy())


@scenario("first")
def half_way(stage: Stage) -> tuple[Desk, str, list[Outcome]]:
    """What is asked for is typed; then runs that fail one step further each, until one does not."""
    desk = stage.desk("half-way")
    google = desk.google
    google.late_apis = google.late_accounts = google.late_builds = 0
    google.late_latest = google.late_queues = 0
    google.deleted_queues.add(f"{NAME}-retry")
    code, screen = desk.deploy_at_terminal(
        answers={
            "Paste your JSON as one line: ": json.dumps(CREDENTIALS),
            "Clockify API key (Enter: none, and webhooks by hand): ": KEY,
        }
    )
    assert code == 1, screen
    ends = []
    for step in (r"builds:submit", r"POST cloudscheduler"):
        google.fail(step)
        ends.append(desk.deploy(f"--queue={NAME}-retry-2"))
    google.failing = []
    desk.clockify.faults.refused_webhook = 3
    ends.append(desk.deploy(f"--queue={NAME}-retry-2"))
    desk.clockify.faults.refused_webhook = None
    ends.append(desk.deploy())
    return desk, screen, ends


@scenario("first")
def several(stage: Stage) -> tuple[Desk, ClockifyApi, list[Outcome]]:
    """A second workspace with a key of its own: forgotten to name, named, then again."""
    desk = stage.twin("several", stage.after("first").desk)
    other = ClockifyApi(workspaces=[OTHER_WORKSPACE], made=100)
    other.api_key = OTHER_KEY
    desk.google.others["euc1.clockify.me"] = other
    key = desk.write("other-key", f"euc1 {OTHER_KEY}\n")
    ends = [
        desk.deploy("--clockify-api-key-file", key),
        desk.deploy("--clockify-api-key-file", key, "--workspace", OTHER_WORKSPACE),
        desk.deploy(),
    ]
    return desk, other, ends


@scenario("first")
def organisation(stage: Stage) -> tuple[Desk, list[Outcome]]:
    """No build works; its account is disabled; another builds; nobody is let in; then by IAM."""
    desk = stage.twin("organisation", stage.after("first").desk)
    google = desk.google
    google.services.clear()
    google.jobs.clear()
    google.constraints |= {"run.managed.requireInvokerIam", "iam.allowedPolicyMemberDomains"}
    google.build_fails = True
    ends = [desk.deploy()]
    google.build_fails = False
    google.accounts[BUILDER]["disabled"] = True
    ends.append(desk.deploy())
    google.accounts[ASKED_TO_BUILD] = {"name": ASKED_TO_BUILD, "email": ASKED_TO_BUILD}
    ends.append(desk.deploy("--build-service-account", ASKED_TO_BUILD))
    google.constraints.remove("iam.allowedPolicyMemberDomains")
    return desk, [*ends, desk.deploy(), desk.deploy()]


@scenario("changed")
def removal(stage: Stage) -> tuple[Desk, str, GoogleApis, Outcome]:
    """All taken away at a terminal, but for a secret of somebody else's; then deployed anew."""
    desk = stage.twin("removal", stage.after("changed").desk)
    google = desk.google
    google.secrets[f"{NAME}-salesforce"]["labels"] = {}
    google.secrets["another"] = {"name": "another"}
    google.tasks = [{"name": f"{QUEUE}/tasks/1"}]
    code, screen = desk.deploy_at_terminal(
        *("--delete", "--clockify-api-key-file", str(desk.key_file)),
        answers={"Type the function's name": NAME},
    )
    assert code == 0, screen
    left = google.twin()
    left.close()
    again = desk.deploy("--clockify-api-key-file", desk.key_file, "--no-nightly-repair")
    return desk, screen, left, again


@scenario("first")
def choices(stage: Stage) -> tuple[Desk, list[Outcome]]:
    """The key forgotten; then the key given once more, for the webhooks only."""
    desk = stage.twin("choices", stage.after("first").desk)
    ends = [
        desk.deploy("--forget-api-key"),
        desk.deploy("--clockify-api-key-file", desk.key_file),
    ]
    return desk, ends


@scenario("first")
def kinds(stage: Stage) -> tuple[Desk, list[tuple[Outcome, list[str]]]]:
    """Two kinds beside time entries, more than the plan has room for; one of them; no option."""
    desk = stage.twin("kinds", stage.after("first").desk)
    runs = []
    for options in (("--with", "tasks, projects"), ("--with=projects",), ()):
        outcome = desk.deploy(*options)
        runs.append((outcome, [hook["webhookEvent"] for hook in desk.clockify.hooks]))
    return desk, runs


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Yield the stage, with a copy of the project that has much in it that must not be uploaded."""
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
    for package in ("clockify_salesforce", "commands", "deploy"):
        shutil.copytree(PROJECT_FOLDER / package, project / package)  # with its __pycache__
    for name in ("credentials.json", "tests/test_main.py", ".git/config", ".venv/lib/main.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("not for the cloud")
    stage = Stage(folder, project)
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asked_for = {name for test in tests for name in test.fixturenames}
    wanted = set(SCENARIOS) & (asked_for | {"first"})
    wanted |= {need for name in wanted for need in SCENARIOS[name][1]}
    for name, (run, _) in SCENARIOS.items():
        if name in wanted:
            stage.runs[name] = stage.pool.submit(run, stage)
    yield stage
    stage.pool.shutdown(cancel_futures=True)
    for desk in stage.desks:
        desk.google.close()


@pytest.fixture
def deployed(stage: Stage, first: Run, tmp_path: Path) -> Desk:
    """Return a desk in front of what the first run made."""
    return stage.twin(tmp_path.name, first.desk)


@pytest.fixture
def empty(stage: Stage, tmp_path: Path) -> Desk:
    """Return a desk in front of an empty project."""
    return stage.desk(tmp_path.name)


@pytest.fixture
def payload() -> Json:
    """Return a time entry as Clockify sends it."""
    path = PROJECT_FOLDER / "tests" / "payloads" / "TIMER_STOPPED.json"
    return dict(json.loads(path.read_text()))


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
    """Return the body of the last write whose path ends so."""
    *_, body = [request.body for request in writes if request.path.endswith(end)]
    return body


def container(body: Json) -> Json:
    """Return the one container of a Cloud Run service."""
    (only,) = body["spec"]["template"]["spec"]["containers"]
    return dict(only)


def job_container(job: Json) -> Json:
    """Return the one container of a Cloud Run job."""
    (only,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(container: Json) -> dict[str, str]:
    """Return a container's environment."""
    return {each["name"]: each["value"] for each in container["env"]}


def ends(outcomes: list[Outcome]) -> list[int]:
    """Return the exit codes."""
    return [outcome.code for outcome in outcomes]


# --- Wrong starts ---------------------------------------------------------------------------------


def hide_gcloud(desk: Desk) -> None:
    """Leave only the programs that every machine has, without gcloud."""
    (desk.folder / "bin" / "gcloud").unlink()
    for program in ("bash", "dirname", "mktemp", "rm", "cat", "grep", "sed", "env", "tr"):
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
    """Leave the person without three of the rights."""
    desk.google.denied |= {
        *("run.services.create", "resourcemanager.projects.setIamPolicy"),
        "iam.serviceAccounts.list",
    }


def add_workspace(desk: Desk) -> None:
    """Have the key see two workspaces, one with a name that moves the cursor."""
    both = [{"id": WORKSPACE, "name": "Acme"}, {"id": OTHER_WORKSPACE, "name": "\x1b[2J\x9b1mB"}]
    desk.google.others[API_HOST] = lambda *_: (200, both, {})


def leave(desk: Desk) -> None:
    """Leave all as it is."""


GIVEN = ("--salesforce-credentials-file", "{credentials}")
KEYED = (*GIVEN, "--clockify-api-key-file", "{key}")


@pytest.mark.parametrize(
    ("spoil", "options", "file", "sentence"),
    [
        (hide_gcloud, GIVEN, "", "gcloud is not installed"),
        (sign_out, GIVEN, "", "gcloud is not signed in: run  gcloud auth login"),
        (forget_project, GIVEN, "", "no project is set: run  gcloud config set project"),
        (leave, (*GIVEN, "--project", "another"), "", "there is no project 'another'"),
        (end_billing, GIVEN, "", "has no billing: run  gcloud billing projects link demo-proj"),
        (
            take_rights,
            GIVEN,
            "",
            "resourcemanager.projects.setIamPolicy iam.serviceAccounts.list run.services.create.",
        ),
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
        (leave, (*GIVEN, "--nightly-repair"), "", "the Clockify API key is missing"),
        (leave, ("--nightly-repair", "--forget-api-key"), "", "leave --forget-api-key out"),
        (add_workspace, KEYED, "", f"name one: --workspace {WORKSPACE} (Acme), {OTHER_WORKSPACE}"),
        (leave, ("--frobnicate",), "", "unknown option"),
        (leave, ("--frobnicate", "x"), "", "unknown option: --frobnicate"),
        (leave, ("--project",), "", "unknown option, or one without its value: --project"),
        (leave, ("--service", "No"), "", "--service takes 6 to 30"),
        (leave, ("--workspace", "acme"), "", "--workspace takes the id"),
        (leave, ("--with", "clients,times"), "", "--with takes clients, projects, tasks, invoices"),
        (leave, ("--max-instances", "0"), "", "take a number from 1 on"),
        (leave, ("--alerts-to", "me"), "", "--alerts-to takes one e-mail address"),
        (leave, (*GIVEN, "--event-subject", "{{projekt}}"), "", "EVENT_SUBJECT: only"),
        (leave, (*GIVEN, "--event-subject", "a~~b"), "", "must not hold ~~"),
        (leave, (*GIVEN, "--salesforce-api-version", "v66"), "", "SALESFORCE_API_VERSION is wrong"),
    ],
)
def test_wrong_start_is_one_sentence_and_makes_nothing(
    empty: Desk, spoil: Any, options: tuple[str, ...], file: str, sentence: str
) -> None:
    """It says what is wrong before anything is made, without the value that is wrong."""
    spoil(empty)
    paths = {
        "credentials": empty.credentials_file,
        "key": empty.key_file,
        "file": empty.write("file", file),
    }
    result = empty.deploy(*(option.format(**paths) for option in options))
    assert (result.code, result.writes) == (1, []), result.err
    assert result.err.startswith("deploy.sh: ") or spoil is add_workspace
    assert sentence in result.err
    assert result.err.count("\n") == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.err)
    assert empty.clockify.created == []


def test_region_without_cloud_tasks_is_told_before_anything_is_made(empty: Desk) -> None:
    """Cloud Run is in more regions than Cloud Tasks; only an API that is on can be asked."""
    options = ("--salesforce-credentials-file", empty.credentials_file, "--region=europe-west4")
    for made in (["services:batchEnable"], []):
        result = empty.deploy(*options)
        assert result.code == 1
        assert [request.path.split("/")[-1] for request in result.writes] == made
        assert "Cloud Tasks is not in europe-west4: take another --region, one of" in result.err
        assert REGION in result.err


def test_version_that_is_switched_off_is_no_value(deployed: Desk) -> None:
    """The newest version of the credentials is disabled: they are asked for."""
    deployed.google.version_states[f"{NAME}-salesforce/1"] = "DISABLED"
    result = deployed.deploy()
    assert (result.code, result.writes) == (1, [])
    assert result.err.startswith("deploy.sh: the Salesforce credentials are missing")


def test_right_that_is_missing_for_good_is_told_after_eight_minutes(empty: Desk) -> None:
    """It may be a new one that is not known yet: all of that time is waited for."""
    empty.google.late_apis = 0
    empty.google.fail(r"POST iam\S* \S*serviceAccounts$", 403)
    result = empty.deploy("--salesforce-credentials-file", empty.credentials_file)
    assert (result.code, len(result.writes)) == (1, 1 + 12)
    assert result.err.splitlines()[-2].startswith("deploy.sh: Google says so for 8 minutes now")
    shell = (PROJECT_FOLDER / "deploy" / "terminal.sh").read_text()
    waits = re.search(r"for wait in ([\d ]+) 0;", shell)
    assert waits is not None
    assert sum(map(int, waits[1].split())) * 10 == 8 * 60


# --- At a terminal --------------------------------------------------------------------------------


def test_values_typed_at_a_prompt_are_never_echoed(
    half_way: tuple[Desk, str, list[Outcome]],
) -> None:
    """What is asked for is stored as it was typed, and never on the screen."""
    desk, screen, _ = half_way
    (stored,) = desk.google.values[f"{NAME}-salesforce"]
    assert json.loads(stored) == CREDENTIALS
    assert desk.google.values[f"{NAME}-clockify-api-key"] == [KEY.encode()]
    for secret in (KEY, CREDENTIALS["consumer_key"], CREDENTIALS["consumer_secret"]):
        assert secret not in screen


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


# --- The first run --------------------------------------------------------------------------------


def test_first_run_ends_with_the_url(first: Run) -> None:
    """All is there in one command, and the stand-in knew every request of gcloud's."""
    assert first.outcome.code == 0, first.outcome.err
    assert f"The URL for Clockify's webhooks:\n  {URL}\n" in first.outcome.out
    assert "commands.match_records" in first.outcome.out
    assert "refuses a stranger (401)" in first.outcome.out
    assert first.desk.google.unknown == []
    assert [call["Clockify-Signature"] for call in first.desk.google.function_calls] == [
        "deploy-check"
    ]


def test_first_run_waits_for_what_is_new_and_says_so(first: Run) -> None:
    """APIs, the account, the right to build, the queue, a secret's version: each was late."""
    google = first.desk.google
    assert {name for name, left in google.late.items() if left} == set()
    assert {"queue", "build", ACCOUNT, f"{NAME}-signing-secrets/latest"} <= set(google.late)
    assert "does not have storage.objects.get access" in first.outcome.err
    assert "What is new takes Google up to 8 minutes: once more in 0 s." in first.outcome.out
    assert f"Google does not serve version 1 of {NAME}-salesforce yet" in first.outcome.out


def test_first_run_enables_what_it_needs_and_no_more(first: Run) -> None:
    """Seven APIs."""
    assert first.desk.google.enabled == {
        f"{name}.googleapis.com"
        for name in (
            *("run", "cloudbuild", "artifactregistry", "secretmanager", "cloudtasks", "iam"),
            "cloudscheduler",
        )
    }


def test_first_run_gives_rights_on_exactly_its_resources(first: Run) -> None:
    """The account may read its secrets, add to its queue, start its jobs; the builder may build."""
    account = f"serviceAccount:{ACCOUNT}"
    assert bindings(first.outcome.writes) == {
        (f"/v1/{SECRETS}/{NAME}-salesforce", READS, account),
        (f"/v1/{SECRETS}/{NAME}-signing-secrets", READS, account),
        (f"/v1/{SECRETS}/{NAME}-clockify-api-key", READS, account),
        (f"/v2/{QUEUE}", "roles/cloudtasks.enqueuer", account),
        (f"/v1/{PLACE}/jobs/{NAME}-repair", "roles/run.invoker", account),
        (f"/v1/{PLACE}/jobs/{NAME}-weekly", "roles/run.invoker", account),
        (f"/v1/projects/{PROJECT}", "roles/run.builder", f"serviceAccount:{BUILDER}"),
    }


def test_first_run_stores_what_the_function_reads(first: Run) -> None:
    """The sign-in's JSON, the API key, and the signing secret of each webhook, one per line."""
    values = first.desk.google.values
    (credentials,) = values[f"{NAME}-salesforce"]
    assert json.loads(credentials) == CREDENTIALS
    assert values[f"{NAME}-clockify-api-key"] == [KEY.encode()]
    (secrets,) = values[f"{NAME}-signing-secrets"]
    hooks = first.desk.clockify.hooks
    assert secrets.decode() == "\n".join(hook["authToken"] for hook in hooks)
    assert [hook["webhookEvent"] for hook in hooks] == list(webhooks.EVENTS)
    assert {hook["url"] for hook in hooks} == {URL}
    replicas = {"userManaged": {"replicas": [{"location": REGION}]}}
    assert {name: each["replication"] for name, each in first.desk.google.secrets.items()} == (
        dict.fromkeys(values, replicas)
    )


def test_first_run_makes_a_queue_that_outlives_seven_days(first: Run) -> None:
    """10 s, doubled up to an hour, without end: the function itself gives a message up.

    Cloud Tasks keeps a task for 31 days at most, and ends retrying only when both are used up.
    """
    queue = the(first.outcome.writes, "/queues")
    assert queue["name"] == QUEUE
    assert queue["retryConfig"] == {
        "minBackoff": "10s",
        "maxBackoff": "3600s",
        "maxDoublings": 16,
        "maxRetryDuration": f"{31 * 24 * 3600}s",
        "maxAttempts": -1,
    }


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
    assert marks["autoscaling.knative.dev/maxScale"] == "10"
    assert service["metadata"]["annotations"]["run.googleapis.com/invoker-iam-disabled"] == "True"
    assert settings == {
        "SIGNING_SECRETS": f"{SECRETS}/{NAME}-signing-secrets",
        "SALESFORCE_CREDENTIALS": f"{SECRETS}/{NAME}-salesforce",
        "RETRY_QUEUE": QUEUE,
        "FUNCTION_URL": URL,
        "THREADS": "80",
        "CLOCKIFY_API_KEY": f"{SECRETS}/{NAME}-clockify-api-key",
    }
    build = next(
        request.body["buildpackBuild"]
        for request in first.outcome.writes
        if request.path.endswith("builds:submit")
    )
    assert build["functionTarget"] == "clockify_webhook"
    assert build["baseImage"] == "python313"


def test_first_run_schedules_a_repair_every_night_and_every_week(first: Run) -> None:
    """Two jobs with one image and the Python of .python-version; the account may start both."""
    google = first.desk.google
    expected = {"repair": ("7", "17 2 * * *"), "weekly": ("92", "47 3 * * 0")}
    assert set(google.jobs) == set(google.schedules) == {f"{NAME}-{kind}" for kind in expected}
    for kind, (days, when) in expected.items():
        spec = google.jobs[f"{NAME}-{kind}"]["spec"]["template"]["spec"]["template"]["spec"]
        repair = job_container(google.jobs[f"{NAME}-{kind}"])
        assert repair["command"] == ["/cnb/lifecycle/launcher"]
        command = f"-- python -m commands.backfill --workspace {WORKSPACE} --days {days} --apply"
        assert repair["args"] == command.split()
        assert (spec["serviceAccountName"], spec["maxRetries"]) == (ACCOUNT, 0)
        settings = environment(repair)
        assert settings["CLOCKIFY_API_KEY"] == f"{SECRETS}/{NAME}-clockify-api-key"
        assert settings["SALESFORCE_CREDENTIALS"] == f"{SECRETS}/{NAME}-salesforce"
        schedule = google.schedules[f"{NAME}-{kind}"]
        assert (schedule["schedule"], schedule["timeZone"]) == (when, "Etc/UTC")
        assert schedule["httpTarget"] == {
            "uri": f"https://run.googleapis.com/v2/{PLACE}/jobs/{NAME}-{kind}:run",
            "httpMethod": "POST",
            "oauthToken": {"serviceAccountEmail": ACCOUNT},
        }
    assert len({job_container(job)["image"] for job in google.jobs.values()}) == 1


def test_upload_holds_exactly_the_product(first: Run, tmp_path: Path) -> None:
    """What goes up is what the function and the repair import, and what they run on."""
    *_, upload = first.desk.google.uploads
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
        *("main.py", "mapping.py", "mapping.toml", "requirements.txt", ".python-version")
    }


def test_function_and_jobs_have_the_same_python() -> None:
    """The function's base image, and the version that the jobs' build reads, are one Python."""
    options = (PROJECT_FOLDER / "deploy" / "options.sh").read_text()
    image = re.search(r"BASE_IMAGE:-python(\d)(\d+)}", options)
    assert image is not None
    wanted = (PROJECT_FOLDER / ".python-version").read_text().strip()
    assert f"{image[1]}.{image[2]}" == wanted


def test_every_pin_has_hashes() -> None:
    """So pip, and the buildpack's pip or uv, install what was tested or nothing."""
    text = (PROJECT_FOLDER / "requirements.txt").read_text().replace("\\\n", "")
    pins = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(pins) > 40
    for pin in pins:
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin), pin


def test_no_secret_is_in_an_argument_environment_log_or_request(
    first: Run,
    changed: Run,
    several: tuple[Desk, ClockifyApi, list[Outcome]],
) -> None:
    """Each travels through a pipe, and to Google in the body of addVersion alone."""
    desk, other, others = several
    runs = [(run.desk, [run.outcome]) for run in (first, changed)] + [(desk, others)]
    for desk, outcomes in runs:
        secrets = desk.secrets() + [hook["authToken"] for hook in other.hooks]
        commands = desk.record.read_text()
        assert "gcloud secrets versions add" in commands
        logs = [path.read_text() for path in (desk.folder / "gcloud" / "logs").rglob("*.log")]
        shown = [text for outcome in outcomes for text in (outcome.out, outcome.err)]
        for text in (commands, *shown, *logs):
            assert not [secret for secret in secrets if secret in text]
        encoded = [base64.b64encode(secret.encode()).decode() for secret in secrets]
        for request in desk.google.requests:
            if not request.path.endswith(":addVersion"):
                text = f"{request} {request.query} {request.body}"
                assert not [secret for secret in (*secrets, *encoded) if secret in text]
    # But for the one that was given to bash itself.
    record = first.desk.record.read_text()
    assert f"{SAME_NAMES[0]}=from-the-environment" not in record
    assert "key=from-the-environment" not in record


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


def test_dry_run_prints_the_commands_of_the_first_run(empty: Desk, first: Run) -> None:
    """Every one, but for the signing secrets that do not exist yet; and nothing is changed."""
    dry = empty.deploy(
        *("--dry-run", "--salesforce-credentials-file", empty.credentials_file),
        *("--clockify-api-key-file", empty.key_file),
    )
    assert (dry.code, dry.writes, empty.clockify.hooks) == (0, [], []), dry.err
    store = f"gcloud secrets versions add {NAME}-signing-secrets"

    def comparable(commands: list[str]) -> list[str]:
        """The image of a job that was not made has no name."""
        return [
            re.sub(r"--image=\S+", "--image", line)
            for line in commands
            if not line.startswith(store)
        ]

    assert comparable(dry.commands) == comparable(first.outcome.commands)
    assert "TIMER_STOPPED: would be created" in dry.err


# --- Later runs -----------------------------------------------------------------------------------


def test_changed_choices_change_only_what_differs(changed: Run) -> None:
    """A new credential, Subject and API version, the queue as it was, no old signing secret."""
    assert changed.outcome.code == 0, changed.outcome.err
    done = [str(request).split("/")[-1] for request in changed.outcome.writes]
    assert [each for each in done if each != "o"] == [
        "monitoring.googleapis.com:enable",
        f"{NAME}-salesforce:addVersion",
        f"{NAME}-retry",
        *("builds:submit", NAME),  # the function
        *("builds:submit", f"{NAME}-repair"),
        f"{NAME}-weekly",
        f"{NAME}-weekly",  # its schedule
        f"{NAME}-signing-secrets:addVersion",
        "notificationChannels",
        *["alertPolicies"] * 5,
    ]
    stored, _with_an_old_one, last = changed.desk.stored
    assert last == stored
    queue = changed.desk.google.queues[f"{NAME}-retry"]
    assert queue["retryConfig"]["maxAttempts"] == -1
    assert queue["state"] == "PAUSED"  # by somebody's hand, not by --delete
    assert f"! The queue is paused: gcloud tasks queues resume {NAME}-retry" in changed.outcome.out


def test_what_was_set_by_hand_is_kept_and_told(changed: Run) -> None:
    """A variable that deploy.sh does not know stays, and so does a size that nobody asked for."""
    service = changed.desk.google.services[NAME]
    settings = environment(container(service))
    assert settings["BY_HAND"] == "1"
    assert settings["EVENT_SUBJECT"] == "{project}, {user}: {description}"
    assert settings["SALESFORCE_API_VERSION"] == "66.0"
    assert container(service)["resources"]["limits"]["memory"] == "1Gi"
    marks = service["spec"]["template"]["metadata"]["annotations"]
    assert marks["autoscaling.knative.dev/maxScale"] == "3"
    assert "max-instances of the function: stays 3 (10 is this script's own)" in changed.outcome.out


def test_repairs_change_with_their_options(changed: Run) -> None:
    """The jobs have the function's settings and the days asked for, the schedule its time."""
    google = changed.desk.google
    nightly, weekly = (
        job_container(google.jobs[f"{NAME}-{kind}"]) for kind in ("repair", "weekly")
    )
    assert nightly["args"][-3:] == ["--days", "3", "--apply"]
    assert weekly["args"][-3:] == ["--days", "92", "--apply"]
    assert environment(nightly)["SALESFORCE_API_VERSION"] == "66.0"
    assert environment(nightly)["EVENT_SUBJECT"] == "{project}, {user}: {description}"
    assert google.schedules[f"{NAME}-weekly"]["schedule"] == "5 4 * * 6"
    assert google.schedules[f"{NAME}-repair"]["schedule"] == "17 2 * * *"


def test_alerts_are_a_channel_and_five_policies(changed: Run) -> None:
    """Errors, a full queue, strangers by the hundred, a failed and a missing repair."""
    google = changed.desk.google
    ((channel, described),) = google.channels.items()
    assert described["type"] == "email"
    assert described["labels"] == {"email_address": "ops@acme.example"}
    policies = {each["userLabels"]["policy"]: each for each in google.alert_policies.values()}
    assert set(policies) == {
        *("errors", "queue-depth", "refusals", "repair-failed", "repair-missing")
    }
    assert {tuple(each["notificationChannels"]) for each in policies.values()} == {(channel,)}
    watched = {name: str(each["conditions"]) for name, each in policies.items()}
    assert f'resource.labels.service_name="{NAME}" AND severity>=ERROR' in watched["errors"]
    assert f'resource.labels.queue_id="{NAME}-retry"' in watched["queue-depth"]
    assert 'metric.labels.response_code="401"' in watched["refusals"]
    assert f'full_match("{NAME}-(repair|weekly).*")' in watched["repair-failed"]
    assert f'job_name="{NAME}-repair"' in watched["repair-missing"]


def test_deploy_ends_with_the_check(changed: Run) -> None:
    """The project's own check is told where all is, and has the function's settings."""
    assert (
        f"CHECK --project={PROJECT} --region={REGION} --service={NAME} --workspace={WORKSPACE}"
        f" {SECRETS}/{NAME}-clockify-api-key\n" in changed.outcome.out
    )


def test_second_run_changes_nothing_and_says_so(changed: Run, stays: Run) -> None:
    """No request that writes, to Google or to Clockify: what was chosen stays chosen."""
    assert (stays.outcome.code, stays.outcome.writes, stays.outcome.commands) == (0, [], [])
    assert "Nothing differed, nothing was changed." in stays.outcome.out
    assert f"job {NAME}-repair: is there, same source, same settings" in stays.outcome.out
    assert "alerts: their channel is there" in stays.outcome.out
    assert stays.desk.clockify.hooks == changed.desk.clockify.hooks


def test_name_of_a_deleted_queue_is_told_and_another_one_taken(
    half_way: tuple[Desk, str, list[Outcome]],
) -> None:
    """Google keeps the name for days; --queue names another, which stays chosen."""
    desk, screen, outcomes = half_way
    assert f"name another one, --queue {NAME}-retry-2, or wait" in screen
    assert (outcomes[-1].code, set(desk.google.queues)) == (0, {f"{NAME}-retry-2"})
    settings = environment(container(desk.google.services[NAME]))
    assert settings["RETRY_QUEUE"] == f"{QUEUE}-2"


def test_failures_half_way_are_made_good_by_the_same_command(
    half_way: tuple[Desk, str, list[Outcome]], first: Run
) -> None:
    """Wherever a run stops, the next one goes on, and ends with what one run would have made."""
    desk, screen, outcomes = half_way
    assert ends(outcomes) == [1, 1, 1, 0], outcomes[-1].err
    for told in (screen, *(outcome.err for outcome in outcomes[:-1])):
        assert "the same command goes on" in told
    assert "the webhooks are not all there" in outcomes[-2].err
    google, whole = desk.google, first.desk.google
    made = {name.replace("retry-2", "retry"): each for name, each in google.policies.items()}
    assert made == whole.policies
    assert google.values[f"{NAME}-salesforce"] == whole.values[f"{NAME}-salesforce"]
    assert len(google.values[f"{NAME}-signing-secrets"]) == 2  # of three webhooks, then of all
    assert google.values[f"{NAME}-signing-secrets"][-1].decode().split() == [
        hook["authToken"] for hook in desk.clockify.hooks
    ]
    assert google.schedules == whole.schedules
    assert google.unknown == []


def test_api_key_and_repair_are_taken_away_when_not_wanted(
    choices: tuple[Desk, list[Outcome]],
) -> None:
    """Without a stored key nothing can be repaired; and neither comes back by itself."""
    desk, (forgotten, given_again) = choices
    assert ends([forgotten, given_again]) == [0, 0], forgotten.err + given_again.err
    assert (desk.google.jobs, desk.google.schedules) == ({}, {})
    assert "CLOCKIFY_API_KEY" not in environment(container(desk.google.services[NAME]))
    assert f"{NAME}-clockify-api-key" not in desk.google.secrets
    assert forgotten.writes[-1].method == "DELETE"  # once nothing reads it any more
    assert given_again.writes == []


def test_each_workspace_has_repairs_and_a_key_of_its_own(
    several: tuple[Desk, ClockifyApi, list[Outcome]], first: Run
) -> None:
    """The other workspace's webhooks are let in too; nothing of the first one's changes."""
    desk, other, (unnamed, named, again) = several
    google = desk.google
    assert (unnamed.code, unnamed.writes) == (1, [])
    assert f"to have both, add --workspace {OTHER_WORKSPACE}" in unnamed.err
    assert named.code == 0, named.err
    suffix = OTHER_WORKSPACE[-8:]
    names = {f"{NAME}-repair", f"{NAME}-weekly"}
    assert set(google.jobs) == names | {f"{name}-{suffix}" for name in names}
    assert set(google.schedules) == set(google.jobs)
    for name in names:
        assert google.jobs[name] == first.desk.google.jobs[name]
        repair = job_container(google.jobs[f"{name}-{suffix}"])
        assert repair["args"][4:6] == ["--workspace", OTHER_WORKSPACE]
        key = environment(repair)["CLOCKIFY_API_KEY"]
        assert key == f"{SECRETS}/{NAME}-clockify-api-key-{suffix}"
    assert google.values[f"{NAME}-clockify-api-key-{suffix}"] == [f"euc1 {OTHER_KEY}".encode()]
    assert google.values[f"{NAME}-clockify-api-key"] == [KEY.encode()]
    hooks = [*desk.clockify.hooks, *other.hooks]
    assert desk.stored[-1].decode().split() == [hook["authToken"] for hook in hooks]
    assert len(other.hooks) == len(webhooks.EVENTS)
    assert (again.code, again.writes) == (0, []), again.err


# --- Organisations with rules ---------------------------------------------------------------------


def test_failed_build_stops_at_once(organisation: tuple[Desk, list[Outcome]]) -> None:
    """A build that failed is not built again, and there is one sentence about it."""
    _, (failed, *_) = organisation
    assert failed.code == 1
    submitted = [each for each in failed.writes if each.path.endswith("builds:submit")]
    assert len(submitted) == 1
    assert "deploy.sh: the build failed, nothing was deployed" in failed.err


def test_disabled_builder_is_named_and_another_one_builds(
    organisation: tuple[Desk, list[Outcome]],
) -> None:
    """Function and jobs are built by the account that was named, which stays chosen."""
    desk, (_, stopped, *built) = organisation
    assert stopped.code == 1
    assert f"the account that builds, {BUILDER}, is disabled" in stopped.err
    assert "--build-service-account EMAIL" in stopped.err
    account = f"projects/{PROJECT}/serviceAccounts/{ASKED_TO_BUILD}"
    for outcome in built[:2]:
        assert the(outcome.writes, "builds:submit")["serviceAccount"] == account
    (for_jobs,) = desk.google.builds
    assert for_jobs["serviceAccount"] == account


def test_forbidden_openness_falls_back_to_iam_or_names_the_constraint(
    organisation: tuple[Desk, list[Outcome]],
) -> None:
    """--allow-unauthenticated is tried; where that is forbidden too, an administrator can help."""
    desk, (*_, forbidden, by_iam, again) = organisation
    assert forbidden.code == 1
    assert "trying --allow-unauthenticated instead" in forbidden.out
    assert "exempt project demo-proj from constraints/run.managed.requireInvokerIam" in (
        forbidden.err
    )
    assert by_iam.code == 0, by_iam.err
    (binding,) = desk.google.policies[f"run/{PLACE}/services/{NAME}"]["bindings"]
    assert binding == {"role": "roles/run.invoker", "members": ["allUsers"]}
    assert (again.code, again.writes) == (0, []), again.err


# --- Clockify's webhooks --------------------------------------------------------------------------


def test_no_key_says_what_to_click(deployed: Desk) -> None:
    """By hand: the URL, the events, and how to hand in their signing secrets."""
    deployed.google.values[f"{NAME}-signing-secrets"] = []
    deployed.google.version_states[f"{NAME}-clockify-api-key/1"] = "DESTROYED"
    told = deployed.deploy("--with", "projects,invoices")
    assert told.code == 0, told.err
    assert f"with this URL:\n  {URL}" in told.out
    assert "Timer stopped" in told.out
    assert "! Of projects, invoices this makes no webhooks without an API key" in told.out
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
    stored = [version.decode().split() for version in deployed.stored]
    assert stored[1:] == [["a" * 32, "b" * 32], [*new, "a" * 32, "b" * 32]]


def test_kinds_have_their_webhooks_and_stay_chosen(
    kinds: tuple[Desk, list[tuple[Outcome, list[str]]]],
) -> None:
    """What the plan has no room for is told; a kind that is dropped makes room; secrets stay."""
    desk, [(both, first_hooks), (one, hooks), (nothing, last_hooks)] = kinds
    assert ends([both, one, nothing]) == [0, 0, 0], both.err + one.err + nothing.err
    assert first_hooks[6:] == ["NEW_TASK", "NEW_PROJECT", "TASK_UPDATED", "PROJECT_UPDATED"]
    assert "plan's limit. Without: TASK_DELETED, PROJECT_DELETED" in both.err
    assert hooks[6:] == ["NEW_PROJECT", "PROJECT_UPDATED", "PROJECT_DELETED"]
    assert (last_hooks, nothing.writes) == (hooks, [])
    assert desk.google.services[NAME]["metadata"]["labels"]["with"] == "projects"
    for job in desk.google.jobs.values():
        command = job_container(job)["args"]
        assert command[command.index("--kinds") + 1] == "time-entries,projects"
    # All signing secrets are in one, also those of messages that may still wait in the queue.
    stored = desk.stored[-1].decode().split()
    assert len(stored) == 11
    assert {hook["authToken"] for hook in desk.clockify.hooks} < {*stored}


# --- Taking it away -------------------------------------------------------------------------------


def test_delete_takes_all_away_but_what_is_not_its_own(
    removal: tuple[Desk, str, GoogleApis, Outcome],
) -> None:
    """After the right answer everything is gone, but for a secret that somebody else made."""
    _, screen, left, _ = removal
    assert f"secrets {NAME}-salesforce: stays" in screen
    assert "! Messages that are not in Salesforce yet wait in the queue." in screen
    assert set(left.secrets) == {f"{NAME}-salesforce", "another"}
    assert (left.services, left.jobs, left.schedules) == ({}, {}, {})
    assert (left.channels, left.alert_policies) == ({}, {})
    assert (set(left.accounts), left.packages) == ({BUILDER}, set())
    assert left.unknown == []


def test_deploy_after_delete_works_at_once(removal: tuple[Desk, str, GoogleApis, Outcome]) -> None:
    """The queue was left, empty and paused, because the name of a deleted one is taken for days."""
    desk, _, left, again = removal
    assert (left.queues[f"{NAME}-retry"]["state"], left.tasks) == ("PAUSED", [])
    assert again.code == 0, again.err
    assert desk.google.queues[f"{NAME}-retry"]["state"] == "RUNNING"
    assert (desk.google.jobs, desk.google.schedules) == ({}, {})  # --no-nightly-repair
    assert len(desk.clockify.hooks) == len(webhooks.EVENTS)
