"""The one family of errors: what is wrong, where, and what to do next.

`main.py` turns them into HTTP codes, a command into its exit code.
"""


class IntegrationError(Exception):
    """Every error that this project raises on purpose."""


class BadMessage(IntegrationError):
    """A message that cannot be a time entry; its text names the field, never its content."""


class SettingsError(IntegrationError):
    """An environment variable or a secret's value is missing or wrong; it is never quoted."""


class SalesforceUnavailable(IntegrationError):
    """Salesforce cannot take it now; the same call may succeed later."""


class SecretUnavailable(IntegrationError):
    """A secret cannot be read and none is in memory."""


class QueueUnavailable(IntegrationError):
    """Cloud Tasks did not take a request."""
