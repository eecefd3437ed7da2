"""The function as it is, with its secrets in the environment: nothing of Google's is loaded."""

import os
import sys
from types import ModuleType
from typing import Any

from clockify_salesforce.errors import IntegrationError


class Secret:
    """A secret that is there already."""

    is_known = True

    def __init__(self, name: str) -> None:
        self._text = os.environ["CREDENTIALS" if "salesforce" in name else "SIGNING_SECRET"]

    def value(self) -> str:
        """The secret's text."""
        return self._text

    def newer(self, since: float) -> str:
        """There is never a newer one."""
        return self._text

    def read_ahead(self) -> None:
        """There is nothing to read."""


def enqueue(*_: Any) -> None:
    """There is no queue."""
    raise QueueUnavailable("the benchmark needs no queue")


class QueueUnavailable(IntegrationError):
    """As in google_cloud.py."""


class SecretUnavailable(IntegrationError):
    """As in google_cloud.py."""


stub = ModuleType("google_cloud")
for each in (Secret, enqueue, QueueUnavailable, SecretUnavailable):
    setattr(stub, each.__name__, each)
sys.modules["google_cloud"] = stub

from main import clockify_webhook as clockify_webhook  # noqa: E402
