"""The three that are compared, as processes, and what the kernel knows of them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.world import Function, World

HANDLERS = Path(__file__).parent / "handlers"
NAMES = ("function", "floor", "recipe")
THREADS = 80  # as deploy.sh sets it
TICK = os.sysconf("SC_CLK_TCK")


class Contender:
    """One of NAMES on a free port, behind gunicorn with as many threads as deployed."""

    def __init__(self, name: str, world: World, port: int, *, with_secrets: bool = True) -> None:
        """`port`: the stand-in's proxy. Without secrets, they are in the environment."""
        proxy = f"http://127.0.0.1:{port}"
        settings: dict[str, Any] = {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "grpc_proxy": f"http://127.0.0.1:{world.internet.proxy_port}",
            "RECORD": json.dumps(RECORD),
            "STATE": json.dumps(STATE),
        }
        if name != "function":
            settings["FUNCTION_SOURCE"] = str(HANDLERS / f"{name}.py")
        if not with_secrets:
            settings["CREDENTIALS"] = world.secrets["salesforce"][0]
            settings["SIGNING_SECRET"] = world.signing_secret
            if name == "function":
                settings["FUNCTION_SOURCE"] = str(HANDLERS / "no_secrets.py")
        self.name = name
        self.function = Function(world, queue=False, threads=THREADS, **settings)
        self.port = int(self.function.url.rsplit(":", 1)[1])
        self.signature = world.signing_secret

    def cpu_s(self) -> float:
        """User and system time of its processes so far, in seconds."""
        return sum(cpu_s(pid) for pid in self._pids())

    def memory_mb(self) -> float:
        """What its two processes hold together, in MB; a page that they share counts once."""
        return sum(_megabytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in self._pids())

    def worker_mb(self) -> float:
        """What the worker holds, in MB, shared or not."""
        *_, worker = self._pids()
        return _megabytes(f"/proc/{worker}/status", "VmRSS:")

    def _pids(self) -> Iterator[int]:
        """functions-framework's process and its worker."""
        pid = self.function.pid
        yield pid
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


# What the function writes for the sample message, so that the floor posts as much.
RECORD = {
    "Subject": "Clockify",
    "StartDateTime": "",
    "EndDateTime": "",
    "Description": "Review of the checkout flow\nProject: Website relaunch (Northwind GmbH)\n"
    "Task: Review\nTags: on site\nLogged by: Ada Lindqvist",
    "ShowAs": "Busy",
    "Clockify_Hours__c": 1.5917,
    "Clockify_Project__c": "Website relaunch",
    "Clockify_Client__c": "Northwind GmbH",
    "Clockify_Task__c": "Review",
    "Clockify_Tags__c": "on site",
    "Clockify_Billable__c": True,
    "Clockify_Workspace_Id__c": "64a687e29ae1f428e7ebe303",
    "Clockify_Type__c": "REGULAR",
    "IsReminderSet": False,
    "OwnerId": "005Kj00000A1b2cIAB",
    "WhatId": "006Kj00000A1b2cIAB",
    "WhoId": None,
    "Clockify_Links__c": "005Kj00000A1b2cIAB 006Kj00000A1b2cIAB ------------------",
}


# And the state beside it, in the same call.
STATE = {
    "Version__c": 1,
    "Based_On__c": 0,
    "State__c": '{"v":1,"newest":"0123456789abcdef01234567","ms":1793610330000,"by":"01234567",'
    '"seen":{},"gone":false,"runs":false}',
}


def cpu_s(pid: int) -> float:
    """User and system time of one process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _megabytes(file: str, label: str) -> float:
    lines = Path(file).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(label)) / 1024
