"""Import and repair a company's history, killed again and again, while messages arrive.

In the end Salesforce must hold exactly what Clockify does, each entry once. `python -m
tests.history` plays it with 100,000 entries and messages for 1,000 of them, and prints its figures.
"""

import argparse
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mapping
from commands.repair.compare import differences
from sandbox.clockify import WORKSPACE, ClockifyApi, Entry, Message
from sandbox.google_cloud import PROJECT
from sandbox.world import ROOT, Function, World

DAYS = 300
# Within a year, for Events that ended before are archived.
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=310)
PEOPLE, PROJECTS = 200, 50
QUIET_WITHIN_S = 60.0
REPEATED = 0.2  # of the messages come again after newer ones
HELD_BACK = 0.4  # of the messages come while the last run is at work
KEY = f"projects/{PROJECT}/secrets/clockify-api-key"


@dataclass
class Outcome:
    """What was done, and how Salesforce differs from Clockify."""

    entries: int
    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    settled: int = 0  # by the last run
    seconds: float = 0.0
    calls: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        answers = ", ".join(f"{count} {name}" for name, count in self.answers.most_common())
        return (
            f"{self.entries:,} entries in {self.seconds:.0f} s, {self.killed} runs killed,"
            f" {self.sent} messages ({answers}), {self.settled} entries settled by the last run,"
            f" {self.calls:,} Salesforce calls; wrong in the end: {len(self.wrong)}"
        )


class History:
    """One company's history, told to Salesforce by runs that are killed and by messages."""

    def __init__(
        self, world: World, folder: Path, *, entries: int, messages: int, seed: int
    ) -> None:
        """`folder`: where the runs leave their file of refusals; `messages`: of so many entries."""
        self._world, self._folder = world, folder
        self._chance = random.Random(seed)
        self._ids = fill(world.clockify, entries, self._chance)
        self._told = self._chance.sample(self._ids, messages)
        self._is_last = threading.Event()
        self._outcome = Outcome(entries)
        self._run_s = 1.0 + entries / 9_000  # about as long as a run takes
        self._function = Function(world, CLOCKIFY_API_KEY=KEY)

    def play(self, kills: int) -> Outcome:
        """Kill so many runs at random points, run one to its end, and compare."""
        began = time.monotonic()
        teller = threading.Thread(target=self._tell)
        teller.start()
        try:
            for _ in range(kills):
                process = self._start()
                try:
                    process.wait(self._chance.uniform(0.8, self._run_s))
                except subprocess.TimeoutExpired:
                    process.kill()
                    self._outcome.killed += 1
                process.communicate()
            self._lose_messages()
            self._is_last.set()
            self._finish()
        finally:
            self._is_last.set()
            teller.join()
            self._wait_until_quiet()
            self._function.stop()
        self._compare()
        self._outcome.seconds = time.monotonic() - began
        self._outcome.calls = len(self._world.salesforce.requests)
        return self._outcome

    def _start(self) -> "subprocess.Popen[str]":
        last = FIRST + timedelta(days=DAYS)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, "--apply"),
                *("--from", f"{FIRST:%Y-%m-%d}", "--to", f"{last:%Y-%m-%d}"),
                *("--bulk-beyond", str(min(10_000, max(1, self._outcome.entries // 4)))),
            ],
            cwd=self._folder,
            env=os.environ
            | self._world.environment()
            | {"CLOCKIFY_API_KEY": KEY, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _finish(self) -> None:
        process = self._start()
        text, _ = process.communicate(timeout=600)
        if process.returncode:
            self._outcome.wrong.append(f"the last run ended with {process.returncode}: {text}")
        settled = re.search(r"^  meanwhile +([\d,]+)", text, re.M)
        self._outcome.settled = int(settled[1].replace(",", "")) if settled else 0

    # Messages ------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Change entries in Clockify and send what it says, some of it again."""
        chance = random.Random(self._chance.random())
        held_back = round(len(self._told) * HELD_BACK)
        every_s = self._run_s / max(1, held_back)
        sent: list[Message] = []
        for place, entry_id in enumerate(self._told):
            if place >= len(self._told) - held_back:
                self._is_last.wait()
            for message in self._life(chance, entry_id):
                self._send(message)
                sent.append(message)
            if chance.random() < REPEATED:
                self._send(chance.choice(sent))
            time.sleep(every_s)

    def _lose_messages(self) -> None:
        """People change what no message tells, so that the last run has something to write."""
        clockify = self._world.clockify
        for entry_id in self._chance.sample(self._ids, len(self._ids) // 3):
            with contextlib.suppress(KeyError):  # it has just been deleted
                clockify.edit(entry_id, description=f"Changed {self._chance.random()}")

    def _life(self, chance: random.Random, entry_id: str) -> list[Message]:
        clockify = self._world.clockify
        entry = clockify.entries[entry_id]
        kind = chance.choice(["edit", "move", "delete", "back", "new"])
        if kind == "edit":
            return [clockify.edit(entry_id, description=f"Changed {chance.random()}")]
        if kind == "move":
            start = FIRST + timedelta(seconds=chance.randrange(DAYS * 86_400))
            return [clockify.edit(entry_id, start=start, end=start + timedelta(hours=1))]
        if kind == "new":
            return [clockify.add(entry.user, entry.start, entry.start + timedelta(minutes=5))]
        return [
            clockify.delete(entry_id),
            *([clockify.restore(entry_id)] if kind == "back" else ()),
        ]

    def _send(self, message: Message) -> None:
        while True:
            answer = self._function.post(*message)
            self._outcome.sent += 1
            self._outcome.answers[answer.json().get("result", str(answer.status_code))] += 1
            if answer.ok:
                return
            time.sleep(0.2)

    # What it must come to ------------------------------------------------------------------------

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + QUIET_WITHIN_S
        while self._world.tasks.waiting and time.monotonic() < deadline:
            time.sleep(0.05)

    def _compare(self) -> None:
        clockify = self._world.clockify
        held = Counter(
            event["Clockify_Time_Entry_Id__c"] for event in self._world.salesforce.events()
        )
        wrong = self._outcome.wrong
        wrong += [f"twice: {each}" for each, number in held.items() if number > 1]
        wrong += [f"ghost: {each}" for each in held if each not in clockify.entries]
        for entry_id, entry in clockify.entries.items():
            event = self._world.salesforce.event(entry_id)
            decision = mapping.decide(None, clockify.webhook_body(entry))
            if event is None:
                wrong.append(f"lost: {entry_id}")
            elif isinstance(decision, mapping.Upsert):
                differing = differences(event, decision.event)
                wrong += [f"stale: {entry_id}: {', '.join(differing)}"] if differing else []


def fill(clockify: ClockifyApi, number: int, chance: random.Random) -> list[str]:
    """Have people log entries all over the period; return the ids."""
    people = [clockify.add_user(f"Person {each}") for each in range(PEOPLE)]
    client = clockify.add_client("Northwind")
    projects = [clockify.add_project(f"Project {each}", client) for each in range(PROJECTS)]
    entries = []
    for each in range(number):
        start = FIRST + timedelta(seconds=chance.randrange(DAYS * 86_400))
        end = start + timedelta(seconds=chance.randrange(300, 4 * 3600))
        person, project = chance.choice(people), chance.choice(projects)
        entries.append(Entry(f"5a0ab5acb079{each:012x}", person, start, end, "Work", project))
    clockify.import_entries(entries)
    return [entry.id for entry in entries]


def main() -> int:
    """Play one and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--messages", type=int, help="of so many entries; else of one in a hundred")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            outcome = History(
                world,
                Path(name),
                entries=arguments.entries,
                messages=arguments.messages or arguments.entries // 100,
                seed=arguments.seed,
            ).play(arguments.kills)
        finally:
            world.close()
    print(outcome)
    for line in outcome.wrong[:20]:
        print(" ", line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
