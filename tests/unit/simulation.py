"""Random schedules of one record's messages over the real decision function, without any I/O.

A person changes a time entry, or a record of another kind, of which nothing is ever restored;
Clockify delivers, at least once; instances receive, read, decide,
ask and write, each step apart from the others' by a clock that the schedule moves. In the end
Salesforce must hold what Clockify holds. `python -m tests.unit.simulation` prints the figures.
"""

import argparse
import heapq
import multiprocessing
import random
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from clockify_salesforce.receipts import Receipts
from clockify_salesforce.state import (
    WRITES,
    Action,
    Next,
    Receipt,
    State,
    Step,
    asked,
    decide,
)

KEY = "time_entry:1"
TRIES = 5  # against other instances' writes, as in delivery.py
TRUSTED_MS = 5_000  # a memory no older than this may settle a message without a call
SECOND, MINUTE = 1_000, 60_000
CLOCKIFY_WAITS_MS = 10 * SECOND
BACKLOG_MS = 25 * SECOND  # what stands longer before an instance that stands still, is hung up on
Steps = Generator[int, None, bool]  # milliseconds to the next step; in the end: settled?


@dataclass(frozen=True)
class Faults:
    """What may go wrong in a schedule. Shares are of all calls, times in milliseconds.

    `right`: with so many instances nothing may end wrong even without a key; else at most `left` of
    the schedules, and with a key `left_with_key`. `left_final`: of other kinds than time entries,
    where that is more: more of their messages are edits.
    """

    about: str
    right: tuple[int, ...] = ()
    left: float = 0.0
    left_with_key: float = 0.0
    left_final: float = 0.0
    clocks_ms: int = 0  # an instance's clock is off by up to this
    gap_ms: int = 5  # between two changes, and so between their first deliveries
    unreachable: float = 0.0  # Salesforce is not there: nothing was written
    lost: float = 0.0  # it was written, and the answer was lost
    outage: bool = False  # Salesforce is away for a while
    no_queue: bool = False  # and the retry queue with it
    clockify_fails: float = 0.0  # it gives no answer when asked
    kills: bool = False
    freezes: bool = False
    jumps: bool = False  # clocks minutes wrong, and set while they run
    disorder_ms: int = 0  # first deliveries come up to this much later

    @property
    def fails(self) -> bool:
        """Whether anything ends a message's way before it is settled."""
        return self.unreachable + self.lost > 0 or self.outage or self.kills or self.freezes


CLASSES = {
    "quiet": Faults("nothing fails", right=(1, 2, 4)),
    "clocks": Faults("clocks up to 0.9 s off", right=(1, 2, 4), clocks_ms=900, gap_ms=2_000),
    "close": Faults("and changes closer than that", right=(1,), left=0.08, clocks_ms=900),
    "calls": Faults(
        "calls fail before or after the write",
        right=(1,),
        left=0.01,
        unreachable=0.2,
        lost=0.2,
    ),
    "outage": Faults(
        "Salesforce is away for a while", right=(1,), left=0.05, outage=True, lost=0.1
    ),
    "both": Faults(
        "and the retry queue with it", right=(1,), left=0.2, outage=True, no_queue=True, lost=0.1
    ),
    "kills": Faults(
        "instances are killed", left=0.08, left_final=0.12, kills=True, unreachable=0.1, lost=0.1
    ),
    "freezes": Faults("instances stand still", left=0.07, freezes=True, unreachable=0.05),
    "disorder": Faults("first deliveries overtake one another", left=0.13, disorder_ms=5_000),
    "jumps": Faults("clocks are minutes wrong, or set", left=0.12, jumps=True, unreachable=0.05),
    "silent": Faults(
        "calls fail, and Clockify does not answer",
        right=(1,),
        left=0.01,
        left_with_key=0.01,
        unreachable=0.1,
        lost=0.1,
        clockify_fails=0.7,
    ),
    "all": Faults(
        "all of these, and Clockify answers",
        left=0.3,
        clocks_ms=900,
        unreachable=0.1,
        lost=0.1,
        outage=True,
        no_queue=True,
        kills=True,
        freezes=True,
        jumps=True,
        disorder_ms=5_000,
    ),
}
INSTANCES = (1, 2, 4)


class Decides(Protocol):
    """The decision function: `state.decide`, or what is to be found wrong."""

    def __call__(
        self, state: State | None, receipt: Receipt, *, can_ask: bool, now_ms: int
    ) -> Next: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What a person does to the time entry, and so a message. `content`: None while it is gone.

    `creates`: the message's event type is one of those before which there was nothing.
    """

    at: int
    action: Action
    fingerprint: str
    content: int
    creates: bool = False


class Instance:
    """One process of the function: its clock and what it remembers; all of it may be lost."""

    def __init__(self, name: str, offset_ms: int) -> None:
        self.name = name
        self.offset_ms = offset_ms
        self.last_ms = 0
        self.receipts = Receipts()
        self.memory: tuple[int, State | None, int] | None = None  # version, state, since when
        self.frozen_until = 0
        self.is_alive = True
        self.works = 0
        self.is_busy = False  # with a message of the record: others wait for their turn
        self.waiting: deque[Work] = deque()

    def now_ms(self, now: int) -> int:
        """As Receipts.now_ms: more at each call."""
        self.last_ms = max(self.last_ms + 1, now + self.offset_ms)
        return self.last_ms


@dataclass(slots=True)
class Work:
    """A request on its way through an instance. `receipt`: None until it is received.

    `heard`: Clockify has an answer, or waits no longer.
    """

    change: Change
    instance: Instance
    receipt: Receipt | None = None
    tries: int = 0
    heard: bool = False
    repeats: bool = False  # what was taken already
    steps: Steps | None = None


@dataclass
class Schedule:
    """One random schedule; `wrong()` runs it."""

    faults: Faults
    instances: int
    can_ask: bool
    chance: random.Random
    is_final: bool = False  # a record of another kind than a time entry
    trace: Callable[[str], None] | None = None
    decides: Decides = decide
    now: int = 0
    version: int = 0
    state: State | None = None
    event: int | None = None
    is_marked: bool = False  # of what stays in Salesforce: as deleted in Clockify
    changes: list[Change] = field(default_factory=list)
    serving: list[Instance] = field(default_factory=list)
    born: int = 0
    away: tuple[int, int] = (0, 0)  # Salesforce, from when to when
    due: list[tuple[int, int, Work | Callable[[], None]]] = field(default_factory=list)
    number: int = 0
    asks: int = 0
    calls: int = 0

    def wrong(self) -> bool:
        """Run until all is quiet; tell whether Salesforce then holds something else."""
        self._begin()
        while self.due:
            self.now, _, what = heapq.heappop(self.due)
            if isinstance(what, Work):
                self._step(what)
            else:
                what()
        last = self.changes[-1]
        if self.is_final:
            is_gone = last.action is Action.DELETE
            right = (self.event, self.is_marked) == (last.content, is_gone)
        elif last.action in (Action.DELETE, Action.DISCARD):
            right = self.event is None
        else:
            # While it runs there is no Event to write yet: what is there waits for the stop.
            right = last.action not in WRITES or self.event == last.content
        if self.trace:
            self.trace(f"Event {self.event}, state {self.state}: {'right' if right else 'WRONG'}")
        return not right

    # The world ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        chance, faults = self.chance, self.faults
        start = 1_000 * MINUTE
        told = history(chance, start, faults.gap_ms, self.can_ask, is_final=self.is_final)
        self.changes = list(told)
        self.serving = [self._instance() for _ in range(self.instances)]
        if faults.outage:
            begin = chance.choice(self.changes).at - chance.randrange(-300, 20 * SECOND)
            self.away = (begin, begin + chance.choice((SECOND, 30 * SECOND, 3 * MINUTE)))
        latest = start
        for change in self.changes:
            arrives = change.at + chance.randrange(2, 5)
            if faults.disorder_ms:
                arrives += chance.randrange(faults.disorder_ms)
            latest = arrives if faults.disorder_ms else max(arrives, latest + 1)
            for _ in range(_copies(chance)):
                self._at(latest, partial(self._deliver, change, 0))
            self._disturb(latest, 0.4)
            if faults.jumps and chance.random() < 0.3:
                self._at(latest + chance.randrange(-5_000, 500), self._set_clock)

    def _disturb(self, when: int, share: float) -> None:
        """Let an instance be killed, or stand still, about this time."""
        if self.faults.kills and self.chance.random() < share:
            self._at(when + self.chance.randrange(1_500), self._kill)
        if self.faults.freezes and self.chance.random() < share:
            self._at(when + self.chance.randrange(-500, 500), self._freeze)

    def _at(self, when: int, what: "Work | Callable[[], None]") -> None:
        self.number += 1
        heapq.heappush(self.due, (max(when, self.now), self.number, what))

    def _instance(self) -> Instance:
        self.born += 1
        off = self.faults.clocks_ms
        offset = self.chance.randint(-off, off) if off else 0
        if self.faults.jumps and self.chance.random() < 0.7:
            offset = self.chance.randint(-3 * MINUTE, 3 * MINUTE)
        return Instance(f"i{self.born}", offset)

    def _kill(self) -> None:
        self._end(self.chance.randrange(self.instances))

    def _end(self, place: int) -> None:
        instance, self.serving[place] = self.serving[place], self._instance()
        instance.is_alive = False
        self._say("{} ends", instance.name)
        while instance.waiting:
            self._at(self.now, instance.waiting.popleft())

    def _freeze(self) -> None:
        instance = self.chance.choice(self.serving)
        lasts = self.chance.choice((SECOND, 20 * SECOND, 3 * MINUTE, 30 * MINUTE))
        until = self.now + self.chance.randrange(lasts)
        instance.frozen_until = max(instance.frozen_until, until)
        self._say("{} stands still until {}", instance.name, instance.frozen_until)

    def _set_clock(self) -> None:
        instance = self.chance.choice(self.serving)
        instance.offset_ms = self.chance.choice((-1, 1)) * self.chance.randrange(3 * MINUTE)
        self._say("{}: clock {:+}", instance.name, instance.offset_ms)

    def _say(self, what: str, *about: object) -> None:
        """Tell a step. `what` is a format, filled only where somebody listens."""
        if self.trace:
            self.trace(f"{self.now:>11} {what.format(*about)}")

    # Clockify and the retry queue -----------------------------------------------------------------

    def _deliver(self, change: Change, tries: int, repeats: bool = False) -> None:
        work = Work(change, self._route(), tries=tries, repeats=repeats)
        work.instance.works += 1
        work.steps = self._request(work)
        self._at(self.now, work)
        if self.faults.freezes:
            self._at(self.now + CLOCKIFY_WAITS_MS, partial(self._hear, work, False))

    def _route(self) -> Instance:
        """An instance that serves; Cloud Run ends and begins them as it likes."""
        place = self.chance.randrange(self.instances)
        instance = self.serving[place]
        if self.instances > 1 and self.chance.random() < 0.05 and not instance.works:
            self._end(place)
        elif instance.frozen_until - self.now > BACKLOG_MS:
            self.serving[place] = self._instance()  # the other one goes on much later
        return self.serving[place]

    def _hear(self, work: Work, is_good: bool) -> None:
        """Clockify repeats what was not taken, and now and then what was."""
        if work.heard:
            return
        work.heard = True
        if not is_good and work.tries < 12:
            self._at(self.now + self.chance.randrange(14_000, 70_000), self._again(work))
        elif is_good and not work.repeats:
            for _ in range(_repeats(self.chance)):
                repeat = partial(self._deliver, work.change, work.tries, True)
                self._at(self.now + self.chance.randrange(14_000, 90_000), repeat)

    def _again(self, work: Work) -> Callable[[], None]:
        return partial(self._deliver, work.change, work.tries + 1, work.repeats)

    def _task(self, change: Change, receipt: Receipt, tries: int) -> None:
        if tries < 3:
            self._disturb(self.now, 0.1)
        work = Work(change, self._route(), receipt, tries, heard=True)
        work.instance.works += 1
        work.steps = self._from_queue(work)
        self._at(self.now, work)

    def _come_again(self, work: Work) -> None:
        """Post a task once more, later and later."""
        assert work.receipt is not None
        pause = min(10 * SECOND << work.tries, 60 * MINUTE)
        again = partial(self._task, work.change, work.receipt, work.tries + 1)
        self._at(self.now + self.chance.randrange(pause // 2, pause), again)

    # An instance ----------------------------------------------------------------------------------

    def _step(self, work: Work) -> None:
        instance = work.instance
        if not instance.is_alive:
            if work.receipt is not None and work.receipt.queued:
                self._come_again(work)
            else:
                self._hear(work, False)
        elif instance.frozen_until > self.now:
            # What has not been received yet is, afterwards, in the order in which it came.
            if work.receipt:
                self._at(instance.frozen_until + self.chance.randrange(50), work)
            elif instance.frozen_until - self.now < BACKLOG_MS:
                self._at(instance.frozen_until, work)
            else:
                instance.works -= 1
        else:
            assert work.steps is not None
            pause = next(work.steps, None)
            if pause is None:
                instance.works -= 1
            elif pause < 0:
                instance.waiting.append(work)
            else:
                self._at(self.now + pause, work)

    def _request(self, work: Work) -> Steps:
        """A message straight from Clockify."""
        change, instance = work.change, work.instance
        now_ms = instance.now_ms(self.now)
        name, action = change.fingerprint, change.action
        first_ms, doubtful = instance.receipts.receive(
            KEY, name, action, now_ms, can_ask=self.can_ask
        )
        unrestored = instance.receipts.unrestored(KEY)
        receipt = work.receipt = Receipt(
            name, action, first_ms, instance.name, False, doubtful, unrestored, self.is_final
        )
        self._say("{} receives {}", instance.name, receipt)
        settled = yield from self._take_turn(work, receipt)
        if not settled:
            yield self._pause()
            settled = self._enqueue(change, replace(receipt, queued=True))
        self._say("{} answers {}: {}", instance.name, change.fingerprint, settled)
        self._hear(work, settled)
        return settled

    def _enqueue(self, change: Change, receipt: Receipt) -> bool:
        """Hand over to the retry queue, which may post it twice, or seem not to have taken it."""
        if self.faults.no_queue and self._is_away():
            return False
        for _ in range(_copies(self.chance) if self.faults.fails else 1):
            when = self.now + self.chance.randrange(3 * SECOND)
            self._at(when, partial(self._task, change, receipt, 0))
        return self.chance.random() >= self.faults.lost

    def _from_queue(self, work: Work) -> Steps:
        assert work.receipt is not None
        self._say("{} is handed {}", work.instance.name, work.receipt)
        unrestored = work.instance.receipts.unrestored(KEY)
        receipt = replace(work.receipt, unrestored=unrestored)
        settled = yield from self._take_turn(work, receipt)
        if not settled or self.chance.random() < self.faults.lost:
            self._come_again(work)
        return settled

    def _take_turn(self, work: Work, receipt: Receipt) -> Steps:
        instance = work.instance
        while instance.is_busy:
            yield -1
        instance.is_busy = True
        settled = yield from self._settle(work.change, instance, receipt)
        instance.is_busy = False
        if instance.waiting:
            place = self.chance.randrange(len(instance.waiting))
            instance.waiting.rotate(-place)
            self._at(self.now, instance.waiting.popleft())
        return settled

    def _settle(self, change: Change, instance: Instance, receipt: Receipt) -> Steps:
        """As delivery.py does: read, decide, write, and again if overtaken."""
        known, is_sure = self._known(change, instance, receipt)
        for _ in range(TRIES):
            if known is None:
                yield self._pause()
                if not self._reaches():
                    return False
                known, is_sure = self._read(instance), True
                yield self._pause()
            version, state = known
            now_ms = instance.now_ms(self.now)
            next_ = self.decides(state, receipt, can_ask=self.can_ask, now_ms=now_ms)
            self._say("{} {} on {}: {}", instance.name, change.fingerprint, version, next_)
            known, content = None, change.content
            if next_.step is Step.NOTHING:
                if is_sure or state is None:
                    return True
                continue
            if next_.step is Step.ASK:
                answer = yield from self._ask(instance, state, receipt)
                if answer is None and not next_.is_urgent:
                    return False
                next_, content = answer or (
                    self.decides(state, receipt, can_ask=False, now_ms=now_ms),
                    content,
                )
                # Clockify says no more of what is gone; the record keeps what it holds.
                if self.is_final and answer and next_.state and next_.state.gone:
                    content = change.content if self.event is None else self.event
            if next_.state is None:
                return next_.step is not Step.WAIT
            is_written = yield from self._write(instance, version, next_, content)
            if is_written is not None:
                return is_written and next_.step is not Step.WAIT
        return False

    def _known(
        self, change: Change, instance: Instance, receipt: Receipt
    ) -> tuple[tuple[int, State | None] | None, bool]:
        """Version and state to begin with, and whether they are recent; None: to be read."""
        if self.is_final:
            return None, False  # what it is related to is read, and so is all of it
        if instance.memory and self.chance.random() < 0.9:
            version, state, since = instance.memory
            return (version, state), self.now - since < TRUSTED_MS
        is_first = change.creates and receipt.action is Action.WRITE
        return (0, None) if is_first else None, False

    def _ask(
        self, instance: Instance, state: State | None, receipt: Receipt
    ) -> Generator[int, None, tuple[Next, int] | None]:
        """What Clockify says; None: it does not answer."""
        asked_ms = instance.now_ms(self.now)
        yield self._pause()
        truth = self._truth()
        yield self._pause()
        if self.chance.random() < self.faults.clockify_fails:
            return None
        by = instance.name
        return asked(state, receipt, asked_ms=asked_ms, by=by, action=truth.action), truth.content

    def _read(self, instance: Instance) -> tuple[int, State | None]:
        self.calls += 1
        instance.memory = (self.version, self.state, self.now)
        return self.version, self.state

    def _write(
        self, instance: Instance, version: int, next_: Next, content: int
    ) -> Generator[int, None, bool | None]:
        """Compare and set. True: written; None: somebody was faster; False: not reached."""
        assert next_.state is not None
        for _ in range(3):
            yield self._pause()
            if not self._reaches():
                if self.chance.random() < 0.5:
                    return False
                continue
            self.calls += 1
            if self.version != version:
                return None
            self.version, self.state = version + 1, next_.state
            if next_.step is Step.WRITE and self.is_final:
                self.event, self.is_marked = content, next_.state.gone
            elif next_.step is Step.WRITE:
                self.event = None if next_.state.gone else content
            self._say("{} writes {}: Event {}", instance.name, self.version, self.event)
            yield self._pause()
            if self.chance.random() >= self.faults.lost:
                instance.memory = (version + 1, next_.state, self.now)
                return True
        return False

    def _truth(self) -> Change:
        """What Clockify says of the record now."""
        self.asks += 1
        last = self.changes[0]
        for each in self.changes:
            if each.at <= self.now:
                last = each
        if last.action in (Action.DELETE, Action.DISCARD):
            return replace(last, action=Action.DELETE)
        return replace(last, action=Action.WRITE if last.action in WRITES else Action.RUN)

    def _is_away(self) -> bool:
        return self.away[0] <= self.now < self.away[1]

    def _reaches(self) -> bool:
        return not self._is_away() and self.chance.random() >= self.faults.unreachable

    def _pause(self) -> int:
        """A step's time: mostly a call's, now and then nothing or seconds."""
        kind = self.chance.random()
        if kind < 0.25:
            return int(kind * 40)
        if kind < 0.9:
            return int(kind * 400)
        return int((kind - 0.9) * 15_000)


def _copies(chance: random.Random) -> int:
    return 1 if chance.random() < 0.85 else chance.randint(2, 4)


def _repeats(chance: random.Random) -> int:
    return 0 if chance.random() < 0.8 else chance.randint(1, 2)


# A person -----------------------------------------------------------------------------------------


def history(
    chance: random.Random, start: int, gap_ms: int, can_ask: bool, *, is_final: bool = False
) -> Iterator[Change]:
    """What a person does to one time entry: creates, edits, deletes, restores, runs it again.

    `is_final`: to a record of another kind, which is edited, and deleted once.

    Byte for byte the same comes again only after seconds, and without a key, with which alone it is
    told from Clockify's repeat, after minutes. Without one, too, a timer that runs again is not
    discarded at once, and nobody edits, deletes and restores in a breath.
    """
    same_ms = 12 * SECOND if can_ask else 12 * MINUTE
    slow_ms = {} if can_ask else {Action.DISCARD: 3 * MINUTE, Action.DELETE: 10 * SECOND}
    said: dict[str, int] = {}
    at, content, newest = start, 0, 0
    life = _kept if is_final else _discarded if chance.random() < 0.2 else _finished
    for action, kind in life(chance):
        if action is Action.WRITE:
            back = kind == "edit" and newest and chance.random() < 0.3
            newest += not back
            content = chance.randrange(newest) if back else newest
        fingerprint = f"{kind}{content}"
        at += _gap(chance, gap_ms) + slow_ms.get(action, 0)
        if fingerprint in said:
            at = max(at, said[fingerprint] + same_ms)
        said[fingerprint] = at
        yield Change(at, action, fingerprint, content, kind in ("create", "stop"))


def _gap(chance: random.Random, least_ms: int) -> int:
    kind = chance.random()
    most = 50 if kind < 0.2 else 3 * SECOND if kind < 0.6 else 90 * SECOND
    if kind > 0.95:
        most = 60 * MINUTE
    return least_ms + chance.randrange(most)


def _finished(chance: random.Random) -> Iterator[tuple[Action, str]]:
    """An entry that is created finished."""
    yield Action.WRITE, "create"
    there = True
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 3, 4, 5))):
        kind = chance.random()
        if not there:
            yield Action.RESTORE, "restore"
            there = True
        elif kind < 0.45:
            yield Action.WRITE, "edit"
        elif kind < 0.85:
            yield Action.DELETE, "delete"
            there = False
        else:
            yield Action.RUN, "run"
            if kind < 0.9:
                yield Action.DISCARD, "discard"
                return
            yield Action.WRITE, "stop"


def _kept(chance: random.Random) -> Iterator[tuple[Action, str]]:
    """A client, project, task or invoice."""
    yield Action.WRITE, "create"
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4))):
        yield Action.WRITE, "edit"
    if chance.random() < 0.5:
        yield Action.DELETE, "delete"


def _discarded(chance: random.Random) -> Iterator[tuple[Action, str]]:
    """A timer that is thrown away, and mostly brought back and stopped."""
    yield Action.DISCARD, "discard"
    if chance.random() < 0.2:
        return
    yield Action.RESTORE_RUNNING, "undo"
    if chance.random() < 0.2:
        yield Action.RUN, "run"
    yield Action.WRITE, "stop"
    if chance.random() < 0.3:
        yield Action.WRITE, "edit"
    if chance.random() < 0.3:
        yield Action.DELETE, "delete"


# Figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One class with so many instances, with or without a key.

    `is_final`: of records of another kind than time entries.
    """

    name: str
    instances: int
    can_ask: bool
    is_final: bool = False

    @property
    def most(self) -> float:
        """The share of schedules that may end wrong."""
        faults = CLASSES[self.name]
        if self.can_ask:
            return faults.left_with_key
        if self.instances in faults.right:
            return 0.0
        return max(faults.left, faults.left_final) if self.is_final else faults.left

    def schedule(
        self, seed: int, trace: Callable[[str], None] | None = None, decides: Decides = decide
    ) -> Schedule:
        """The one schedule that `seed` stands for."""
        chance = random.Random(seed)
        faults, final = CLASSES[self.name], self.is_final
        return Schedule(faults, self.instances, self.can_ask, chance, final, trace, decides)

    def replay(self, seed: int) -> str:
        """The command that shows it."""
        key = (" --key" if self.can_ask else "") + (" --final" if self.is_final else "")
        return (
            f"python -m tests.unit.simulation --replay {self.name} --instances {self.instances}"
            f" --seed {seed}{key}"
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """What came of a row: the seeds of the schedules that ended wrong, calls and questions."""

    row: Row
    schedules: int
    wrong: tuple[int, ...]
    messages: int
    calls: int
    asks: int

    @property
    def share(self) -> float:
        """Of the schedules, those that ended wrong."""
        return len(self.wrong) / self.schedules


def run(row: Row, schedules: int, seed: int, decides: Decides = decide) -> Figure:
    """Run the schedules `seed`, `seed` + 1, …"""
    wrong: list[int] = []
    messages = calls = asks = 0
    for number in range(seed, seed + schedules):
        schedule = row.schedule(number, decides=decides)
        if schedule.wrong():
            wrong.append(number)
        messages += len(schedule.changes)
        calls += schedule.calls
        asks += schedule.asks
    return Figure(row, schedules, tuple(wrong), messages, calls, asks)


def run_all(rows: Sequence[Row], schedules: int, seed: int) -> Iterator[Figure]:
    """Run as many schedules of each row, on two processors."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield from pool.imap(partial(run, schedules=schedules, seed=seed), rows)


def main() -> None:
    """Print the figures, or one schedule step by step."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=3_000, help="of each class")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--instances", type=int, choices=INSTANCES, help="all three if not given")
    parser.add_argument("--key", action="store_true", help="Clockify can be asked")
    parser.add_argument("--final", action="store_true", help="records that nothing restores")
    parser.add_argument("--replay", choices=CLASSES, help="show one schedule of this class")
    args = parser.parse_args()
    counts = [args.instances] if args.instances else INSTANCES
    if args.replay:
        Row(args.replay, counts[0], args.key, args.final).schedule(args.seed, print).wrong()
        return
    key = "with a key" if args.key else "without a key"
    print(f"{args.schedules:,} schedules each, from seed {args.seed}, {key}")
    print(f"{'':50}instances    wrong    share  calls  questions (of a message)")
    rows = [Row(name, count, args.key, args.final) for name in CLASSES for count in counts]
    for figure in run_all(rows, args.schedules, args.seed):
        row = figure.row
        print(
            f"{row.name:10}{CLASSES[row.name].about:40}{row.instances:9}"
            f"{len(figure.wrong):9,}{figure.share:9.2%}"
            f"{figure.calls / figure.messages:7.2f}{figure.asks / figure.messages:11.2f}",
            flush=True,
        )
        if len(figure.wrong) > row.most * figure.schedules:
            print(f"  too many: {row.replay(figure.wrong[0])}")


if __name__ == "__main__":
    main()
