"""What a check has found, a line each: ✓, ✗ with what to do next, · for what nobody could see."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.errors import SalesforceRefused

Area = Literal["salesforce", "google", "clockify", "end-to-end"]
TITLES: dict[Area, str] = {
    "salesforce": "Salesforce",
    "google": "Google Cloud",
    "clockify": "Clockify",
    "end-to-end": "All of it",
}
_NAME_WIDTH = 17


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok`: None where it could not be looked at, and `found` says why.

    `advice`: what to do next, where `found` does not say it.
    """

    ok: bool | None
    found: str
    advice: str = ""


def good(found: str, advice: str = "") -> Verdict:
    """It is as it should be."""
    return Verdict(True, found, advice)


def bad(found: str, advice: str) -> Verdict:
    """It is not as it should be, and what mends it."""
    return Verdict(False, found, advice)


def unknown(why: str) -> Verdict:
    """Nobody could look, and that is no fault."""
    return Verdict(None, why)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    area: Area
    check: str
    ok: bool | None
    found: str
    advice: str = ""


@dataclass(slots=True)
class Findings:
    """The report. `tell`: where each line goes as soon as it is known."""

    tell: Callable[[str], None]
    all: list[Finding] = field(default_factory=list)

    def look(self, area: Area, check: str, at: Callable[[], Verdict]) -> bool:
        """Look at one thing and tell what is found; True where it is as it should be."""
        try:
            verdict = at()
        except SalesforceRefused as refusal:
            verdict = bad(*told(refusal))
        except SalesforceUnavailable as error:
            verdict = bad(str(error), "try again in some minutes: https://status.salesforce.com")
        except IntegrationError as error:
            verdict = Verdict(False, str(error))  # which says itself what to do
        self._add(Finding(area, check, verdict.ok, verdict.found, verdict.advice))
        return verdict.ok is True

    def skip(self, area: Area, checks: tuple[str, ...], why: str) -> None:
        """Tell that these were not looked at, because something before them is wrong."""
        for check in checks:
            self._add(Finding(area, check, None, f"not looked at: {why}"))

    def _add(self, finding: Finding) -> None:
        if not self.all or self.all[-1].area != finding.area:
            self.tell(TITLES[finding.area])
        self.all.append(finding)
        mark = {True: "✓", False: "✗", None: "·"}[finding.ok]
        self.tell(f"  {mark} {finding.check:<{_NAME_WIDTH}} {finding.found}")
        if finding.advice:
            self.tell(f"    {'':<{_NAME_WIDTH}} → {finding.advice}")

    @property
    def wrong(self) -> list[Finding]:
        """What is not as it should be."""
        return [each for each in self.all if each.ok is False]

    def summary(self) -> str:
        """The last line."""
        fine = sum(each.ok is True for each in self.all)
        unseen = sum(each.ok is None for each in self.all)
        also = f", {unseen} not looked at" if unseen else ""
        if not self.wrong:
            return f"All is well: {fine} ✓{also}."
        names = ", ".join(f"{TITLES[each.area]}: {each.check}" for each in self.wrong)
        return f"{len(self.wrong)} ✗ ({names}), {fine} ✓{also}."

    def as_json(self) -> str:
        """All of it as one JSON object."""
        findings = [asdict(each) for each in self.all]
        return json.dumps({"ok": not self.wrong, "findings": findings}, ensure_ascii=False)


SET_UP = "python -m commands.set_up_salesforce --target-org ORG"
_ADVICE = {
    "INVALID_FIELD": f"a field is not deployed, or hidden from the integration user: {SET_UP}",
    "NOT_FOUND": f"it is not deployed, or hidden from the integration user: {SET_UP}",
    "INVALID_TYPE": f"an object is not deployed, or hidden from the integration user: {SET_UP}",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "the integration user may see a field and not write it:"
    " assign it the permission set Clockify_Integration",
    "INSUFFICIENT_ACCESS_OR_READONLY": "give the integration user a role above the owner's"
    " (docs/salesforce.md, step 3)",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "a validation rule of the org's refuses it: let it pass"
    " the integration user (Setup > Object Manager)",
    "REQUEST_LIMIT_EXCEEDED": "wait until the last 24 hours hold fewer calls, find what makes them"
    " (Setup > Company Information), or buy more",
    "INACTIVE_OWNER_OR_USER": "activate the User, or take the Clockify User ID away from it",
}
_SIGN_IN = {
    "invalid_client_id": "the External Client App is not known (yet: a new one takes some"
    f" minutes), or its consumer key is another: {SET_UP}",
    "invalid_client": "consumer key or secret are not the External Client App's: store the right"
    " ones with  ./deploy.sh --salesforce-credentials-file FILE",
    "invalid_grant": "the app does not let this user in: preauthorize the permission set"
    " Clockify_Integration in the app's policies, see that the user is active and not frozen and"
    f" that the certificate is the app's, or run  {SET_UP}",
}


def told(refusal: SalesforceRefused) -> tuple[str, str]:
    """What Salesforce refuses, and what mends it; its own sentence is about Events."""
    code, _, reason = refusal.code.partition(", ")
    where = f" ({', '.join(refusal.fields)})" if refusal.fields else ""
    if code == "sign-in":
        return f"Salesforce refuses the sign-in: {reason or 'no reason is told'}", _SIGN_IN.get(
            reason, "see External Client App Manager and the user's Login History in Setup"
        )
    own = str(refusal).partition(f": {refusal.code}{where}: ")[2]
    automation = own if "automation" in own else ""
    advice = _ADVICE.get(code, "see what the org asks of an Event and of the integration user")
    return f"Salesforce refuses it: {code}{where}", automation or advice


def few(names: Sequence[str]) -> str:
    """Some names in a row, and how many more there are."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
