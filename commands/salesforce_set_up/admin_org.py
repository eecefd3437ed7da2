"""An org as the admin sees it who has signed in with `sf`."""

import re

from simple_salesforce.api import Salesforce

from clockify_salesforce.salesforce.client import Org
from commands.salesforce_set_up.sf import Sf, SfError

READ_S = 60.0


class AdminOrg(Org):
    """Calls as that person. The session's token stays in memory; one that has ended is renewed."""

    def __init__(self, sf: Sf, *, version: str) -> None:
        super().__init__(lambda: "", version=version, read_s=READ_S)
        self._sf = sf

    def _sign_in(self, deadline: float) -> Salesforce:
        host = self._sf.instance.removeprefix("https://").lower()
        # A token goes to Salesforce and to nobody else.
        if not re.fullmatch(r"([a-z0-9-]+\.)+salesforce\.com", host):
            raise SfError("the org that sf is signed in to is not at salesforce.com")
        client = Salesforce(
            session_id=self._sf.access_token(),
            instance=host,
            version=self._version,
            session=self._session,
        )
        client.headers.pop("X-PrettyPrint", None)
        return client
