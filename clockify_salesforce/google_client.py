"""A client of Google's that outlives the connection it was built with.

Between two messages an instance sleeps, and what stands between it and Google may forget the
connection meanwhile: the next call is reset at its first byte, or nobody ever answers it.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from google.api_core import exceptions

# What may pass by itself: https://cloud.google.com/apis/design/errors#handling_errors
_PASSING = (exceptions.ServerError, exceptions.TooManyRequests)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.3

C = TypeVar("C")
T = TypeVar("T")


class GoogleClient(Generic[C]):
    """Built at its first use, and anew after a call that nobody answered. Safe between threads."""

    def __init__(self, build: Callable[[], C]) -> None:
        """`build`: makes the client; each has a connection of its own."""
        self._build = build
        self._building = threading.Lock()
        self._client: C | None = None

    def call(self, request: Callable[[C, float], T], *, until: float, try_s: float) -> T:
        """Return what `request(client, timeout)` returns, trying again what may pass.

        `until`: of time.monotonic(), when the last try is over; `try_s`: the most that one may
        take, in seconds. Raises GoogleAPIError or GoogleAuthError.
        """
        pause = _FIRST_PAUSE_S
        while True:
            client = self._take()
            timeout = max(min(try_s, until - time.monotonic()), 0.0)
            try:
                return request(client, timeout)
            except exceptions.DeadlineExceeded:
                if timeout > try_s / 2:  # less time says nothing about the connection
                    self._drop(client)
                if time.monotonic() >= until:
                    raise
            except _PASSING:
                if time.monotonic() + pause >= until:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _take(self) -> C:
        with self._building:
            if self._client is None:
                self._client = self._build()
            return self._client

    def _drop(self, client: C) -> None:
        """Have the next caller build another; whoever uses this one still ends with it."""
        with self._building:
            if self._client is client:
                self._client = None
