"""Invoices: their lines come, go and change places; one bad line; and the very large ones."""

import random
import time
from typing import Any

import pytest
from conftest import sample

from sandbox.salesforce.records import ADMIN_ID
from sandbox.world import Function, World

INVOICE = "64c777ddd3fcab07cfbb2300"

Fields = dict[str, Any]


@pytest.fixture
def world(world: World) -> World:
    """The world with an org that has what the other kinds need."""
    world.salesforce.deploy()
    return world


def item(order: int, text: str, amount: int = 100, **more: Any) -> Fields:
    kept = {"order": order, "itemType": "Service", "description": text, "quantity": 100}
    return kept | {"unitPrice": amount, "amount": amount} | more


def tell(function: Function, *items: Fields, **changes: Any) -> str:
    body = sample("NEW_INVOICE") | {"items": items} | changes
    return str(function.post("INVOICE_UPDATED", body).json()["result"])


def lines(world: World) -> dict[int, str]:
    """The lines' texts by their places."""
    return {
        int(each["Order__c"]): str(each["Description__c"])
        for each in world.salesforce.live("Clockify_Invoice_Line__c")
    }


def line_id(world: World, order: int) -> str:
    line = world.salesforce.held("Clockify_Invoice_Line__c", "Key__c", f"{INVOICE}-{order}")
    assert line is not None
    return str(line["Id"])


def drain(world: World) -> None:
    """Let the queue deliver all that it holds."""
    world.tasks.paused = False
    deadline = time.monotonic() + 30
    while world.tasks.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lines_are_added_removed_and_reordered(world: World, running: Function) -> None:
    assert tell(running, item(1, "a"), item(2, "b")) == "created"
    first = line_id(world, 1)
    assert tell(running, item(1, "a"), item(2, "b"), item(3, "c")) == "updated"
    assert lines(world) == {1: "a", 2: "b", 3: "c"}
    assert tell(running, item(1, "c"), item(2, "a")) == "updated"
    assert lines(world) == {1: "c", 2: "a"}
    assert line_id(world, 1) == first
    assert tell(running) == "updated"
    assert lines(world) == {}
    assert tell(running, item(3, "c"), item(7, "g")) == "updated"
    assert lines(world) == {3: "c", 7: "g"}


@pytest.mark.parametrize("number", [100, 300, 450])
def test_all_lines_have_other_places_in_one_call(
    world: World, running: Function, number: int
) -> None:
    assert tell(running, *(item(order, f"o{order}") for order in range(1, 401))) == "created"
    world.salesforce.requests.clear()
    places = range(1001, 1001 + number)
    assert tell(running, *(item(order, f"p{order}") for order in places)) == "updated"
    assert lines(world) == {order: f"p{order}" for order in places}
    assert [path for _, path in world.salesforce.requests] == ["composite", "composite/graph"]
    assert len({each["Key__c"] for each in world.salesforce.live("Clockify_Invoice_Line__c")}) == (
        number
    )


def test_line_that_a_person_has_removed_comes_back_or_stays_away(
    world: World, running: Function
) -> None:
    assert tell(running, item(1, "x"), item(2, "y"), item(3, "z")) == "created"
    for order in (2, 3):
        name = "Clockify_Invoice_Line__c"
        world.salesforce.delete(name, line_id(world, order), user=ADMIN_ID)
    assert tell(running, item(1, "x"), item(2, "y")) == "updated"
    assert lines(world) == {1: "x", 2: "y"}


@pytest.mark.parametrize("number", [2, 30])
def test_bad_line_refuses_all_of_it_until_it_is_mended(
    world: World, running: Function, number: int
) -> None:
    assert tell(running, item(1, "old", 500), amount=500) == "created"
    world.salesforce.faults.rule = 1
    world.salesforce.faults.only = frozenset({"Clockify_Invoice_Line__c"})
    world.tasks.paused = True
    items = [item(order, f"new {order}") for order in range(1, number + 1)]
    assert tell(running, *items, amount=100 * number) == "queued"
    assert "refuses the Clockify_Invoice_Line__c: FIELD_CUSTOM" in running.log[-1]["reason"]
    assert (lines(world), _amount(world)) == ({1: "old"}, 5.0)
    world.salesforce.faults.clear()
    drain(world)
    assert lines(world) == {order: f"new {order}" for order in range(1, number + 1)}
    assert _amount(world) == number


def _amount(world: World) -> float:
    invoice = world.salesforce.held("Clockify_Invoice__c", "Clockify_Invoice_Id__c", INVOICE)
    assert invoice is not None
    return float(invoice["Amount__c"])


@pytest.mark.parametrize("width", [0, 200])
def test_queued_invoice_of_400_lines_arrives(world: World, running: Function, width: int) -> None:
    world.salesforce.faults.limit = 1
    world.tasks.paused = True
    # What nobody reads of it is left out of the queue, and the rest is compressed.
    ids = [f"{number:024x}" for number in range(20)]
    texts = {order: f"line {order}" + width * " ä" for order in range(1, 401)}
    items = [item(order, text, timeEntryIds=ids) for order, text in texts.items()]
    assert tell(running, *items) == "queued"
    world.salesforce.faults.clear()
    drain(world)
    assert lines(world) == texts


def test_invoice_that_the_queue_cannot_keep_is_answered_503_and_told(
    world: World, running: Function
) -> None:
    world.salesforce.faults.limit = 1
    chance = random.Random(1)
    items = [item(order, chance.randbytes(500).hex()) for order in range(1, 201)]
    body = sample("NEW_INVOICE") | {"items": items}
    assert running.post("NEW_INVOICE", body).status_code == 503
    assert world.tasks.created == []
    line = running.log[-1]
    assert line["severity"] == "ERROR"
    assert "the org has used up its API calls" in line["reason"]
    assert "the retry queue cannot keep it: compressed, it has 1" in line["reason"]
    world.salesforce.faults.clear()
    # As Clockify sends it again.
    assert running.post("NEW_INVOICE", body).json()["result"] == "created"
    assert len(lines(world)) == 200
