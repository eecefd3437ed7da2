"""How a request leaves: in one piece, over connections that are kept for each host."""

import re
import socketserver
import threading
from collections.abc import Iterator

import pytest

from clockify_salesforce import transport

MORE_HOSTS_THAN_ARE_KEPT = 12


class Server(socketserver.ThreadingTCPServer):
    """Answers every request with the number of its connection, and notes each piece of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Handler)
        self.pieces: list[bytes] = []
        self.port = int(self.server_address[1])


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        while piece := self.request.recv(65_536):
            self.server.pieces.append(piece)
            length = int(re.search(rb"Content-Length: (\d+)", piece)[1])  # type: ignore[index]
            if len(piece.partition(b"\r\n\r\n")[2]) < length:
                self.server.pieces.append(self.request.recv(65_536))
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, where no proxy is in between."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_request_with_a_body_leaves_in_one_piece(server: Server) -> None:
    session = transport.session()
    for number in range(20):
        session.post(f"http://127.0.0.1:{server.port}/", json={"number": number}).json()
    assert len(server.pieces) == 20


def test_more_hosts_than_are_kept_are_all_reached_again(server: Server) -> None:
    session = transport.session()
    for _ in range(2):
        for host in range(1, MORE_HOSTS_THAN_ARE_KEPT + 1):
            answer = session.post(f"http://127.0.0.{host}:{server.port}/", json={})
            assert answer.json() == {}
