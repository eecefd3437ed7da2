"""waiting as a process: what it says of a queue that holds real messages, and what --now does."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import entry_id, payload

from sandbox.google_apis import GoogleApis
from sandbox.installation import NAME, Installation
from sandbox.world import ROOT, Function, World


class Desk:
    """Where somebody who is signed in with gcloud looks at the queue."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.environment = os.environ | installation.environment(folder)

    def waiting(self, *options: str) -> tuple[int, str]:
        """Exit code, and all that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "commands.waiting", *options],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def desk(world: World, running: Function, tmp_path: Path) -> Iterator[Desk]:
    """A sound installation whose queue tries again in an hour."""
    google = GoogleApis()
    desk = Desk(Installation(world, google, running), tmp_path)
    world.tasks.first_wait = world.tasks.longest_wait = 3600
    yield desk
    google.close()


def until_tried(world: World, count: int) -> None:
    """Wait until each task has had its first answer."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        waiting = list(world.tasks.waiting.values())
        if len(waiting) == count and all(task.answers for task in waiting):
            return
        time.sleep(0.02)
    pytest.fail("the queue has not tried")


def test_queue_with_nothing_in_it_says_so(desk: Desk) -> None:
    assert desk.waiting() == (0, f"Nothing waits in {NAME}-retry.\n")


def test_what_waits_is_told_with_its_reason_and_tried_at_once(
    desk: Desk, world: World, running: Function
) -> None:
    """Two are refused by a rule of the org's; mended, one is tried, then the other."""
    world.salesforce.faults.rule = 1
    second = "e" * 24
    assert running.post("TIMER_STOPPED", payload(description="Ada's secret")).status_code == 202
    assert running.post("NEW_TIME_ENTRY", payload(id=second)).status_code == 202
    until_tried(world, 2)

    code, out = desk.waiting()
    assert code == 1
    assert f"2 wait in {NAME}-retry" in out
    for entry, event in ((entry_id(), "TIMER_STOPPED"), (second, "NEW_TIME_ENTRY")):
        (line,) = (line for line in out.splitlines() if entry in line)
        assert event in line
        assert line.split()[-4:] == ["500", "in", "60", "min"]
    assert "  2 of 2: Salesforce refuses the Event: FIELD_CUSTOM_VALIDATION_EXCEPTION" in out
    assert "let it pass the integration user" in out
    for hidden in ("Ada", world.signing_secret, "made-up-access-token"):
        assert hidden not in out

    code, out = desk.waiting("--now")
    assert (code, "0 of 2 were taken." in out) == (1, True)

    world.salesforce.faults.clear()
    task = next(line.split()[0] for line in out.splitlines() if second in line)
    assert desk.waiting("--now", task) == (0, "1 of 1 were taken.\n")
    assert world.salesforce.event(second) is not None
    assert world.salesforce.event(entry_id()) is None
    assert desk.waiting("--now") == (0, "1 of 1 were taken.\n")
    assert world.salesforce.event(entry_id()) is not None


def test_paused_queue_and_hidden_bodies_are_told(
    desk: Desk, world: World, running: Function
) -> None:
    """Who may not see what a task holds hears no entry, and RunTask works where it is paused."""
    world.tasks.paused, desk.installation.full_view = True, False
    desk.installation.google.queues[f"{NAME}-retry"]["state"] = "PAUSED"
    world.salesforce.faults.rule = 1
    assert running.post("TIMER_STOPPED", payload()).status_code == 202
    code, out = desk.waiting()
    assert code == 1
    assert f"gcloud tasks queues resume {NAME}-retry --location=europe-west1" in out
    assert "not told" in out
    assert "none yet" in out
    world.salesforce.faults.clear()
    code, out = desk.waiting("--now")
    assert (code, "1 of 1 were taken." in out) == (0, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--now", "999"), "no task 999 waits"),
        (("--service", "another-service"), "another-service"),
        (("--colour",), "--colour"),
    ],
)
def test_wrong_call_ends_with_2(
    desk: Desk, world: World, running: Function, options: tuple[str, ...], says: str
) -> None:
    world.tasks.paused = True
    world.salesforce.faults.rule = 1
    assert running.post("TIMER_STOPPED", payload()).status_code == 202
    code, out = desk.waiting(*options)
    assert (code, says in out) == (2, True)
