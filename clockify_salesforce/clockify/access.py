"""Clockify's API as the function asks it: with the key of Secret Manager, while a message waits."""

import time
from collections.abc import Callable

from clockify_salesforce.clockify.api_key import region_and_key
from clockify_salesforce.clockify.client import Clockify
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.time_entry import workspace_of
from mapping import Json

CONNECT_S, READ_S = 1.5, 3.0


class ClockifyAccess:
    """How a client is had. Safe between threads."""

    def __init__(self, api_key: Callable[[], str]) -> None:
        """`api_key`: gives the key, with a region in front or without, when it is needed.

        `tell_groups`, where it is set, adds a person's groups to an entry.
        """
        self._api_key = api_key
        self._readable: dict[str, float] = {}
        self.tell_groups: Callable[[Json, float], Json] | None = None

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify:
        """A client with these time-outs to connect and to read. Raises IntegrationError."""
        region, key = region_and_key(self._api_key())
        return Clockify(api_key=key, region=region, timeout=timeout, readable=self._readable)

    def entry(self, content: Json, entry_id: str, deadline: float) -> Json:
        """The time entry as Clockify has it now, None if it is gone.

        `content`: the message's, which names the workspace, and the person, whom an entry asked for
        by itself need not name. `deadline`: of time.monotonic(). Raises IntegrationError.
        """
        workspace = workspace_of(content) if isinstance(content, dict) else None
        if not isinstance(content, dict) or workspace is None:
            raise SettingsError("the message names no workspace in which Clockify could be asked")
        left = max(1.0, deadline - time.monotonic())
        clockify = self(timeout=(min(CONNECT_S, left / 3), min(READ_S, left * 2 / 3)))
        found = clockify.time_entry(workspace, entry_id)
        if found is not None and not found.get("user"):
            found["user"] = content.get("user")
        return self.tell_groups(found, deadline) if self.tell_groups and found else found
