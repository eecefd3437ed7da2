"""What is read from elsewhere and kept for a while, so that hardly a message waits for it.

One thread reads while the others go on with what is known. Whether something is too old is judged
by the moment at which a message asks; how long it may still wait is measured.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from clockify_salesforce.errors import IntegrationError

# How long is kept what was found; nothing that was found may be there sooner.
FOUND_S, MISSING_S = 60 * 60.0, 5 * 60.0
# A message has 7.5 s in all: reading takes a third of what is left of them at most.
PATIENCE_S, SHARE = 2.5, 1 / 3

NO_TIME = "no time was left"  # why nothing is known, for the log

T = TypeVar("T")


class Freshness(Enum):
    """How much is known of what is asked for."""

    FRESH = "known"
    STALE = "known, and old enough to be read again"
    UNKNOWN = "not known, and to be read"
    OFF = "not known, and not to be read for now"


@dataclass(frozen=True, slots=True)
class Patience:
    """When a message asks, and until when it waits for answers: seconds of time.monotonic()."""

    now: float
    until: float

    @classmethod
    def before(cls, deadline: float) -> "Patience":
        """A message's, whose own deadline this is."""
        now = time.monotonic()
        return cls(now, now + min(PATIENCE_S, max(0.0, deadline - now) * SHARE))

    def left(self) -> float:
        """Seconds that it still waits."""
        return max(0.0, self.until - time.monotonic())


class Cached(Generic[T]):
    """Something that is read as a whole, and kept for an hour. Safe between threads."""

    def __init__(self, value: T, *, pause_s: float, needs_s: float) -> None:
        """`value`: what serves before the first reading.

        `pause_s`: how long none is tried after one that failed. `needs_s`: where less time is left,
        none is begun, because it would rather fail.
        """
        self.value = value
        self.problem = ""  # that the last reading met, for the log
        self._pause_s, self._needs_s = pause_s, needs_s
        self._is_known = False
        self._due_at = float("-inf")
        self._reading = threading.Lock()

    def refresh(self, read: Callable[[], T], patience: Patience) -> Freshness:
        """Read it if that is due, and tell how much `value` knows. Raises nothing."""
        if self.is_due(patience.now):
            wait_s = 0.0 if self._is_known else patience.left()
            if self._reading.acquire(timeout=wait_s):
                try:
                    self._read(read, patience)
                finally:
                    self._reading.release()
        if not self._is_known:
            return Freshness.UNKNOWN
        return Freshness.STALE if self.problem or self.is_due(patience.now) else Freshness.FRESH

    def is_due(self, now: float) -> bool:
        """Tell whether it was never read, or too long ago, and no pause is on."""
        return now >= self._due_at

    @property
    def is_known(self) -> bool:
        """True once it has been read."""
        return self._is_known

    def _read(self, read: Callable[[], T], patience: Patience) -> None:
        if not self.is_due(patience.now):
            return  # another thread has read it in the meantime
        if patience.left() < self._needs_s:
            return
        try:
            self.value = read()
        except Exception as error:  # noqa: BLE001
            # A mistake of ours, or an answer that nobody has foreseen, is not met at every message.
            self.problem, self._due_at = told(error), patience.now + self._pause_s
        else:
            self.problem, self._due_at = "", patience.now + FOUND_S
            self._is_known = True


def told(error: Exception) -> str:
    """An error for the log: of one that is not ours the name only, its text may quote a record."""
    if isinstance(error, IntegrationError):
        return str(error)
    return f"unexpected {type(error).__name__}"
