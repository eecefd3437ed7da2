"""What waits in the retry queue: since when, why, and what mends it; --now tries it at once.

Of what a task holds, only the time entry's id is looked at; nothing else of it is ever shown. Why
it waits is in the function's log of the last day. docs/operation.md

Exit code: 0 nothing waits, 1 something does, 2 the call is wrong.
"""

import argparse
import base64
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clockify_salesforce.entries import KEPT_MS
from clockify_salesforce.webhook import EVENT_TYPE, FIRST_RECEIVED
from commands.checks.google import Deployment, moment_of, read_service
from commands.google_cloud import GoogleCloud, GoogleError, Json
from commands.terminal import WrongCall

SHOWN = 50  # of the tasks, each on a line of its own
AT_ONCE = 20  # that --now asks for at the same time
RESULT_S = 20.0  # until what --now tried is answered
LOG_LINES = 1000
NO_REASON = "the function's log of the last day does not tell; see the last answer"


@dataclass(frozen=True, slots=True)
class Task:
    """One message that waits. `answer`: what the function said the last time, "" before that."""

    id: str
    entry: str
    event: str
    since: datetime
    tries: int
    answers: int
    answer: str
    next_try: datetime


def tasks_of(cloud: GoogleCloud, queue: str) -> list[Task]:
    """All that waits, the oldest first. Raises GoogleError.

    What a task holds may be seen only with cloudtasks.tasks.fullView; without, no entry is told.
    https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/list
    """
    path = f"v2/{queue}/tasks"
    try:
        found = cloud.items("cloudtasks", path, "tasks", responseView="FULL", pageSize="1000")
    except GoogleError as error:
        if error.status != 403:
            raise
        found = cloud.items("cloudtasks", path, "tasks", pageSize="1000")
    return sorted(map(_task, found), key=lambda task: task.since)


def reasons_of(cloud: GoogleCloud, service: str) -> dict[str, str]:
    """Time entry's id -> why it was not taken the last time, by the function's log.

    Raises GoogleError. https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
    """
    since = datetime.now(UTC) - timedelta(days=1)
    wanted = (
        'resource.type="cloud_run_revision"',
        f'resource.labels.service_name="{service}"',
        f'timestamp>="{since:%Y-%m-%dT%H:%M:%SZ}"',
        "severity>=WARNING",
        "jsonPayload.entry:*",
    )
    body: Json = {
        "resourceNames": [f"projects/{cloud.project}"],
        "filter": " AND ".join(wanted),
        "orderBy": "timestamp desc",
        "pageSize": LOG_LINES,
    }
    reasons: dict[str, str] = {}
    for line in cloud.post("logging", "v2/entries:list", body).get("entries", []):
        told = line.get("jsonPayload", {})
        for entry in str(told.get("entry", "")).split(","):
            reasons.setdefault(entry, str(told.get("reason") or NO_REASON))
    return reasons


def _task(task: Json) -> Task:
    request = task.get("httpRequest", {})
    headers = {str(name).lower(): str(each) for name, each in request.get("headers", {}).items()}
    since = moment_of(task["createTime"])
    if (first := headers.get(FIRST_RECEIVED.lower(), "")).isdigit():
        since = datetime.fromtimestamp(int(first) / 1000, UTC)
    status = task.get("lastAttempt", {}).get("responseStatus", {})
    return Task(
        id=str(task["name"]).rsplit("/", 1)[-1],
        entry=_entry_id(str(request.get("body", ""))),
        event=_plain(headers.get(EVENT_TYPE.lower(), "")),
        since=since,
        tries=int(task.get("dispatchCount", 0)),
        answers=int(task.get("responseCount", 0)),
        answer=_answer(status),
        next_try=moment_of(str(task.get("scheduleTime") or task["createTime"])),
    )


def _entry_id(body: str) -> str:
    """The time entry that a task's body is about, "" where that is not told."""
    try:
        content = json.loads(base64.b64decode(body))
    except (ValueError, RecursionError):
        return ""
    if isinstance(content, list):
        return f"{len(content)} entries"
    return _plain(str(content.get("id", ""))) if isinstance(content, dict) else ""


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "?", text[:64])


def _answer(status: Mapping[str, object]) -> str:
    code = re.search(r"HTTP status code (\d{3})", str(status.get("message", "")))
    if code:
        return code[1]
    return "none" if status.get("code") else ""


# The terminal -------------------------------------------------------------------------------------


def table(tasks: Sequence[Task], now: datetime) -> str:
    """A line for each, the oldest first, no more than fit."""
    lines = [
        f"{'task':<22}{'time entry':<26}{'event':<22}{'since (UTC)':<18}{'tries':>5}"
        f"  {'last answer':<13}next try"
    ]
    for task in tasks[:SHOWN]:
        minutes = round((task.next_try - now) / timedelta(minutes=1))
        soon = "now" if minutes < 1 else f"in {minutes} min"
        lines.append(
            f"{task.id:<22}{task.entry or 'not told':<26}{task.event:<22}"
            f"{task.since:%Y-%m-%d %H:%M}  {task.tries:>5}  {task.answer or 'none yet':<13}{soon}"
        )
    if len(tasks) > SHOWN:
        lines.append(f"… and {len(tasks) - SHOWN} more")
    return "\n".join(lines)


def why(tasks: Sequence[Task], reasons: Mapping[str, str]) -> str:
    """The reasons, the most frequent first: each says what mends it."""
    told = Counter(reasons.get(task.entry, NO_REASON) for task in tasks)
    return "\n".join(f"  {count} of {len(tasks)}: {each}" for each, count in told.most_common())


def try_now(cloud: GoogleCloud, queue: str, tasks: Sequence[Task]) -> list[Task]:
    """Try these at once; return those that wait on, in the end. Raises GoogleError.

    https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/run
    """

    def run(task: Task) -> None:
        try:
            cloud.post("cloudtasks", f"v2/{queue}/tasks/{task.id}:run")
        except GoogleError as error:
            if not error.is_missing:  # taken in the meantime
                raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, tasks))
    until = time.monotonic() + RESULT_S
    before = {task.id: task.answers for task in tasks}
    while True:
        there = [task for task in tasks_of(cloud, queue) if task.id in before]
        unanswered = [task for task in there if task.answers <= before[task.id]]
        if not unanswered or time.monotonic() > until:
            return there
        time.sleep(0.5)


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.waiting",
        description="What waits in the retry queue, since when, why, and what mends it.",
        epilog="Exit code: 0 nothing waits, 1 something does, 2 the call is wrong.",
    )
    parser.add_argument(
        "--now",
        nargs="?",
        const="all",
        metavar="TASK",
        help="try all of it at once, or the task with this id, instead of when it is due",
    )
    parser.add_argument("--project", default="", help="Google's; the one that gcloud is set to")
    parser.add_argument("--region", default="europe-west1", help="where everything runs")
    parser.add_argument("--service", default="clockify-salesforce", help="the function's name")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    """Tell, and try where that is wished. Returns the exit code; raises IntegrationError."""
    cloud = GoogleCloud(project=arguments.project, region=arguments.region)
    here = Deployment(cloud, arguments.service)
    read_service(here)
    queue = here.environment.get("RETRY_QUEUE", "")
    if not queue:
        print(f"{arguments.service} has no retry queue: run  ./deploy.sh")
        return 1
    tasks = tasks_of(cloud, queue)
    _, _, _, region, _, short = queue.split("/")
    if cloud.get("cloudtasks", f"v2/{queue}").get("state") == "PAUSED":
        print(f"{short} is paused: gcloud tasks queues resume {short} --location={region}")
    if not tasks:
        print(f"Nothing waits in {short}.")
        return 0
    if arguments.now:
        tasks = _tried(cloud, queue, tasks, arguments.now)
        if not tasks:
            return 0
    print(f"{len(tasks)} wait in {short}:\n\n{table(tasks, datetime.now(UTC))}\n\nWhy:")
    try:
        print(why(tasks, reasons_of(cloud, arguments.service)))
    except GoogleError as error:
        print(f"  the function's log cannot be read: {error}")
    days = KEPT_MS // (24 * 3600 * 1000)
    print(
        f"\nWhat is mended is taken by itself when it is tried next, for {days} days since it came;"
        " at once with --now."
    )
    return 1


def _tried(cloud: GoogleCloud, queue: str, tasks: Sequence[Task], which: str) -> list[Task]:
    """Those of what was tried that wait on. Raises WrongCall, GoogleError."""
    chosen = [task for task in tasks if which in ("all", task.id)]
    if not chosen:
        raise WrongCall(f"--now: no task {_plain(which)} waits")
    left = try_now(cloud, queue, chosen)
    print(f"{len(chosen) - len(left)} of {len(chosen)} were taken.")
    return left


def main() -> int:
    """Run the command line and return the exit code."""
    try:
        return run(read_arguments())
    except WrongCall as error:
        print(error, file=sys.stderr)
        return 2
    except GoogleError as error:
        print(error, file=sys.stderr)
        return 2 if error.is_missing else 1
    except KeyboardInterrupt:
        return 1


if __name__ == "__main__":
    sys.exit(main())
