"""secret.py and retry_queue.py against a Google Cloud that answers as the real one does at times:
late, not at all, or on a connection that it has forgotten.
"""

import concurrent.futures
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import entry_id, payload

from clockify_salesforce import secret as secret_module
from clockify_salesforce.errors import QueueUnavailable, SecretUnavailable
from clockify_salesforce.retry_queue import enqueue
from clockify_salesforce.secret import Secret, SigningSecrets
from sandbox.google_cloud import PROJECT, QUEUE
from sandbox.world import Function, World

SECRETS, TASKS = "secretmanager.googleapis.com", "cloudtasks.googleapis.com"
NAME = f"projects/{PROJECT}/secrets/signing-secrets"
NEW = "n" * 32
GIVEN_UP = ("reset", "swallowed")


@pytest.fixture
def google(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """This process in that world."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return world


def seconds(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


# --- A secret -------------------------------------------------------------------------------------


def test_secret_is_read_once_for_all_threads(google: World) -> None:
    secret = Secret(NAME)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        values = set(pool.map(lambda _: secret.value(), range(100)))
    assert values == {google.signing_secret}
    assert google.secret_manager.reads == [f"{NAME}/versions/latest"]


def test_named_version_is_read_as_it_is_named(google: World) -> None:
    google.secrets["signing-secrets"].append("second")
    assert Secret(f"{NAME}/versions/1").value() == google.signing_secret
    assert Secret(f"{NAME}/versions/2").value() == "second"


def test_secret_is_read_again_after_its_time(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secrets["signing-secrets"].append("second")
    assert secret.value() == google.signing_secret
    make_due(monkeypatch)
    assert secret.value() == "second"


def make_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every value in memory be read again."""
    monkeypatch.setattr(secret_module, "KEPT_S", -1.0)
    monkeypatch.setattr(secret_module, "REFRESH_AGAIN_S", -1.0)


def test_secret_that_cannot_be_read_serves_on_and_is_not_asked_for_each_time(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secret_manager.down = True
    monkeypatch.setattr(secret_module, "KEPT_S", -1.0)
    assert {secret.value() for _ in range(10)} == {google.signing_secret}
    tries = len(google.secret_manager.reads)
    assert {secret.value() for _ in range(10)} == {google.signing_secret}
    assert len(google.secret_manager.reads) == tries


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
def test_newest_version_that_is_disabled_is_no_value_and_the_one_in_memory_serves_on(
    google: World, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secret_manager.states["signing-secrets", 1] = state
    make_due(monkeypatch)
    assert secret.value() == google.signing_secret
    with pytest.raises(SecretUnavailable, match="FailedPrecondition"):
        Secret(NAME).value()


@pytest.mark.parametrize("name", ["missing", "signing-secrets/versions/7"])
def test_secret_that_is_not_there_names_itself_and_the_role(google: World, name: str) -> None:
    with pytest.raises(SecretUnavailable, match=r"secretmanager\.secretAccessor") as caught:
        Secret(f"projects/{PROJECT}/secrets/{name}").value()
    assert name in str(caught.value)


def test_quota_that_is_used_up_for_a_moment_is_overcome(google: World) -> None:
    google.secret_manager.trouble.exhausted = True
    timer = threading.Timer(0.3, lambda: setattr(google.secret_manager.trouble, "exhausted", False))
    timer.start()
    assert Secret(NAME).value() == google.signing_secret


def test_failure_is_remembered_for_all(google: World) -> None:
    secret = Secret(f"projects/{PROJECT}/secrets/missing")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        failures = [pool.submit(secret.value).exception() for _ in range(200)]
    assert {type(failure) for failure in failures} == {SecretUnavailable}
    assert len(google.secret_manager.reads) <= 2


def test_hanging_secret_manager_keeps_few_callers_and_the_others_hear_at_once(
    google: World,
) -> None:
    google.secret_manager.trouble.slow = 5.0
    secret = Secret(NAME)

    def failing(_: int) -> float:
        with pytest.raises(SecretUnavailable):
            secret.value()
        return 0.0

    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(failing, 0) for _ in range(1 + secret_module.FEW)]
        time.sleep(0.1)
        # Nobody knows at the first read: the others wait a moment, and then not any more.
        assert seconds(lambda: failing(0)) < 1.0
        assert seconds(lambda: list(pool.map(failing, range(100)))) < 0.5
        assert not any(each.done() for each in waiting)


@pytest.mark.parametrize("how", GIVEN_UP)
def test_value_in_memory_serves_on_over_a_connection_that_is_given_up(
    google: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secrets["signing-secrets"].append("second")
    google.internet.give_up(SECRETS, how)
    make_due(monkeypatch)
    assert seconds(secret.value) < 1.0
    assert secret.value() == "second"


# --- Signing secrets ------------------------------------------------------------------------------


@pytest.fixture
def signing(google: World) -> SigningSecrets:
    """Signing secrets that are in memory."""
    secrets = SigningSecrets(NAME)
    assert secrets.matches(google.signing_secret.encode())
    google.secret_manager.reads.clear()
    return secrets


def test_every_line_is_a_signing_secret_and_nothing_else_is(google: World) -> None:
    one, other = "a" * 16, "b" * 40
    google.secrets["signing-secrets"] = [f"{one}\r\n\n  {other}  \n# added by Ada\nshort\n"]
    secrets = SigningSecrets(NAME)
    assert secrets.matches(one.encode())
    assert secrets.matches(other.encode())
    for wrong in ("", "#", "added", "by", "Ada", "short", "# added by Ada", one + "\n", one[:-1]):
        assert not secrets.matches(wrong.encode())


def test_line_that_is_no_signing_secret_is_told_once_by_its_number(
    google: World, capsys: pytest.CaptureFixture[str]
) -> None:
    google.secrets["signing-secrets"] = [f"{NEW}\nshort\n\n{NEW} {NEW}"]
    secrets = SigningSecrets(NAME)
    for _ in range(3):
        assert secrets.matches(NEW.encode())
        assert not secrets.matches(b"wrong")
    (line,) = capsys.readouterr().out.splitlines()
    assert '"severity": "ERROR"' in line
    assert "signing-secrets/versions/1: line 2, 4 is no signing secret" in line
    assert "short" not in line
    assert NEW not in line


@pytest.mark.parametrize("text", ["", "\n\n", "short", "# nothing here", f"{NEW} {NEW}", "\ufeff"])
def test_version_without_any_signing_secret_is_as_if_it_could_not_be_read(
    google: World, monkeypatch: pytest.MonkeyPatch, signing: SigningSecrets, text: str
) -> None:
    google.secrets["signing-secrets"].append(text)
    make_due(monkeypatch)
    assert signing.matches(google.signing_secret.encode())
    assert not signing.matches(text.encode())
    with pytest.raises(SecretUnavailable, match="versions/2 holds no signing secret"):
        SigningSecrets(NAME).matches(google.signing_secret.encode())


def test_new_signing_secret_is_found_by_number_while_latest_is_late(
    google: World, monkeypatch: pytest.MonkeyPatch, signing: SigningSecrets
) -> None:
    google.secret_manager.latest["signing-secrets"] = 1
    google.secrets["signing-secrets"].append(NEW)
    assert signing.matches(NEW.encode())
    assert not signing.matches(google.signing_secret.encode())
    make_due(monkeypatch)  # and `latest`, read again, does not bring the old one back
    assert signing.matches(NEW.encode())


def test_secret_that_was_deleted_and_made_anew_is_taken_with_its_lower_number(
    google: World,
) -> None:
    google.secrets["signing-secrets"].append("o" * 32)
    signing = SigningSecrets(NAME)
    assert signing.matches(b"o" * 32)
    google.secrets["signing-secrets"] = [NEW]
    assert signing.matches(NEW.encode())
    assert not signing.matches(b"o" * 32)


def test_new_signing_secret_is_found_past_versions_that_are_of_no_use(
    google: World, signing: SigningSecrets
) -> None:
    google.secret_manager.latest["signing-secrets"] = 1
    google.secrets["signing-secrets"] += ["disabled" * 4, "", NEW]
    google.secret_manager.states["signing-secrets", 2] = "DISABLED"
    assert signing.matches(NEW.encode())


def test_stranger_a_moment_ago_keeps_no_new_signing_secret_out(
    google: World, signing: SigningSecrets
) -> None:
    assert not signing.matches(b"stranger's")
    google.secrets["signing-secrets"].append(NEW)
    assert signing.matches(NEW.encode())


def test_unknown_signatures_look_three_times_at_once_and_then_now_and_again(
    google: World, monkeypatch: pytest.MonkeyPatch, signing: SigningSecrets
) -> None:
    monkeypatch.setattr(secret_module, "LOOK_EVERY_S", 0.5)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert not any(pool.map(lambda n: signing.matches(b"%d" % n), range(500)))
    assert 1 <= google.secret_manager.reads.count(f"{NAME}/versions/latest") <= 4
    google.secrets["signing-secrets"].append(NEW)
    deadline = time.monotonic() + 2
    while not signing.matches(NEW.encode()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("trouble", ["down", "slow"])
def test_unknown_signatures_hear_at_once_whatever_secret_manager_does(
    google: World, signing: SigningSecrets, trouble: str
) -> None:
    setattr(google.secret_manager.trouble, trouble, 4.0)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        looking = [pool.submit(signing.matches, b"looks") for _ in range(secret_module.LOOKERS)]
        time.sleep(0.2)
        assert seconds(lambda: list(pool.map(signing.matches, [b"wrong"] * 500))) < 0.5
        known = google.signing_secret.encode()
        assert seconds(lambda: list(pool.map(signing.matches, [known] * 500))) < 0.5
        google.secret_manager.trouble.slow = 0.0
        assert not any(look.result() for look in looking)


@pytest.mark.parametrize("how", GIVEN_UP)
def test_new_signing_secret_is_found_over_a_connection_that_is_given_up(
    google: World, signing: SigningSecrets, how: str
) -> None:
    google.secrets["signing-secrets"].append(NEW)
    google.internet.give_up(SECRETS, how)
    assert seconds(lambda: signing.matches(NEW.encode())) < 3.0
    assert signing.matches(NEW.encode())


def test_wrong_signatures_take_the_same_time_however_much_of_them_is_right(
    google: World, signing: SigningSecrets
) -> None:
    right = google.signing_secret
    wrong = {"from the start": "x" + right[1:], "at the end": right[:-1] + "x"}
    for _ in range(5):
        signing.matches(b"wrong")  # until there is no look for a while
    times: dict[str, list[int]] = {kind: [] for kind in wrong}
    for _ in range(10_000):
        for kind, signature in wrong.items():
            began = time.perf_counter_ns()
            signing.matches(signature.encode())
            times[kind].append(time.perf_counter_ns() - began)
    start, end = (statistics.median(times[kind]) for kind in wrong)
    assert abs(start - end) < 0.05 * start


# --- The retry queue ------------------------------------------------------------------------------


def put(body: bytes = b"{}", *, queue: str = QUEUE, within_s: float = 7.5, name: str = "") -> None:
    deadline = time.monotonic() + within_s
    enqueue(queue, "http://127.0.0.1:1/", {}, body, deadline=deadline, name=name)


@pytest.fixture
def queue(google: World) -> World:
    """A queue that holds what it gets, and a connection to it."""
    google.tasks.paused = True
    put()
    google.tasks.created.clear()
    return google


def test_task_over_100_kb_is_told(queue: World) -> None:
    put(b"x" * 99_000)
    with pytest.raises(QueueUnavailable, match="InvalidArgument"):
        put(b"x" * 110_000)


def test_queue_that_is_not_there_names_itself_and_the_role(queue: World) -> None:
    with pytest.raises(QueueUnavailable, match=r"other did not take .* roles/cloudtasks\.enqueuer"):
        put(queue=QUEUE.replace("clockify-salesforce-retry", "other"))
    queue.tasks.found = False  # it was made a moment ago
    with pytest.raises(QueueUnavailable, match="FailedPrecondition"):
        put()


@pytest.mark.parametrize("how", GIVEN_UP)
def test_task_is_created_over_a_connection_that_is_given_up(queue: World, how: str) -> None:
    queue.internet.give_up(TASKS, how)
    assert seconds(put) < 2.5
    assert len(queue.tasks.created) == 1


def test_many_at_once_are_created_over_a_connection_that_is_swallowed(queue: World) -> None:
    queue.internet.give_up(TASKS, "swallowed")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert seconds(lambda: list(pool.map(lambda _: put(), range(20)))) < 3.5
    assert len(queue.tasks.created) == 20


def test_queue_whose_quota_is_used_up_for_a_moment_takes_it(queue: World) -> None:
    queue.tasks.trouble.exhausted = True
    threading.Timer(0.3, lambda: setattr(queue.tasks.trouble, "exhausted", False)).start()
    put()
    assert len(queue.tasks.created) == 1


@pytest.mark.parametrize("trouble", ["down", "slow"])
@pytest.mark.parametrize("within_s", [0.5, 7.5])
def test_queue_that_takes_nothing_is_told_in_time(
    queue: World, trouble: str, within_s: float
) -> None:
    setattr(queue.tasks.trouble, trouble, 4.0)
    began = time.monotonic()
    with pytest.raises(QueueUnavailable):
        put(within_s=within_s)
    # It may take 3 s, however much more time is left.
    assert time.monotonic() - began < min(within_s, 3.0) + 0.5


def test_no_time_left_is_told_at_once(queue: World) -> None:
    with pytest.raises(QueueUnavailable, match="no time left"):
        put(within_s=-0.1)
    assert queue.tasks.created == []


def test_task_with_a_name_stands_in_the_queue_once(queue: World) -> None:
    for _ in range(3):
        put(name="a" * 40)
    put(name="b" * 40)
    assert [task.name.rpartition("/")[2] for task in queue.tasks.created] == ["a" * 40, "b" * 40]


# --- An instance that is frozen, as every idle one is ---------------------------------------------


@pytest.fixture
def frozen(world: World) -> Iterator[Function]:
    """A function of the test's own under Cloud Run's shortest time-out; it has served nothing."""
    function = Function(world, CLOUD_RUN_TIMEOUT_SECONDS="1")
    yield function
    function.stop()


def freeze(function: Function, for_s: float, *, meanwhile: Callable[[], Any]) -> None:
    """Stop all of its processes as Cloud Run does, which gives an idle instance no CPU."""
    os.killpg(function.pid, signal.SIGSTOP)
    try:
        time.sleep(for_s)
        meanwhile()
    finally:
        os.killpg(function.pid, signal.SIGCONT)


def workers(function: Function) -> str:
    return Path(f"/proc/{function.pid}/task/{function.pid}/children").read_text()


def test_frozen_instance_answers_what_came_meanwhile_with_the_same_worker_ten_times(
    frozen: Function,
) -> None:
    assert frozen.post("TIMER_STOPPED", payload()).status_code == 200
    before = workers(frozen)
    sent: list[concurrent.futures.Future[Any]] = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def send() -> None:
            entry = payload(id=f"{entry_id()}{len(sent)}")
            sent.append(pool.submit(frozen.post, "TIMER_STOPPED", entry))

        for _ in range(10):
            freeze(frozen, 1.2, meanwhile=send)  # gunicorn looks once a second
            assert sent[-1].result().status_code == 200
            assert workers(frozen) == before


@pytest.mark.parametrize("how", ["answered", "swallowed"])
def test_read_that_began_before_a_freeze_neither_fails_nor_delays_the_message_after_it(
    world: World, frozen: Function, how: str
) -> None:
    secret_manager = world.secret_manager
    secret_manager.trouble.slow = 1.0 if how == "answered" else 6.0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(frozen.post, "NEW_TAG", {}, signature="x" * 32)
        while not secret_manager.reads:
            time.sleep(0.01)

        def meanwhile() -> None:
            secret_manager.trouble.slow = 0.0
            if how != "answered":
                world.internet.give_up(SECRETS, how)

        freeze(frozen, secret_module.READ_S + secret_module.FROZEN_S + 0.3, meanwhile=meanwhile)
        answer = frozen.post("TIMER_STOPPED", payload())
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 1.0


def test_signals_in_bursts_end_no_message(frozen: Function) -> None:
    bursts = (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [
            pool.submit(frozen.post, "TIMER_STOPPED", payload(id=f"{entry_id()}{number}"))
            for number in range(40)
        ]
        for _ in range(100):
            for each in bursts:
                os.killpg(frozen.pid, each)
            os.killpg(frozen.pid, signal.SIGCONT)
            time.sleep(0.002)
    assert {each.result().status_code for each in sent} == {200}


# --- End to end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", GIVEN_UP)
def test_message_is_queued_over_a_connection_that_is_given_up(
    function: Function, world: World, how: str
) -> None:
    world.tasks.paused = True
    world.salesforce.faults.limit = 1
    assert function.post("TIMER_STOPPED", payload()).status_code == 202
    world.internet.give_up(TASKS, how)
    answer = function.post("TIMER_STOPPED", payload(id=entry_id() + "a"))
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < 7.5
    assert len(world.tasks.created) == 2


def test_regenerated_signing_secret_works_with_the_next_message(
    function: Function, world: World
) -> None:
    world.secret_manager.latest["signing-secrets"] = 1
    world.secrets["signing-secrets"].append(f"{world.signing_secret}\n{NEW}")
    assert function.post("NEW_TAG", {}, signature=NEW).status_code == 200
    assert function.post("NEW_TAG", {}).status_code == 200
