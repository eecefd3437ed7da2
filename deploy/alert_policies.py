"""Print the alerting policies that watch one deployment, for deploy.sh to hand to Google Cloud.

A line each: name, fingerprint, and the policy as JSON, with tabs between.
https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies
"""

import argparse
import hashlib
import json
from typing import Any

Json = dict[str, Any]

SEE = 'What to do: docs/google-cloud.md, "Alerts", in the project\'s own folder.'


def errors(project: str, service: str) -> Json:
    """A line of the function's log that asks somebody to mend something.

    Not the log of requests: there each further try out of the retry queue is an error.
    https://cloud.google.com/logging/docs/alerting/alerting-policies-api
    """
    logs = " OR ".join(
        f'"projects/{project}/logs/run.googleapis.com%2F{name}"' for name in ("stdout", "stderr")
    )
    matched = {
        "filter": f'resource.type="cloud_run_revision" AND logName=({logs})'
        f' AND resource.labels.service_name="{service}" AND severity>=ERROR'
    }
    return {
        "displayName": f"{service}: an error in the log",
        "conditions": [{"displayName": "ERROR", "conditionMatchedLog": matched}],
        "alertStrategy": {"notificationRateLimit": {"period": "3600s"}, "autoClose": "86400s"},
        "documentation": "Somebody has to mend something: jsonPayload.reason in the function's log"
        " says what. What waits in the queue arrives by itself once it is mended.",
    }


def queue_depth(queue: str) -> Json:
    """More than 100 messages wait for an hour."""
    return {
        "displayName": f"{queue}: messages wait",
        "conditions": [
            _above(
                100,
                f'metric.type="cloudtasks.googleapis.com/queue/depth"'
                f' AND resource.type="cloud_tasks_queue" AND resource.labels.queue_id="{queue}"',
                aligner="ALIGN_MAX",
                period="300s",
                duration="3600s",
            )
        ],
        "documentation": "Salesforce has not taken messages for an hour, or the queue is paused.",
    }


def refusals(service: str) -> Json:
    """More than 100 messages in an hour without a signing secret that is known."""
    return {
        "displayName": f"{service}: refused by the hundred",
        "conditions": [
            _above(
                100,
                f'metric.type="run.googleapis.com/request_count"'
                f' AND resource.type="cloud_run_revision"'
                f' AND resource.labels.service_name="{service}"'
                f' AND metric.labels.response_code="401"',
                aligner="ALIGN_DELTA",
                period="3600s",
                duration="0s",
            )
        ],
        "documentation": "Somebody calls the function without a signing secret that is stored: a"
        " regenerated webhook token (run ./deploy.sh), or a stranger (nothing is lost).",
    }


def repair_failed(service: str) -> Json:
    """A run of a repair job ended with another exit code than 0."""
    return {
        "displayName": f"{service}: a repair has failed",
        "conditions": [
            _above(
                0,
                f'metric.type="run.googleapis.com/job/completed_execution_count"'
                f' AND resource.type="cloud_run_job" AND metric.labels.result="failed"'
                f' AND resource.labels.job_name=monitoring.regex.full_match("{service}-'
                f'(repair|weekly).*")',
                aligner="ALIGN_DELTA",
                period="300s",
                duration="0s",
            )
        ],
        "documentation": "The exit code tells what it is. 3: Salesforce refuses some entries,"
        " nothing else is left; the job's log names each with its reason. 1: the run broke off or"
        " left something; the next one goes on. 2: a setting is wrong.",
    }


def repair_missing(service: str, jobs: list[str]) -> Json:
    """A nightly job has not ended for more than a day, neither well nor badly.

    `absent_over_time` looks back 4 hours, and that must hold for 23.5 more: a policy that is new
    does not tell of a night that has not come yet.
    https://cloud.google.com/monitoring/alerts/using-promql
    """
    query = " or ".join(
        "absent_over_time(run_googleapis_com:job_completed_execution_count"
        f'{{monitored_resource="cloud_run_job",job_name="{job}"}}[4h])'
        for job in jobs
    )
    condition = {"query": query, "duration": "84600s", "evaluationInterval": "300s"}
    return {
        "displayName": f"{service}: a nightly repair is missing",
        "conditions": [{"displayName": "absent", "conditionPrometheusQueryLanguage": condition}],
        "documentation": "A nightly repair has not run: its schedule is paused or gone, or its"
        " service account may not start it.",
    }


def _above(limit: int, what: str, *, aligner: str, period: str, duration: str) -> Json:
    """Return a condition: the sum of these time series is above the limit for so long."""
    return {
        "displayName": f"above {limit}",
        "conditionThreshold": {
            "filter": what,
            "aggregations": [
                {
                    "alignmentPeriod": period,
                    "perSeriesAligner": aligner,
                    "crossSeriesReducer": "REDUCE_SUM",
                }
            ],
            "comparison": "COMPARISON_GT",
            "thresholdValue": limit,
            "duration": duration,
        },
    }


def main() -> None:
    """Print the policies of the deployment that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--project", "--service", "--queue", "--channel"):
        parser.add_argument(name, required=True)
    parser.add_argument("--job", action="append", default=[], help="a nightly repair's")
    given = parser.parse_args()
    policies = {
        "errors": errors(given.project, given.service),
        "queue-depth": queue_depth(given.queue),
        "refusals": refusals(given.service),
    }
    if given.job:
        policies["repair-failed"] = repair_failed(given.service)
        policies["repair-missing"] = repair_missing(given.service, given.job)
    for name, policy in policies.items():
        policy["combiner"] = "OR"
        policy["notificationChannels"] = [given.channel]
        content = f"{policy['documentation']}\n\n{SEE}"
        policy["documentation"] = {"content": content, "mimeType": "text/markdown"}
        digest = hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()[:40]
        labels = {"clockify_salesforce": given.service, "policy": name, "digest": digest}
        print(name, digest, json.dumps(policy | {"userLabels": labels}), sep="\t")


if __name__ == "__main__":
    main()
