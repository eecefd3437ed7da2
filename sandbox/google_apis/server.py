"""The proxy: HTTP with absolute URIs for gcloud, CONNECT and TLS for everybody else."""

import json
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sandbox.google_apis import run
from sandbox.google_apis.answers import Refused, Request

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis


def handler(google: "GoogleApis") -> type[BaseHTTPRequestHandler]:
    """Return the handler class that answers for this project."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        tunnel = ""  # the host behind a CONNECT

        def do_CONNECT(self) -> None:
            self.tunnel = self.path.split(":")[0]
            self.send_response(200)
            self.end_headers()
            plain = self.connection
            self.connection = google.certificate(self.tunnel).wrap_socket(plain, server_side=True)
            self.rfile = self.connection.makefile("rb", self.rbufsize)
            self.wfile = self.connection.makefile("wb", self.wbufsize or -1)
            self.close_connection = False
            self.handle_one_request()
            self.wfile.flush()
            self.close_connection = True

        def _any(self) -> None:
            length = self.headers.get("Content-Length")
            if length is not None:
                body = self.rfile.read(int(length))
            elif self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            else:
                body = b""
            url = urlsplit(self.path)
            status, answer = self._answer(self.tunnel or url.hostname or "", url.path, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            if self.tunnel:  # a client must not use a connection again that is closing
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def _chunks(self) -> bytes:
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def _answer(self, host: str, path: str, body: bytes) -> tuple[int, Any]:
            query = parse_qs(urlsplit(self.path).query)
            if host in google.others:
                sent = dict(self.headers.items())
                status, answer, _ = google.others[host](self.command, self.path, sent, body)
                return status, answer
            if host.endswith(".run.app"):
                return run.call_function(google, host, dict(self.headers.items())), {}
            if path.startswith("/upload/"):
                google.requests.append(Request(self.command, host, path, query, {}))
                return 200, run.upload(google, path, query, body)
            request = Request(self.command, host, path, query, json.loads(body) if body else {})
            google.requests.append(request)
            try:
                return 200, google.answer(request)
            except Refused as refused:
                return refused.status, refused.body

        def log_message(self, *_: object) -> None:
            pass

    return Handler
