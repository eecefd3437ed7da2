"""docs/adding-a-kind.md: the module, metadata and line that it shows are all that it takes."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree  # type: ignore[import-untyped]
from salesforce_cli import schema_of

from sandbox.clockify import WORKSPACE
from sandbox.world import ROOT, Function, World

PAGE = ROOT / "docs/adding-a-kind.md"
# "`tag.py`, in `clockify_salesforce/kinds/`" says which file the blocks below it are of.
PART = re.compile(r"^`([\w./-]+)`, in `([\w./-]+/)`|^```(\w+)\n(.*?)^```$", re.M | re.S)
WHOLE = ("json", "python", "xml")
TAG = "64c777ddd3fcab07cfbb2400"
BODY = {"id": TAG, "name": "on site", "workspaceId": WORKSPACE, "archived": False}


def patched(text: str, diff: str) -> str:
    """The text after a diff of one place, which has to be there once."""
    lines = diff.splitlines()
    old, new = ("\n".join(each[1:] for each in lines if each[0] != sign) for sign in "+-")
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with what the page adds to it."""
    folder = tmp_path_factory.mktemp("project")
    for each in ("clockify_salesforce", "commands", "force-app"):
        shutil.copytree(ROOT / each, folder / each)
    for each in ("main.py", "mapping.py", "mapping.toml"):
        shutil.copy(ROOT / each, folder)
    file = folder
    for name, under, language, text in PART.findall(PAGE.read_text()):
        if name:
            file = folder / under / name
        elif language == "diff":
            file.write_text(patched(file.read_text(), text))
        elif language in WHOLE:
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return folder


@pytest.fixture
def running(world: World, project: Path) -> Iterator[Function]:
    """The function as it is with tags, before an org that has their metadata."""
    world.salesforce.deploy(project / "force-app/main/data")
    function = Function(world, source=project)
    yield function
    function.stop()


def held(world: World) -> dict[str, Any]:
    found = world.salesforce.held("Clockify_Tag__c", "Clockify_Tag_Id__c", TAG)
    assert found is not None
    fields = ("Name", "Archived__c", "Deleted__c", "Clockify_Workspace_Id__c")
    return {name: found[name] for name in fields}


def run(world: World, project: Path, *command: str, key: str = "") -> tuple[int, str]:
    """Run a command of the copy's; its exit code and what it has said."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=os.environ | world.environment() | {"PYTHONPATH": str(project)},
        input=key,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_tag_arrives_changes_and_is_marked_deleted(world: World, running: Function) -> None:
    def tell(event: str, **changes: Any) -> tuple[int, str]:
        response = running.post(event, BODY | changes)
        return response.status_code, str(response.json().get("result"))

    assert tell("NEW_TAG") == (200, "created")
    there = {"Name": "on site", "Archived__c": False, "Deleted__c": False}
    assert held(world) == there | {"Clockify_Workspace_Id__c": WORKSPACE}
    assert world.salesforce.state(f"tag:{TAG}")
    assert tell("TAG_UPDATED", name="at the customer's", archived=True) == (200, "updated")
    assert (held(world)["Name"], held(world)["Archived__c"]) == ("at the customer's", True)
    assert tell("NEW_TAG") == (200, "stale")
    assert tell("TAG_DELETED", name="at the customer's", archived=True) == (200, "deleted")
    assert (held(world)["Name"], held(world)["Deleted__c"]) == ("at the customer's", True)
    assert tell("NEW_TAG", id="5f00000000000000000000aa", name="Webhook Test Tag")[1] == "ignored"
    assert len(world.salesforce.live("Clockify_Tag__c")) == 1


def test_tag_waits_in_the_queue_and_arrives(world: World, running: Function) -> None:
    world.salesforce.faults.limit = 1
    assert running.post("NEW_TAG", BODY).json()["result"] == "queued"
    world.salesforce.faults.clear()
    deadline = time.monotonic() + 20
    while world.tasks.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert held(world)["Name"] == "on site"


def test_tags_are_an_option_of_the_commands(world: World, project: Path) -> None:
    world.salesforce.deploy(project / "force-app/main/data")
    world.clockify.canned["GET", f"/workspaces/{WORKSPACE}/tags"] = (
        200,
        [BODY, BODY | {"id": TAG[:-1] + "1", "name": "night"}],
        {"Last-Page": "true"},
    )
    key = world.secrets["clockify-api-key"][-1]
    url = ("--url", "https://function.example", "--with", "tags")
    code, told = run(world, project, "commands.webhooks", *url, "--dry-run", key=key)
    assert code == 0
    assert all(f"{event}: would be created" in told for event in ("NEW_TAG", "TAG_DELETED"))

    (project / "salesforce").write_text(world.secrets["salesforce"][-1])
    (project / "key").write_text(key)
    repair = ("commands.backfill", "--workspace", WORKSPACE, "--kinds", "tags", "--apply")
    files = ("--salesforce-credentials-file", "salesforce", "--clockify-api-key-file", "key")
    code, told = run(world, project, *repair, *files)
    assert (code, held(world)["Name"]) == (0, "on site"), told
    assert re.search(r"^  tags +2 +0 +0 +0 +0$", told, re.M), told
    code, told = run(world, project, *repair, *files)
    assert re.search(r"^  tags +0 +0 +2 +0 +0$", told, re.M), told
    check = ("commands.check", "--only", "salesforce", "--with", "tags", *files[:2])
    code, told = run(world, project, *check)
    assert "✓ tags              the integration user may write Clockify_Tag__c" in told, told


def test_metadata_is_as_salesforce_has_it(project: Path) -> None:
    schema = schema_of(("CustomObject", "CustomField", "PermissionSet"))
    files = [*project.rglob("Clockify_Tag__c/**/*.xml"), *project.rglob("Clockify_Data.perm*.xml")]
    assert len(files) == 6
    for file in files:
        schema.assertValid(etree.parse(str(file)))
