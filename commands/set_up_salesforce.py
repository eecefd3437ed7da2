"""Set up a Salesforce org after `sf org login web`: fields, user, rights, sign-in; no click.

Every step is said before it is done, and does nothing where it is done already, so this may be run
again at any time. What the org refuses is said with what to click, and the rest goes on.
docs/salesforce.md has each step by hand.

Exit code: 0 all done, 1 something is left to be done by hand, 2 the call is wrong.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clockify_salesforce.clockify.client import Clockify, region_and_key
from clockify_salesforce.errors import IntegrationError, SettingsError
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.credentials import sign_in_arguments
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.checks.findings import told as meaning
from commands.google_cloud import GoogleError
from commands.kinds import NONE, add_kinds
from commands.salesforce_set_up import client_app, removal
from commands.salesforce_set_up.admin_org import AdminOrg
from commands.salesforce_set_up.integration_user import Directory
from commands.salesforce_set_up.keeping import InFile, InSecretManager
from commands.salesforce_set_up.sf import Sf, SfError
from commands.salesforce_set_up.told import Told
from commands.terminal import WrongCall
from commands.webhooks import find_workspace

ROOT = Path(__file__).resolve().parents[1]
DEFAULT, HOURS = ROOT / "force-app/main/default", ROOT / "force-app/main/hours"
DATA = ROOT / "force-app/main/data"
# What people have to see before the org takes the reports beside it.
FIRST_OF_DATA = tuple(DATA / each for each in ("objects", "layouts", "tabs", "permissionsets"))
VERSION = "65.0"
# A new app is known everywhere after some minutes.
SIGN_IN_S, FIRST_WAIT_S, LONGEST_WAIT_S = 600.0, 2.0, 30.0
PATIENCE_S = 120.0  # where Clockify asks to slow down
OPT_IN = (
    "Setup > External Client App Settings > opt in (or ask Salesforce's support), and once more"
)


@dataclass
class SetUp:
    """One run."""

    arguments: argparse.Namespace
    sf: Sf
    told: Told
    keeper: InFile | InSecretManager
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Directory(AdminOrg(self.sf, version=VERSION), self.told)

    @property
    def domain(self) -> str:
        """My Domain as credentials have it, like acme.my."""
        return self.sf.instance.removeprefix("https://").removesuffix(".salesforce.com")

    @functools.cached_property
    def with_data(self) -> bool:
        """Whether other kinds than time entries are wanted, or there already."""
        kinds = self.arguments.kinds
        return bool(kinds) or (kinds is None and self.directory.has(removal.DATA_SET))

    @property
    def username(self) -> str:
        """The integration user's."""
        own = f"clockify@{self.domain.split('.')[0]}.integration"
        return self.arguments.username or own

    def run(self) -> None:
        """Do all steps in order."""
        told, given = self.told, self.arguments
        admin = self.directory.admin(self.sf.username)
        told.step("Deploy fields, the object Clockify State and three permission sets")
        self._deploy(DEFAULT)
        told.step("Let yourself see them, which not even an admin may at first")
        before = told.changes
        self.directory.permission_set("Clockify_Admin", str(admin["Id"]), "you")
        told.step("Deploy four reports and a dashboard")
        self._deploy_reports(HOURS, unseen=told.changes > before)
        if self.with_data:
            self._deploy_data(str(admin["Id"]))
        told.step("A role above everybody whose time is logged")
        role = self.directory.role(yes=given.yes)
        told.step(f"The integration user {self.username}, and what it may")
        email = given.email or _beside(str(admin["Email"]))
        user = self.directory.integration_user(self.username, email, role, admin)
        may = bool(user) and self.directory.licence(user)
        may = may and self.directory.permission_set(
            client_app.PERMISSION_SET, user, "the integration user"
        )
        if may and self.with_data:
            self.directory.permission_set(removal.DATA_SET, user, "the integration user")
        told.step(f"The External Client App, its key and certificate, and {self.keeper}")
        if may:
            self._make_app(str(admin["Email"]))
        else:
            told.refused("there is no user yet that could sign in", "mend the step before")
        if given.clockify_api_key_file:
            told.step("Match Clockify's people, clients and projects with the records here")
            self._match(given.clockify_api_key_file)

    def _deploy_data(self, admin: str) -> None:
        """What clients, projects, tasks and invoices need beside it, whichever of them it is."""
        told = self.told
        told.step("Deploy what clients, projects, tasks and invoices need")
        self._deploy(*FIRST_OF_DATA)
        before = told.changes
        self.directory.permission_set(removal.DATA_READERS, admin, "you")
        told.step("Deploy two reports and a dashboard on projects")
        self._deploy_reports(DATA, unseen=told.changes > before)

    def _deploy_reports(self, folder: Path, *, unseen: bool) -> None:
        if self.told.dry_run and unseen:
            # The org would refuse reports on fields that their author does not see yet.
            self.told.changed(f"what lies in {folder.relative_to(ROOT)}")
        else:
            self._deploy(folder)

    def _deploy(self, *folders: Path) -> None:
        options = [
            word for each in folders for word in ("--source-dir", str(each.relative_to(ROOT)))
        ]
        command = f"sf project deploy start {' '.join(options)} --target-org"
        print(f"   {command} {self.arguments.target_org}", flush=True)
        done = self.sf.deploy(options, project=ROOT, dry_run=self.told.dry_run)
        for problem in done.problems:
            self.told.refused(problem, f"mend it, then run this again; or by hand: {command} ORG")
        if done.problems:
            return
        if done.changed:
            self.told.changed(f"{done.changed} of {done.components} components")
        else:
            self.told.is_there(f"{done.components} components: as they are here")

    def _match(self, key_file: Path) -> None:
        """Write what is the same, as the admin; what is only alike is shown."""
        try:
            from commands import match_records  # which needs a package of its own
        except ImportError:
            self.told.refused(
                "a package is missing",
                "pip install -r commands/requirements-match.txt, and run this again",
            )
            return
        try:
            region, key = region_and_key(key_file.read_text(encoding="utf-8-sig"))
            clockify = Clockify(api_key=key, region=region, patience=PATIENCE_S)
            workspace = find_workspace(clockify, self.arguments.workspace or None)
            org = self.directory.org
            match_records.match(org, clockify, workspace, apply=not self.told.dry_run, ask=False)
        except OSError as error:
            raise WrongCall(f"{key_file} cannot be read ({type(error).__name__})") from None
        except SalesforceRefused as refusal:
            self.told.refused(*meaning(refusal))
        except IntegrationError as error:
            again = f"python -m commands.match_records --target-org {self.arguments.target_org}"
            self.told.refused(str(error), f"then: {again} --apply")

    # The sign-in ---------------------------------------------------------------------------------

    def _make_app(self, contact: str) -> None:
        stored = self.keeper.read()
        if stored and not self.arguments.new_key and self._works(stored):
            self.told.is_there("the stored credentials sign in")
            return
        if self.told.dry_run:
            self.told.changed(f"app {client_app.NAME} with a new key, kept in {self.keeper}")
            return
        key = client_app.new_key()
        if not self._deploy_app(key, contact):
            return
        credentials = key.credentials(domain=self.domain, username=self.username)
        self.keeper.write(credentials)
        self.told.changed(f"app {client_app.NAME} with a new key, kept in {self.keeper}")
        self._wait_for(credentials)

    def _works(self, credentials: str) -> bool:
        """Whether they are of this org and user, and sign in now."""
        try:
            arguments = sign_in_arguments(credentials)
        except SettingsError:
            return False
        here = arguments.get("instance_url", arguments["domain"])
        if here != self.domain or arguments.get("username", self.username) != self.username:
            raise WrongCall(
                f"{self.keeper} holds credentials of another org or user: name another place"
                " (--credentials-file), or take them away"
            )
        try:
            Org(lambda: credentials, version=VERSION).user_id(time.monotonic() + 60)
        except IntegrationError:
            return False
        return True

    def _deploy_app(self, key: client_app.Key, contact: str) -> bool:
        """Deploy the five files; one that the org has already gives way to the new one."""
        problems = self._app_problems(key, contact)
        if problems and not any("External Client App" in each for each in problems):
            with tempfile.TemporaryDirectory() as folder:
                options = client_app.write_removal(Path(folder))
                self.sf.deploy(options, project=Path(folder), dry_run=False)
            problems = self._app_problems(key, contact)
        for problem in problems:
            todo = (
                OPT_IN
                if "External Client App" in problem
                else "by hand: docs/salesforce.md, step 5"
            )
            self.told.refused(problem, todo)
        return not problems

    def _app_problems(self, key: client_app.Key, contact: str) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory() as folder:
            options = client_app.write_project(Path(folder), key, contact=contact)
            return self.sf.deploy(options, project=Path(folder), dry_run=False).problems

    def _wait_for(self, credentials: str) -> None:
        """Sign in as the function will; for some minutes the org may not know the app."""
        until, wait = time.monotonic() + SIGN_IN_S, FIRST_WAIT_S
        org = Org(lambda: credentials, version=VERSION)
        while True:
            try:
                org.user_id(time.monotonic() + 60)
            except IntegrationError as error:
                problem = error
            else:
                self.told.is_there("signs in as the function will, with JWT bearer")
                return
            if time.monotonic() + wait > until:
                break
            print(f"   not yet, the app is new: another try in {wait:.0f} s", flush=True)
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
        if isinstance(problem, SalesforceRefused):
            self.told.refused(*meaning(problem))
        else:
            self.told.refused(str(problem), "run this again in some minutes")


def _beside(address: str) -> str:
    """A mailbox of the same person that is no other user's address: people are found by theirs."""
    name, _, host = address.rpartition("@")
    return f"{name}+clockify@{host}"


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.set_up_salesforce",
        description="Set up a Salesforce org, after  sf org login web --alias ORG.",
        epilog="Exit code: 0 all done, 1 something is left to do by hand, 2 the call is wrong.",
    )
    parser.add_argument("--target-org", required=True, metavar="ORG", help="as sf knows it")
    parser.add_argument("--username", default="", help="the integration user's, new or there")
    parser.add_argument("--email", default="", help="its e-mail address, which is nobody else's")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--credentials-file",
        type=Path,
        metavar="FILE",
        default=Path.home() / "salesforce.json",
        help="where the sign-in is kept, readable by you only (~/salesforce.json)",
    )
    place.add_argument("--project", default="", help="keep it in Google's Secret Manager instead")
    parser.add_argument("--region", default="europe-west1", help="Google's, with --project")
    parser.add_argument("--service", default="clockify-salesforce", help="the function's name")
    parser.add_argument(
        "--clockify-api-key-file",
        type=Path,
        metavar="FILE",
        help="match people, clients and projects too, and write what is the same",
    )
    add_kinds(parser, f"what is there stays ({NONE}: is left alone)")
    parser.add_argument("--workspace", default="", help="Clockify's, if the key sees several")
    parser.add_argument("--new-key", action="store_true", help="another key for the sign-in")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--delete",
        action="store_true",
        help="take all of it away again; with --with, only what the other kinds need",
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    told = Told(arguments.dry_run)
    sf = Sf(arguments.target_org)
    print(f"Org {sf.instance}, as {sf.username}")
    keeper: InFile | InSecretManager = InFile(arguments.credentials_file)
    if arguments.project:
        keeper = InSecretManager(arguments.project, arguments.region, arguments.service)
    set_up = SetUp(arguments, sf, told, keeper)
    work: Callable[[], None] = set_up.run
    if arguments.delete:
        work = removal.Removal(sf, told, set_up.directory, keeper, set_up.username, arguments).run
    work()
    print()
    if told.left:
        print("Left to be done by hand:\n" + "\n".join(f"  - {each}" for each in told.left))
        return 1
    if told.dry_run:
        print(f"Nothing was changed. What would be: {told.changes} changes.")
    elif not told.changes:
        print("Nothing differed, nothing was changed.")
    elif not arguments.delete:
        option = "" if arguments.project else f" --salesforce-credentials-file {keeper}"
        if arguments.kinds:
            option += f" --with {','.join(arguments.kinds)}"
        print(f"Next: ./deploy.sh{option}")
    return 0


def main() -> int:
    """Run the command line and return the exit code."""
    try:
        return _run(read_arguments())
    except WrongCall as error:
        print(error, file=sys.stderr)
        return 2
    except SfError as error:
        print(error, file=sys.stderr)
        return 2 if "sign" in str(error) or "install" in str(error) else 1
    except (GoogleError, IntegrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: what is done stays, the same command goes on.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
