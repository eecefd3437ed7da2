"""The function that Clockify's webhooks call: check, decide, apply, keep, answer.

A message is in Salesforce, or in the retry queue, before Clockify hears 2xx. What is kept in memory
only saves calls, so any number of instances may serve, and each may end at any moment.
https://clockify.me/help/integrations/webhooks
"""

import os

# Cloud Run sets this, and functions-framework hands it to gunicorn as the time after which a worker
# without a sign of life is killed: an idle instance has no CPU to give one. It is read after this.
os.environ["CLOUD_RUN_TIMEOUT_SECONDS"] = "0"

import time
from collections.abc import Sequence

import flask

from clockify_salesforce import entries, log, server, webhook
from clockify_salesforce.errors import BadMessage, IntegrationError, SalesforceUnavailable
from clockify_salesforce.hand_over import hand_over
from clockify_salesforce.instance import Instance
from clockify_salesforce.message import Entry, Message, NotTaken, Outcome, Result, Waiting
from clockify_salesforce.settings import read_settings

# Clockify's patience is not known: answer within 7.5 s, the hand-over to the queue included.
APPLY_S = 6.0  # and HAND_OVER_S after it


def clockify_webhook(request: flask.Request) -> flask.Response:
    """Serve one request: a Clockify webhook, or one that comes again out of the retry queue.

    Answers 200 `{"result": …, "id": …}`, where the result is created, updated, deleted, ignored,
    stale, unusable or expired; 202 `queued` where it waits in the retry queue; and 4xx or 5xx
    `{"error": …}` where it is in neither.
    """
    told = log.Line(request.headers, INSTANCE.org)
    try:
        told.message = message = check(request)
        told.applied = applied = apply(message, decide(message))
        status, body = answer(keep(message, applied))
    except IntegrationError as error:
        status, told.problem = status_of(error), str(error)
        body = {"error": told.problem if status < 500 else "not taken: it has to be sent again"}
    except Exception as error:  # noqa: BLE001
        status, told.problem = 500, log.unexpected(error)
        body = {"error": "not taken: it has to be sent again"}
    told.write(status, str(body.get("result", "")), INSTANCE.settings.project)
    return webhook.answer(request, status, body)


def check(request: flask.Request) -> Message:
    """Let in what carries a signing secret, and nothing else. Raises Refused."""
    return webhook.check(
        request,
        is_authentic=INSTANCE.signing_secrets.matches,
        now_ms=INSTANCE.receipts.now_ms(),
        instance=INSTANCE.receipts.instance,
        deadline=time.monotonic() + APPLY_S,
    )


def decide(message: Message) -> list[Entry | Outcome | Waiting]:
    """Say what each record of the message means. Raises BadMessage; nothing is done yet."""
    now_ms = INSTANCE.receipts.now_ms()
    return entries.read(message, rules=INSTANCE.rules, now_ms=now_ms, tell=INSTANCE.tell)


def apply(message: Message, found: Sequence[Entry | Outcome | Waiting]) -> list[Outcome | Waiting]:
    """Bring each record to Salesforce; the first error that is the org's ends the tries."""
    if (error := entries.too_many(found)) is not None:
        receipt = INSTANCE.delivery.receive_whole(message)
        return [Waiting(each, error, receipt) for each in found if isinstance(each, Entry)]
    applied: list[Outcome | Waiting] = []
    for each in found:
        if not isinstance(each, Entry):
            applied.append(each)
            continue
        receipt = INSTANCE.delivery.receive(message, each)
        if applied and time.monotonic() > message.deadline:
            error = SalesforceUnavailable("there was no time left for this entry")
        if error is not None:
            applied.append(Waiting(each, error, receipt))
            continue
        try:
            applied.append(INSTANCE.delivery.deliver(message, each, receipt))
        except IntegrationError as failure:
            error = failure if isinstance(failure, SalesforceUnavailable) else None
            applied.append(Waiting(each, failure, receipt))
        except Exception as mistake:  # noqa: BLE001
            # A mistake of ours must not lose the entry either: it waits until we mend it.
            applied.append(Waiting(each, IntegrationError(log.unexpected(mistake)), receipt))
    return applied


def keep(message: Message, applied: Sequence[Outcome | Waiting]) -> list[Outcome]:
    """Hand over to the retry queue what waits. Raises NotTaken where the sender has to keep it."""
    waiting = [each for each in applied if isinstance(each, Waiting)]
    if waiting:
        if not INSTANCE.settings.retry_queue:
            raise NotTaken(waiting[0].error, message, "RETRY_QUEUE is not set")
        if message.queued and len(waiting) == len(applied):
            raise NotTaken(waiting[0].error, message)
        hand_over(message, waiting, len(applied) == 1, INSTANCE.rules, INSTANCE.settings)
    return [
        Outcome(Result.QUEUED, each.entry.decision.entry_id) if isinstance(each, Waiting) else each
        for each in applied
    ]


def answer(outcomes: Sequence[Outcome]) -> tuple[int, dict[str, object]]:
    """HTTP status and body: what was done, and the id; no more, for Clockify's admins read it."""
    results = {each.result for each in outcomes} or {Result.IGNORED}
    # Of several, the one that is furthest from done.
    overall = next(each for each in Result if each in results)
    body: dict[str, object] = {"result": overall}
    if len(outcomes) == 1:
        body |= {"id": outcomes[0].entry_id} if outcomes[0].entry_id else {}
    else:
        body["entries"] = [{"result": each.result, "id": each.entry_id} for each in outcomes]
    return (202 if overall is Result.QUEUED else 200), body


def status_of(error: IntegrationError) -> int:
    """The one place where an error becomes an HTTP code."""
    if isinstance(error, webhook.Refused):
        return error.status
    if isinstance(error, NotTaken):
        return 500 if error.slows_nobody else 503
    return 400 if isinstance(error, BadMessage) else 503


try:
    INSTANCE = Instance(read_settings(os.environ))
except IntegrationError as wrong:
    # Cloud Run keeps the revision before this one serving when a new one does not start.
    raise SystemExit(f"The function cannot start. {wrong}") from None
if flask.has_app_context():  # functions-framework's
    server.set_up(flask.current_app)
