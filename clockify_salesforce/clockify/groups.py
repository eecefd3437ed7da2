"""Know which groups a person is in, where mapping.toml filters by them.

No message tells it, so that the groups of a workspace are read at once, once an hour at most. An
entry of which it is not known must not be decided: it would be taken for one of nobody's.
https://docs.clockify.me/#tag/Group/operation/getUserGroups
"""

import threading
from functools import partial

from clockify_salesforce.cache import NO_TIME, Cached, Patience
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.clockify.people import LEAST_S, WORKSPACES, ClockifyAccess
from clockify_salesforce.time_entry import workspace_of
from mapping import Json

PAUSE_S = 60.0  # after a reading that failed, while messages wait in the retry queue

Memberships = dict[str, list[str]]  # user id -> names and ids of groups


class Groups:
    """People's groups by workspace. Safe between threads."""

    def __init__(self, clockify: ClockifyAccess) -> None:
        self._clockify = clockify
        self._workspaces: dict[str, Cached[Memberships]] = {}
        self._lock = threading.Lock()

    def told(self, content: Json, deadline: float) -> Json:
        """Return a message's entry with the groups of its person in it.

        What is no time entry with a workspace comes back as it is. `deadline`: of time.monotonic().
        Raises ClockifyError where the groups are not known.
        """
        workspace = workspace_of(content)
        if not isinstance(content, dict) or workspace is None:
            return content
        patience = Patience.before(deadline)
        groups = self._of(workspace)
        groups.refresh(partial(self._read, workspace, patience), patience)
        if not groups.is_known:
            raise ClockifyError(
                f"Clockify's groups of workspace {workspace}, which mapping.toml filters by, were"
                f" not read: {groups.problem or NO_TIME}"
            )
        user = content.get("user")
        by_itself = user.get("id") if isinstance(user, dict) else None
        user_id = content.get("userId") or by_itself
        return content | {"groupsOfUser": groups.value.get(str(user_id), [])}

    def _of(self, workspace: str) -> Cached[Memberships]:
        with self._lock:
            if workspace not in self._workspaces and len(self._workspaces) >= WORKSPACES:
                raise ClockifyError(
                    f"groups are known of {WORKSPACES} workspaces of Clockify's, and of no more"
                )
            return self._workspaces.setdefault(
                workspace, Cached({}, pause_s=PAUSE_S, needs_s=LEAST_S)
            )

    def _read(self, workspace: str, patience: Patience) -> Memberships:
        left = patience.left()
        return self._clockify(timeout=(left / 3, left * 2 / 3)).user_groups(workspace)
