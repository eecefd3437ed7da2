"""Every interleaving of two instances with one record's messages, over the real decision function.

Nothing fails here, and everything may take any time: an arrival, a read, a write, a question to
Clockify and its answer are steps of their own. So that they are few enough, what makes no
difference is left out, and what is not known is left open:
- A compare-and-set that is going to be refused has no effect but that its instance reads again.
- A message is taken up when its state is read. To begin with a memory that is right is the same as
  to read then; one that is wrong makes a difference only where it says that nothing is to be done.
- Which instance has received a message is open until one takes it up, and so is whether that one
  has had the same before. The instances are alike: the first at work is called a.
- Of another kind than a time entry, what an instance remembers is not used: all is read each time.
- With a key, what was seen and what is doubtful makes no difference to messages that are close,
  and a deletion that Salesforce may not know of no other than doubt.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from clockify_salesforce.state import (
    REPEAT_MS,
    RESTORED_WITHIN_MS,
    Action,
    Next,
    Receipt,
    State,
    Step,
    asked,
    decide,
)

NAMES = ("a", "b")
# Between two arrivals. So close, a key asks for each; so far apart, times are believed.
CLOSE_MS, FAR_MS = 28_000, 12 * 60_000
REPEAT_AFTER_MS = CLOSE_MS // 2


class Change(NamedTuple):
    """What a person does, and the message of it. `content`: of the time entry after it."""

    action: Action
    fingerprint: str
    content: int


class Work(NamedTuple):
    """A message at an instance, and how far it is.

    `asked_ms`: Clockify is being asked since. `next_`: what is about to be written, with `content`.
    Neither: the state has to be read. `is_old`: it has waited for hours.
    """

    number: int
    receipt: Receipt
    is_old: bool = False
    asked_ms: int = 0
    next_: Next | None = None
    content: int = 0


class Instance(NamedTuple):
    """`memory`: the state that it knows, and whether that is still what is there."""

    memory: tuple[State | None, bool] | None = None
    work: Work | None = None


class Moment(NamedTuple):
    """All there is at one moment.

    `changed`: so many changes have happened, `arrived` of their messages have arrived, the last at
    `now_ms`. `waiting`: no instance has taken these up yet. `repeat`: one is still to be repeated;
    `may_repeat`: it has been answered. `tasks`: in the retry queue, with the state that was theirs.
    """

    changed: int = 0
    arrived: int = 0
    now_ms: int = 0
    waiting: frozenset[tuple[int, int]] = frozenset()
    repeat: bool = False
    may_repeat: bool = False
    state: State | None = None
    event: int | None = None
    instances: tuple[Instance, Instance] = (Instance(), Instance())
    tasks: frozenset[tuple[Work, State | None]] = frozenset()


class Case(NamedTuple):
    """A history, which message of it is repeated (None: none), and how far apart they come.

    `is_final`: of another kind than a time entry, of which nothing is ever restored.
    """

    history: tuple[Change, ...]
    repeated: int | None
    can_ask: bool
    gap_ms: int
    is_final: bool = False


class Interleavings:
    """All that can come of one case."""

    def __init__(self, case: Case) -> None:
        history, self.repeated, self.can_ask, gap_ms, self.is_final = case
        self.history = history
        self.is_close = gap_ms < FAR_MS
        self.moments = 0
        self.arrive_ms = [FAR_MS]
        for number in range(1, len(history)):
            last_ms = self.arrive_ms[-1]
            self.arrive_ms.append(last_ms + (FAR_MS if self._is_said_again(number) else gap_ms))
        self._settling: dict[tuple[State | None, int], bool] = {}

    def wrong(self) -> Moment | None:
        """Look at every moment; give an end at which Salesforce is not what Clockify is."""
        begin = Moment(repeat=self.repeated is not None)
        seen, stack = {begin}, [begin]
        last = self.history[-1]
        right = None if last.action is Action.DELETE else last.content
        while stack:
            moment = stack.pop()
            is_end = True
            for after in self._after(moment):
                is_end = False
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
            if is_end and moment.event != right:
                return moment
        self.moments = len(seen)
        return None

    def _after(self, moment: Moment) -> Iterator[Moment]:
        yield from self._arrivals(moment)
        yield from self._from_queue(moment)
        for place in (0, 1):
            work = moment.instances[place].work
            if work is None:
                yield from self._taken_up(moment, place)
            elif work.next_ is not None:
                yield self._written(moment, place, work, work.next_)
            elif work.asked_ms:
                for count in range(moment.changed, len(self.history) + 1):
                    yield self._answered(moment._replace(changed=count), place, work)
            else:
                yield self._read(moment, place, work)

    # Clockify -------------------------------------------------------------------------------------

    def _arrivals(self, moment: Moment) -> Iterator[Moment]:
        count = moment.arrived
        if count < len(self.history) and self._may_arrive(moment):
            at_ms = self.arrive_ms[count]
            yield moment._replace(
                changed=max(count + 1, moment.changed),
                arrived=count + 1,
                now_ms=at_ms,
                waiting=moment.waiting | {(count, at_ms)},
            )
        if moment.repeat and self.repeated is not None and self._may_be_repeated(moment):
            at_ms = moment.now_ms + REPEAT_AFTER_MS
            waiting = moment.waiting | {(self.repeated, at_ms)}
            after = moment._replace(now_ms=at_ms, repeat=False, waiting=waiting)
            yield after._replace(may_repeat=False)

    def _may_be_repeated(self, moment: Moment) -> bool:
        """What has arrived is repeated; without a key, what has been answered."""
        has_arrived = self.repeated is not None and self.repeated < moment.arrived
        return has_arrived and (moment.may_repeat or self.can_ask)

    def _may_arrive(self, moment: Moment) -> bool:
        """A repeat comes within two minutes, so before what is far away."""
        count = moment.arrived
        repeats = moment.repeat and self.repeated is not None and self.repeated < count
        if self._is_said_again(count):
            return not repeats and not _is_busy(moment)
        return self.is_close or not repeats

    def _is_said_again(self, number: int) -> bool:
        """Without a key, the same is told from a repeat by minutes, after which nothing is left."""
        said = [each.fingerprint for each in self.history[:number]]
        return not self.can_ask and self.history[number].fingerprint in said

    def _from_queue(self, moment: Moment) -> Iterator[Moment]:
        """What waits comes again where something was written since, or in the end, hours later."""
        is_over = not moment.repeat and moment.arrived == len(self.history)
        for task in moment.tasks:
            work, state = task
            is_old = state == moment.state
            if is_old and not (is_over and not _is_busy(moment)):
                continue
            for place in (0, 1):
                if moment.instances[place].work is None:
                    after = moment._replace(tasks=moment.tasks - {task})
                    yield from self._begun(after, place, work._replace(is_old=is_old))

    # An instance ----------------------------------------------------------------------------------

    def _taken_up(self, moment: Moment, place: int) -> Iterator[Moment]:
        if place == 1 and moment.instances[0] == Instance():
            return
        for each in moment.waiting:
            after = moment._replace(waiting=moment.waiting - {each})
            for receipt in self._receipts(moment, *each, NAMES[place]):
                yield from self._begun(after, place, Work(each[0], receipt))

    def _receipts(self, moment: Moment, number: int, at_ms: int, by: str) -> Iterator[Receipt]:
        """As receipts.py tells them, whatever else this instance has received or has not."""
        action, fingerprint, _ = self.history[number]
        receipt = Receipt(fingerprint, action, at_ms, by, is_final=self.is_final)
        earlier = [ms for ms in self._arrived_ms(moment, fingerprint) if ms < at_ms]
        deletions = self._deletions(moment, action)
        yield receipt
        if self.can_ask:
            # Either leads to the same question. That something close is asked for, it does anyway.
            is_first = moment.state is None
            if (is_first and (earlier or deletions)) or (earlier and not self.is_close):
                yield replace(receipt, doubtful=True)
            return
        is_repeat = earlier and at_ms - earlier[-1] <= REPEAT_MS
        for unrestored in deletions:
            yield replace(receipt, unrestored=unrestored)
            if is_repeat:
                yield replace(receipt, unrestored=unrestored, first_ms=earlier[-1])
        if is_repeat:
            yield replace(receipt, first_ms=earlier[-1])

    def _arrived_ms(self, moment: Moment, fingerprint: str) -> list[int]:
        """When such messages may have been received by now, the repeat's times last."""
        times = [
            ms
            for (_, other, _), ms in zip(self.history, self.arrive_ms, strict=True)
            if other == fingerprint and ms <= moment.now_ms
        ]
        if self.repeated is None or self.history[self.repeated].fingerprint != fingerprint:
            return times
        repeats = [ms + REPEAT_AFTER_MS for ms in self.arrive_ms[self.repeated :]]
        return times + [ms for ms in repeats if not moment.repeat and ms <= moment.now_ms]

    def _deletions(self, moment: Moment, action: Action) -> list[tuple[str, int]]:
        """Those that an instance may have received without what restored the record."""
        deletions = {each.fingerprint for each in self.history if each.action is Action.DELETE}
        if action is not Action.WRITE:
            return []
        return [(each, ms) for each in deletions for ms in self._arrived_ms(moment, each)]

    def _begun(self, moment: Moment, place: int, work: Work) -> Iterator[Moment]:
        """With what is there, or doing nothing because of what was."""
        memory = moment.instances[place].memory
        if memory is not None and not memory[1]:
            next_ = self._decide(moment, work, memory[0])
            if next_.step is Step.NOTHING:
                yield self._settled(moment, place, work)
        yield self._read(moment, place, work)

    def _read(self, moment: Moment, place: int, work: Work) -> Moment:
        knows = Instance(self._remembered(moment.state, place), work)
        moment = _with(moment, place, knows)
        next_ = self._decide(moment, work, moment.state)
        if next_.step is Step.NOTHING:
            return self._settled(moment, place, work)
        if next_.state is None and next_.step is Step.WAIT:
            return self._settled(self._waits(moment, work, moment.state), place, work)
        if next_.step is Step.ASK:
            return _at_work(moment, place, work._replace(asked_ms=moment.now_ms + 1))
        content = self.history[work.number].content
        return _at_work(moment, place, work._replace(next_=next_, content=content))

    def _decide(self, moment: Moment, work: Work, state: State | None) -> Next:
        now_ms = moment.now_ms + (RESTORED_WITHIN_MS if work.is_old else 1)
        return self._plain(_decide(state, work.receipt, self.can_ask, now_ms))

    def _plain(self, next_: Next) -> Next:
        if next_.state is None or not (self.can_ask and self.is_close):
            return next_
        return Next(next_.step, replace(next_.state, seen=()))

    def _answered(self, moment: Moment, place: int, work: Work) -> Moment:
        """Clockify says what is so now."""
        truth = self.history[moment.changed - 1]
        action = Action.DELETE if truth.action is Action.DELETE else Action.WRITE
        next_ = self._plain(_asked(moment.state, work.receipt, work.asked_ms, NAMES[place], action))
        return _at_work(moment, place, Work(*work[:3], 0, next_, truth.content))

    def _written(self, moment: Moment, place: int, work: Work, next_: Next) -> Moment:
        state, event = next_.state, moment.event
        assert state is not None
        if next_.step is Step.WRITE:
            event = None if state.gone else work.content
        mine, other = Instance(self._remembered(state, place)), _overtaken(moment, 1 - place)
        both = (mine, other) if place == 0 else (other, mine)
        moment = moment._replace(state=state, event=event, instances=both)
        if next_.step is Step.WAIT:
            moment = self._waits(moment, work, state)
        return self._settled(moment, place, work)

    def _waits(self, moment: Moment, work: Work, state: State | None) -> Moment:
        """In the queue, unless it is given up."""
        if work.is_old:
            return moment
        task = Work(work.number, replace(work.receipt, queued=True))
        return moment._replace(tasks=moment.tasks | {(task, state)})

    def _settled(self, moment: Moment, place: int, work: Work) -> Moment:
        is_answered = moment.may_repeat or work.number == self.repeated
        may_repeat = is_answered and moment.repeat and not self.can_ask
        return _at_work(moment._replace(may_repeat=may_repeat), place, None)

    def _remembered(self, state: State | None, place: int) -> tuple[State | None, bool] | None:
        """The state as a memory that is right, if it ever makes a difference."""
        return (state, True) if not self.is_final and self._may_settle(state, place) else None

    def _may_settle(self, state: State | None, place: int) -> bool:
        """Tell whether there is a message for which nothing would be done on this memory."""
        if (state, place) not in self._settling:
            times = {ms for each in self.arrive_ms for ms in (each, each + REPEAT_AFTER_MS)}
            self._settling[state, place] = any(
                _decide(state, receipt, self.can_ask, receipt.first_ms).step is Step.NOTHING
                for action, fingerprint, _ in self.history
                for ms in times
                for receipt in self._possible(Receipt(fingerprint, action, ms, NAMES[place]))
                if not (self.can_ask and state is not None and _is_newest(state, receipt))
            )
        return self._settling[state, place]

    def _possible(self, receipt: Receipt) -> Iterator[Receipt]:
        """As this instance received it; without a key also out of the queue, which waits."""
        yield receipt
        if not self.can_ask:
            yield replace(receipt, queued=True)


def _is_newest(state: State, receipt: Receipt) -> bool:
    """Tell the very receipt that was settled with this state: it does not come again."""
    mine = (receipt.fingerprint, receipt.first_ms, receipt.by)
    return mine == (state.newest, state.newest_ms, state.by)


def _overtaken(moment: Moment, place: int) -> Instance:
    """What an instance knew is no longer so: what it is about to write would be refused."""
    memory, work = moment.instances[place]
    return Instance(memory and (memory[0], False), work and Work(*work[:3]))


def _is_busy(moment: Moment) -> bool:
    return bool(moment.waiting) or any(each.work for each in moment.instances)


def _with(moment: Moment, place: int, instance: Instance) -> Moment:
    both = moment.instances
    return moment._replace(instances=(instance, both[1]) if place == 0 else (both[0], instance))


def _at_work(moment: Moment, place: int, work: Work | None) -> Moment:
    return _with(moment, place, Instance(moment.instances[place].memory, work))


@lru_cache(None)
def _decide(state: State | None, receipt: Receipt, can_ask: bool, now_ms: int) -> Next:
    return decide(state, receipt, can_ask=can_ask, now_ms=now_ms)


@lru_cache(None)
def _asked(state: State | None, receipt: Receipt, asked_ms: int, by: str, action: Action) -> Next:
    return asked(state, receipt, asked_ms=asked_ms, by=by, action=action)


# A person -----------------------------------------------------------------------------------------


def histories() -> Iterator[tuple[Change, ...]]:
    """Up to four messages: created, edited (also back to an earlier content), deleted, restored."""
    yield from _lives((Change(Action.WRITE, "create", 0),))


def _lives(life: tuple[Change, ...]) -> Iterator[tuple[Change, ...]]:
    yield life
    if len(life) == 4:
        return
    last = life[-1]
    if last.action is Action.DELETE:
        yield from _lives((*life, Change(Action.RESTORE, f"restore{last.content}", last.content)))
        return
    yield from _lives((*life, Change(Action.DELETE, f"delete{last.content}", last.content)))
    for content in range(1, max(each.content for each in life) + 2):
        if content != last.content:
            yield from _lives((*life, Change(Action.WRITE, f"edit{content}", content)))


def cases() -> list[Case]:
    """Every history, with and without a key, and each of its messages repeated.

    Far apart, where an instance stands still for long, of up to three messages only.
    """
    return [
        Case(history, repeated, can_ask, gap_ms, is_final)
        for is_final in (False, True)
        for history in histories()
        if not is_final or all(each.action is not Action.RESTORE for each in history)
        for repeated in (None, *range(len(history)))
        for can_ask in (False, True)
        for gap_ms in ((CLOSE_MS, FAR_MS) if len(history) < 4 else (CLOSE_MS,))
    ]


def look(case: Case) -> tuple[int, str]:
    """How many moments there are, and what is wrong at the end of one, "" if nothing is."""
    every = Interleavings(case)
    wrong = every.wrong()
    return every.moments, f"{case} ends in {wrong}" if wrong else ""


def look_at_all() -> tuple[int, list[str]]:
    """Look at every case, on two processors."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = list(pool.imap_unordered(look, cases()))
    return sum(moments for moments, _ in found), [wrong for _, wrong in found if wrong]
