"""Know people's e-mail addresses, which Clockify's webhooks leave out.

Clockify's Free plan allows 30 calls an hour, so all people of a workspace are read at once, once an
hour at most. Each workspace is read, kept and left alone after a failure by itself: one that the
API key does not see concerns no other. Nothing is raised, no address is logged.
https://docs.clockify.me/#tag/User/operation/getUsersOfWorkspace
"""

import re
import threading
from functools import partial
from typing import Protocol
from urllib.parse import quote

from clockify_salesforce.cache import NO_TIME, Cached, Freshness, Patience
from clockify_salesforce.clockify.client import Clockify, ClockifyError

WORKSPACES = 20
PEOPLE = 10_000  # of one workspace
PAUSE_S = 10 * 60.0
LEAST_S = 1.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")


class ClockifyAccess(Protocol):
    """How a Clockify client is had; it raises IntegrationError where there is no key for it."""

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify: ...


class People:
    """People's e-mail addresses by workspace. Safe between threads."""

    def __init__(self, clockify: ClockifyAccess) -> None:
        self._clockify = clockify
        self._workspaces: dict[str, Cached[dict[str, str]]] = {}
        self._lock = threading.Lock()

    def email(self, workspace_id: str, user_id: str, patience: Patience) -> tuple[str | None, str]:
        """A person's address, None where there is none; or None and why it is not known."""
        if clockify_id(workspace_id) is None:
            return None, ""
        people = self._workspace(workspace_id, patience.now)
        if people is None:
            return None, f"Clockify's people are known of {WORKSPACES} workspaces, and of no more"
        freshness = people.refresh(
            partial(self._read, workspace_id, people.value, patience), patience
        )
        address = people.value.get(user_id)
        if address or freshness is Freshness.FRESH:
            return address, ""
        problem = people.problem or NO_TIME
        return None, f"Clockify's people of workspace {workspace_id} were not read: {problem}"

    def _workspace(self, workspace_id: str, now: float) -> Cached[dict[str, str]] | None:
        """What is known of one workspace; None where there are too many.

        Made-up ids, which only a holder of a signing secret can send, take the place of one another
        and of no workspace that has answered, and cannot use up Clockify's calls.
        """
        with self._lock:
            if workspace_id not in self._workspaces and len(self._workspaces) >= WORKSPACES:
                for name, people in self._workspaces.items():
                    if not people.is_known and people.is_due(now):
                        del self._workspaces[name]
                        break
                else:
                    return None
            return self._workspaces.setdefault(
                workspace_id, Cached({}, pause_s=PAUSE_S, needs_s=LEAST_S)
            )

    def _read(self, workspace_id: str, known: dict[str, str], patience: Patience) -> dict[str, str]:
        """Read all people into `known`, so that those serve who came before a failure."""
        left = patience.left()
        clockify = self._clockify(timeout=(left / 3, left * 2 / 3))
        for person in clockify.get_pages(f"/workspaces/{quote(workspace_id, '')}/users"):
            user_id, address = person.get("id"), email_address(person.get("email"))
            if isinstance(user_id, str) and address:
                known[user_id] = address
            if patience.left() <= 0 or len(known) > PEOPLE:
                raise ClockifyError(
                    "the workspace has too many people to read them while a message waits: match"
                    " those who are missing by their Clockify id (docs/owners-and-links.md)"
                )
        return known


def clockify_id(text: object) -> str | None:
    """An id of Clockify's, or None where it cannot be one."""
    return text if isinstance(text, str) and _ID.fullmatch(text) else None


def email_address(text: object) -> str | None:
    """An e-mail address in the form in which two are compared, or None where it cannot be one."""
    if not isinstance(text, str) or len(text) > 254 or not text.isprintable():
        return None
    return text.casefold() if _ADDRESS.fullmatch(text) else None
