"""Which of a record's messages is the newest: (state, receipt) -> what to do, and the next state.

Clockify delivers at least once and in no order, repeats a message byte for byte up to a minute and
a half later, even after a 200, and its messages carry no version. So the time of the first receipt
decides, and this is kept per record in `Clockify_State__c`, where every instance finds it; each
write of it is a compare-and-set (`delivery.py`). Pure: times are given, in milliseconds since 1970.

Two instances' clocks differ, clocks jump, and a first try may never have reached an instance that
lived. Where Clockify can be asked, what times cannot tell for certain is left to it; where it
cannot, they are believed. `tests/unit/simulation.py` shows what comes of that.
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
# Two messages whose first receipts are closer than this may be the wrong way round: a first try may
# not have reached an instance that lived, and the next comes up to a minute and a half later.
DOUBT_MS = REPEAT_MS
# And if two instances received them, either clock may be minutes wrong.
DOUBT_BETWEEN_MS = 10 * 60_000
# The same message this soon is a copy: nobody changes something and changes it back so fast.
COPIES_MS = 5_000
# Messages that are on their way at the same time overtake one another by less than this.
DISORDER_MS = 10_000
# A message for a deleted record waits for the RESTORED before it: more than twice the queue's
# longest pause.
RESTORED_WITHIN_MS = 3 * 60 * 60_000
NOT_RESTORED = "it was deleted: what restores it may be on its way"
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

    `queued`: it comes out of the retry queue. `doubtful`: Clockify has to be asked. `unrestored`:
    the last deletion of the record that this instance has received, with its receipt, if it has
    received nothing that restores it since. `is_final`: nothing of its kind is ever restored, as of
    all but time entries.
    """

    fingerprint: str
    action: Action
    first_ms: int
    by: str
    queued: bool = False
    doubtful: bool = False
    unrestored: tuple[str, int] | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What has been taken of a record.

    `newest`: the fingerprint of the message that it is as of, "" where Clockify was asked;
    `newest_ms`, `by`: its receipt. `seen`: other messages with their receipts, the latest last.
    `runs`: a finished time entry runs again, or with `gone`, was discarded while it ran.
    """

    newest: str
    newest_ms: int
    by: str
    seen: tuple[tuple[str, int], ...] = ()
    gone: bool = False
    runs: bool = False

    def noted(self, fingerprint: str) -> int | None:
        """The receipt of a message that was seen, None for one that was not."""
        return self.newest_ms if fingerprint == self.newest else dict(self.seen).get(fingerprint)


@dataclass(frozen=True, slots=True)
class Next:
    """`state`: what to write, None where nothing is. `why`: why the record is not written.

    `warning`: what is odd about the clocks, for the log. `is_urgent`: where Clockify does not
    answer just now, the order of receipt will do, and nothing has to wait.
    """

    step: Step
    state: State | None = None
    why: str = ""
    warning: str = ""
    is_urgent: bool = False


def fingerprint(event_type: str | None, body: bytes) -> str:
    """The same 24 characters for the same message in every instance."""
    said = f"{event_type}\n".encode() + body
    return hashlib.blake2b(said, digest_size=12).hexdigest()


def decide(state: State | None, receipt: Receipt, *, can_ask: bool, now_ms: int) -> Next:
    """Say what to do with a message, given what has been taken of its record; None: nothing.

    `can_ask`: Clockify can be asked for the record. `now_ms`: this instance's clock now.
    """
    if receipt.is_final and (last := _for_good(state, receipt, can_ask)) is not None:
        return last
    action = receipt.action
    if state is None:
        if action in _RUNNING:
            return Next(Step.NOTHING, why="the timer is still running")
        is_unrestored = _is_unrestored(None, receipt)
        if can_ask and (receipt.doubtful or is_unrestored):
            return Next(Step.ASK)
        if is_unrestored:
            return Next(Step.WAIT, why=NOT_RESTORED)
        return _take(None, receipt)
    if receipt.fingerprint == state.newest:
        return _again(state, receipt, can_ask)
    if not state.newest and receipt.by == state.by and receipt.first_ms <= state.newest_ms:
        return Next(Step.NOTHING, why="Clockify has been asked since")
    if (action, state.gone) in ((Action.RUN, True), (Action.RESTORE_RUNNING, False)):
        return Next(Step.NOTHING, why="the timer is still running")
    if can_ask:
        return _by_clockify(state, receipt, now_ms)
    if receipt.first_ms <= state.newest_ms:
        return _older(state, receipt, now_ms)
    return _newer(state, receipt, now_ms)


def asked(state: State | None, receipt: Receipt, *, asked_ms: int, by: str, action: Action) -> Next:
    """Take what Clockify said as the newest. `action`: WRITE, DELETE or RUN.

    `asked_ms`: when it was asked, by the clock of `by` that tells its receipts too.
    """
    truth = Receipt("", action, asked_ms, by)
    taken = _taken(state, truth)
    taken = replace(taken, seen=_seen(taken.seen, receipt.fingerprint, receipt.first_ms))
    return Next(Step.NOTE if action is Action.RUN else Step.WRITE, taken)


def _for_good(state: State | None, receipt: Receipt, can_ask: bool) -> Next | None:
    """What a deletion that nothing undoes settles, whenever it was received; None: no deletion.

    Where only Clockify's answer has told that it is gone, a message is asked for once more.
    """
    if receipt.action is Action.DELETE and not (state and state.newest == receipt.fingerprint):
        return _take(state, receipt)
    if state is not None and state.gone and (state.newest or not can_ask):
        return Next(Step.NOTHING, why="it has been deleted for good")
    return None


def _again(state: State, receipt: Receipt, can_ask: bool) -> Next:
    """The newest message once more: a copy, a repeat, or changed and changed back since."""
    why = "it has been taken already"
    later_ms = receipt.first_ms - state.newest_ms
    if can_ask:
        # Written all the same, so that whoever is just asking Clockify for the record asks again.
        is_copy = receipt.by == state.by and 0 <= later_ms < COPIES_MS
        is_new = later_ms > -_doubt_ms(state, receipt) and not is_copy
    elif later_ms > 0:
        is_new = later_ms > REPEAT_MS
    else:
        # A repeat of it may have been taken for new while it waited in the queue.
        between = any(receipt.first_ms < at < state.newest_ms for _, at in state.seen)
        is_new = receipt.queued and later_ms >= -REPEAT_MS and not between
    if not is_new:
        return Next(Step.NOTHING, why=why)
    return Next(Step.NOTE, replace(state, newest_ms=receipt.first_ms, by=receipt.by), why)


def _by_clockify(state: State, receipt: Receipt, now_ms: int) -> Next:
    """With a key: what times cannot tell for certain is asked."""
    later_ms = receipt.first_ms - state.newest_ms
    is_known = state.noted(receipt.fingerprint) is not None
    is_odd = state.gone if receipt.action is Action.WRITE else _stopped(state, receipt)
    if receipt.doubtful or (
        later_ms >= 0 and (is_known or is_odd or _is_unrestored(state, receipt))
    ):
        return Next(Step.ASK)
    if abs(later_ms) < _doubt_ms(state, receipt):
        return Next(Step.ASK, is_urgent=True)
    if later_ms >= 0:
        return _take(state, receipt)
    if not receipt.queued and state.newest_ms > now_ms:
        return Next(Step.ASK, warning="a time that lies ahead of this clock is stored")
    return _stale(state, receipt, "a newer message has been taken")


def _older(state: State, receipt: Receipt, now_ms: int) -> Next:
    """A message whose first receipt is before the newest's."""
    # Clocks differ: what has come only now may be a little ahead of what is stored, and is newer.
    had_for_ms = now_ms - receipt.first_ms
    margin_ms = 0 if had_for_ms < CLOCKS_DIFFER_MS else CLOCKS_DIFFER_MS
    if receipt.queued or state.newest_ms <= now_ms + margin_ms:
        return _stale(state, receipt, "a newer message has been taken")
    later = replace(receipt, first_ms=state.newest_ms + 1)
    warning = "a time that lies ahead of this clock is stored: taken as newer"
    return replace(_newer(state, later, now_ms), warning=warning)


def _newer(state: State, receipt: Receipt, now_ms: int) -> Next:
    """A message whose first receipt is after the newest's."""
    noted_ms = state.noted(receipt.fingerprint)
    if noted_ms is not None and receipt.first_ms - noted_ms <= REPEAT_MS:
        if noted_ms < state.newest_ms:
            return Next(Step.NOTHING, why="Clockify repeats what newer messages have followed")
        receipt = replace(receipt, first_ms=noted_ms)  # it has waited since
    if _stopped(state, receipt) and receipt.first_ms - state.newest_ms <= REPEAT_MS:
        return _stale(state, receipt, "the timer was stopped after it had been discarded")
    if not state.gone and not _is_unrestored(state, receipt):
        return _take(state, receipt)
    if receipt.action in RESTORES:
        # What waits for this, and has just overtaken it, is newer all the same.
        least_ms = max(state.newest_ms, receipt.first_ms - DISORDER_MS)
        waiting = [at - 1 for _, at in state.seen if least_ms < at < receipt.first_ms]
        return _take(state, replace(receipt, first_ms=min([receipt.first_ms, *waiting])))
    # A body with an end is newer than one that was discarded without.
    if receipt.action is not Action.WRITE or state.runs:
        return _take(state, receipt)
    if now_ms - receipt.first_ms >= RESTORED_WITHIN_MS:
        return _stale(state, receipt, "it was deleted, and nothing has restored it")
    return Next(Step.WAIT, _noted(state, receipt), NOT_RESTORED)


WRITES = frozenset({Action.WRITE, Action.RESTORE, Action.DELETE, Action.DISCARD})
DELETIONS = frozenset({Action.DELETE, Action.DISCARD})
_RUNNING = frozenset({Action.RUN, Action.RESTORE_RUNNING})
RESTORES = frozenset({Action.RESTORE, Action.RESTORE_RUNNING})


def _is_unrestored(state: State | None, receipt: Receipt) -> bool:
    """Tell whether a message says how a deleted record is, while the deletion itself waits."""
    if receipt.unrestored is None or receipt.action is not Action.WRITE or receipt.is_final:
        return False
    deletion, deleted_ms = receipt.unrestored
    if receipt.first_ms < deleted_ms:
        return False
    return state is None or (deleted_ms > state.newest_ms and state.noted(deletion) is None)


def _doubt_ms(state: State, receipt: Receipt) -> int:
    """How close to the newest a message has to be for its time to tell nothing for certain."""
    return DOUBT_MS if receipt.by == state.by else DOUBT_BETWEEN_MS


def _stopped(state: State, receipt: Receipt) -> bool:
    """Tell whether a timer was discarded of which a stop is known, and no run since."""
    return receipt.action is Action.DISCARD and not state.gone and not state.runs


def _stale(state: State, receipt: Receipt, why: str) -> Next:
    """Nothing of the record is written; that the message was seen is, unless it is known."""
    noted = _noted(state, receipt)
    return Next(Step.NOTHING, why=why) if noted == state else Next(Step.NOTE, noted, why)


def _take(state: State | None, receipt: Receipt) -> Next:
    """Write what the message says."""
    taken = _taken(state, receipt)
    if receipt.action in WRITES:
        return Next(Step.WRITE, taken)
    return Next(Step.NOTE, taken, "the timer runs again")


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
        gone=receipt.action in DELETIONS,
        runs=receipt.action in _RUNNING or receipt.action is Action.DISCARD,
    )


def _noted(state: State, receipt: Receipt) -> State:
    return replace(state, seen=_seen(state.seen, receipt.fingerprint, receipt.first_ms))


def _seen(
    seen: tuple[tuple[str, int], ...], fingerprint: str, first_ms: int
) -> tuple[tuple[str, int], ...]:
    """`seen` with one message more, by its latest receipt; the oldest give way."""
    known = dict(seen)
    if known.get(fingerprint, first_ms - 1) >= first_ms:
        return seen
    known.pop(fingerprint, None)
    return (*known.items(), (fingerprint, first_ms))[-KEPT_SEEN:]


# As it is kept in Salesforce ----------------------------------------------------------------------

_AS_JSON = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps makes one at each call


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
    return _AS_JSON.encode(kept)


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
