"""A made-up time entry's whole life through the function's public URL, as Clockify sends it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import requests

import mapping
from clockify_salesforce import transport
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.client import Org, quoted
from clockify_salesforce.webhook import EVENT_TYPE, SIGNATURE
from commands.checks.findings import Findings, Verdict, bad, good
from commands.checks.throw_away import ThrowAway, deadline, entry
from mapping import EXTERNAL_ID

ANSWER_S = (3.0, 30.0)  # to connect, and for an instance that has to start first
QUEUE_S = 5.0  # the queue's first try is made at once, its next one after ten seconds
CHECKS = ("start", "stop", "edit", "delete")


@dataclass(slots=True)
class EndToEnd:
    """`signing_secrets`: as they are stored; `org`: signed in as the integration user."""

    findings: Findings
    url: str
    signing_secrets: str
    org: Org
    rules: Rules
    throw_away: ThrowAway
    person: str | None = None  # of Clockify's, whose calendar it is in

    def check(self) -> None:
        """Send the messages in order; what follows one that fails is not sent."""
        why = self._cannot()
        if why:
            self.findings.skip("end-to-end", ("stranger", *CHECKS), why)
            return
        if not self._look("stranger", self._stranger):
            self.findings.skip("end-to-end", CHECKS, "the function does not answer as it should")
            return
        for place, (name, step) in enumerate(
            zip(CHECKS, (self._start, self._stop, self._edit, self._delete), strict=True)
        ):
            if not self._look(name, step):
                self.findings.skip("end-to-end", CHECKS[place + 1 :], f"{name} did not go well")
                return

    def _cannot(self) -> str:
        """Why nothing can be sent, "" where it can."""
        if not self.url:
            return "it is not known where the function answers"
        if not self.signing_secrets.split():
            return "there are no signing secrets"
        decision = mapping.decide("NEW_TIME_ENTRY", self._entry(), rules=self.rules)
        if not isinstance(decision, mapping.Upsert):
            return "mapping.toml leaves the made-up time entry out"
        if self.rules.unmatched == "no event" and not self.person:
            return "mapping.toml gives no Event to nobody, and nobody is matched yet"
        return ""

    def _look(self, name: str, at: Callable[[], Verdict]) -> bool:
        return self.findings.look("end-to-end", name, at)

    def _entry(self, minutes: float | None = 30.0) -> dict[str, mapping.Json]:
        person = self.person if self.rules.unmatched == "no event" else None
        entry_id = self.throw_away.entry_id("life")
        return entry(entry_id, minutes=minutes, person=person)

    def _stranger(self) -> Verdict:
        status, _ = self._send("NEW_TIME_ENTRY", {}, "clockify-check, a made-up signature")
        if status == 401:
            return good("is refused (401)")
        advice = {
            0: "check the network, and that the service is ready",
            403: "Google itself refuses: run  ./deploy.sh, which opens the service",
            404: "there is no function: run  ./deploy.sh",
            503: "the function cannot read its signing secrets: run  ./deploy.sh",
        }
        return bad(
            f"without a signing secret {self.url} answers {status or 'nothing'} instead of 401",
            advice.get(status, "see the function's log"),
        )

    def _start(self) -> Verdict:
        return self._taken("NEW_TIMER_STARTED", self._entry(None), None, "no Event yet")

    def _stop(self) -> Verdict:
        return self._taken("TIMER_STOPPED", self._entry(), 30.0, "the Event is there")

    def _edit(self) -> Verdict:
        return self._taken("TIME_ENTRY_UPDATED", self._entry(45.0), 45.0, "the Event is changed")

    def _delete(self) -> Verdict:
        return self._taken("TIME_ENTRY_DELETED", self._entry(45.0), None, "the Event is gone")

    def _taken(
        self, event_type: str, content: dict[str, mapping.Json], minutes: float | None, so: str
    ) -> Verdict:
        """Send a message, and wait until the Event has this length, or is not there (None)."""
        began = time.monotonic()
        status, result = self._send(event_type, content, self.signing_secrets.split()[0])
        if status not in (200, 202):
            return bad(
                f"the function answers {status or 'nothing'} to {event_type}",
                _MEANS.get(status, _LOG),
            )
        until = began + (QUEUE_S if status == 202 else 0.0)
        while not self._is(minutes):
            if time.monotonic() > until:
                if status == 202:
                    return bad(
                        "the message waits in the retry queue",
                        "see why and what mends it: python -m commands.waiting",
                    )
                return bad(f"the function says {result!r}, and Salesforce has it otherwise", _LOG)
            time.sleep(0.5)
        through = " through the retry queue" if status == 202 else ""
        return good(f"{so} after {time.monotonic() - began:.2f} s{through}")

    def _is(self, minutes: float | None) -> bool:
        which = f"{EXTERNAL_ID} = {quoted(self.throw_away.entry_id('life'))}"
        rows = self.org.query(
            f"SELECT StartDateTime, EndDateTime FROM Event WHERE {which}",
            deadline(),
        )
        if minutes is None or not rows:
            return minutes is None and not rows
        start = datetime.fromisoformat(rows[0]["StartDateTime"])
        span = datetime.fromisoformat(rows[0]["EndDateTime"]) - start
        return abs(span - timedelta(minutes=minutes)) < timedelta(minutes=1)

    def _send(self, event_type: str, content: object, signature: str) -> tuple[int, str]:
        """HTTP status, 0 for none, and the result that the function tells."""
        session = transport.session()
        headers = {
            "Content-Type": "application/json",
            EVENT_TYPE: event_type,
            SIGNATURE: signature,
        }
        body = json.dumps(content).encode()
        try:
            answer = session.post(self.url, data=body, headers=headers, timeout=ANSWER_S)
        except requests.RequestException:
            return 0, ""
        try:
            said = answer.json()
        except ValueError:
            said = None
        return answer.status_code, str(said.get("result", "")) if isinstance(said, dict) else ""


_LOG = "see the function's log: gcloud run services logs read SERVICE --region=REGION"
_MEANS = {
    401: "the signing secret that is stored is not the one that the function reads: wait five"
    " minutes, or run  ./deploy.sh",
    503: "Salesforce and the retry queue took nothing: see the function's log for the reason",
}
