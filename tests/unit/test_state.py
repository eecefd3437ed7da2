"""state.py: what is done with a message, row by row; times in seconds."""

import dataclasses
import json
import subprocess
import sys

import pytest

from clockify_salesforce import state as states
from clockify_salesforce.state import (
    KEPT_SEEN,
    RESTORED_WITHIN_MS,
    Action,
    Next,
    Receipt,
    State,
    Step,
    asked,
    decide,
    fingerprint,
    from_json,
    to_json,
)

WRITE, RESTORE, DELETE = Action.WRITE, Action.RESTORE, Action.DELETE
RUN, RESTORE_RUNNING, DISCARD = Action.RUN, Action.RESTORE_RUNNING, Action.DISCARD
HOUR = 3600


def taken(newest: str, at: float = 1000, by: str = "a", *, is_: str = "", **seen: float) -> State:
    """A state. `is_`: gone, runs, or both; `seen`: other messages with their receipts."""
    kept = tuple((each, int(1000 * when)) for each, when in seen.items())
    return State(newest, int(1000 * at), by, kept, gone="gone" in is_, runs="runs" in is_)


def message(
    name: str, at: float, action: Action = WRITE, by: str = "a", *, is_: str = ""
) -> Receipt:
    """A receipt. `is_`: queued, doubtful, final, or several."""
    queued, doubtful, final = (each in is_ for each in ("queued", "doubtful", "final"))
    return Receipt(name, action, int(1000 * at), by, queued, doubtful, is_final=final)


def short(found: Next) -> str:
    """What is done, and what is then the newest as of when, and what it is."""
    if found.state is None:
        return found.step.name
    words = [found.step.name, f"{found.state.newest}@{found.state.newest_ms / 1000:.7g}"]
    words += ["gone"] * found.state.gone + ["runs"] * found.state.runs
    return " ".join(words)


CREATED = taken("e1")
DELETED = taken("d", is_="gone", e1=900)
# What is known of the record, the message, what is done without a key, and with one.
TABLE: dict[str, list[tuple[State | None, Receipt, str, str]]] = {
    "a deletion that nothing undoes settles it, whenever it was received": [
        (None, message("d", 900, DELETE, is_="final"), *2 * ("WRITE d@900 gone",)),
        (CREATED, message("d", 900, DELETE, is_="final"), *2 * ("WRITE d@900 gone",)),
        (CREATED, message("d", 900, DELETE, is_="final doubtful"), *2 * ("WRITE d@900 gone",)),
        (taken("", is_="gone"), message("d", 900, DELETE, is_="final"), *2 * ("WRITE d@900 gone",)),
        (DELETED, message("d", 1005, DELETE, is_="final"), *2 * ("NOTHING",)),
        (DELETED, message("e2", 2000, is_="final"), *2 * ("NOTHING",)),
        (DELETED, message("e1", 2000, by="b", is_="final queued doubtful"), *2 * ("NOTHING",)),
        # Only Clockify's answer has told.
        (taken("", is_="gone"), message("e2", 2000, is_="final"), "NOTHING", "ASK"),
    ],
    "nothing is known: it is the newest": [
        (None, message("e1", 1000), "WRITE e1@1000", "WRITE e1@1000"),
        (None, message("d", 1000, DELETE), "WRITE d@1000 gone", "WRITE d@1000 gone"),
        (None, message("r", 1000, RESTORE), "WRITE r@1000", "WRITE r@1000"),
        (None, message("e1", 1000, is_="doubtful"), "WRITE e1@1000", "ASK"),
    ],
    "nothing is known, and its timer runs: nothing to write": [
        (None, message("u", 1000, RUN), "NOTHING", "NOTHING"),
        (None, message("u", 1000, RESTORE_RUNNING), "NOTHING", "NOTHING"),
    ],
    "the newest's fingerprint: nothing to do; with a key its time is noted": [
        (CREATED, message("e1", 1000), "NOTHING", "NOTHING"),
        (CREATED, message("e1", 1004), "NOTHING", "NOTHING"),
        (CREATED, message("e1", 1005), "NOTHING", "NOTE e1@1005"),
        (CREATED, message("e1", 1001, by="b"), "NOTHING", "NOTE e1@1001"),
        (CREATED, message("e1", 999, by="b"), "NOTHING", "NOTE e1@999"),
        (CREATED, message("e1", 1060, is_="doubtful"), "NOTHING", "NOTE e1@1060"),
        (CREATED, message("e1", 300, is_="queued"), "NOTHING", "NOTHING"),
        (DELETED, message("d", 1060, DELETE), "NOTHING", "NOTE d@1060 gone"),
    ],
    "the newest's fingerprint, over two minutes later: there was another between them": [
        (CREATED, message("e1", 1121), "NOTE e1@1121", "NOTE e1@1121"),
        (DELETED, message("d", 1121, DELETE), "NOTE d@1121 gone", "NOTE d@1121 gone"),
    ],
    "the newest's fingerprint, out of the queue and before it: its repeat was taken for new": [
        (CREATED, message("e1", 900, is_="queued"), "NOTE e1@900", "NOTE e1@900"),
        (taken("e1", e2=950), message("e1", 900, is_="queued"), "NOTHING", "NOTE e1@900"),
        (CREATED, message("e1", 870, is_="queued"), "NOTHING", "NOTHING"),
        (CREATED, message("e1", 870, by="b", is_="queued"), "NOTHING", "NOTE e1@870"),
    ],
    "its fingerprint was seen, up to two minutes ago: stale, or doubt": [
        (taken("e2", e1=990), message("e1", 1060), "NOTHING", "ASK"),
        (taken("r", e1=900, d=990), message("d", 1060, DELETE), "NOTHING", "ASK"),
        (DELETED, message("e1", 1010), "NOTHING", "ASK"),
    ],
    "its fingerprint was seen, longer ago: changed and changed back, or doubt": [
        (taken("e2", e1=900), message("e1", 1060), "WRITE e1@1060", "ASK"),
        (taken("e2", e1=900), message("e1", 1700), "WRITE e1@1700", "ASK"),
        (taken("r", d=800), message("d", 1700, DELETE), "WRITE d@1700 gone", "ASK"),
    ],
    "it is gone, and this neither restores nor deletes it: it waits for the RESTORED, or doubt": [
        (DELETED, message("e2", 1010), "WAIT d@1000 gone", "ASK"),
        (DELETED, message("e2", 1700), "WAIT d@1000 gone", "ASK"),
        (DELETED, message("e2", 1010, is_="queued"), "WAIT d@1000 gone", "ASK"),
        (DELETED, message("r", 1010, RESTORE), "WRITE r@1010", "ASK"),
        (DELETED, message("r", 1700, RESTORE), "WRITE r@1700", "WRITE r@1700"),
        (DELETED, message("d2", 1700, DELETE), "WRITE d2@1700 gone", "WRITE d2@1700 gone"),
        (DELETED, message("u", 1010, RUN), "NOTHING", "NOTHING"),
    ],
    "what waits for a RESTORED and is repeated waits still; what overtook it is newer": [
        (taken("d", is_="gone", e2=1010), message("e2", 1070), "WAIT d@1000 gone", "ASK"),
        (taken("d", is_="gone", e2=1010), message("r", 1012, RESTORE), "WRITE r@1009.999", "ASK"),
        (taken("d", is_="gone", e2=1010), message("r", 1021, RESTORE), "WRITE r@1021", "ASK"),
        (taken("r", d=1000, e2=1010), message("e2", 1070), "WRITE e2@1010", "ASK"),
    ],
    "its receipt is before the newest's: stale and noted, or doubt": [
        (taken("e2"), message("e1", 999), "NOTE e2@1000", "ASK"),
        (taken("e2"), message("e1", 879), "NOTE e2@1000", "NOTE e2@1000"),
        (taken("e2"), message("e1", 401, by="b"), "NOTE e2@1000", "ASK"),
        (taken("e2"), message("e1", 399, by="b"), "NOTE e2@1000", "NOTE e2@1000"),
        (taken("e2", e1=399), message("e1", 399), "NOTHING", "NOTHING"),
        (taken("e2", e1=990), message("e1", 980), "NOTHING", "ASK"),
        (DELETED, message("e2", 990), "NOTE d@1000 gone", "ASK"),
        (taken("r"), message("d", 990, DELETE), "NOTE r@1000", "ASK"),
    ],
    "anything else is the newest, or doubt while the one before it is close": [
        (CREATED, message("e2", 1001), "WRITE e2@1001", "ASK"),
        (CREATED, message("e2", 1119), "WRITE e2@1119", "ASK"),
        (CREATED, message("e2", 1120), "WRITE e2@1120", "WRITE e2@1120"),
        (CREATED, message("e2", 1599, by="b"), "WRITE e2@1599", "ASK"),
        (CREATED, message("e2", 1600, by="b"), "WRITE e2@1600", "WRITE e2@1600"),
        (CREATED, message("e2", 1600, is_="doubtful"), "WRITE e2@1600", "ASK"),
        (CREATED, message("d", 1700, DELETE), "WRITE d@1700 gone", "WRITE d@1700 gone"),
        (CREATED, message("e2", 1700, by="b"), "WRITE e2@1700", "WRITE e2@1700"),
    ],
    "a deletion of what still runs: no Event, unless a finished entry runs again": [
        (None, message("x", 1000, DISCARD), "WRITE x@1000 gone runs", "WRITE x@1000 gone runs"),
        (CREATED, message("x", 1060, DISCARD), "NOTE e1@1000", "ASK"),
        (CREATED, message("x", 1121, DISCARD), "WRITE x@1121 gone runs", "ASK"),
        (CREATED, message("x", 1700, DISCARD), "WRITE x@1700 gone runs", "ASK"),
        (taken("u", is_="runs"), message("x", 1010, DISCARD), "WRITE x@1010 gone runs", "ASK"),
        (DELETED, message("x", 1010, DISCARD), "WRITE x@1010 gone runs", "ASK"),
        (
            taken("u", is_="runs"),
            message("x", 1700, DISCARD),
            "WRITE x@1700 gone runs",
            "WRITE x@1700 gone runs",
        ),
    ],
    "a timer that runs again, or whose discarding is undone: only noted": [
        (CREATED, message("u", 1700, RUN), "NOTE u@1700 runs", "NOTE u@1700 runs"),
        (CREATED, message("u", 1700, RESTORE_RUNNING), "NOTHING", "NOTHING"),
        (
            taken("x", is_="gone runs"),
            message("u", 1001, RESTORE_RUNNING),
            "NOTE u@1001 runs",
            "ASK",
        ),
        (taken("x", is_="gone runs"), message("e1", 1001), "WRITE e1@1001", "ASK"),
        (taken("u", is_="runs"), message("e1", 1700), "WRITE e1@1700", "WRITE e1@1700"),
    ],
    "what an instance received before it asked Clockify is in the answer": [
        (taken("", by="a"), message("e1", 1000), "NOTHING", "NOTHING"),
        (taken("", by="a"), message("e1", 999, is_="doubtful"), "NOTHING", "NOTHING"),
        (taken("", by="a"), message("e1", 999, by="b"), "NOTE @1000", "ASK"),
        (taken("", by="a"), message("e1", 1001), "WRITE e1@1001", "ASK"),
    ],
}


# What this instance has received and Salesforce may not know: a deletion, and nothing restoring it.
UNRESTORED: list[tuple[State | None, Receipt, str, str]] = [
    (None, message("e2", 1110), "WAIT", "ASK"),
    (None, message("e2", 1090), "WRITE e2@1090", "WRITE e2@1090"),
    (None, message("r", 1110, RESTORE), "WRITE r@1110", "WRITE r@1110"),
    (None, message("d2", 1110, DELETE), "WRITE d2@1110 gone", "WRITE d2@1110 gone"),
    (CREATED, message("e2", 1300), "WAIT e1@1000", "ASK"),
    (CREATED, message("r", 1300, RESTORE), "WRITE r@1300", "WRITE r@1300"),
    # Salesforce knows the deletion, or something newer: what restored it met another instance.
    (taken("r", 1110), message("e2", 1300), "WRITE e2@1300", "WRITE e2@1300"),
    (taken("r", 1050, d=1000), message("e2", 1300), "WRITE e2@1300", "WRITE e2@1300"),
]
TABLE["its deletion waits, and nothing that restores it has come: it waits too, or doubt"] = [
    (state, dataclasses.replace(receipt, unrestored=("d", 1_100_000)), without_key, with_key)
    for state, receipt, without_key, with_key in UNRESTORED
]


@pytest.mark.parametrize(
    ("state", "receipt", "without_key", "with_key"),
    [
        pytest.param(*case, id=f"{row} {number}")
        for row, cases in TABLE.items()
        for number, case in enumerate(cases, 1)
    ],
)
def test_message_on_a_state_gives_the_tables_step(
    state: State | None, receipt: Receipt, without_key: str, with_key: str
) -> None:
    now_ms = 1000 * 2000
    assert short(decide(state, receipt, can_ask=False, now_ms=now_ms)) == without_key
    assert short(decide(state, receipt, can_ask=True, now_ms=now_ms)) == with_key


@pytest.mark.parametrize(
    ("receipt", "now", "without_key", "with_key"),
    [
        # Straight from Clockify, it is never stale because of a time ahead of this clock.
        (message("e2", 300, by="b"), 300, "WRITE e2@1000.001", "ASK"),
        (message("e2", 999, by="b"), 999.9, "WRITE e2@1000.001", "ASK"),
        (message("d", 300, DELETE, by="b"), 300, "WRITE d@1000.001 gone", "ASK"),
        # It is where it has been on its way for long, and clocks differ by no more than they may.
        (message("e2", 990, by="b"), 999, "NOTE e1@1000", "ASK"),
        (message("e2", 990, by="b"), 997.9, "WRITE e2@1000.001", "ASK"),
        # What waited in the queue may be old.
        (message("e2", 300, by="b", is_="queued"), 300, "NOTE e1@1000", "NOTE e1@1000"),
    ],
)
def test_time_ahead_of_this_clock_makes_no_message_stale(
    receipt: Receipt, now: float, without_key: str, with_key: str
) -> None:
    now_ms = int(1000 * now)
    without = decide(CREATED, receipt, can_ask=False, now_ms=now_ms)
    assert short(without) == without_key
    assert bool(without.warning) is (without.step is Step.WRITE)
    found = decide(CREATED, receipt, can_ask=True, now_ms=now_ms)
    assert short(found) == with_key


def test_far_time_ahead_of_this_clock_is_told_and_asked() -> None:
    found = decide(CREATED, message("e2", 300, by="b"), can_ask=True, now_ms=300_000)
    assert (found.step, found.warning) == (
        Step.ASK,
        "a time that lies ahead of this clock is stored",
    )


def test_only_closeness_is_left_to_the_times_where_clockify_does_not_answer() -> None:
    def is_urgent(receipt: Receipt) -> bool:
        found = decide(taken("e2", e1=500), receipt, can_ask=True, now_ms=2_000_000)
        assert found.step is Step.ASK
        return found.is_urgent

    assert is_urgent(message("e3", 1010))
    assert not is_urgent(message("e3", 1010, is_="doubtful"))
    assert not is_urgent(message("e1", 1010))
    assert not is_urgent(message("x", 1010, DISCARD))


def test_edit_of_a_deleted_entry_after_three_hours_is_stale() -> None:
    receipt = message("e2", 1010, is_="queued")
    for late_ms, expected in ((-1, "WAIT d@1000 gone"), (0, "NOTE d@1000 gone")):
        now_ms = receipt.first_ms + RESTORED_WITHIN_MS + late_ms
        assert short(decide(DELETED, receipt, can_ask=False, now_ms=now_ms)) == expected


@pytest.mark.parametrize("order", ["DRS", "DSR", "RDS", "RSD", "SDR", "SRD"])
def test_undo_of_a_discarded_timer_in_any_order_leaves_the_event(order: str) -> None:
    actions = {"D": DISCARD, "R": RESTORE_RUNNING, "S": WRITE}
    state: State | None = None
    is_there = False
    for at, name in enumerate(order, 1000):
        found = decide(state, message(name, at, actions[name]), can_ask=False, now_ms=1000 * at)
        state = found.state or state
        if found.step is Step.WRITE:
            is_there = actions[name] is WRITE
    assert is_there


def test_stale_message_is_noted_so_that_its_repeat_is_known() -> None:
    noted = decide(taken("e2"), message("e1", 999), can_ask=False, now_ms=1_000_000).state
    assert noted == taken("e2", e1=999)
    assert short(decide(noted, message("e1", 1060), can_ask=False, now_ms=1_060_000)) == "NOTHING"


def test_newest_gives_way_and_is_remembered_with_its_receipt() -> None:
    found = decide(taken("e2", e1=900), message("e3", 1700), can_ask=True, now_ms=1_700_000)
    assert found.state == taken("e3", 1700, e1=900, e2=1000)


def test_seventeenth_message_makes_the_oldest_forgotten() -> None:
    state = taken("e0")
    for number in range(1, KEPT_SEEN + 2):
        following = message(f"e{number}", 1000 + number)
        found = decide(state, following, can_ask=False, now_ms=2_000_000).state
        assert found is not None
        state = found
    assert [name for name, _ in state.seen] == [f"e{number}" for number in range(1, KEPT_SEEN + 1)]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (WRITE, "WRITE @1700"),
        (DELETE, "WRITE @1700 gone"),
        (RUN, "NOTE @1700 runs"),
    ],
)
def test_clockifys_answer_is_the_newest(action: Action, expected: str) -> None:
    for state in (None, CREATED, DELETED):
        receipt = message("e2", 1650)
        found = asked(state, receipt, asked_ms=1_700_000, by="b", action=action)
        assert short(found) == expected
        assert found.state is not None
        assert found.state.by == "b"
        assert found.state.noted("e2") == 1_650_000


def test_fingerprint_is_the_same_in_every_process() -> None:
    body = b'{"id":"64c777ddd3fcab07cfbb210d"}'
    expected = "7e38222368a01c0170e94976"
    assert fingerprint("TIMER_STOPPED", body) == expected
    script = (
        "from clockify_salesforce.state import fingerprint;"
        f"print(fingerprint('TIMER_STOPPED', {body!r}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == expected


def test_fingerprint_of_another_type_or_body_is_another() -> None:
    said = {fingerprint(kind, body) for kind in (None, "", "A") for body in (b"", b"A", b"\nA")}
    assert len(said) == 9


# As it is kept in Salesforce ----------------------------------------------------------------------


@pytest.mark.parametrize("state", [CREATED, DELETED, taken("", by="b", is_="gone runs", e1=1)])
def test_state_comes_back_as_it_was_kept(state: State) -> None:
    assert from_json(to_json(state)) == state


def test_largest_state_stays_below_nine_hundred_characters() -> None:
    seen = tuple((f"{number:024x}", 4_102_444_800_000) for number in range(KEPT_SEEN))
    largest = State("f" * 24, 4_102_444_800_000, "0123456789abcdef", seen, gone=False, runs=False)
    text = to_json(largest)
    assert len(text) < 900
    assert from_json(text) == largest


def test_more_messages_than_are_kept_are_cut_to_the_latest() -> None:
    many = State("e", 1, "a", tuple((f"s{number}", number) for number in range(KEPT_SEEN + 3)))
    found = from_json(to_json(many))
    assert found == dataclasses.replace(many, seen=many.seen[3:])


def _changed(**fields: object) -> str:
    return json.dumps(json.loads(to_json(taken("e2", e1=900))) | fields)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        _changed(v=2),
        _changed(v=None),
        _changed(ms="soon"),
        _changed(ms=None),
        _changed(seen=[]),
        _changed(seen={"e1": None}),
    ],
)
def test_unknown_version_or_broken_text_is_no_state(text: str | None) -> None:
    assert from_json(text) is None
    assert states.VERSION == 1
