"""Every attack: what the strangers do, and what befalls Secret Manager meanwhile."""

from dataclasses import dataclass

from .strangers import Strangers

_HOST = b"Host: function\r\n"
_SLOW = _HOST + b"Content-Length: 1000\r\n\r\n"
_WHOLE = _HOST + b"Content-Length: 2\r\n\r\n{}"
_SIGNED = b"POST / HTTP/1.1\r\nClockify-Signature: " + b"x" * 32 + b"\r\n"
_CLOSE = b"Connection: close\r\n"

# Each body would take 8 minutes to come in; a chunk is as good as any other byte.
SLOW_BODIES = {
    "wrong signature": _SIGNED + _SLOW,
    "no signature": b"POST / HTTP/1.1\r\n" + _SLOW,
    "GET": b"GET / HTTP/1.1\r\n" + _SLOW,
    "/robots.txt": b"GET /robots.txt HTTP/1.1\r\n" + _SLOW,
    "//": b"POST //a HTTP/1.1\r\n" + _SLOW,
    "larger than 1 MiB": _SIGNED + _HOST + b"Content-Length: 9000000\r\n\r\n",
    "chunked": _SIGNED + _HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "asks first": _SIGNED + _HOST + b"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
}
STAYING = {
    "wrong signature": _SIGNED + _CLOSE + _WHOLE,
    "wrong signature, kept alive": _SIGNED + _WHOLE,
    "HTTP/1.0": b"POST / HTTP/1.0\r\n" + _WHOLE,
    "GET": b"GET / HTTP/1.1\r\n" + _CLOSE + _HOST + b"\r\n",
    "/favicon.ico": b"GET /favicon.ico HTTP/1.1\r\n" + _CLOSE + _HOST + b"\r\n",
    "half a body": _SIGNED + _CLOSE + _SLOW,
}


@dataclass(frozen=True, slots=True)
class Attack:
    """`slow_s`, `down`, `missing`: what Secret Manager does. `cold`: nothing is in memory yet.

    `is_kept_off`: Cloud Run's front end lets nothing of the kind through to the function, which
    would give way to it.
    """

    name: str
    strangers: Strangers
    slow_s: float = 0.0
    down: bool = False
    missing: bool = False
    cold: bool = False
    is_kept_off: bool = False


def slow(name: str, *heads: bytes) -> Attack:
    """Twice as many as there are threads send a body byte by byte, and come again when refused."""
    return Attack(f"slow body: {name}", Strangers(heads, drip=b"1\r\nx\r\n"))


def staying(name: str, *heads: bytes) -> Attack:
    """20 new ones a second, of whom nobody ever hangs up."""
    return Attack(
        f"stays on: {name}", Strangers(heads, hangs_up=False, per_second=20, at_once=2000)
    )


def _wrong(
    name: str,
    *,
    slow_s: float = 0.0,
    down: bool = False,
    missing: bool = False,
    cold: bool = False,
) -> Attack:
    return Attack(
        f"1,000 wrong signatures a second: {name}",
        Strangers((_SIGNED + _WHOLE,), per_second=1000, at_once=400),
        slow_s=slow_s,
        down=down,
        missing=missing,
        cold=cold,
    )


NEVER_READING = Attack(
    "100,000 requests on a connection, no answer read",
    Strangers(((b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n") * 100_000,), reads=False, per_second=20),
)
WRONG_SIGNATURES = (
    _wrong("all is well"),
    _wrong("secrets slow", slow_s=1.0),
    _wrong("secrets hang", slow_s=5.0),
    _wrong("secrets down", down=True),
    _wrong("cold", cold=True),
    _wrong("cold, secrets hang", slow_s=5.0, cold=True),
    _wrong("cold, secrets down", down=True, cold=True),
    _wrong("cold, the secret is missing", missing=True, cold=True),
)
KEPT_OFF = (
    Attack(
        "no end of headers", Strangers((b"POST / HTTP/1.1\r\n",), b"a: b\r\n"), is_kept_off=True
    ),
    Attack("says nothing", Strangers((b"",), at_once=2000), is_kept_off=True),
    Attack(
        "no HTTP, and stays on",
        Strangers((b"\x00 no HTTP\r\n\r\n",), hangs_up=False, per_second=20, at_once=2000),
        is_kept_off=True,
    ),
)
ATTACKS = (
    *(slow(name, head) for name, head in SLOW_BODIES.items()),
    *(staying(name, head) for name, head in STAYING.items()),
    NEVER_READING,
    *WRONG_SIGNATURES,
    *KEPT_OFF,
)
