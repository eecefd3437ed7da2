"""Signed messages whose framing is spoiled in one way each: none may be taken, or become two.

https://www.rfc-editor.org/rfc/rfc9112
"""

from pathlib import Path

ENTRY = (Path(__file__).parent.parent / "payloads/TIMER_STOPPED.json").read_bytes()
SIZE = b"%x" % len(ENTRY)
LAST = b"0\r\n\r\n"


def good(secret: str) -> bytes:
    """A message that is taken."""
    return _whole(secret, b"Content-Length: %d" % len(ENTRY))


def spoiled(secret: str) -> dict[str, bytes]:
    """How it is spoiled -> what is sent; whoever sent it then waits for the answer."""
    return {
        **{f"length {kind}": head for kind, head in _lengths(secret).items()},
        **{f"coding {kind}": head for kind, head in _codings(secret).items()},
        **{f"chunk {kind}": head for kind, head in _chunks(secret).items()},
        **{f"header {kind}": head for kind, head in _headers(secret).items()},
        **{f"line {kind}": head for kind, head in _lines(secret).items()},
    }


def _whole(
    secret: str, *headers: bytes, line: bytes = b"POST / HTTP/1.1", body: bytes = ENTRY
) -> bytes:
    signed = b"Clockify-Signature: " + secret.encode()
    kind = b"Clockify-Webhook-Event-Type: TIMER_STOPPED"
    return b"\r\n".join([line, b"Host: function", signed, kind, *headers, b"", body])


def _lengths(secret: str) -> dict[str, bytes]:
    values = {
        "negative": b"-1",
        "signed": b"+%d" % len(ENTRY),
        "hexadecimal": b"0x" + SIZE,
        "with a fraction": b"%d.0" % len(ENTRY),
        "with an exponent": b"1e3",
        "with an underscore": b"1_000",
        "empty": b"",
        "with a blank": b"1 000",
        "a list": b"%d, %d" % (len(ENTRY), len(ENTRY)),
        "in fullwidth digits": "１０００".encode(),
        "huge": b"9" * 40,
        "of 2 MiB": b"2097152",
    }
    length = b"Content-Length: %d" % len(ENTRY)
    return {
        **{kind: _whole(secret, b"Content-Length: " + value) for kind, value in values.items()},
        "twice": _whole(secret, length, b"Content-Length: 5"),
        "missing": _whole(secret),
        "too short, and the rest a message": _whole(
            secret, b"Content-Length: 5", body=ENTRY[:5] + good(secret)
        ),
    }


def _codings(secret: str) -> dict[str, bytes]:
    body = SIZE + b"\r\n" + ENTRY + b"\r\n" + LAST
    length = b"Content-Length: %d" % len(ENTRY)
    values = {
        "twice": b"chunked, chunked",
        "not last": b"chunked, gzip",
        "unknown": b"xchunked",
        "quoted": b'"chunked"',
        "with a vertical tab": b"\x0bchunked",
        "identity": b"identity",
        "empty": b"",
    }
    coding = b"Transfer-Encoding: "
    return {
        **{kind: _whole(secret, coding + value, body=body) for kind, value in values.items()},
        "and a length": _whole(secret, coding + b"chunked", length, body=body),
        "and no length": _whole(secret, coding + b"chunked", b"Content-Length: 0", body=body),
        "in two headers": _whole(secret, coding + b"chunked", coding + b"chunked", body=body),
        "in HTTP/1.0": _whole(secret, coding + b"chunked", line=b"POST / HTTP/1.0", body=body),
    }


def _chunks(secret: str) -> dict[str, bytes]:
    end = b"\r\n" + ENTRY + b"\r\n" + LAST
    bodies = {
        "size no number": b"zz" + end,
        "size negative": b"-" + SIZE + end,
        "size signed": b"+" + SIZE + end,
        "size with 0x": b"0x" + SIZE + end,
        "size with an underscore": b"0_" + SIZE + end,
        "size empty": end,
        "size with a blank before": b" " + SIZE + end,
        "size without an end": b"0" * 20_000,
        "size ends with LF": SIZE + b"\n" + ENTRY + b"\r\n" + LAST,
        "longer than said": SIZE + b"\r\n" + ENTRY + b" \r\n" + LAST,
        "ends with LF": SIZE + b"\r\n" + ENTRY + b"\n" + LAST,
        "extension with CR": SIZE + b";a=\rb" + end,
        "extension no token": SIZE + b";=" + end,
        "trailer no header": SIZE + end[:-2] + b"bad\r\n\r\n",
        "trailer with NUL": SIZE + end[:-2] + b"a: \x00\r\n\r\n",
    }
    chunked = b"Transfer-Encoding: chunked"
    return {kind: _whole(secret, chunked, body=body) for kind, body in bodies.items()}


def _headers(secret: str) -> dict[str, bytes]:
    length = b"Content-Length: %d" % len(ENTRY)
    headers = {
        "without a colon": [b"bad"],
        "without a name": [b": bad"],
        "with a blank before the colon": [b"A : b"],
        "folded": [b"A: b\r\n c"],
        "with NUL": [b"A: \x00"],
        "with CR": [b"A: b\rc"],
        "with LF": [b"A: b\nC: d"],
        "name no token": [b"A(: b"],
        "name not ASCII": ["Ä: b".encode()],
        "too long": [b"A: " + b"x" * 10_000],
        "too many": [b"A%d: b" % number for number in range(120)],
        "signature twice": [b"Clockify-Signature: " + secret.encode()],
        "host twice": [b"Host: other"],
        "expectation unknown": [b"Expect: money"],
    }
    unsigned = good(secret).replace(b"Clockify-Signature:", b"Clockify_Signature:")
    return {
        **{kind: _whole(secret, length, *more) for kind, more in headers.items()},
        "first folded": _whole(secret, length, line=b"POST / HTTP/1.1\r\n A: b"),
        "signature with an underscore": unsigned,
    }


def _lines(secret: str) -> dict[str, bytes]:
    length = b"Content-Length: %d" % len(ENTRY)
    lines = {
        "without a version": b"POST /",
        "of version 0.9": b"POST / HTTP/0.9",
        "of version 2": b"POST / HTTP/2.0",
        "of no version": b"POST / HTTP/x",
        "with two blanks": b"POST  / HTTP/1.1",
        "in small letters": b"post / HTTP/1.1",
        "with NUL": b"POST /\x00 HTTP/1.1",
    }
    return {
        **{kind: _whole(secret, length, line=line) for kind, line in lines.items()},
        "of HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    }
