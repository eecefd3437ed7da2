"""Salesforce's own CLI, `sf`, as the person has signed in with it: deployments, and the session.

https://developer.salesforce.com/docs/atlas.en-us.sfdx_cli_reference.meta/sfdx_cli_reference/
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clockify_salesforce.errors import IntegrationError
from commands.salesforce_set_up.told import plain

Json = dict[str, Any]
COMMAND_S, DEPLOY_S = 180.0, 2400.0
DEPLOY_MINUTES = 33
# Its log would keep what it prints. The REST API of deployments is the one that is documented.
_OWN = {
    "SF_DISABLE_LOG_FILE": "true",
    "SF_ORG_METADATA_REST_DEPLOY": "true",
    "SF_SKIP_NEW_VERSION_CHECK": "true",
    "SF_JSON_TO_STDOUT": "true",
    "NO_COLOR": "1",
}


class SfError(IntegrationError):
    """`sf` did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of a deployment. `problems`: what the org said, a component each; none: done."""

    components: int
    changed: int
    problems: tuple[str, ...]


class Sf:
    """`sf` for one org."""

    def __init__(self, target_org: str) -> None:
        """`target_org`: the alias or username that it was signed in with. Raises SfError."""
        program = shutil.which("sf")
        if program is None:
            raise SfError(
                "Salesforce's CLI is not installed: npm install --global @salesforce/cli (it needs"
                " Node.js 22 or newer)"
            )
        self._program, self._target_org = program, target_org
        about = self._ask("org", "display")
        self.instance = str(about["instanceUrl"]).rstrip("/")
        self.username = str(about["username"])

    def access_token(self) -> str:
        """The session's token, which is never shown. Raises SfError."""
        shown = self._ask("org", "auth", "show-access-token", "--no-prompt")
        return str(shown["accessToken"])

    def deploy(self, options: Sequence[str], *, project: Path, dry_run: bool) -> Deployed:
        """Deploy metadata, all or nothing. Raises SfError.

        `options`: what is deployed, or deleted; `project`: the folder of sfdx-project.json;
        `dry_run`: the org only checks it.
        """
        answer = self._run(
            ["project", "deploy", "start", *options, "--wait", str(DEPLOY_MINUTES)]
            + ["--dry-run"] * dry_run,
            cwd=project,
            timeout=DEPLOY_S,
        )
        result = answer.get("result")
        if not isinstance(result, dict) or "numberComponentsTotal" not in result:
            raise _error(answer)
        details = result.get("details") or {}
        done = details.get("componentSuccesses") or []
        problems = [
            plain(f"{each.get('componentType')} {each.get('fullName')}: {each.get('problem')}")[
                :300
            ]
            for each in details.get("componentFailures") or []
        ]
        if not result.get("success") and not problems:
            problems = [plain(str(result.get("errorMessage") or result.get("status")))[:300]]
        changed = [
            each
            for each in done
            if each.get("fullName") != "package.xml"
            and (each.get("changed") or each.get("deleted"))
        ]
        return Deployed(int(result["numberComponentsTotal"]), len(changed), tuple(problems))

    def _ask(self, *arguments: str) -> Json:
        answer = self._run(list(arguments))
        if answer.get("status") != 0 or not isinstance(answer.get("result"), dict):
            raise _error(answer)
        result: Json = answer["result"]
        return result

    def _run(
        self, arguments: list[str], *, cwd: Path | None = None, timeout: float = COMMAND_S
    ) -> Json:
        command = [self._program, *arguments, "--target-org", self._target_org, "--json"]
        try:
            done = subprocess.run(  # noqa: S603 - no shell
                command,
                cwd=cwd,
                env=os.environ | _OWN,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise SfError(f"sf {' '.join(arguments[:3])} gives no answer: try again") from None
        except ValueError:
            raise SfError(f"sf {' '.join(arguments[:3])} gives no JSON: update it") from None
        return answer if isinstance(answer, dict) else {}


def _error(answer: Json) -> SfError:
    name, message = str(answer.get("name")), plain(str(answer.get("message")))
    if name in ("NamedOrgNotFoundError", "NoDefaultEnvError"):
        return SfError("sf is not signed in to this org: sf org login web --alias ORG")
    if "expired" in message or name in ("RefreshTokenAuthError", "INVALID_SESSION_ID"):
        return SfError("sf's sign-in to this org has ended: sf org login web --alias ORG")
    return SfError(f"sf: {name}: {' '.join(message.split())[:300]}")
