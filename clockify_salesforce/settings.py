"""The environment, read and checked in one place, for the function and for every command."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mapping
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.mapping_file import FILE, read_rules
from clockify_salesforce.mapping_rules import Rules


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, checked. docs/settings.md says what each is; "" is not set."""

    signing_secrets: str
    salesforce_credentials: str
    retry_queue: str
    function_url: str
    event_subject: str
    clockify_api_key: str
    salesforce_api_version: str

    @property
    def project(self) -> str:
        """The Google Cloud project that the secrets are in."""
        return self.signing_secrets.split("/")[1]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raise SettingsError naming the variable and what it should look like."""

    def named(name: str, pattern: str, like: str, *, required: bool = False) -> str:
        value = environment.get(name, "").strip()
        if (value or required) and not re.fullmatch(pattern, value):
            wrong = "is wrong" if value else "is not set"
            raise SettingsError(f"{name} {wrong}: set it to something like {like}")
        return value

    secret, like = r"projects/[^/]+/secrets/[^/]+(/versions/[^/]+)?", "projects/P/secrets/"
    queue = named(
        "RETRY_QUEUE",
        r"projects/[^/]+/locations/[^/]+/queues/[^/]+",
        "projects/P/locations/L/queues/Q",
    )
    return Settings(
        signing_secrets=named(
            "SIGNING_SECRETS", secret, like + "clockify-signing-secrets", required=True
        ),
        salesforce_credentials=named(
            "SALESFORCE_CREDENTIALS", secret, like + "salesforce-credentials", required=True
        ),
        retry_queue=queue,
        function_url=named(
            "FUNCTION_URL",
            r"https?://\S+",
            "https://NAME-123.REGION.run.app",
            required=bool(queue),
        ),
        event_subject=mapping.check_subject(environment.get("EVENT_SUBJECT") or ""),
        clockify_api_key=named("CLOCKIFY_API_KEY", secret, like + "clockify-api-key"),
        salesforce_api_version=named("SALESFORCE_API_VERSION", r"\d\d\.0", "65.0") or "65.0",
    )


def chosen_rules(event_subject: str) -> Rules:
    """What the company chose in mapping.toml; EVENT_SUBJECT wins over its Subject.

    Without the file, what the integration does by itself. Raises SettingsError naming the line.
    """
    file = Path(__file__).resolve().parents[1] / FILE
    rules = read_rules(file.read_text("utf-8")) if file.exists() else Rules()
    return replace(rules, subject=event_subject)
