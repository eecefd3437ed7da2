"""Clockify's hours on the company's own records: Opportunities by project, Accounts by client.

All that was tracked in all time, and only what has changed is written.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from clockify_salesforce.clockify.totals import Total
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.repair.patience import PatientOrg
from commands.repair.writing import BATCH, RECORD_TRIES, refusal_in

HOURS, BILLABLE = "Clockify_Hours__c", "Clockify_Billable_Hours__c"
TOLD = 5  # refusals, of each object
DEPLOY = "deploy force-app/main/data and assign the permission set Clockify Data"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What one object's records are matched by."""

    object: str
    field: str

    @property
    def soql(self) -> str:
        """Every matched record with its hours."""
        fields = f"Id, {self.field}, {HOURS}, {BILLABLE}"
        return f"SELECT {fields} FROM {self.object} WHERE {self.field} != null"


OPPORTUNITIES = RolledUp("Opportunity", "Clockify_Project_Id__c")
ACCOUNTS = RolledUp("Account", "Clockify_Client_Id__c")


def hours_of(seconds: int) -> float:
    """Hours with two decimals, as Salesforce's fields have them."""
    hours = Decimal(seconds) / 3600
    return float(hours.quantize(Decimal("0.01"), ROUND_HALF_UP))


def is_same(stored: object, wanted: float) -> bool:
    """Whether a field of two decimals holds it."""
    return isinstance(stored, int | float) and abs(stored - wanted) < 0.005


def differing(rows: Iterable[Json], what: RolledUp, totals: Mapping[str, Total]) -> Iterable[Json]:
    """Yield what is to be written of those records whose hours differ.

    `totals`: of every project or client of this workspace, by its id. A record that names one of
    another workspace as well, or only, is left alone: what that one adds is not known here.
    """
    for row in rows:
        ids = [each for each in _split(str(row[what.field])) if each]
        if not ids or not all(each in totals for each in ids):
            continue
        total = sum(map(totals.__getitem__, dict.fromkeys(ids)), Total())
        wanted = {HOURS: hours_of(total.seconds)}
        if total.billable_seconds is not None:
            wanted[BILLABLE] = hours_of(total.billable_seconds)
        if not all(is_same(row[name], value) for name, value in wanted.items()):
            yield {"attributes": {"type": what.object}, "id": row["Id"]} | wanted


def _split(text: str) -> list[str]:
    """A field may hold several ids, with anything but letters and digits between them."""
    return "".join(each if each.isalnum() else " " for each in text).split()


class RollUp:
    """Writes the hours of one run. `count`: by object, what was written, and what was refused."""

    def __init__(
        self,
        org: PatientOrg,
        *,
        apply: bool,
        tell: Callable[[str], None],
        show: Callable[[str], None],
    ) -> None:
        self._org = org
        self._apply = apply
        self._tell = tell
        self._show = show
        self.count: Counter[str] = Counter()

    def write(self, what: RolledUp, totals: Mapping[str, Total]) -> None:
        """Bring the hours of all matched records up to date. Raises IntegrationError.

        Where the org has no fields for them, that is told.
        """
        try:
            self._write(what, totals)
        except SalesforceRefused as refusal:
            if refusal.code not in ("INVALID_FIELD", "INVALID_TYPE"):
                raise
            self._tell(f"No hours on {what.object}: {refusal.code}: {DEPLOY}.")

    def _write(self, what: RolledUp, totals: Mapping[str, Total]) -> None:
        waiting: list[Json] = []
        for record in differing(self._org.rows(what.soql), what, totals):
            self._show(f"hours {what.object} {record['id']}: {record[HOURS]:,.2f}")
            waiting.append(record)
            if len(waiting) == BATCH:
                self._send(what, waiting)
                waiting = []
        if waiting:
            self._send(what, waiting)

    def _send(self, what: RolledUp, records: list[Json]) -> None:
        if not self._apply:
            self.count[what.object] += len(records)
            return
        for attempt in range(1, RECORD_TRIES + 1):
            is_last = attempt == RECORD_TRIES
            again = []
            for record, result in zip(
                records, self._org.collection("PATCH", "", records), strict=True
            ):
                if result.get("success") is True:
                    self.count[what.object] += 1
                    continue
                refusal = refusal_in(result, last=is_last)
                if refusal is None and not is_last:
                    again.append(record)
                else:
                    self._left_out(what, record["id"], refusal.code if refusal else "locked")
            records = again
            if not records:
                return
            time.sleep(0.2)

    def _left_out(self, what: RolledUp, record_id: str, code: str) -> None:
        """A closed Opportunity, say, which a rule of the org's keeps as it is."""
        self.count[f"{what.object} refused"] += 1
        if self.count[f"{what.object} refused"] <= TOLD:
            self._tell(f"{what.object} {record_id}: its hours were not written: {code}")
