"""secret.py: a secret is read once, kept for five minutes, and serves on in an outage."""

import concurrent.futures
import time

import pytest

from clockify_salesforce import secret as secret_module
from clockify_salesforce.errors import QueueUnavailable, SecretUnavailable
from clockify_salesforce.retry_queue import enqueue
from clockify_salesforce.secret import Secret
from sandbox.google_cloud import PROJECT, QUEUE
from sandbox.world import World

NAME = f"projects/{PROJECT}/secrets/signing-secrets"


@pytest.fixture
def google(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """This process in that world."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return world


def test_secret_is_read_once_for_all_threads(google: World) -> None:
    secret = Secret(NAME)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        values = set(pool.map(lambda _: secret.value(), range(100)))
    assert values == {google.signing_secret}
    assert google.secret_manager.reads == [f"{NAME}/versions/latest"]


def test_named_version_is_read_as_it_is_named(google: World) -> None:
    google.secrets["signing-secrets"].append("second")
    assert Secret(f"{NAME}/versions/1").value() == google.signing_secret
    assert Secret(f"{NAME}/versions/2").value() == "second"


def test_secret_is_read_again_after_its_time(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secrets["signing-secrets"].append("second")
    assert secret.value() == google.signing_secret
    monkeypatch.setattr(secret_module, "KEPT_S", 0.0)
    monkeypatch.setattr(secret_module, "LOOK_EVERY_S", 0.0)
    time.sleep(0.001)
    assert secret.value() == "second"


def test_secret_that_cannot_be_read_serves_on_and_is_not_asked_for_each_time(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Secret(NAME)
    secret.value()
    google.secret_manager.down = True
    monkeypatch.setattr(secret_module, "KEPT_S", 0.0)
    assert {secret.value() for _ in range(10)} == {google.signing_secret}
    tries = len(google.secret_manager.reads)
    assert {secret.value() for _ in range(10)} == {google.signing_secret}
    assert len(google.secret_manager.reads) == tries


@pytest.mark.parametrize("name", ["missing", "signing-secrets/versions/7"])
def test_secret_that_is_not_there_names_itself_and_the_role(google: World, name: str) -> None:
    with pytest.raises(SecretUnavailable, match=r"secretmanager\.secretAccessor") as caught:
        Secret(f"projects/{PROJECT}/secrets/{name}").value()
    assert name in str(caught.value)


def test_task_over_100_kb_is_told(google: World) -> None:
    google.tasks.paused = True
    enqueue(QUEUE, "http://127.0.0.1:1/", {}, b"x" * 99_000)
    with pytest.raises(QueueUnavailable, match="InvalidArgument"):
        enqueue(QUEUE, "http://127.0.0.1:1/", {}, b"x" * 110_000)


def test_queue_that_is_not_there_names_itself_and_the_role(google: World) -> None:
    with pytest.raises(QueueUnavailable, match=r"other did not take .* roles/cloudtasks\.enqueuer"):
        enqueue(QUEUE.replace("clockify-salesforce-retry", "other"), "http://127.0.0.1:1/", {}, b"")
