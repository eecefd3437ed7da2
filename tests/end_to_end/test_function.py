"""The function as it is served, end to end: real HTTP in, a Salesforce that refuses what the real
one refuses behind it. A good request is built once; each test spoils one thing.
"""

import concurrent.futures
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import entry_id, payload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapping
from clockify_salesforce.secret import FAILURE_S
from sandbox import salesforce
from sandbox.clockify import KEY
from sandbox.google_cloud import PROJECT
from sandbox.world import Function, World

# What Clockify's test button sends: an entry of its documentation's, made in 2020.
TEST_BUTTON = {"id": "5f1e5c5e2e5e4b0007e1a001", "description": "Webhook Test Description"}


def answer(response: Any) -> tuple[int, str]:
    return response.status_code, response.json().get("result", "")


def interval(start: Any, end: Any) -> dict[str, Any]:
    return {"timeInterval": {"start": start, "end": end}}


# --- What becomes of a message --------------------------------------------------------------------


def test_timer_stopped_creates_the_event(function: Function, world: World) -> None:
    response = function.post("TIMER_STOPPED", payload())
    assert answer(response) == (200, "created")
    assert response.json() == {"result": "created", "id": entry_id()}
    event = world.salesforce.event(entry_id())
    assert event is not None
    assert event["Subject"] == "Clockify"
    assert event["StartDateTime"] == "2026-11-02T08:30:00.000+0000"
    assert event["EndDateTime"] == "2026-11-02T10:05:30.000+0000"
    assert event["OwnerId"] == world.salesforce.USER_ID
    assert world.salesforce.requests == [("POST", "composite")]


def test_start_stop_edit_delete_restore_in_order(function: Function, world: World) -> None:
    steps = [
        ("NEW_TIMER_STARTED", payload("NEW_TIMER_STARTED"), "ignored", None),
        ("TIMER_STOPPED", payload(), "created", "10:05:30"),
        ("TIME_ENTRY_UPDATED", payload("TIME_ENTRY_UPDATED"), "updated", "10:30:00"),
        ("TIME_ENTRY_DELETED", payload("TIME_ENTRY_UPDATED"), "deleted", None),
        ("TIME_ENTRY_RESTORED", payload("TIME_ENTRY_RESTORED"), "created", "10:05:30"),
    ]
    for event_type, entry, result, end in steps:
        assert answer(function.post(event_type, entry)) == (200, result)
        event = world.salesforce.event(entry_id())
        assert (event and event["EndDateTime"][11:19]) == end


def test_hundred_repeats_at_once_make_one_event(function: Function, world: World) -> None:
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: function.post("TIMER_STOPPED", payload()), range(100)))
    assert {response.status_code for response in answers} == {200}
    assert sum(response.json()["result"] == "created" for response in answers) == 1
    assert len(world.salesforce.records["Event"]) == 1


@pytest.mark.parametrize("event_type", ["NEW_TIME_ENTRY", "TIME_ENTRY_SPLIT", None])
def test_event_type_upserts(function: Function, world: World, event_type: str | None) -> None:
    assert answer(function.post(event_type, payload("NEW_TIME_ENTRY"))) == (200, "created")
    assert len(world.salesforce.events()) == 1


def test_split_list_writes_each_entry(function: Function, world: World) -> None:
    parts = [payload("TIME_ENTRY_SPLIT", id=entry_id() + name) for name in ("left", "right")]
    response = function.post("TIME_ENTRY_SPLIT", parts)
    assert response.json() == {
        "result": "created",
        "entries": [{"result": "created", "id": part["id"]} for part in parts],
    }
    assert len(world.salesforce.events()) == 2


@pytest.mark.parametrize("kind", ["ids", "entries", "an object with ids", "an entry"])
def test_batch_delete_removes_each_event(function: Function, world: World, kind: str) -> None:
    first, second, third = (f"{entry_id()}{number}" for number in range(3))
    for name in (first, second, third):
        function.post("NEW_TIME_ENTRY", payload(id=name))
    body: Any = {
        "ids": [first, second],
        "entries": [payload(id=first), payload(id=second)],
        "an object with ids": {"timeEntryIds": [first, second]},
        "an entry": payload(id=first),
    }[kind]
    assert answer(function.post("TIME_ENTRY_BATCH_DELETED", body)) == (200, "deleted")
    left = {each["Clockify_Time_Entry_Id__c"] for each in world.salesforce.events()}
    assert left == ({second, third} if kind == "an entry" else {third})


def test_deleting_what_is_gone_is_deleted(function: Function, world: World) -> None:
    assert answer(function.post("TIME_ENTRY_DELETED", payload())) == (200, "deleted")
    assert answer(function.post("TIME_ENTRY_DELETED", payload())) == (200, "deleted")
    assert world.salesforce.events() == []


@pytest.mark.parametrize(
    ("event_type", "entry"),
    [
        ("NEW_TIMER_STARTED", payload("NEW_TIMER_STARTED")),
        ("TIMER_STOPPED", payload(**TEST_BUTTON)),
        ("NEW_TAG", payload("NEW_PROJECT")),
        ("USER_JOINED_WORKSPACE", payload("NEW_CLIENT")),
        ("NEW_APPROVAL_REQUEST", payload("NEW_TASK")),
        ("EXPENSE_CREATED", payload("NEW_INVOICE")),
        ("SOMETHING_NEW", b"not even JSON"),
    ],
)
def test_other_authentic_message_is_ignored(
    function: Function, world: World, event_type: str, entry: Any
) -> None:
    assert answer(function.post(event_type, entry)) == (200, "ignored")
    assert world.salesforce.requests == []


@pytest.mark.parametrize("event_type", ["TIME_ENTRY_UPDATED", "TIMER_STOPPED"])
def test_running_timer_that_nothing_is_known_of_costs_one_look_and_writes_nothing(
    function: Function, world: World, event_type: str
) -> None:
    assert answer(function.post(event_type, payload("NEW_TIMER_STARTED"))) == (200, "ignored")
    assert world.salesforce.requests == [("POST", "composite")]
    assert world.salesforce.records["Clockify_State__c"] == {}
    assert "still running" in function.log[-1]["reason"]


def test_timer_that_is_thrown_away_is_ignored(function: Function, world: World) -> None:
    thrown_away = payload("NEW_TIMER_STARTED")
    assert answer(function.post("TIME_ENTRY_DELETED", thrown_away)) == (200, "ignored")
    assert world.salesforce.events() == []
    assert "still running" in function.log[-1]["reason"]


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [
        ("2026-11-02T08:30:00Z", "2026-11-02T08:00:00Z", "timeInterval.end"),
        ("0001-01-01T00:00:00Z", None, "timeInterval.start"),
        ("9999-12-31T00:00:00Z", "9999-12-31T01:00:00Z", "timeInterval.start"),
    ],
)
def test_entry_that_can_never_be_right_is_unusable_and_told(
    function: Function, world: World, start: str, end: str | None, named: str
) -> None:
    response = function.post("TIMER_STOPPED", payload(**interval(start, end)))
    assert (response.status_code, response.json()) == (
        200,
        {"result": "unusable", "id": entry_id()},
    )
    assert function.log[-1]["severity"] == "ERROR"
    assert named in function.log[-1]["reason"]
    assert world.salesforce.requests == []


def test_unreadable_entry_in_a_list_does_not_hold_up_the_others(
    function: Function, world: World
) -> None:
    good, bad = payload(), payload(id="b" * 24, **interval("2026-11-02T08:30:00Z", "not a time"))
    response = function.post("TIME_ENTRY_SPLIT", [bad, good])
    assert response.status_code == 200
    assert [each["result"] for each in response.json()["entries"]] == ["unusable", "created"]
    assert function.log[-1]["severity"] == "ERROR"
    assert world.salesforce.event(entry_id())


def test_entry_over_24_hours_is_cut_and_told(function: Function, world: World) -> None:
    entry = payload(**interval("2026-11-02T08:00:00Z", "2026-11-04T10:30:00Z"))
    assert answer(function.post("TIMER_STOPPED", entry)) == (200, "created")
    event = world.salesforce.events()[0]
    assert event["EndDateTime"] == "2026-11-03T08:00:00.000+0000"
    assert event["Clockify_Hours__c"] == 50.5
    assert "2026-11-02T08:00:00Z to 2026-11-04T10:30:00Z" in event["Description"]
    assert len(world.salesforce.requests) == 2


def test_entry_over_24_hours_stays_whole_in_a_multiday_org(
    function: Function, world: World
) -> None:
    world.salesforce.multiday = True
    entry = payload(**interval("2026-11-02T08:00:00Z", "2026-11-04T10:30:00Z"))
    assert answer(function.post("TIMER_STOPPED", entry)) == (200, "created")
    assert world.salesforce.events()[0]["EndDateTime"] == "2026-11-04T10:30:00.000+0000"


@pytest.mark.parametrize(
    ("start", "written"),
    [
        ("2026-11-02T09:30:00+01:00", "2026-11-02T08:30:00.000+0000"),
        ("2026-11-02T08:30:00.999Z", "2026-11-02T08:30:00.000+0000"),
        ("2026-11-01T22:30:00-10:00", "2026-11-02T08:30:00.000+0000"),
    ],
)
def test_offset_or_fraction_keeps_the_instant(
    function: Function, world: World, start: str, written: str
) -> None:
    function.post("TIMER_STOPPED", payload(**interval(start, "2026-11-02T09:30:00Z")))
    assert world.salesforce.events()[0]["StartDateTime"] == written


@pytest.mark.parametrize(
    "description",
    [None, "", "x" * 40_000, "🙂" * 40_000, "\r\n" * 40_000, "<b>&amp;</b>", "a\u2028b\x00c\ud800"],
    ids=["null", "empty", "long", "emoji", "breaks", "html", "odd"],
)
def test_any_description_is_written(
    function: Function, world: World, description: str | None
) -> None:
    response = function.post("TIMER_STOPPED", payload(description=description))
    assert answer(response) == (200, "created")


@pytest.mark.parametrize("missing", [None, ..., []])
@pytest.mark.parametrize("field", ["user", "project", "task", "tags"])
def test_missing_part_still_becomes_an_event(
    function: Function, world: World, field: str, missing: Any
) -> None:
    assert answer(function.post("TIMER_STOPPED", payload(**{field: missing}))) == (200, "created")


# --- No stranger gets in --------------------------------------------------------------------------


def spoiled(secret: str) -> dict[str, Any]:
    return {
        "empty": "",
        "one byte off": secret[:-1] + ("0" if secret[-1] != "0" else "1"),
        "longer": secret + "0",
        "shorter": secret[:-1],
        "other case": secret.swapcase() if secret.swapcase() != secret else secret + "A",
        "non-ASCII": (secret[:-1] + "é").encode("latin-1"),
        "with a blank": f"{secret} {secret}",
        "all": "*",
        "a megabyte": "a" * 8000,
    }


@pytest.mark.parametrize("kind", list(spoiled("a1")))
def test_wrong_signature_is_401(function: Function, world: World, kind: str) -> None:
    signature = spoiled(world.signing_secret)[kind]
    response = function.post("TIMER_STOPPED", payload(), signature=signature)
    assert (response.status_code, response.json()) == (401, {"error": "unauthorized"})
    assert world.salesforce.requests == []


def raw(
    function: Function, headers: list[tuple[str, str]], body: bytes = b"{}", method: str = "POST"
) -> tuple[int, bytes]:
    """One request with the headers exactly as they are given."""
    connection = http.client.HTTPConnection(function.url.removeprefix("http://"), timeout=20)
    connection.putrequest(method, "/")
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("order", [("right", "wrong"), ("wrong", "right"), ("right", "right"), ()])
def test_no_or_two_signatures_are_401(
    function: Function, world: World, order: tuple[str, ...]
) -> None:
    values = {"right": world.signing_secret, "wrong": "x" * 32}
    headers = [("Clockify-Signature", values[each]) for each in order]
    assert raw(function, [*headers, ("Content-Length", "2")])[0] == 401
    assert world.salesforce.requests == []


def test_signature_of_another_webhook_is_let_in(world: World, cold: Function) -> None:
    world.secrets["signing-secrets"] = [f"{'b' * 32}\n{'c' * 32}\r\n\n{world.signing_secret}\n"]
    for signature in (world.signing_secret, "b" * 32, "c" * 32):
        assert cold.post("NEW_TAG", {}, signature=signature).status_code == 200
    assert cold.post("NEW_TAG", {}, signature="").status_code == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_method_is_405(function: Function, world: World, method: str) -> None:
    headers = [("Clockify-Signature", world.signing_secret), ("Content-Length", "2")]
    assert raw(function, headers, method=method)[0] == 405


def test_stranger_costs_no_call(function: Function, world: World) -> None:
    for number in range(200):
        assert (
            function.post("TIMER_STOPPED", payload(), signature=f"{number:032}").status_code == 401
        )
    assert world.salesforce.requests == []
    # Three looks for a newer version at once, then one every 2.5 s, each at a few numbers.
    assert len(world.secret_manager.reads) <= 20


# --- Bad input ------------------------------------------------------------------------------------

BAD_BODIES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "JSON"),
    "not JSON": (b"{", "JSON"),
    "bad UTF-8": (b'{"id": "\xff"}', "JSON"),
    "BOM": (b"\xef\xbb\xbf" + json.dumps(payload()).encode(), "JSON"),
    "form": (b"id=64c777ddd3fcab07cfbb210d&start=8", "JSON"),
    "NaN": (json.dumps(payload(billable=float("nan"))).encode(), "JSON"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "JSON"),
    "a list": ([payload()], "time entry"),
    "a number": (7, "time entry"),
    "null": (b"null", "time entry"),
    "id absent": (payload(id=...), "id"),
    "id null": (payload(id=None), "id"),
    "id a number": (payload(id=7), "id"),
    "id empty": (payload(id=""), "id"),
    "id with quotes": (payload(id="a' OR Id != '"), "id"),
    "id with a slash": (payload(id="../Account/001"), "id"),
    "id dots": (payload(id=".."), "id"),
    "id long": (payload(id="a" * 300), "id"),
    "interval absent": (payload(timeInterval=...), "timeInterval"),
    "interval null": (payload(timeInterval=None), "timeInterval"),
    "interval a list": (payload(timeInterval=[]), "timeInterval"),
    "start absent": (payload(timeInterval={"end": "2026-11-02T09:30:00Z"}), "timeInterval.start"),
    "start odd": (payload(**interval("yesterday", None)), "timeInterval.start"),
    "start zoneless": (payload(**interval("2026-11-02T08:30:00", None)), "timeInterval.start"),
}


@pytest.mark.parametrize("kind", list(BAD_BODIES))
def test_bad_body_is_400_naming_what_is_wrong(function: Function, world: World, kind: str) -> None:
    body, named = BAD_BODIES[kind]
    response = function.post("TIMER_STOPPED", body)
    assert response.status_code == 400
    assert named in response.json()["error"]
    assert world.salesforce.requests == []
    assert world.tasks.created == []


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(sorted(mapping.UPSERTS | mapping.DELETES)) | st.none()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event_type=TYPES,
    message=ODD
    | st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(sorted(payload())), ODD, min_size=1, max_size=3),
    whole=st.booleans(),
)
def test_any_message_is_answered_200_or_400_and_400_changes_nothing(
    function: Function, world: World, event_type: str | None, message: Any, whole: bool
) -> None:
    if whole and isinstance(message, dict):  # a good entry, spoiled in one to three fields
        message = payload(**message)
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    world.tasks.paused = True
    before = len(world.salesforce.requests)
    response = function.post(event_type, body)
    # 202: the entry was deleted by an earlier message, and an edit waits for what restores it.
    assert response.status_code in (200, 202, 400)
    assert response.json().keys() <= {"result", "id", "entries", "error"}
    if response.status_code == 400:
        assert len(world.salesforce.requests) == before


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_body_over_one_mebibyte_is_refused(
    function: Function, world: World, chunked: bool, signed: bool
) -> None:
    blocks = 64 * 17
    body: Any = (b" " * 1024 for _ in range(blocks)) if chunked else b" " * 1024 * blocks
    headers = {"Clockify-Signature": world.signing_secret if signed else "x"}
    try:
        response = function._client.post(function.url, data=body, headers=headers, timeout=20)
    except OSError:  # refused while it was still being sent
        return
    assert response.status_code == (413 if signed or not chunked else 401)
    assert world.salesforce.requests == []


def test_endless_body_ends(function: Function, world: World) -> None:
    def endless() -> Iterator[bytes]:
        began = time.monotonic()
        while time.monotonic() - began < 15:
            yield b" " * 65536

    headers = {"Clockify-Signature": world.signing_secret}
    began = time.monotonic()
    try:
        response = function._client.post(function.url, data=endless(), headers=headers, timeout=20)
        assert response.status_code == 413
    except OSError:
        pass
    assert time.monotonic() - began < 10


def test_sender_that_waits_for_room_is_not_left_waiting(function: Function, world: World) -> None:
    """The function's buffer is full when it answers, as it is where the sender is the faster."""
    host, port = function.url.removeprefix("http://").split(":")
    head = f"POST / HTTP/1.1\r\nHost: x\r\nClockify-Signature: {world.signing_secret}\r\n"

    def send(sender: socket.socket, chunks: int) -> None:
        for part in (b"10000\r\n", b" " * 0x10000, b"\r\n") * chunks:
            sender.sendall(part)

    with contextlib.ExitStack() as senders:
        waiting = []
        for chunks in range(16):  # how much is read by then says how large the buffer is
            sender = senders.enter_context(socket.create_connection((host, int(port))))
            sender.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            send(sender, chunks)
            waiting.append(sender)
        time.sleep(0.1)  # for it to read that
        function.freeze()
        try:
            for sender in waiting:
                sender.settimeout(0.1)
                with contextlib.suppress(OSError):
                    send(sender, 1024)
        finally:
            function.thaw()
        for sender in waiting:
            sender.settimeout(10)
            with pytest.raises(ConnectionError):  # and no TimeoutError
                send(sender, 1024)


@pytest.mark.parametrize("head", ["POST / HTTP/1.1\r\nClockify-Signature: x", "GET / HTTP/1.1"])
def test_slow_strangers_keep_no_authentic_message_out(
    function: Function, world: World, head: str
) -> None:
    host, port = function.url.removeprefix("http://").split(":")
    strangers = []
    for _ in range(160):  # twice as many as there are threads
        stranger = socket.create_connection((host, int(port)))
        stranger.sendall(f"{head}\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
        strangers.append(stranger)
    try:
        response = function.post("TIMER_STOPPED", payload())
        assert response.status_code == 200
        assert response.elapsed.total_seconds() < 5
    finally:
        for stranger in strangers:
            stranger.close()


# --- Calls, sign-in, secrets ----------------------------------------------------------------------


def test_warm_message_makes_one_salesforce_call_and_no_other(
    function: Function, world: World
) -> None:
    for number in range(20):
        function.post("TIMER_STOPPED", payload(id=f"{entry_id()}{number}"))
    assert len(world.salesforce.requests) == 20
    assert (world.salesforce.sign_ins, world.secret_manager.reads) == (0, [])


def test_80_requests_on_a_cold_instance_sign_in_once(world: World, cold: Function) -> None:
    world.salesforce.latency = 0.1
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        answers = list(
            pool.map(
                lambda n: cold.post("NEW_TIME_ENTRY", payload(id=f"{entry_id()}{n}")), range(80)
            )
        )
    assert {response.status_code for response in answers} == {200}
    assert world.salesforce.sign_ins == 1
    assert sorted(name.split("/")[3] for name in world.secret_manager.reads) == [
        "salesforce",
        "signing-secrets",
    ]
    assert len(world.salesforce.events()) == 80


def test_expired_session_signs_in_once_for_all(function: Function, world: World) -> None:
    world.salesforce._tokens.clear()
    world.salesforce.latency = 0.05
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda n: function.post("NEW_TIME_ENTRY", payload(id=f"{entry_id()}{n}")), range(20)
            )
        )
    assert {response.status_code for response in answers} == {200}
    assert world.salesforce.sign_ins == 1


def test_session_that_stays_invalid_ends_after_three_tries(
    function: Function, world: World
) -> None:
    world.tasks.paused = True
    world.salesforce.faults.expired = 1
    assert answer(function.post("TIMER_STOPPED", payload())) == (202, "queued")
    assert len(world.salesforce.requests) == 3
    assert world.salesforce.sign_ins <= 3
    assert "INVALID_SESSION_ID" in function.log[-1]["reason"]


def test_hung_salesforce_is_answered_within_10_seconds(function: Function, world: World) -> None:
    world.tasks.paused = True
    world.salesforce.faults.hang = 1
    began = time.monotonic()
    assert answer(function.post("TIMER_STOPPED", payload())) == (202, "queued")
    assert time.monotonic() - began < 10


def test_jwt_bearer_signs_in(world: World, cold: Function) -> None:
    credentials = {
        "domain": salesforce.DOMAIN,
        "username": salesforce.USERNAME,
        "consumer_key": salesforce.CONSUMER_KEY,
        "privatekey": world.private_key,
    }
    world.secrets["salesforce"] = [json.dumps(credentials)]
    assert answer(cold.post("TIMER_STOPPED", payload())) == (200, "created")


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ("not JSON", "not JSON"),
        ('{"domain": "evil.example/x", "consumer_key": "k", "consumer_secret": "s"}', "domain"),
        ('{"domain": "127.0.0.1:8443/x", "consumer_key": "k", "consumer_secret": "s"}', "domain"),
        ('{"domain": "sandbox.my", "consumer_key": "k"}', "consumer_secret"),
        ('{"domain": "sandbox.my", "consumer_key": "k", "consumer_secret": "s"}', "sign-in"),
    ],
)
def test_bad_credentials_queue_the_message_and_are_told(
    world: World, cold: Function, credentials: str, reason: str
) -> None:
    good = world.secrets["salesforce"][0]
    world.secrets["salesforce"] = [credentials]
    world.tasks.paused = True
    assert answer(cold.post("TIMER_STOPPED", payload())) == (202, "queued")
    line = cold.log[-1]
    assert line["severity"] == "ERROR"
    assert reason in line["reason"]
    assert json.loads(good)["consumer_secret"] not in cold.raw_log


def test_new_signing_secret_works_at_once(world: World, cold: Function) -> None:
    assert cold.post("NEW_TAG", {}).status_code == 200
    world.secrets["signing-secrets"].append(f"{world.signing_secret}\n{'n' * 32}")
    assert cold.post("NEW_TAG", {}, signature="n" * 32).status_code == 200
    assert cold.post("NEW_TAG", {}).status_code == 200


def test_secret_manager_down_after_the_first_read_changes_nothing(
    function: Function, world: World
) -> None:
    world.secret_manager.down = True
    assert answer(function.post("TIMER_STOPPED", payload())) == (200, "created")
    assert function.post("TIMER_STOPPED", payload(), signature="x" * 32).status_code == 401


def test_secret_manager_down_on_a_cold_start_is_503(world: World, cold: Function) -> None:
    world.secret_manager.down = True
    response = cold.post("TIMER_STOPPED", payload())
    assert response.status_code == 503
    assert "signing-secrets/versions/latest cannot be read" in cold.log[-1]["reason"]
    world.secret_manager.down = False
    time.sleep(FAILURE_S)  # for which a failure is remembered for all
    assert answer(cold.post("TIMER_STOPPED", payload())) == (200, "created")


def test_secret_manager_down_is_told_to_all_at_once(world: World, cold: Function) -> None:
    world.secret_manager.down = True
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: cold.post("NEW_TAG", {}), range(12)))
    assert {response.status_code for response in answers} == {503}
    assert time.monotonic() - began < 8


# --- Settings and log -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"SIGNING_SECRETS": ""}, "SIGNING_SECRETS is not set"),
        ({"SALESFORCE_CREDENTIALS": "my-secret"}, "SALESFORCE_CREDENTIALS is wrong"),
        ({"RETRY_QUEUE": "retry"}, "RETRY_QUEUE is wrong"),
        ({"FUNCTION_URL": ""}, "FUNCTION_URL is not set"),
        ({"EVENT_SUBJECT": "{nobody}"}, "EVENT_SUBJECT"),
        ({"CLOCKIFY_API_KEY": "abc"}, "CLOCKIFY_API_KEY is wrong"),
        ({"SALESFORCE_API_VERSION": "v65"}, "SALESFORCE_API_VERSION is wrong"),
    ],
)
def test_wrong_setting_stops_the_start_naming_it(
    world: World, wrong: dict[str, str], named: str
) -> None:
    with pytest.raises(RuntimeError, match=named):
        Function(world, **wrong)  # type: ignore[arg-type]


def test_event_subject_fills_the_subject(world: World) -> None:
    function = Function(world, EVENT_SUBJECT="{project}: {description}")
    try:
        function.post("TIMER_STOPPED", payload())
    finally:
        function.stop()
    subject = world.salesforce.events()[0]["Subject"]
    assert subject == "Website relaunch: Review of the checkout flow"


def test_message_is_one_log_line_tied_to_its_trace(function: Function, world: World) -> None:
    before = len(function.log)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    function.post("TIMER_STOPPED", payload(), headers=headers)
    (line,) = function.log[before:]
    assert line.pop("milliseconds") > 0
    assert line == {
        "severity": "INFO",
        "message": "TIMER_STOPPED: created",
        "event": "TIMER_STOPPED",
        "entry": entry_id(),
        "result": "created",
        "status": 200,
        "salesforce_calls": 1,
        "queued": False,
        "logging.googleapis.com/trace": f"projects/sandbox-project/traces/{trace}",
    }


@pytest.mark.parametrize("text", [f"{KEY} euc1", f"moon1 {KEY}", f"my key: {KEY}", f"{KEY}\n{KEY}"])
def test_api_key_with_something_beside_it_is_never_logged(world: World, text: str) -> None:
    world.secrets["clockify-api-key"] = [text]
    function = Function(world, CLOCKIFY_API_KEY=f"projects/{PROJECT}/secrets/clockify-api-key")
    try:
        assert function.post("TIMER_STOPPED", payload(user={"id": "u", "name": "N"})).ok
        assert KEY not in function.raw_log
    finally:
        function.stop()


def test_nothing_private_is_ever_logged_or_answered(world: World, cold: Function) -> None:
    private = ["Top-secret-plan", "ada@acme.example", world.signing_secret]
    private += [salesforce.CONSUMER_SECRET, "made-up-session", "PRIVATE KEY"]
    entry = payload(description=private[0], user={"id": "u", "name": "Ada", "email": private[1]})
    world.tasks.paused = True
    texts = [cold.post("TIMER_STOPPED", entry).text]
    for fault in ("rule", "error", "html", "lock", "limit", "reset", "expired"):
        setattr(world.salesforce.faults, fault, 1)
        texts.append(cold.post("TIMER_STOPPED", payload(**{**entry, "id": fault})).text)
        world.salesforce.faults.clear()
    texts.append(cold.post("TIMER_STOPPED", payload(**{**entry, "id": private[1]})).text)
    texts.append(cold.post("TIMER_STOPPED", b"Top-secret-plan").text)
    texts.append(cold.raw_log)
    for text in texts:
        assert not [each for each in private if each in text]
