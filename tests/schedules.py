"""Random schedules of messages and faults, and what Salesforce must hold when all is quiet again.

`python -m tests.schedules` (make soak) runs one as long as is wanted and prints its figures.
"""

import argparse
import concurrent.futures
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from sandbox.world import Function, World

SAMPLE = json.loads((Path(__file__).parent / "payloads/TIMER_STOPPED.json").read_text())
Message = tuple[str, dict[str, Any]]

# Each fault, and how large a share of the requests it may take. A hang costs its 7.5 s.
SHARES = {
    "outage": 1.0,
    "reset": 0.5,
    "lost": 0.5,
    "error": 0.5,
    "html": 0.5,
    "hang": 0.02,
    "lock": 0.5,
    "expired": 0.3,
    "limit": 1.0,
    "rule": 1.0,
}
GAP_S = 0.15  # between two messages of one entry, so that their first receipts are in this order
COPIES = 5


@dataclass(frozen=True)
class History:
    """What happens to one time entry, in order."""

    entry_id: str
    messages: list[Message]

    @property
    def last(self) -> dict[str, Any] | None:
        """The entry in the end, None if it was deleted."""
        event_type, entry = self.messages[-1]
        return None if event_type == "TIME_ENTRY_DELETED" else entry


def history(chance: random.Random, entry_id: str) -> History:
    """One entry's random life: created, then edited, deleted and restored up to six times.

    No two of its messages are the same, byte for byte: a repeat is another matter.
    """
    version = 0

    def entry() -> dict[str, Any]:
        end = f"2026-11-02T{9 + version % 12:02}:{chance.randrange(60):02}:00Z"
        interval = {"start": "2026-11-02T08:30:00Z", "end": end}
        return {
            **SAMPLE,
            "id": entry_id,
            "description": f"state {version}",
            "timeInterval": interval,
        }

    now = entry()
    messages = [(chance.choice(["TIMER_STOPPED", "NEW_TIME_ENTRY"]), now)]
    for _ in range(chance.randrange(6)):
        if messages[-1][0] == "TIME_ENTRY_DELETED":
            messages.append(("TIME_ENTRY_RESTORED", now))
        elif chance.random() < 0.35 and messages[-1][0] != "TIME_ENTRY_RESTORED":
            messages.append(("TIME_ENTRY_DELETED", now))
        else:
            version += 1
            now = entry()
            messages.append(("TIME_ENTRY_UPDATED", now))
    return History(entry_id, messages)


@dataclass
class Outcome:
    """What was sent, what was answered, and how Salesforce differs from what it must hold."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    queued: int = 0
    seconds: float = 0.0
    salesforce_calls: int = 0
    stories: list[str] = field(default_factory=list)  # of the first wrong entries, from the log
    slowest_s: float = 0.0

    def __str__(self) -> str:
        answers = ", ".join(f"{count} {name}" for name, count in self.answers.most_common())
        return (
            f"{self.sent} messages in {self.seconds:.0f} s: {answers}; {self.queued} tasks,"
            f" {self.salesforce_calls} Salesforce calls, slowest answer {self.slowest_s:.1f} s;"
            f" wrong in the end: {len(self.wrong)}"
        )


class Schedule:
    """Deliver histories at once, with faults for part of the time, then wait until all is quiet."""

    def __init__(self, world: World, functions: Sequence[Function], seed: int) -> None:
        self._world, self._functions = world, functions
        self._seed = seed
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._outcome = Outcome()

    def run(self, messages: int, *, faults: Sequence[str] = tuple(SHARES)) -> Outcome:
        """Deliver at least so many messages, copies included, and compare."""
        began = time.monotonic()
        histories: list[History] = []
        planned = 0
        while planned < messages:
            one = history(self._chance, f"{self._seed:08x}{len(histories):016x}")
            histories.append(one)
            planned += len(one.messages) * (COPIES + 1) // 2
        self._world.salesforce.faults.chance.seed(self._seed)
        done = threading.Event()
        breaker = threading.Thread(target=self._break_things, args=(faults, done))
        breaker.start()
        with concurrent.futures.ThreadPoolExecutor(10) as entries:
            list(entries.map(self._live, histories))
        done.set()
        breaker.join()
        self._world.salesforce.faults.clear()
        self._wait_until_quiet()
        self._compare(histories)
        outcome = self._outcome
        outcome.seconds = time.monotonic() - began
        outcome.queued = len(self._world.tasks.created)
        outcome.salesforce_calls = len(self._world.salesforce.requests)
        return outcome

    def _live(self, one: History) -> None:
        """Send an entry's messages in order, each in one to five copies at once."""
        with concurrent.futures.ThreadPoolExecutor(COPIES * len(one.messages)) as copies:
            for event_type, entry in one.messages:
                with self._lock:
                    count = self._chance.randint(1, COPIES)
                began = time.monotonic()
                sent = [copies.submit(self._send, event_type, entry) for _ in range(count)]
                concurrent.futures.wait(sent, timeout=GAP_S)
                time.sleep(max(0.0, GAP_S - (time.monotonic() - began)))

    def _send(self, event_type: str, entry: dict[str, Any]) -> None:
        """Deliver one copy; what is not answered 2xx comes again, as from Clockify."""
        while True:
            with self._lock:
                function = self._chance.choice(self._functions)
                self._outcome.sent += 1
            began = time.monotonic()
            try:
                response = function.post(event_type, entry)
                answer = response.json().get("result", str(response.status_code))
                good = response.ok
            except requests.ConnectionError:
                answer, good = "no answer", False
            with self._lock:
                self._outcome.answers[answer] += 1
                took = time.monotonic() - began
                self._outcome.slowest_s = max(self._outcome.slowest_s, took)
            if good:
                return
            time.sleep(0.2)

    def _break_things(self, faults: Sequence[str], done: threading.Event) -> None:
        """Well for a moment, then one or two faults for a moment, and so on."""
        chance = random.Random(self._seed + 1)
        while faults:
            self._world.salesforce.faults.clear()
            if done.wait(chance.uniform(0.1, 0.6)):
                return
            for kind in chance.sample(list(faults), k=min(len(faults), chance.randint(1, 2))):
                share = SHARES[kind] * chance.choice([0.3, 1.0])
                setattr(self._world.salesforce.faults, kind, share)
            if done.wait(chance.uniform(0.3, 1.5)):
                return

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + 120
        while self._world.tasks.waiting:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self._world.tasks.waiting)} tasks still wait")
            time.sleep(0.05)

    def _compare(self, histories: list[History]) -> None:
        events: dict[str, list[dict[str, Any]]] = {}
        for event in self._world.salesforce.events():
            events.setdefault(event["Clockify_Time_Entry_Id__c"], []).append(event)
        for one in histories:
            held = events.pop(one.entry_id, [])
            kinds = " ".join(event_type for event_type, _ in one.messages)
            count = len(self._outcome.wrong)
            if len(held) > 1:
                self._outcome.wrong.append(f"twice: {kinds}")
            elif one.last is None and held:
                self._outcome.wrong.append(f"ghost: {kinds} ({_state(held[0])})")
            elif one.last is not None and not held:
                self._outcome.wrong.append(f"lost: {kinds}")
            elif one.last is not None and _state(held[0]) != one.last["description"]:
                self._outcome.wrong.append(
                    f"stale: {kinds} ({_state(held[0])} instead of {one.last['description']})"
                )
            if count < len(self._outcome.wrong) <= 3:
                self._outcome.stories += [f"{kinds}:", *self._log_of(one.entry_id)]
        self._outcome.wrong += [f"nobody's: {entry_id}" for entry_id in events]

    def _log_of(self, entry_id: str) -> list[str]:
        return [
            line
            for function in self._functions
            for line in function.raw_log.splitlines()
            if entry_id in line
        ]


def _state(event: dict[str, Any]) -> str:
    return str(event["Description"]).split("\n", 1)[0]


def main() -> int:
    """Run one schedule and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--functions", type=int, default=1)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        functions = [Function(world) for _ in range(arguments.functions)]
        try:
            outcome = Schedule(world, functions, arguments.seed).run(arguments.messages)
        finally:
            for function in functions:
                function.stop()
            world.close()
    print(outcome)
    for line in [*outcome.wrong[:20], *outcome.stories]:
        print(" ", line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
