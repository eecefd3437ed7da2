"""How the function signs in: the JSON of SALESFORCE_CREDENTIALS, checked.

Pure and without any package, so that deploy.sh checks with it what it is about to store.
"""

import json
import re

from clockify_salesforce.errors import SettingsError

CLIENT_CREDENTIALS = ("consumer_key", "consumer_secret")
JWT_BEARER = ("username", "consumer_key", "privatekey")


def sign_in_arguments(credentials: str) -> dict[str, str]:
    """Turn the JSON of SALESFORCE_CREDENTIALS into arguments of simple-salesforce's sign-in.

    Client credentials: domain, consumer_key, consumer_secret. JWT bearer: domain, username,
    consumer_key, privatekey (PEM). Raises SettingsError, without quoting what it read.
    """
    what = "The Salesforce credentials "
    try:
        given = json.loads(credentials)
    except ValueError:
        raise SettingsError(
            what + 'are not JSON: it takes {"domain": "acme.my", "consumer_key": "...",'
            ' "consumer_secret": "..."}, see docs/salesforce.md.'
        ) from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(
            what + "are not a JSON object of texts, in { }: see docs/salesforce.md."
        )
    domain = given.get("domain", "").strip().removeprefix("https://").rstrip("/").lower()
    domain = domain.removesuffix(".salesforce.com")
    # It becomes part of a URL: anything else could send the credentials to a stranger.
    if not re.fullmatch(r"[a-z0-9](-*[a-z0-9])*(\.[a-z0-9](-*[a-z0-9])*)*", domain):
        raise SettingsError(
            what + 'have no right "domain": it is the front of the org\'s My Domain, acme.my for'
            " https://acme.my.salesforce.com."
        )
    jwt = "privatekey" in given
    keys = JWT_BEARER if jwt else CLIENT_CREDENTIALS
    for key in keys:
        if not given.get(key, "").strip():
            raise SettingsError(what + f'have no "{key}": see docs/salesforce.md.')
    arguments = {key: given[key] for key in keys} | {"domain": domain}
    if jwt and "PRIVATE KEY-----" not in given["privatekey"]:
        raise SettingsError(
            what + 'have a "privatekey" that is no PEM key: it begins with "-----BEGIN", and its'
            " line breaks are written as \\n."
        )
    if jwt and domain not in ("login", "test"):
        # The assertion names Salesforce's log-in host, and goes to the org's own.
        login = "test" if ".sandbox." in f"{domain}." else "login"
        arguments |= {"domain": login, "instance_url": domain}
    elif not jwt and domain in ("login", "test"):
        raise SettingsError(
            what + 'must have the org\'s My Domain as "domain", like acme.my, not login or test.'
        )
    return arguments
