"""backfill.py as a process, against Clockify and Salesforce on loopback."""

import asyncio
import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from history import History

import mapping
from clockify_salesforce.clockify import history
from clockify_salesforce.clockify.client import Clockify
from clockify_salesforce.clockify.history import Window, entry_of
from clockify_salesforce.mapping_rules import DEFAULT_RULES
from clockify_salesforce.salesforce.lookup import PAUSE_S
from clockify_salesforce.salesforce.wish import Wish
from commands.repair.compare import differences
from commands.repair.reading import Readers
from commands.repair.refusals import Refusals
from commands.repair.repair import Repair, Wishes
from commands.repair.settle import MOST_AHEAD_S, Clock
from sandbox import salesforce
from sandbox.clockify import WORKSPACE, Entry, Message
from sandbox.internet import Answer, Request
from sandbox.world import ROOT, Function, World

FIRST, LAST = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 4, 26, tzinfo=UTC)
PERIOD = ("--from", f"{FIRST:%Y-%m-%d}", "--to", f"{LAST:%Y-%m-%d}")
BULK = ("--bulk-beyond", "1000")  # so that some thousands are enough
KINDS = ("created", "updated", "deleted", "unchanged")


@dataclass(frozen=True)
class Run:
    """One run of backfill.py."""

    code: int
    out: str
    err: str

    @property
    def counts(self) -> dict[str, int]:
        """What its summary counts; a dry run's "to create" is "created" here."""
        lines = re.findall(r"^  (.+?) +([\d,]+)", self.out, re.M)
        return {
            re.sub(r"^to (.*)", r"\1d", name): int(number.replace(",", ""))
            for name, number in lines
        }

    @property
    def changes(self) -> tuple[int, ...]:
        """To create, to update, to delete, unchanged."""
        return tuple(self.counts[kind] for kind in KINDS)


@dataclass
class Desk:
    """Where somebody runs backfill.py for a world."""

    world: World
    folder: Path
    credentials: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def command(self, *options: str) -> list[str]:
        """The command line; credentials are read from files, which is faster than from Google."""
        salesforce_file, key_file = self.credentials / "salesforce", self.credentials / "key"
        salesforce_file.write_text(self.world.secrets["salesforce"][-1])
        key_file.write_text(self.world.secrets["clockify-api-key"][-1])
        return [
            *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE),
            *("--salesforce-credentials-file", str(salesforce_file)),
            *("--clockify-api-key-file", str(key_file)),
            *(("--days", "3") if "--days" in options else PERIOD),
            *(option for option in options if option not in ("--days", "3")),
        ]

    def environment(self) -> dict[str, str]:
        """The world's."""
        return os.environ | self.world.environment() | {"PYTHONPATH": str(ROOT)}

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start it."""
        process = subprocess.Popen(
            self.command(*options),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *options: str) -> Run:
        """Run it to its end."""
        process = self.start(*options)
        out, err = process.communicate(timeout=300)
        return Run(process.returncode, out, err)

    @property
    def refused(self) -> list[str]:
        """The entries in the file of refusals."""
        file = self.folder / "backfill-refused.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["entry"] for line in lines]

    def fill(self, number: int, *, users: int = 20, seed: int = 1) -> list[str]:
        """Have people log entries of many kinds all over the period; return their ids."""
        clockify, chance = self.world.clockify, random.Random(seed)
        people = [clockify.add_user(f"Person {each}") for each in range(users)]
        clients = [clockify.add_client(f"Client {each}") for each in range(5)]
        projects = [
            clockify.add_project(f"Project {each}", chance.choice([*clients, None]))
            for each in range(12)
        ]
        entries = []
        for each in range(number):
            start = FIRST + timedelta(seconds=chance.randrange(int((LAST - FIRST).total_seconds())))
            project = chance.choice([*projects, None])
            entries.append(
                Entry(
                    f"5a0ab5acb079{each:012x}",
                    people[each % users],
                    start,
                    start + timedelta(seconds=chance.randrange(60, 9 * 3600)),
                    chance.choice(["", "Review", "Zwei\nZeilen ", "日本 ‹x› & co", "x" * 2900]),
                    project,
                    chance.choice(["Design", None]) if project else None,
                    tuple(chance.sample(["on site", "travel", "night"], chance.randrange(3))),
                    chance.random() < 0.5,
                    "BREAK" if chance.random() < 0.05 else "REGULAR",
                )
            )
        clockify.import_entries(entries)
        return [entry.id for entry in entries]

    def state(self) -> dict[str, dict[str, Any]]:
        """What Salesforce holds of each entry, without what differs from run to run."""
        passing = ("Id", "SystemModstamp", "LastModifiedDate", "CreatedDate")
        return {
            event["Clockify_Time_Entry_Id__c"]: {
                name: value for name, value in event.items() if name not in passing
            }
            for event in self.world.salesforce.events()
        }

    def assert_right(self) -> None:
        """Salesforce holds exactly what Clockify's webhooks would have brought."""
        clockify = self.world.clockify
        held = self.state()
        finished = {entry.id: entry for entry in clockify.entries.values() if entry.end}
        assert held.keys() == finished.keys()
        for entry_id, entry in finished.items():
            decision = mapping.decide(None, clockify.webhook_body(entry))
            assert isinstance(decision, mapping.Upsert)
            assert differences(held[entry_id], decision.event) == []

    def before(
        self, monkeypatch: pytest.MonkeyPatch, method: str, path: str, act: Callable[[], None]
    ) -> None:
        """Have `act` done once, before Salesforce sees the first request to `path`."""
        sites, todo = self.world.internet.sites, [act]
        org = sites[salesforce.HOST]

        async def answer(request: Request) -> Answer:
            if request.method == method and path in request.path and todo:
                await asyncio.get_running_loop().run_in_executor(None, todo.pop())
            return await org(request)

        monkeypatch.setitem(sites, salesforce.HOST, answer)


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Iterator[Desk]:
    """A desk in an empty folder."""
    folder, credentials = tmp_path / "desk", tmp_path / "credentials"
    folder.mkdir()
    credentials.mkdir()
    desk = Desk(world, folder, credentials)
    yield desk
    for process in desk.started:  # none may go on in the next test's world
        process.kill()
        process.communicate()


# First import and repair --------------------------------------------------------------------------


def test_dry_run_changes_nothing(desk: Desk) -> None:
    """It counts, writes no record and no file, and ends with 0."""
    desk.fill(300)
    run = desk.run()
    assert (run.code, run.changes) == (0, (300, 0, 0, 0))
    assert "nothing is changed" in run.out
    assert desk.world.salesforce.events() == []
    reads = {method for method, path in desk.world.salesforce.requests if path != "composite"}
    assert reads == {"GET"}
    assert list(desk.folder.iterdir()) == []


def test_first_import_then_nothing_then_each_drift(desk: Desk) -> None:
    """2,000 entries; then no change; then 1 % of each kind of drift, counted exactly."""
    world = desk.world
    ids = desk.fill(2000, users=50)
    org, clockify = world.salesforce, world.clockify
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (2000, 0, 0, 0))
    desk.assert_right()
    writes = [method for method, path in org.requests if path.startswith("composite/")]
    assert len(writes) == 2000 / 200

    org.requests.clear()
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (0, 0, 0, 2000))
    assert not [path for _, path in org.requests if path.startswith("composite/")]

    def event(entry_id: str) -> str:
        found = org.event(entry_id)
        assert found is not None
        return str(found["Id"])

    for entry_id in ids[:20]:  # missing
        org.remove("Event", event(entry_id))
    for entry_id in ids[20:30]:  # changed in Salesforce
        org.change("Event", event(entry_id), Subject="Lunch")
    for entry_id in ids[30:40]:  # changed in Clockify
        clockify.edit(entry_id, description="Changed", billable=True, tags=("new",))
    for entry_id in ids[40:50]:  # moved, also to where the run has been already
        clockify.edit(
            entry_id,
            start=FIRST + timedelta(hours=1),
            end=FIRST + timedelta(hours=2, seconds=int(entry_id[-2:], 16)),
        )
    for entry_id in ids[60:80]:  # surplus
        clockify.delete(entry_id)
    by_hand = [
        org.add(
            "Event",
            OwnerId=org.USER_ID,
            Subject="By hand",
            StartDateTime="2026-02-02T10:00:00Z",
            EndDateTime="2026-02-02T11:00:00Z",
        )
        for _ in range(20)
    ]
    expected = (20, 30, 20, 1930)
    assert desk.run().changes == expected
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, expected)
    for record_id in by_hand:
        assert org.records["Event"][record_id]["IsDeleted"] is False
        org.remove("Event", record_id)
    desk.assert_right()
    assert desk.run("--apply").changes == (0, 0, 0, 1980)


def test_list_names_each_change(desk: Desk) -> None:
    """--list prints entry and field names, and nothing of what people wrote."""
    ids = desk.fill(3)
    assert f"create {ids[0]}: 2026-" in desk.run("--apply", "--list").out
    desk.world.clockify.edit(ids[0], description="Secret plans")
    run = desk.run("--list")
    assert f"update {ids[0]}: Description\n" in run.out
    assert "Secret" not in run.out + run.err


def test_days_cover_today_and_tomorrow(desk: Desk) -> None:
    """--days N begins N days ago at midnight (UTC) and ends with tomorrow."""
    clockify = desk.world.clockify
    user = clockify.add_user("Ada")
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = now.replace(hour=0, minute=0, second=0)
    for start in (
        midnight - timedelta(days=3, seconds=1),
        midnight - timedelta(days=3),
        now,
        midnight + timedelta(days=2, seconds=-1),
        midnight + timedelta(days=2),
    ):
        clockify.add(user, start, start + timedelta(minutes=5))
    assert desk.run("--days", "3").counts["created"] == 3


def test_named_users_are_repaired_alone(desk: Desk) -> None:
    """--user leaves other people's entries alone, and deletes nothing."""
    ids = desk.fill(40, users=4)
    clockify = desk.world.clockify
    user = clockify.entries[ids[1]].user
    assert desk.run("--apply", "--user", user).changes == (10, 0, 0, 0)
    assert desk.run("--apply").changes == (30, 0, 0, 10)
    clockify.delete(ids[1])
    assert desk.run("--apply", "--user", user).changes == (0, 0, 0, 9)
    assert desk.run("--apply").changes == (0, 0, 1, 39)


def test_entry_that_left_the_period_is_updated(desk: Desk) -> None:
    """Its Event is in the period and its entry is not: moved along, not deleted."""
    ids = desk.fill(3)
    desk.run("--apply")
    start = LAST + timedelta(days=40)
    desk.world.clockify.edit(ids[0], start=start, end=start + timedelta(hours=1))
    assert desk.run("--apply").changes == (0, 1, 0, 2)
    desk.assert_right()


def test_entry_over_24_hours_is_shortened_once(desk: Desk) -> None:
    """An org without multiday events keeps 24 hours; the next run finds nothing to do."""
    clockify = desk.world.clockify
    user = clockify.add_user("Ada")
    entry_id = clockify.add(user, FIRST, FIRST + timedelta(hours=30))[1]["id"]
    assert desk.run("--apply").changes == (1, 0, 0, 0)
    event = desk.world.salesforce.event(entry_id)
    assert event is not None
    assert event["EndDateTime"].startswith("2026-01-06T00:00:00")
    assert event["Clockify_Hours__c"] == 30
    assert "Whole span: 2026-01-05T00:00:00Z to 2026-01-06T06:00:00Z" in event["Description"]
    assert desk.run("--apply").changes == (0, 0, 0, 1)


def test_archived_events_are_compared_and_repaired(desk: Desk) -> None:
    """Events that ended over a year ago are hidden from query, and still kept right."""
    ids = desk.fill(30)
    assert desk.run("--apply").changes == (30, 0, 0, 0)
    real = desk.world.salesforce.clock
    desk.world.salesforce.clock = lambda: real() + 3 * 365 * 86400
    try:
        assert desk.run("--apply").changes == (0, 0, 0, 30)
        desk.world.clockify.edit(ids[0], description="Changed")
        desk.world.clockify.delete(ids[1])
        assert desk.run("--apply").changes == (0, 1, 1, 28)
        desk.assert_right()
    finally:
        desk.world.salesforce.clock = real


def test_running_entry_makes_no_event_and_deletes_none(desk: Desk) -> None:
    """A timer that runs is counted; an Event of an entry that runs again stays."""
    ids = desk.fill(5)
    clockify = desk.world.clockify
    clockify.start(clockify.entries[ids[0]].user, FIRST)
    assert desk.run("--apply").counts["still running"] == 1
    clockify.edit(ids[0], end=None)
    run = desk.run("--apply")
    assert (run.changes, run.counts["still running"]) == ((0, 0, 0, 4), 2)
    assert desk.world.salesforce.event(ids[0]) is not None


def test_event_of_somebody_else_is_not_deleted(desk: Desk) -> None:
    """An Event with a Clockify id that the integration did not make stays, and is told."""
    org = desk.world.salesforce
    desk.fill(1)
    org.add(
        "Event",
        OwnerId=org.USER_ID,
        Subject="Another tool's",
        StartDateTime="2026-02-02T10:00:00Z",
        EndDateTime="2026-02-02T11:00:00Z",
        Clockify_Time_Entry_Id__c="5a0ab5acb0790000000000ff",
    )
    run = desk.run("--apply")
    assert (run.code, run.changes, run.counts["left alone"]) == (0, (1, 0, 0, 0), 1)
    assert org.event("5a0ab5acb0790000000000ff") is not None


# Owner and links ----------------------------------------------------------------------------------


def test_owner_and_links_are_set_and_a_persons_choice_stays(desk: Desk) -> None:
    """As by message: Clockify's wish is written once, and again only when it changes."""
    org, clockify = desk.world.salesforce, desk.world.clockify
    ada, bob = clockify.add_user("Ada"), clockify.add_user("Bob")
    client = clockify.add_client("Northwind")
    project = clockify.add_project("Website", client)
    account = org.add("Account", Name="Northwind", Clockify_Client_Id__c=client)
    owner = org.add("User", Email="a@acme.example", Clockify_User_Id__c=ada)
    other = org.add("User", Email="BOB@acme.example")
    entry_id = clockify.add(ada, FIRST, FIRST + timedelta(hours=1), project=project)[1]["id"]

    def owner_and_what() -> tuple[object, object]:
        event = org.event(entry_id)
        assert event is not None
        return event["OwnerId"], event["WhatId"]

    assert desk.run("--apply").changes == (1, 0, 0, 0)
    assert owner_and_what() == (owner, account)
    event = org.event(entry_id)
    assert event is not None
    org.change("Event", event["Id"], OwnerId=org.USER_ID, WhatId=None)
    assert desk.run("--apply").changes == (0, 0, 0, 1)
    clockify.edit(entry_id, description="Changed")
    assert desk.run("--apply").changes == (0, 1, 0, 0)
    assert owner_and_what() == (org.USER_ID, None)
    clockify.edit(entry_id, user=bob)
    assert desk.run("--apply").changes == (0, 1, 0, 0)
    assert owner_and_what() == (other, None)  # the client is the same


def test_link_that_is_refused_is_left_out_and_told(desk: Desk) -> None:
    """The Event is written without it."""
    org, clockify = desk.world.salesforce, desk.world.clockify
    user = clockify.add_user("Ada")
    owner = org.add("User", Email="ada@acme.example", IsActive=True, Clockify_User_Id__c=user)
    entry = clockify.add(user, FIRST, FIRST + timedelta(hours=1))[1]["id"]
    clockify.edit(entry, description="#001Kj000000Gone1AA gone")
    clockify.edit(entry, description=f"#{mapping.salesforce_id('001Kj0000009999')} gone")
    run = desk.run("--apply")
    assert (run.code, run.changes, run.counts["notes"]) == (0, (1, 0, 0, 0), 1)
    event = org.event(entry)
    assert event is not None
    assert (event["OwnerId"], event.get("WhatId")) == (owner, None)


# Interrupted --------------------------------------------------------------------------------------


def test_killed_at_ten_random_points_ends_in_the_same_state(desk: Desk) -> None:
    """SIGKILL five times in a first import and five in a repair, each then run to the end."""
    seed = int(os.environ.get("SEED", time.time_ns() % 100_000))
    print(f"SEED={seed}")  # pytest shows it where the test fails
    chance = random.Random(seed)
    ids = desk.fill(2000, users=50, seed=seed)
    org, clockify = desk.world.salesforce, desk.world.clockify

    def kill_five_times() -> None:
        for _ in range(5):
            calls, more = len(org.requests), chance.randrange(1, 25)
            process = desk.start("--apply")
            while len(org.requests) < calls + more and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            process.communicate()
        assert desk.run("--apply").code == 0
        desk.assert_right()
        assert desk.run("--apply").changes == (0, 0, 0, len(clockify.entries))

    kill_five_times()
    for entry_id in chance.sample(ids, 600):
        record = org.event(entry_id)
        assert record is not None
        kind = chance.choice(["missing", "changed", "surplus"])
        if kind == "missing":
            org.remove("Event", record["Id"])
        elif kind == "changed":
            clockify.edit(entry_id, description="Changed")
        else:
            clockify.delete(entry_id)
    kill_five_times()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_says_so(desk: Desk, how: signal.Signals) -> None:
    """Ctrl-C and Cloud Run's SIGTERM: one sentence, exit code 1, and the next run goes on."""
    desk.fill(2000)
    org = desk.world.salesforce
    process = desk.start("--apply")
    while len(org.events()) < 400:
        time.sleep(0.002)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted: the same command goes on" in err
    assert "Traceback" not in err
    assert desk.run("--apply").code == 0
    desk.assert_right()


# Messages that come meanwhile ---------------------------------------------------------------------


def test_message_before_the_write_is_not_overwritten(
    desk: Desk, cold: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that a message has brought since Clockify was read stays."""
    ids = desk.fill(50)
    clockify = desk.world.clockify
    assert desk.run("--apply").changes == (50, 0, 0, 0)
    for entry_id in ids[:10]:
        clockify.edit(entry_id, description="What the run reads")

    def edit() -> None:
        message = clockify.edit(ids[0], description="What comes later")
        assert cold.post(*message).status_code == 200

    desk.before(monkeypatch, "PATCH", "composite/sobjects", edit)
    run = desk.run("--apply")
    assert (run.code, run.changes, run.counts["meanwhile"]) == (0, (0, 10, 0, 40), 1)
    event = desk.world.salesforce.event(ids[0])
    assert event is not None
    assert event["Description"].startswith("What comes later")


def test_message_that_deletes_before_the_write_is_not_undone(
    desk: Desk, cold: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an update nor a creation brings back what was deleted since Clockify was read."""
    ids = desk.fill(20)
    clockify = desk.world.clockify
    clockify.delete(ids[0])
    desk.run("--apply")
    clockify.restore(ids[0])  # its Event is missing: the run is going to create it
    clockify.edit(ids[1], description="Changed")  # and to update this one

    def delete() -> None:
        for entry_id in ids[:2]:
            assert cold.post(*clockify.delete(entry_id)).status_code == 200

    desk.before(monkeypatch, "PATCH", "composite/sobjects", delete)
    assert desk.run("--apply").code == 0
    desk.assert_right()


def test_entry_restored_before_its_event_is_deleted_gets_it_back(
    desk: Desk, cold: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message may come between Clockify's word that it is gone and the deletion."""
    ids = desk.fill(5)
    clockify = desk.world.clockify
    desk.run("--apply")
    clockify.delete(ids[0])
    clockify.delete(ids[1])

    def restore() -> None:
        assert cold.post(*clockify.restore(ids[0])).status_code == 200

    desk.before(monkeypatch, "DELETE", "composite/sobjects", restore)
    run = desk.run("--apply")
    assert (run.code, run.counts["deleted"], run.counts["meanwhile"]) == (0, 2, 1)
    desk.assert_right()


def test_entry_created_during_the_run_is_not_deleted(
    desk: Desk, cold: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Event is there, and the report that the run has read does not know it."""
    ids = desk.fill(5)
    clockify = desk.world.clockify
    desk.run("--apply")
    clockify.requests.clear()

    def create() -> None:
        while not any("/reports/" in path for _, path in clockify.requests):
            time.sleep(0.01)
        message = clockify.add(
            clockify.entries[ids[0]].user, FIRST, FIRST + timedelta(minutes=1), description="New"
        )
        assert cold.post(*message).status_code == 200

    desk.before(monkeypatch, "GET", "StartDateTime", create)
    assert desk.run("--apply").changes == (0, 0, 0, 5)
    desk.assert_right()


@pytest.mark.parametrize("ahead_s", [600.0, 864_000.0])
def test_settled_entry_has_clockifys_time_where_the_clock_here_is_wrong(
    desk: Desk, cold: Function, ahead_s: float
) -> None:
    """On a laptop that is ten minutes ahead; a `Date` that is days off is not believed."""
    clockify = desk.world.clockify
    clockify.clock, clockify.tells_time = (lambda: time.time() - ahead_s), True
    user = clockify.add_user("Ada")
    kind, body = clockify.add(user, FIRST, FIRST + timedelta(hours=1))
    assert cold.post(kind, body).status_code == 200
    clockify.edit(body["id"], description="Changed without a message")
    run = desk.run("--apply")
    assert (run.code, run.counts["updated"], run.counts["meanwhile"]) == (0, 1, 1)
    kept = desk.world.salesforce.state("time_entry:" + body["id"])
    assert kept is not None
    age_s = time.time() - json.loads(kept["State__c"])["ms"] / 1000
    limit_s = min(ahead_s, MOST_AHEAD_S)
    assert limit_s - 5 < age_s < limit_s + 60


def test_change_just_before_the_report_is_settled_by_asking(desk: Desk, cold: Function) -> None:
    """The report may be a minute behind a message: the entry itself is asked for."""
    clockify = desk.world.clockify
    user = clockify.add_user("Ada")
    kind, body = clockify.add(user, FIRST, FIRST + timedelta(hours=1))
    assert cold.post(kind, body).status_code == 200
    clockify.edit(body["id"], description="Changed without a message")
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (0, 1, 0, 0))
    desk.assert_right()


@pytest.mark.parametrize("days", [29, 31])
def test_states_untouched_for_30_days_are_cleaned_up(desk: Desk, cold: Function, days: int) -> None:
    """Counted; their entries' messages are taken as ever, also where the recycle bin keeps keys."""
    org, clockify = desk.world.salesforce, desk.world.clockify
    org.bin_keeps_unique = True
    user = clockify.add_user("Ada")
    real = org.clock
    org.clock = lambda: real() - days * 86_400
    try:
        messages = [
            clockify.add(user, FIRST, FIRST + timedelta(minutes=1 + each)) for each in range(3)
        ]
        assert {cold.post(*message).status_code for message in messages} == {200}
    finally:
        org.clock = real
    entry_id = messages[0][1]["id"]
    assert "cleaned up" not in desk.run().counts
    run = desk.run("--apply")
    assert (run.code, run.counts.get("cleaned up", 0)) == (0, 3 if days > 30 else 0)
    states = [each for each in org.records["Clockify_State__c"].values() if not each["IsDeleted"]]
    assert len(states) == (0 if days > 30 else 3)
    message = clockify.edit(entry_id, description="Changed")
    assert cold.post(*message).json()["result"] == "updated"
    desk.assert_right()


def test_other_workspaces_events_are_left_alone(desk: Desk, cold: Function) -> None:
    """Two workspaces write into one org, and no key sees both."""
    org, clockify = desk.world.salesforce, desk.world.clockify
    ids = desk.fill(3)
    assert desk.run("--apply").changes == (3, 0, 0, 0)
    message = clockify.webhook_body(clockify.entries[ids[0]])
    other = message | {"id": "5a0ab5acb0790000000000ff", "workspaceId": "70b687e29ae1f428e7ebe399"}
    assert cold.post("NEW_TIME_ENTRY", other).status_code == 200
    event = org.event(ids[1])
    assert event is not None
    # Entry ids are unique, so this cannot be; but what says that it is another's is left alone.
    org.change(
        "Event", event["Id"], Clockify_Workspace_Id__c=other["workspaceId"], Subject="Theirs"
    )
    run = desk.run("--apply")
    assert (run.code, run.changes, run.counts["left alone"]) == (0, (0, 0, 0, 2), 1)
    assert org.event(str(other["id"])) is not None
    assert (org.event(ids[1]) or {})["Subject"] == "Theirs"


def test_messages_while_runs_are_killed_end_in_clockifys_state(
    world: World, tmp_path: Path
) -> None:
    """2,500 entries and messages for 60; `python -m tests.history` plays it with 100,000."""
    seed = int(os.environ.get("SEED", time.time_ns() % 100_000))
    print(f"SEED={seed}")  # pytest shows it where the test fails
    outcome = History(world, tmp_path, entries=2500, messages=60, seed=seed).play(kills=4)
    assert outcome.wrong == [], outcome
    assert outcome.sent >= 60


# Clockify's moods ---------------------------------------------------------------------------------


def test_429_and_5xx_are_waited_for_and_told(desk: Desk) -> None:
    """Retry-After is honoured; nothing is lost."""
    desk.fill(20)
    faults = desk.world.clockify.faults
    faults.too_many, faults.retry_after, faults.broken = 2, "0.2", 1
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (20, 0, 0, 0))
    assert run.err.count("Clockify asks to wait") == 3
    desk.assert_right()


def test_free_plan_is_honoured_with_the_time_told(desk: Desk) -> None:
    """So many requests an hour, and no more; the hour is two seconds here."""
    desk.fill(900)
    clockify = desk.world.clockify
    clockify.report_page = 200
    clockify.faults.hourly, clockify.faults.hour_s = 4, 2.0
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (900, 0, 0, 0))
    assert re.search(r"Clockify asks to wait: going on in [1-3] s \(at \d\d:\d\d:\d\d\)", run.err)
    desk.assert_right()


def test_other_refusal_of_clockify_stops_with_one_sentence(desk: Desk) -> None:
    """A key that Clockify does not take: exit code 1, and what to do."""
    desk.fill(1)
    desk.world.clockify.api_key = "another"
    run = desk.run("--apply")
    assert run.code == 1
    assert "Clockify refused the API key" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("totals", [True, False])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_page_that_changes_under_the_paging_loses_nothing(
    desk: Desk, totals: bool, is_sorted: bool
) -> None:
    """While pages are read, entries behind and before the reader come and go."""
    ids = desk.fill(1000)
    clockify = desk.world.clockify
    clockify.report_page, clockify.report_totals = 200, totals
    clockify.report_is_sorted = is_sorted
    chance = random.Random(3)
    doomed = chance.sample(ids, 20)
    user = clockify.entries[ids[0]].user

    def change(method: str, path: str) -> None:
        if "/reports/" in path and doomed:
            clockify.delete(doomed.pop())
            start = FIRST + timedelta(days=chance.randrange(100))
            clockify.add(user, start, start + timedelta(hours=1))

    clockify.faults.meanwhile = change
    assert desk.run("--apply").code == 0
    stayed = set(ids) & set(clockify.entries)
    assert stayed <= desk.state().keys()
    clockify.faults.meanwhile = None
    assert desk.run("--apply").code == 0
    desk.assert_right()


def test_one_second_with_more_than_a_page_is_read_in_pages(desk: Desk) -> None:
    """450 people start at the same second, and one entry goes while its pages are read."""
    clockify = desk.world.clockify
    clockify.report_page = 200
    user = clockify.add_user("Ada")
    for number in range(450):
        clockify.add(user, FIRST, FIRST + timedelta(minutes=1 + number))
    first = next(iter(clockify.entries))
    pages: list[str] = []

    def change(method: str, path: str) -> None:
        pages.append(path)
        if len(pages) == 4 and first in clockify.entries:  # 200 refused, 2 windows, page 1
            clockify.delete(first)

    clockify.faults.meanwhile = change
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (449, 0, 0, 0))
    desk.assert_right()


def test_report_that_lacks_entries_deletes_nothing(desk: Desk) -> None:
    """An Event goes only when Clockify, asked for the entry itself, says that it is gone."""
    desk.fill(30)
    desk.run("--apply")
    desk.world.clockify.report_lag_s = 1e12
    assert desk.run("--apply").changes == (0, 0, 0, 0)
    assert len(desk.world.salesforce.events()) == 30


def test_wrong_workspace_deletes_nothing(desk: Desk) -> None:
    """Neither where the entry is in another workspace, nor where too much would go."""
    ids = desk.fill(30)
    clockify = desk.world.clockify
    desk.run("--apply")
    clockify.workspaces.append("64a687e29ae1f428e7ebe3ff")
    wrong = ("--workspace", "64a687e29ae1f428e7ebe3ff")
    assert desk.run("--apply", *wrong).changes == (0, 0, 0, 0)
    for entry_id in ids[:11]:
        clockify.delete(entry_id)
    run = desk.run("--apply", "--most-deletions", "10")
    assert (run.code, run.changes, run.counts["surplus"]) == (1, (0, 0, 0, 19), 11)
    assert len(desk.world.salesforce.events()) == 30
    assert desk.run("--apply", "--most-deletions", "11").changes == (0, 0, 11, 19)


# Salesforce's moods -------------------------------------------------------------------------------


def test_refused_records_are_kept_for_the_next_run(desk: Desk) -> None:
    """Each with its reason, in a file that another run takes up, of whatever period."""
    ids = desk.fill(400)
    faults = desk.world.salesforce.faults
    faults.rule = 0.1
    run = desk.run("--apply")
    assert run.code == 3
    refused = desk.refused
    assert 10 < len(refused) == run.counts["refused"] == 400 - run.counts["created"]
    lines = (desk.folder / "backfill-refused.jsonl").read_text().splitlines()
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in json.loads(lines[0])["reason"]
    assert run.err.count("FIELD_CUSTOM_VALIDATION_EXCEPTION") == min(20, len(refused))
    faults.clear()
    desk.world.clockify.delete(refused[0])
    run = desk.run("--apply", "--days", "3")
    assert (run.code, run.changes) == (0, (len(refused) - 1, 0, 0, 0))
    assert desk.refused == []
    desk.assert_right()
    assert len(ids) == 400


def test_refused_again_stays_in_the_file_once(desk: Desk) -> None:
    """The file holds what the last run left, and no older line."""
    desk.fill(30)
    desk.world.salesforce.faults.rule = 1
    assert desk.run("--apply").counts["refused"] == 30
    assert desk.run("--apply").counts["refused"] == 30
    assert len(desk.refused) == 30
    desk.world.salesforce.faults.clear()
    assert desk.run("--apply").code == 0
    assert desk.refused == []


def test_malformed_entry_is_told_and_the_others_are_written(desk: Desk) -> None:
    """An entry that ends before it starts cannot be an Event."""
    ids = desk.fill(10)
    clockify = desk.world.clockify
    clockify.edit(ids[0], end=clockify.entries[ids[0]].start - timedelta(hours=1))
    run = desk.run("--apply")
    assert (run.code, run.counts["created"], desk.refused) == (3, 9, [ids[0]])
    assert f"{ids[0]}: timeInterval.end" in run.err


@pytest.mark.parametrize("fault", ["lock", "expired", "lost", "error", "html", "reset"])
def test_what_passes_is_tried_again(desk: Desk, fault: str) -> None:
    """A tenth of the calls, or of the records, fails for a moment: all is written once."""
    desk.fill(600)
    setattr(desk.world.salesforce.faults, fault, 0.1)
    assert desk.run("--apply").code == 0
    desk.world.salesforce.faults.clear()
    desk.assert_right()
    assert desk.run("--apply").changes == (0, 0, 0, 600)


# At the org's own speed ---------------------------------------------------------------------------


def test_many_changes_go_as_bulk_jobs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,200 entries; results in another order and one lost, records locked and refused.

    Then a run in which Salesforce forgets a query's next page, and 3,200 updates.
    """
    ids = desk.fill(3200, users=50)
    org, clockify = desk.world.salesforce, desk.world.clockify
    clockify.edit(ids[-1], description="#N/A")  # which CSV has for an empty field
    org.faults.lock, org.faults.rule, org.bulk.loses = 0.01, 0.01, 1
    run = desk.run("--apply", *BULK)
    refused = run.counts["refused"]
    assert (run.code, 10 < refused < 100, len(desk.refused)) == (3, True, refused)
    assert run.counts["created"] + run.counts["updated"] == 3200 - refused
    jobs = list(org.jobs.values())
    assert {job.state for job in jobs} == {"JobComplete"}
    assert 250 <= len(jobs[0].rows) < len(jobs[-1].rows) <= 800
    assert sum(len(job.rows) for job in jobs) > 1000
    assert len(org.requests) < 120

    org.faults.clear()

    def forget() -> None:
        org._cursors.clear()

    desk.before(monkeypatch, "GET", "queryAll/", forget)
    assert desk.run("--apply", *BULK).changes == (refused, 0, 0, 3200 - refused)
    desk.assert_right()

    for entry_id in ids:
        clockify.edit(entry_id, description="Changed")
    assert desk.run("--apply", *BULK).changes == (0, 3200, 0, 0)
    operations = [job.wanted["operation"] for job in org.jobs.values()]
    assert operations == ["upsert"] * len(jobs) + ["update"] * len(jobs)
    desk.assert_right()


@pytest.mark.parametrize("mood", ["is_off", "fails"])
def test_org_without_bulk_or_a_job_that_fails_goes_on_in_collections(desk: Desk, mood: str) -> None:
    """Told once; a job that fails in its middle leaves nothing out and writes nothing twice."""
    desk.fill(3200, users=50)
    org = desk.world.salesforce
    setattr(org.bulk, mood, True)
    org.bulk.tells_nothing = True
    run = desk.run("--apply", *BULK)
    assert (run.code, run.changes) == (0, (3200, 0, 0, 0))
    says = {
        "is_off": "Salesforce takes no bulk jobs here (FEATURENOTENABLED)",
        "fails": "Events ended as Failed (InternalServerError)",
    }[mood]
    assert run.err.count(says) == 1
    desk.assert_right()


def test_interrupted_run_aborts_its_jobs_and_a_killed_ones_are_waited_for(desk: Desk) -> None:
    """Ctrl-C leaves none at work. SIGKILL may: the next run reads when they are over."""
    desk.fill(3200, users=50)
    org = desk.world.salesforce

    def start_and_end(how: signal.Signals) -> tuple[int, str]:
        org.jobs.clear()
        org.bulk.is_held = True
        process = desk.start("--apply", *BULK)
        while not any(job.state == "UploadComplete" for job in org.jobs.values()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        return process.returncode, err

    code, err = start_and_end(signal.SIGINT)
    assert (code, "Traceback" in err) == (1, False)
    assert {job.state for job in org.jobs.values()} == {"Aborted"}
    for event in org.events():
        org.remove("Event", event["Id"])
    start_and_end(signal.SIGKILL)
    (job, *_) = org.jobs.values()
    desk.world.clockify.requests.clear()
    again = desk.start("--apply", *BULK)
    assert again.stderr is not None
    assert "bulk jobs are still at work: waiting" in again.stderr.readline()
    assert desk.world.clockify.requests == []
    org.bulk.is_held = False
    out, err = again.communicate(timeout=60)
    run = Run(again.returncode, out, err)
    assert (run.code, job.state) == (0, "JobComplete")
    assert run.counts["unchanged"] >= len(job.rows)
    assert run.counts["created"] == 3200 - run.counts["unchanged"]
    desk.assert_right()


def test_writes_at_once_have_no_parent_in_common(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of owner and Opportunity, which Salesforce locks; and they are several at once."""
    org, clockify = desk.world.salesforce, desk.world.clockify
    desk.fill(1900, users=40)
    for user in clockify.users:
        org.add("User", Email=f"{user}@acme.example", Clockify_User_Id__c=user)
    account = org.add("Account", Name="Any")
    for project in clockify.projects:
        org.add("Opportunity", AccountId=account, Clockify_Project_Id__c=project)
    sites, at_work = desk.world.internet.sites, dict[int, set[str]]()
    site, most, clashes = sites[salesforce.HOST], [0], list[set[str]]()

    async def answer(request: Request) -> Answer:
        if request.method != "PATCH":
            return await site(request)
        parents = {
            record[name]
            for record in json.loads(request.body)["records"]
            for name in ("OwnerId", "WhatId")
            if record.get(name)
        }
        clashes.extend(parents & others for others in at_work.values() if parents & others)
        at_work[id(request)] = parents
        most[0] = max(most[0], len(at_work))
        try:
            return await site(request)
        finally:
            del at_work[id(request)]

    monkeypatch.setitem(sites, salesforce.HOST, answer)
    org.latency = 0.2
    assert desk.run("--apply").changes == (1900, 0, 0, 0)
    assert (clashes, most[0] > 1) == ([], True)
    most[0] = 0
    for entry_id in list(clockify.entries)[:900]:
        clockify.edit(entry_id, description="Changed")
    assert desk.run("--apply", "--jobs", "1").changes == (0, 900, 0, 1000)
    assert most[0] == 1


def test_too_many_long_calls_at_once_make_it_write_less_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salesforce's limit on calls of 20 s and more; told once, and nothing is lost."""
    desk.fill(1000)
    sites, at_work = desk.world.internet.sites, [0]
    site = sites[salesforce.HOST]
    refused = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests (Concurrent"}]

    async def answer(request: Request) -> Answer:
        if request.method != "PATCH":
            return await site(request)
        at_work[0] += 1
        try:
            return Answer(403, refused) if at_work[0] > 4 else await site(request)
        finally:
            at_work[0] -= 1

    monkeypatch.setitem(sites, salesforce.HOST, answer)
    desk.world.salesforce.latency = 0.5
    run = desk.run("--apply")
    assert (run.code, run.changes) == (0, (1000, 0, 0, 0))
    assert run.err.count("from now on less is written at once") == 1
    desk.assert_right()


# The call -----------------------------------------------------------------------------------------


def test_credentials_from_files_need_no_google_cloud(desk: Desk) -> None:
    """A first import from a laptop: two files, no Secret Manager, nothing secret shown."""
    desk.fill(5)
    world = desk.world
    google = ("SALESFORCE_CREDENTIALS", "SIGNING_SECRETS", "GOOGLE_APPLICATION_CREDENTIALS")
    result = subprocess.run(
        desk.command("--apply"),
        cwd=desk.folder,
        env={name: value for name, value in desk.environment().items() if name not in google},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "created                5" in result.stdout
    assert world.secret_manager.reads == []
    for secret in (world.clockify.api_key, salesforce.CONSUMER_SECRET, "acme.example"):
        assert secret not in result.stdout + result.stderr


def test_credentials_from_secret_manager_as_in_a_job(desk: Desk) -> None:
    """The nightly job has no file: the same settings as the function's name the secrets."""
    desk.fill(5)
    given = desk.environment()
    key = given["SALESFORCE_CREDENTIALS"].rsplit("/", 1)[0] + "/clockify-api-key"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, *PERIOD),
            "--apply",
        ],
        cwd=desk.folder,
        env=given | {"CLOCKIFY_API_KEY": key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr.count("100%")) == (0, 1)
    assert "created                5" in result.stdout


def test_terminal_has_a_bar_and_a_log_has_lines(desk: Desk) -> None:
    """The bar shows how far it is, the rate and the time left; a log has no control characters."""
    desk.fill(300)
    run = desk.run()
    assert re.search(r"^100%, up to 2026-04-27 00:00: 300 entries, [\d,]+/s$", run.err, re.M)
    assert "\r" not in run.err
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    process = subprocess.Popen(
        desk.command("--apply"),
        cwd=desk.folder,
        env=desk.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while chunk := os.read(ours, 4096):
            seen += chunk
    os.close(ours)
    assert process.wait(60) == 0
    assert re.search(rb"\r.*112 of 112 days, \S+ left, 300 entries, [\d,]+/s", seen)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "name the period"),
        (("--days", "0"), "--days is at least 1"),
        (("--days", "3", "--from", "2026-01-01"), "name the period"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "--to lies before --from"),
        (("--from", "yesterday"), "'yesterday' is not a day like 2026-01-31"),
        (("--days", "3"), "no Salesforce credentials"),
    ],
)
def test_wrong_call_ends_with_2(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    """Exit code 2 and one sentence, before anything is asked or written."""
    result = subprocess.run(
        [sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, *options],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


# Pure parts ---------------------------------------------------------------------------------------


def test_row_of_a_report_means_what_its_message_means(world: World) -> None:
    """The report's own shape leads to the very same decision, but for the e-mail address."""
    clockify = world.clockify
    user = clockify.add_user("Ada Lindqvist")
    project = clockify.add_project("Website", clockify.add_client("Northwind"))
    message: Message = clockify.add(
        user,
        FIRST,
        FIRST + timedelta(minutes=95, seconds=30),
        description="Review",
        project=project,
        task="Design",
        tags=("a", "b"),
        billable=True,
    )
    entry = clockify.entries[message[1]["id"]]
    row = clockify._row(entry, ZoneInfo("Asia/Tokyo"))
    by_report = mapping.decide(None, entry_of(row, WORKSPACE))
    by_message = mapping.decide(*message)
    assert isinstance(by_report, mapping.Upsert)
    assert isinstance(by_message, mapping.Upsert)
    assert by_report.event == by_message.event
    assert by_report.user_email == "ada@acme.example"
    for name in ("user_id", "project_id", "client_id", "entry_id"):
        assert getattr(by_report, name) == getattr(by_message, name)


def test_look_up_without_an_answer_is_waited_for_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the Events go without what is not known, and no entry waits again."""
    clockify = world.clockify
    entry = clockify.webhook_body(
        clockify.entries[
            clockify.add(clockify.add_user("Ada"), FIRST, FIRST + timedelta(hours=1))[1]["id"]
        ]
    )
    asked: list[str] = []
    slept: list[float] = []

    class NoDirectory:
        def wish(self, decision: mapping.Upsert, deadline: float) -> Wish:
            asked.append(decision.entry_id)
            return Wish(unknown=frozenset({"OwnerId"}), notes=("no answer",))

        def is_paused(self) -> bool:
            return True

    class NoEvents:
        def queries(self, soql: list[str], deadline: float, *, deleted: bool) -> list[Any]:
            return [{"records": []} for _ in soql]

    monkeypatch.setattr(time, "sleep", slept.append)
    clockify_client = Clockify(api_key="none")
    work = Repair(
        NoEvents(),  # type: ignore[arg-type]
        Readers(lambda: history.History(clockify_client, WORKSPACE)),
        NoDirectory(),  # type: ignore[arg-type]
        Refusals(Path("none")),
        Clock(lambda: 0.0),
        Wishes(FIRST, LAST, apply=False, deletes=False, most_deletions=0, at_once=1, bulk_beyond=0),
        workspace=WORKSPACE,
        rules=DEFAULT_RULES,
        tell=lambda text: None,
        show=lambda line: None,
    )
    for each in range(2):
        work.take(Window(FIRST, LAST, [entry | {"id": f"a{each}"}], 1), [])
    work.finish()
    assert (slept, len(asked), work.count["created"]) == ([PAUSE_S] * 2, 6, 2)
