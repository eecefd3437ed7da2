"""Clockify's API as the function asks it: with the key of Secret Manager, while a message waits."""

import contextlib
import time
from collections.abc import Callable

from clockify_salesforce import kinds
from clockify_salesforce.clockify.api_key import region_and_key
from clockify_salesforce.clockify.client import Clockify, NoWorkspace
from clockify_salesforce.decisions import TIME_ENTRY
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.message import Entry
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
        self._workspaces: list[str] | None = None
        self.tell_groups: Callable[[Json, float], Json] | None = None

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify:
        """A client with these time-outs to connect and to read. Raises IntegrationError."""
        region, key = region_and_key(self._api_key())
        return Clockify(api_key=key, region=region, timeout=timeout, readable=self._readable)

    def told(self, kind: str, content: Json, deadline: float) -> Json:
        """A message's content with what the message leaves out and is needed.

        A time entry's groups, where the rules ask for them; of what names no workspace, that one,
        where the key reads but one. `deadline`: of time.monotonic(). Raises ClockifyError where
        groups are not known.
        """
        if kind == TIME_ENTRY:
            return self.tell_groups(content, deadline) if self.tell_groups else content
        if not isinstance(content, dict) or workspace_of(content):
            return content
        with contextlib.suppress(IntegrationError):
            return content | {"workspaceId": self._only_workspace(self._before(deadline))}
        return content

    def record(self, entry: Entry, deadline: float) -> Json:
        """An entry's record as Clockify has it now, None if it is gone.

        The message's content names the workspace, and the person, whom a time entry asked for by
        itself need not name. `deadline`: of time.monotonic(). Raises IntegrationError.
        """
        content = entry.content if isinstance(entry.content, dict) else {}
        workspace, record_id = workspace_of(content), str(entry.decision.entry_id)
        clockify = self._before(deadline)
        if kind := kinds.BY_NAME.get(entry.decision.kind):
            # Where it was not known when the message came, Clockify did not answer.
            workspace = workspace or self._only_workspace(clockify)
            if not kind.tells_path(content):
                raise NoWorkspace("the message does not tell where Clockify could be asked for it")
            found = clockify.record(workspace, kind.path_of(content), record_id)
            return found and found | {"workspaceId": workspace}
        if workspace is None:
            raise NoWorkspace("the message names no workspace in which Clockify could be asked")
        found = clockify.time_entry(workspace, record_id)
        if found is not None and not found.get("user"):
            found["user"] = content.get("user")
        return self.tell_groups(found, deadline) if self.tell_groups and found else found

    def _before(self, deadline: float) -> Clockify:
        left = max(1.0, deadline - time.monotonic())
        return self(timeout=(min(CONNECT_S, left / 3), min(READ_S, left * 2 / 3)))

    def _only_workspace(self, clockify: Clockify) -> str:
        """The workspace of a key that reads but one. Raises ClockifyError where it reads several.

        Tasks and invoices do not name theirs.
        """
        if self._workspaces is None:
            self._workspaces = clockify.workspaces()
        if len(self._workspaces) != 1:
            raise NoWorkspace("the API key reads several workspaces, and the message names none")
        return self._workspaces[0]
