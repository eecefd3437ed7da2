"""What deploy.sh stores is checked by what the function reads it with."""

import json

import pytest

from clockify_salesforce.clockify.api_key import (
    ApiKey,
    api_url,
    read_api_key,
    read_region,
    reports_url,
)
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.salesforce.credentials import sign_in_arguments
from commands import secret_values

SECRET = "a" * 32
KEY = "MzQ2ZTk1ZjItYTdkYi00ZjU4LWI0NjYtNzY1NDMyMTBhYmNk"
CREDENTIALS = {"domain": "acme.my", "consumer_key": "key", "consumer_secret": "hush"}
PEM = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n"
JWT = {
    "domain": "acme--test.sandbox.my",
    "username": "integration@acme.example",
    "consumer_key": "key",
    "privatekey": PEM,
}


def test_signing_secrets_are_tidied() -> None:
    """Windows line breaks, blanks around and repeats go; the order stays."""
    assert secret_values.signing_secrets(f"{SECRET} \r\n{'b' * 32}\r\n{SECRET}\r\n") == (
        f"{SECRET}\n{'b' * 32}"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no signing secret"),
        ("\n\n", "no signing secret"),
        (f"{SECRET}\n\n{SECRET}", "Line 2 of the signing secrets is empty"),
        (f"{SECRET}\nshort", "Line 2 of the signing secrets is no signing secret"),
        ("two words of a secret", "Line 1 of the signing secrets is no signing secret"),
        (f"# of Ada\n{SECRET}", "Line 1 of the signing secrets is no signing secret"),
    ],
)
def test_bad_signing_secrets_are_refused(text: str, sentence: str) -> None:
    """The line is named, its content is not."""
    with pytest.raises(SettingsError, match=sentence) as caught:
        secret_values.signing_secrets(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("credentials", [CREDENTIALS, JWT])
def test_good_credentials_are_kept_whole(credentials: dict[str, str]) -> None:
    """Both ways to sign in pass, with every key."""
    tidied = secret_values.salesforce_credentials(json.dumps(credentials, indent=4))
    assert json.loads(tidied) == credentials


@pytest.mark.parametrize(
    "domain",
    [
        "acme.my",
        "ACME.my",
        " acme.my ",
        "acme.my.salesforce.com",
        "https://acme.my.salesforce.com",
        "https://ACME.my.salesforce.com/",
    ],
)
def test_domain_is_read_however_it_was_copied(domain: str) -> None:
    """With its scheme, in capitals, whole: the function and deploy.sh agree."""
    given = json.dumps(CREDENTIALS | {"domain": domain})
    assert sign_in_arguments(given)["domain"] == "acme.my"
    assert json.loads(secret_values.salesforce_credentials(given))["domain"] == domain


@pytest.mark.parametrize(
    ("domain", "arguments"),
    [
        ("acme--test.sandbox.my", {"domain": "test", "instance_url": "acme--test.sandbox.my"}),
        ("acme.my", {"domain": "login", "instance_url": "acme.my"}),
        ("login", {"domain": "login"}),
    ],
)
def test_certificate_signs_in_by_salesforces_own_host(
    domain: str, arguments: dict[str, str]
) -> None:
    """The assertion names login or test, and goes to the org."""
    given = sign_in_arguments(json.dumps(JWT | {"domain": domain}))
    rest = {key: JWT[key] for key in ("username", "consumer_key", "privatekey")}
    assert given == rest | arguments


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"domain": "acme.my@evil.example"}, "domain"),
        ({"domain": "evil.example/x"}, "domain"),
        ({"domain": "http://acme.my"}, "domain"),
        ({"domain": "login"}, "not login or test"),
        ({"domain": ""}, "domain"),
        ({"consumer_secret": None}, "object of texts"),
        ({"consumer_secret": " "}, "consumer_secret"),
        ({"consumer_key": 5}, "object of texts"),
        ({"privatekey": "x"}, "username"),
        ({"privatekey": "x", "username": "u"}, "PEM"),
    ],
)
def test_bad_credentials_are_refused(change: dict[str, object], sentence: str) -> None:
    """The key is named, no value is shown."""
    with pytest.raises(SettingsError, match=sentence) as caught:
        secret_values.salesforce_credentials(json.dumps(CREDENTIALS | change))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ["domain: acme.my", "{'domain': 'acme.my'}", "[]", ""])
def test_credentials_that_are_not_json_are_refused(text: str) -> None:
    """The message shows what it takes."""
    with pytest.raises(SettingsError, match="JSON"):
        secret_values.salesforce_credentials(text)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (f"  {KEY}\n", KEY),
        (f"euc1 {KEY}", f"euc1 {KEY}"),
        (f"euc1\t{KEY}\r\n", f"euc1 {KEY}"),
        (f"acme {KEY}", f"acme {KEY}"),
        (f"https://acme.clockify.me/workspaces {KEY}", f"acme {KEY}"),
        (f"Acme.Clockify.me {KEY}", f"acme {KEY}"),
        (f"https://app.clockify.me {KEY}", KEY),
    ],
)
def test_good_api_keys_are_tidied(text: str, stored: str) -> None:
    """A region, a subdomain or the workspace's address may stand in front."""
    assert secret_values.clockify_api_key(text) == stored


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty or has a space"),
        (" ", "empty or has a space"),
        (f"key: {KEY} please", "empty or has a space"),
        (f"euc1 two {KEY}", "empty or has a space"),
        ("kéykéykéykéykéykéy", "empty or has a space"),
        ("two words", "too short"),
        (f"{KEY} euc1", "in front of its region"),
        (f"{KEY} acme", "in front of its region"),
        (f"{KEY} https://acme.clockify.me/workspaces/64a687e29ae1f428e7ebe303/x", "in front of"),
        (f"Bearer: {KEY}", "The Clockify region is none"),
        (f"a.b {KEY}", "The Clockify region is none"),
        (f"evil.example/ {KEY}", "The Clockify region is none"),
    ],
)
def test_bad_api_keys_are_refused_without_being_quoted(text: str, sentence: str) -> None:
    """Not one word of what was given is in the message: one of them may be the key."""
    with pytest.raises(SettingsError, match=sentence) as caught:
        read_api_key(text)
    assert KEY not in str(caught.value)
    assert KEY not in repr(ApiKey(KEY))


def test_region_apart_is_valid_where_none_stands_in_front() -> None:
    """What stands with the key wins."""
    assert read_api_key(KEY, region="acme") == ApiKey(KEY, "acme")
    assert read_api_key(f"euc1 {KEY}", region="acme") == ApiKey(KEY, "euc1")
    assert read_region("") == ""


def test_addresses_are_those_of_the_region_or_subdomain() -> None:
    """The global ones are named differently."""
    assert api_url() == "https://api.clockify.me/api/v1"
    assert reports_url() == "https://reports.api.clockify.me/v1"
    assert api_url("acme") == "https://acme.clockify.me/api/v1"
    assert reports_url("euc1") == "https://euc1.clockify.me/report/v1"
