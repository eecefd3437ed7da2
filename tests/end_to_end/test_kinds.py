"""Clients, projects, tasks and invoices: each message lands as docs/kinds.md says."""

import time
from typing import Any

import pytest
from conftest import sample

from sandbox.world import Function, World

CLIENT, PROJECT = "64c777ddd3fcab07cfbb210c", "64c777ddd3fcab07cfbb211d"
TASK, INVOICE = "64c777ddd3fcab07cfbb212e", "64c777ddd3fcab07cfbb2300"
ADA = "5a0ab5acb07987125438b60f"

Fields = dict[str, Any]


@pytest.fixture
def world(world: World) -> World:
    """The world with an org that has what the other kinds need."""
    world.salesforce.deploy()
    world.salesforce.add("User", Name="Ada", Clockify_User_Id__c=ADA, Email="ada@acme.example")
    world.salesforce.requests.clear()
    return world


def tell(function: Function, event: str, of: str, /, **changes: Any) -> tuple[int, str]:
    """Post one sample with changes as this event; what is answered."""
    response = function.post(event, sample(of) | changes)
    return response.status_code, str(response.json().get("result", response.json()))


def lines(world: World) -> dict[str, Fields]:
    return {each["Key__c"]: each for each in world.salesforce.live("Clockify_Invoice_Line__c")}


def project(world: World) -> Fields:
    found = world.salesforce.held("Clockify_Project__c", "Clockify_Project_Id__c", PROJECT)
    assert found is not None
    return found


def task(world: World) -> Fields:
    found = world.salesforce.held("Task", "Clockify_Task_Id__c", TASK)
    assert found is not None
    return found


def invoice(world: World) -> Fields:
    found = world.salesforce.held("Clockify_Invoice__c", "Clockify_Invoice_Id__c", INVOICE)
    assert found is not None
    return found


def account(world: World, account_id: str) -> Fields:
    return next(each for each in world.salesforce.live("Account") if each["Id"] == account_id)


# --- Clients --------------------------------------------------------------------------------------


def test_client_of_the_same_name_gives_the_account_its_id(world: World, cold: Function) -> None:
    account_id = world.salesforce.add("Account", Name="NORTHWIND  gmbh")
    assert tell(cold, "NEW_CLIENT", "NEW_CLIENT") == (200, "updated")
    assert account(world, account_id)["Clockify_Client_Id__c"] == CLIENT
    assert tell(cold, "CLIENT_UPDATED", "NEW_CLIENT", name="Renamed") == (200, "updated")
    assert account(world, account_id)["Name"] == "NORTHWIND  gmbh"
    assert tell(cold, "CLIENT_DELETED", "NEW_CLIENT", name="Renamed") == (200, "deleted")
    assert account(world, account_id)["Clockify_Client_Id__c"] is None


@pytest.mark.parametrize("names", [[], ["Northwind GmbH", "northwind gmbh"], ["Northwind"]])
def test_client_without_its_only_account_changes_none_and_is_told(
    world: World, cold: Function, names: list[str]
) -> None:
    for name in names:
        world.salesforce.add("Account", Name=name)
    assert tell(cold, "NEW_CLIENT", "NEW_CLIENT") == (200, "ignored")
    accounts = world.salesforce.live("Account")
    assert [each.get("Clockify_Client_Id__c") for each in accounts] == [None for _ in names]
    assert "Clockify_Client_Id__c" in cold.log[-1]["left_out"][0]
    assert "Northwind" not in cold.raw_log


# --- Projects -------------------------------------------------------------------------------------


def test_project_lands_field_by_field(world: World, cold: Function) -> None:
    account_id = world.salesforce.add("Account", Name="Northwind", Clockify_Client_Id__c=CLIENT)
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT") == (200, "created")
    expected = {
        "Name": "Website relaunch",
        "Full_Name__c": "Website relaunch",
        "Account__c": account_id,
        "Client__c": "Northwind GmbH",
        "Billable__c": True,
        "Archived__c": False,
        "Deleted__c": False,
        "Note__c": None,
        "Color__c": "#0B83D9",
        "Estimate_Hours__c": 0.0,
        "Tracked_Hours__c": 44.17,
        "Clockify_Workspace_Id__c": "64a687e29ae1f428e7ebe303",
    }
    assert {name: project(world)[name] for name in expected} == expected
    assert world.salesforce.state(f"project:{PROJECT}")
    assert len(world.salesforce.requests) == 2  # what it is related to is read, all is written


def test_project_is_renamed_archived_and_deleted_and_stays(world: World, cold: Function) -> None:
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT") == (200, "created")
    name = "W" * 200
    assert tell(cold, "PROJECT_UPDATED", "NEW_PROJECT", name=name) == (200, "updated")
    assert project(world)["Name"] == "W" * 79 + "…"
    assert project(world)["Full_Name__c"] == name
    assert tell(cold, "PROJECT_UPDATED", "NEW_PROJECT", archived=True) == (200, "updated")
    assert tell(cold, "PROJECT_DELETED", "NEW_PROJECT", archived=True) == (200, "deleted")
    assert (project(world)["Archived__c"], project(world)["Deleted__c"]) == (True, True)
    assert tell(cold, "PROJECT_UPDATED", "NEW_PROJECT", note="late") == (200, "stale")
    assert project(world)["Deleted__c"]


def test_older_project_message_after_a_newer_one_is_stale(world: World, cold: Function) -> None:
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT") == (200, "created")
    assert tell(cold, "PROJECT_UPDATED", "NEW_PROJECT", name="Second") == (200, "updated")
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT") == (200, "stale")
    assert tell(cold, "PROJECT_UPDATED", "NEW_PROJECT", name="Second") == (200, "updated")
    assert project(world)["Name"] == "Second"


# --- Tasks ----------------------------------------------------------------------------------------


def test_task_lands_with_owner_project_and_status(world: World, cold: Function) -> None:
    ada = next(each for each in world.salesforce.live("User") if each["Name"] == "Ada")
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT") == (200, "created")
    assert tell(cold, "NEW_TASK", "NEW_TASK") == (200, "created")
    found = task(world)
    assert found["Subject"] == "Review"
    assert (found["OwnerId"], found["WhatId"]) == (ada["Id"], project(world)["Id"])
    assert found["IsClosed"] is False
    assert tell(cold, "TASK_UPDATED", "NEW_TASK", status="DONE") == (200, "updated")
    assert task(world)["IsClosed"] is True


def test_persons_own_status_and_owner_of_a_task_stay(world: World, cold: Function) -> None:
    assert tell(cold, "NEW_TASK", "NEW_TASK") == (200, "created")
    ben = world.salesforce.add("User", Name="Ben", Email="ben@acme.example")
    own = {"Status": "Waiting on someone else", "OwnerId": ben}
    world.salesforce.change("Task", task(world)["Id"], **own)
    assert tell(cold, "TASK_UPDATED", "NEW_TASK", name="Review 2") == (200, "updated")
    found = task(world)
    assert (found["Subject"], found["Status"]) == ("Review 2", "Waiting on someone else")
    assert found["OwnerId"] == ben
    assert tell(cold, "TASK_UPDATED", "NEW_TASK", status="DONE") == (200, "updated")
    assert task(world)["IsClosed"] is True


def test_task_is_deleted(world: World, cold: Function) -> None:
    assert tell(cold, "NEW_TASK", "NEW_TASK") == (200, "created")
    assert tell(cold, "TASK_DELETED", "NEW_TASK") == (200, "deleted")
    assert world.salesforce.live("Task") == []


# --- Invoices -------------------------------------------------------------------------------------


def item(order: int, **changes: Any) -> Fields:
    return {
        "order": order,
        "itemType": "Service",
        "description": f"line {order}",
        "quantity": 100,
        "unitPrice": order,
        "amount": order,
    } | changes


def test_invoice_lands_to_the_cent(world: World, cold: Function) -> None:
    account_id = world.salesforce.add("Account", Name="Northwind", Clockify_Client_Id__c=CLIENT)
    assert tell(cold, "NEW_INVOICE", "NEW_INVOICE") == (200, "created")
    expected = {
        "Name": "202611-0042",
        "Status__c": "UNSENT",
        "Issued__c": "2026-11-03",
        "Due__c": "2026-12-03",
        "Currency__c": "EUR",
        "Subtotal__c": 1200.00,
        "Discount__c": 0.0,
        "Tax__c": 228.00,
        "Tax_2__c": 0.0,
        "Amount__c": 1428.00,
        "Subject__c": "October",
        "Note__c": None,
        "Client__c": "Northwind GmbH",
        "Account__c": account_id,
    }
    assert {name: invoice(world)[name] for name in expected} == expected
    (line,) = lines(world).values()
    expected = {
        "Key__c": f"{INVOICE}-1",
        "Invoice__c": invoice(world)["Id"],
        "Order__c": 1,
        "Quantity__c": 13.33,
        "Description__c": "Website relaunch",
        "Unit_Price__c": 90.00,
        "Amount__c": 1200.00,
    }
    assert {name: line[name] for name in expected} == expected


@pytest.mark.parametrize("number", [0, 1, 22, 23, 24, 400])
def test_invoice_of_so_many_lines_is_one_call(world: World, cold: Function, number: int) -> None:
    items = [item(order) for order in range(1, number + 1)]
    assert tell(cold, "NEW_INVOICE", "NEW_INVOICE", items=items) == (200, "created")
    assert len(lines(world)) == number
    path = "composite/graph" if number > 23 else "composite"
    assert [each for _, each in world.salesforce.requests] == ["composite", path]
    # Half of them go, one is changed.
    items = [item(order, amount=7) for order in range(1, number // 2 + 1)]
    assert tell(cold, "INVOICE_UPDATED", "NEW_INVOICE", items=items) == (200, "updated")
    assert {key: each["Amount__c"] for key, each in lines(world).items()} == {
        f"{INVOICE}-{order}": 0.07 for order in range(1, number // 2 + 1)
    }


@pytest.mark.parametrize("units", [0, 1, 10, 99_999_999_999])
def test_amount_is_exact(world: World, cold: Function, units: int) -> None:
    changes = {"amount": units, "items": [item(1, amount=units, unitPrice=units)]}
    assert tell(cold, "NEW_INVOICE", "NEW_INVOICE", **changes) == (200, "created")
    text = f"{units // 100}.{units % 100:02}"
    assert f"{invoice(world)['Amount__c']:.2f}" == text
    assert [f"{each['Amount__c']:.2f}" for each in lines(world).values()] == [text]


def test_invoice_with_a_line_that_is_refused_writes_nothing_and_waits(
    world: World, cold: Function
) -> None:
    world.salesforce.require("Clockify_Invoice_Line__c", "Cost_Centre__c")
    assert tell(cold, "NEW_INVOICE", "NEW_INVOICE") == (202, "queued")
    assert world.salesforce.live("Clockify_Invoice__c") == []
    assert world.salesforce.state(f"invoice:{INVOICE}") is None
    assert len(world.tasks.created) == 1


@pytest.mark.parametrize("amount", ["12.50", True, 10**16, 0.5])
def test_invoice_with_an_amount_that_is_none_is_unusable(
    world: World, cold: Function, amount: Any
) -> None:
    assert tell(cold, "NEW_INVOICE", "NEW_INVOICE", amount=amount) == (200, "unusable")
    assert cold.log[-1]["severity"] == "ERROR"
    assert world.salesforce.requests == []


# --- All kinds ------------------------------------------------------------------------------------

SAMPLES = [
    ("NEW_CLIENT", {"name": "Webhook Test Client"}),
    ("NEW_PROJECT", {"name": "Webhook Test Project"}),
    ("NEW_TASK", {"name": "Webhook Test Task"}),
    ("NEW_INVOICE", {"number": "Webhook Test Number"}),
]


@pytest.mark.parametrize(("event", "changes"), SAMPLES)
def test_message_of_the_test_button_writes_nothing(
    world: World, cold: Function, event: str, changes: Fields
) -> None:
    assert tell(cold, event, event, **changes) == (200, "ignored")
    assert world.salesforce.requests == []


@pytest.mark.parametrize("event", ["NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"])
def test_kind_that_is_not_in_the_org_is_left_out_and_told_once(
    world: World, cold: Function, event: str
) -> None:
    world.salesforce.withdraw()
    assert tell(cold, event, event) == (200, "ignored")
    assert "force-app/main/data" in cold.log[-1]["left_out"][0]
    before = len(world.salesforce.requests)
    assert tell(cold, event, event, note="again") == (200, "ignored")
    assert "left_out" not in cold.log[-1]
    assert len(world.salesforce.requests) == before
    assert cold.post("TIMER_STOPPED", sample()).json()["result"] == "created"


@pytest.mark.parametrize("event", ["NEW_CLIENT", "NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"])
@pytest.mark.parametrize("body", [[], "x", {}, {"id": 7}, {"id": "../x"}])
def test_body_that_is_not_one_is_refused(
    world: World, cold: Function, event: str, body: Any
) -> None:
    response = cold.post(event, body)
    assert response.status_code == 400
    assert world.salesforce.requests == []


def test_message_that_salesforce_cannot_take_waits_and_arrives(
    world: World, cold: Function
) -> None:
    world.salesforce.faults.limit = 1
    world.tasks.first_wait = 0.2
    for event in ("NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"):
        assert tell(cold, event, event) == (202, "queued")
    world.salesforce.faults.clear()
    deadline = time.monotonic() + 30
    while world.tasks.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [project(world)["Name"], task(world)["Subject"]] == ["Website relaunch", "Review"]
    assert [invoice(world)["Name"], len(lines(world))] == ["202611-0042", 1]


def test_event_belongs_to_the_project_where_nothing_else_is_matched(
    world: World, cold: Function
) -> None:
    entry = sample()
    project_id = entry["project"]["id"]
    assert tell(cold, "NEW_PROJECT", "NEW_PROJECT", id=project_id) == (200, "created")
    assert cold.post("TIMER_STOPPED", entry).json()["result"] == "created"
    found = world.salesforce.held("Clockify_Project__c", "Clockify_Project_Id__c", project_id)
    event = world.salesforce.event(entry["id"])
    assert found is not None
    assert event is not None
    assert event["WhatId"] == found["Id"]
