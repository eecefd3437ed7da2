"""Doubt and disorder among clients, projects, tasks and invoices; and many copies at once."""

import concurrent.futures
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import payload, sample
from soak import settings

from sandbox.clockify import WORKSPACE, Message
from sandbox.cloud_run import CloudRun
from sandbox.world import ROOT, Function, World

KEY = settings(key=True)["CLOCKIFY_API_KEY"]

Fields = dict[str, Any]


@pytest.fixture(scope="module")
def asking(the_world: World) -> Iterator[Function]:
    """A function that can ask Clockify."""
    the_world.reset()
    function = Function(the_world, CLOCKIFY_API_KEY=KEY)
    yield function
    function.stop()


@pytest.fixture
def world(world: World) -> World:
    """The world with an org that has what the other kinds need."""
    world.salesforce.deploy()
    return world


def tell(function: Function, message: Message) -> str:
    return str(function.post(*message).json()["result"])


def held(world: World, name: str, external: str, value: str) -> Fields:
    found = world.salesforce.held(name, external, value)
    assert found is not None
    return found


# --- What Clockify has deleted --------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404])
def test_old_message_about_a_project_that_is_gone_marks_it_and_changes_nothing_else(
    world: World, asking: Function, status: int
) -> None:
    api = world.clockify
    api.gone_status = status
    project = api.add_project("first")
    old = api.new(project)
    assert tell(asking, old) == "created"
    assert tell(asking, api.edit_project(project, name="last", archived=True)) == "updated"
    deletion = api.delete_project(project)
    assert tell(asking, old) == "stale"
    found = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)
    assert (found["Name"], found["Archived__c"], found["Deleted__c"]) == ("last", True, True)
    assert tell(asking, deletion) == "deleted"
    # From now on nobody is asked any more.
    before = len(api.requests)
    assert tell(asking, old) == "stale"
    assert len(api.requests) == before
    found = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)
    assert (found["Name"], found["Archived__c"], found["Deleted__c"]) == ("last", True, True)


def test_project_of_another_client_than_its_old_message_says_is_linked_to_that_ones_account(
    world: World, asking: Function
) -> None:
    api = world.clockify
    first, last = api.add_client("Northwind"), api.add_client("Acme")
    accounts = {
        client: world.salesforce.add("Account", Name=name, Clockify_Client_Id__c=client)
        for client, name in ((first, "Northwind"), (last, "Acme"))
    }
    project = api.add_project("Relaunch")
    alone = api.new(project)
    assert tell(asking, alone) == "created"
    for client in (first, last):
        assert tell(asking, api.edit_project(project, client=client)) == "updated"
        # In doubt, Clockify is asked, and says more than the message does.
        assert tell(asking, alone) == "updated"
        found = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)
        assert found["Account__c"] == accounts[client]


def test_deletion_before_all_other_messages_stays(world: World, asking: Function) -> None:
    api = world.clockify
    project = api.add_project("first")
    new, edited = api.new(project), api.edit_project(project, name="last", archived=True)
    assert tell(asking, api.delete_project(project)) == "deleted"
    assert [tell(asking, edited), tell(asking, new)] == ["stale", "stale"]
    found = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)
    assert (found["Name"], found["Deleted__c"]) == ("last", True)


@pytest.mark.parametrize("status", [400, 404])
def test_old_message_about_what_is_gone_takes_task_and_clients_id_away(
    world: World, asking: Function, status: int
) -> None:
    api = world.clockify
    api.gone_status = status
    account = world.salesforce.add("Account", Name="Northwind")
    client, project = api.add_client("Northwind"), api.add_project("Relaunch")
    task, invoice = api.add_task("Review", project), api.add_invoice("1", client)
    old = [api.new(each) for each in (client, task, invoice)]
    assert [tell(asking, each) for each in old] == ["updated", "created", "created"]
    assert [row["Id"] for row in world.salesforce.live("Account") if _id_of(row)] == [account]
    for edited in (
        api.edit_task(task, status="DONE"),
        api.edit_client(client, archived=True),
        api.edit_invoice(invoice, number="2"),
    ):
        assert tell(asking, edited) == "updated"
    # The messages of these are lost.
    api.delete_task(task)
    api.delete_client(client)
    api.delete_invoice(invoice)
    assert [tell(asking, each) for each in old] == ["stale", "stale", "stale"]
    assert not any(_id_of(row) for row in world.salesforce.live("Account"))
    assert world.salesforce.live("Task") == []
    # No message tells of an invoice's deletion, and nothing of ours says so.
    assert held(world, "Clockify_Invoice__c", "Clockify_Invoice_Id__c", invoice)["Name"] == "2"


def _id_of(account: Fields) -> object:
    return account.get("Clockify_Client_Id__c")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"message": "USER with id 1 doesn't belong to PROJECT with id 2", "code": 501}),
        (404, {"message": "No static resource v1/workspaces", "code": 3000}),
        (403, {"message": "Access Denied", "code": 4031}),
        (503, {}),
    ],
)
def test_any_other_answer_of_clockifys_deletes_nothing(
    world: World, asking: Function, status: int, body: Fields
) -> None:
    api = world.clockify
    world.tasks.paused = True
    task = api.add_task("Review", project := api.add_project("Relaunch"))
    new = api.new(task)
    assert tell(asking, new) == "created"
    assert tell(asking, api.edit_task(task, name="Review 2")) == "updated"
    path = f"/workspaces/{WORKSPACE}/projects/{project}/tasks/{task}"
    api.canned["GET", path] = (status, body, {})
    before = len(api.requests)
    assert tell(asking, new) == "queued"
    assert [asked for _, asked in api.requests[before:]] == [f"/api/v1{path}"]
    assert held(world, "Task", "Clockify_Task_Id__c", task)["Subject"] == "Review 2"


def test_task_whose_workspace_clockify_did_not_tell_waits_in_doubt(
    world: World, cold_asking: Function
) -> None:
    api = world.clockify
    world.tasks.paused = True
    api.faults.broken = 100
    task = api.add_task("Review", api.add_project("Relaunch"))
    new = api.new(task)
    assert tell(cold_asking, new) == "created"
    edited = api.edit_task(task, name="Review 2")
    assert tell(cold_asking, edited) == "updated"
    assert tell(cold_asking, new) == "queued"
    api.faults.broken = 0
    assert tell(cold_asking, new) == "updated"
    assert held(world, "Task", "Clockify_Task_Id__c", task)["Subject"] == "Review 2"


@pytest.fixture
def cold_asking(world: World) -> Iterator[Function]:
    """One of the test's own that can ask Clockify."""
    function = Function(world, CLOCKIFY_API_KEY=KEY)
    yield function
    function.stop()


# --- What comes before what it belongs to ---------------------------------------------------------


@pytest.fixture
def upside_down(world: World, cold: Function) -> tuple[str, str, str]:
    """Invoice, task, project and client have come in this order. Their ids, without the client."""
    api = world.clockify
    world.salesforce.add("Account", Name="Northwind")
    client = api.add_client("Northwind")
    project = api.add_project("Relaunch", client)
    task, invoice = api.add_task("Review", project), api.add_invoice("1", client)
    for each in (invoice, task, project):
        assert tell(cold, api.new(each)) == "created"
        if each != task:
            (note,) = cold.log[-1]["left_out"]
            assert note == (
                f"Account__c: no Account.Clockify_Client_Id__c is {client}: the repair looks again"
            )
    assert tell(cold, api.new(client)) == "updated"
    assert related(world, project, task, invoice) == (None, None, None)
    return project, task, invoice


def related(world: World, project: str, task: str, invoice: str) -> tuple[object, ...]:
    """What project, task and invoice belong to."""
    return (
        held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)["Account__c"],
        held(world, "Task", "Clockify_Task_Id__c", task).get("WhatId"),
        held(world, "Clockify_Invoice__c", "Clockify_Invoice_Id__c", invoice)["Account__c"],
    )


def test_disorder_is_linked_by_the_next_messages(
    world: World, cold: Function, upside_down: tuple[str, str, str]
) -> None:
    api = world.clockify
    project, task, invoice = upside_down
    for message in (
        api.edit_project(project, note="next"),
        api.edit_task(task, name="Review 2"),
        api.edit_invoice(invoice, note="next"),
    ):
        assert tell(cold, message) == "updated"
    (account,) = world.salesforce.live("Account")
    own = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", project)["Id"]
    assert related(world, *upside_down) == (account["Id"], own, account["Id"])


def test_disorder_is_linked_by_the_repair(
    world: World, upside_down: tuple[str, str, str], tmp_path: Path
) -> None:
    repair(world, tmp_path)
    (account,) = world.salesforce.live("Account")
    own = held(world, "Clockify_Project__c", "Clockify_Project_Id__c", upside_down[0])["Id"]
    assert related(world, *upside_down) == (account["Id"], own, account["Id"])


def test_tasks_of_a_project_that_is_deleted_go_with_the_repair(
    world: World, asking: Function, tmp_path: Path
) -> None:
    api = world.clockify
    gone, kept = (api.add_project(name) for name in ("Gone", "Kept"))
    tasks = [api.add_task("Review", project) for project in (gone, kept)]
    for each in (gone, kept, *tasks):
        assert tell(asking, api.new(each)) == "created"
    assert tell(asking, api.edit_project(gone, archived=True)) == "updated"
    assert tell(asking, api.delete_project(gone)) == "deleted"
    # Clockify sends no message for the tasks that go with a project.
    repair(world, tmp_path)
    assert [each["Clockify_Task_Id__c"] for each in world.salesforce.live("Task")] == [tasks[1]]


def repair(world: World, folder: Path) -> None:
    """Run the repair of all these kinds."""
    for name, secret in (("key", "clockify-api-key"), ("salesforce", "salesforce")):
        (folder / name).write_text(world.secrets[secret][-1])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, "--apply"),
            *("--kinds", "clients,projects,tasks,invoices"),
            *("--salesforce-credentials-file", str(folder / "salesforce")),
            *("--clockify-api-key-file", str(folder / "key")),
        ],
        cwd=folder,
        env=os.environ | world.environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- Many copies ----------------------------------------------------------------------------------


def test_hundred_copies_32_at_once_over_three_instances_make_one_record(world: World) -> None:
    service = CloudRun(world, instances=3, settings=settings(key=False))
    events = ("NEW_PROJECT", "NEW_INVOICE")
    try:

        def send(number: int) -> int:
            event = events[number % 2]
            headers = {
                "Clockify-Signature": world.signing_secret,
                "Clockify-Webhook-Event-Type": event,
            }
            sent = requests.post(service.url, json=sample(event), headers=headers, timeout=30)
            return sent.status_code

        with concurrent.futures.ThreadPoolExecutor(32) as copies:
            assert set(copies.map(send, range(200))) <= {200, 202}
        deadline = time.monotonic() + 30
        while world.tasks.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        service.close()
    for name in ("Clockify_Project__c", "Clockify_Invoice__c", "Clockify_Invoice_Line__c"):
        assert len(world.salesforce.live(name)) == 1


def test_kinds_hold_up_no_time_entry(world: World, asking: Function) -> None:
    world.salesforce.require("Clockify_Project__c", "Cost_Centre__c")
    world.tasks.paused = True
    assert asking.post("NEW_PROJECT", sample("NEW_PROJECT")).json()["result"] == "queued"
    assert asking.post("TIMER_STOPPED", payload()).json()["result"] == "created"
