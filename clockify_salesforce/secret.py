"""Read secrets from Secret Manager with Google's client, and keep them in memory.

A warm message calls nobody. https://cloud.google.com/secret-manager/docs/reference/rpc
"""

import contextlib
import functools
import hmac
import threading
import time

from google.api_core import exceptions, retry
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager

from clockify_salesforce.errors import SecretUnavailable

# The client's own retry waits 2 s first and goes on for a minute: Clockify does not wait that long.
_RETRY = retry.Retry(
    predicate=retry.if_exception_type(
        exceptions.ServiceUnavailable, exceptions.InternalServerError, exceptions.TooManyRequests
    ),
    initial=0.1,
    maximum=0.5,
    timeout=2.0,
)
_TIMEOUT_S = 2.0
KEPT_S = 5 * 60.0
LOOK_EVERY_S = 10.0
_building = threading.Lock()


class Secret:
    """The newest version of one secret, kept in memory for 5 minutes. Safe between threads."""

    def __init__(self, name: str) -> None:
        """`name`: `projects/P/secrets/S`, with `/versions/V` behind it or without."""
        self._name = name if "/versions/" in name else f"{name}/versions/latest"
        self._lock = threading.Lock()
        self._value: str | None = None
        self._read_at = self._tried_at = self._looked_at = self._failed_at = -KEPT_S

    def value(self) -> str:
        """Return the secret's text; what is in memory serves on while it cannot be read.

        Raises SecretUnavailable when there is nothing in memory either.
        """
        if self._value is None:
            began = time.monotonic()
            with self._lock:
                if self._value is None and self._failed_at >= began:
                    raise SecretUnavailable(f"{self._name} could not be read a moment ago")
                return self._read() if self._value is None else self._value
        now = time.monotonic()
        due = now - self._read_at > KEPT_S and now - self._tried_at > LOOK_EVERY_S
        # One caller refreshes; the others go on with what there is.
        if due and self._lock.acquire(blocking=False):
            try:
                return self._read()
            except SecretUnavailable:
                return self._value
            finally:
                self._lock.release()
        return self._value

    @property
    def is_known(self) -> bool:
        """True once it has been read."""
        return self._value is not None

    def read_ahead(self) -> None:
        """Begin to read it; whoever needs the value before it is there waits for this read."""
        if self._value is None and not self._lock.locked():
            threading.Thread(target=self._try_value, daemon=True).start()

    def _try_value(self) -> None:
        with contextlib.suppress(SecretUnavailable):  # raised again to whoever needs it
            self.value()

    def newer(self, since: float) -> str:
        """Look for a newer version now, unless there was a look in the last 10 seconds.

        `since`: time.monotonic() of when the caller began; what has been read after that is new
        enough. Returns the text in memory where there is no other.
        """
        with self._lock:
            now = time.monotonic()
            if self._read_at < since and now - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = now
                try:
                    return self._read()
                except SecretUnavailable:
                    pass  # what is in memory serves on; `value` says so when there is nothing
            return self._value or ""

    def _read(self) -> str:
        self._tried_at = time.monotonic()
        try:
            answer = _secret_manager().access_secret_version(
                name=self._name, timeout=_TIMEOUT_S, retry=_RETRY
            )
            self._value = answer.payload.data.decode("utf-8-sig")
        except (exceptions.GoogleAPIError, GoogleAuthError, UnicodeDecodeError) as error:
            self._failed_at = time.monotonic()
            raise SecretUnavailable(
                f"{self._name} cannot be read ({type(error).__name__}): see that it exists and that"
                " the service account has roles/secretmanager.secretAccessor on it"
            ) from None
        self._read_at = time.monotonic()
        return self._value


class SigningSecrets:
    """The webhooks' signing secrets."""

    def __init__(self, name: str) -> None:
        self._secret = Secret(name)

    def matches(self, signature: bytes) -> bool:
        began = time.monotonic()
        known = self._secret.value()
        if _matches(signature, known):
            return True
        newer = self._secret.newer(began)
        return newer != known and _matches(signature, newer)


def _matches(signature: bytes, secrets: str) -> bool:
    found = False
    for secret in secrets.split():
        found |= hmac.compare_digest(signature, secret.encode())
    return found


def _secret_manager() -> secretmanager.SecretManagerServiceClient:
    # A cold start reads two secrets at the same time, and each would build a client of its own.
    with _building:
        return _secret_manager_once()


@functools.cache
def _secret_manager_once() -> secretmanager.SecretManagerServiceClient:
    return secretmanager.SecretManagerServiceClient()
