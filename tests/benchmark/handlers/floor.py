"""The floor: the least that a function on functions-framework must do to bring a record over.

It posts one record and its state in one composite call, with one keep-alive session, and checks
nothing.
"""

import functools
import json
import os
import threading
from typing import Any

import flask
import requests
from behind_proxy import send_at_once  # type: ignore[import-not-found]
from requests.adapters import HTTPAdapter

send_at_once()
SESSION = requests.Session()
SESSION.mount("https://", HTTPAdapter(pool_maxsize=int(os.environ["THREADS"])))
BASE = "/services/data/v65.0/"
STATES = BASE + "sobjects/Clockify_State__c/Key__c/time_entry:"
EVENTS = BASE + "sobjects/Event/Clockify_Time_Entry_Id__c/"
RECORD: dict[str, Any] = json.loads(os.environ["RECORD"])
STATE: dict[str, Any] = json.loads(os.environ["STATE"])
_signing_in = threading.Lock()


def clockify_webhook(request: flask.Request) -> dict[str, str]:
    """Bring the record over."""
    entry = request.get_json()
    with _signing_in:
        instance, headers = signed_in()
    record = RECORD | {
        "StartDateTime": entry["timeInterval"]["start"],
        "EndDateTime": entry["timeInterval"]["end"],
    }
    parts = [
        {"method": "PATCH", "url": STATES + entry["id"], "referenceId": "state", "body": STATE},
        {"method": "PATCH", "url": EVENTS + entry["id"], "referenceId": "event", "body": record},
    ]
    composite = {"allOrNone": True, "compositeRequest": parts}
    SESSION.post(instance + BASE + "composite", json=composite, headers=headers).raise_for_status()
    return {"result": "created", "id": entry["id"]}


@functools.cache
def signed_in() -> tuple[str, dict[str, str]]:
    """Salesforce's address and the header that opens it."""
    credentials = json.loads(os.environ.get("CREDENTIALS") or secret("SALESFORCE_CREDENTIALS"))
    if not os.environ.get("CREDENTIALS"):
        secret("SIGNING_SECRETS")
    answer = SESSION.post(
        f"https://{credentials['domain']}.salesforce.com/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(credentials["consumer_key"], credentials["consumer_secret"]),
    ).json()
    return answer["instance_url"], {"Authorization": f"Bearer {answer['access_token']}"}


if not os.environ.get("CREDENTIALS"):  # else nothing of Google's is loaded
    from google_secret import secret  # type: ignore[import-not-found]
