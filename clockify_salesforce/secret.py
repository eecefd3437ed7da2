"""Read secrets from Secret Manager with Google's client, and keep them in memory.

A warm message calls nobody. Whatever Secret Manager does, few threads wait for it, and none goes on
after the answer: an instance has no CPU then.
https://cloud.google.com/secret-manager/docs/reference/rpc
"""

import hmac
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager

from clockify_salesforce.errors import SecretUnavailable
from clockify_salesforce.google_client import GoogleClient

KEPT_S = 5 * 60.0
REFRESH_AGAIN_S = 10.0  # after a refresh that failed
FAILURE_S = 1.5  # how long everybody hears at once that there is no value
# How long one caller reads, in tries. It is shorter once the very first read has failed, for then
# any message may be the one that reads; and where the value in memory would do as well.
READ_S, TRY_S, READ_AGAIN_S, REFRESH_S = 3.0, 1.5, 0.9, 0.7
# How long the first few wait for somebody else's very first read, and how long the others do.
FEW, FEW_WAIT_S, OTHERS_WAIT_S = 16, 2.0, 0.5
# An unknown signature looks for a newer version: three at once, then one every 2.5 s.
LOOK_EVERY_S, LOOKS_AT_ONCE = 2.5, 3
LOOKERS = 4  # how many callers look, or wait for a look
NUMBERS_A_LOOK = 3
FROZEN_S = 1.0

# As python -m commands.secret_values has it; Clockify's have 32 letters and digits.
_SIGNING_SECRET = re.compile(r"[!-~]{16,1000}")
_NEVER = float("-inf")
_SECRET_MANAGER = GoogleClient(lambda: secretmanager.SecretManagerServiceClient())


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    text: str = field(repr=False)


class Secret:
    """The newest version of one secret, kept in memory for 5 minutes. Safe between threads."""

    def __init__(self, name: str) -> None:
        """`name`: `projects/P/secrets/S`, with `/versions/V` behind it or without."""
        self._secret, _, version = name.partition("/versions/")
        self._version = version or "latest"
        self._reading = threading.Lock()
        self._few = threading.BoundedSemaphore(FEW)
        self._kept: _Version | None = None
        self._read_at = self._tried_at = self._failed_at = _NEVER
        self._in_trouble = False  # a first read has failed, or took longer than the others waited

    def value(self) -> str:
        """Return the secret's text; what is in memory serves on while it cannot be read.

        Raises SecretUnavailable when there is nothing in memory either.
        """
        kept = self._kept or self._first()
        now = time.monotonic()
        due = now - self._read_at > KEPT_S and now - self._tried_at > REFRESH_AGAIN_S
        # One caller refreshes; the others go on with what there is.
        if due and self._reading.acquire(blocking=False):
            try:
                self._read(self._version, within_s=REFRESH_S)
            except SecretUnavailable:
                return kept.text
            finally:
                self._reading.release()
        return (self._kept or kept).text

    def _first(self) -> _Version:
        """Read it for the first time, or wait until another caller has.

        All wait a moment for the very first read. Once Secret Manager is known to be slow or to
        fail, one caller reads and the others hear so at once.
        """
        if not self._wait():
            raise SecretUnavailable(f"{self._path()} is not read yet")
        try:
            if self._kept is None and time.monotonic() - self._failed_at < FAILURE_S:
                raise SecretUnavailable(f"{self._path()} could not be read a moment ago")
            within_s = READ_AGAIN_S if self._in_trouble else READ_S
            return self._kept or self._read(self._version, within_s=within_s)
        finally:
            self._reading.release()

    def _wait(self) -> bool:
        """Wait until nobody reads; give False where that takes too long."""
        is_one_of_few = self._few.acquire(blocking=False)
        wait_s = 0.0 if self._in_trouble else FEW_WAIT_S if is_one_of_few else OTHERS_WAIT_S
        until = time.monotonic() + wait_s
        try:
            taken = self._reading.acquire(timeout=wait_s)
        finally:
            if is_one_of_few:
                self._few.release()
        self._in_trouble |= not taken and not _was_frozen(until)
        return taken

    def _read(self, version: str, *, within_s: float) -> _Version:
        """Read a version into memory and return what is kept now; raise SecretUnavailable."""
        self._tried_at = time.monotonic()
        try:
            kept = self._keep(self._access(version, within_s))
        except (exceptions.GoogleAPIError, GoogleAuthError, ValueError) as error:
            self._failed_at, self._in_trouble = time.monotonic(), True
            raise SecretUnavailable(
                f"{self._path()} cannot be read ({type(error).__name__}): see that it exists and"
                " that the service account has roles/secretmanager.secretAccessor on it"
            ) from None
        except SecretUnavailable:
            self._failed_at, self._in_trouble = time.monotonic(), True
            raise
        self._read_at = time.monotonic()
        return kept

    def _access(self, version: str, within_s: float) -> _Version:
        """Call Secret Manager; raise GoogleAPIError, GoogleAuthError or ValueError."""
        while True:
            until = time.monotonic() + within_s
            try:
                answer = _SECRET_MANAGER.call(
                    lambda client, timeout: client.access_secret_version(
                        name=self._path(version), timeout=timeout, retry=None
                    ),
                    until=until,
                    try_s=min(within_s, TRY_S),
                )
            except exceptions.GoogleAPIError:
                if not _was_frozen(until):
                    raise
            else:
                number = int(answer.name.rpartition("/")[2])
                return _Version(number, answer.payload.data.decode("utf-8-sig"))

    def _keep(self, found: _Version) -> _Version:
        kept = self._kept
        if kept is None or found.number >= kept.number or not self._is_late(kept):
            self._kept = kept = found
        return kept

    def _is_late(self, kept: _Version) -> bool:
        """Tell whether `latest` may be older than what is kept: by minutes, or by hours.

        A version's number is never late, so one that is not there belonged to a secret that was
        deleted and made anew.
        https://docs.cloud.google.com/secret-manager/docs/reference/consistency
        """
        if self._version != "latest":
            return False
        try:
            self._access(str(kept.number), REFRESH_S)
        except exceptions.NotFound:
            return False
        except exceptions.FailedPrecondition:
            return True  # disabled or destroyed, but there
        return True

    def _path(self, version: str = "") -> str:
        return f"{self._secret}/versions/{version or self._version}"


def _was_frozen(until: float) -> bool:
    """Tell whether the instance had no CPU meanwhile: then it has learnt nothing of Google."""
    return time.monotonic() - until > FROZEN_S


class SigningSecrets(Secret):
    """The signing secrets of Clockify's webhooks, one per line. Safe between threads."""

    def __init__(self, name: str) -> None:
        """`name`: `projects/P/secrets/S`, with `/versions/V` behind it or without."""
        super().__init__(name)
        self._lookers = threading.BoundedSemaphore(LOOKERS)
        self._looks_until = _NEVER
        self._told = 0  # the number of the version whose unusable lines the log has

    def matches(self, signature: bytes) -> bool:
        """Tell whether it is one of them; an unknown one looks for a newer version.

        Raises SecretUnavailable while none has ever been read.
        """
        if not signature:
            return False
        known = self.value()
        if _is_one_of(signature, known):
            return True
        newer = self._newer(known)
        return newer != known and _is_one_of(signature, newer)

    def _newer(self, known: str) -> str:
        """Look for a newer version, if it may be and few others do; `known` where there is none."""
        if not self._lookers.acquire(blocking=False):
            return known
        try:
            with self._reading:
                kept = self._kept
                if kept is not None and kept.text == known and self._may_look():
                    kept = self._read_newer(kept)
            return kept.text if kept else known
        except (exceptions.GoogleAPIError, GoogleAuthError, ValueError, SecretUnavailable):
            self._failed_at = time.monotonic()
            return self._kept.text if self._kept else known
        finally:
            self._lookers.release()

    def _may_look(self) -> bool:
        now = time.monotonic()
        until = max(self._looks_until, now)
        if now - self._failed_at < FAILURE_S or until - now > LOOK_EVERY_S * (LOOKS_AT_ONCE - 1):
            return False
        self._looks_until = until + LOOK_EVERY_S
        return True

    def _read_newer(self, kept: _Version) -> _Version:
        numbers = range(kept.number + 1, kept.number + 1 + NUMBERS_A_LOOK)
        for number in numbers if self._version == "latest" else ():
            try:
                self._keep(self._access(str(number), READ_S))
            except exceptions.NotFound:
                break
            except (exceptions.FailedPrecondition, SecretUnavailable):
                continue  # disabled, destroyed, or nothing usable in it
        return self._read(self._version, within_s=READ_S)

    def _keep(self, found: _Version) -> _Version:
        lines = map(str.strip, found.text.splitlines())
        wrong = [
            number
            for number, line in enumerate(lines, 1)
            if line and not _SIGNING_SECRET.fullmatch(line)
        ]
        if wrong and self._told != found.number:
            self._told = found.number
            _log_error(
                f"{self._path(str(found.number))}: line {', '.join(map(str, wrong[:10]))} is no"
                " signing secret: one per line, 16 characters or more, and nothing else"
            )
        if not _usable(found.text):
            raise SecretUnavailable(
                f"{self._path(str(found.number))} holds no signing secret: put the signing secret"
                " of each webhook into a new version, one per line"
            )
        return super()._keep(found)


def _usable(text: str) -> list[bytes]:
    lines = map(str.strip, text.splitlines())
    return [line.encode() for line in lines if _SIGNING_SECRET.fullmatch(line)]


def _is_one_of(signature: bytes, text: str) -> bool:
    """Compare with every signing secret, each in constant time and none left out."""
    found = False
    for secret in _usable(text):
        found |= hmac.compare_digest(signature, secret)
    return found


def _log_error(message: str) -> None:
    """https://cloud.google.com/logging/docs/structured-logging"""
    sys.stdout.write(json.dumps({"severity": "ERROR", "message": message}) + "\n")
    sys.stdout.flush()
