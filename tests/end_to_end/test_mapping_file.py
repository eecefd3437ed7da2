"""A company's own mapping.toml: the same outcome by message, by the queue, and by the repair."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox.clockify import WORKSPACE, Message
from sandbox.world import ROOT, Function, World

RULES = """
[fields]
Location = "{client}"

[except]
description = "private*"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What is deployed, with a mapping.toml of the company's own."""
    for name in ("main.py", "mapping.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("clockify_salesforce", "commands"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "mapping.toml").write_text(RULES)
    return tmp_path


@pytest.fixture
def company(world: World, source: Path) -> Iterator[Function]:
    function = Function(world, source=source)
    yield function
    function.stop()


def send(world: World, function: Function, message: Message, *, late: bool) -> str:
    """Deliver a message, straight or through the queue, and return what was answered first."""
    world.salesforce.faults.limit = 1 if late else 0
    result = str(function.post(*message).json()["result"])
    world.salesforce.faults.clear()
    deadline = time.monotonic() + 20
    while world.tasks.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


@pytest.mark.parametrize("late", [False, True])
def test_entry_that_stops_matching_loses_its_event_and_gets_it_back(
    world: World, company: Function, late: bool
) -> None:
    api = world.clockify
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    project = api.add_project("Website relaunch", api.add_client("Northwind GmbH"))
    user = api.add_user("Ada Lindqvist")
    made = api.add(user, start, start + timedelta(hours=1), description="Review", project=project)
    entry = str(made[1]["id"])
    send(world, company, made, late=late)
    event = world.salesforce.event(entry)
    assert event is not None
    assert event["Location"] == "Northwind GmbH"
    send(world, company, api.edit(entry, description="private: dentist"), late=late)
    assert world.salesforce.event(entry) is None
    send(world, company, api.edit(entry, description="Review, again"), late=late)
    assert world.salesforce.event(entry) is not None


def test_repair_follows_the_same_rules(world: World, source: Path) -> None:
    api = world.clockify
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    user = api.add_user("Ada Lindqvist")
    shown, hidden = (
        str(api.add(user, start, start + timedelta(hours=1), description=text)[1]["id"])
        for text in ("Review", "private: dentist")
    )
    environment = os.environ | world.environment()
    key = environment["SALESFORCE_CREDENTIALS"].rsplit("/", 1)[0] + "/clockify-api-key"
    command = [sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE]
    done = subprocess.run(
        [*command, "--days", "3", "--apply"],
        cwd=source,
        env=environment | {"CLOCKIFY_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert world.salesforce.event(shown) is not None
    assert world.salesforce.event(hidden) is None


def test_wrong_file_stops_the_start_and_names_its_line(world: World, source: Path) -> None:
    (source / "mapping.toml").write_text(RULES + '\n[fields.Rating__c]\nvalue = "{projekt}"\n')
    with pytest.raises(RuntimeError, match=r"mapping\.toml, line 9"):
        Function(world, source=source)
