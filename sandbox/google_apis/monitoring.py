"""Cloud Monitoring's notification channels and alerting policies.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies
"""

from typing import TYPE_CHECKING

from sandbox.google_apis.answers import PROJECT, Json, Refused, Request, missing

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis

KINDS = ("conditionThreshold", "conditionMatchedLog", "conditionPrometheusQueryLanguage")


def monitoring(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for channels and policies, whose names Google makes."""
    kind = "alertPolicies" if "/alertPolicies" in path else "notificationChannels"
    kept = google.alert_policies if kind == "alertPolicies" else google.channels
    if path.endswith(kind):
        if request.method == "GET":
            return {kind: [_shown(each) for each in kept.values()]}
        if kind == "alertPolicies":
            _check_policy(google, request.body)
        google.monitoring_made += 1
        name = f"projects/{PROJECT}/{kind}/{google.monitoring_made}"
        kept[name] = {**request.body, "name": name}
        return kept[name]
    name = path.removeprefix("/v3/")
    if name not in kept:
        raise missing(name)
    if request.method == "DELETE":
        used = [each for each in google.alert_policies.values() if name in str(each)]
        if kind == "notificationChannels" and used and request.query.get("force") != ["true"]:
            raise Refused(400, "FAILED_PRECONDITION", f"{name} is used by {len(used)} policies.")
        return kept.pop(name) and {}
    if request.method == "PATCH":
        if kind == "alertPolicies":
            _check_policy(google, kept[name] | request.body)
        kept[name] |= request.body
    return kept[name]


def _shown(kept: Json) -> Json:
    """Return what a list shows: of an address perhaps a part only.

    https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.notificationChannels
    """
    if "email_address" not in kept.get("labels", {}):
        return kept
    return kept | {"labels": {"email_address": "o**@" + kept["labels"]["email_address"][-8:]}}


def _check_policy(google: "GoogleApis", policy: Json) -> None:
    """Refuse what Cloud Monitoring refuses in a policy."""
    wrong = ""
    conditions = policy["conditions"]
    for condition in conditions:
        (kind,) = [key for key in condition if key.startswith("condition")]
        if kind not in KINDS:
            wrong = f"unknown condition {kind}"
        # Log-based: one condition, and a limit to how often it tells.
        # https://cloud.google.com/logging/docs/alerting/alerting-policies-api
        if kind == "conditionMatchedLog" and (
            len(conditions) > 1
            or "period" not in policy.get("alertStrategy", {}).get("notificationRateLimit", {})
        ):
            wrong = "a log match stands alone, with a notificationRateLimit"
        # https://cloud.google.com/monitoring/alerts/using-promql: alone as well.
        if kind == "conditionPrometheusQueryLanguage" and len(conditions) > 1:
            wrong = "a PromQL condition stands alone"
        if kind == "conditionThreshold" and not condition[kind].get("aggregations"):
            wrong = "a threshold needs an aggregation"
    if policy.get("combiner") not in ("OR", "AND"):
        wrong = "no combiner"
    if not set(policy.get("notificationChannels", [])) <= set(google.channels):
        wrong = "unknown notification channel"
    if wrong:
        raise Refused(400, "INVALID_ARGUMENT", wrong)
