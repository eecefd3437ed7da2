"""The history of clients, projects, tasks and invoices: hours, totals, and what is pure of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from clockify_salesforce.clockify.client import Clockify, ClockifyError
from clockify_salesforce.clockify.totals import TooManyReports, Total, Totals
from commands.repair.change import GraphChange, RecordChange
from commands.repair.hours import OPPORTUNITIES, differing, hours_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
P1, P2 = "64c777ddd3fcab07cfbb2101", "64c777ddd3fcab07cfbb2102"


class Reports:
    """Answers summary reports of some entries: project, start, seconds, billable."""

    def __init__(self, *entries: tuple[str, datetime, int, bool], longest: timedelta) -> None:
        self.entries, self.longest = entries, longest
        self.status = "yes"  # how it takes people of any status: yes, empty or no
        self.amounts = "shown"
        self.asked: list[dict[str, Any]] = []

    def report(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """As Clockify.report."""
        self.asked.append(body)
        since, until = (
            datetime.fromisoformat(body[name]) for name in ("dateRangeStart", "dateRangeEnd")
        )
        if until - since > self.longest or (self.status == "no" and "users" in body):
            raise ClockifyError("refused", status=400)
        if self.amounts == "refused" and body["amountShown"] != "HIDE_AMOUNT":
            raise ClockifyError("refused", status=403)
        rows: dict[str, int] = {}
        for project, start, seconds, billable in self.entries:
            if since <= start <= until and (billable or "billable" not in body):
                rows[project] = rows.get(project, 0) + seconds
        if self.status == "empty" and "users" in body:
            rows = {}
        amount = {"shown": 12345.0, "zero": 0.0}.get(self.amounts)
        return {
            "totals": [],
            "groupOne": [
                {"_id": project, "duration": seconds, "amount": amount}
                for project, seconds in rows.items()
            ],
        }

    def read(self, tracked: dict[str, int | None], *, months: bool = True) -> dict[str, Total]:
        """What Totals makes of it."""
        return Totals(cast(Clockify, self), "w").read(tracked, NOW, months=months)


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


ENTRIES = (
    (P1, days_ago(1), 3600, True),
    (P1, days_ago(800), 1800, False),
    (P2, days_ago(40), 60, False),
    ("", days_ago(3), 900, False),
)
FOUND = {P1: Total(5400, 3600), P2: Total(60, 0)}
LENGTHS = [timedelta(days=100_000), timedelta(days=366), timedelta(days=31)]


@pytest.mark.parametrize("longest", LENGTHS)
@pytest.mark.parametrize("status", ["yes", "empty", "no"])
def test_totals_are_of_all_time_whatever_a_report_may_be_about(
    longest: timedelta, status: str
) -> None:
    reports = Reports(*ENTRIES, longest=longest)
    reports.status, reports.amounts = status, "null"
    assert reports.read({P1: 5400, P2: 60}) == FOUND


def test_totals_stop_where_all_that_was_tracked_is_found() -> None:
    """Free's 30 requests an hour: two for each month in which there is anything."""
    reports = Reports((P1, days_ago(2), 3600, True), longest=timedelta(days=31))
    assert reports.read({P1: 3600, P2: 0}) == {P1: Total(3600, 3600, Decimal("123.45"))}
    assert len(reports.asked) == 2 + 1 + 2  # two that are too long, one ahead of today
    reports.asked.clear()
    assert reports.read({P1: None})[P1].seconds == 3600
    assert len(reports.asked) > 30  # nobody knows when it began: until years are silent


def test_totals_of_months_are_left_to_whoever_has_the_time() -> None:
    reports = Reports(*ENTRIES, longest=timedelta(days=31))
    with pytest.raises(TooManyReports):
        reports.read({P1: 5400}, months=False)
    assert len(reports.asked) == 4


def test_totals_without_projects_ask_nothing() -> None:
    reports = Reports(*ENTRIES, longest=timedelta(days=31))
    assert reports.read({}) == {}
    assert reports.asked == []


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [("shown", Decimal("123.45")), ("zero", None), ("null", None), ("refused", None)],
)
def test_amount_is_told_only_where_the_key_may_see_it(
    amounts: str, expected: Decimal | None
) -> None:
    reports = Reports((P1, days_ago(2), 3600, True), longest=timedelta(days=100_000))
    reports.amounts = amounts
    assert reports.read({P1: 3600}) == {P1: Total(3600, 3600, expected)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Total(1, 1), Total(2, 1, Decimal(3)), Total(3, 2, Decimal(3))),
        (Total(1, None), Total(2, 1), Total(3, None)),
        (Total(0, 0, Decimal(1)), Total(0, 0, Decimal(2)), Total(0, 0, Decimal(3))),
    ],
)
def test_totals_add_up(first: Total, second: Total, expected: Total) -> None:
    assert first + second == expected


@pytest.mark.parametrize(
    ("seconds", "hours"), [(0, 0.0), (18, 0.01), (17, 0.0), (9000, 2.5), (5400 + 54, 1.52)]
)
def test_hours_have_two_decimals(seconds: int, hours: float) -> None:
    assert hours_of(seconds) == hours


def row(ids: str, hours: float | None = None, billable: float | None = None) -> dict[str, Any]:
    return {
        "Id": "006",
        "Clockify_Project_Id__c": ids,
        "Clockify_Hours__c": hours,
        "Clockify_Billable_Hours__c": billable,
    }


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (row("a"), (2.0, 1.0)),
        (row("a", 2.0, 1.0), None),
        (row("a", 2.004, 1.0), None),
        (row("a", 2.0, None), (2.0, 1.0)),
        (row("a;b"), (5.0, 1.0)),
        (row("a, b", 5.0, 1.0), None),
        (row("a a"), (2.0, 1.0)),
        # Of another workspace, or of none any more: what that adds is not known here.
        (row("a x"), None),
        (row("x", 9.0, 9.0), None),
        (row(";"), None),
    ],
)
def test_hours_are_written_only_where_they_differ(
    record: dict[str, Any], expected: tuple[float, float] | None
) -> None:
    totals = {"a": Total(7200, 3600), "b": Total(10800, 0)}
    found = [
        (each["Clockify_Hours__c"], each["Clockify_Billable_Hours__c"])
        for each in differing([record], OPPORTUNITIES, totals)
    ]
    assert found == ([expected] if expected else [])


def test_billable_hours_that_nobody_knows_stay() -> None:
    (found,) = differing([row("a", 1.0, 1.0)], OPPORTUNITIES, {"a": Total(7200, None)})
    assert "Clockify_Billable_Hours__c" not in found


def test_change_of_a_record_goes_by_its_own_id_or_by_clockifys() -> None:
    new = RecordChange(P1, "Clockify_Project__c", "Clockify_Project_Id__c", None, {"Name": "A"})
    assert new.path == "/Clockify_Project__c/Clockify_Project_Id__c"
    assert new.record() == {
        "attributes": {"type": "Clockify_Project__c"},
        "Clockify_Project_Id__c": P1,
        "Name": "A",
    }
    there = RecordChange(P1, "Clockify_Project__c", "Clockify_Project_Id__c", "a05", {"Name": "A"})
    assert there.path == ""
    assert there.record()["id"] == "a05"
    assert new.cell() != there.cell()
    assert GraphChange("i", None, [], parent="001").cell().links is not None
