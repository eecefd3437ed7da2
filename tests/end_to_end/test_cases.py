"""The cases in tests/cases: made-up inputs after public reports, each with what is right.

Each file tells its own steps and what Salesforce holds in the end; the words in it are those of
tests/cases/README.md.
"""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.clockify import WORKSPACE, Entry
from sandbox.world import ROOT, Function, World

CASES = ROOT / "tests" / "cases"
BASE = json.loads((CASES / "base.json").read_text())
FILES = sorted(path for path in CASES.glob("*.json") if path.stem != "base")
# A time of the case: so many days before today, or as ISO 8601 has it.
_RELATIVE = re.compile(r"today-(\d+) (\d\d):(\d\d)")

Case = dict[str, Any]


@dataclass
class Play:
    """A case as it is played: the names that its parts are known by, and the function."""

    world: World
    folder: Path
    names: dict[str, str]
    has_api_key: bool = False
    started: list[Function] = field(default_factory=list)

    @property
    def api_key(self) -> str:
        """The secret with Clockify's API key, by name."""
        prefix = self.world.environment()["SALESFORCE_CREDENTIALS"].rpartition("/")[0]
        return f"{prefix}/clockify-api-key"

    @property
    def function(self) -> Function:
        """The function, which starts when the first message comes."""
        if not self.started:
            key = self.api_key if self.has_api_key else ""
            self.started.append(Function(self.world, CLOCKIFY_API_KEY=key))
        return self.started[0]

    def resolved(self, value: Any) -> Any:
        """The value with ids in the place of names."""
        if isinstance(value, dict):
            return {self.resolved(key): self.resolved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.resolved(each) for each in value]
        return self.names.get(value, value) if isinstance(value, str) else value

    def prepare(self, case: Case) -> None:
        """Fill Clockify and Salesforce with what the case says they hold."""
        clockify = self.world.clockify
        self.has_api_key = case.get("settings", {}).get("api_key", False)
        told = case.get("clockify", {})
        for name, value in told.get("is", {}).items():
            setattr(clockify, name, value)
        for user in told.get("users", []):
            self.names["@" + user["as"]] = clockify.add_user(user["name"], user["email"])
        for project in told.get("projects", []):
            self.names["@" + project["as"]] = clockify.add_project(project["name"])
        clockify.import_entries(
            Entry(**(self.resolved(each) | {key: moment(each[key]) for key in ("start", "end")}))
            for each in told.get("entries", [])
        )
        for answer in told.get("answers", []):
            clockify.canned[answer["method"], answer["path"]] = (
                answer["status"],
                answer["body"],
                answer["headers"],
            )
        for record in case.get("salesforce", []):
            made = self.world.salesforce.add(record["object"], **self.resolved(record["fields"]))
            self.names["@" + record["as"]] = made

    def take(self, step: Case) -> None:
        """Take one step and look at how it ends."""
        clockify = self.world.clockify
        if "post" in step:
            listed = [self.message(each["set"]) for each in step.get("list", [])]
            body = listed or self.message(step["set"])
            answer = self.function.post(step["post"], body)
            assert answer.status_code in step["status"], answer.text
        elif "backfill" in step:
            code, text = self.backfill(*step["backfill"])
            assert code in step["code"], text
            for kind, number in step.get("counts", {}).items():
                assert re.search(rf"^  {kind} +{number}\b", text, re.M), text
            assert [each for each in step.get("says", []) if each not in text] == []
        elif "rows" in step:
            clockify.rows = self.resolved(step["rows"])
        else:
            project = self.resolved(step["rename_project"])
            clockify.projects[project] = replace(clockify.projects[project], name=step["to"])

    def message(self, changes: Case) -> Case:
        """The entry of base.json with changes by dotted path."""
        body: Case = copy.deepcopy(BASE) | {"id": self.names["@e1"]}
        for path, value in self.resolved(changes).items():
            holder = body
            *parts, last = path.split(".")
            for part in parts:
                holder = holder[part]
            holder[last] = value
        return body

    def backfill(self, *options: str) -> tuple[int, str]:
        """Run the repair; its exit code and all that it says."""
        given = self.world.environment() | {"CLOCKIFY_API_KEY": self.api_key}
        done = subprocess.run(
            [sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, *options],
            cwd=self.folder,
            env=os.environ | given | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def expect(self, expected: Case) -> None:
        """Compare the Events in the end with what is right."""
        held = {
            event["Clockify_Time_Entry_Id__c"]: event for event in self.world.salesforce.events()
        }
        wanted = self.resolved(expected)
        assert held.keys() == wanted.keys()
        for entry, fields in wanted.items():
            for name, value in fields.items():
                assert_is(held[entry][name], value)


def moment(text: str) -> datetime:
    """A time of a case, in UTC."""
    if found := _RELATIVE.fullmatch(text):
        days, hour, minute = (int(each) for each in found.groups())
        today = datetime.now(UTC).replace(minute=minute, second=0, microsecond=0)
        return today.replace(hour=hour) - timedelta(days=days)
    return datetime.fromisoformat(text).astimezone(UTC)


def assert_is(held: Any, wanted: Any) -> None:
    """Compare one field's value."""
    if not isinstance(wanted, dict):
        assert held == wanted
    elif "close" in wanted:
        assert held == pytest.approx(wanted["close"], abs=0.001)
    elif "in" in wanted:
        assert held in wanted["in"]
    else:
        assert wanted["contains"] in held


@pytest.fixture
def play(world: World, tmp_path: Path) -> Iterator[Play]:
    """A play in a world as new."""
    play = Play(world, tmp_path, {"@e1": f"{1:024x}", "@e2": f"{2:024x}"})
    yield play
    for function in play.started:
        function.stop()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_case_ends_as_is_right(play: Play, path: Path) -> None:
    case = json.loads(path.read_text())
    play.prepare(case)
    for step in case["steps"]:
        play.take(step)
    if "expect" in case:
        play.expect(case["expect"]["events"])
