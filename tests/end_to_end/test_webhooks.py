"""webhooks.py and secret_values.py as processes, against a stand-in of Clockify on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import secret_values, webhooks
from sandbox.clockify import API_HOST, KEY, WORKSPACE, ClockifyApi, Faults
from sandbox.google_apis import GoogleApis

HERE = Path(__file__).resolve().parents[2]
URL = "https://clockify-salesforce-123456789012.europe-west1.run.app"


@pytest.fixture
def internet() -> Iterator[GoogleApis]:
    """Yield the proxy that plays the internet."""
    world = GoogleApis()
    yield world
    world.close()


def run(
    internet: GoogleApis, clockify: ClockifyApi, folder: Path, *options: str, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    """Run webhooks.py with the key on stdin, against this Clockify."""
    internet.others[API_HOST] = clockify
    return subprocess.run(
        [sys.executable, "-m", "commands.webhooks", "--url", URL, *options],
        input=key + "\n",
        env=os.environ | internet.environment(folder) | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_webhook_creates_one_for_each_event(internet: GoogleApis, tmp_path: Path) -> None:
    """All six are made, in order of worth, and their signing secrets are printed."""
    clockify = ClockifyApi()
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert [hook["webhookEvent"] for hook in clockify.created] == list(webhooks.EVENTS)
    assert {hook["url"] for hook in clockify.created} == {URL}
    assert {hook["triggerSourceType"] for hook in clockify.created} == {"WORKSPACE_ID"}
    assert result.stdout.split() == [hook["authToken"] for hook in clockify.hooks]


def test_region_in_front_of_the_key_asks_there(internet: GoogleApis, tmp_path: Path) -> None:
    """A regional workspace has a host of its own."""
    clockify = ClockifyApi()
    internet.others["euc1.clockify.me"] = clockify
    result = run(internet, ClockifyApi(), tmp_path, key=f"euc1 {KEY}")
    assert (result.returncode, len(clockify.hooks)) == (0, len(webhooks.EVENTS))


def test_second_run_creates_none(internet: GoogleApis, tmp_path: Path) -> None:
    """What is there stays, and its secrets are printed again."""
    clockify = ClockifyApi()
    first = run(internet, clockify, tmp_path)
    again = run(internet, clockify, tmp_path, "--workspace", WORKSPACE)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert len(clockify.created) == len(webhooks.EVENTS)


def test_other_webhooks_are_left_alone(internet: GoogleApis, tmp_path: Path) -> None:
    """A webhook of the same event for another URL is neither counted nor shown nor deleted."""
    clockify = ClockifyApi()
    other = clockify.add_webhook("TIMER_STOPPED", "https://example.com/hook")
    result = run(internet, clockify, tmp_path)
    assert other["authToken"] not in result.stdout
    assert len(clockify.created) == len(webhooks.EVENTS)
    assert run(internet, clockify, tmp_path, "--delete").returncode == 0
    assert clockify.hooks == [other]


def test_plans_limit_stops_with_a_clear_message(internet: GoogleApis, tmp_path: Path) -> None:
    """A Free workspace gets the three that are worth most."""
    clockify = ClockifyApi(webhook_limit=3)
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert [hook["webhookEvent"] for hook in clockify.hooks] == list(webhooks.EVENTS[:3])
    assert "plan's limit. Without: TIME_ENTRY_DELETED" in result.stderr
    assert len(result.stdout.split()) == 3


def test_full_workspace_is_an_error(internet: GoogleApis, tmp_path: Path) -> None:
    """Where not even one webhook can be made, the run fails and says why."""
    clockify = ClockifyApi(webhook_limit=1)
    clockify.add_webhook("NEW_TASK", "https://example.com/hook")
    result = run(internet, clockify, tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Maximum number of webhooks reached" in result.stderr


def test_failure_half_way_prints_the_secrets_that_exist(
    internet: GoogleApis, tmp_path: Path
) -> None:
    """A webhook that Clockify made must be let in, though a later one could not be made."""
    clockify = ClockifyApi(faults=Faults(refused_webhook=2))
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 1
    assert result.stdout.split() == [hook["authToken"] for hook in clockify.hooks]
    assert len(clockify.hooks) == 2
    assert "HTTP 500" in result.stderr


def test_dry_run_creates_none(internet: GoogleApis, tmp_path: Path) -> None:
    """--dry-run says what would be created."""
    clockify = ClockifyApi()
    result = run(internet, clockify, tmp_path, "--dry-run")
    assert (result.returncode, result.stdout, clockify.hooks) == (0, "", [])
    assert "TIMER_STOPPED: would be created" in result.stderr


@pytest.mark.parametrize(
    ("clockify", "key", "sentence"),
    [
        (ClockifyApi(), "wrong-key", "Clockify refused the API key"),
        (ClockifyApi(), "", "The Clockify API key is empty"),
        (ClockifyApi(), f"moon1 {KEY}", "is no region of Clockify's"),
        (ClockifyApi(), f"{KEY} euc1", "is no region of Clockify's"),
        (ClockifyApi(), f"key: {KEY} please", "is no region of Clockify's"),
        (ClockifyApi(workspaces=[WORKSPACE, "b"]), KEY, "several workspaces; name one"),
        (ClockifyApi(workspaces=[]), KEY, "sees no Clockify workspace"),
    ],
)
def test_wrong_start_is_one_sentence(
    internet: GoogleApis, tmp_path: Path, clockify: ClockifyApi, key: str, sentence: str
) -> None:
    """Each tells what to do, without the key."""
    result = run(internet, clockify, tmp_path, key=key)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not any(word in result.stderr for word in (key, KEY) if word)
    assert clockify.created == []


def test_nothing_secret_is_shown(internet: GoogleApis, tmp_path: Path) -> None:
    """stderr, which people copy into tickets, has neither the key nor a signing secret."""
    clockify = ClockifyApi(webhook_limit=4)
    result = run(internet, clockify, tmp_path)
    for secret in (KEY, *(hook["authToken"] for hook in clockify.hooks)):
        assert secret not in result.stderr


def test_429_waits_and_goes_on(internet: GoogleApis, tmp_path: Path) -> None:
    """Clockify's request to slow down is honoured, and told."""
    clockify = ClockifyApi(faults=Faults(too_many=1))
    result = run(internet, clockify, tmp_path)
    assert result.returncode == 0
    assert "asks to wait 2 s" in result.stderr
    assert len(clockify.hooks) == len(webhooks.EVENTS)


# --- secret_values.py -----------------------------------------------------------------------------

SECRET = "a" * 32
CREDENTIALS = {"domain": "acme.my", "consumer_key": "key", "consumer_secret": "hush"}
JWT = {
    "domain": "acme--test.sandbox.my",
    "username": "integration@acme.example",
    "consumer_key": "key",
    "privatekey": "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n",
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
    ],
)
def test_bad_signing_secrets_are_refused(text: str, sentence: str) -> None:
    """The line is named, its content is not."""
    with pytest.raises(secret_values.BadValue, match=sentence) as caught:
        secret_values.signing_secrets(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("credentials", [CREDENTIALS, JWT])
def test_good_credentials_are_kept_whole(credentials: dict[str, str]) -> None:
    """Both ways to sign in pass, with every key."""
    tidied = secret_values.salesforce_credentials(json.dumps(credentials, indent=4))
    assert json.loads(tidied) == credentials


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"domain": "https://acme.my.salesforce.com"}, "domain"),
        ({"domain": "acme.my.salesforce.com"}, "domain"),
        ({"domain": "acme.my@evil.example"}, "domain"),
        ({"domain": "evil.example/"}, "domain"),
        ({"domain": "login"}, "domain"),
        ({"domain": ""}, "domain"),
        ({"consumer_secret": None}, "consumer_secret"),
        ({"consumer_key": 5}, "consumer_key"),
        ({"privatekey": "x"}, "username"),
        ({"privatekey": "x", "username": "u"}, "PEM"),
    ],
)
def test_bad_credentials_are_refused(change: dict[str, object], sentence: str) -> None:
    """The key is named, no value is shown."""
    with pytest.raises(secret_values.BadValue, match=sentence) as caught:
        secret_values.salesforce_credentials(json.dumps(CREDENTIALS | change))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ["domain: acme.my", "{'domain': 'acme.my'}", "[]", ""])
def test_credentials_that_are_not_json_are_refused(text: str) -> None:
    """The message shows what it takes."""
    with pytest.raises(secret_values.BadValue, match="JSON"):
        secret_values.salesforce_credentials(text)


@pytest.mark.parametrize("key", ["  a-key\n", "euc1 a-key", "euc1\ta-key\r\n"])
def test_good_api_keys_are_tidied(key: str) -> None:
    """The line break goes; a region in front stays."""
    assert secret_values.clockify_api_key(key) == " ".join(key.split())


@pytest.mark.parametrize("key", ["", " ", "two words", "euc1 two words", "kéy"])
def test_bad_api_keys_are_refused(key: str) -> None:
    """The message says where to copy it from."""
    with pytest.raises(secret_values.BadValue, match="Manage API keys"):
        secret_values.clockify_api_key(key)
