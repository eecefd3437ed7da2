"""Check the values that deploy.sh stores in Secret Manager, before anything is stored.

Reads a value on stdin and writes it, tidied, to stdout; what is wrong goes to stderr in one
sentence that names the place and never the value. Needs nothing but Python itself: credentials and
API key are checked by what the function reads them with.
"""

import json
import re
import sys
from collections.abc import Callable

from clockify_salesforce.clockify.api_key import read_api_key
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.salesforce.credentials import sign_in_arguments


def signing_secrets(text: str) -> str:
    """Return the webhooks' signing secrets, one per line, each once, in the order given."""
    lines = [line.strip() for line in text.strip("\r\n").splitlines()]
    if not any(lines):
        raise SettingsError(
            "There is no signing secret in it: Clockify shows one for each webhook."
        )
    for number, line in enumerate(lines, start=1):
        if not line:
            raise SettingsError(
                f"Line {number} of the signing secrets is empty: one secret per line, none empty."
            )
        if not re.fullmatch(r"[!-~]{16,1000}", line):
            raise SettingsError(
                f"Line {number} of the signing secrets is no signing secret: it takes at least 16"
                " letters and digits with no space, as Clockify shows it."
            )
    return "\n".join(dict.fromkeys(lines))


def salesforce_credentials(text: str) -> str:
    """Return the sign-in's JSON as compact JSON with sorted keys."""
    sign_in_arguments(text)
    return json.dumps(json.loads(text), sort_keys=True)


def clockify_api_key(text: str) -> str:
    """Return the API key, with its region and a space in front if the workspace has one."""
    return str(read_api_key(text))


KINDS: dict[str, Callable[[str], str]] = {
    "signing-secrets": signing_secrets,
    "salesforce-credentials": salesforce_credentials,
    "clockify-api-key": clockify_api_key,
}


def main() -> int:
    """Check the value on stdin of the kind that the one argument names."""
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        print(f"usage: python -m commands.secret_values {'|'.join(KINDS)} <value", file=sys.stderr)
        return 2
    try:
        sys.stdout.write(KINDS[sys.argv[1]](sys.stdin.buffer.read().decode("utf-8-sig")))
    except UnicodeDecodeError:
        print("deploy.sh: The value is not UTF-8 text.", file=sys.stderr)
        return 1
    except SettingsError as error:
        print(f"deploy.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
