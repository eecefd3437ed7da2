"""Stand in for Cloud Run: one URL, and one to three instances of the function behind it.

Instances are processes of functions-framework. Each takes its turn; one that is killed is replaced
when no other is left to take a request; one that is frozen still gets its share, because nobody
sees from outside that a machine has stopped. https://cloud.google.com/run/docs/about-instance-autoscaling
"""

import asyncio
import hashlib
import itertools
import json
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.world import Function, World, free_port

NAMES = ("one", "two", "three")
LARGEST_REQUEST = 32 * 1024 * 1024  # https://cloud.google.com/run/quotas
PATIENCE_S = 60  # of the service, --timeout
KEPT = 2_000  # requests that are remembered
# The words of Cloud Run's own log: https://cloud.google.com/run/docs/troubleshooting
BROKE_OFF = "The request failed because the connection to the instance had an error."
TOO_LATE = "The request has been terminated because it has reached the maximum request timeout."
_NOT_PASSED_ON = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Served:
    """One request and what became of it; `status` is 0 until it is answered."""

    number: int
    trace: str
    at: float  # seconds since 1970
    sender: str  # Clockify, Cloud Tasks
    event: str
    entry: str
    repeat: bool  # the same event and body came before
    instance: str = ""
    status: int = 0
    milliseconds: float = 0.0
    answer: str = ""
    log: dict[str, Any] = field(default_factory=dict)  # the function's own line


class Instance:
    """One process; `state`: starting, running, frozen or killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "starting"
        self.function: Function | None = None
        self.served = 0
        self.read_up_to = 0  # bytes of its log

    def new_lines(self) -> list[dict[str, Any]]:
        """The JSON log lines since the last call."""
        if self.function is None:
            return []
        with self.function.log_file.open("rb") as log:
            log.seek(self.read_up_to)
            whole = log.read().rpartition(b"\n")[0]
        self.read_up_to += len(whole) + bool(whole)
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


class CloudRun:
    """The service. Its coroutines run in the world's event loop."""

    def __init__(
        self, world: World, *, port: int = 0, instances: int = 1, settings: Mapping[str, str]
    ) -> None:
        """Listen and start the instances; `settings`: more of their environment, by name."""
        self._world, self._port = world, port or free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._settings = {**settings, "FUNCTION_URL": self.url}
        self.instances: list[Instance] = []
        self.requests: deque[Served] = deque(maxlen=KEPT)
        self._by_trace: OrderedDict[str, Served] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._numbers, self._turns = itertools.count(1), itertools.count()
        self._starting = asyncio.Lock()
        world.internet.wait(self._listen())
        world.internet.wait(self.scale(instances))

    def close(self) -> None:
        """Stop listening, and end all instances."""
        self._world.internet.wait(self._close())
        for instance in self.instances:
            if instance.function is not None:
                instance.function.kill()

    def forget(self) -> None:
        """Forget the requests so far."""
        self.read_logs()
        self.requests.clear()
        self._by_trace.clear()
        self._seen.clear()

    # What an operator does, and what happens by itself -----------------------------------------

    async def scale(self, count: int) -> None:
        """Run so many instances."""
        async with self._starting:
            for instance in self.instances[count:]:
                self.instances.remove(instance)
                if instance.function is not None:
                    await asyncio.to_thread(instance.function.stop)
            fresh = [Instance(name) for name in NAMES[len(self.instances) : count]]
            self.instances += fresh
            await asyncio.gather(*(self._start(instance) for instance in fresh))

    async def kill(self, name: str) -> None:
        """End an instance in the middle of whatever it does (kill -9)."""
        instance, function = self._find(name)
        instance.state = "killed"
        await asyncio.to_thread(function.kill)

    def freeze(self, name: str) -> None:
        """Stop an instance where it is; it does not know (kill -STOP)."""
        instance, function = self._find(name)
        if instance.state == "running":
            function.freeze()
            instance.state = "frozen"

    def thaw(self, name: str) -> None:
        """Let a frozen instance go on."""
        instance, function = self._find(name)
        if instance.state == "frozen":
            function.thaw()
            instance.state = "running"

    async def start(self, name: str) -> None:
        """Start a killed instance anew; it remembers nothing."""
        instance, _ = self._find(name)
        async with self._starting:
            if instance.state == "killed":
                await self._start(instance)

    def read_logs(self) -> None:
        """Put the function's log lines to the requests that they are about."""
        for instance in self.instances:
            for line in instance.new_lines():
                trace = str(line.get("logging.googleapis.com/trace", "")).rpartition("/")[2]
                if served := self._by_trace.get(trace):
                    served.log = line

    def _find(self, name: str) -> tuple[Instance, Function]:
        for instance in self.instances:
            if instance.name == name and instance.function is not None:
                return instance, instance.function
        raise LookupError(f"there is no instance {name}")

    async def _start(self, instance: Instance) -> None:
        instance.state = "starting"
        if instance.function is None:
            instance.function = await asyncio.to_thread(
                lambda: Function(self._world, **self._settings)  # type: ignore[arg-type]
            )
        else:
            await asyncio.to_thread(instance.function.start)
        instance.state = "running"

    # Requests ----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024).start()
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        served = self._note(request, body)
        began = time.perf_counter()
        status, headers, answer = await self._pass_on(request, body, served)
        served.milliseconds = (time.perf_counter() - began) * 1000
        served.answer = answer.decode(errors="replace")
        self.read_logs()
        served.status = status
        return web.Response(status=status, headers=headers, body=answer)

    def _note(self, request: web.Request, body: bytes) -> Served:
        event = request.headers.get("Clockify-Webhook-Event-Type", "")
        from_queue = request.headers.get("User-Agent", "") == "Google-Cloud-Tasks"
        fingerprint = hashlib.sha256(event.encode() + body).digest()
        served = Served(
            number=next(self._numbers),
            trace=secrets.token_hex(16),
            at=time.time(),
            sender="Cloud Tasks" if from_queue else "Clockify",
            event=event,
            entry=entry_id(body),
            repeat=fingerprint in self._seen and not from_queue,
        )
        self.requests.append(served)
        self._by_trace[served.trace] = served
        self._seen[fingerprint] = None
        while len(self._by_trace) > KEPT:
            self._by_trace.popitem(last=False)
        while len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return served

    async def _pass_on(
        self, request: web.Request, body: bytes, served: Served
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        # https://cloud.google.com/run/docs/trace
        sent["traceparent"] = f"00-{served.trace}-{served.trace[:16]}-01"
        while True:
            instance = await self._next()
            served.instance, function = instance.name, instance.function
            instance.served += 1
            assert function is not None
            try:
                async with self._client.request(
                    request.method, function.url + request.raw_path, data=body, headers=sent
                ) as answer:
                    told = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
                    return answer.status, told, await answer.read()
            except aiohttp.ClientConnectorError:
                instance.state = "killed"  # it was gone before it had the request: the next one
            except TimeoutError:
                return 504, {}, TOO_LATE.encode()
            except aiohttp.ClientError:
                return 503, {}, BROKE_OFF.encode()

    async def _next(self) -> Instance:
        """Whose turn it is; where all are gone, a new one is started, and the request waits."""
        while True:
            up = [each for each in self.instances if each.state in ("running", "frozen")]
            if up:
                return up[next(self._turns) % len(up)]
            async with self._starting:
                if all(each.state == "killed" for each in self.instances):
                    await self._start(self.instances[0])
            await asyncio.sleep(0.02)


def entry_id(body: bytes) -> str:
    """The id of the time entry that a webhook's body is about; several: a comma between them."""
    try:
        entry = json.loads(body)
    except ValueError:
        return ""
    entries = entry if isinstance(entry, list) else [entry]
    return ",".join(str(each.get("id", "")) for each in entries[:10] if isinstance(each, dict))
