"""The one family of errors: what is wrong, where, and what to do next.

`main.py` turns them into HTTP codes, a command into its exit code.
"""


class IntegrationError(Exception):
    """Every error that this project raises on purpose."""


class BadMessage(IntegrationError):
    """A message that cannot be a time entry; its text names the field, never its content."""


class UnusableEntry(BadMessage):
    """A time entry of Clockify's that no repeat can ever make right, like an end before its start.

    Clockify sends it again byte for byte and switches a webhook off that fails too often, so it is
    answered as taken and told in the log. `entry_id`: which one, where that can be read.
    """

    def __init__(self, message: str, *, entry_id: str | None = None) -> None:
        super().__init__(message)
        self.entry_id = entry_id


class SettingsError(IntegrationError):
    """An environment variable or a secret's value is missing or wrong; it is never quoted."""


class SalesforceUnavailable(IntegrationError):
    """Salesforce cannot take it now; the same call may succeed later."""


class NotRestored(IntegrationError):
    """The record was deleted, and what restores it has not come yet: the same may do later."""


class SecretUnavailable(IntegrationError):
    """A secret cannot be read and none is in memory."""


class QueueUnavailable(IntegrationError):
    """Cloud Tasks did not take a request."""
