"""Strangers, and senders of broken requests: no authentic message is kept waiting by them.

The whole of it, in minutes and with a table: python -m tests.attack
"""

import contextlib
import functools
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack import framing
from attack.attacks import (
    NEVER_READING,
    SLOW_BODIES,
    STAYING,
    WRONG_SIGNATURES,
    Attack,
    slow,
    staying,
)
from attack.messages import send
from attack.run import attacked
from attack.strangers import at_work
from conftest import payload

from sandbox.world import Function, World

WARM = (
    slow("each in turn", *SLOW_BODIES.values()),
    staying("each in turn", *STAYING.values()),
    NEVER_READING,
    *(attack for attack in WRONG_SIGNATURES if not attack.cold),
)
COLD = tuple(attack for attack in WRONG_SIGNATURES if attack.cold)
PER_SECOND = 8


@pytest.mark.parametrize("attack", WARM, ids=lambda attack: attack.name)
def test_strangers_keep_no_authentic_message_out(
    function: Function, world: World, attack: Attack
) -> None:
    outcome = attacked(world, attack, 8, per_second=PER_SECOND, function=function)
    assert outcome.held, outcome


@pytest.mark.parametrize("attack", COLD, ids=lambda attack: attack.name)
def test_strangers_keep_no_authentic_message_waiting_at_a_cold_start(
    world: World, attack: Attack
) -> None:
    outcome = attacked(world, attack, 8, per_second=PER_SECOND)
    assert outcome.held, outcome


def test_new_signing_secret_is_let_in_through_a_thousand_wrong_ones_a_second(
    function: Function, world: World
) -> None:
    new = "n" * 32
    with at_work(port(function), WRONG_SIGNATURES[0].strangers):
        world.secrets["signing-secrets"].append(f"{world.signing_secret}\n{new}")
        send(function, new, number=8, per_second=2)  # 3.5 s: a look is due every 2.5 s
        heard = send(function, new, number=4, per_second=4)
    assert heard.statuses == [200] * 4


# --- One request, as it comes in from the network -------------------------------------------------


def port(function: Function) -> int:
    return int(function.url.rpartition(":")[2])


def heard_by(function: Function, sent: bytes) -> bytes:
    """All that a sender hears who sends this and waits until the other side hangs up."""
    with socket.create_connection(("127.0.0.1", port(function)), timeout=5) as connection:
        connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+) ", answer, re.MULTILINE)]


def test_broken_framing_is_refused_at_once_and_is_never_a_message(
    function: Function, world: World
) -> None:
    before = len(world.salesforce.requests)
    for kind, sent in framing.spoiled(world.signing_secret).items():
        began = time.monotonic()
        (status,) = statuses(heard_by(function, sent))
        assert status in (400, 401, 413, 417, 431, 501), kind
        assert time.monotonic() - began < 1.0, kind
    assert len(world.salesforce.requests) == before
    alive = framing.good(world.signing_secret).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    assert statuses(heard_by(function, alive)) == [200]


@pytest.mark.parametrize("head", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("ends", [True, False])
def test_body_that_breaks_off_or_stops_is_never_taken_for_a_whole_one(
    function: Function, world: World, head: str, ends: bool
) -> None:
    request = f"POST / HTTP/1.1\r\nHost: x\r\nClockify-Signature: {world.signing_secret}\r\n{head}"
    body = framing.ENTRY if "Length" in head else b"ffff\r\n" + framing.ENTRY
    before = len(world.salesforce.requests)
    with socket.create_connection(("127.0.0.1", port(function)), timeout=5) as connection:
        connection.sendall(request.encode() + b"\r\n\r\n" + body)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        assert statuses(connection.recv(65536)) == [400 if ends else 408]
    assert len(world.salesforce.requests) == before


@pytest.mark.parametrize("host", ["a b", "[::1", "x:abc", "<script>", "\xff", ""])
@pytest.mark.parametrize("path", ["/", "/robots.txt", "//", "/%00", "/%ff", "http://x/favicon.ico"])
def test_unsigned_request_hears_at_once_whatever_it_asks_for(
    function: Function, host: str, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{"
    began = time.monotonic()
    assert statuses(heard_by(function, head.encode("latin-1"))) in ([401], [404])
    assert time.monotonic() - began < 1.0


# --- File descriptors -----------------------------------------------------------------------------


@pytest.fixture
def narrow(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    """A function that may open 128 files."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (128, 128))
    popen = functools.partial(subprocess.Popen, preexec_fn=limit)
    monkeypatch.setattr(subprocess, "Popen", popen)
    function = Function(world)
    yield function
    function.kill()


def test_worker_outlives_more_connections_than_file_descriptors(narrow: Function) -> None:
    worker = Path(f"/proc/{narrow.pid}/task/{narrow.pid}/children")
    assert narrow.post("TIMER_STOPPED", payload()).status_code == 200
    before = worker.read_text()
    strangers = []
    for _ in range(300):
        stranger = socket.create_connection(("127.0.0.1", port(narrow)))
        stranger.sendall(b"P")
        strangers.append(stranger)
    waiting = threading.Thread(target=narrow.post, args=("TIMER_STOPPED", payload()))
    waiting.start()
    time.sleep(0.3)
    for stranger in strangers:
        stranger.close()
    waiting.join()
    assert narrow.post("TIMER_STOPPED", payload()).status_code == 200
    assert worker.read_text() == before
