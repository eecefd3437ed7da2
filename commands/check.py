"""Prove the installation on one's own org, project and workspace: a line a check, ✓ or ✗.

Throw-away records of its own show what Salesforce does, and signed messages of a made-up time entry
what the whole does; they lie in the year 2100, and are taken away again, also after Ctrl-C. What an
earlier run left is taken away first. Run one at a time. docs/operation.md

Exit code: 0 nothing is wrong, 1 something is (its line says what to do), 2 the call is wrong.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import get_args

from clockify_salesforce.errors import IntegrationError, SettingsError
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.settings import chosen_rules
from commands.checks import google
from commands.checks.clockify import ClockifySide
from commands.checks.end_to_end import CHECKS as MESSAGES
from commands.checks.end_to_end import EndToEnd
from commands.checks.findings import Area, Findings, Verdict, good
from commands.checks.google import Deployment, Google
from commands.checks.salesforce import Salesforce
from commands.google_cloud import GoogleCloud, GoogleError
from commands.kinds import KINDS, add_kinds
from commands.terminal import WrongCall

READ_S = 30.0  # for one of Salesforce's answers
AREAS: tuple[Area, ...] = get_args(Area)


@dataclass(slots=True)
class Check:
    """One run."""

    arguments: argparse.Namespace
    findings: Findings
    rules: Rules
    deployment: Deployment | None = None
    clockify: ClockifySide | None = None

    def run(self) -> None:
        """Look at every area that is wished for."""
        wished: Sequence[Area] = self.arguments.only or AREAS
        self._sign_in_to_google(wished)
        if "google" in wished and self.deployment:
            Google(self.deployment, self.findings).check()
        if "clockify" in wished or self.deployment:
            self._know_clockify()
        if "clockify" in wished and self.clockify:
            self.clockify.check()
        if "salesforce" in wished or "end-to-end" in wished:
            self._try_the_org(wished)

    def _sign_in_to_google(self, wished: Sequence[Area]) -> None:
        """What the other areas need of it; where they need nothing, it is left alone."""
        given = self.arguments
        if wished == ["salesforce"] and given.salesforce_credentials_file:
            return

        def look() -> Verdict:
            cloud = GoogleCloud(project=given.project, region=given.region)
            here = Deployment(cloud, given.service)
            if "google" not in wished:
                google.read_service(here)
            self.deployment = here
            return good(f"with gcloud, project {cloud.project}")

        if not self.findings.look("google", "sign-in", look):
            self.findings.skip("google", google.CHECKS, "there is no sign-in")

    def _know_clockify(self) -> None:
        key = _read(self.arguments.clockify_api_key_file) or self._secret("CLOCKIFY_API_KEY")
        url = self.deployment.url if self.deployment else ""
        stored = self._secret("SIGNING_SECRETS")
        self.clockify = ClockifySide(
            self.findings, key, self.arguments.workspace, url, stored, self._kinds()
        )

    def _kinds(self) -> tuple[str, ...]:
        """What is used beside time entries: as is said here, else as deploy.sh was told."""
        if self.arguments.kinds is not None:
            return tuple(self.arguments.kinds)
        label = self.deployment.labels.get("with", "") if self.deployment else ""
        return tuple(kind for kind in label.split("_") if kind in KINDS)

    def _secret(self, setting: str) -> str:
        """The value of the secret that a setting names, "" where it cannot be read."""
        try:
            return self.deployment.secret(setting) if self.deployment else ""
        except GoogleError:
            return ""  # which Google's own lines tell

    def _try_the_org(self, wished: Sequence[Area]) -> None:
        """Whatever happens, what was made is taken away again."""
        org = self._org()
        if org is None:
            for area in (each for each in ("salesforce", "end-to-end") if each in wished):
                self.findings.skip(area, ("sign-in",), "there are no credentials")
            return
        emails = self.clockify.emails() if self.clockify else None
        kinds = self._kinds()
        if self.clockify and "salesforce" in wished:
            kinds = self.clockify.used_kinds()
        tries = Salesforce(org, self.findings, self.rules, emails, kinds)
        try:
            if "salesforce" in wished:
                tries.check()
            if "end-to-end" in wished:
                self._send(tries)
        finally:
            if tries.is_signed_in:
                self.findings.look("salesforce", "clean-up", tries.clean_up)

    def _send(self, tries: Salesforce) -> None:
        """Only where the Event could be read, and taken away again."""
        try:
            if not tries.is_signed_in:
                tries.sign_in()
                tries.throw_away.take_away()
            person = tries.matched_person()
        except IntegrationError as error:
            self.findings.skip("end-to-end", MESSAGES, str(error))
            return
        EndToEnd(
            self.findings,
            self.deployment.url if self.deployment else "",
            self._secret("SIGNING_SECRETS"),
            tries.org,
            self.rules,
            tries.throw_away,
            person,
        ).check()

    def _org(self) -> Org | None:
        """The org by the function's own credentials, None where there are none."""
        here, given = self.deployment, _read(self.arguments.salesforce_credentials_file)
        credentials = given or self._secret("SALESFORCE_CREDENTIALS")
        version = here.environment.get("SALESFORCE_API_VERSION") if here else None
        if not credentials:
            return None
        return Org(lambda: credentials, version=version or "65.0", read_s=READ_S)


def _read(file: Path | None) -> str:
    """What a file holds, "" where none is named. Raises WrongCall."""
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongCall(f"{file} cannot be read ({type(error).__name__})") from None


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.check",
        description="Prove the installation on your own org, project and workspace. Settings and"
        " secrets are read as gcloud's user may; throw-away records are made and taken away.",
        epilog="Exit code: 0 nothing is wrong, 1 something is, 2 the call is wrong.",
    )
    parser.add_argument(
        "--only", action="append", choices=AREAS, help="one part of it; may be given several times"
    )
    add_kinds(parser, "else those that deploy.sh was told; and those that have webhooks")
    parser.add_argument("--json", action="store_true", help="the findings as one JSON object")
    parser.add_argument("--project", default="", help="Google's; the one that gcloud is set to")
    parser.add_argument("--region", default="europe-west1", help="where everything runs")
    parser.add_argument("--service", default="clockify-salesforce", help="the function's name")
    parser.add_argument("--workspace", default="", help="Clockify's, if the key sees several")
    parser.add_argument(
        "--salesforce-credentials-file", type=Path, metavar="FILE", help="instead of the secret"
    )
    parser.add_argument(
        "--clockify-api-key-file", type=Path, metavar="FILE", help="instead of the secret"
    )
    return parser.parse_args()


def _stop(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line and return the exit code."""
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, _stop)
    findings = Findings(lambda line: None if arguments.json else print(line, flush=True))
    try:
        Check(arguments, findings, chosen_rules(os.environ.get("EVENT_SUBJECT") or "")).run()
    except (WrongCall, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1
    print(findings.as_json() if arguments.json else "\n" + findings.summary())
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
