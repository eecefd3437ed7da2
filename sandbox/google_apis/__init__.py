"""Stand in for the Google APIs that deploy.sh reaches through gcloud and curl, on loopback.

One HTTP proxy plays the internet: gcloud's endpoints are overridden to http://NAME.test/, which
a proxy sees as absolute URIs, and https hosts come as CONNECT, answered with a throw-away CA.
It keeps what was made, in memory, and records every request. It knows only what deploy.sh needs;
the shapes are those that gcloud 528 sends and accepts, and the answers are the unkind ones: what
is new is not known everywhere at once, and an organisation forbids what organisations forbid.
"""

from sandbox.google_apis.answers import BUILDER, NUMBER, PROJECT, REGION, Request
from sandbox.google_apis.project import GoogleApis

__all__ = ["BUILDER", "NUMBER", "PROJECT", "REGION", "GoogleApis", "Request"]
