"""One after the other: the messages of one record within an instance.

Copies that come at the same time would each write, and all but one be refused; so they wait.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clockify_salesforce.errors import SalesforceUnavailable


class Turns:
    """Locks by key, each kept only while somebody needs it. Safe between threads."""

    def __init__(self) -> None:
        self._all = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def take(self, key: str, deadline: float) -> Iterator[None]:
        """Wait for one's turn until `deadline` (time.monotonic). Raises SalesforceUnavailable."""
        with self._all:
            lock, waiting = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, waiting + 1)
        try:
            if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise SalesforceUnavailable("another message of this record is still on its way")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._all:
                lock, waiting = self._locks[key]
                if waiting == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = (lock, waiting - 1)
