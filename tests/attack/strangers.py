"""Strangers without any secret, as many and as slow as they like, on connections of their own.

They run in a process of their own, so that they take no time from whoever measures.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.synchronize
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strangers:
    """What each of them does, and how many there are.

    `heads`: what is sent at once, one after the other. `drip`: what is sent again every `pause_s`
    until the connection ends. `hangs_up`: whether they do after the answer. `reads`: whether they
    read at all. `per_second`: new ones; `at_once`: no more than these.
    """

    heads: tuple[bytes, ...]
    drip: bytes = b""
    pause_s: float = 0.5
    hangs_up: bool = True
    reads: bool = True
    per_second: int = 100
    at_once: int = 160


@contextlib.contextmanager
def at_work(port: int, strangers: Strangers) -> Iterator[None]:
    """Let them at a port of loopback; they have begun when this has."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_run, args=(port, strangers, begun), daemon=True)
    process.start()
    try:
        begun.wait(20)
        yield
    finally:
        process.kill()
        process.join(10)


def _run(port: int, strangers: Strangers, begun: multiprocessing.synchronize.Event) -> None:
    asyncio.run(_flood(port, strangers, begun))


async def _flood(port: int, strangers: Strangers, begun: multiprocessing.synchronize.Event) -> None:
    room = asyncio.Semaphore(strangers.at_once)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    started = loop.time()
    opened = 0

    async def one(head: bytes) -> None:
        try:
            with contextlib.suppress(OSError):
                await _stranger(port, strangers, head)
        finally:
            room.release()

    while True:
        await room.acquire()
        task = asyncio.create_task(one(strangers.heads[opened % len(strangers.heads)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        opened += 1
        # As many as there are threads have begun, or what comes in a second.
        if opened >= min(80, strangers.per_second):
            begun.set()
        await asyncio.sleep(max(0.0, started + opened / strangers.per_second - loop.time()))


async def _stranger(port: int, strangers: Strangers, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        await writer.drain()
        if not strangers.reads:
            await asyncio.sleep(3600)
        answered = asyncio.create_task(_read_all(reader))
        while strangers.drip and not answered.done():
            writer.write(strangers.drip)
            await writer.drain()
            await asyncio.wait([answered], timeout=strangers.pause_s)
        await answered
        if not strangers.hangs_up:
            await asyncio.sleep(3600)
    finally:
        writer.transport.abort()


async def _read_all(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
