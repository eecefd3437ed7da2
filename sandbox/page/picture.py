"""What the page shows, as JSON: a section for each part of it, and a row for each Event."""

import heapq
from typing import Any

from sandbox.clockify import Entry
from sandbox.cloud_run import CloudRun, Served, entry_id
from sandbox.page.clicks import Clicks, running
from sandbox.salesforce import FAULTS
from sandbox.webhooks import Webhooks
from sandbox.world import World

Json = dict[str, Any]
MESSAGES, WAITING, ENTRIES = 60, 50, 5  # rows that are shown
OTHER_FAULTS = ("queue-down", "secrets-down")  # of other services than Salesforce
_MEANS = {
    "outage": "Salesforce takes no connection",
    "reset": "connections to Salesforce break before the write",
    "lost": "Salesforce writes, and its answer is lost",
    "error": "Salesforce answers 503",
    "html": "a gateway before Salesforce answers 502 with a web page",
    "hang": "Salesforce does not answer for 30 seconds",
    "lock": "Salesforce cannot lock the record",
    "expired": "the session with Salesforce has ended",
    "limit": "the day's API calls are used up",
    "rule": "a validation rule of the org's refuses every Event",
    "flow": "a flow of the org's refuses every Event",
    "slow": "Salesforce takes 2 seconds for everything",
    "queue-down": "Cloud Tasks takes no task",
    "secrets-down": "Secret Manager reads no secret",
}


class EventRows:
    """Every Event of the calendar by its id, as much of it as the calendar draws.

    A row is made anew when its record changes, and is the same object until then: a look at
    thousands of Events a few times a second must cost next to nothing.
    """

    def __init__(self, world: World) -> None:
        self._org = world.salesforce
        self._rows: dict[str, tuple[str, Json]] = {}  # id -> the record's stamp and its row

    def look(self) -> dict[str, Json]:
        """The rows as of now."""
        kept: dict[str, tuple[str, Json]] = {}
        for event in list(self._org.records["Event"].values()):
            if event["IsDeleted"]:
                continue
            event_id, stamp = event["Id"], event["SystemModstamp"]
            known = self._rows.get(event_id)
            kept[event_id] = known if known and known[0] == stamp else (stamp, self._row(event))
        self._rows = kept
        return {event_id: row for event_id, (_, row) in kept.items()}

    def _row(self, event: Json) -> Json:
        records = self._org.records
        what = event.get("WhatId") or ""
        opportunity = records["Opportunity"].get(what)
        account = opportunity.get("AccountId") if opportunity else what
        linked = opportunity or records["Account"].get(what)
        absent = event.get("ShowAs") == "OutOfOffice" or event.get("Clockify_Type__c") in (
            "HOLIDAY",
            "TIME_OFF",
        )
        return {
            "start": _iso(event["StartDateTime"]),
            "end": _iso(event["EndDateTime"]),
            "subject": event.get("Subject") or "",
            "text": str(event.get("Description") or "").partition("\n")[0][:120],
            "owner": records["User"].get(event["OwnerId"], {}).get("Name", ""),
            "what": linked["Name"] if linked else "",
            "account": account if account in records["Account"] else "",
            "kind": "absent" if absent else "free" if event.get("ShowAs") == "Free" else "busy",
            "changed": event["LastModifiedDate"],
        }


def sections(world: World, run: CloudRun, webhooks: Webhooks, clicks: Clicks) -> dict[str, Any]:
    """Everything but the Events."""
    run.read_logs()
    org, on = world.salesforce, faults_on(world)
    served = list(run.requests)
    return {
        "counts": {
            "calls": len(org.requests),
            "sign_ins": org.sign_ins,
            "waiting": len(world.tasks.waiting),
        },
        "accounts": [
            {"id": account["Id"], "name": account["Name"]}
            for account in org.records["Account"].values()
        ],
        "salesforce": {
            "owners": _options(org.records["User"]),
            "links": _options(org.records["Opportunity"] | org.records["Account"]),
        },
        "clockify": _clockify(world, webhooks, clicks),
        "messages": [_message(world, each) for each in reversed(served[-MESSAGES:])],
        "waiting": _waiting(world, served),
        "instances": [
            {
                "name": each.name,
                "state": each.state,
                "served": each.served,
                "pid": each.function.pid if each.function else 0,
            }
            for each in run.instances
        ],
        "faults": [
            {"name": name, "means": _MEANS.get(name, ""), "on": name in on}
            for name in (*FAULTS, *OTHER_FAULTS)
        ],
    }


def faults_on(world: World) -> list[str]:
    """The names of the faults that are on."""
    on = [name for name in FAULTS if getattr(world.salesforce.faults, name)]
    on += ["queue-down"] if world.tasks.down else []
    return on + (["secrets-down"] if world.secret_manager.down else [])


def record(world: World, event_id: str) -> Json | None:
    """An Event as Salesforce holds it, its state, and the names of what it points to."""
    org = world.salesforce
    event = org.records["Event"].get(event_id)
    if event is None or event["IsDeleted"]:
        return None
    names = {
        str(event[field]): kind[event[field]].get("Name")
        for field in ("OwnerId", "WhatId", "WhoId", "CreatedById", "LastModifiedById")
        for kind in list(org.records.values())
        if event.get(field) in kind
    }
    entry_id = str(event.get("Clockify_Time_Entry_Id__c"))
    entry = world.clockify.entries.get(entry_id)
    return {
        "record": event,
        "state": org.state(f"time_entry:{entry_id}"),
        "names": names,
        "entry": _entry(world, entry) if entry else None,
    }


def _clockify(world: World, webhooks: Webhooks, clicks: Clicks) -> Json:
    clockify = world.clockify
    known = [*clockify.entries.values(), *clockify.deleted.values()]
    latest = heapq.nlargest(ENTRIES, known, key=lambda entry: entry.touched)
    timers = {user: running(world, user) for user in clockify.users}
    return {
        "users": [{"id": user.id, "name": user.name} for user in clockify.users.values()],
        "projects": [
            {"id": each.id, "name": each.name, "client": clockify.clients.get(each.client or "")}
            for each in clockify.projects.values()
        ],
        "timers": {user: _entry(world, timer) for user, timer in timers.items() if timer},
        "discarded": list(clicks.discarded),
        "entries": [_entry(world, entry) for entry in latest],
        "sent": bool(webhooks.sent),
    }


def _entry(world: World, entry: Entry) -> Json:
    project = world.clockify.projects.get(entry.project or "")
    return {
        "id": entry.id,
        "who": world.clockify.users[entry.user].name,
        "start": entry.start.isoformat(),
        "end": entry.end.isoformat() if entry.end else None,
        "description": entry.description,
        "project": entry.project,
        "project_name": project.name if project else "",
        "type": entry.type,
        "deleted": entry.id in world.clockify.deleted,
    }


def _message(world: World, served: Served) -> Json:
    log = served.log
    return {
        "number": served.number,
        "at": served.at,
        "sender": "a stranger" if served.status == 401 else served.sender,
        "event": served.event or "no event type",
        "entry": served.entry,
        "about": _about(world, served.entry),
        "repeat": served.repeat,
        "instance": served.instance,
        "status": served.status,
        "result": log.get("result", ""),
        "milliseconds": round(log.get("milliseconds", served.milliseconds)),
        "calls": log.get("salesforce_calls"),
        "reason": log.get("reason", "") or ("" if log else served.answer[:200]),
    }


def _waiting(world: World, served: list[Served]) -> list[Json]:
    why = {each.entry: each.log["reason"] for each in served if each.log.get("reason")}
    rows = []
    for task in list(world.tasks.waiting.values())[:WAITING]:
        entry = entry_id(task.body)
        rows.append(
            {
                "event": task.headers.get("Clockify-Webhook-Event-Type", ""),
                "entry": entry,
                "about": _about(world, entry),
                "attempts": task.attempts,
                "reason": why.get(entry, ""),
            }
        )
    return rows


def _about(world: World, entry_id: str) -> str:
    clockify = world.clockify
    entry = clockify.entries.get(entry_id) or clockify.deleted.get(entry_id)
    return entry.description if entry else ""


def _options(records: dict[str, Json]) -> list[Json]:
    return [
        {"id": each["Id"], "name": each["Name"]}
        for each in records.values()
        if not each["IsDeleted"]
    ]


def _iso(salesforce_time: str) -> str:
    """Salesforce's own form has +0000, which browsers need not read."""
    return salesforce_time[:19] + "Z"
