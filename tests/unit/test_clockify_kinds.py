"""Clients, projects, tasks, invoices and the summary report in the stand-in of Clockify's API.

The other client is clockify-python-115, as in test_clockify_stand_in.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clockify.models import Client, InvoiceDtoFull, InvoiceListResponse, Project, Task
from clockify.models.reports import SummaryReportResponse
from conftest import sample

from sandbox.clockify import KEY, WORKSPACE, ClockifyApi, Line

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT = f"/api/v1/workspaces/{WORKSPACE}"
Json = dict[str, Any]


class Workspace:
    """A client with a project, its tasks and an invoice; and one of each that is left."""

    def __init__(self) -> None:
        self.api = ClockifyApi()
        api = self.api
        self.ada = api.add_user("Ada Lindqvist")
        self.northwind = api.add_client("Northwind GmbH", note="pays late")
        self.old = api.add_client("Gone Ltd", archived=True)
        self.relaunch = api.add_project(
            "Website relaunch", self.northwind, hourly_rate=9000, estimate=40 * HOUR
        )
        self.internal = api.add_project("Internal", billable=False, archived=True)
        self.review = api.add_task("Review", self.relaunch, assignees=(self.ada,))
        self.done = api.add_task("Set-up", self.relaunch, status="DONE")
        lines = (Line(1, "Work", 1333, 9000, 120_000), Line(2, "Travel", 100, 5000, 5000))
        self.invoice = api.add_invoice(
            "2026-1",
            self.northwind,
            lines=lines,
            tax=19.0,
            issued=START,
            due=START + 30 * 24 * HOUR,
        )
        api.add_invoice("2026-2", status="PAID", paid=0)

    def get(self, path: str, status: int = 200) -> Any:
        found, body, _ = self.api("GET", ROOT + path, {"X-Api-Key": KEY}, b"")
        assert found == status, body
        return body

    def summary(self, status: int = 200, **changes: object) -> Any:
        body: Json = {
            "dateRangeStart": "2026-03-01T00:00:00Z",
            "dateRangeEnd": "2026-03-31T23:59:59Z",
            "summaryFilter": {"groups": ["PROJECT"]},
            "exportType": "JSON",
        }
        sent = json.dumps(body | changes).encode()
        path = f"/v1/workspaces/{WORKSPACE}/reports/summary"
        found, answer, _ = self.api("POST", path, {"X-Api-Key": KEY}, sent)
        assert found == status, answer
        return answer


@pytest.fixture
def work() -> Workspace:
    """A workspace with something of everything."""
    return Workspace()


# --- Messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("NEW_CLIENT", "northwind"),
        ("NEW_PROJECT", "relaunch"),
        ("NEW_TASK", "review"),
        ("NEW_INVOICE", "invoice"),
    ],
)
def test_message_has_the_names_of_clockifys_sample(work: Workspace, name: str, record: str) -> None:
    event, body = work.api.new(getattr(work, record))
    assert (event, sorted(body)) == (name, sorted(sample(name)))
    if name == "NEW_INVOICE":
        assert sorted(body["items"][0]) == sorted(sample(name)["items"][0])


def test_message_of_a_task_names_neither_workspace_nor_project(work: Workspace) -> None:
    body = work.api.body(work.review)
    assert (body["projectId"], body["assigneeIds"]) == (work.relaunch, [work.ada])
    assert not {"workspaceId", "projectName"} & set(body)
    Task.model_validate(body)


def test_message_of_an_invoice_is_exact_to_the_cent(work: Workspace) -> None:
    body = work.api.body(work.invoice)
    assert (body["subtotal"], body["taxAmount"], body["amount"]) == (125_000, 23_750, 148_750)
    assert not {"workspaceId", "paid", "balance"} & set(body)
    assert (body["tax"], work.get(f"/invoices/{work.invoice}")["tax"]) == (19.0, 1900.0)


@pytest.mark.parametrize(
    ("kind", "record", "changes", "expected"),
    [
        ("client", "northwind", {"name": "Northwind AG", "archived": True}, "CLIENT_UPDATED"),
        ("project", "relaunch", {"name": "Relaunch 2", "note": "n"}, "PROJECT_UPDATED"),
        ("task", "review", {"name": "Check", "status": "DONE"}, "TASK_UPDATED"),
        ("invoice", "invoice", {"status": "SENT", "number": "7"}, "INVOICE_UPDATED"),
    ],
)
def test_change_is_told_and_read(
    work: Workspace, kind: str, record: str, changes: Json, expected: str
) -> None:
    record_id = getattr(work, record)
    event, body = getattr(work.api, f"edit_{kind}")(record_id, **changes)
    assert event == expected
    assert changes.items() <= body.items()
    path = f"/projects/{work.relaunch}/tasks" if kind == "task" else f"/{kind}s"
    assert changes.items() <= work.get(f"{path}/{record_id}").items()


@pytest.mark.parametrize(
    ("kind", "record", "first"),
    [
        ("client", "northwind", {"archived": True}),
        ("project", "relaunch", {"archived": True}),
        ("task", "review", {"status": "DONE"}),
    ],
)
def test_record_is_archived_or_done_before_it_is_deleted(
    work: Workspace, kind: str, record: str, first: Json
) -> None:
    record_id = getattr(work, record)
    work.api.add(work.ada, START, START + HOUR, project=work.relaunch, task="Review")
    delete = getattr(work.api, f"delete_{kind}")
    with pytest.raises(ValueError, match="before it is deleted"):
        delete(record_id)
    whole = getattr(work.api, f"edit_{kind}")(record_id, **first)[1]
    assert delete(record_id) == (f"{kind.upper()}_DELETED", whole)
    path = f"/projects/{work.relaunch}/tasks" if kind == "task" else f"/{kind}s"
    assert work.get(f"{path}/{record_id}", 400)["code"] == 501
    if kind == "project":
        (entry,) = work.api.entries.values()
        assert (entry.project, work.api._task_id(entry) in work.api.tasks) == (None, False)


def test_deleted_invoice_is_told_by_nobody(work: Workspace) -> None:
    work.api.delete_invoice(work.invoice)
    assert work.get("/invoices")["total"] == 1
    work.get(f"/invoices/{work.invoice}", 400)


# --- Lists and single records ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/clients", ["Northwind GmbH", "Gone Ltd"]),
        ("/clients?archived=true", ["Gone Ltd"]),
        ("/clients?archived=false", ["Northwind GmbH"]),
        ("/projects", ["Website relaunch", "Internal"]),
        ("/projects?archived=false", ["Website relaunch"]),
        ("/projects?page=2&page-size=1", ["Internal"]),
        ("/projects/{relaunch}/tasks", ["Review", "Set-up"]),
        ("/projects/{internal}/tasks", []),
    ],
)
def test_list_holds(work: Workspace, path: str, names: list[str]) -> None:
    assert [each["name"] for each in work.get(path.format(**vars(work)))] == names


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("/invoices", ["2026-1", "2026-2"]),
        ("/invoices?statuses=PAID,VOID", ["2026-2"]),
        ("/invoices?statuses=VOID&statuses=PAID", ["2026-2"]),
        ("/invoices?page=2&page-size=1", ["2026-2"]),
    ],
)
def test_invoices_are_listed_without_their_items(
    work: Workspace, path: str, numbers: list[str]
) -> None:
    found = work.get(path)
    InvoiceListResponse.model_validate(found)
    assert [each["number"] for each in found["invoices"]] == numbers
    assert not any("items" in each for each in found["invoices"])
    assert found["total"] == (1 if "statuses" in path else 2)


def test_single_records_are_as_the_other_client_knows_them(work: Workspace) -> None:
    Client.model_validate(work.get(f"/clients/{work.northwind}"))
    project = Project.model_validate(work.get(f"/projects/{work.relaunch}"))
    assert project.hourly_rate is not None
    assert (project.hourly_rate.amount, project.client_name) == (9000, "Northwind GmbH")
    Task.model_validate(work.get(f"/projects/{work.relaunch}/tasks/{work.review}"))
    invoice = InvoiceDtoFull.model_validate(work.get(f"/invoices/{work.invoice}"))
    assert (invoice.amount, invoice.balance, len(invoice.items or [])) == (148_750, 148_750, 2)


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/clients/none", "Client doesn't belong to Workspace"),
        ("/projects/none", "Project doesn't belong to Workspace"),
        ("/projects/none/tasks", "Project doesn't belong to Workspace"),
        ("/projects/none/tasks/none", "Project doesn't belong to Workspace"),
        ("/projects/{relaunch}/tasks/none", "Task doesn't belong to Project"),
        ("/projects/{internal}/tasks/{review}", "Task doesn't belong to Project"),
        ("/invoices/none", "Invoice doesn't belong to Workspace"),
    ],
)
def test_record_that_is_gone_is_refused(
    work: Workspace, path: str, message: str, status: int
) -> None:
    work.api.gone_status = status
    answer = work.get(path.format(**vars(work)), status)
    gone = {"message": message, "code": 501}
    assert answer == (gone if status == 400 else {"message": "not found", "code": 404})


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("/projects?page-size=5000", True),
        ("/projects?page-size=5001", False),
        ("/clients?page-size=0", False),
        ("/projects/{relaunch}/tasks?page-size=5001", False),
        ("/invoices?page-size=200", True),
        ("/invoices?page-size=201", False),
    ],
)
def test_page_has_a_largest_size(work: Workspace, path: str, is_taken: bool) -> None:
    work.get(path.format(**vars(work)), 200 if is_taken else 400)


def test_plan_may_have_no_invoices(work: Workspace) -> None:
    work.api.invoices_status = 403
    work.get("/invoices", 403)
    work.get(f"/invoices/{work.invoice}", 403)
    work.get("/projects")


@pytest.mark.parametrize("path", ["/clients", "/projects/{relaunch}/tasks", "/invoices"])
def test_free_plan_counts_every_request(work: Workspace, path: str) -> None:
    work.api.faults.hourly = 2
    work.get("/projects")
    work.summary()
    found, _, headers = work.api("GET", ROOT + path.format(**vars(work)), {"X-Api-Key": KEY}, b"")
    assert (found, int(headers["Retry-After"]) > 3000) == (429, True)


def test_other_workspaces_of_the_key_hold_nothing(work: Workspace) -> None:
    work.api.workspaces.append("other")
    path = "/api/v1/workspaces/other"
    for kind in ("clients", "projects"):
        assert work.api("GET", f"{path}/{kind}", {"X-Api-Key": KEY}, b"")[:2] == (200, [])


def test_many_records_are_served_at_once(work: Workspace) -> None:
    api = work.api
    projects = [api.add_project(f"P{number}") for number in range(10_000)]
    for number in range(20_000):
        api.add_task(f"T{number}", projects[number % 10_000])
    for number in range(5_000):
        api.add_invoice(f"I{number}", lines=(Line(1, amount=100),))
    begin = time.process_time()
    pages = [work.get(f"/projects?page={page}&page-size=5000") for page in (1, 2, 3)]
    names = [each["name"] for page in pages for each in page]
    numbers = [
        each["number"]
        for page in range(1, 27)
        for each in work.get(f"/invoices?page={page}&page-size=200")["invoices"]
    ]
    tasks = sum(len(work.get(f"/projects/{project}/tasks")) for project in projects)
    assert (len(set(names)), len(set(numbers)), tasks) == (10_002, 5_002, 20_000)
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    ("event", "status"), [("NEW_CLIENT", 201), ("INVOICE_UPDATED", 201), ("INVOICE_DELETED", 400)]
)
def test_webhook_of_another_kind_is_made(work: Workspace, event: str, status: int) -> None:
    body = {"name": "Clockify to Salesforce", "url": "https://x.example", "webhookEvent": event}
    sent = json.dumps(body).encode()
    assert work.api("POST", ROOT + "/webhooks", {"X-Api-Key": KEY}, sent)[0] == status
    work.api.webhook_limit = len(work.api.hooks)
    assert work.api("POST", ROOT + "/webhooks", {"X-Api-Key": KEY}, sent)[0] == 400


# --- Hours ----------------------------------------------------------------------------------------


@pytest.fixture
def tracked(work: Workspace) -> Workspace:
    """Two hours on the project, one of them billable; one on nothing; and a timer."""
    api = work.api
    api.add(work.ada, START, START + HOUR, project=work.relaunch, task="Review", billable=True)
    api.add(work.ada, START + HOUR, START + 2 * HOUR, project=work.relaunch)
    api.add(work.ada, START + 2 * HOUR, START + 3 * HOUR)
    api.start(work.ada, START + 3 * HOUR, project=work.relaunch)
    return work


def test_project_and_task_tell_what_was_tracked(tracked: Workspace) -> None:
    project = f"/projects/{tracked.relaunch}"
    assert tracked.get(project)["duration"] == "PT2H"
    assert tracked.get(f"{project}/tasks/{tracked.review}")["duration"] == "PT1H"
    entry = next(iter(tracked.api.entries))
    assert tracked.get(f"/time-entries/{entry}")["task"]["id"] == tracked.review
    tracked.api.edit(entry, end=START + 2 * HOUR)
    assert tracked.get(project)["duration"] == "PT3H"
    tracked.api.delete(entry)
    assert tracked.get(project)["duration"] == "PT1H"
    tracked.api.import_entries(list(tracked.api.deleted.values()))
    assert tracked.get(project)["duration"] == "PT3H"


def test_summary_adds_up_by_project(tracked: Workspace) -> None:
    # As in https://github.com/lucassabreu/clockify-cli/issues/144
    found = tracked.summary()
    SummaryReportResponse.model_validate(found)
    rows = {row["_id"]: row for row in found["groupOne"]}
    assert {key: row["duration"] for key, row in rows.items()} == {tracked.relaunch: 7200, "": 3600}
    assert rows[tracked.relaunch]["amount"] == 9000.0
    assert rows[tracked.relaunch]["amounts"] == [{"type": "EARNED", "value": 9000.0}]
    (total,) = found["totals"]
    assert (total["totalTime"], total["totalBillableTime"]) == (10_800, 3600)
    assert (total["entriesCount"], total["totalAmount"]) == (3, 9000.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"billable": True}, {"Website relaunch": 3600}),
        ({"billable": False}, {"Website relaunch": 3600, "(Without Project)": 3600}),
        ({"dateRangeEnd": "2026-03-01T23:59:59Z"}, {}),
        ({"summaryFilter": {"groups": ["USER"]}}, {"Ada Lindqvist": 10_800}),
        (
            {"summaryFilter": {"groups": ["CLIENT", "PROJECT"]}},
            {"Northwind GmbH": 7200, "(Without Client)": 3600},
        ),
    ],
)
def test_summary_is_of_what_was_asked_for(
    tracked: Workspace, changes: Json, expected: dict[str, int]
) -> None:
    found = tracked.summary(**changes)
    assert {row["name"]: row["duration"] for row in found["groupOne"]} == expected
    assert (found["totals"] == [None]) is not bool(expected)
    deep = len(changes.get("summaryFilter", {}).get("groups", [])) > 1
    assert all(("children" in row) is deep for row in found["groupOne"])


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [("absent", ...), ("null", None), ("zero", 0.0), ("shown", 9000.0)],
)
def test_summary_may_keep_amounts_to_itself(
    tracked: Workspace, amounts: Any, expected: object
) -> None:
    tracked.api.report_amounts = amounts
    rows = {row["_id"]: row for row in tracked.summary()["groupOne"]}
    assert rows[tracked.relaunch].get("amount", ...) == expected
    hidden = tracked.summary(amountShown="HIDE_AMOUNT")["groupOne"]
    assert not any("amount" in row for row in hidden)


def test_summary_with_amounts_may_be_refused(tracked: Workspace) -> None:
    tracked.api.report_amounts = "refused"
    tracked.summary(403)
    assert len(tracked.summary(amountShown="HIDE_AMOUNT")["groupOne"]) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"summaryFilter": None},
        {"summaryFilter": {"groups": []}},
        {"summaryFilter": {"groups": ["PROJECT"] * 4}},
        {"summaryFilter": {"groups": ["WEATHER"]}},
        {"dateRangeStart": None},
        {"dateRangeStart": "2026-01-01T00:00:00Z"},
    ],
)
def test_summary_of_a_wrong_form_is_refused(tracked: Workspace, changes: Json) -> None:
    assert tracked.summary(400, **changes)["code"] == 501
