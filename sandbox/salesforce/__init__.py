"""Stand in for one Salesforce org: it keeps records and refuses what Salesforce refuses.

Custom fields, validation rules and the integration user's rights are read from the project's own
`force-app/`, so that the product, the metadata and this agree or a test fails. A write is not
atomic where Salesforce's is not: two upserts of one new value meet a DUPLICATE_VALUE.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/

Each module builds on the one before: metadata (what the org knows), records (what is stored, and
how a transaction is undone), rights, values, activities, variations (what differs from org to org),
saving (what Salesforce does to store a record), reading (SOQL, describe), sobject_collections,
rest, composite, graph (the API), bulk (its jobs), org (HTTP, sign-in, faults).
"""

from sandbox.salesforce.faults import FAULTS, Faults, Flow
from sandbox.salesforce.metadata import PREFIXES
from sandbox.salesforce.org import (
    CONSUMER_KEY,
    CONSUMER_SECRET,
    DOMAIN,
    USERNAME,
    SalesforceOrg,
)
from sandbox.salesforce.records import ADMIN_ID
from sandbox.salesforce.rest import HOST

__all__ = [
    "ADMIN_ID",
    "CONSUMER_KEY",
    "CONSUMER_SECRET",
    "DOMAIN",
    "FAULTS",
    "HOST",
    "PREFIXES",
    "USERNAME",
    "Faults",
    "Flow",
    "SalesforceOrg",
]
