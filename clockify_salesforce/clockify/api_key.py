"""Where a Clockify workspace's API is, and the key to it: what a secret, a file or a prompt holds.

Pure, standard library only. Nothing that was given is ever quoted: it may be the key.
https://docs.clockify.me/#section/API-URLs
"""

import re

from clockify_salesforce.errors import SettingsError

REGIONS = ("", "euc1", "use2", "euw2", "apse2")

# The front of SUB.clockify.me: a region's prefix, or a workspace's own subdomain.
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_ADDRESS = re.compile(r"(?:https?://)?([^/]+)\.clockify\.me(?:/.*)?", re.IGNORECASE)
# Hosts of Clockify's that are no region: the global API, its reports, the app, the website.
_GLOBAL = ("api", "reports.api", "app", "www", "global")
_SHORTEST_KEY = 16  # Clockify's have 48 letters and digits


def region_and_key(text: str) -> tuple[str, str]:
    """Split what was given: a key, or a region, a space and the key.

    A workspace on a subdomain of its own has that in place of the region, or its whole address.
    Raises SettingsError for anything else.
    """
    parts = text.split()
    if not 1 <= len(parts) <= 2:
        raise SettingsError(
            "The Clockify API key is empty or has a space or line break in it: copy it again from"
            " Clockify, Preferences, Advanced, Manage API keys. A region, if any, comes first, then"
            " a space and the key."
        )
    key = parts[-1]
    if not key.isascii() or not key.isprintable() or len(key) < _SHORTEST_KEY:
        raise SettingsError(
            "What was given is no Clockify API key, which has 48 letters and digits: copy it again"
            " from Clockify, Preferences, Advanced, Manage API keys. The region, if any, comes"
            " first, then a space and the key."
        )
    return checked_region(parts[0] if len(parts) == 2 else ""), key


def checked_region(region: str) -> str:
    """Return the region as `api_url` takes it: '' for the global one, else a subdomain.

    Takes a region, a subdomain or the address of a workspace. Raises SettingsError.
    """
    region = region.strip()
    if address := _ADDRESS.fullmatch(region):
        region = address[1]
    if region.lower() in _GLOBAL:
        return ""
    if region and not _SUBDOMAIN.fullmatch(region.lower()):
        known = ", ".join(name for name in REGIONS if name)
        raise SettingsError(
            f"What stands for Clockify's region is none: one of {known} belongs there, or the"
            " workspace's own subdomain, like acme for https://acme.clockify.me; nothing for the"
            " global one. In front of a key, it comes first, then a space and the key."
        )
    return region.lower()


def api_url(region: str = "") -> str:
    """Return the base URL of the REST API: '' for the global region, else e.g. 'euc1'."""
    return f"https://{checked_region(region) or 'api'}.clockify.me/api/v1"


def reports_url(region: str = "") -> str:
    """Return the base URL of the Reports API of a region, '' for the global one."""
    region = checked_region(region)
    if not region:
        return "https://reports.api.clockify.me/v1"
    return f"https://{region}.clockify.me/report/v1"
