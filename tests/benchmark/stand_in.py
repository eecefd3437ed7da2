"""Salesforce as fast as it may be: a process that knows every answer by heart.

It is its own CONNECT proxy and ends TLS on the same connection, so that a message costs it about a
tenth of what it costs a function. What is refused, and why, is the sandbox's business.
"""

import asyncio
import json
import re
import ssl
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, cast

from sandbox.salesforce import HOST

EVENT_ID = "00UKj00000A1b2cMAB"
# Whom and what the sample message names, by the object that is asked for.
ROWS = {
    "User": {"Id": "005Kj00000A1b2cIAB", "Clockify_User_Id__c": "5a0ab5acb07987125438b60f"},
    "Opportunity": {
        "Id": "006Kj00000A1b2cIAB",
        "Clockify_Project_Id__c": "64c777ddd3fcab07cfbb211d",
    },
}


WRITTEN = json.dumps(
    {
        "compositeResponse": [
            {
                "body": {"id": each, "success": True, "errors": [], "created": True},
                "httpHeaders": {"Location": f"/services/data/v65.0/sobjects/{name}/{each}"},
                "httpStatusCode": 201,
                "referenceId": reference,
            }
            for reference, name, each in (
                ("state", "Clockify_State__c", "a00Kj00000A1b2cMAB"),
                ("event", "Event", EVENT_ID),
            )
        ]
    }
).encode()


class StandIn:
    """The process, seen from the one that started it."""

    def __init__(self, context: SpawnContext, certificate: bytes) -> None:
        """`certificate`: the private key and the chain for HOST, as PEM."""
        self.delay = context.Value("d", 0.0, lock=False)  # seconds before an answer
        self.calls = context.Value("i", 0, lock=False)
        self.handshakes = context.Value("i", 0, lock=False)
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_run,
            args=(certificate, theirs, self.delay, self.calls, self.handshakes),
            daemon=True,
        )
        self._process.start()
        self.port = int(ours.recv())

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._process.pid or 0)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(10)


class _Client(asyncio.Protocol):
    """One connection: a CONNECT, then TLS, then requests one after the other."""

    def __init__(self, context: ssl.SSLContext, delay: Any, calls: Any, handshakes: Any) -> None:
        self._context, self._delay, self._calls = context, delay, calls
        self._handshakes = handshakes
        self._received = b""
        self._is_starting = False  # TLS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._is_starting:
            return
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"\ncontent-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if not end or len(rest) < size:
            return
        self._received = rest[size:]
        if head.startswith(b"CONNECT "):
            self._transport.pause_reading()
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._is_starting = True
            self._starting = asyncio.ensure_future(self._start_tls())
            return
        self._calls.value += 1
        status, body = _answer(head, rest[:size])
        answer = (
            b"HTTP/1.1 %d OK\r\nContent-Type: application/json;charset=UTF-8\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )
        if self._delay.value:
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay.value, self._transport.write, answer)
        else:
            self._transport.write(answer)

    async def _start_tls(self) -> None:
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(self._transport, self, self._context, server_side=True)
        self._transport = cast(asyncio.Transport, secure)
        self._handshakes.value += 1
        self._is_starting = False
        self.data_received(b"")  # what has come since the handshake


def _answer(head: bytes, body: bytes) -> tuple[int, bytes]:
    path = head.split(b" ", 2)[1]
    if b"/sobjects/Event/" in path:
        return 201, b'{"id":"%b","success":true,"errors":[],"created":true}' % EVENT_ID.encode()
    if path.endswith(b"/oauth2/token"):
        token = {"access_token": "made-up", "instance_url": f"https://{HOST}"}
        return 200, json.dumps(token).encode()
    if b'"allOrNone": true' in body:  # a state and an Event, both made
        return 200, WRITTEN
    parts = json.loads(body)["compositeRequest"]
    answers = [
        {"httpStatusCode": 200, "referenceId": each["referenceId"], "body": _found(each["url"])}
        for each in parts
    ]
    return 200, json.dumps({"compositeResponse": answers}).encode()


def _found(url: str) -> dict[str, Any]:
    rows = [row for name, row in ROWS.items() if f"+FROM+{name}+" in url and list(row)[1] in url]
    return {"done": True, "totalSize": len(rows), "records": rows}


def _run(certificate: bytes, port: Connection, delay: Any, calls: Any, handshakes: Any) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Client(context, delay, calls, handshakes), "127.0.0.1", 0, backlog=1024
        )
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
