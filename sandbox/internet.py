"""One CONNECT proxy and one TLS server that play the internet on loopback.

Every host that the function calls ends here: gRPC goes to a gRPC server, all else to an HTTP
server, under one throw-away certificate authority. Google serves both under the same names; what a
client wants, it says when it opens TLS.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trustme
from aiohttp import web

# How a ClientHello lists protocols: https://www.rfc-editor.org/rfc/rfc7301#section-3.1
# gRPC takes HTTP/2 only; all other clients take HTTP/1.1 too.
HTTP_2, HTTP_1_1 = b"\x02h2", b"\x08http/1.1"
HOSTS = (
    "*.googleapis.com",
    "*.europe-west1.run.app",
    "*.salesforce.com",
    "*.my.salesforce.com",
    "*.sandbox.my.salesforce.com",
    "*.clockify.me",
    "*.api.clockify.me",
)


@dataclass(frozen=True)
class Request:
    """One HTTP request: `path` with its query; header names in lower case."""

    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """`body`: JSON, or text as it is. `lost`: the connection breaks instead.

    `content_type`: of a text. `drips_s`: the body comes a byte at a time, with so many seconds
    between two. Bytes go as they are, as `headers` say.
    """

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    content_type: str = "text/html"
    drips_s: float = 0.0


@dataclass(eq=False)
class _Tunnel:
    """One CONNECT, and how its far side has given it up."""

    client: asyncio.StreamWriter
    given_up: str = ""  # reset or swallowed


T = TypeVar("T")
Site = Callable[[Request], Awaitable[Answer]]


class Internet:
    """The proxy and the HTTP server, in an event loop of their own thread."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the certificate authority's file is put, as `ca.pem`."""
        authority = trustme.CA()
        self.certificate = authority.issue_cert(*HOSTS)
        self.authority_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority_file))
        self.sites: dict[str, Site] = {}  # the end of a host's name -> who answers
        self.refuses: Callable[[str], bool] = lambda host: False
        self.handshakes: dict[str, int] = {}  # host -> connections through the proxy
        self._tunnels: dict[str, set[_Tunnel]] = {}  # host -> those that are open
        self.grpc_port = 0
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.proxy_port: int = self.wait(self._start())

    def wait(self, work: Awaitable[T], timeout: float = 30) -> T:
        """Run `work` in the event loop and return its result."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(timeout)

    def give_up(self, host: str, how: str) -> None:
        """Have the far side forget the connections to `host` that are open; new ones work.

        `how`: `reset`, at the next byte that is sent on one; `swallowed`, and nothing is ever
        answered, as where a firewall or a load balancer has dropped what was idle.
        https://docs.cloud.google.com/load-balancing/docs/tcp#idle-timeout
        """
        for tunnel in self._tunnels.get(host, ()):
            tunnel.given_up = how

    def close(self) -> None:
        """Stop listening."""
        self.wait(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    async def _stop(self) -> None:
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _start(self) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certificate.configure_cert(context)
        server = web.Server(self._serve, request_factory=_request)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context, backlog=1024)
        await site.start()
        self._https_port: int = self._runner.addresses[0][1]
        proxy = await asyncio.start_server(self._tunnel, "127.0.0.1", 0, backlog=1024)
        port: int = proxy.sockets[0].getsockname()[1]
        return port

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        host = (request.host or "").split(":")[0]
        site = next((site for end, site in self.sites.items() if host.endswith(end)), None)
        if site is None:
            return web.Response(status=404, text=f"the sandbox knows no host {host}")
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await site(
            Request(request.method, host, request.raw_path, headers, await request.read())
        )
        if answer.lost:
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError
        if answer.body is None:
            return web.Response(status=answer.status, headers=answer.headers)
        if answer.drips_s:
            return await _drip(request, answer)
        if isinstance(answer.body, bytes):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if isinstance(answer.body, str):
            return web.Response(
                status=answer.status,
                text=answer.body,
                headers=answer.headers,
                content_type=answer.content_type,
            )
        return web.Response(
            status=answer.status,
            body=json.dumps(answer.body).encode(),
            headers=answer.headers,
            content_type="application/json",
        )

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one CONNECT: https://www.rfc-editor.org/rfc/rfc9110#name-connect"""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            host = head.split()[1].decode().rsplit(":", 1)[0]
            if self.refuses(host):
                writer.close()
                return
            self.handshakes[host] = self.handshakes.get(host, 0) + 1
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            hello = await reader.read(65536)
            is_grpc = HTTP_2 in hello and HTTP_1_1 not in hello
            port = self.grpc_port if is_grpc else self._https_port
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(hello)
            tunnel = _Tunnel(writer)
            tunnels = self._tunnels.setdefault(host, set())
            tunnels.add(tunnel)
            try:
                await asyncio.gather(_pipe(reader, back, tunnel), _pipe(there, writer, tunnel))
            finally:
                tunnels.discard(tunnel)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """A request of any size: a bulk job's data has up to 150 MB."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)


async def _pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tunnel: _Tunnel
) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            if tunnel.given_up == "swallowed":
                continue
            if tunnel.given_up == "reset":
                # Not to linger: the other side hears RST, not FIN.
                client: socket.socket = tunnel.client.get_extra_info("socket")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                tunnel.client.transport.abort()
                break
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def _drip(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """An answer that is never late by any single byte, and never comes to its end in time."""
    body = json.dumps(answer.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for at in range(len(body)):
            await response.write(body[at : at + 1])
            await asyncio.sleep(answer.drips_s)
    return response
