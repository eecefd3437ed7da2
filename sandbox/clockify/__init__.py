"""Stand in for Clockify: what a workspace holds, what its API answers, what its webhooks send.

Call an instance of ClockifyApi to answer an HTTP request; change what it holds with the methods
that a person's clicks stand for, each of which returns the webhook messages that Clockify would
send. It knows no transport, keeps everything in memory and bears 100,000 entries.
https://docs.clockify.me/

values: what a workspace holds; bodies: how Clockify writes it; workspace: what people do; reports;
api: HTTP.
"""

from sandbox.clockify.api import API_HOST, KEY, ClockifyApi, Faults
from sandbox.clockify.values import (
    WORKSPACE,
    Answer,
    Client,
    Entry,
    Invoice,
    Json,
    Line,
    Message,
    Project,
    Task,
    User,
)

__all__ = [
    "API_HOST",
    "KEY",
    "WORKSPACE",
    "Answer",
    "Client",
    "ClockifyApi",
    "Entry",
    "Faults",
    "Invoice",
    "Json",
    "Line",
    "Message",
    "Project",
    "Task",
    "User",
]
