"""When this instance received a message, by a clock that never goes back.

Only a memory of an instance: what every instance has to know is in Salesforce (`state.py`). It is
what tells a copy of a message that waits in the retry queue, of which Salesforce knows nothing yet.
"""

import secrets
import threading
import time
from collections import OrderedDict

from clockify_salesforce.state import DELETIONS, REPEAT_MS, RESTORES, Action

KEPT_RECORDS = 4096
KEPT_MESSAGES = 16  # of one record


# Of a record, the latest last: fingerprint, the first receipt and the latest of its copies. A tuple
# takes half of the memory that a dict does.
_Messages = tuple[tuple[str, tuple[int, int | None]], ...]


class Receipts:
    """What one instance has received. Safe between threads."""

    def __init__(self) -> None:
        self.instance = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._last_ms = 0
        self._records: OrderedDict[str, _Messages] = OrderedDict()
        self._deleted: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def now_ms(self) -> int:
        """Milliseconds since 1970, more at each call: a clock that is set back stands still."""
        with self._lock:
            self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
            return self._last_ms

    def unrestored(self, key: str) -> tuple[str, int] | None:
        """The record's last deletion, with its receipt, if nothing restoring it came since."""
        return self._deleted.get(key)

    def receive(
        self, key: str, fingerprint: str, action: Action, now_ms: int, *, can_ask: bool
    ) -> tuple[int, bool]:
        """Note a message that came from Clockify itself at `now_ms`.

        Returns its first receipt, and whether it is doubtful: it was received before, and only
        Clockify knows (`can_ask`) whether it is repeated, or was changed and changed back. Who
        cannot ask takes it for a repeat within REPEAT_MS of the one before.
        """
        with self._lock:
            record = dict(self._records.pop(key, ()))
            first_ms, latest_ms = record.pop(fingerprint, (now_ms, None))
            if latest_ms is None:
                self._note_deletion(key, fingerprint, action, now_ms)
            if can_ask or latest_ms is None or now_ms - latest_ms > REPEAT_MS:
                first_ms = now_ms
            record[fingerprint] = (first_ms, now_ms)
            self._records[key] = tuple(record.items())[-KEPT_MESSAGES:]
            if len(self._records) > KEPT_RECORDS:
                self._records.popitem(last=False)
            return first_ms, can_ask and latest_ms is not None

    def _note_deletion(self, key: str, fingerprint: str, action: Action, now_ms: int) -> None:
        if action in RESTORES:
            self._deleted.pop(key, None)
        elif action in DELETIONS:
            self._deleted[key] = (fingerprint, now_ms)
            while len(self._deleted) > KEPT_RECORDS:
                self._deleted.popitem(last=False)
