"""How the function signs in: the JSON of SALESFORCE_CREDENTIALS, checked.

Pure and without any package, so that deploy.sh checks with it what it is about to store.
"""

import json
import re

from clockify_salesforce.errors import SettingsError


def sign_in_arguments(credentials: str) -> dict[str, str]:
    """Turn the JSON of SALESFORCE_CREDENTIALS into arguments of simple-salesforce's sign-in.

    Client credentials: domain, consumer_key, consumer_secret. JWT bearer: domain, username,
    consumer_key, privatekey (PEM). Raises SettingsError, without quoting what it read.
    """
    what = "SALESFORCE_CREDENTIALS: "
    try:
        given = json.loads(credentials)
    except ValueError:
        raise SettingsError(what + "the secret is not JSON") from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(what + "the secret is not a JSON object of texts")
    domain = given.get("domain", "").removeprefix("https://").rstrip("/")
    domain = domain.removesuffix(".salesforce.com").lower()
    # It becomes part of a URL: anything else could send the credentials to a stranger.
    if not re.fullmatch(r"[a-z0-9](-*[a-z0-9])*(\.[a-z0-9](-*[a-z0-9])*)*", domain):
        raise SettingsError(
            what + "'domain' is not the front of a Salesforce host, like acme.my for"
            " https://acme.my.salesforce.com"
        )
    jwt = "privatekey" in given
    keys = (
        ("username", "consumer_key", "privatekey") if jwt else ("consumer_key", "consumer_secret")
    )
    for key in keys:
        if not given.get(key):
            raise SettingsError(what + f"{key!r} is missing (README, 'Salesforce')")
    arguments = {key: given[key] for key in keys} | {"domain": domain}
    if jwt and domain not in ("login", "test"):
        # The assertion names Salesforce's log-in host, and goes to the org's own.
        login = "test" if ".sandbox." in f"{domain}." else "login"
        arguments |= {"domain": login, "instance_url": domain}
    elif not jwt and domain in ("login", "test"):
        raise SettingsError(what + "'domain' must be the org's My Domain, like acme.my")
    return arguments
