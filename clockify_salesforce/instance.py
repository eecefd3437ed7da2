"""What one instance of the function keeps: clients, secrets in memory, and what it remembers.

All of it is built once, when the instance starts, and nothing of it calls anybody before it is
needed.
"""

from clockify_salesforce.clockify.access import ClockifyAccess
from clockify_salesforce.clockify.groups import Groups
from clockify_salesforce.delivery import Delivery
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.kinds.project import PROJECT
from clockify_salesforce.receipts import Receipts
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.drafts import Drafts
from clockify_salesforce.salesforce.records import Records
from clockify_salesforce.secret import Secret, SigningSecrets
from clockify_salesforce.settings import Settings, chosen_rules


class Instance:
    """Built of the settings, once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rules = chosen_rules(settings.event_subject)
        self.receipts = Receipts()
        self.signing_secrets = SigningSecrets(settings.signing_secrets)
        self.org = Org(
            Secret(settings.salesforce_credentials).value, version=settings.salesforce_api_version
        )
        key = settings.clockify_api_key
        clockify = ClockifyAccess(Secret(key).value) if key else None
        self.tell = clockify.told if clockify else None
        if "group" in self.rules.reads:
            if clockify is None:
                raise SettingsError("mapping.toml filters by group: that takes CLOCKIFY_API_KEY")
            clockify.tell_groups = Groups(clockify).told
        directory = Directory(
            self.org, clockify=clockify, links=self.rules.links, projects=[PROJECT]
        )
        self.delivery = Delivery(
            Records(self.org),
            Drafts(directory, rules=self.rules, own_user_id=self.org.user_id),
            self.receipts,
            rules=self.rules,
            ask=clockify.record if clockify else None,
        )
