"""Orgs differ: what one refuses of a kind is told with what to do, and holds up nothing else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import payload, sample

from sandbox.salesforce.faults import Flow
from sandbox.world import ROOT, Function, World

CLIENT, TASK = "64c777ddd3fcab07cfbb210c", "64c777ddd3fcab07cfbb212e"
OTHER = "64c777ddd3fcab07cfbb21ff"
NAME = "Northwind GmbH"  # the client's, in the sample

Arrange = Callable[[World], object]


def company(world: World, folder: Path, clients: str) -> Function:
    """A function with a mapping.toml of the company's own."""
    for name in ("main.py", "mapping.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "clockify_salesforce", folder / "clockify_salesforce")
    (folder / "mapping.toml").write_text(f"[clients]\n{clients}\n")
    return Function(world, source=folder)


@pytest.fixture(scope="module")
def creating(the_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    """A function that makes Accounts."""
    the_world.reset()
    function = company(the_world, tmp_path_factory.mktemp("creating"), "create_accounts = true")
    yield function
    function.stop()


@pytest.fixture
def world(world: World) -> World:
    """The world with an org that has what the other kinds need, and a queue that keeps."""
    world.salesforce.deploy()
    world.tasks.paused = True
    return world


def told(function: Function, event: str, of: str, /, **changes: Any) -> tuple[str, str]:
    """What is answered to a message, and what its line in the log says of it."""
    result = str(function.post(event, sample(of) | changes).json()["result"])
    line = function.log[-1]
    assert NAME not in str(line)
    return result, " ".join([str(line.get("reason", "")), *line.get("left_out", [])])


def account(world: World) -> dict[str, Any] | None:
    return world.salesforce.held("Account", "Clockify_Client_Id__c", CLIENT)


def of_another_client(world: World) -> None:
    world.salesforce.add("Account", Name=NAME, Clockify_Client_Id__c=OTHER)


def with_duplicate_rule(does: Any) -> Arrange:
    def arrange(world: World) -> None:
        of_another_client(world)
        world.salesforce.duplicate_rule = does

    return arrange


def with_rule_of_its_own(world: World) -> None:
    world.salesforce.faults.rule = 1
    world.salesforce.faults.only = frozenset({"Account"})


def with_flow_of_its_own(world: World) -> None:
    flow = Flow(
        refuses="CANNOT_EXECUTE_FLOW_TRIGGER",
        object="Account",
        name="Account - Check",
        says="{Name} has no owner",
    )
    world.salesforce.flows.append(flow)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda world: None,
        lambda world: world.salesforce.use_currencies("EUR", "USD"),
        lambda world: world.salesforce.use_person_accounts(),
        of_another_client,
    ],
    ids=["as new", "multicurrency", "person accounts", "of another client"],
)
def test_account_is_made_for_a_client_that_has_none(
    world: World, creating: Function, arrange: Arrange
) -> None:
    arrange(world)
    assert told(creating, "NEW_CLIENT", "NEW_CLIENT") == ("created", "")
    made = account(world)
    assert made is not None
    assert made["Name"] == NAME
    # One that we have made follows the client's name.
    assert told(creating, "CLIENT_UPDATED", "NEW_CLIENT", name="Tailspin")[0] == "updated"
    made = account(world)
    assert made is not None
    assert made["Name"] == "Tailspin"
    for event in ("NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"):
        assert told(creating, event, event)[0] == "created"


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (
            lambda world: world.salesforce.use_person_accounts(by_default=True),
            ("INVALID_FIELD_FOR_INSERT_UPDATE (Name)", "Person Account", "business record type"),
        ),
        (
            lambda world: world.salesforce.require("Account", "Segment__c"),
            ("REQUIRED_FIELD_MISSING (Segment__c)", "default value", "every Account"),
        ),
        (
            with_duplicate_rule("alert"),
            ("DUPLICATES_DETECTED", "alerts to an Account", 'duplicate_alerts = "pass"'),
        ),
        (
            with_duplicate_rule("block"),
            ("DUPLICATES_DETECTED", "blocks an Account", "Clockify_Client_Id__c by hand"),
        ),
        (with_rule_of_its_own, ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "refuses this Account")),
        (with_flow_of_its_own, ("'Account - Check'", "have its owner mend it")),
        (
            lambda world: world.salesforce.read_only.add("Account"),
            ("may not create an Account", "Clockify_Data"),
        ),
    ],
    ids=["person", "required", "alert", "block", "rule", "flow", "no right"],
)
def test_refused_account_waits_with_its_advice_and_holds_up_nothing_else(
    world: World, creating: Function, arrange: Arrange, said: tuple[str, ...]
) -> None:
    arrange(world)
    result, reason = told(creating, "NEW_CLIENT", "NEW_CLIENT")
    assert result == "queued"
    assert reason.startswith("Salesforce refuses the Account: ")
    assert [each for each in said if each not in reason] == []
    assert account(world) is None
    for event in ("NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"):
        assert told(creating, event, event)[0] == "created"
    assert creating.post("TIMER_STOPPED", payload()).json()["result"] == "created"


def test_alert_is_passed_by_choice_and_a_block_is_not(world: World, tmp_path: Path) -> None:
    world.salesforce.duplicate_rule = "alert"
    function = company(world, tmp_path, 'create_accounts = true\nduplicate_alerts = "pass"')
    try:
        world.salesforce.add("Account", Name="Fabrikam")
        assert told(function, "NEW_CLIENT", "NEW_CLIENT", name="Fabrikam")[0] == "updated"
        assert account(world) is not None
        assert told(function, "NEW_CLIENT", "NEW_CLIENT", id=OTHER, name="FABRIKAM")[0] == "created"
        world.salesforce.duplicate_rule = "block"
        third = OTHER[:-1] + "e"
        assert told(function, "NEW_CLIENT", "NEW_CLIENT", id=third, name="FABRIKAM")[0] == "queued"
    finally:
        function.stop()


# --- An Account that is there ---------------------------------------------------------------------


def test_account_that_may_not_be_edited_waits_with_its_advice(
    world: World, running: Function
) -> None:
    world.salesforce.add("Account", Name=NAME)
    world.salesforce.read_only.add("Account")
    result, reason = told(running, "NEW_CLIENT", "NEW_CLIENT")
    assert result == "queued"
    assert "refuses the Account: INSUFFICIENT_ACCESS_OR_READONLY" in reason
    assert "permission set Clockify_Data" in reason
    assert told(running, "NEW_PROJECT", "NEW_PROJECT")[0] == "created"


def test_org_without_the_permission_set_leaves_the_kinds_out(world: World, cold: Function) -> None:
    world.reset()
    world.tasks.paused = True
    world.salesforce.deploy(assign=())
    world.salesforce.add("Account", Name=NAME)
    for event in ("NEW_CLIENT", "NEW_PROJECT", "NEW_TASK", "NEW_INVOICE"):
        result, reason = told(cold, event, event)
        assert result in ("ignored", "queued"), reason
        assert "permission set Clockify_Data" in reason
    assert cold.post("TIMER_STOPPED", payload()).json()["result"] == "created"


# --- Task statuses --------------------------------------------------------------------------------

OPEN = {"MasterLabel": "Offen", "IsDefault": True}
CLOSED = {"MasterLabel": "Erledigt", "IsClosed": True}


@pytest.mark.parametrize(
    ("rows", "statuses", "notes"),
    [
        ([OPEN, CLOSED], ("Offen", "Erledigt"), (False, False)),
        ([{**OPEN, "IsDefault": False}, CLOSED], ("Offen", "Erledigt"), (False, False)),
        ([OPEN], ("Offen", "Offen"), (False, True)),
        ([{**CLOSED, "IsDefault": True}], ("Erledigt", "Erledigt"), (True, False)),
    ],
    ids=["renamed", "no default", "none closed", "none open"],
)
def test_task_has_the_orgs_own_status_or_none_is_told(
    world: World,
    running: Function,
    rows: list[dict[str, Any]],
    statuses: tuple[str, str],
    notes: tuple[bool, bool],
) -> None:
    world.salesforce.set_task_statuses(rows)
    for status, held, is_told in zip(("ACTIVE", "DONE"), statuses, notes, strict=True):
        event = "NEW_TASK" if status == "ACTIVE" else "TASK_UPDATED"
        result, note = told(running, event, "NEW_TASK", status=status)
        assert result in ("created", "updated")
        task = world.salesforce.held("Task", "Clockify_Task_Id__c", TASK)
        assert task is not None
        assert task["Status"] == held
        assert ("status of Tasks: add one in Setup" in note) is is_told
