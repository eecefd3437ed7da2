"""How the function signs in: the JSON of SALESFORCE_CREDENTIALS, checked.

Pure and without any package, so that deploy.sh checks with it what it is about to store.
"""

import json
import re
from collections.abc import Iterable, Mapping

from clockify_salesforce.errors import SettingsError

CLIENT_CREDENTIALS = ("consumer_key", "consumer_secret")
JWT_BEARER = ("username", "consumer_key", "privatekey")


WHAT = "The Salesforce credentials"


def sign_in_arguments(credentials: str) -> dict[str, str]:
    """Turn the JSON of SALESFORCE_CREDENTIALS into arguments of simple-salesforce's sign-in.

    Client credentials: domain, consumer_key, consumer_secret. JWT bearer: domain, username,
    consumer_key, privatekey (PEM). Raises SettingsError, without quoting what it read.
    """
    given = _read(credentials)
    domain = _domain(given.get("domain", ""))
    is_login_host = domain in ("login", "test")
    if "privatekey" not in given:
        if is_login_host:
            raise SettingsError(
                f'{WHAT} must have the org\'s My Domain as "domain", like acme.my, not login or'
                " test."
            )
        return _chosen(given, CLIENT_CREDENTIALS) | {"domain": domain}
    arguments = _chosen(given, JWT_BEARER) | {"domain": domain}
    if "PRIVATE KEY-----" not in given["privatekey"]:
        raise SettingsError(
            f'{WHAT} have a "privatekey" that is no PEM key: it begins with "-----BEGIN", and its'
            " line breaks are written as \\n."
        )
    if not is_login_host:
        # The assertion names Salesforce's log-in host, and goes to the org's own.
        login = "test" if ".sandbox." in f"{domain}." else "login"
        arguments |= {"domain": login, "instance_url": domain}
    return arguments


def _read(credentials: str) -> dict[str, str]:
    try:
        given = json.loads(credentials)
    except ValueError:
        raise SettingsError(
            f'{WHAT} are not JSON: it takes {{"domain": "acme.my", "consumer_key": "...",'
            ' "consumer_secret": "..."}, see docs/salesforce.md.'
        ) from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(
            f"{WHAT} are not a JSON object of texts, in {{ }}: see docs/salesforce.md."
        )
    return given


def _domain(text: str) -> str:
    """The front of a Salesforce host: it becomes part of the URL that the credentials go to."""
    domain = text.strip().removeprefix("https://").rstrip("/").lower()
    domain = domain.removesuffix(".salesforce.com")
    if not re.fullmatch(r"[a-z0-9](-*[a-z0-9])*(\.[a-z0-9](-*[a-z0-9])*)*", domain):
        raise SettingsError(
            f'{WHAT} have no right "domain": it is the front of the org\'s My Domain, acme.my for'
            " https://acme.my.salesforce.com."
        )
    return domain


def _chosen(given: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    for key in keys:
        if not given.get(key, "").strip():
            raise SettingsError(f'{WHAT} have no "{key}": see docs/salesforce.md.')
    return {key: given[key] for key in keys}
