"""order.py: which message is the newest, told by times that the test moves."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_salesforce.order import (
    REMEMBERED_ENTRIES,
    REMEMBERED_MS,
    REPEAT_MS,
    Order,
    Turns,
    Verdict,
)

NEW, STOP, EDIT, DELETE, RESTORE = (
    "NEW_TIME_ENTRY",
    "TIMER_STOPPED",
    "TIME_ENTRY_UPDATED",
    "TIME_ENTRY_DELETED",
    "TIME_ENTRY_RESTORED",
)
NEWEST, STALE, DOUBTFUL = Verdict.NEWEST, Verdict.STALE, Verdict.DOUBTFUL


@pytest.mark.parametrize(
    ("history", "without_key", "with_key"),
    [
        # each message: kind, fingerprint, second of receipt; the verdict is that on the last one
        ([(NEW, 1, 0)], NEWEST, NEWEST),
        ([(NEW, 1, 0), (NEW, 1, 70)], NEWEST, NEWEST),
        ([(NEW, 1, 0), (EDIT, 2, 5)], NEWEST, NEWEST),
        ([(NEW, 1, 0), (EDIT, 2, 5), (NEW, 1, 70)], STALE, DOUBTFUL),
        ([(NEW, 1, 0), (EDIT, 2, 5), (NEW, 1, 121)], NEWEST, DOUBTFUL),
        ([(NEW, 1, 0), (EDIT, 2, 5), (EDIT, 3, 9), (EDIT, 2, 70)], STALE, DOUBTFUL),
        ([(NEW, 1, 0), (DELETE, 2, 5), (NEW, 1, 70)], STALE, STALE),
        ([(NEW, 1, 0), (DELETE, 2, 5), (NEW, 1, 500)], STALE, STALE),
        ([(NEW, 1, 0), (DELETE, 2, 5), (EDIT, 3, 70)], STALE, STALE),
        ([(NEW, 1, 0), (DELETE, 2, 5), (DELETE, 2, 70)], NEWEST, NEWEST),
        ([(NEW, 1, 0), (DELETE, 2, 5), (RESTORE, 3, 9)], NEWEST, NEWEST),
        ([(NEW, 1, 0), (DELETE, 2, 5), (RESTORE, 3, 9), (DELETE, 2, 70)], STALE, DOUBTFUL),
        ([(NEW, 1, 0), (DELETE, 2, 5), (RESTORE, 3, 9), (EDIT, 4, 70)], NEWEST, NEWEST),
        ([(DELETE, 2, 5), (RESTORE, 3, 9), (DELETE, 4, 20), (RESTORE, 3, 70)], STALE, DOUBTFUL),
    ],
)
def test_history_gives_the_verdict_on_its_last_message(
    history: list[tuple[str, int, int]], without_key: Verdict, with_key: Verdict
) -> None:
    for can_ask, expected in ((False, without_key), (True, with_key)):
        order = Order()
        for kind, fingerprint, second in history:
            receipt = order.receive("e", kind, fingerprint, second * 1000, can_ask=can_ask)
        assert receipt.verdict is expected


def test_repeated_message_keeps_its_first_receipt() -> None:
    order = Order()
    first = order.receive("e", NEW, 1, 1000)
    again = order.receive("e", NEW, 1, 71_000)
    assert first.first_ms == again.first_ms == 1000
    assert again.verdict is NEWEST


def test_two_messages_in_one_millisecond_get_different_times() -> None:
    order = Order()
    assert order.receive("e", NEW, 1, 1000).first_ms < order.receive("e", DELETE, 2, 1000).first_ms


def test_repeat_after_ten_minutes_is_new() -> None:
    order = Order()
    order.receive("e", DELETE, 1, 0)
    assert order.receive("e", NEW, 2, REMEMBERED_MS).verdict is STALE
    assert order.receive("f", NEW, 2, 0).verdict is NEWEST
    order.receive("g", DELETE, 1, 0)
    assert order.receive("g", NEW, 2, REMEMBERED_MS + 1).verdict is NEWEST


def test_memory_is_bounded() -> None:
    order = Order()
    for number in range(REMEMBERED_ENTRIES + 50):
        order.receive(str(number), DELETE, 1, number)
    assert order.receive("0", NEW, 2, number).verdict is NEWEST
    assert order.receive(str(number), NEW, 2, number).verdict is STALE
    for fingerprint in range(1000):
        order.receive("e", EDIT, fingerprint, number + fingerprint)
    assert order.receive("e", EDIT, 999, number + 2000).verdict is NEWEST


@pytest.mark.parametrize(
    ("known", "first_ms", "write_void", "delete_void"),
    [
        ([], 10, False, False),
        ([(NEW, 20)], 10, False, True),
        ([(NEW, 5)], 10, False, False),
        ([(DELETE, 20)], 10, True, False),
        ([(DELETE, 20), (RESTORE, 30)], 25, False, True),
        ([(DELETE, 20), (RESTORE, 30)], 10, True, True),
    ],
)
def test_newer_message_voids_an_older_one(
    known: list[tuple[str, int]], first_ms: int, write_void: bool, delete_void: bool
) -> None:
    order = Order()
    for kind, at_ms in known:
        order.note_queued("e", kind, at_ms, at_ms)
    assert order.overtaken("e", first_ms, delete=False) is write_void
    assert order.overtaken("e", first_ms, delete=True) is delete_void


def test_restored_entry_is_known_as_such() -> None:
    order = Order()
    order.note_queued("e", DELETE, 10, 10)
    assert not order.restored_since("e", 10)
    order.note_queued("e", RESTORE, 20, 20)
    assert order.restored_since("e", 10)
    assert not order.restored_since("unknown", 10)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([NEW, EDIT, DELETE, RESTORE]), st.integers(1, 4), st.integers(0, 90)
        ),
        max_size=12,
    )
)
def test_any_history_never_revives_a_deleted_entry_but_by_restored(
    history: list[tuple[str, int, int]],
) -> None:
    order = Order()
    now, gone = 0, False
    for kind, number, seconds in history:
        now += seconds * 1000 + 1
        verdict = order.receive("e", kind, hash((kind, number)), now).verdict
        if gone and kind not in (RESTORE, DELETE):
            assert verdict is STALE
        if verdict is NEWEST:
            gone = kind == DELETE or (gone and kind != RESTORE)


@given(st.integers(1, REPEAT_MS // 1000), st.integers(1, 5))
def test_repeat_within_two_minutes_is_stale_whatever_came_between(gap: int, others: int) -> None:
    order = Order()
    order.receive("e", NEW, 0, 1)
    for number in range(others):
        order.receive("e", EDIT, number + 1, 2 + number)
    assert order.receive("e", NEW, 0, 1 + gap * 1000).verdict is STALE


def test_deletes_wait_for_writes_and_writes_for_deletes_but_not_for_each_other() -> None:
    turns = Turns()
    soon = time.monotonic() + 0.05
    with turns.take("e", alone=False, deadline=soon) as first:
        assert first
        with turns.take("e", alone=False, deadline=soon) as second:
            assert second
        with turns.take("e", alone=True, deadline=soon) as delete:
            assert not delete
        with turns.take("f", alone=True, deadline=soon) as other:
            assert other
    with (
        turns.take("e", alone=True, deadline=time.monotonic() + 1) as delete,
        turns.take("e", alone=False, deadline=time.monotonic() + 0.01) as write,
    ):
        assert delete
        assert not write


def test_waiting_delete_goes_on_when_the_write_is_done() -> None:
    turns, order = Turns(), []

    def delete() -> None:
        with turns.take("e", alone=True, deadline=time.monotonic() + 5) as free:
            order.append("deleted" if free else "not free")

    with turns.take("e", alone=False, deadline=time.monotonic() + 5):
        thread = threading.Thread(target=delete)
        thread.start()
        order.append("written")
    thread.join()
    assert order == ["written", "deleted"]
