"""Tell deploy.sh what a Cloud Run service has now: its JSON on stdin, KEY=VALUE lines on stdout.

`label.NAME`, `env.NAME`, the sizes, `open` (no sign-in is asked for) and `ready`.
https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
"""

import json
import sys
from collections.abc import Iterator
from typing import Any


def facts(service: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield each key with its value."""
    metadata, template = service["metadata"], service["spec"]["template"]
    (container, *_) = template["spec"]["containers"]
    limits = container.get("resources", {}).get("limits", {})
    marks = metadata.get("annotations", {})
    ready = {"type": "Ready", "status": "True"}.items()
    yield "ready", any(ready <= each.items() for each in service["status"].get("conditions", []))
    yield "open", str(marks.get("run.googleapis.com/invoker-iam-disabled", "")).lower() == "true"
    yield "concurrency", template["spec"].get("containerConcurrency", "")
    yield (
        "max-instances",
        template["metadata"]["annotations"].get("autoscaling.knative.dev/maxScale", ""),
    )
    yield "cpu", limits.get("cpu", "")
    yield "memory", limits.get("memory", "")
    yield "timeout", template["spec"].get("timeoutSeconds", "")
    yield "builder", marks.get("run.googleapis.com/build-service-account", "").split("/")[-1]
    for name, value in metadata.get("labels", {}).items():
        yield f"label.{name}", value
    for each in container.get("env", []):
        yield f"env.{each['name']}", each.get("value", "")


def main() -> None:
    """Print the lines, each value on one line."""
    for key, value in facts(json.load(sys.stdin)):
        print(f"{key}={' '.join(str(value).splitlines())}")


if __name__ == "__main__":
    main()
