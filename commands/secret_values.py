"""Check the values that deploy.sh stores in Secret Manager, before anything is stored.

Reads a value on stdin and writes it, tidied, to stdout; what is wrong goes to stderr in one
sentence that names the place and never the value. Needs nothing but Python itself.
"""

import json
import re
import sys

KINDS = ("signing-secrets", "salesforce-credentials", "clockify-api-key")
SIGN_IN_KEYS = (
    ("domain", "consumer_key", "consumer_secret"),  # client credentials
    ("domain", "username", "consumer_key", "privatekey"),  # JWT bearer
)
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class BadValue(ValueError):
    """A value that cannot be a secret of its kind; the message says what to put right."""


def signing_secrets(text: str) -> str:
    """Return the webhooks' signing secrets, one per line, each once, in the order given."""
    lines = [line.strip() for line in text.strip("\r\n").splitlines()]
    if not any(lines):
        raise BadValue("There is no signing secret in it: Clockify shows one for each webhook.")
    for number, line in enumerate(lines, start=1):
        if not line:
            raise BadValue(
                f"Line {number} of the signing secrets is empty: one secret per line, none empty."
            )
        if not re.fullmatch(r"[!-~]{16,1000}", line):
            raise BadValue(
                f"Line {number} of the signing secrets is no signing secret: it takes at least 16"
                " letters and digits with no space, as Clockify shows it."
            )
    return "\n".join(dict.fromkeys(lines))


def salesforce_credentials(text: str) -> str:
    """Return the sign-in's JSON as compact JSON with sorted keys."""
    try:
        credentials = json.loads(text)
    except ValueError:
        raise BadValue(
            "The Salesforce credentials are not JSON: it takes"
            ' {"domain": "acme.my", "consumer_key": "...", "consumer_secret": "..."}.'
        ) from None
    if not isinstance(credentials, dict):
        raise BadValue("The Salesforce credentials are not a JSON object in { }.")
    wanted = SIGN_IN_KEYS[1] if "privatekey" in credentials else SIGN_IN_KEYS[0]
    for key in wanted:
        value = credentials.get(key)
        if not isinstance(value, str) or not value.strip():
            raise BadValue(f'The Salesforce credentials have no "{key}", or it is no text.')
    domain = credentials["domain"]
    jwt = "privatekey" in credentials  # only with a key can login and test be signed in to
    front = not domain.endswith(".salesforce.com") and _DOMAIN.fullmatch(domain)
    if not front or (not jwt and domain in ("login", "test")):
        raise BadValue(
            'The "domain" of the Salesforce credentials must be the part of My Domain in front of'
            ' ".salesforce.com", such as "acme.my" or "acme--test.sandbox.my".'
        )
    if jwt and "PRIVATE KEY-----" not in credentials["privatekey"]:
        raise BadValue(
            'The "privatekey" of the Salesforce credentials is no PEM key: it begins with'
            ' "-----BEGIN" and its line breaks are written as \\n.'
        )
    return json.dumps(credentials, sort_keys=True)


def clockify_api_key(text: str) -> str:
    """Return the API key, with its region and a space in front if the workspace is regional."""
    key = " ".join(text.split())
    if not re.fullmatch(r"((euc1|use2|euw2|apse2) )?[!-~]+", key):
        raise BadValue(
            "The Clockify API key is empty or has a space in it: copy it from Clockify,"
            " Preferences, Advanced, Manage API keys. Only a region may stand in front of it:"
            " euc1, use2, euw2 or apse2."
        )
    return key


def main() -> int:
    """Check the value on stdin of the kind that the one argument names."""
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        print(f"usage: secret_values.py {'|'.join(KINDS)} <value", file=sys.stderr)
        return 2
    check = (signing_secrets, salesforce_credentials, clockify_api_key)[KINDS.index(sys.argv[1])]
    try:
        sys.stdout.write(check(sys.stdin.buffer.read().decode("utf-8-sig")))
    except UnicodeDecodeError:
        print("deploy.sh: The value is not UTF-8 text.", file=sys.stderr)
        return 1
    except BadValue as error:
        print(f"deploy.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
