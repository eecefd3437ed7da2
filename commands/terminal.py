"""What the commands share: where settings and credentials come from, and how a run is told.

Credentials come from files, or from Secret Manager as the function's do. Nothing of them is ever
printed, and what is wrong about them ends a command before anything is asked or changed.
"""

import argparse
import getpass
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from clockify_salesforce.clockify.api_key import read_region, region_and_key
from clockify_salesforce.errors import IntegrationError, SettingsError
from clockify_salesforce.salesforce.credentials import sign_in_arguments
from clockify_salesforce.settings import Settings, read_settings

LINE_EVERY_S = 10.0
T = TypeVar("T")
CREDENTIALS_FROM = (
    "Credentials come from files, or from Secret Manager as the function's do:"
    " SALESFORCE_CREDENTIALS and CLOCKIFY_API_KEY name the secrets."
)
# What only the function needs, and what a command may have from a file instead.
_PLACES = dict.fromkeys(("SIGNING_SECRETS", "SALESFORCE_CREDENTIALS"), "projects/-/secrets/-")
_FUNCTION_ONLY = ("SIGNING_SECRETS", "RETRY_QUEUE", "FUNCTION_URL")


class WrongCall(IntegrationError):
    """An option or a setting is missing or wrong."""


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Add the options that name where credentials come from, and Clockify's region."""
    parser.add_argument(
        "--region",
        type=_region,
        default=os.environ.get("CLOCKIFY_REGION", ""),
        metavar="REGION",
        help="Clockify's region (euc1, use2, euw2, apse2) or the workspace's own subdomain, if any"
        " (or CLOCKIFY_REGION)",
    )
    parser.add_argument(
        "--salesforce-credentials-file", type=Path, metavar="FILE", help="instead of the secret"
    )
    parser.add_argument(
        "--clockify-api-key-file", type=Path, metavar="FILE", help="instead of secret or prompt"
    )


def _region(text: str) -> str:
    try:
        return read_region(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settings() -> Settings:
    """The environment, checked; what only the function needs may be missing. Raises WrongCall."""
    given = {name: value for name, value in os.environ.items() if value.strip()}
    for name in _FUNCTION_ONLY:
        given.pop(name, None)
    try:
        return read_settings(_PLACES | given)
    except SettingsError as error:
        raise WrongCall(str(error)) from None


def salesforce_credentials(arguments: argparse.Namespace, found: Settings) -> Callable[[], str]:
    """What reads the credentials' JSON, which is checked once. Raises IntegrationError."""
    secret = found.salesforce_credentials
    read = _reader(
        arguments.salesforce_credentials_file,
        "" if secret == _PLACES["SALESFORCE_CREDENTIALS"] else secret,
    )
    if read is None:
        raise WrongCall(
            "no Salesforce credentials: set SALESFORCE_CREDENTIALS or --salesforce-credentials-file"
        )
    _checked(sign_in_arguments, read())
    return read


def api_key(arguments: argparse.Namespace, found: Settings) -> tuple[str, str]:
    """Clockify's region and API key; the secret may hold both. Raises IntegrationError."""
    read = _reader(arguments.clockify_api_key_file, found.clockify_api_key)
    if read is not None:
        text = read()
    elif sys.stdin.isatty():
        text = getpass.getpass("Clockify API key: ")
    else:
        raise WrongCall("no Clockify API key: set CLOCKIFY_API_KEY or --clockify-api-key-file")
    region, key = _checked(region_and_key, text)
    return region or arguments.region, key


def _reader(file: Path | None, secret: str) -> Callable[[], str] | None:
    """What reads a secret: from the file, else from Secret Manager; None where neither is named."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongCall(f"{file} cannot be read ({type(error).__name__})") from None
        return lambda: text
    if not secret:
        return None
    from clockify_salesforce.secret import Secret  # Google's libraries, which a file does without

    return Secret(secret).value


def _checked(check: Callable[[str], T], text: str) -> T:
    try:
        return check(text)
    except SettingsError as error:
        raise WrongCall(str(error)) from None


class Progress:
    """A bar on a terminal, plain lines in a log; both on stderr. Safe between threads."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._began = self._told = time.monotonic()
        self._bar = tqdm(
            total=round((until - since) / timedelta(days=1), 2),
            disable=None,  # not on a terminal
            bar_format="{l_bar}{bar}| {n:.0f} of {total:.0f} days, {remaining} left{postfix}",
            file=sys.stderr,
        )
        self._since, self._until = since, until

    def tell(self, text: str) -> None:
        """Say a sentence without spoiling the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def reach(self, moment: datetime, entries: int) -> None:
        """Show that all before `moment` is done."""
        rate = entries / max(0.001, time.monotonic() - self._began)
        told = f"{entries:,} entries, {rate:,.0f}/s"
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update(round((moment - self._since) / timedelta(days=1), 2) - self._bar.n)
        late = time.monotonic() - self._told >= LINE_EVERY_S
        if self._bar.disable and (late or moment >= self._until):
            self._told = time.monotonic()
            done = (moment - self._since) / (self._until - self._since)
            self.tell(f"{done:4.0%}, up to {moment:%Y-%m-%d %H:%M}: {told}")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
