"""Start the outside world and the function in front of it, each as it really is."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import google_cloud, salesforce
from sandbox.clockify import KEY, ClockifyApi
from sandbox.internet import Answer, Internet, Request

ROOT = Path(__file__).resolve().parent.parent
TARGET = "clockify_webhook"


class World:
    """Salesforce, Secret Manager, Cloud Tasks and Clockify's API, behind one proxy."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for the certificate authority and a service account's key; both made up."""
        self.folder = folder
        self.signing_secret = secrets.token_hex(16)
        self.internet = Internet(folder)
        self.salesforce = salesforce.SalesforceOrg()
        self.secret_manager = google_cloud.SecretManager()
        self.tasks = google_cloud.CloudTasks(self.internet)
        self.clockify = ClockifyApi()
        self._grpc = google_cloud.serve(self.internet, self.secret_manager, self.tasks)
        self.internet.sites = {
            salesforce.HOST: self.salesforce.answer,
            ".clockify.me": self._clockify,
            "oauth2.googleapis.com": google_cloud.token,
        }
        self.internet.refuses = lambda host: (
            host == salesforce.HOST and self.salesforce.faults.strikes("outage")
        )
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self.salesforce.jwt_public_key = (
            key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )
        (folder / "service-account.json").write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": google_cloud.PROJECT,
                    "private_key_id": "made-up",
                    "private_key": self.private_key,
                    "client_email": f"function@{google_cloud.PROJECT}.iam.gserviceaccount.com",
                    "client_id": "1",
                    "token_uri": "https://oauth2.googleapis.com/token",
                }
            )
        )
        self.reset()

    @property
    def secrets(self) -> dict[str, list[str]]:
        """Secret name -> its versions, the newest last."""
        return self.secret_manager.secrets

    def reset(self) -> None:
        """Make everything as new: no records, no tasks, no faults."""
        self.salesforce.reset()
        self.secret_manager.reset()
        self.tasks.reset()
        self.clockify.reset()
        self.internet.handshakes.clear()
        self.secrets["signing-secrets"] = [self.signing_secret]
        self.secrets["salesforce"] = [
            json.dumps(
                {
                    "domain": salesforce.DOMAIN,
                    "consumer_key": salesforce.CONSUMER_KEY,
                    "consumer_secret": salesforce.CONSUMER_SECRET,
                }
            )
        ]
        self.secrets["clockify-api-key"] = [KEY]

    def environment(self) -> dict[str, str]:
        """What leads a process to this world, and the function's settings for it."""
        proxy = f"http://127.0.0.1:{self.internet.proxy_port}"
        prefix = f"projects/{google_cloud.PROJECT}/secrets"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self.internet.authority_file),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.internet.authority_file),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.folder / "service-account.json"),
            "SIGNING_SECRETS": f"{prefix}/signing-secrets",
            "SALESFORCE_CREDENTIALS": f"{prefix}/salesforce",
        }

    def close(self) -> None:
        """Stop everything."""
        self.internet.wait(self.tasks.close())
        self._grpc.stop(None).wait(5)
        self.internet.close()

    async def _clockify(self, request: Request) -> Answer:
        status, body, headers = self.clockify(
            request.method, request.path, request.headers, request.body
        )
        return Answer(status, body, headers)


class Function:
    """The function as a process of functions-framework, on a free port of loopback."""

    def __init__(
        self,
        world: World,
        *,
        port: int = 0,
        queue: bool = True,
        threads: int = 80,
        source: Path = ROOT,
        **settings: str,
    ) -> None:
        """`queue`: with the retry queue; `settings`: more environment, by name.

        `source`: the folder that the function is started from.
        """
        self._source = source
        self._world = world
        self._port = port or free_port()
        self.log_file = world.folder / f"function-{self._port}.log"
        self._queue, self._threads, self._settings = queue, threads, settings
        self._client = requests.Session()
        self._client.trust_env = False
        # A kept connection may be closed by the server at the moment it is used again.
        self._client.headers["Connection"] = "close"
        self._client.mount(
            "http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=200)
        )
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the process, anew after `stop` or `kill`, and wait until it listens."""
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("DEBUG",)},
            **self._world.environment(),
            "THREADS": str(self._threads),
        }
        if self._queue:
            environment |= {"RETRY_QUEUE": google_cloud.QUEUE, "FUNCTION_URL": self.url}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "functions_framework", "--target", TARGET),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                ],
                cwd=self._source,
                env=environment | self._settings,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that all of its processes can be ended together
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the function did not start:\n{self.log_file.read_text()}")
            if self._listens():
                return
            time.sleep(0.02)
        raise RuntimeError("the function does not listen")

    def post(
        self,
        event_type: str | None,
        entry: object,
        *,
        signature: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Post one message as Clockify does; `entry`: JSON, or bytes as they are."""
        sent = {
            "Content-Type": "application/json",
            "Clockify-Signature": self._world.signing_secret if signature is None else signature,
            **({"Clockify-Webhook-Event-Type": event_type} if event_type is not None else {}),
            **(headers or {}),
        }
        body = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
        return self._client.post(self.url, data=body, headers=sent, timeout=60)

    @property
    def pid(self) -> int:
        """The process that began it; functions-framework's worker is its child."""
        return self._process.pid

    @property
    def raw_log(self) -> str:
        """All that it has written, to stdout and stderr."""
        return self.log_file.read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its JSON log lines."""
        lines = (line for line in self.raw_log.splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        """End it as Cloud Run does: SIGTERM, then 10 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Take its CPU away, wherever it is, as Cloud Run does between two requests."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def _end(self, how: int) -> None:
        if self._process.poll() is None:
            if how != signal.SIGKILL:
                self.thaw()  # a frozen process hears no SIGTERM
            if how == signal.SIGKILL:
                os.killpg(self._process.pid, how)
            else:
                self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        deadline = time.monotonic() + 10
        while self._listens() and time.monotonic() < deadline:
            time.sleep(0.01)  # the worker may live a moment longer than its parent

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
