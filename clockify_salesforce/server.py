"""What functions-framework and gunicorn do otherwise than we need, set right from the outside.

It is loaded with the function: before gunicorn starts, and within the application's context.
"""

import resource

import flask
import gunicorn.config  # type: ignore[import-untyped]

from clockify_salesforce.webhook import answer

# A connection takes up to three file descriptors: its own, one that waits for its first byte, and
# one to Salesforce; what everything else takes stays far below the rest.
_A_CONNECTION, _THE_REST = 3, 64


def set_up(app: flask.Flask) -> None:
    """Prepare the application and gunicorn for strangers."""
    _answer_other_paths(app)
    _let_file_descriptors_last()


def _answer_other_paths(app: flask.Flask) -> None:
    """Answer 404 at once where functions-framework would read the whole request first."""

    @app.before_request
    def not_found() -> flask.Response | None:
        rule = flask.request.url_rule
        if rule is not None and rule.endpoint == "run":
            return None
        return answer(flask.request, 404, {"error": "not found"})


def _let_file_descriptors_last() -> None:
    """Have gunicorn accept as many connections as there are file descriptors for.

    Its worker ends, and whatever it was doing, where none is left to accept one more with.
    functions-framework lets no setting of gunicorn's through but by its default.
    https://docs.gunicorn.org/en/stable/settings.html#worker-connections
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    setting = gunicorn.config.WorkerConnections
    setting.default = max(1, min(setting.default, (most - _THE_REST) // _A_CONNECTION))
