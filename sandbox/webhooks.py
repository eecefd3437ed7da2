"""Stand in for the part of Clockify that sends webhooks: each message again until a 2xx.

Clockify repeats a message byte for byte after 14 to 70 seconds, as users have seen; here the waits
are shorter, so that one can watch it. Nothing keeps messages in order.
https://clockify.me/help/integrations/webhooks
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from sandbox.clockify import Message

PATIENCE_S = 10.0  # until it gives an attempt up; Clockify does not say how long it waits
WAITS_S = (2.0, 3.0, 5.0, 8.0)  # between attempts; the last one again and again
ATTEMPTS = 30
AT_A_TIME = 16
KEPT = 2_000


@dataclass
class Sent:
    """One message; `answers`: an HTTP status an attempt, 0 for none."""

    number: int
    event: str
    entry: str
    body: bytes
    answers: list[int] = field(default_factory=list)

    @property
    def taken(self) -> bool:
        """Whether the function has answered 2xx."""
        return any(200 <= answer < 300 for answer in self.answers)


class Webhooks:
    """All webhooks of the workspace, for one URL. Its coroutines run in one event loop."""

    def __init__(self, url: str, signing_secret: str) -> None:
        self._url, self._secret = url, signing_secret
        self.sent: deque[Sent] = deque(maxlen=KEPT)
        self._numbers = itertools.count(1)
        self._at_work: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._client: aiohttp.ClientSession | None = None

    def send(self, messages: Iterable[Message]) -> None:
        """Send each message, soon and in any order."""
        for event, entry in messages:
            sent = Sent(
                next(self._numbers), event, str(entry.get("id", "")), json.dumps(entry).encode()
            )
            self.sent.append(sent)
            self.again(sent)

    def again(self, sent: Sent) -> None:
        """Send the very bytes of a message once more, whatever was answered to them before."""
        task = asyncio.create_task(self._until_taken(sent))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def stranger(self) -> int:
        """Post what looks like a webhook, with a signature that was guessed; return the status."""
        body = b'{"id": "64c777ddd3fcab07cfbb2100", "description": "a stranger\'s"}'
        return await self._post("NEW_TIME_ENTRY", body, "0" * 32)

    async def close(self) -> None:
        """Send no more."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _until_taken(self, sent: Sent) -> None:
        for attempt in range(ATTEMPTS):
            async with self._room:
                status = await self._post(sent.event, sent.body, self._secret)
            sent.answers.append(status)
            if 200 <= status < 300:
                return
            await asyncio.sleep(WAITS_S[min(attempt, len(WAITS_S) - 1)])

    async def _post(self, event: str, body: bytes, signature: str) -> int:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
                connector=aiohttp.TCPConnector(limit=0),
            )
        headers = {
            "Content-Type": "application/json",
            "Clockify-Signature": signature,
            "Clockify-Webhook-Event-Type": event,
        }
        try:
            async with self._client.post(self._url, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
