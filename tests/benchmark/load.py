"""Post time entries as fast as they are answered, over connections that stay open.

Runs in a process of its own, so that it takes no time from whoever measures.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

ENTRY = Path(__file__).parent.parent / "payloads/TIMER_STOPPED.json"


@dataclass(frozen=True, slots=True)
class Load:
    """`first`: the number of the first entry; each message is an entry of its own.

    It ends after `seconds`, or after `messages` if these are given.
    """

    port: int
    signature: str
    first: int
    at_once: int
    seconds: float = 60.0
    messages: int = 1_000_000


@dataclass(slots=True)
class Heard:
    """What came back. `latencies`: of each message, in seconds; `seconds`: of all together.

    `cpu_s`: what the load itself took of a processor, in seconds.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_s: float = 0.0


def post(load: Load) -> Heard:
    """Post until it is time; what is on its way then is waited for."""
    return asyncio.run(_post(load))


async def _post(load: Load) -> Heard:
    entry = json.loads(ENTRY.read_text())
    sender = _Sender(load, json.dumps(entry).encode(), entry["id"].encode())
    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_client(sender, load.port) for _ in range(load.at_once)))
    sender.heard.seconds = time.perf_counter() - began
    sender.heard.cpu_s = time.process_time() - cpu_began
    return sender.heard


class _Sender:
    """The messages that all connections send together."""

    def __init__(self, load: Load, body: bytes, entry_id: bytes) -> None:
        head = (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"User-Agent: Apache-HttpClient/4.5.13 (Java/17.0.11)\r\nAccept-Encoding: gzip\r\n"
            b"Clockify-Signature: %b\r\nClockify-Webhook-Event-Type: TIMER_STOPPED\r\n"
            b"Content-Length: %d\r\n\r\n" % (load.signature.encode(), len(body))
        )
        self._before, self._after = (head + body).split(entry_id, 1)
        self._ends = time.perf_counter() + load.seconds
        self._next, self._last = load.first, load.first + load.messages
        self.heard = Heard()

    def next(self) -> bytes | None:
        """One more message; None when it is time to stop."""
        if self._next >= self._last or time.perf_counter() > self._ends:
            return None
        self._next += 1
        return b"%b%024x%b" % (self._before, self._next, self._after)


async def _client(sender: _Sender, port: int) -> None:
    """One connection after the other: a refusal is a connection's last answer."""
    loop = asyncio.get_running_loop()
    refused = True
    while refused:
        _, client = await loop.create_connection(lambda: _Client(sender), "127.0.0.1", port)
        refused = await client.done


class _Client(asyncio.Protocol):
    """One connection: a message, its answer, the next message. `done`: True after a refusal."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._received = b""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the function closed a connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end or len(rest) < int(head.lower().split(b"content-length:")[1].split()[0]):
            return
        self._received = b""
        heard = self._sender.heard
        heard.latencies.append(time.perf_counter() - self._began)
        status = int(head[9:12])
        heard.statuses[status] += 1
        if status < 400:
            self._send()
        else:
            self.done.set_result(True)
            self._transport.close()

    def _send(self) -> None:
        message = self._sender.next()
        if message is None:
            self.done.set_result(False)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(message)
