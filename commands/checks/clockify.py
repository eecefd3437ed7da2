"""Clockify's side: the key, the workspace, and its webhooks as they point to this function.

Four calls and one a webhook: a Free workspace has three of these, and 30 calls in an hour. https://docs.clockify.me/#tag/Webhooks
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from clockify_salesforce.clockify.client import Clockify, ClockifyError, Json, region_and_key
from clockify_salesforce.clockify.people import email_address
from clockify_salesforce.errors import IntegrationError
from commands.checks.findings import Findings, Verdict, bad, good, unknown
from commands.kinds import KINDS, events_of
from commands.webhooks import EVENTS, find_workspace

FREE_WEBHOOKS = 3  # of a Free workspace
PAID_WEBHOOKS = 10  # of each person's, from Basic on
CHECKS = ("workspace", "webhooks", "switched on", "signing secrets", "deliveries")
PATIENCE_S = 10.0


@dataclass(slots=True)
class ClockifySide:
    """The checks of one workspace. `key`: "" where none is kept."""

    findings: Findings
    key: str
    workspace: str
    url: str
    signing_secrets: str
    kinds: tuple[str, ...] = ()  # beside time entries, as deploy.sh was told
    clockify: Clockify | None = None
    _there: list[Json] = field(default_factory=list)
    _all: list[Json] = field(default_factory=list)

    def check(self) -> None:
        """Look at everything that can be looked at."""
        if not self.key:
            self._look("key", lambda: unknown("Clockify's API key is not kept, so nobody can look"))
            self._skip(CHECKS, "there is no key")
        elif not self._look("key", self._key):
            self._skip(CHECKS, "the key is wrong")
        elif not self._look("workspace", self._workspace):
            self._skip(CHECKS[1:], "there is no workspace")
        elif not self.url:
            self._skip(CHECKS[1:], "it is not known where the function answers")
        else:
            self._look("webhooks", self._webhooks)
            self.kinds = self.used_kinds()
            if self.kinds:
                self._look("other webhooks", self._other_webhooks)
            if not self._there:
                self._skip(CHECKS[2:], "there are none")
                return
            self._look("switched on", self._switched_on)
            self._look("signing secrets", self._secrets)
            self._look("deliveries", self._deliveries)

    def emails(self) -> frozenset[str] | None:
        """The e-mail addresses of the workspace's active people, None where they are not known."""
        try:
            if not self._connected():
                return None
            path = f"/workspaces/{self.workspace}/users"
            people = self._client.get_pages(path, status="ACTIVE")
            found = [email_address(each.get("email")) for each in people]
        except IntegrationError:
            return None
        return frozenset(each for each in found if each)

    def used_kinds(self) -> tuple[str, ...]:
        """The kinds that deploy.sh was told, and those that have a webhook anyhow."""
        try:
            if self.url and not self._all and self._connected():
                self._all = self._client.webhooks(self.workspace)
        except IntegrationError:
            return self.kinds
        covered = {str(hook.get("webhookEvent")) for hook in self._pointing_here()}
        there = [kind for kind, events in KINDS.items() if covered.intersection(events)]
        return tuple(dict.fromkeys((*self.kinds, *there)))

    def _pointing_here(self) -> list[Json]:
        """The webhooks of the function's URL whose events it knows."""
        url, known = self.url.rstrip("/"), {*events_of(KINDS)}
        return [
            hook
            for hook in self._all
            if str(hook.get("url", "")).rstrip("/") == url and hook.get("webhookEvent") in known
        ]

    def _connected(self) -> bool:
        """Whether there is a key and a workspace. Raises IntegrationError."""
        if self.key and self.clockify is None:
            self._key()
        if self.clockify is not None and not self.workspace:
            self._workspace()
        return self.clockify is not None and bool(self.workspace)

    def _look(self, name: str, at: Callable[[], Verdict]) -> bool:
        return self.findings.look("clockify", name, at)

    def _skip(self, names: tuple[str, ...], why: str) -> None:
        self.findings.skip("clockify", names, why)

    @property
    def _client(self) -> Clockify:
        assert self.clockify is not None  # noqa: S101 - `_key` has made it
        return self.clockify

    def _key(self) -> Verdict:
        region, key = region_and_key(self.key)
        clockify = Clockify(api_key=key, region=region, patience=PATIENCE_S)
        workspaces = clockify.workspaces()
        self.clockify = clockify
        return good(f"it sees {len(workspaces)} workspace{'s' * (len(workspaces) != 1)}")

    def _workspace(self) -> Verdict:
        self.workspace = find_workspace(self._client, self.workspace or None)
        if self.workspace not in self._client.workspaces():
            return bad(
                f"the key does not see workspace {self.workspace}",
                "store a key of one of its owners or admins, made there:"
                "  ./deploy.sh --clockify-api-key-file -",
            )
        self._all = self._client.webhooks(self.workspace)
        return good(f"{self.workspace}, and the key may see its {len(self._all)} webhooks")

    def _webhooks(self) -> Verdict:
        self._there = self._pointing_here()
        covered = {str(hook["webhookEvent"]) for hook in self._there}.intersection(EVENTS)
        missing = [event for event in EVENTS if event not in covered]
        if not missing:
            return good(f"all {len(EVENTS)} point to this function")
        astray = [
            str(hook["webhookEvent"])
            for hook in self._all
            if hook.get("webhookEvent") in missing
            and str(hook.get("name", "")).startswith("Salesforce ")
        ]
        if astray:
            return bad(
                f"{', '.join(astray)}: goes to another URL than {self.url}",
                "delete it in Clockify (Preferences, Advanced, Webhooks), and run  ./deploy.sh",
            )
        if len(self._all) == FREE_WEBHOOKS and {*EVENTS[:2]} <= covered:
            return good(
                f"{len(covered)} point to this function, which is a Free workspace's limit;"
                f" without: {', '.join(missing)}",
                "the nightly repair brings what these would have told",
            )
        return bad(f"missing: {', '.join(missing)}", "run  ./deploy.sh")

    def _other_webhooks(self) -> Verdict:
        """Those of clients, projects, tasks and invoices, as far as they are used."""
        wanted = events_of(self.kinds)[len(EVENTS) :]
        covered = {str(hook["webhookEvent"]) for hook in self._there}
        missing = [event for event in wanted if event not in covered]
        of = ", ".join(self.kinds)
        if not missing:
            return good(f"all {len(wanted)} of {of} point to this function")
        again = f"./deploy.sh --with {','.join(self.kinds)}"
        if len(self._all) == FREE_WEBHOOKS or (self._all and not len(self._all) % PAID_WEBHOOKS):
            return good(
                f"{len(wanted) - len(missing)} of {of} point to this function; the plan may have no"
                f" room for {', '.join(missing)}",
                f"the nightly repair brings what these would have told; in a larger plan: {again}",
            )
        return bad(f"missing: {', '.join(missing)}", f"run  {again}")

    def _switched_on(self) -> Verdict:
        off = [
            str(hook["webhookEvent"])
            for hook in self._there
            if hook.get("enabled") is False or hook.get("deliveryEnabled") is False
        ]
        if off:
            return bad(
                f"switched off: {', '.join(off)}",
                "switch it on in Clockify (Preferences, Advanced, Webhooks), then run the command"
                " that brings what was missed: docs/backfill.md",
            )
        return good("all are, and deliver")

    def _secrets(self) -> Verdict:
        stored = set(self.signing_secrets.split())
        if not stored:
            return unknown("those that are stored cannot be read")
        tokens = {str(hook["webhookEvent"]): hook.get("authToken") for hook in self._there}
        told = {event: token for event, token in tokens.items() if token}
        strange = [event for event, token in told.items() if token not in stored]
        if strange:
            return bad(
                f"not stored, so the function refuses its messages: {', '.join(strange)}",
                "run  ./deploy.sh",
            )
        if not told:
            return unknown("Clockify does not tell them")
        return good(f"the function knows all {len(told)}")

    def _deliveries(self) -> Verdict:
        """Whether the newest message of each webhook was taken."""
        sent, failed, failing = 0, 0, []
        for hook in self._there:
            try:
                found = self._client.deliveries(self.workspace, str(hook.get("id")))
            except ClockifyError:
                return unknown("Clockify does not tell what it has delivered")
            taken = [200 <= int(each.get("statusCode") or 0) < 300 for each in found]
            sent, failed = sent + len(taken), failed + taken.count(False)
            if taken and not taken[0]:
                failing.append(f"{hook['webhookEvent']} ({found[0].get('statusCode')})")
        if failing:
            return bad(
                f"the newest message was not taken: {', '.join(failing)}",
                "see the function's log, and python -m commands.waiting; Clockify sends it again",
            )
        return good(f"of the last {sent} messages {failed} were not taken at first")
