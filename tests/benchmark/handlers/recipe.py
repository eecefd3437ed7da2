"""The recipe as it is written: compare the header, create an Event, nothing else.

simple-salesforce as its documentation shows it: https://simple-salesforce.readthedocs.io
"""

import functools
import json
import os

import flask
from behind_proxy import send_at_once  # type: ignore[import-not-found]
from simple_salesforce import Salesforce  # type: ignore[attr-defined]

send_at_once()


def clockify_webhook(request: flask.Request) -> tuple[str, int]:
    """Create an Event of a time entry."""
    if request.headers.get("Clockify-Signature") != signing_secret():
        return "Bad Signature", 401
    entry = request.get_json()
    salesforce().Event.create(  # type: ignore[operator]
        {
            "Subject": "Clockify",
            "StartDateTime": entry["timeInterval"]["start"],
            "EndDateTime": entry["timeInterval"]["end"],
        }
    )
    return "OK", 200


@functools.cache
def signing_secret() -> str:
    """The webhook's secret."""
    return os.environ.get("SIGNING_SECRET") or secret("SIGNING_SECRETS")


@functools.cache
def salesforce() -> Salesforce:
    """The client, signed in."""
    credentials = os.environ.get("CREDENTIALS") or secret("SALESFORCE_CREDENTIALS")
    return Salesforce(**json.loads(credentials))


if not os.environ.get("CREDENTIALS"):  # else nothing of Google's is loaded
    from google_secret import secret  # type: ignore[import-not-found]
