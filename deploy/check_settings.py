"""Check settings that deploy.sh was given, as the function will read them, and the kinds of --with.

Reads NAME=VALUE lines on stdin; says in one sentence what is wrong. Needs nothing but Python.
"""

import sys

from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.settings import read_settings
from commands.kinds import read_kinds

# Those that deploy.sh makes itself.
MADE = {
    "SIGNING_SECRETS": "projects/P/secrets/S",
    "SALESFORCE_CREDENTIALS": "projects/P/secrets/S",
}


def main() -> int:
    """Return 0 where the function would start with these settings."""
    given = dict(line.rstrip("\n").partition("=")[::2] for line in sys.stdin)
    kinds = given.pop("WITH", "")
    try:
        if kinds:
            read_kinds(kinds)
        read_settings(MADE | given)
    except IntegrationError as error:
        print(f"deploy.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
