"""Authentic messages at a steady pace, and what each of them heard."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.world import Function

ENTRY = json.loads((Path(__file__).parent.parent / "payloads/TIMER_STOPPED.json").read_text())
PATIENCE_S = 5.0


@dataclass(slots=True)
class Heard:
    """`statuses`: 0 where nothing was heard in time. `seconds`: how long each of them took."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def counted(self, *statuses: int) -> int:
        """How many heard one of these."""
        return sum(status in statuses for status in self.statuses)

    @property
    def p99(self) -> float:
        """In seconds; of fewer than a hundred, the slowest."""
        return sorted(self.seconds)[max(0, -(-len(self.seconds) * 99 // 100) - 1)]


def send(
    function: Function, signature: str, *, number: int, per_second: float = 5, first: int = 0
) -> Heard:
    """Send as many messages, each of a time entry of its own, and wait for what they hear."""
    heard = Heard()
    senders = []
    began = time.monotonic()
    for index in range(number):
        time.sleep(max(0.0, began + index / per_second - time.monotonic()))
        sender = threading.Thread(target=_one, args=(function, signature, first + index, heard))
        sender.start()
        senders.append(sender)
    for sender in senders:
        sender.join()
    return heard


def _one(function: Function, signature: str, index: int, heard: Heard) -> None:
    body = json.dumps({**ENTRY, "id": f"{index:024x}"})
    headers = {
        "Content-Type": "application/json",
        "Clockify-Signature": signature,
        "Clockify-Webhook-Event-Type": "TIMER_STOPPED",
    }
    began = time.monotonic()
    host = function.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/", body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    heard.statuses.append(status)
    heard.seconds.append(time.monotonic() - began)
