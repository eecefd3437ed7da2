"""What a body of each kind means: pure, by table."""

from typing import Any

import pytest
from conftest import sample

import mapping
from clockify_salesforce import kinds
from clockify_salesforce.decisions import Delete, Ignore, Match, Record, Upsert
from clockify_salesforce.errors import BadMessage, UnusableEntry
from clockify_salesforce.kinds import BY_EVENT, BY_NAME, KINDS
from clockify_salesforce.kinds.invoice import MOST_LINES
from clockify_salesforce.kinds.kind import Body, Kind

EVENTS = {kind.name: min(each for each in kind.writes if each.startswith("NEW")) for kind in KINDS}


def decided(name: str, event: str = "", /, **changes: Any) -> Any:
    event = event or EVENTS[name]
    return mapping.decide(event, sample(EVENTS[name]) | changes)


def record(name: str, **changes: Any) -> Record:
    found = decided(name, **changes)
    assert isinstance(found, Record)
    return found


def test_no_event_type_belongs_to_two_kinds() -> None:
    assert sum(len(kind.events) for kind in KINDS) == len(BY_EVENT)
    assert not BY_EVENT.keys() & (mapping.UPSERTS | mapping.DELETES)


@pytest.mark.parametrize(
    ("name", "event", "sort"),
    [
        ("client", "", Match),
        ("client", "CLIENT_DELETED", Match),
        ("project", "", Record),
        ("project", "PROJECT_DELETED", Record),
        ("task", "", Upsert),
        ("task", "TASK_DELETED", Delete),
        ("invoice", "INVOICE_UPDATED", Record),
    ],
)
def test_event_type_decides(name: str, event: str, sort: type) -> None:
    found = decided(name, event)
    assert (found.kind, found.target) == (name, BY_NAME[name].target)
    assert type(found) is sort
    if isinstance(found, Match | Record):
        assert found.gone is event.endswith("DELETED")


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("content", [None, [], "x", {}, {"id": None}, {"id": "a/b"}])
def test_body_that_is_not_one_is_a_bad_message(name: str, content: Any) -> None:
    with pytest.raises(BadMessage):
        mapping.decide(EVENTS[name], content)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_test_button_is_ignored(kind: Kind) -> None:
    field, value = kind.sample
    found = decided(kind.name, **{field: value})
    assert found == Ignore("Clockify's test message", found.entry_id, kind=kind.name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_essential_body_reads_the_same(kind: Kind) -> None:
    body = sample(EVENTS[kind.name]) | {"memberships": [{"userId": "x"}], "timeEntryIds": ["x"]}
    kept = mapping.essential(body, event_type=EVENTS[kind.name])
    assert isinstance(kept, dict)
    assert "memberships" not in kept
    assert kinds.read(kind, kept) == kinds.read(kind, body)
    assert mapping.essential("x", event_type=EVENTS[kind.name]) is None


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("PT0S", 0.0),
        ("PT44H10M", 44.17),
        ("PT1H30M36S", 1.51),
        ("P1DT1H", 25.0),
        ("PT0.5S", 0.0),
        ("P", None),
        ("", None),
        ("44:10", None),
        (44, None),
        (None, None),
    ],
)
def test_duration_is_hours(text: Any, hours: float | None) -> None:
    assert Body("project", {"duration": text}).hours("duration") == hours


@pytest.mark.parametrize(
    ("units", "amount"),
    [(None, None), (0, 0.0), (1, 0.01), (-5, -0.05), (142_800.0, 1428.0), (10**16 - 1, None)],
)
def test_hundredths_are_the_amount(units: Any, amount: float | None) -> None:
    found = Body("invoice", {"amount": units}).hundredths("amount")
    assert found == (amount if amount is not None or units is None else (10**16 - 1) / 100)


@pytest.mark.parametrize("units", ["12.50", True, 10**16, 0.5, [], {}])
def test_hundredths_that_are_none_are_unusable(units: Any) -> None:
    with pytest.raises(UnusableEntry, match=r"^invoice amount: "):
        decided("invoice", amount=units)


@pytest.mark.parametrize(
    ("value", "day"), [("2026-11-03T00:00:00Z", "2026-11-03"), ("", None), (None, None)]
)
def test_day_is_a_date(value: Any, day: str | None) -> None:
    assert record("invoice", issuedDate=value).fields["Issued__c"] == day


@pytest.mark.parametrize("value", ["soon", 7, "2026-13-01"])
def test_day_that_is_none_is_unusable(value: Any) -> None:
    with pytest.raises(UnusableEntry, match=r"^invoice dueDate: "):
        decided("invoice", dueDate=value)


def test_line_is_known_by_its_order_or_else_its_place() -> None:
    items = [{"order": 3, "amount": 1}, {"amount": 2}, "x", {"order": 3, "amount": 4}]
    found = record("invoice", items=items)
    assert found.lines is not None
    assert [(line.key[-2:], line.fields["Amount__c"]) for line in found.lines.lines] == [
        ("-3", 0.04),
        ("-2", 0.02),
    ]


def test_invoice_of_too_many_lines_is_unusable() -> None:
    with pytest.raises(UnusableEntry, match="split the invoice"):
        decided("invoice", items=[{"order": at} for at in range(MOST_LINES + 1)])


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({"estimate": {"estimate": "PT8H"}}, 8.0),
        ({"timeEstimate": {"estimate": "PT9H"}}, 9.0),
        ({"estimate": None}, None),
    ],
)
def test_estimate_is_hours(changes: dict[str, Any], hours: float | None) -> None:
    assert record("project", **changes).fields["Estimate_Hours__c"] == hours


@pytest.mark.parametrize(
    ("changes", "client"),
    [
        ({}, ("64c777ddd3fcab07cfbb210c", "Northwind GmbH")),
        ({"clientId": "", "clientName": None}, (None, None)),
        (
            {"clientId": "", "clientName": "", "client": {"id": "c1", "name": "Acme"}},
            ("c1", "Acme"),
        ),
    ],
)
def test_projects_client_is_told_in_either_way(changes: dict[str, Any], client: Any) -> None:
    found = record("project", **changes)
    assert (found.references[0].clockify_id, found.fields["Client__c"]) == client


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("5a0ab5acb07987125438b60f", "ACTIVE", None)),
        ({"assigneeIds": [], "assigneeId": "a1"}, ("a1", "ACTIVE", None)),
        ({"assigneeIds": None, "status": "ALL"}, (None, "", None)),
        ({"status": "DONE", "workspaceId": "w1"}, ("5a0ab5acb07987125438b60f", "DONE", "w1")),
    ],
)
def test_task_has_assignee_status_and_workspace(changes: dict[str, Any], expected: Any) -> None:
    found = decided("task", **changes)
    assert (found.user_id, found.status, found.workspace_id) == expected
    assert found.event.get("Clockify_Workspace_Id__c") == expected[2]


def test_invoice_of_a_known_workspace_tells_it() -> None:
    assert record("invoice", workspaceId="w1").fields["Clockify_Workspace_Id__c"] == "w1"
    assert "Clockify_Workspace_Id__c" not in record("invoice").fields


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("client", "clients/64c777ddd3fcab07cfbb210c"),
        ("task", "projects/64c777ddd3fcab07cfbb211d/tasks/64c777ddd3fcab07cfbb212e"),
        ("invoice", "invoices/64c777ddd3fcab07cfbb2300"),
    ],
)
def test_path_names_the_one(name: str, path: str) -> None:
    assert BY_NAME[name].path_of(sample(EVENTS[name])) == path
    assert BY_NAME[name].path_of({"id": "../x"}).endswith("/-")
    assert BY_NAME[name].tells_path(sample(EVENTS[name]))
    assert not BY_NAME[name].tells_path({"id": "../x"})
