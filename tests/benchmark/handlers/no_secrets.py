"""The function as it is, with its secrets in the environment: nothing of Google's is loaded."""

import hmac
import os
import sys
from types import ModuleType


class Secret:
    """A secret that is there already."""

    def __init__(self, name: str) -> None:
        self._text = os.environ["CREDENTIALS" if "salesforce" in name else "SIGNING_SECRET"]

    def value(self) -> str:
        """The secret's text."""
        return self._text


class SigningSecrets(Secret):
    """One signing secret that is there already."""

    def matches(self, signature: bytes) -> bool:
        """Tell whether it is this one."""
        return hmac.compare_digest(signature, self.value().encode())


def enqueue(*_: object, **__: object) -> None:
    """There is no queue, and nothing needs one."""
    raise AssertionError("the benchmark needs no queue")


for name, parts in (
    ("clockify_salesforce.secret", (Secret, SigningSecrets)),
    ("clockify_salesforce.retry_queue", (enqueue,)),
):
    stub = ModuleType(name)
    for each in parts:
        setattr(stub, each.__name__, each)
    sys.modules[name] = stub
import clockify_salesforce  # noqa: E402

clockify_salesforce.retry_queue = sys.modules["clockify_salesforce.retry_queue"]

from main import clockify_webhook as clockify_webhook  # noqa: E402
