"""When this instance received a message, by a clock that never goes back.

Only a memory of an instance: what every instance has to know is in Salesforce (`state.py`). It is
what tells a copy of a message that waits in the retry queue, of which Salesforce knows nothing yet.
"""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from clockify_salesforce.state import REPEAT_MS

KEPT_RECORDS = 4096
KEPT_MESSAGES = 16  # of one record


@dataclass(slots=True)
class _Received:
    """Of one record: the fingerprints received with their times, and the latest of them."""

    first_ms: OrderedDict[str, int] = field(default_factory=OrderedDict)
    latest: str = ""


class Receipts:
    """What one instance has received. Safe between threads."""

    def __init__(self) -> None:
        self.instance = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._last_ms = 0
        self._records: OrderedDict[str, _Received] = OrderedDict()

    def now_ms(self) -> int:
        """Milliseconds since 1970, more at each call: a clock that is set back stands still."""
        with self._lock:
            self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
            return self._last_ms

    def receive(
        self, key: str, fingerprint: str, now_ms: int, *, can_ask: bool
    ) -> tuple[int, bool]:
        """Note a message that came from Clockify itself at `now_ms`.

        Returns its first receipt, and whether it is doubtful: it was received before, and another
        one of the record since, so that only Clockify knows (`can_ask`) which is the newest.
        """
        with self._lock:
            record = self._records.setdefault(key, _Received())
            self._records.move_to_end(key)
            if len(self._records) > KEPT_RECORDS:
                self._records.popitem(last=False)
            before_ms = record.first_ms.get(fingerprint)
            if before_ms is not None and fingerprint == record.latest:
                return before_ms, False
            if before_ms is not None and not can_ask and now_ms - before_ms <= REPEAT_MS:
                return before_ms, False
            record.first_ms[fingerprint] = now_ms
            record.latest = fingerprint
            if len(record.first_ms) > KEPT_MESSAGES:
                record.first_ms.popitem(last=False)
            return now_ms, before_ms is not None and can_ask
