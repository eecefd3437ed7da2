"""Random lives of records of all kinds, with faults, and what Salesforce must hold in the end.

Messages come in one to five copies at once and again after newer ones; Salesforce fails in every
way; instances are killed and frozen in the middle. `python -m tests.soak` (make soak) runs one as
long as is wanted and prints its figures.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from sandbox.clockify import Message
from sandbox.clockify.values import Line
from sandbox.cloud_run import CloudRun
from sandbox.google_cloud import PROJECT
from sandbox.world import World

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
KINDS = ("client", "project", "task", "invoice")
OF_KINDS = 0.4  # of the lives are no time entry's
REPEATED = 0.3  # of the messages come again after newer ones, where Clockify can be asked
ENTRIES_AT_ONCE = 10
QUIET_WITHIN_S = 180.0


@dataclass
class Outcome:
    """What was sent, what was answered, and how Salesforce differs from what it must hold."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    queued: int = 0
    killed: int = 0
    frozen: int = 0
    seconds: float = 0.0
    salesforce_calls: int = 0
    clockify_calls: int = 0
    stories: list[str] = field(default_factory=list)  # of the first wrong entries, from the log
    slowest_s: float = 0.0

    def __str__(self) -> str:
        answers = ", ".join(f"{count} {name}" for name, count in self.answers.most_common())
        return (
            f"{self.sent} messages in {self.seconds:.0f} s: {answers}; {self.queued} tasks,"
            f" {self.salesforce_calls} Salesforce calls, {self.clockify_calls} calls to Clockify,"
            f" {self.killed} instances killed, {self.frozen} frozen, slowest answer"
            f" {self.slowest_s:.1f} s; wrong in the end: {len(self.wrong)}"
        )


def settings(*, key: bool) -> dict[str, str]:
    """The function's settings, with an API key of Clockify's or without."""
    return {"CLOCKIFY_API_KEY": f"projects/{PROJECT}/secrets/clockify-api-key"} if key else {}


class Soak:
    """Live many entries' lives at once, with faults for part of the time, then wait for quiet."""

    def __init__(self, world: World, service: CloudRun, seed: int, *, key: bool) -> None:
        """`key`: the function can ask Clockify, so that repeats after newer messages are sent."""
        self._world, self._service, self._key = world, service, key
        self._seed = seed
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._client = requests.Session()
        self._client.trust_env = False
        self._client.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=200))
        self._outcome = Outcome()
        self._lives: dict[str, list[str]] = {}  # entry -> what happened to it

    def run(
        self, messages: int, *, faults: Sequence[str] = tuple(SHARES), ends: bool = False
    ) -> Outcome:
        """Send at least so many messages, copies included, and compare.

        `ends`: instances are killed and frozen in the middle.
        """
        began = time.monotonic()
        self._kinds = KindLives(self._world, accounts=20 + messages // 40)
        person = self._world.clockify.add_user("Ada Lindqvist")
        self._world.salesforce.faults.chance.seed(self._seed)
        done = threading.Event()
        breakers = [threading.Thread(target=self._break_salesforce, args=(faults, done))]
        if ends:
            breakers.append(threading.Thread(target=self._end_instances, args=(done,)))
        for breaker in breakers:
            breaker.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(ENTRIES_AT_ONCE) as entries:
                for each in [
                    entries.submit(self._live_until, person, messages)
                    for _ in range(ENTRIES_AT_ONCE)
                ]:
                    each.result()
        finally:
            done.set()
            for breaker in breakers:
                breaker.join()
        self._world.salesforce.faults.clear()
        self._wait_until_quiet()
        self._compare()
        outcome = self._outcome
        outcome.seconds = time.monotonic() - began
        outcome.queued = len(self._world.tasks.created)
        outcome.salesforce_calls = len(self._world.salesforce.requests)
        outcome.clockify_calls = len(self._world.clockify.requests)
        return outcome

    # What happens ----------------------------------------------------------------------------

    def _live_until(self, person: str, messages: int) -> None:
        while self._outcome.sent < messages:
            with self._lock:
                chance = random.Random(self._chance.random())
            self._live(chance, person)

    def _live(self, chance: random.Random, person: str) -> None:
        """Send an entry's messages in order, each in one to five copies at once."""
        sent: list[Message] = []
        with concurrent.futures.ThreadPoolExecutor(3 * COPIES) as copies:
            is_other = chance.random() < OF_KINDS
            life = self._kinds.live(chance) if is_other else self._life(chance, person)
            for message in life:
                began = time.monotonic()
                sent.append(message)
                work = [
                    copies.submit(self._send, message) for _ in range(chance.randint(1, COPIES))
                ]
                concurrent.futures.wait(work, timeout=GAP_S)
                if self._key and len(sent) > 1 and chance.random() < REPEATED:
                    copies.submit(self._send, chance.choice(sent[:-1]))
                time.sleep(max(0.0, GAP_S - (time.monotonic() - began)))

    def _life(self, chance: random.Random, person: str) -> Iterator[Message]:
        """One entry's random life, told as it happens; it happens in Clockify too."""
        api = self._world.clockify
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        end = start + timedelta(minutes=chance.randrange(1, 300))
        event_type, entry = api.add(person, start, end, description="state 0")
        name = str(entry["id"])
        story = self._lives.setdefault(name, ["create"])
        yield chance.choice(["TIMER_STOPPED", event_type]), entry
        restored = False
        for number in range(1, chance.randrange(1, 7)):
            if name in api.deleted:
                story.append("restore")
                yield api.restore(name)
                restored = True
            elif chance.random() < 0.35 and (self._key or not restored):
                story.append("delete")
                yield api.delete(name)
            else:
                story.append(f"edit {number}")
                yield api.edit(name, description=f"state {number}")
                restored = False

    def _send(self, message: Message) -> None:
        """Deliver one copy; what is not answered 2xx comes again, as from Clockify."""
        event_type, entry = message
        headers = {
            "Content-Type": "application/json",
            "Clockify-Signature": self._world.signing_secret,
            "Clockify-Webhook-Event-Type": event_type,
        }
        while True:
            with self._lock:
                self._outcome.sent += 1
            began = time.monotonic()
            try:
                response = self._client.post(
                    self._service.url, data=json.dumps(entry).encode(), headers=headers, timeout=60
                )
                answer = response.json().get("result", str(response.status_code))
                good = response.ok
            except (requests.RequestException, ValueError):
                answer, good = "no answer", False
            with self._lock:
                self._outcome.answers[answer] += 1
                took = time.monotonic() - began
                self._outcome.slowest_s = max(self._outcome.slowest_s, took)
            if good:
                return
            time.sleep(0.2)

    def _break_salesforce(self, faults: Sequence[str], done: threading.Event) -> None:
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

    def _end_instances(self, done: threading.Event) -> None:
        """Kill or freeze one of the instances every second or two; another takes its place."""
        chance = random.Random(self._seed + 2)
        names = [each.name for each in self._service.instances]
        while not done.wait(chance.uniform(0.5, 2)):
            name = chance.choice(names)
            if chance.random() < 0.5:
                self._world.internet.wait(self._service.kill(name))
                self._world.internet.wait(self._service.start(name))
                self._outcome.killed += 1
            else:
                self._service.freeze(name)
                done.wait(chance.uniform(0.2, 1.5))
                self._service.thaw(name)
                self._outcome.frozen += 1

    # What it must come to --------------------------------------------------------------------

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + QUIET_WITHIN_S
        while self._world.tasks.waiting:
            if time.monotonic() > deadline:
                answers = [task.answers[-5:] for task in self._world.tasks.waiting.values()]
                raise AssertionError(f"{len(answers)} tasks still wait, answered {answers[:20]}")
            time.sleep(0.05)

    def _compare(self) -> None:
        events: dict[str, list[dict[str, Any]]] = {}
        for event in self._world.salesforce.events():
            events.setdefault(event["Clockify_Time_Entry_Id__c"], []).append(event)
        for name, story in self._lives.items():
            held = events.pop(name, [])
            now = self._world.clockify.entries.get(name)
            problem = ""
            if len(held) > 1:
                problem = "twice"
            elif now is None and held:
                problem = f"ghost ({_state(held[0])})"
            elif now is not None and not held:
                problem = "lost"
            elif now is not None and _state(held[0]) != now.description:
                problem = f"stale ({_state(held[0])} instead of {now.description})"
            if problem:
                self._outcome.wrong.append(f"{problem}: {', '.join(story)}")
                if len(self._outcome.wrong) <= 3:
                    self._outcome.stories += [f"{', '.join(story)}:", *self._log_of(name)]
        self._outcome.wrong += [f"nobody's: {name}" for name in events]
        for name, problem in self._kinds.wrong():
            self._outcome.wrong.append(problem)
            if len(self._outcome.wrong) <= 3:
                self._outcome.stories += [f"{problem}:", *self._log_of(name)]

    def _log_of(self, name: str) -> list[str]:
        return [
            line
            for instance in self._service.instances
            if instance.function is not None
            for line in instance.function.raw_log.splitlines()
            if name in line
        ]


def _state(event: dict[str, Any]) -> str:
    return str(event["Description"]).split("\n", 1)[0]


# The other kinds ----------------------------------------------------------------------------------


@dataclass
class Life:
    """What happened to one record. `name`: the last that it had."""

    kind: str
    name: str
    story: list[str] = field(default_factory=lambda: ["create"])


class KindLives:
    """The lives of one world's records."""

    def __init__(self, world: World, accounts: int) -> None:
        """`accounts`: so many clients at most find an Account of theirs."""
        self._world = world
        world.salesforce.deploy()
        # Records are added before anybody calls: afterwards they are the API's own.
        self._names = [f"Client {number}" for number in range(accounts)]
        for name in self._names:
            world.salesforce.add("Account", Name=name)
        self._client = world.clockify.add_client("Acme")
        self._account = world.salesforce.add(
            "Account", Name="Acme", Clockify_Client_Id__c=self._client
        )
        self.lives: dict[str, Life] = {}

    def live(self, chance: random.Random) -> Iterator[Message]:
        """One record's random life, told as it happens; it happens in Clockify too."""
        kind = chance.choice(KINDS if self._names else KINDS[1:])
        record = self._make(kind)
        life = self.lives[record]
        yield self._world.clockify.new(record)
        for number in range(1, chance.randrange(1, 7)):
            if kind != "invoice" and chance.random() < 0.25:
                life.story += ["archive", "delete"]
                yield self._edit(record, life, archived=True)
                yield self._delete(record, life)
                return
            life.story.append(f"edit {number}")
            yield self._edit(record, life, number=number, chance=chance)

    def _make(self, kind: str) -> str:
        api = self._world.clockify
        name = self._names.pop() if kind == "client" else "state 0"
        if kind == "client":
            record = api.add_client(name)
        elif kind == "project":
            record = api.add_project(name, self._client)
        elif kind == "task":
            record = api.add_task(name, api.add_project("Its own", self._client))
        else:
            record = api.add_invoice(name, self._client, lines=_lines(3))
        self.lives[record] = Life(kind, name)
        return record

    def _edit(
        self,
        record: str,
        life: Life,
        *,
        number: int = 0,
        archived: bool = False,
        chance: random.Random | None = None,
    ) -> Message:
        api = self._world.clockify
        if life.kind == "client":
            return api.edit_client(record, note=f"state {number}", archived=archived)
        if not archived:
            life.name = f"state {number}"
        if life.kind == "project":
            return api.edit_project(record, name=life.name, archived=archived)
        if life.kind == "task":
            status = "DONE" if archived else "ACTIVE"
            return api.edit_task(record, name=life.name, status=status)
        lines = _lines((chance or random.Random()).randrange(40))
        return api.edit_invoice(record, number=life.name, lines=lines)

    def _delete(self, record: str, life: Life) -> Message:
        api = self._world.clockify
        if life.kind == "client":
            return api.delete_client(record)
        return api.delete_project(record) if life.kind == "project" else api.delete_task(record)

    # What it must come to -------------------------------------------------------------------------

    def wrong(self) -> Iterator[tuple[str, str]]:
        """The records that Salesforce holds otherwise than Clockify, each with what is wrong."""
        looks = {
            "client": self._client_is,
            "project": self._project_is,
            "task": self._task_is,
            "invoice": self._invoice_is,
        }
        for record, life in self.lives.items():
            if problem := looks[life.kind](record, life):
                yield record, f"{life.kind}: {problem}: {', '.join(life.story)}"
        for name, external in (
            ("Clockify_Project__c", "Clockify_Project_Id__c"),
            ("Task", "Clockify_Task_Id__c"),
            ("Clockify_Invoice__c", "Clockify_Invoice_Id__c"),
        ):
            for row in self._world.salesforce.live(name):
                if row[external] not in self.lives:
                    yield str(row[external]), f"nobody's: {name}"

    def _rows(self, name: str, external: str, value: str) -> list[dict[str, Any]]:
        return [row for row in self._world.salesforce.live(name) if row.get(external) == value]

    def _client_is(self, client: str, life: Life) -> str:
        names = [row["Name"] for row in self._rows("Account", "Clockify_Client_Id__c", client)]
        right = [life.name] if client in self._world.clockify.clients else []
        return "" if names == right else f"Accounts {names}"

    def _project_is(self, project: str, life: Life) -> str:
        rows = self._rows("Clockify_Project__c", "Clockify_Project_Id__c", project)
        gone = project not in self._world.clockify.projects
        held = [(row["Name"], row["Deleted__c"], row["Account__c"]) for row in rows]
        return "" if held == [(life.name, gone, self._account)] else f"{held}"

    def _task_is(self, task: str, life: Life) -> str:
        held = [row["Subject"] for row in self._rows("Task", "Clockify_Task_Id__c", task)]
        right = [life.name] if task in self._world.clockify.tasks else []
        return "" if held == right else f"Tasks {held}"

    def _invoice_is(self, record: str, life: Life) -> str:
        invoice = self._world.clockify.invoices[record]
        rows = self._rows("Clockify_Invoice__c", "Clockify_Invoice_Id__c", record)
        if [(row["Name"], row["Amount__c"]) for row in rows] != [(life.name, invoice.amount / 100)]:
            return f"{[(row['Name'], row['Amount__c']) for row in rows]}"
        lines = self._rows("Clockify_Invoice_Line__c", "Invoice__c", rows[0]["Id"])
        held = sorted((row["Order__c"], row["Amount__c"]) for row in lines)
        right = [(line.order, line.amount / 100) for line in invoice.lines]
        return "" if held == right else f"lines {held}"


def _lines(count: int) -> tuple[Line, ...]:
    return tuple(
        Line(order, f"line {order}", unit_price=count, amount=count)
        for order in range(1, count + 1)
    )


def main() -> int:
    """Run one and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--functions", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--no-key", action="store_true", help="without an API key of Clockify's")
    parser.add_argument("--no-ends", action="store_true", help="no instance is killed or frozen")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    key = not arguments.no_key
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        service = CloudRun(world, instances=arguments.functions, settings=settings(key=key))
        try:
            outcome = Soak(world, service, arguments.seed, key=key).run(
                arguments.messages, ends=not arguments.no_ends
            )
        finally:
            service.close()
            world.close()
    print(outcome)
    for line in [*outcome.wrong[:20], *outcome.stories]:
        print(" ", line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
