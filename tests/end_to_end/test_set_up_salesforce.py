"""set_up_salesforce with the real `sf`, against an org on loopback that refuses what orgs refuse.

A command of sf takes more than a second, so the tests follow one admin through one org's life. sf
runs behind a wrapper that writes down its arguments and environment, where no secret may turn up.
"""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import payload
from lxml import etree  # type: ignore[import-untyped]
from salesforce_cli import QUIET, install, schema_of

from commands.google_cloud import GoogleCloud
from commands.salesforce_set_up import client_app
from commands.salesforce_set_up.keeping import InSecretManager, NotKept
from sandbox.acme import ADA
from sandbox.clockify import KEY, User
from sandbox.google_apis import PROJECT, REGION, GoogleApis
from sandbox.installation import Installation
from sandbox.salesforce import ADMIN_ID, HOST
from sandbox.salesforce_setup import TOKEN, SalesforceSetup
from sandbox.world import ROOT, Function, World

USERNAME = "clockify@sandbox.integration"
APP = ("ExtlClntAppGlobalOauthSettings", "Clockify")
SIGNED_IN = "signs in as the function will"


@dataclass
class Desk:
    """An admin's machine, signed in to an org with sf."""

    world: World
    folder: Path
    org: SalesforceSetup
    environment: dict[str, str]

    @property
    def file(self) -> Path:
        """Where the credentials are kept."""
        return self.folder / "salesforce.json"

    @property
    def record(self) -> str:
        """What sf was called with, and the environment that it had."""
        return (self.folder / "record").read_text()

    def set_up(self, *options: str | Path) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "commands.set_up_salesforce"),
                *("--target-org", "acme", "--credentials-file", str(self.file)),
                *map(str, options),
            ],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def new_org(self, **refusals: object) -> SalesforceSetup:
        """Another org, in the place of the one before."""
        self.org = SalesforceSetup(self.world.salesforce, **refusals)  # type: ignore[arg-type]
        self.world.internet.sites[HOST] = self.org.answer
        self.file.unlink(missing_ok=True)
        return self.org


@pytest.fixture(scope="module")
def desk(the_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The admin has done `sf org login`; of the org nothing is set up."""
    folder = tmp_path_factory.mktemp("admin")
    program = folder / "bin" / "sf"
    program.parent.mkdir()
    command = " ".join(install())
    program.write_text(
        f'#!/bin/sh\n{{ echo "$0" "$@"; env; }} >>"{folder}/record"\nexec {command} "$@"\n'
    )
    program.chmod(0o755)
    the_world.reset()
    environment = (
        os.environ
        | QUIET
        | the_world.environment()
        | {
            "HOME": str(folder),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "NODE_EXTRA_CA_CERTS": str(the_world.internet.authority_file),
            # sf's own variables for machines without a keychain and without a name server.
            "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",
            "SFDX_DISABLE_DNS_CHECK": "true",
        }
    )
    desk = Desk(the_world, folder, SalesforceSetup(the_world.salesforce), environment)
    before = the_world.internet.sites[HOST]
    desk.new_org()
    login = ["sf", "org", "login", "access-token", "--no-prompt", "--alias", "acme"]
    subprocess.run(
        [*login, "--instance-url", f"https://{HOST}"],
        env=environment | {"SF_ACCESS_TOKEN": TOKEN},
        capture_output=True,
        timeout=120,
        check=True,
    )
    (folder / "record").write_text("")
    yield desk
    the_world.internet.sites[HOST] = before


def test_empty_org_is_set_up_and_the_first_event_is_in_adas_calendar(desk: Desk) -> None:
    """A dry run changes nothing, the first run all, the second nothing; then --delete."""
    desk.world.reset()
    org, records = desk.new_org(late=1), desk.world.salesforce
    desk.world.clockify.users[ADA] = User(ADA, "Ada Lindqvist", "ada@acme.example")
    ada = records.add("User", Name="Ada Lindqvist", Email="ada@acme.example")
    key_file = desk.folder / "key"
    key_file.write_text(KEY)

    code, out = desk.set_up("--dry-run", "--yes")
    assert (code, org.writes, desk.file.exists()) == (0, 0, False), out
    assert "Nothing was changed. What would be: 9 changes." in out

    code, out = desk.set_up("--yes", "--clockify-api-key-file", key_file)
    assert (code, "✗" in out) == (0, False), out
    assert "not yet, the app is new" in out
    assert SIGNED_IN in out
    assert stat.S_IMODE(desk.file.stat().st_mode) == 0o600
    steps_are_in_the_order_that_salesforce_needs(out)
    user_has_what_it_needs(org)
    files_are_what_the_schema_wants(org)
    nothing_secret_is_told(desk, out)
    deploy_leads_to_adas_first_event(desk, ada, key_file)

    written = org.writes
    code, out = desk.set_up("--yes")
    assert (code, org.writes) == (0, written), out
    assert "Nothing differed, nothing was changed." in out

    code, out = desk.set_up("--delete", "--yes")
    assert (code, org.components, desk.file.exists()) == (0, {}, False), out
    assert not (org.find("User", Username=USERNAME) or {})["IsActive"]
    assert org.rows["PermissionSetAssignment"] == {}


def steps_are_in_the_order_that_salesforce_needs(out: str) -> None:
    steps = re.findall(r"^\d+\. (.*)$", out, re.M)
    words = ("Deploy fields", "see them", "reports", "role", "user", "Client App", "Match")
    assert all(word in step for word, step in zip(words, steps, strict=True)), steps


def user_has_what_it_needs(org: SalesforceSetup) -> None:
    user, role = (
        org.find("User", Username=USERNAME),
        org.find("UserRole", Name="Clockify Integration"),
    )
    assert user is not None
    assert role is not None
    assert user["UserRoleId"] == role["Id"]
    assert user["TimeZoneSidKey"] == "Europe/Berlin"
    # People are found by their e-mail address, so it has one of its own.
    assert user["Email"] == "ada+clockify@acme.example"
    others = [each for each in org.rows["UserRole"].values() if each is not role]
    assert {each["ParentRoleId"] for each in others} == {role["Id"]}
    assigned = {
        (org.rows["PermissionSet"][each["PermissionSetId"]]["Name"], each["AssigneeId"])
        for each in org.rows["PermissionSetAssignment"].values()
    }
    assert assigned == {("Clockify_Admin", ADMIN_ID), ("Clockify_Integration", user["Id"])}


def files_are_what_the_schema_wants(org: SalesforceSetup) -> None:
    """What sf has converted and sent of the five generated files."""
    kinds = [kind for _, _, kind in client_app.FILES]
    schema = schema_of(kinds)
    for kind in kinds:
        schema.assertValid(etree.fromstring(org.components[kind, "Clockify"]))
    assert b"PRIVATE KEY" not in b"".join(org.components.values())


def nothing_secret_is_told(desk: Desk, out: str) -> None:
    """The admin's session, the private key and Clockify's are in no output, argument, variable."""
    private = json.loads(desk.file.read_text())["privatekey"].splitlines()[1]
    for secret in (TOKEN, private, KEY):
        assert secret not in out
        assert secret not in desk.record
    others = [each for each in desk.folder.rglob("*") if each.is_file() and each != desk.file]
    assert not [each for each in others if private.encode() in each.read_bytes()]


def deploy_leads_to_adas_first_event(desk: Desk, ada: str, key_file: Path) -> None:
    """The other command, as it is; it ends with the check, where all is well."""
    google, function = GoogleApis(), Function(desk.world)
    try:
        installation = Installation(desk.world, google, function, deployed=False)
        done = subprocess.run(
            [
                *("bash", str(ROOT / "deploy.sh"), "--salesforce-credentials-file", str(desk.file)),
                *("--clockify-api-key-file", str(key_file)),
            ],
            env=desk.environment
            | installation.environment(desk.folder)
            | {"PYTHON": sys.executable, "WAIT_SECONDS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode, "✗" in done.stdout) == (0, False), done.stdout + done.stderr
        assert "All is well: " in done.stdout
        hooks = {each["webhookEvent"]: each for each in desk.world.clockify.hooks}
        token = hooks["TIMER_STOPPED"]["authToken"]
        answer = function.post("TIMER_STOPPED", payload(userId=ADA), signature=token)
    finally:
        function.stop()
        google.close()
    assert answer.json()["result"] == "created"
    (event,) = desk.world.salesforce.events()
    assert event["OwnerId"] == ada


def sets_of(org: SalesforceSetup, user: str) -> set[str]:
    """The permission sets that a user has."""
    return {
        org.rows["PermissionSet"][each["PermissionSetId"]]["Name"]
        for each in org.rows["PermissionSetAssignment"].values()
        if each["AssigneeId"] == user
    }


def test_other_kinds_are_set_up_stay_and_are_taken_away_by_themselves(desk: Desk) -> None:
    """One run for all of it; an update without the option; and back to time entries only."""
    org = desk.new_org()
    code, out = desk.set_up("--yes", "--with", "projects,clients")
    assert (code, "✗" in out) == (0, False), out
    assert "--with projects,clients" in out.splitlines()[-1]
    user = org.find("User", Username=USERNAME)
    assert user is not None
    assert sets_of(org, user["Id"]) == {"Clockify_Integration", "Clockify_Data"}
    assert sets_of(org, ADMIN_ID) == {"Clockify_Admin", "Clockify_Data_Reader"}
    assert ("CustomObject", "Clockify_Project__c") in org.components
    assert ("Report", "Clockify_Data/Clockify_Estimate_and_Tracked") in org.components

    written = org.writes
    code, out = desk.set_up("--yes")
    assert (code, org.writes) == (0, written), out
    assert "Deploy what clients, projects, tasks and invoices need" in out

    code, out = desk.set_up("--delete", "--yes", "--with", "projects")
    assert (code, "✗" in out) == (0, False), out
    assert sets_of(org, user["Id"]) == {"Clockify_Integration"}
    assert user["IsActive"]
    assert desk.file.exists()
    left = {name for kind, name in org.components if kind not in ("Report", "Dashboard")}
    assert "Clockify_State__c" in left
    assert not [name for name in left if re.search("_Data|Project__c-|Invoice|Task_Id", name)]
    again = org.writes
    code, out = desk.set_up("--delete", "--yes", "--with", "projects")
    assert (code, org.writes, "Nothing differed" in out) == (0, again, True), out


def test_what_the_org_refuses_is_said_and_the_rest_goes_on(desk: Desk) -> None:
    """Three refusals in one run; mended, the same command does what is left. Then a lost key."""
    org = desk.new_org(takes_roles=False, takes_external_apps=False)
    org.refuses["Clockify/Clockify_Hours"] = "You reached the limit for dashboards"
    code, out = desk.set_up("--yes")
    assert code == 1
    left = out.rpartition("Left to be done by hand:")[2]
    assert "force-app/main/hours" in left
    assert "full Salesforce licence" in left
    assert "External Client App Settings > opt in" in left
    user = org.find("User", Username=USERNAME)
    assert user is not None
    assert user["UserRoleId"] is None
    assert org.find("PermissionSetLicenseAssign", AssigneeId=user["Id"])
    assert not desk.file.exists()

    org.takes_roles = org.takes_external_apps = True
    org.refuses.clear()
    code, out = desk.set_up("--yes")
    assert (code, SIGNED_IN in out) == (0, True), out
    assert user["UserRoleId"]

    # The credentials are lost, and this org does not let an app's key be changed: a new app.
    desk.file.unlink()
    org.takes_another_key = False
    before = org.components[APP]
    code, out = desk.set_up("--yes")
    assert (code, SIGNED_IN in out) == (0, True), out
    assert org.components[APP] != before


def test_without_a_licence_all_is_done_that_needs_no_user(desk: Desk) -> None:
    """And nobody's roles are moved unless somebody says so."""
    org = desk.new_org(integration_licences=0)
    code, out = desk.set_up()
    assert code == 1
    assert "no licence Salesforce Integration is free" in out
    assert "put CEO, Sales below it" in out
    assert ("Report", "Clockify/Hours_by_Week") in org.components
    assert APP not in org.components
    assert {each["ParentRoleId"] for each in org.rows["UserRole"].values()} == {None}
    assert not desk.file.exists()


def test_credentials_of_another_org_are_not_touched(desk: Desk) -> None:
    desk.new_org()
    theirs = client_app.new_key().credentials(domain="other.my", username=USERNAME)
    desk.file.write_text(theirs)
    code, out = desk.set_up("--yes")
    assert (code, "another org or user" in out) == (2, True)
    assert desk.file.read_text() == theirs


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target-org", "nobody"], "sf org login web"),
        (["--project", "p", "--credentials-file", "f"], "not allowed with"),
        (["--with", "time"], "--with takes clients, projects, tasks, invoices"),
    ],
)
def test_wrong_call_ends_with_2(desk: Desk, options: list[str], says: str) -> None:
    code, out = desk.set_up(*options)
    assert (code, says in out) == (2, True), out


def test_credentials_go_into_deploys_own_secret_through_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = GoogleApis(late_apis=2)  # the API has only just been enabled
    own = tmp_path / "google"
    own.mkdir()
    for name, value in google.environment(own).items():
        monkeypatch.setenv(name, value)
    keeper = InSecretManager(PROJECT, REGION, "clockify-salesforce")
    credentials = client_app.new_key().credentials(domain="acme.my", username=USERNAME)
    try:
        keeper.write(credentials)
        assert google.values["clockify-salesforce-salesforce"] == [credentials.encode()]
        secret = google.secrets["clockify-salesforce-salesforce"]
        assert secret["labels"] == {"made-by": "clockify-salesforce"}
        google.fail("addVersion")
        with pytest.raises(NotKept, match="gcloud secrets versions"):
            keeper.write(credentials)
        assert GoogleCloud(project=PROJECT, region=REGION).project == PROJECT
    finally:
        google.close()
