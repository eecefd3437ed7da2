"""That Salesforce ends up with what Clockify holds: in random schedules and in all small ones."""

from dataclasses import replace

import pytest
from interleavings import look_at_all
from simulation import CLASSES, INSTANCES, Figure, Row, run, run_all

from clockify_salesforce.state import Action, Next, Receipt, State, Step, decide

pytestmark = pytest.mark.simulation

SCHEDULES = 200_000
SEED = 1
ROWS = [
    Row(name, count, can_ask, is_final)
    for is_final in (False, True)
    for name in CLASSES
    for count in INSTANCES
    for can_ask in (False, True)
]


@pytest.fixture(scope="module")
def figures() -> dict[Row, Figure]:
    each = SCHEDULES // len(ROWS) + 1
    return {figure.row: figure for figure in run_all(ROWS, each, SEED)}


@pytest.mark.parametrize("row", [row for row in ROWS if row.most == 0], ids=str)
def test_random_schedules_end_right(figures: dict[Row, Figure], row: Row) -> None:
    assert not [row.replay(seed) for seed in figures[row].wrong]


@pytest.mark.parametrize("row", [row for row in ROWS if row.most > 0], ids=str)
def test_other_random_schedules_end_wrong_no_more_often_than_told(
    figures: dict[Row, Figure], row: Row
) -> None:
    print(f"{row}: {figures[row].share:.2%}, from seed {SEED}")
    assert figures[row].share <= row.most


def test_random_schedules_are_as_many_as_told(figures: dict[Row, Figure]) -> None:
    assert sum(figure.schedules for figure in figures.values()) >= SCHEDULES


def takes_whatever_comes(
    state: State | None, receipt: Receipt, *, can_ask: bool, now_ms: int
) -> Next:
    """What is to be found wrong: the message that comes last wins."""
    gone = receipt.action in (Action.DELETE, Action.DISCARD)
    return Next(Step.WRITE, State(receipt.fingerprint, receipt.first_ms, receipt.by, gone=gone))


@pytest.mark.parametrize("is_final", [False, True])
@pytest.mark.parametrize("name", list(CLASSES))
def test_decision_that_takes_whatever_comes_is_found_wrong(name: str, is_final: bool) -> None:
    for count in INSTANCES:
        row = Row(name, count, False, is_final)
        assert run(row, 100, SEED, takes_whatever_comes).share > 0.05


def restores_whatever_comes(
    state: State | None, receipt: Receipt, *, can_ask: bool, now_ms: int
) -> Next:
    """What is to be found wrong: other kinds are taken for time entries, which may be restored."""
    return decide(state, replace(receipt, is_final=False), can_ask=can_ask, now_ms=now_ms)


@pytest.mark.parametrize("name", ["quiet", "disorder", "all"])
def test_decision_that_takes_a_deletion_for_one_that_is_undone_is_found_wrong(name: str) -> None:
    assert run(Row(name, 4, True, True), 200, SEED, restores_whatever_comes).share > 0.05


def test_every_interleaving_of_two_instances_ends_right() -> None:
    moments, wrong = look_at_all()
    assert not wrong
    assert moments > 500_000
