"""Which of a record's messages is the newest: (state, receipt) -> what to do, and the next state.

Clockify delivers at least once and in no order, repeats a message byte for byte up to a minute and
a half later, even after a 200, and its messages carry no version. So the time of the first receipt
decides, and this is kept per record in `Clockify_State__c`, where every instance finds it; each
write of it is a compare-and-set (`delivery.py`). Pure: times are given, in milliseconds since 1970.

Two instances' clocks differ, and clocks jump. Where Clockify can be asked, what times cannot tell
is left to it; where it cannot, the order in which an instance received two messages counts.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from enum import Enum

KEPT_SEEN = 16  # messages of one record
# Without a word from Clockify, the same message this soon after its first receipt is a repeat.
REPEAT_MS = 2 * 60_000
# Clocks of two instances differ by less than this, if they are right.
CLOCKS_DIFFER_MS = 2_000
# A message for a deleted record waits for the RESTORED before it: more than twice the queue's
# longest pause.
RESTORED_WITHIN_MS = 3 * 60 * 60_000
VERSION = 1  # of the JSON


class Action(Enum):
    """What a message says of its record."""

    WRITE = "it is so"
    RESTORE = "it is there again, and is so"
    DELETE = "it is gone"
    RUN = "its timer runs: there is no Event to write yet"
    RESTORE_RUNNING = "it is there again, and its timer runs"
    DISCARD = "it is gone, and its timer was still running"


class Step(Enum):
    """What is to be done with a message."""

    WRITE = "write the record and the next state"
    NOTE = "write the next state only"
    ASK = "ask Clockify for the record, and write what it says"
    WAIT = "write the next state, and let the message come again later"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message as it was received. `by`: the instance whose clock told `first_ms`.

    `queued`: it comes out of the retry queue. `doubtful`: Clockify has to be asked.
    """

    fingerprint: str
    action: Action
    first_ms: int
    by: str
    queued: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What has been taken of a record.

    `newest`: the fingerprint of the message that it is as of, "" where Clockify was asked;
    `newest_ms`, `by`: its receipt. `seen`: those before it with their first receipts, the latest
    last. `runs`: a finished time entry runs again.
    """

    newest: str
    newest_ms: int
    by: str
    seen: tuple[tuple[str, int], ...] = ()
    gone: bool = False
    runs: bool = False

    def noted(self, fingerprint: str) -> int | None:
        """The first receipt of a message that was seen, None for one that was not."""
        return self.newest_ms if fingerprint == self.newest else dict(self.seen).get(fingerprint)


@dataclass(frozen=True, slots=True)
class Next:
    """`state`: what to write, None where nothing is. `why`: why the record is not written.

    `warning`: what is odd about the clocks, for the log.
    """

    step: Step
    state: State | None = None
    why: str = ""
    warning: str = ""


def fingerprint(event_type: str | None, body: bytes) -> str:
    """The same 24 characters for the same message in every instance."""
    said = f"{event_type}\n".encode() + body
    return hashlib.blake2b(said, digest_size=12).hexdigest()


def decide(state: State | None, receipt: Receipt, *, can_ask: bool, now_ms: int) -> Next:
    """Say what to do with a message, given what has been taken of its record; None: nothing.

    `can_ask`: Clockify can be asked for the record. `now_ms`: this instance's clock now.
    """
    action = receipt.action
    if state is None:
        if action in (Action.RUN, Action.RESTORE_RUNNING, Action.DISCARD):
            return Next(Step.NOTHING, why="the timer is still running")
        if receipt.doubtful and can_ask:
            return Next(Step.ASK)
        return Next(Step.WRITE, _taken(None, receipt))
    if receipt.fingerprint == state.newest:
        return _again(state, receipt, can_ask)
    if receipt.doubtful and can_ask:
        return Next(Step.ASK)
    if action is Action.RESTORE_RUNNING and not state.gone:
        return Next(Step.NOTHING, why="the timer is still running")
    if action is Action.DISCARD and not (state.runs and not state.gone):
        # The body says that the timer had not been stopped, so the stop that was taken is newer.
        if can_ask and not state.gone:
            return Next(Step.ASK)
        return Next(Step.NOTHING, why="no Event was made of the timer that was discarded")
    if receipt.first_ms <= state.newest_ms:
        return _older(state, receipt, can_ask, now_ms)
    return _newer(state, receipt, can_ask, now_ms)


def asked(state: State | None, receipt: Receipt, *, asked_ms: int, by: str, action: Action) -> Next:
    """Take what Clockify said at `asked_ms`, by the clock of `by`, as the newest.

    `action`: WRITE, DELETE or RUN. Whatever was seen before is doubtful when it comes again.
    """
    truth = Receipt("", action, asked_ms, by)
    taken = _taken(state, truth)
    taken = replace(taken, seen=_seen(taken.seen, receipt.fingerprint, receipt.first_ms))
    return Next(Step.NOTE if action is Action.RUN else Step.WRITE, taken)


def _again(state: State, receipt: Receipt, can_ask: bool) -> Next:
    """The newest message once more."""
    why = "it has been taken already"
    if not receipt.queued or receipt.first_ms >= state.newest_ms:
        return Next(Step.NOTHING, why=why)
    # A repeat of it was taken for new while it waited in the queue.
    if any(receipt.first_ms < at < state.newest_ms for _, at in state.seen):
        return Next(Step.ASK) if can_ask else Next(Step.NOTHING, why=why)
    earlier = replace(state, newest_ms=receipt.first_ms, by=receipt.by)
    return Next(Step.NOTE, earlier, why)


def _older(state: State, receipt: Receipt, can_ask: bool, now_ms: int) -> Next:
    """A message whose first receipt is before the newest's."""
    if not receipt.queued and state.newest_ms > now_ms:
        if can_ask:
            return Next(Step.ASK, warning="a time that lies ahead of this clock is stored")
        first_ms = state.newest_ms + 1
        return replace(
            _newer(state, replace(receipt, first_ms=first_ms), can_ask, now_ms),
            warning="a time that lies ahead of this clock is stored: taken as newer",
        )
    if can_ask and _is_close(state, receipt):
        return Next(Step.ASK)
    noted = replace(state, seen=_seen(state.seen, receipt.fingerprint, receipt.first_ms))
    return Next(Step.NOTE, noted, "a newer message has been taken")


def _newer(state: State, receipt: Receipt, can_ask: bool, now_ms: int) -> Next:
    """A message whose first receipt is after the newest's."""
    noted_ms = state.noted(receipt.fingerprint)
    is_repeat = noted_ms is not None and noted_ms != receipt.first_ms
    if can_ask and (is_repeat or _is_close(state, receipt)):
        return Next(Step.ASK)
    if is_repeat and noted_ms is not None and receipt.first_ms - noted_ms <= REPEAT_MS:
        return Next(Step.NOTHING, why="Clockify repeats a message that newer ones have followed")
    if state.gone and receipt.action in (Action.WRITE, Action.RUN):
        return _for_what_is_gone(state, receipt, can_ask, now_ms)
    step = Step.WRITE if receipt.action in WRITES else Step.NOTE
    return Next(step, _taken(state, receipt), "" if step is Step.WRITE else "the timer runs again")


def _for_what_is_gone(state: State, receipt: Receipt, can_ask: bool, now_ms: int) -> Next:
    """Clockify edits no deleted record: its RESTORED is on the way, or this came late."""
    if receipt.action is Action.RUN:
        return Next(Step.NOTHING, why="the timer is still running")
    if can_ask:
        return Next(Step.ASK)
    noted = replace(state, seen=_seen(state.seen, receipt.fingerprint, receipt.first_ms))
    if now_ms - receipt.first_ms >= RESTORED_WITHIN_MS:
        return Next(Step.NOTE, noted, "it was deleted, and nothing has restored it")
    return Next(Step.WAIT, noted, "it was deleted: what restores it may be on its way")


WRITES = frozenset({Action.WRITE, Action.RESTORE, Action.DELETE, Action.DISCARD})
_GONE = frozenset({Action.DELETE, Action.DISCARD})
_RUNNING = frozenset({Action.RUN, Action.RESTORE_RUNNING})


def _taken(state: State | None, receipt: Receipt) -> State:
    """The state with this message as the newest."""
    seen: tuple[tuple[str, int], ...] = ()
    if state is not None:
        seen = tuple(each for each in state.seen if each[0] != receipt.fingerprint)
        if state.newest:
            seen = _seen(seen, state.newest, state.newest_ms)
    return State(
        newest=receipt.fingerprint,
        newest_ms=receipt.first_ms,
        by=receipt.by,
        seen=seen,
        gone=receipt.action in _GONE,
        runs=receipt.action in _RUNNING,
    )


def _seen(
    seen: tuple[tuple[str, int], ...], fingerprint: str, first_ms: int
) -> tuple[tuple[str, int], ...]:
    """`seen` with one message more, by its earliest receipt; the oldest give way."""
    known = dict(seen)
    first_ms = min(first_ms, known.pop(fingerprint, first_ms))
    return (*known.items(), (fingerprint, first_ms))[-KEPT_SEEN:]


def _is_close(state: State, receipt: Receipt) -> bool:
    """Tell whether two instances' clocks cannot say which of two messages was first."""
    apart_ms = abs(receipt.first_ms - state.newest_ms)
    return receipt.by != state.by and apart_ms < CLOCKS_DIFFER_MS


# As it is kept in Salesforce ----------------------------------------------------------------------


def to_json(state: State) -> str:
    """The text for `State__c`: about 700 characters at most."""
    kept = {
        "v": VERSION,
        "newest": state.newest,
        "ms": state.newest_ms,
        "by": state.by,
        "seen": dict(state.seen),
        "gone": state.gone,
        "runs": state.runs,
    }
    return json.dumps(kept, separators=(",", ":"))


def from_json(text: str | None) -> State | None:
    """Read what `to_json` wrote; None for what this version does not know."""
    try:
        kept = json.loads(text or "")
        if kept["v"] != VERSION:
            return None
        seen = tuple((str(each), int(at)) for each, at in kept["seen"].items())
        return State(
            newest=str(kept["newest"]),
            newest_ms=int(kept["ms"]),
            by=str(kept["by"]),
            seen=seen[-KEPT_SEEN:],
            gone=kept["gone"] is True,
            runs=kept["runs"] is True,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
