"""Measure backfill.py: 100,000 entries of 200 users, imported, compared, repaired.

Prints counts, calls, peak memory and the rate, and ratios to two plain floors, which use `requests`
and nothing else: one posts the same batches of 200 one after the other, one reads the same reports
and pages and compares nothing. Ends with 1 where a count is not exact or a limit is exceeded. Run:
python -m tests.benchmark.backfill
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox import salesforce
from sandbox.clockify import WORKSPACE, ClockifyApi, Entry
from sandbox.world import World

from .running import backfill

DAYS = 300
# Within a year, for Events that ended before are archived.
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=310)
MEMORY_MB = 150
FIRST_CALLS = 250  # for 100,000 entries by bulk jobs, where the org is slow enough for them
SLOW_BATCHES = 40  # that the plain floor posts where each takes its time
BATCH = 200
EXTERNAL_ID = "Clockify_Time_Entry_Id__c"
COLLECTION = f"composite/sobjects/Event/{EXTERNAL_ID}"

FLOOR = """
import sys, time, requests
url, token, folder, number = sys.argv[1:]
batches = [open(f"{folder}/{each}.json", "rb").read() for each in range(int(number))]
session = requests.Session()
session.headers.update({"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
began = time.perf_counter()
for batch in batches:
    answer = session.patch(url, data=batch, timeout=60)
    assert answer.status_code == 200 and all(each["success"] for each in answer.json())
print(time.perf_counter() - began)
"""


READING_FLOOR = """
import sys, time, requests
from datetime import datetime, timedelta
org, token, clockify, key, since, days = sys.argv[1:]
at = datetime.fromisoformat(since)
until = at + timedelta(days=int(days))
sessions = requests.Session(), requests.Session()
sessions[0].headers["Authorization"] = f"Bearer {token}"
sessions[1].headers["X-Api-Key"] = key
began, number = time.perf_counter(), 0
while at < until:
    end, page = min(at + timedelta(days=31), until), 0
    while True:
        page += 1
        body = {
            "dateRangeStart": f"{at:%Y-%m-%dT%H:%M:%S}Z",
            "dateRangeEnd": f"{end:%Y-%m-%dT%H:%M:%S}Z",
            "detailedFilter": {"page": page, "pageSize": 1000},
            "sortOrder": "ASCENDING",
        }
        rows = sessions[1].post(clockify, json=body, timeout=60).json()["timeentries"]
        number += len(rows)
        if len(rows) < 1000:
            break
    soql = (
        "SELECT Id, Clockify_Time_Entry_Id__c, Clockify_Links__c, Clockify_Workspace_Id__c,"
        " StartDateTime, EndDateTime, Subject, Description, ShowAs, Clockify_Hours__c,"
        " Clockify_Project__c, Clockify_Client__c, Clockify_Task__c, Clockify_Tags__c,"
        " Clockify_Billable__c, Clockify_Type__c FROM Event WHERE StartDateTime >="
        f" {at:%Y-%m-%dT%H:%M:%SZ} AND StartDateTime < {end:%Y-%m-%dT%H:%M:%SZ}"
    )
    base = org.split("/services")[0]
    answer = sessions[0].get(f"{org}queryAll", params={"q": soql}, timeout=60).json()
    while not answer["done"]:
        answer = sessions[0].get(base + answer["nextRecordsUrl"], timeout=60).json()
    at = end
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Measured:
    """One run: its summary's counts, seconds, peak memory and calls."""

    code: int
    counts: tuple[int, ...]  # created, updated, deleted, unchanged
    seconds: float
    peak_mb: float
    calls: int  # to Salesforce
    clockify: int
    cpu: float  # seconds of its own
    world_cpu: float  # and of the stand-ins


def fill(clockify: ClockifyApi, number: int, users: int) -> list[str]:
    """Have people log entries over the period; return the ids."""
    chance = random.Random(1)
    people = [clockify.add_user(f"Person {each}") for each in range(users)]
    clients = [clockify.add_client(f"Client {each}") for each in range(20)]
    projects = [
        clockify.add_project(f"Project {each}", chance.choice(clients)) for each in range(50)
    ]
    entries = []
    for each in range(number):
        start = FIRST + timedelta(seconds=chance.randrange(DAYS * 86_400))
        entries.append(
            Entry(
                f"5a0ab5acb079{each:012x}",
                people[each % users],
                start,
                start + timedelta(seconds=chance.randrange(300, 4 * 3600)),
                f"Work on ticket {chance.randrange(10_000)}: review, tests and a longer note",
                chance.choice(projects),
                "Review",
                ("on site",) if each % 3 else (),
                each % 2 == 0,
            )
        )
    clockify.import_entries(entries)
    return [entry.id for entry in entries]


def match(world: World) -> None:
    """Give each person a User and each project an Opportunity."""
    org, clockify = world.salesforce, world.clockify
    account = org.add("Account", Name="Any")
    for user in clockify.users:
        org.add("User", Email=f"{user}@acme.example", Clockify_User_Id__c=user)
    for project in clockify.projects:
        org.add("Opportunity", AccountId=account, Clockify_Project_Id__c=project)


def measure(world: World, folder: Path, options: list[str]) -> Measured:
    """Run backfill.py --apply over the period."""
    last = FIRST + timedelta(days=DAYS)
    period = ("--from", f"{FIRST:%Y-%m-%d}", "--to", f"{last:%Y-%m-%d}")
    cpu = _cpu()
    run = backfill(world, folder, *period, *options)
    lines = [line.rsplit(None, 1) for line in run.out.splitlines()[1:5]]
    spent = [after - before for after, before in zip(_cpu(), cpu, strict=True)]
    return Measured(
        run.code,
        tuple(int(number.replace(",", "")) for _, number in lines),
        run.seconds,
        run.peak_mb,
        run.calls,
        run.clockify,
        *spent,
    )


def _cpu() -> tuple[float, float]:
    """Seconds that processes which have ended have spent, and this one."""
    who = (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)
    return tuple(sum(resource.getrusage(each)[:2]) for each in who)  # type: ignore[return-value]


def floor(world: World, folder: Path) -> float:
    """Seconds a record that posting takes with `requests` alone, to an org as empty."""
    org = world.salesforce
    passing = ("Id", "IsDeleted", "IsArchived", "OwnerId", "WhatId", "attributes")
    names = [name for name in org.fields["Event"] if name not in passing]
    events = org.events()
    if org.latency:
        events = events[: SLOW_BATCHES * BATCH]
    records = [
        {"attributes": {"type": "Event"}}
        | {name: event[name] for name in names if event.get(name) is not None}
        for event in events
    ]
    number = 0
    for at in range(0, len(records), BATCH):
        batch = {"allOrNone": False, "records": records[at : at + BATCH]}
        (folder / f"{number}.json").write_text(json.dumps(batch))
        number += 1
    latency = org.latency
    org.reset()
    org.latency = latency
    url = f"https://{salesforce.HOST}/services/data/v65.0/{COLLECTION}"
    return _plain(world, FLOOR, url, _token(world), str(folder), str(number)) / len(records)


def reading_floor(world: World) -> float:
    """Seconds that reading both sides takes with `requests` alone, one call after the other."""
    org = f"https://{salesforce.HOST}/services/data/v65.0/"
    reports = f"https://reports.api.clockify.me/v1/workspaces/{WORKSPACE}/reports/detailed"
    given = (reports, world.clockify.api_key, FIRST.isoformat(), str(DAYS + 1))
    return _plain(world, READING_FLOOR, org, _token(world), *given)


def _token(world: World) -> str:
    world.salesforce._tokens.add("floor")
    return "floor"


def _plain(world: World, program: str, *arguments: str) -> float:
    before = _cpu()
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | world.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    spent = [after - begun for after, begun in zip(_cpu(), before, strict=True)]
    print(f"plain floor: {spent[0]:.1f} s of CPU, the world's {spent[1]:.1f}")
    return float(result.stdout)


def drift(world: World, ids: list[str], share: int) -> tuple[int, ...]:
    """Spoil `share` entries in each of four ways; return the counts that a repair must tell."""
    org, clockify = world.salesforce, world.clockify
    record = {event[EXTERNAL_ID]: event["Id"] for event in org.events()}
    chosen = random.Random(2).sample(ids, 3 * share)
    missing, changed, surplus = chosen[:share], chosen[share : 2 * share], chosen[2 * share :]
    for entry_id in missing:
        org.remove("Event", record[entry_id])
    for place, entry_id in enumerate(changed):
        if place % 2:
            clockify.edit(entry_id, description="Changed in Clockify")
        else:
            org.change("Event", record[entry_id], Subject="Changed in Salesforce")
    for entry_id in surplus:
        clockify.delete(entry_id)
    for each in range(share):
        moment = f"{FIRST + timedelta(hours=each % (DAYS * 24)):%Y-%m-%dT%H:%M:%SZ}"
        org.add(
            "Event",
            OwnerId=org.USER_ID,
            Subject="By hand",
            StartDateTime=moment,
            EndDateTime=moment,
        )
    return share, share, share, len(ids) - 3 * share


def main() -> int:
    """Measure, print the table, and tell whether all is as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that a write takes")
    parser.add_argument("--matched", action="store_true", help="people and projects are matched")
    parser.add_argument("--first", action="store_true", help="the first import only")
    arguments, options = parser.parse_known_args()
    number: int = arguments.entries
    failures: list[str] = []

    def check(holds: bool, what: str) -> None:
        if not holds:
            failures.append(what)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = World(folder)
        world.salesforce.latency = arguments.latency
        ids = fill(world.clockify, number, arguments.users)
        if arguments.matched:
            match(world)
        print(f"{number:,} entries of {arguments.users} users in {DAYS} days, on loopback")
        show = ("{:<16}" + "{:>11}" * 11).format
        columns = "run,created,updated,deleted,unchanged,s,entries/s,SF calls,Clockify,CPU s"
        print(show(*columns.split(","), "world's", "peak MB"))

        def run(title: str, expected: tuple[int, ...]) -> Measured:
            result = measure(world, folder, options)
            rate = number / result.seconds
            spent = (f"{each:.1f}" for each in (result.cpu, result.world_cpu))
            taken = (f"{result.seconds:.1f}", f"{rate:,.0f}", result.calls, result.clockify)
            print(show(title, *result.counts, *taken, *spent, f"{result.peak_mb:.0f}"))
            check(result.code == 0, f"{title}: exit code {result.code}")
            check(result.counts == expected, f"{title}: {result.counts} and not {expected}")
            check(result.peak_mb < MEMORY_MB, f"{title}: {result.peak_mb:.0f} MB")
            return result

        first = run("first import", (number, 0, 0, 0))
        if not options and arguments.latency:  # a fast org gets no bulk jobs
            most = FIRST_CALLS * max(1, number // 100_000)
            check(first.calls < most, f"first import: {first.calls} calls")
        if not arguments.first:
            again = run("again", (0, 0, 0, number))
            plain = reading_floor(world)
            print(f"plain reading floor: {plain:.1f} s, {number / plain:,.0f}/s")
            print(f"again: {plain / again.seconds:.2f} of the plain reading floor's rate")
            expected = drift(world, ids, number // 100)
            run("1 % of drift", expected)
            by_hand = sum(event["Subject"] == "By hand" for event in world.salesforce.events())
            check(by_hand == number // 100, f"{by_hand} Events made by hand are left")
            run("again", (0, 0, 0, number - number // 100))
            for event in world.salesforce.events():
                if event["Subject"] == "By hand":
                    world.salesforce.remove("Event", event["Id"])
        plain = floor(world, folder) * number
        print(f"plain floor, {-(-number // BATCH)} batches: {plain:.1f} s, {number / plain:,.0f}/s")
        print(f"first import: {plain / first.seconds:.2f} of the plain floor's rate")
        world.close()
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
