"""Where the credentials go: a file that only its owner reads, or Secret Manager as deploy.sh does.

They are on no command line and in no other file.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from clockify_salesforce.errors import IntegrationError
from commands.google_cloud import GoogleCloud, GoogleError


class NotKept(IntegrationError):
    """The credentials could not be stored."""


@dataclass(frozen=True, slots=True)
class InFile:
    """A file of mode 600."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> str:
        """What is stored, "" where there is nothing."""
        try:
            return self.path.read_text(encoding="utf-8-sig").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise NotKept(f"{self.path} cannot be read ({type(error).__name__})") from None

    def write(self, credentials: str) -> None:
        """Store it, in place of what is there, whole or not at all. Raises NotKept."""
        try:
            # mkstemp's files are their owner's alone from the first moment on.
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".clockify-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as text:
                text.write(credentials)
            os.replace(name, self.path)
        except OSError as error:
            raise NotKept(f"{self.path} cannot be written ({type(error).__name__})") from None

    def forget(self) -> bool:
        """Take it away; True where there was one."""
        there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return there


@dataclass(frozen=True, slots=True)
class InSecretManager:
    """deploy.sh's own secret, made as deploy.sh makes it."""

    project: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"secret {self._name} of project {self.project}"

    @property
    def _name(self) -> str:
        return f"{self.service}-salesforce"

    def read(self) -> str:
        """What is stored, "" where there is nothing. Raises GoogleError."""
        cloud = GoogleCloud(project=self.project, region=self.region)
        try:
            return cloud.secret(f"projects/{cloud.project}/secrets/{self._name}").strip()
        except GoogleError as error:
            if error.status in (400, 404) or "is not enabled" in str(error):
                return ""
            raise

    def write(self, credentials: str) -> None:
        """Add a version. Raises NotKept."""
        self._gcloud("services", "enable", "secretmanager.googleapis.com")
        try:
            self._gcloud("secrets", "describe", self._name)
        except NotKept:
            self._patiently(
                *("secrets", "create", self._name, "--replication-policy=user-managed"),
                *(f"--locations={self.region}", "--labels=made-by=clockify-salesforce"),
            )
        self._patiently(
            "secrets", "versions", "add", self._name, "--data-file=-", given=credentials
        )

    def forget(self) -> bool:
        """deploy.sh --delete takes the secret away."""
        return False

    def _patiently(self, *arguments: str, given: str = "") -> None:
        """The same, again for some minutes where what was just enabled is not known yet."""
        for wait in (1.0, 2.0, 4.0, 8.0, *[30.0] * 15):
            try:
                return self._gcloud(*arguments, given=given)
            except NotKept as error:
                if not re.search("has not been used|SERVICE_DISABLED", str(error)):
                    raise
            print(f"   not yet, the API is new: another try in {wait:.0f} s", flush=True)
            time.sleep(wait)
        return self._gcloud(*arguments, given=given)

    def _gcloud(self, *arguments: str, given: str = "") -> None:
        program = shutil.which("gcloud") or "gcloud"
        command = [program, *arguments, f"--project={self.project}", "--quiet"]
        environment = os.environ | {"CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1"}
        try:
            done = subprocess.run(  # noqa: S603 - no shell
                command,
                input=given,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotKept(f"gcloud does not answer ({type(error).__name__})") from None
        if done.returncode:
            why = " ".join(done.stderr.split())[:300]
            raise NotKept(f"gcloud {' '.join(arguments[:3])} failed: {why}")
