"""Reports: the detailed one, whose rows are entries, and the summary, whose rows are their sums."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sandbox.clockify import bodies
from sandbox.clockify.values import Answer, Entry, Json
from sandbox.clockify.workspace import Workspace


@dataclass
class Reports(Workspace):
    """The reports of a workspace, as unkind as they may be."""

    time_zone: str = "UTC"  # of the account that the key belongs to
    report_lag_s: float = 0.0
    report_days: int = 31  # the longest report of the Free plan
    report_page: int = 1000  # the largest page of a report
    report_totals: bool = True
    report_is_sorted: bool = True
    report_is_one_page: bool = False  # whatever page is asked for
    report_has_gaps: bool = False  # a null among the rows
    # Nobody says whether a report leaves out deactivated people, and how it takes a status alone.
    report_has_inactive: bool = True
    report_takes_status: str = "yes"  # yes, empty (no row then) or no (HTTP 400)
    report_tells: frozenset[str] = frozenset({"type", "customFields"})
    # What the summary says of amounts to a key whose person may not see them: not documented.
    report_amounts: Literal["shown", "absent", "null", "zero", "refused"] = "shown"
    rows: dict[str, Json] = field(default_factory=dict)  # entry or * -> what its row says instead

    def _detailed(self, body: Json, *, own: bool) -> Answer:
        """The detailed report: rows of another shape, in the order of their start."""
        found = self._reported(body, own=own)
        if isinstance(found, tuple):
            return found
        try:
            page, size = body["detailedFilter"]["page"], body["detailedFilter"]["pageSize"]
        except KeyError:
            return _wrong("dateRangeStart, dateRangeEnd, page or pageSize")
        if not 1 <= size <= self.report_page:
            return _wrong(f"pageSize: 1 to {self.report_page}")
        if body.get("sortOrder", "DESCENDING") == "DESCENDING":
            found.reverse()
        if not self.report_is_sorted:
            found.sort(key=lambda entry: hashlib.sha256(entry.id.encode()).digest())
        zone = ZoneInfo(body.get("timeZone") or self.time_zone)
        page = 1 if self.report_is_one_page else page
        shown = found[(page - 1) * size : page * size]
        rows: list[Json | None] = [self._row(entry, zone) for entry in shown]
        if self.report_has_gaps and rows:
            rows.insert(1, None)
        total = {"_id": "", "totalTime": 0, "entriesCount": len(found), "totalAmount": None}
        totals: list[Json | None] = [total if found and self.report_totals else None]
        return 200, {"totals": totals, "timeentries": rows}, {}

    def _reported(self, body: Json, *, own: bool) -> list[Entry] | Answer:
        """The entries that a report is about, in the order of their start."""
        try:
            since = datetime.fromisoformat(body["dateRangeStart"])
            until = datetime.fromisoformat(body["dateRangeEnd"])
        except (KeyError, TypeError, ValueError):
            return _wrong("dateRangeStart, dateRangeEnd, page or pageSize")
        if until - since > timedelta(days=self.report_days):
            return _wrong("Date range is too long for your plan")
        people, approval = body.get("users") or {}, body.get("approvalState", "ALL")
        if people and not people.get("ids") and self.report_takes_status == "no":
            return _wrong("users.ids must not be null")
        wanted = set(people.get("ids") or self.users)
        if people and not people.get("ids") and self.report_takes_status == "empty":
            wanted = set()
        if not self.report_has_inactive and people.get("status") != "ALL":
            wanted = {each for each in wanted if self.users[each].status == "ACTIVE"}
        now = self.clock()
        return [
            entry
            for entry in (self._between(since, until) if own else [])
            if entry.user in wanted
            and now - entry.touched >= self.report_lag_s
            and approval in ("ALL", "APPROVED" if entry.approved else "UNAPPROVED")
            and body.get("billable") in (None, entry.billable)
            and _is_among(body.get("projects"), entry.project)
        ]

    def _row(self, entry: Entry, zone: ZoneInfo) -> Json:
        user = self.users[entry.user]
        project = self.projects[entry.project] if entry.project else None
        seconds = round(entry.span.total_seconds()) if entry.end else None
        row: Json = {}
        if "type" in self.report_tells:
            row["type"] = entry.type
        if "customFields" in self.report_tells:
            row["customFields"] = bodies.custom_fields(entry)
        row |= {
            "_id": entry.id,
            "description": entry.description,
            "userId": user.id,
            "userName": user.name,
            "userEmail": user.email,
            "timeInterval": {
                "start": entry.start.astimezone(zone).isoformat(),
                "end": entry.end.astimezone(zone).isoformat() if entry.end else None,
                "duration": seconds,
            },
            "billable": entry.billable,
            "projectId": project.id if project else None,
            "projectName": project.name if project else None,
            "projectColor": "#0B83D9" if project else None,
            "clientId": project.client if project else None,
            "clientName": self.clients.get(project.client or "") if project else None,
            "taskId": self._task_id(entry) if entry.task else None,
            "taskName": entry.task,
            "tags": [{"_id": bodies.hashed_id(tag), "name": tag} for tag in entry.tags],
            "isLocked": False,
            "approvalRequestId": None,
            "invoicingInfo": None,
        }
        if self.rows:
            row |= self.rows.get("*", {}) | self.rows.get(entry.id, {})
        return row

    # The summary --------------------------------------------------------------------------------

    def _summary(self, body: Json, *, own: bool) -> Answer:
        """Sums by up to three groups; times in seconds, amounts in minor units.

        An answer as people got it: https://github.com/lucassabreu/clockify-cli/issues/144
        The request: https://docs.clockify.me/#tag/Time-Entry-Report
        """
        groups = (body.get("summaryFilter") or {}).get("groups")
        known = ("PROJECT", "CLIENT", "USER", "TASK")
        if not groups or len(groups) > 3 or not set(groups) <= set(known):
            return _wrong("summaryFilter.groups")
        found = self._reported(body, own=own)
        if isinstance(found, tuple):
            return found
        if self.report_amounts == "refused" and body.get("amountShown") != "HIDE_AMOUNT":
            return 403, {"message": "Access Denied", "code": 403}, {}
        # A timer that runs is in no report.
        ended = [entry for entry in found if entry.end]
        hides = body.get("amountShown") == "HIDE_AMOUNT"
        rows = self._grouped(ended, groups, hides=hides)
        key = "duration" if body["summaryFilter"].get("sortColumn") == "DURATION" else "name"
        rows.sort(key=lambda row: row[key], reverse=body.get("sortOrder") == "DESCENDING")
        total = {
            "_id": "",
            "totalTime": _seconds(ended),
            "totalBillableTime": _seconds(entry for entry in ended if entry.billable),
            "entriesCount": len(ended),
            **self._amounts(ended, "totalAmount", hides=hides),
        }
        return 200, {"totals": [total if ended else None], "groupOne": rows}, {}

    def _grouped(self, entries: list[Entry], groups: list[str], *, hides: bool) -> list[Json]:
        within: dict[str, list[Entry]] = {}
        for entry in entries:
            within.setdefault(self._group(groups[0], entry)[0], []).append(entry)
        rows = []
        for record, members in within.items():
            name = self._group(groups[0], members[0])[1]
            row: Json = {
                "_id": record,
                "name": name,
                "nameLowerCase": name.lower(),
                "duration": _seconds(members),
                **self._amounts(members, "amount", hides=hides),
            }
            if groups[0] == "PROJECT":
                project = self.projects.get(record)
                client = project.client if project else None
                row |= {
                    "color": project.color if project else None,
                    "clientName": self.clients.get(client or "", ""),
                }
            if len(groups) > 1:
                row["children"] = self._grouped(members, groups[1:], hides=hides)
            rows.append(row)
        return rows

    def _group(self, group: str, entry: Entry) -> tuple[str, str]:
        """Id and name of what an entry is counted under."""
        project = self.projects.get(entry.project or "")
        if group == "USER":
            return entry.user, self.users[entry.user].name
        if group == "PROJECT":
            return (project.id, project.name) if project else ("", "(Without Project)")
        if group == "TASK":
            return (self._task_id(entry), entry.task) if entry.task else ("", "(Without Task)")
        client = project.client if project else None
        return (client, self.clients[client]) if client else ("", "(Without Client)")

    def _amounts(self, entries: list[Entry], name: str, *, hides: bool) -> Json:
        if hides or self.report_amounts in ("absent", "refused"):
            return {}
        if self.report_amounts == "null":
            return {name: None, "amounts": None}
        amount = 0.0
        if self.report_amounts == "shown":
            amount = sum(self._earned(entry) for entry in entries)
        return {name: amount, "amounts": [{"type": "EARNED", "value": amount}]}

    def _earned(self, entry: Entry) -> float:
        project = self.projects.get(entry.project or "")
        rate = project.hourly_rate if project and entry.billable else None
        return entry.span.total_seconds() * (rate or 0) / 3600


def _seconds(entries: Iterable[Entry]) -> int:
    return round(sum(entry.span.total_seconds() for entry in entries))


def _is_among(wanted: Json | None, project: str | None) -> bool:
    return not wanted or not wanted.get("ids") or project in wanted["ids"]


def _wrong(message: str) -> Answer:
    answer: dict[str, Any] = {"message": message, "code": 501}
    return 400, answer, {}
