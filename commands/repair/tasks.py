"""Calls side by side in threads, and what follows of each in the caller's own thread.

So no more than the waiting is done by others: what is counted, planned and decided is nobody
else's, and needs no lock. The threads are daemons: a program that is told to end does not wait.
They are kept, for whoever makes one waits until it runs, and that is long while all are busy.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
TOLD_AFTER_S = 15.0
# Python lets a thread compute for 5 ms while others wait; most of them only want to send or receive
# a little more, and another process waits for that.
SWITCH_S = 0.0005


class Tasks:
    """Work in threads. Its methods belong to one thread."""

    def __init__(self, waits: Callable[[str], None]) -> None:
        """`waits` is told, every quarter of a minute, what is being waited for."""
        sys.setswitchinterval(SWITCH_S)
        self._waits = waits
        self._over: queue.SimpleQueue[tuple[Callable[[Any], None], Any, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = self._at_work = 0

    def start(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do `work` in a thread; `then` gets what it returns, in this one, within `wait`."""

        def run() -> None:
            try:
                self._over.put((then, work(), None))
            except BaseException as error:  # noqa: BLE001
                self._over.put((then, None, error))

        self._at_work += 1
        if self._at_work > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True).start()
        self._todo.put(run)

    def _work(self) -> None:
        """Do one thing after the other."""
        while True:
            self._todo.get()()

    def wait(self, until: Callable[[], bool], what: Callable[[], str]) -> None:
        """Let things follow until something holds. Raises what a piece of work has raised.

        `what`: what is waited for, in words.
        """
        told_at = time.monotonic()
        while not until():
            try:
                self._follow(*self._over.get(timeout=1.0))
            except queue.Empty:
                if time.monotonic() - told_at > TOLD_AFTER_S:
                    told_at = time.monotonic()
                    self._waits(what())

    def look(self) -> None:
        """Let follow what is over already. Raises as `wait` does."""
        while not self._over.empty():  # nobody else takes of it
            self._follow(*self._over.get())

    def each(
        self, work: Callable[[Item], T], items: Iterable[Item], *, at_once: int, what: str
    ) -> list[T]:
        """Do the work for every item, a few at once, and return the results in their order."""
        todo = list(enumerate(items))
        todo.reverse()
        results: dict[int, T] = {}
        number, running = len(todo), 0

        def took(place: int, result: T) -> None:
            nonlocal running
            results[place] = result
            running -= 1

        while len(results) < number:
            while todo and running < at_once:
                place, item = todo.pop()
                running += 1
                self.start(lambda item=item: work(item), lambda result, at=place: took(at, result))  # type: ignore[misc]
            before = len(results)
            self.wait(
                lambda before=before: len(results) > before,  # type: ignore[misc]
                lambda: f"{what}: {len(results):,} of {number:,}",
            )
        return [results[place] for place in range(number)]

    def _follow(
        self, then: Callable[[Any], None], result: Any, error: BaseException | None
    ) -> None:
        self._at_work -= 1  # its thread is free, or all but
        if error is not None:
            raise error
        then(result)
