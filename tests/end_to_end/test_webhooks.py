"""commands.webhooks as a process, against a stand-in of Clockify on loopback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import kinds, webhooks
from sandbox.clockify import API_HOST, KEY, WORKSPACE, Answer, ClockifyApi, Faults
from sandbox.google_apis import GoogleApis

HERE = Path(__file__).resolve().parents[2]
URL = "https://clockify-salesforce-123456789012.europe-west1.run.app"
OTHER = "70b687e29ae1f428e7ebe399"  # another workspace


@pytest.fixture
def internet() -> Iterator[GoogleApis]:
    """Yield the proxy that plays the internet."""
    world = GoogleApis()
    yield world
    world.close()


def start(
    internet: GoogleApis, folder: Path, *options: str, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    """Run commands.webhooks with the key on stdin."""
    return subprocess.run(
        [sys.executable, "-m", "commands.webhooks", *options],
        input=key + "\n",
        env=os.environ | internet.environment(folder) | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(
    internet: GoogleApis, clockify: ClockifyApi, folder: Path, *options: str, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    """Create, show or delete the URL's webhooks in this Clockify."""
    internet.others[API_HOST] = clockify
    return start(internet, folder, "--url", URL, *options, key=key)


def find(
    internet: GoogleApis, clockify: ClockifyApi, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Find the workspace of the key."""
    internet.others[API_HOST] = clockify
    return start(internet, folder, "--find-workspace", *options)


def test_no_webhook_creates_one_for_each_event(internet: GoogleApis, tmp_path: Path) -> None:
    """All six are made, in order of worth, and their signing secrets are printed."""
    clockify = ClockifyApi()
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert [hook["webhookEvent"] for hook in clockify.created] == list(webhooks.EVENTS)
    assert {hook["url"] for hook in clockify.created} == {URL}
    assert {hook["triggerSourceType"] for hook in clockify.created} == {"WORKSPACE_ID"}
    assert result.stdout.split() == [hook["authToken"] for hook in clockify.hooks]


def test_region_in_front_of_the_key_asks_there(internet: GoogleApis, tmp_path: Path) -> None:
    """A regional workspace has a host of its own."""
    clockify = ClockifyApi()
    internet.others["euc1.clockify.me"] = clockify
    result = run(internet, ClockifyApi(), tmp_path, key=f"euc1 {KEY}")
    assert (result.returncode, len(clockify.hooks)) == (0, len(webhooks.EVENTS))


def test_second_run_creates_none(internet: GoogleApis, tmp_path: Path) -> None:
    """What is there stays, and its secrets are printed again."""
    clockify = ClockifyApi()
    first = run(internet, clockify, tmp_path)
    again = run(internet, clockify, tmp_path, "--workspace", WORKSPACE)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert len(clockify.created) == len(webhooks.EVENTS)


def test_other_webhooks_are_left_alone(internet: GoogleApis, tmp_path: Path) -> None:
    """A webhook of the same event for another URL is neither counted nor shown nor deleted."""
    clockify = ClockifyApi()
    other = clockify.add_webhook("TIMER_STOPPED", "https://example.com/hook")
    result = run(internet, clockify, tmp_path)
    assert other["authToken"] not in result.stdout
    assert len(clockify.created) == len(webhooks.EVENTS)
    assert run(internet, clockify, tmp_path, "--delete").returncode == 0
    assert clockify.hooks == [other]


def test_plans_limit_stops_with_a_clear_message(internet: GoogleApis, tmp_path: Path) -> None:
    """A Free workspace gets the three that are worth most."""
    clockify = ClockifyApi(webhook_limit=3)
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert [hook["webhookEvent"] for hook in clockify.hooks] == list(webhooks.EVENTS[:3])
    assert "plan's limit. Without: TIME_ENTRY_DELETED" in result.stderr
    assert len(result.stdout.split()) == 3


# The other kinds ----------------------------------------------------------------------------------

ALL = ",".join(kinds.KINDS)


def events(clockify: ClockifyApi) -> list[str]:
    """The events of the webhooks that there are, in the order in which they were made."""
    return [str(hook["webhookEvent"]) for hook in clockify.hooks]


def test_kinds_have_a_webhook_for_each_event_after_those_of_time_entries(
    internet: GoogleApis, tmp_path: Path
) -> None:
    """What creates a record comes before what changes one, and that before what deletes one."""
    clockify = ClockifyApi(webhook_limit=100)
    result = run(internet, clockify, tmp_path, "--with", ALL)
    assert result.returncode == 0
    assert events(clockify) == [
        *webhooks.EVENTS,
        *("NEW_CLIENT", "NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"),
        *("CLIENT_UPDATED", "PROJECT_UPDATED", "TASK_UPDATED", "INVOICE_UPDATED"),
        *("CLIENT_DELETED", "PROJECT_DELETED", "TASK_DELETED"),
    ]
    assert all(2 <= len(hook["name"]) <= 30 for hook in clockify.created)
    # All secrets in one list, for one secret of Secret Manager's.
    assert result.stdout.split() == [hook["authToken"] for hook in clockify.hooks]
    again = run(internet, clockify, tmp_path, "--with", ALL)
    assert (again.stdout, len(clockify.created)) == (result.stdout, 17)


def test_kind_that_is_dropped_loses_its_webhooks_and_no_other_one_does(
    internet: GoogleApis, tmp_path: Path
) -> None:
    clockify = ClockifyApi(webhook_limit=100)
    run(internet, clockify, tmp_path, "--with", "tasks,projects")
    clockify.add_webhook("NEW_TASK", "https://example.com/hook")
    clockify.add_webhook("NEW_CLIENT", URL)  # by hand
    dry = run(internet, clockify, tmp_path, "--with=projects", "--without=tasks", "--dry-run")
    assert "TASK_DELETED: would be deleted" in dry.stderr
    result = run(internet, clockify, tmp_path, "--with", "projects", "--without", "tasks")
    assert result.returncode == 0
    assert "NEW_CLIENT: is there and was not asked for (--with): it stays" in result.stderr
    left = [*kinds.events_of(["projects"]), "NEW_TASK", "NEW_CLIENT"]
    assert events(clockify) == left
    run(internet, clockify, tmp_path, "--delete")
    assert [hook["url"] for hook in clockify.hooks] == ["https://example.com/hook"]


def test_plan_without_room_for_all_names_what_is_left_out(
    internet: GoogleApis, tmp_path: Path
) -> None:
    clockify = ClockifyApi(webhook_limit=10)
    result = run(internet, clockify, tmp_path, "--with", ALL)
    assert (result.returncode, len(result.stdout.split())) == (0, 10)
    left_out = kinds.events_of(kinds.KINDS)[10:]
    assert f"plan's limit. Without: {', '.join(left_out)}" in result.stderr
    assert "Free has 3 webhooks a workspace" in result.stderr


def test_plan_without_invoices_has_all_other_webhooks(internet: GoogleApis, tmp_path: Path) -> None:
    """The first refusal may be the kind's, so the next event is tried."""
    clockify = ClockifyApi(webhook_limit=100)
    asked = []

    def basic(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        event = json.loads(body)["webhookEvent"] if method == "POST" else ""
        asked.append(event)
        if "INVOICE" in event:
            return 403, {"message": "Feature is not available", "code": 403}, {}
        return clockify(method, path, headers, body)

    internet.others[API_HOST] = basic
    result = start(internet, tmp_path, "--url", URL, "--with", ALL)
    assert result.returncode == 0
    assert [event for event in asked if "INVOICE" in event] == ["NEW_INVOICE"]
    assert events(clockify) == [e for e in kinds.events_of(kinds.KINDS) if "INVOICE" not in e]
    assert (
        "no webhooks for invoices in this plan. Without: NEW_INVOICE, INVOICE_UPDATED"
        in result.stderr
    )
    assert "invoices need Standard" in result.stderr


def test_wrong_kind_is_named_before_anything_is_asked(internet: GoogleApis, tmp_path: Path) -> None:
    clockify = ClockifyApi()
    result = run(internet, clockify, tmp_path, "--with", "clients,time\x1b[2J")
    assert (result.returncode, result.stdout, clockify.requests) == (1, "", [])
    assert result.stderr == (
        "--with takes clients, projects, tasks, invoices, with commas between them, or none; not"
        " 'time[2J'.\n"
    )


# What goes wrong ----------------------------------------------------------------------------------


def test_full_workspace_is_an_error(internet: GoogleApis, tmp_path: Path) -> None:
    """Where not even one webhook can be made, the run fails and says why."""
    clockify = ClockifyApi(webhook_limit=1)
    clockify.add_webhook("NEW_TASK", "https://example.com/hook")
    result = run(internet, clockify, tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "the plan's limit (Free: 3 webhooks a workspace)" in result.stderr


def test_failure_half_way_prints_the_secrets_that_exist(
    internet: GoogleApis, tmp_path: Path
) -> None:
    """A webhook that Clockify made must be let in, though a later one could not be made."""
    clockify = ClockifyApi(faults=Faults(refused_webhook=2))
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 1
    assert result.stdout.split() == [hook["authToken"] for hook in clockify.hooks]
    assert len(clockify.hooks) == 2
    assert "HTTP 500" in result.stderr


def test_dry_run_creates_none(internet: GoogleApis, tmp_path: Path) -> None:
    """--dry-run says what would be created."""
    clockify = ClockifyApi()
    result = run(internet, clockify, tmp_path, "--dry-run")
    assert (result.returncode, result.stdout, clockify.hooks) == (0, "", [])
    assert "TIMER_STOPPED: would be created" in result.stderr


@pytest.mark.parametrize(
    ("clockify", "key", "sentence"),
    [
        (ClockifyApi(), "not-the-key-of-anybody", "Clockify refused the API key"),
        (ClockifyApi(), "", "The Clockify API key is empty"),
        (ClockifyApi(), f"{KEY} euc1", "stands in front of its region"),
        (ClockifyApi(), f"Moon {KEY}", "The Clockify region is none"),
        (ClockifyApi(), f"key: {KEY} please", "The Clockify API key is empty or has a space"),
        (ClockifyApi(workspaces=[WORKSPACE, OTHER]), KEY, "several workspaces; name one"),
        (ClockifyApi(workspaces=[]), KEY, "sees no Clockify workspace"),
    ],
)
def test_wrong_start_is_one_sentence(
    internet: GoogleApis, tmp_path: Path, clockify: ClockifyApi, key: str, sentence: str
) -> None:
    """Each tells what to do, without the key."""
    result = run(internet, clockify, tmp_path, key=key)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not any(word in result.stderr for word in (key, KEY) if word)
    assert clockify.created == []


def test_workspace_is_found_and_none_other_is_touched(internet: GoogleApis, tmp_path: Path) -> None:
    """The only one that the key sees, or the one preferred of several; nothing is made."""
    clockify = ClockifyApi(workspaces=[OTHER, WORKSPACE])
    found = find(internet, clockify, tmp_path, "--preferred", WORKSPACE)
    assert (found.returncode, found.stdout, clockify.created) == (0, WORKSPACE + "\n", [])
    only = find(internet, ClockifyApi(), tmp_path)
    assert (only.returncode, only.stdout) == (0, WORKSPACE + "\n")
    assert find(internet, clockify, tmp_path).returncode == 1


def test_names_cannot_move_the_cursor(internet: GoogleApis, tmp_path: Path) -> None:
    """A workspace's name is whatever its owner has typed."""
    seen = [{"id": WORKSPACE, "name": "\x1b]0;pwned\x07\r\x9b2J"}, {"id": OTHER, "name": "Acme"}]
    internet.others[API_HOST] = lambda *_: (200, seen, {})
    result = start(internet, tmp_path, "--find-workspace")
    assert result.returncode == 1
    assert "pwned" in result.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.stderr)


def test_nothing_secret_is_shown(internet: GoogleApis, tmp_path: Path) -> None:
    """stderr, which people copy into tickets, has neither the key nor a signing secret."""
    clockify = ClockifyApi(webhook_limit=4)
    result = run(internet, clockify, tmp_path)
    for secret in (KEY, *(hook["authToken"] for hook in clockify.hooks)):
        assert secret not in result.stderr


def test_429_waits_and_goes_on(internet: GoogleApis, tmp_path: Path) -> None:
    """Clockify's request to slow down is honoured, and told."""
    clockify = ClockifyApi(faults=Faults(too_many=1))
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert "asks to wait 2 s" in result.stderr
    assert len(clockify.hooks) == len(webhooks.EVENTS)
