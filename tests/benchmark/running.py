"""Run `commands.backfill` against a world, and see what it takes."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.clockify import WORKSPACE
from sandbox.world import ROOT, World


@dataclass(frozen=True)
class Run:
    """`calls`, `clockify`: requests to Salesforce and to Clockify; `told`: on stderr."""

    code: int
    seconds: float
    peak_mb: float
    calls: int
    clockify: int
    out: str
    told: str


def backfill(world: World, folder: Path, *options: str) -> Run:
    """Run it with --apply and these options; `folder`: where it leaves its files."""
    org, clockify = world.salesforce, world.clockify
    org.requests.clear()
    clockify.requests.clear()
    key = world.environment()["SALESFORCE_CREDENTIALS"].rsplit("/", 1)[0] + "/clockify-api-key"
    began = time.perf_counter()
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE, "--apply"),
                *options,
            ],
            cwd=folder,
            env=os.environ
            | world.environment()
            | {"CLOCKIFY_API_KEY": key, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=err,
        )
        peak_kb = 0
        while process.poll() is None:
            # The kernel's own high-water mark; that of wait4() begins with this process's size.
            with contextlib.suppress(OSError, ValueError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak_kb = int(next(line for line in status if line[:6] == "VmHWM:").split()[1])
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        return Run(
            process.returncode,
            seconds,
            peak_kb / 1024,
            len(org.requests),
            len(clockify.requests),
            out.read(),
            err.read(),
        )
