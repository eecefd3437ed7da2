"""What a company may choose about its Events: a frozen value that `mapping.decide` is given.

Pure: text in, values out. Without a file the rules are what the integration does by itself.
"""

from dataclasses import dataclass

DEFAULT_SUBJECT = "Clockify"


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices; each default is what happens where nobody chose."""

    subject: str = DEFAULT_SUBJECT  # a template that `mapping.check_subject` has passed
    # Names or ids of Clockify's custom fields that the rules read.
    custom_fields: frozenset[str] = frozenset()


DEFAULT_RULES = Rules()
