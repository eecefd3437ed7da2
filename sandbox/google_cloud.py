"""Stand in for Secret Manager and Cloud Tasks over real gRPC, and for Google's token endpoint.

Cloud Tasks really posts what it holds, again and again until a 2xx, as the queue would; only its
waits are shorter. https://cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2
"""

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from google.cloud.secretmanager_v1.types import (
    AccessSecretVersionRequest,
    AccessSecretVersionResponse,
)
from google.cloud.tasks_v2.types import CreateTaskRequest, Task

from sandbox.internet import Answer, Internet, Request

PROJECT = "sandbox-project"
QUEUE = f"projects/{PROJECT}/locations/europe-west1/queues/clockify-salesforce-retry"
LARGEST_TASK = 100 * 1024
CONCURRENT = 10  # posts at a time


async def token(request: Request) -> Answer:
    """Google's token endpoint, for clients that do not sign their own tokens."""
    return Answer(200, {"access_token": "made-up", "expires_in": 3600, "token_type": "Bearer"})


@dataclass
class Trouble:
    """What befalls every call of a service.

    https://docs.cloud.google.com/apis/design/errors#handling_errors
    """

    down: bool = False
    exhausted: bool = False  # a quota is used up
    slow: float = 0.0  # seconds before the answer

    def strike(self, context: grpc.ServicerContext) -> None:
        """Wait as long as the answer takes, and abort the call where it fails."""
        time.sleep(self.slow)
        if self.down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable.")
        if self.exhausted:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded for quota metric")


class SecretManager:
    """Secrets by short name, each a list of versions; their numbers begin with 1."""

    def __init__(self) -> None:
        self.secrets: dict[str, list[str]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all secrets, faults and counts."""
        self.secrets.clear()
        self.trouble = Trouble()
        # Secret -> the number that `latest` still means: it is eventually consistent, a version's
        # number is not. https://docs.cloud.google.com/secret-manager/docs/reference/consistency
        self.latest: dict[str, int] = {}
        self.states: dict[tuple[str, int], str] = {}  # DISABLED or DESTROYED
        self.reads: list[str] = []

    @property
    def down(self) -> bool:
        """Whether every read fails."""
        return self.trouble.down

    @down.setter
    def down(self, down: bool) -> None:
        self.trouble.down = down

    def access(self, request: Any, context: grpc.ServicerContext) -> AccessSecretVersionResponse:
        """AccessSecretVersion."""
        self.reads.append(request.name)
        self.trouble.strike(context)
        match = re.fullmatch(rf"projects/{PROJECT}/secrets/(.+)/versions/(\w+)", request.name)
        name, version = match.groups() if match else ("", "0")
        versions = self.secrets.get(name, [])
        newest = self.latest.get(name, len(versions))
        number = newest if version == "latest" else int(version)
        path = f"projects/{PROJECT}/secrets/{name}/versions/{number}"
        if not 1 <= number <= len(versions):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret Version [{path}] not found.")
        # The words of https://github.com/external-secrets/external-secrets/issues/4042
        if state := self.states.get((name, number)):
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"Secret Version [{path}] is in {state} state."
            )
        return AccessSecretVersionResponse(
            name=path, payload={"data": versions[number - 1].encode()}
        )


@dataclass
class Waiting:
    """One task: the stored request, and how often it was posted. Times in seconds since 1970."""

    name: str
    url: str
    headers: dict[str, str]
    body: bytes
    attempts: int = 0
    answers: list[int] = field(default_factory=list)
    created_at: float = field(default_factory=time.time)
    tried_at: float = 0.0
    next_at: float = field(default_factory=time.time)
    now: asyncio.Event = field(default_factory=asyncio.Event)  # somebody wants it to be tried


class CloudTasks:
    """One queue. Times in seconds; the real queue begins with 10 s and goes up to an hour."""

    def __init__(self, internet: Internet) -> None:
        self._internet = internet
        self._numbers = itertools.count(1)
        self._room = asyncio.Semaphore(CONCURRENT)
        self.waiting: dict[str, Waiting] = {}
        self._dispatching: list[futures.Future[None]] = []
        self._client: aiohttp.ClientSession | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all tasks and counts."""
        self.waiting.clear()
        self.trouble = Trouble()
        self.paused = False
        self.found = True  # a queue made a moment ago may not be
        self.first_wait, self.longest_wait = 0.2, 2.0
        self.created: list[Waiting] = []

    @property
    def down(self) -> bool:
        """Whether every call fails."""
        return self.trouble.down

    @down.setter
    def down(self, down: bool) -> None:
        self.trouble.down = down

    def create(self, request: Any, context: grpc.ServicerContext) -> Task:
        """CreateTask."""
        self.trouble.strike(context)
        if request.parent != QUEUE or not self.found:
            # The code of https://github.com/stackkit/laravel-google-cloud-tasks-queue/issues/103
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Queue does not exist.")
        if len(CreateTaskRequest.serialize(request)) > LARGEST_TASK:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Task size too large")
        http = request.task.http_request
        name = request.task.name or f"{QUEUE}/tasks/{next(self._numbers)}"
        # Not again for hours, also when it is done. The words of
        # https://github.com/stackkit/laravel-google-cloud-tasks-queue/issues/104
        if name in {task.name for task in self.created}:
            context.abort(
                grpc.StatusCode.ALREADY_EXISTS,
                "The task cannot be created because a task with this name existed too recently.",
            )
        task = Waiting(name, http.url, dict(http.headers), bytes(http.body))
        self.waiting[name] = task
        self.created.append(task)
        self._dispatching = [each for each in self._dispatching if not each.done()]
        self._dispatching.append(
            asyncio.run_coroutine_threadsafe(self._dispatch(task), self._internet.loop)
        )
        return Task(name=name, http_request=http)

    def run(self, task: Waiting) -> None:
        """RunTask: try it now, whenever it would be, and also where the queue is paused.

        https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/run
        """
        self._internet.loop.call_soon_threadsafe(task.now.set)

    async def _dispatch(self, task: Waiting) -> None:
        wait = self.first_wait
        # The first attempt follows at once, as a queue does; the back-off stands before the others.
        while task.name in self.waiting:
            while self.paused and not task.now.is_set():
                await asyncio.sleep(0.05)
            if task.name not in self.waiting:
                return
            task.now.clear()
            async with self._room:
                status = await self._post(task)
            task.answers.append(status)
            if 200 <= status < 300:
                self.waiting.pop(task.name, None)
                return
            task.next_at = time.time() + wait
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(task.now.wait(), wait)
            wait = min(wait * 2, self.longest_wait)

    async def _post(self, task: Waiting) -> int:
        if self._client is None:
            # Each on a connection of its own: the function may end a kept one, as it does after
            # what it has not taken, at the moment when it is used again.
            self._client = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=60),
                connector=aiohttp.TCPConnector(force_close=True),
            )
        headers = {
            **task.headers,
            "X-CloudTasks-TaskRetryCount": str(task.attempts),
            "User-Agent": "Google-Cloud-Tasks",
        }
        task.attempts += 1
        task.tried_at = time.time()
        try:
            async with self._client.post(task.url, data=task.body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def close(self) -> None:
        """Post no more."""
        for dispatch in self._dispatching:
            dispatch.cancel()
        await asyncio.sleep(0)
        if self._client is not None:
            await self._client.close()


def serve(internet: Internet, secrets: SecretManager, tasks: CloudTasks) -> grpc.Server:
    """Start the gRPC server for both, under the internet's certificate."""

    def unary(
        method: Callable[..., Any], takes: Any, gives: Any
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=takes.deserialize, response_serializer=gives.serialize
        )

    server = grpc.server(futures.ThreadPoolExecutor(64))  # slow answers keep one each
    access = unary(secrets.access, AccessSecretVersionRequest, AccessSecretVersionResponse)
    create = unary(tasks.create, CreateTaskRequest, Task)
    for service, method, handler in (
        ("google.cloud.secretmanager.v1.SecretManagerService", "AccessSecretVersion", access),
        ("google.cloud.tasks.v2.CloudTasks", "CreateTask", create),
    ):
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
    certificate = internet.certificate
    chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    internet.grpc_port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server
