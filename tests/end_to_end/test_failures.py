"""Never lost, never twice, never stale: the retry queue, faults of every kind, and order."""

import concurrent.futures
import functools
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import entry_id, payload
from soak import Soak, settings

from sandbox.cloud_run import CloudRun
from sandbox.world import Function, World

Entry = dict[str, Any]
NAMES = {
    "create": "TIMER_STOPPED",
    "edit": "TIME_ENTRY_UPDATED",
    "delete": "TIME_ENTRY_DELETED",
    "restore": "TIME_ENTRY_RESTORED",
}


PATIENCE_S = 30.0  # with nothing happening at all
TRIES = 60  # of one task


def wait_until(true: Callable[[], bool], world: World) -> None:
    """Wait as long as the queue or Salesforce hears anything new, however slow the machine is."""
    heard, deadline = (-1, -1), 0.0
    while not true():
        answers = [len(task.answers) for task in list(world.tasks.created)]
        now_heard = (len(world.salesforce.requests), sum(answers))
        if now_heard != heard:
            heard, deadline = now_heard, time.monotonic() + PATIENCE_S
        stuck = time.monotonic() > deadline or max(answers, default=0) > TRIES
        assert not stuck, f"it did not happen; {what_waits(world)}"
        time.sleep(0.02)


def what_waits(world: World) -> str:
    """What the queue holds, and how it was answered."""
    waiting = list(world.tasks.waiting.values())
    lines = [
        f"{task.headers.get('Clockify-Webhook-Event-Type')} {task.body[:60]!r}:"
        f" answered {task.answers[-5:]} in {task.attempts} tries"
        for task in waiting
    ]
    return "\n".join([f"{len(waiting)} of {len(world.tasks.created)} tasks wait", *lines])


def drain(world: World) -> None:
    """Let the queue deliver all that it holds."""
    world.tasks.paused = False
    wait_until(lambda: not world.tasks.waiting, world)


def settle(world: World) -> None:
    """Let the queue try all that it holds; what waits for a RESTORED goes on waiting.

    Until two rounds change nothing, for each that is taken may be what another one waits for.
    """
    world.tasks.paused = False
    quiet = 0
    for _ in range(20):
        before = {name: task.attempts for name, task in list(world.tasks.waiting.items())}
        for task in list(world.tasks.waiting.values()):
            world.tasks.run(task)
        wait_until(functools.partial(_all_tried, world, before), world)
        waiting = dict(world.tasks.waiting)
        still = all(task.answers[-1:] == [500] for task in waiting.values())
        quiet = quiet + 1 if still and waiting.keys() == before.keys() else 0
        if quiet == 2:
            return
    raise AssertionError(f"the queue does not settle; {what_waits(world)}")


def _all_tried(world: World, attempts: dict[str, int]) -> bool:
    """Tell whether each task that waits has had an answer to a later attempt than those."""
    return all(
        len(task.answers) > attempts.get(name, 0)
        for name, task in list(world.tasks.waiting.items())
    )


def result(response: Any) -> tuple[int, str]:
    return response.status_code, response.json().get("result", "")


# --- Salesforce cannot take it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "severity", "reason"),
    [
        ("outage", "WARNING", "no answer"),
        ("reset", "WARNING", "no answer"),
        ("lost", "WARNING", "no answer"),
        ("error", "WARNING", "HTTP 503"),
        ("html", "WARNING", "HTTP 502"),
        ("lock", "WARNING", "UNABLE_TO_LOCK_ROW"),
        ("expired", "WARNING", "INVALID_SESSION_ID"),
        ("limit", "WARNING", "REQUEST_LIMIT_EXCEEDED"),
        ("rule", "ERROR", "let it pass the integration user"),
    ],
)
def test_fault_queues_the_message_and_it_arrives_by_itself(
    function: Function, world: World, fault: str, severity: str, reason: str
) -> None:
    setattr(world.salesforce.faults, fault, 1)
    world.tasks.first_wait = 0.5
    response = function.post("TIMER_STOPPED", payload())
    assert result(response) == (202, "queued")
    line = next(line for line in function.log[::-1] if not line["queued"])
    assert line["severity"] == severity
    assert reason in line["reason"]
    world.salesforce.faults.clear()
    drain(world)
    assert len(world.salesforce.events()) == 1
    assert world.salesforce.event(entry_id())


def test_passing_fault_is_overcome_without_the_queue(function: Function, world: World) -> None:
    world.salesforce.faults.error = 0.5
    world.salesforce.faults.chance.seed(3)
    for number in range(10):
        function.post("TIMER_STOPPED", payload(id=f"{entry_id()}{number}"))
    assert len(world.salesforce.events()) + len(world.tasks.created) >= 10
    assert len(world.tasks.created) < 5


@pytest.mark.parametrize(
    ("hidden", "advice"),
    [
        ("Event.Clockify_Time_Entry_Id__c", "sf project deploy start"),
        ("Event.Clockify_Hours__c", "sf project deploy start"),
    ],
)
def test_missing_field_queues_until_it_is_deployed(
    function: Function, world: World, hidden: str, advice: str
) -> None:
    world.salesforce.hidden.add(hidden)
    assert result(function.post("TIMER_STOPPED", payload())) == (202, "queued")
    assert advice in function.log[-1]["reason"]
    world.salesforce.hidden.clear()
    drain(world)
    assert world.salesforce.event(entry_id())


def test_missing_mark_field_costs_one_call_and_is_told_once(world: World, cold: Function) -> None:
    world.salesforce.hidden.add("Event.Clockify_Links__c")
    for number in range(5):
        response = cold.post("TIMER_STOPPED", payload(id=f"{entry_id()}{number}"))
        assert result(response) == (200, "created")
    # One more for what was refused, one for all look-ups of owners and links.
    assert world.salesforce.requests == [("POST", "composite")] * 7
    assert [len(line.get("left_out", [])) for line in cold.log] == [1, 0, 0, 0, 0]
    assert "sf project deploy start" in cold.log[0]["left_out"][0]


def test_token_endpoint_down_queues(world: World, cold: Function) -> None:
    world.salesforce.token_status = 503
    assert result(cold.post("TIMER_STOPPED", payload())) == (202, "queued")
    world.salesforce.token_status = None
    drain(world)
    assert world.salesforce.event(entry_id())


@pytest.mark.parametrize("what", ["down", "paused"])
def test_queue_down_too_is_503_and_never_a_false_2xx(
    function: Function, world: World, what: str
) -> None:
    world.salesforce.faults.limit = 1
    setattr(world.tasks, what, True)
    response = function.post("TIMER_STOPPED", payload())
    assert response.status_code == (503 if what == "down" else 202)
    assert len(world.tasks.waiting) == (0 if what == "down" else 1)
    if what == "down":
        assert "result" not in response.json()
        assert "roles/cloudtasks.enqueuer" in function.log[-1]["reason"]


def test_no_queue_is_503(world: World) -> None:
    function = Function(world, queue=False)
    try:
        world.salesforce.faults.limit = 1
        assert function.post("TIMER_STOPPED", payload()).status_code == 503
        assert "RETRY_QUEUE is not set" in function.log[-1]["reason"]
        world.salesforce.faults.clear()
        assert result(function.post("TIMER_STOPPED", payload())) == (200, "created")
    finally:
        function.stop()


def test_split_in_part_queues_the_rest_only(function: Function, world: World) -> None:
    parts = [payload("TIME_ENTRY_SPLIT", id=f"{entry_id()}{n}") for n in range(3)]
    parts[1]["description"] = "left behind"
    world.tasks.paused = True
    world.salesforce.faults.rule = 0.5
    world.salesforce.faults.chance.seed(1)
    response = function.post("TIME_ENTRY_SPLIT", parts)
    assert result(response) == (202, "queued")
    waiting = sum(each["result"] == "queued" for each in response.json()["entries"])
    assert 0 < waiting < 3
    assert len(world.salesforce.events()) == 3 - waiting
    world.salesforce.faults.clear()
    drain(world)
    assert len(world.salesforce.events()) == 3


def test_salesforce_down_ends_the_tries_of_a_list_and_queues_all_of_it(
    function: Function, world: World
) -> None:
    world.tasks.paused = True
    world.salesforce.faults.limit = 1
    parts = [payload("TIME_ENTRY_SPLIT", id=f"{entry_id()}{n}") for n in range(300)]
    assert result(function.post("TIME_ENTRY_SPLIT", parts)) == (202, "queued")
    assert len(world.salesforce.requests) == 1
    assert len(world.tasks.created) < 10
    # Clockify sends it once more: nothing is twice in the queue.
    tasks = len(world.tasks.waiting)
    function.post("TIME_ENTRY_SPLIT", parts)
    world.salesforce.faults.clear()
    drain(world)
    assert len(world.salesforce.events()) == 300
    assert tasks


@pytest.mark.parametrize("char", ["x", "é", "🙂", "\n", "\\", "\u0001"])
def test_message_too_large_for_a_task_waits_all_the_same(
    function: Function, world: World, char: str
) -> None:
    entry = payload(
        description="Plan: " + char * 100_000,
        customFieldValues=[{"value": "v" * 1000}] * 300,
        tags=[{"name": f"tag {n}"} for n in range(500)],
    )
    body = json.dumps(entry, ensure_ascii=False).encode()
    assert len(body) > 300_000
    assert result(function.post("TIMER_STOPPED", body)) == (200, "created")
    direct = world.salesforce.event(entry_id())
    world.salesforce.reset()
    world.salesforce.faults.limit = 1
    again = entry | {"id": f"{entry_id()}2"}
    body = json.dumps(again, ensure_ascii=False).encode()
    assert result(function.post("TIMER_STOPPED", body)) == (202, "queued")
    world.salesforce.faults.clear()
    drain(world)
    queued = world.salesforce.event(f"{entry_id()}2")
    assert direct is not None
    assert queued is not None
    for name in ("Subject", "Description", "StartDateTime", "EndDateTime", "Clockify_Tags__c"):
        assert queued[name] == direct[name]


# --- What Salesforce's documentation does not say: either answer is safe --------------------------


@pytest.mark.parametrize("hides", [False, True])
def test_event_of_over_a_year_ago_is_edited_and_deleted(
    function: Function, world: World, hides: bool
) -> None:
    world.salesforce.archive_hides_id = hides
    interval = {"start": "2024-11-04T08:30:00Z", "end": "2024-11-04T09:30:00Z"}
    old = payload(timeInterval=interval)
    assert result(function.post("TIMER_STOPPED", old)) == (200, "created")
    edited = old | {"description": "edited"}
    assert result(function.post("TIME_ENTRY_UPDATED", edited)) == (200, "updated")
    (event,) = world.salesforce.events()
    assert event["Description"].startswith("edited")
    assert result(function.post("TIME_ENTRY_DELETED", edited)) == (200, "deleted")
    assert world.salesforce.events() == []


def test_recycle_bin_that_keeps_the_entrys_id_is_told_until_it_is_emptied(
    function: Function, world: World
) -> None:
    world.salesforce.bin_keeps_unique = True
    function.post("TIMER_STOPPED", payload())
    function.post("TIME_ENTRY_DELETED", payload())
    world.tasks.paused = True
    assert result(function.post("TIME_ENTRY_RESTORED", payload())) == (202, "queued")
    assert function.log[-1]["severity"] == "ERROR"
    assert "recycle bin" in function.log[-1]["reason"]
    world.salesforce.forget_events()
    drain(world)
    assert world.salesforce.event(entry_id())


# --- The marker of a queued request ---------------------------------------------------------------

MARK = "X-First-Received"
DAY_MS = 24 * 3600 * 1000


def newest_ms(world: World) -> int:
    """The first receipt that the state of the test's entry holds."""
    return int(json.loads(state_of(world, entry_id())["State__c"])["ms"])


def state_of(world: World, name: str) -> dict[str, Any]:
    """The record that holds what has been taken of an entry."""
    states = world.salesforce.records["Clockify_State__c"].values()
    return next(each for each in states if each["Key__c"] == f"time_entry:{name}")


@pytest.mark.parametrize("mark", ["", "soon", "-5", "1e3", "0x10", "9" * 400, "١٢٣"])
def test_odd_first_receipt_is_treated_as_now(function: Function, world: World, mark: str) -> None:
    now = time.time_ns() // 1_000_000
    response = function.post("TIMER_STOPPED", payload(), headers={MARK: mark.encode()})  # type: ignore[dict-item]
    assert result(response) == (200, "created")
    assert now <= newest_ms(world) <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("name", [MARK, "Clockify-First-Received"])
@pytest.mark.parametrize("age_ms", [-60_000, 6.9 * DAY_MS])
def test_first_receipt_of_a_queued_request_is_believed(
    function: Function, world: World, name: str, age_ms: float
) -> None:
    first_ms = time.time_ns() // 1_000_000 - int(age_ms)
    response = function.post("TIMER_STOPPED", payload(), headers={name: str(first_ms)})
    assert result(response) == (200, "created")
    assert newest_ms(world) == first_ms


@pytest.mark.parametrize("days", [7.1, 30, 19_000])
def test_queued_request_past_seven_days_is_given_up_out_loud(
    function: Function, world: World, days: float
) -> None:
    world.salesforce.faults.limit = 1
    first_ms = max(0, time.time_ns() // 1_000_000 - int(days * DAY_MS))
    response = function.post("TIMER_STOPPED", payload(), headers={MARK: str(first_ms)})
    assert result(response) == (200, "expired")
    assert world.tasks.created == []
    assert world.salesforce.requests == []
    line = function.log[-1]
    assert (line["severity"], line["entry"]) == ("ERROR", entry_id())
    assert "commands.backfill" in line["reason"]


def test_queued_request_needs_a_signature_like_any_other(function: Function, world: World) -> None:
    headers = {MARK: str(time.time_ns() // 1_000_000), "X-CloudTasks-QueueName": "q"}
    response = function.post("TIMER_STOPPED", payload(), signature="x" * 32, headers=headers)
    assert response.status_code == 401


def test_earlier_first_receipt_cannot_replace_a_newer_state(
    function: Function, world: World
) -> None:
    assert result(function.post("TIMER_STOPPED", payload())) == (200, "created")
    version = newest_ms(world)
    headers = {MARK: str(version - 1000)}
    old = payload(description="older")
    assert result(function.post("TIME_ENTRY_UPDATED", old, headers=headers)) == (200, "stale")
    assert newest_ms(world) == version


@pytest.mark.parametrize(("fault", "status"), [("limit", 503), ("rule", 500)])
def test_queued_request_that_fails_again_hears_500_where_only_an_admin_can_help(
    function: Function, world: World, fault: str, status: int
) -> None:
    setattr(world.salesforce.faults, fault, 1)
    headers = {MARK: str(time.time_ns() // 1_000_000)}
    assert function.post("TIMER_STOPPED", payload(), headers=headers).status_code == status
    assert world.tasks.created == []


# --- Order ----------------------------------------------------------------------------------------


def states(name: str) -> dict[str, tuple[str, Entry]]:
    """The four messages of one entry, each with a state of its own."""
    return {kind: (NAMES[kind], payload(id=name, description=kind)) for kind in NAMES}


def expected(kinds: tuple[str, ...], delayed: str) -> set[str | None]:
    """The last state by first receipt; a deleted entry comes back only by being restored.

    Clockify edits no deleted entry: what comes for one waits for what restores it, and is newer,
    unless Salesforce did not know of it when it was restored.
    """
    states: set[str | None] = {None}
    waiting: set[str | None] = set()
    gone = False
    for kind in kinds:
        if kind == "delete":
            states, gone = {None}, True
        elif kind == "restore" and gone:
            told = not waiting or delayed in waiting | {"delete"}
            states, gone, waiting = waiting | ({kind} if told else set()), False, set()
        elif gone:
            waiting = {kind}
        else:
            states = {kind}
    return states


def contradicts(kinds: tuple[str, ...], delayed: str) -> bool:
    """A deletion waits, and what comes after it does not: only who received both knows of it."""
    after = kinds[kinds.index("delete") + 1 :]
    return delayed == "delete" and after[:1] in (("create",), ("edit",))


ORDERS = [
    (kinds, delayed)
    for size in (("create", "edit", "delete"), ("create", "edit", "delete", "restore"))
    for kinds in itertools.permutations(size)
    for delayed in kinds
]


@pytest.mark.parametrize("restarted", [False, True])
def test_every_order_with_any_one_message_late_ends_in_the_last_state(
    world: World, cold: Function, restarted: bool
) -> None:
    world.tasks.paused = True
    wanted: dict[str, tuple[set[str | None], str]] = {}
    for number, (kinds, delayed) in enumerate(ORDERS):
        if restarted and contradicts(kinds, delayed):
            continue
        name = f"{entry_id()}{number}"
        wanted[name] = (expected(kinds, delayed), f"{' '.join(kinds)}, {delayed} late")
        for kind in kinds:
            world.salesforce.faults.limit = 1 if kind == delayed else 0
            assert cold.post(*states(name)[kind]).ok
    world.salesforce.faults.clear()
    if restarted:  # nothing is remembered
        cold.kill()
        cold.start()
    settle(world)
    wrong = []
    for name, (right, story) in wanted.items():
        event = world.salesforce.event(name)
        held = event and event["Description"].split("\n")[0]
        if held not in right:
            wrong.append(f"{story}: {held} instead of {right}")
    assert wrong == []


@pytest.mark.parametrize("queued", [False, True])
def test_edit_of_a_deleted_entry_waits_for_what_restores_it_after_a_restart_too(
    world: World, cold: Function, queued: bool
) -> None:
    assert result(cold.post("TIMER_STOPPED", payload())) == (200, "created")
    assert result(cold.post("TIME_ENTRY_DELETED", payload())) == (200, "deleted")
    cold.kill()
    cold.start()
    world.salesforce.faults.limit = 1 if queued else 0
    response = cold.post("TIME_ENTRY_UPDATED", payload(description="edited since"))
    assert result(response) == (202, "queued")
    world.salesforce.faults.clear()
    settle(world)
    assert "what restores it may be on its way" in cold.log[-1]["reason"]
    assert world.salesforce.events() == []
    assert result(cold.post("TIME_ENTRY_RESTORED", payload())) == (200, "created")
    # It was received after the deletion, so that what restored it was only overtaken.
    drain(world)
    (event,) = world.salesforce.events()
    assert event["Description"].startswith("edited since")


def test_edit_of_a_deleted_entry_is_stale_once_nothing_can_restore_it_any_more(
    function: Function, world: World
) -> None:
    function.post("TIMER_STOPPED", payload())
    function.post("TIME_ENTRY_DELETED", payload())
    three_hours = 3 * 3600 * 1000
    headers = {MARK: str(newest_ms(world) + 1)}
    edited = payload(description="edited")
    assert function.post("TIME_ENTRY_UPDATED", edited, headers=headers).status_code == 500
    state = state_of(world, entry_id())
    shifted = re.sub(r"1\d{12}", lambda ms: str(int(ms[0]) - three_hours), state["State__c"])
    world.salesforce.change(
        "Clockify_State__c",
        state["Id"],
        State__c=shifted,
        Based_On__c=state["Version__c"],
        Version__c=state["Version__c"] + 1,
    )
    headers = {MARK: str(int(headers[MARK]) - three_hours)}
    response = function.post("TIME_ENTRY_UPDATED", edited, headers=headers)
    assert result(response) == (200, "stale")


def test_edit_brings_back_an_event_that_a_person_deleted_in_salesforce(
    function: Function, world: World
) -> None:
    function.post("TIMER_STOPPED", payload())
    event = world.salesforce.event(entry_id())
    assert event is not None
    world.salesforce.remove("Event", event["Id"])
    edited = payload(description="edited")
    assert result(function.post("TIME_ENTRY_UPDATED", edited)) == (200, "created")


def deliver_task(world: World, number: int) -> tuple[int, str]:
    """Let the queue deliver one of its tasks, counted in their order, while it stands still."""
    task = list(world.tasks.waiting.values())[number]
    response = requests.post(task.url, data=task.body, headers=task.headers, timeout=30)
    if response.ok:
        world.tasks.waiting.pop(task.name)
    return result(response)


def send(
    world: World, function: Function, kind: str, *, late: bool = False, **changes: Any
) -> None:
    """Send one message of the test's entry, straight or through the queue."""
    world.salesforce.faults.limit = 1 if late else 0
    response = function.post(NAMES[kind], payload(**changes))
    assert response.status_code == (202 if late else 200)
    world.salesforce.faults.clear()


def test_late_create_that_is_taken_back_does_not_void_a_late_restore(
    world: World, cold: Function
) -> None:
    world.tasks.paused = True
    send(world, cold, "create", late=True)
    send(world, cold, "delete")
    send(world, cold, "restore", late=True, description="restored")
    cold.kill()
    cold.start()
    assert deliver_task(world, 0) == (200, "stale")
    assert deliver_task(world, 0) == (200, "created")
    assert world.salesforce.event(entry_id())


def test_late_deletion_does_not_hide_a_later_one(world: World, cold: Function) -> None:
    world.tasks.paused = True
    send(world, cold, "create")
    send(world, cold, "delete", late=True)
    send(world, cold, "restore", late=True)
    send(world, cold, "delete", description="edited, then deleted again")
    cold.kill()
    cold.start()
    deliver_task(world, 0)
    deliver_task(world, 0)
    assert world.salesforce.events() == []


def test_deletion_answered_503_leaves_its_tombstone_when_it_comes_again(
    world: World, cold: Function
) -> None:
    world.tasks.paused = True
    send(world, cold, "create", late=True)
    world.salesforce.faults.limit = 1
    world.tasks.down = True
    assert cold.post(NAMES["delete"], payload()).status_code == 503
    world.tasks.down = False
    send(world, cold, "delete")
    cold.kill()
    cold.start()
    assert deliver_task(world, 0) == (200, "stale")
    assert world.salesforce.events() == []


def test_late_deletion_passes_a_rule_that_refuses_its_stamp(world: World, cold: Function) -> None:
    world.tasks.paused = True
    send(world, cold, "create")
    send(world, cold, "delete", late=True)
    world.salesforce.faults.rule = 1
    assert deliver_task(world, 0) == (200, "deleted")
    assert world.salesforce.events() == []


def test_part_of_a_split_with_odd_fields_waits_too(function: Function, world: World) -> None:
    world.tasks.paused = True
    parts = [
        payload("TIME_ENTRY_SPLIT", id=f"{entry_id()}1", workspaceId="\ud800"),
        payload("TIME_ENTRY_SPLIT", id=f"{entry_id()}2", type="x" * 200_000),
    ]
    world.salesforce.faults.limit = 1
    assert result(function.post("TIME_ENTRY_SPLIT", parts)) == (202, "queued")
    world.salesforce.faults.clear()
    drain(world)
    assert len(world.salesforce.events()) == 2


@pytest.mark.parametrize(("instances", "seed"), [(1, 20261102), (3, 7)])
def test_random_lives_with_faults_and_instances_that_end_are_right_in_the_end(
    world: World, instances: int, seed: int
) -> None:
    print(f"seed {seed}")
    service = CloudRun(world, instances=instances, settings=settings(key=True))
    try:
        outcome = Soak(world, service, seed, key=True).run(2000, ends=True)
    finally:
        service.close()
    print(outcome, *outcome.stories, sep="\n")
    assert outcome.sent >= 2000
    assert outcome.wrong == []


def test_random_lives_without_a_key_on_one_instance_that_lives_are_right_in_the_end(
    world: World,
) -> None:
    service = CloudRun(world, instances=1, settings=settings(key=False))
    try:
        outcome = Soak(world, service, 5, key=False).run(2000)
    finally:
        service.close()
    print(outcome, *outcome.stories, sep="\n")
    assert outcome.wrong == []


def test_hundred_copies_32_at_once_over_three_instances_make_one_event(world: World) -> None:
    service = CloudRun(world, instances=3, settings=settings(key=False))
    try:
        headers = {
            "Clockify-Signature": world.signing_secret,
            "Clockify-Webhook-Event-Type": "TIMER_STOPPED",
        }

        def send(_: int) -> int:
            entry = payload()
            return requests.post(service.url, json=entry, headers=headers, timeout=30).status_code

        with concurrent.futures.ThreadPoolExecutor(32) as copies:
            assert set(copies.map(send, range(100))) == {200}
    finally:
        service.close()
    assert len(world.salesforce.events()) == 1


# --- The function dies, secrets change, load ------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_function_dying_in_a_burst_loses_nothing_that_was_answered_2xx(
    world: World, cold: Function, how: str
) -> None:
    world.salesforce.latency = 0.1
    world.salesforce.faults.limit = 0.3
    world.tasks.paused = True
    taken: list[str] = []

    def send(number: int) -> None:
        name = f"{entry_id()}{number}"
        try:
            if cold.post("NEW_TIME_ENTRY", payload(id=name)).ok:
                taken.append(name)
        except OSError:  # nobody is there: Clockify would send it again
            pass

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        sent = [pool.submit(send, number) for number in range(200)]
        wait_until(lambda: len(taken) > 40, world)
        getattr(cold, how)()
        concurrent.futures.wait(sent)
    assert 40 < len(taken) < 200
    world.salesforce.faults.clear()
    cold.start()
    drain(world)
    held = {event["Clockify_Time_Entry_Id__c"] for event in world.salesforce.events()}
    assert set(taken) <= held


def test_secrets_rotated_in_mid_stream_refuse_nothing(world: World, cold: Function) -> None:
    old, new = world.signing_secret, "n" * 32
    stop = False
    refused = []

    def stream(signatures: Iterator[str]) -> None:
        for number, signature in enumerate(signatures):
            if stop:
                return
            name = f"{entry_id()}{number}"
            response = cold.post("NEW_TIME_ENTRY", payload(id=name), signature=signature)
            if response.status_code not in (200, 202):
                refused.append(response.status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        work = [pool.submit(stream, itertools.repeat(old)) for _ in range(4)]
        time.sleep(0.5)
        world.salesforce.faults.limit = 0.3
        world.secrets["signing-secrets"].append(f"{old}\n{new}")
        work += [pool.submit(stream, itertools.repeat(new)) for _ in range(4)]
        time.sleep(1)
        stop = True
        concurrent.futures.wait(work)
    assert refused == []
    world.salesforce.faults.clear()
    drain(world)
    assert world.tasks.created
    assert all(task.answers[-1] == 200 for task in world.tasks.created)


def test_50_messages_a_second_for_a_minute(world: World, cold: Function) -> None:
    world.salesforce.latency = 0.2
    answers = []

    def send(number: int) -> None:
        response = cold.post("NEW_TIME_ENTRY", payload(id=f"{entry_id()}{number}"))
        answers.append((response.status_code, response.elapsed.total_seconds()))

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        for number in range(3000):
            time.sleep(max(0.0, began + number / 50 - time.monotonic()))
            pool.submit(send, number)
    assert [status for status, _ in answers if status != 200] == []
    assert len(answers) == len(world.salesforce.events()) == 3000
    assert world.salesforce.sign_ins == 1
    assert time.monotonic() - began < 65
