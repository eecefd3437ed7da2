"""How much was tracked on each project in all time, by Clockify's summary report.

All of it, not only what is in Salesforce. How long a time one report may be about depends on the
plan: 31 days on Free; for the others some have met a limit of a year. So all time is asked for
first, then years, then months, back from now until everything is found that the list of projects
tells. https://docs.clockify.me/#tag/Time-Entry-Report/operation/generateSummaryReport
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from clockify_salesforce.clockify.client import Clockify, ClockifyError, report_of

# There are no older entries than Clockify; imported ones may be older. Plans lie ahead.
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD, AHEAD_IN_MONTHS = timedelta(days=400), timedelta(days=31)
YEAR, MONTH = timedelta(days=365), timedelta(days=31)
# So much time without an entry, and nothing older is looked for.
QUIET = timedelta(days=3 * 365)
TOLERANCE_S = 60  # the list's durations may be rounded

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Total:
    """What was tracked: in seconds, and what it is worth.

    `billable_seconds`: None where nobody has looked; `amount`: None where the key may not see it.
    """

    seconds: int = 0
    billable_seconds: int | None = 0
    amount: Decimal | None = None

    def __add__(self, other: "Total") -> "Total":
        billable = (self.billable_seconds, other.billable_seconds)
        amounts = [each for each in (self.amount, other.amount) if each is not None]
        return Total(
            self.seconds + other.seconds,
            None if None in billable else sum(each or 0 for each in billable),
            sum(amounts, Decimal()) if amounts else None,
        )


class TooManyReports(ClockifyError):
    """The plan gives reports of a month only, and they are too many to read them now."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Reads a workspace's totals by project. `wait` returns when one more request may begin."""

    clockify: Clockify
    workspace: str
    wait: Callable[[], None] = lambda: None

    def read(
        self, tracked: Mapping[str, int | None], now: datetime, *, months: bool
    ) -> dict[str, Total]:
        """Return the total of each project on which anything was tracked. Raises ClockifyError.

        `tracked`: project id -> seconds, as the list of projects tells them: where all this is
        found, nothing older is looked for. `months`: read month after month where the plan gives
        no longer report; without it that is TooManyReports.
        """
        if not tracked:
            return {}
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        spans = [(day + AHEAD, day + AHEAD - FIRST), (day + AHEAD, YEAR)]
        if months:
            spans.append((day + AHEAD_IN_MONTHS, MONTH))
        # Whether a report leaves out people who have gone unless it is asked for those of any
        # status, and whether it takes that, Clockify does not say.
        for any_status in (True, False):
            for until, longest in spans:
                try:
                    found = self._back(until, longest, tracked, now, any_status=any_status)
                except ClockifyError as error:
                    if error.status != 400:
                        raise
                    continue
                if found or not any_status:
                    return _told(found)
                break
        if months:
            raise ClockifyError(
                "Clockify refuses its summary report by project: check that the key's owner may"
                " see everybody's time.",
                status=400,
            )
        raise TooManyReports("Clockify's plan gives reports of 31 days only", status=400)

    def _back(
        self,
        until: datetime,
        longest: timedelta,
        tracked: Mapping[str, int | None],
        now: datetime,
        *,
        any_status: bool,
    ) -> dict[str, Total]:
        """Read back from `until`, so much in a report."""
        found: dict[str, Total] = {}
        last = until
        for since, end in _spans(until, longest):
            part = self._span(since, end, any_status=any_status)
            for project, total in part.items():
                found[project] = found.get(project, Total()) + total
            if part:
                last = since
            is_past = end <= now
            if is_past and (last - since >= QUIET or _is_all(found, tracked)):
                break
        return found

    def _span(self, since: datetime, until: datetime, *, any_status: bool) -> dict[str, Total]:
        rows = self._rows(since, until, billable=False, any_status=any_status)
        if not rows:
            return {}
        found = {_id(row): Total(_seconds(row), 0, _amount(row)) for row in rows}
        for row in self._rows(since, until, billable=True, any_status=any_status):
            before = found.get(_id(row), Total())
            found[_id(row)] = replace(before, billable_seconds=_seconds(row))
        found.pop("", None)  # what was tracked on no project
        return found

    def _rows(
        self, since: datetime, until: datetime, *, billable: bool, any_status: bool
    ) -> list[Json]:
        asked: Json = {
            **report_of(since, until),
            "amountShown": "EARNED",
            "summaryFilter": {"groups": ["PROJECT"], "sortColumn": "GROUP"},
        }
        if billable:
            asked["billable"] = True
        if any_status:
            asked["users"] = {"contains": "CONTAINS", "status": "ALL"}
        path = f"/workspaces/{quote(self.workspace, '')}/reports/summary"
        self.wait()
        try:
            answer = self.clockify.report(path, asked)
        except ClockifyError as error:
            if error.status != 403:
                raise
            # Perhaps it is only the amounts that the key may not see.
            self.wait()
            answer = self.clockify.report(path, asked | {"amountShown": "HIDE_AMOUNT"})
        rows = answer.get("groupOne")
        if not isinstance(rows, list) and not (rows is None and "totals" in answer):
            raise ClockifyError(f"Clockify's answer to {path} has no groups in it.")
        return [row for row in rows or [] if isinstance(row, dict)]


def _told(found: dict[str, Total]) -> dict[str, Total]:
    """A key that may not see amounts may be told that all of them are nothing."""
    if any(total.amount for total in found.values()):
        return found
    return {project: replace(total, amount=None) for project, total in found.items()}


def _spans(until: datetime, longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    while until > FIRST:
        since = max(FIRST, until - longest)
        yield since, until
        until = since


def _is_all(found: Mapping[str, Total], tracked: Mapping[str, int | None]) -> bool:
    """All that the list of projects tells is found."""
    return all(
        seconds is not None and found.get(project, Total()).seconds >= seconds - TOLERANCE_S
        for project, seconds in tracked.items()
    )


def _id(row: Json) -> str:
    return str(row.get("_id") or row.get("id") or "")


def _seconds(row: Json) -> int:
    value = row.get("duration")
    return round(value) if isinstance(value, int | float) else 0


def _amount(row: Json) -> Decimal | None:
    """What was earned, which a report tells in hundredths, to those who may see it."""
    value = row.get("amount")
    if value is None:
        amounts = row.get("amounts")
        earned = [
            each.get("value")
            for each in (amounts if isinstance(amounts, list) else [])
            if isinstance(each, dict) and each.get("type") == "EARNED"
        ]
        value = earned[0] if earned else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(str(value)) / 100
