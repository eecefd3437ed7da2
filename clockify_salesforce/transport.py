"""HTTP sessions whose every answer is whole within its time-out, and bounded.

requests' own time-out begins anew with each byte that arrives, and it reads an answer of any size;
neither is good enough for a caller that has 7.5 s and 512 MB. So the time to read, here, is for the
whole answer, head and body, and a body ends at a limit, unpacked.
https://requests.readthedocs.io/en/latest/user/quickstart/#timeouts
"""

import http.client
import io
import socket
import time
from typing import Any

import requests
from requests.adapters import DEFAULT_POOLSIZE, HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

CONNECT_S, READ_S = 3.0, 5.0
# 2,000 rows of SOQL and the list of an org's objects are a few MB at most.
LARGEST_ANSWER = 16 * 1024 * 1024
_CHUNK = 65_536


class _Timed(io.RawIOBase):
    """A socket's bytes until its time-out is over, counted once for all of them."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        limit_s = connection.gettimeout()
        self._ends_at = None if limit_s is None else time.monotonic() + limit_s
        self._is_first = True  # and until then the connection's own time-out is right

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._ends_at is not None and not self._is_first:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the answer took too long")
            self._connection.settimeout(left_s)
        self._is_first = False
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: Any = self.fp.detach()
        self.fp = io.BufferedReader(_Timed(raw, sock))


class _InOnePiece(HTTPConnection):
    """Sends a request at once: urllib3 sends head and body as two packets, each encrypted alone."""

    response_class = _Response
    _held: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._held = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


class _Plain(_InOnePiece):
    pass


class _Secure(_InOnePiece, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def __init__(self, *, pool: int, largest: int) -> None:
        self._largest = largest
        self._pools: dict[str, Any] = {}  # by host and port
        super().__init__(pool_maxsize=pool)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        # Behind a proxy, urllib3 leaves TCP_NODELAY out, and each call would wait 40 ms for an ACK.
        kwargs.setdefault("socket_options", HTTPConnection.default_socket_options)
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        # requests works it out anew at each call, and looks for the certificates' file three times.
        host = request.url.split("/", 3)[2]
        pool = self._pools.get(host)
        if pool is None:
            if len(self._pools) == DEFAULT_POOLSIZE:  # requests closes the oldest then
                self._pools.clear()
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            self._pools[host] = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the pool knows them."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or (CONNECT_S, READ_S)
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        content = bytearray()
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) > self._largest:
                response.close()
                raise requests.exceptions.ContentDecodingError("the answer is too large")
        response._content = bytes(content)
        return response


class _Session(requests.Session):
    """Cookies, .netrc and a call's own proxy or certificates are nothing that is used here."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = super().merge_environment_settings(
            "https://salesforce.com", {}, None, None, None
        )

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        request.headers = {**self.headers, **request.headers}
        return request.prepare()

    def merge_environment_settings(self, *_: Any, **__: Any) -> Any:
        return self._settings


def session(*, pool: int = 10, largest: int = LARGEST_ANSWER) -> requests.Session:
    """A session that follows no redirect, which would carry a secret to another host.

    `pool`: connections that are kept open; `largest`: bytes of an answer. The proxy and the
    certificates of the environment are looked up once: requests does it at every call, which takes
    a seventh of a message's time.
    """
    found = _Session()
    found.max_redirects = 0
    found.mount("https://", _Adapter(pool=pool, largest=largest))
    found.mount("http://", _Adapter(pool=pool, largest=largest))
    return found
