"""The Clockify API key, and which of Clockify's addresses it belongs to: read and checked.

Pure and without any package, so that deploy.sh checks with it what it is about to store.
https://clockify.me/help/troubleshooting/api-base-endpoint-for-subdomain-data-region-users
"""

import re
from dataclasses import dataclass, field

from clockify_salesforce.errors import SettingsError

REGIONS = ("euc1", "use2", "euw2", "apse2")
GLOBAL_HOSTS = ("api", "app", "www", "")  # in front of clockify.me
SHORTEST_KEY = 16  # characters; Clockify's have 48

_ADDRESS = re.compile(r"(?:https?://)?(?:([a-z0-9.-]*)\.)?clockify\.me(?:[:/?#].*)?", re.I)
_SUBDOMAIN = re.compile(r"[a-z0-9](-?[a-z0-9])*")
# Nothing that was given is ever quoted: where region and key are swapped, it is the key.
_WHERE = "copy it from Clockify, Preferences, Advanced, Manage API keys"
_FRONT = (
    f"only its region may stand in front of it: {', '.join(REGIONS)}, or the workspace's subdomain,"
    " such as acme for https://acme.clockify.me"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and where it is valid. `region`: '' is the global one, else 'euc1' or a subdomain."""

    key: str = field(repr=False)
    region: str = ""

    def __str__(self) -> str:
        """The text that a secret holds: the key, with its region and a space in front."""
        return f"{self.region} {self.key}".strip()


def read_region(text: str) -> str:
    """Return a region ('euc1'), a subdomain ('acme') or '' for the global one.

    Takes the name itself or the workspace's address, such as https://acme.clockify.me. Raises
    SettingsError, without quoting what it read.
    """
    name = text.strip()
    if address := _ADDRESS.fullmatch(name):
        name = (address[1] or "").lower()
        if name in GLOBAL_HOSTS:
            return ""
    if name and (len(name) > 63 or not _SUBDOMAIN.fullmatch(name)):
        raise SettingsError(
            f"The Clockify region is none: it is one of {', '.join(REGIONS)}, or the workspace's"
            " subdomain, such as acme for https://acme.clockify.me; the global one has no name."
        )
    return name


def read_api_key(text: str, *, region: str = "") -> ApiKey:
    """Read what a secret, file or prompt holds: a key, or its region, a space and the key.

    `region` is valid where none stands in front of the key. Raises SettingsError, without quoting
    what it read.
    """
    *front, key = text.split() or [""]
    if len(front) > 1 or not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(
            f"The Clockify API key is empty or has a space in it: {_WHERE}; {_FRONT}."
        )
    if front and (len(front[0]) > len(key) or _ADDRESS.fullmatch(key)):
        raise SettingsError(f"The Clockify API key stands in front of its region: {_FRONT}.")
    if len(key) < SHORTEST_KEY:
        raise SettingsError(f"The Clockify API key is too short to be one: {_WHERE}; {_FRONT}.")
    return ApiKey(key, read_region(front[0] if front else region))


def api_url(region: str = "") -> str:
    """Return the base URL of the REST API of a region or subdomain, '' for the global one."""
    return f"https://{region or 'api'}.clockify.me/api/v1"


def reports_url(region: str = "") -> str:
    """Return the base URL of the Reports API of a region or subdomain, '' for the global one."""
    if not region:
        return "https://reports.api.clockify.me/v1"
    return f"https://{region}.clockify.me/report/v1"


def region_and_key(text: str) -> tuple[str, str]:
    """Read what a secret, file or prompt holds, as a region and a key. Raises SettingsError."""
    read = read_api_key(text)
    return read.region, read.key
