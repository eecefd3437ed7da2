"""Projects, the hours on them, and the tasks of those that have changed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from clockify_salesforce import kinds
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.clockify.totals import TooManyReports, Total
from clockify_salesforce.decisions import Field
from clockify_salesforce.kinds.kind import Body
from commands.repair.hours import ACCOUNTS, OPPORTUNITIES, RollUp, hours_of
from commands.repair.one_kind import KINDS, Shared
from commands.repair.records import TAKEN, chunks

TRACKED, BILLABLE, AMOUNT = "Tracked_Hours__c", "Billable_Hours__c", "Amount__c"

# To a key that may not see everybody's time.
_NOT_ALLOWED = (400, 402, 403, 404)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Project:
    """A project in short. `seconds`: tracked, as the list tells it. `body`: what is read of it."""

    id: str
    client_id: str
    seconds: int
    body: bytes


class Projects:
    """All projects of a workspace, and what was tracked on them."""

    def __init__(self, shared: Shared) -> None:
        """Read them. Raises ClockifyError."""
        self._shared = shared
        self.all = shared.readers.use(
            lambda history: [_short(each) for each in history.lists.projects() if each.get("id")]
        )
        self.totals: dict[str, Total] | None = None

    def read_totals(self) -> None:
        """Read what was tracked in all time. Raises ClockifyError."""
        tracked = {each.id: each.seconds for each in self.all}
        months = self._shared.wishes.is_patient
        try:
            self.totals = self._shared.readers.use(
                lambda history: replace(history.totals, wait=self._shared.readers.wait).read(
                    tracked, datetime.now(UTC), months=months
                )
            )
        except TooManyReports as error:
            self._shared.tell(
                f"{error}: billable hours and amounts are left to a run over more than 31 days."
            )
        except ClockifyError as error:
            if error.status not in _NOT_ALLOWED:
                raise
            self._shared.tell(f"Billable hours and amounts are left out: {error}")

    def chunks(self) -> Iterator[tuple[list[Json], dict[str, dict[str, Field]]]]:
        """Yield the projects, so many at a time, and the hours on each, by its id."""
        for chunk in chunks(self.all, TAKEN):
            hours = {each.id: self._hours_on(each) for each in chunk}
            yield [json.loads(each.body) for each in chunk], hours

    def _hours_on(self, project: Project) -> dict[str, Field]:
        if self.totals is None:
            return {TRACKED: hours_of(project.seconds)}
        total = self.totals.get(project.id, Total())
        found: dict[str, Field] = {TRACKED: hours_of(total.seconds)}
        if total.billable_seconds is not None:
            found[BILLABLE] = hours_of(total.billable_seconds)
        if total.amount is not None:
            found[AMOUNT] = float(total.amount)
        return found

    def roll_up(self, roll_up: RollUp) -> None:
        """Write the hours of Opportunities and Accounts. Raises IntegrationError."""
        by_project = {each.id: self._total_of(each) for each in self.all}
        by_client: dict[str, Total] = {}
        for each in self.all:
            if each.client_id:
                before = by_client.get(each.client_id, Total(0, None if self.totals is None else 0))
                by_client[each.client_id] = before + by_project[each.id]
        roll_up.write(OPPORTUNITIES, by_project)
        roll_up.write(ACCOUNTS, by_client)

    def _total_of(self, project: Project) -> Total:
        if self.totals is None:
            return Total(project.seconds, None)
        return self.totals.get(project.id, Total())


def _short(content: Json) -> Project:
    body: Any = kinds.essential(KINDS["projects"], content)
    client = body.get("client")
    client_id = body.get("clientId") or (client.get("id") if isinstance(client, dict) else None)
    hours = Body("project", body).hours("duration") or 0.0
    return Project(
        str(body["id"]), str(client_id or ""), round(hours * 3600), json.dumps(body).encode()
    )
