"""Google Cloud as the person sees it who is signed in with gcloud: its REST APIs, read and asked.

gcloud gives the token, so whoever has run deploy.sh needs nothing more; its log files are switched
off, because they would keep the token. https://cloud.google.com/docs/authentication/rest
"""

import base64
import json
import os
import shutil
import subprocess
from typing import Any
from urllib.parse import urlencode

import requests

from clockify_salesforce import transport
from clockify_salesforce.errors import IntegrationError

Json = dict[str, Any]
GCLOUD_S = 60.0
PAGES = 50


class GoogleError(IntegrationError):
    """Google Cloud did not do what it was asked. `status`: of its answer, 0 without one."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_missing(self) -> bool:
        """True where there is no such thing."""
        return self.status == 404


class GoogleCloud:
    """One project in one region. Safe between threads."""

    def __init__(self, *, project: str, region: str) -> None:
        """Signs in. `project`: "" for the one that gcloud is set to. Raises GoogleError."""
        self.project = project or _gcloud("config", "get-value", "project")
        if not self.project or self.project == "(unset)":
            raise GoogleError(
                "no project is set: run  gcloud config set project PROJECT_ID  or give --project"
            )
        self.region = region
        self._session = transport.session()
        token = _gcloud("auth", "print-access-token")
        self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, api: str, path: str, **params: str) -> Json:
        """Read `https://API.googleapis.com/PATH`. Raises GoogleError."""
        return self._call("GET", api, f"{path}?{urlencode(params)}" if params else path)

    def post(self, api: str, path: str, body: Json | None = None) -> Json:
        """Ask `https://API.googleapis.com/PATH` for something. Raises GoogleError."""
        return self._call("POST", api, path, body or {})

    def items(self, api: str, path: str, name: str, **params: str) -> list[Json]:
        """All of a list that comes in pages. `name`: its key. Raises GoogleError."""
        found: list[Json] = []
        for _ in range(PAGES):
            answer = self.get(api, path, **params)
            found += answer.get(name, [])
            if not answer.get("nextPageToken"):
                return found
            params["pageToken"] = answer["nextPageToken"]
        raise GoogleError(f"{api} has more than {PAGES} pages of {name}")

    def secret(self, name: str) -> str:
        """The value of a secret's newest version. `name`: as in the function's settings.

        https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
        """
        full = name if "/versions/" in name else f"{name}/versions/latest"
        answer = self.get("secretmanager", f"v1/{full}:access")
        try:
            return base64.b64decode(answer["payload"]["data"]).decode("utf-8-sig")
        except (KeyError, ValueError):
            raise GoogleError(f"{name} holds no text") from None

    def _call(self, method: str, api: str, path: str, body: Json | None = None) -> Json:
        url = f"https://{api}.googleapis.com/{path}"
        shown = url.split("?")[0]
        try:
            answer = self._session.request(method, url, json=body)
            found = json.loads(answer.content or b"{}")
        except requests.RequestException as error:
            raise GoogleError(
                f"{shown} gives no answer ({type(error).__name__}): check the network"
            ) from None
        except ValueError:
            found = None
        if answer.status_code == 200 and isinstance(found, dict):
            return found
        raise _refusal(answer.status_code, found, shown, api, self.project)


def _refusal(status: int, answer: Any, url: str, api: str, project: str) -> GoogleError:
    """An answer that is no success, with what to do about it.

    https://cloud.google.com/apis/design/errors
    """
    error = answer.get("error") if isinstance(answer, dict) else None
    told = json.dumps(error.get("details", "")) if isinstance(error, dict) else ""
    if "SERVICE_DISABLED" in told:
        name = f"{api.rsplit('-', 1)[-1]}.googleapis.com"
        message = f"{name} is not enabled: run  gcloud services enable {name} --project={project}"
    elif status == 401:
        message = "Google does not take gcloud's token: run  gcloud auth login"
    elif status == 403:
        message = f"you may not read {url}: have an owner of project {project} give you the right"
    elif status == 404:
        message = f"there is nothing at {url}"
    else:
        message = f"{url} answers HTTP {status}: try again later"
    return GoogleError(message, status=status)


def _gcloud(*arguments: str) -> str:
    """What gcloud prints. Raises GoogleError."""
    program = shutil.which("gcloud")
    if program is None:
        raise GoogleError("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    environment = os.environ | {
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
    }
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and no argument from outside
            [program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=GCLOUD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GoogleError("gcloud gives no answer: try again later") from None
    if done.returncode:
        raise GoogleError("gcloud is not signed in: run  gcloud auth login")
    return done.stdout.strip()
