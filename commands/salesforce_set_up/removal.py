"""Take away what the set-up has made: the app, the user's rights, reports, fields. Events stay.

Or only what clients, projects, tasks and invoices need: with it go the records of its objects.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.salesforce_set_up import client_app
from commands.salesforce_set_up.integration_user import ROLE_LABEL, Directory
from commands.salesforce_set_up.keeping import InFile, InSecretManager
from commands.salesforce_set_up.sf import Sf
from commands.salesforce_set_up.told import Told
from commands.terminal import WrongCall

FORCE_APP = Path(__file__).resolve().parents[2] / "force-app/main"
DATA_SET, DATA_READERS = "Clockify_Data", "Clockify_Data_Reader"
# The end of a file's name -> its type, and whether its folder is a part of its name.
_TYPES = {
    "dashboard": ("Dashboard", True),
    "report": ("Report", True),
    "dashboardFolder": ("Dashboard", False),
    "reportFolder": ("Report", False),
    "permissionset": ("PermissionSet", False),
    "tab": ("CustomTab", False),
    "object": ("CustomObject", False),
    "field": ("CustomField", False),
}
# What is used by something else goes after it.
_ROUNDS = (
    ("dashboards and reports", ("dashboard", "report")),
    (
        "folders, tabs and permission sets",
        ("dashboardFolder", "reportFolder", "permissionset", "tab"),
    ),
    ("the objects and the fields", ("object", "field")),
)


@dataclass(slots=True)
class Removal:
    """One run of --delete."""

    sf: Sf
    told: Told
    directory: Directory
    keeper: InFile | InSecretManager
    username: str
    arguments: argparse.Namespace

    def run(self) -> None:
        """Take it away, in an order in which nothing is in use any more."""
        if self.arguments.kinds:
            self._run_data()
        else:
            self._run_all()

    def _run_data(self) -> None:
        """What the other kinds need, as one: no part of it is one kind's alone."""
        if not self.told.dry_run and not self.told.agrees(
            "Take away the records of projects and invoices, hours and reports from"
            f" {self.sf.instance}? Accounts, Tasks and Events stay.",
            yes=self.arguments.yes,
        ):
            raise WrongCall("nothing was taken away: answer y, or give --yes")
        admin = self.directory.admin(self.sf.username)
        self.told.step("Take the permission sets away")
        self.directory.take_sets_away(self.username, str(admin["Id"]), DATA_SET)
        self._delete_rounds([FORCE_APP / "data"])
        print("\nTheir webhooks go with  ./deploy.sh --with none.")

    def _run_all(self) -> None:
        if not self.told.dry_run and not self.told.agrees(
            f"Take away app, rights, reports, states and fields from {self.sf.instance}? Events"
            " stay, and lose their Clockify fields; records of projects and invoices go.",
            yes=self.arguments.yes,
        ):
            raise WrongCall("nothing was taken away: answer y, or give --yes")
        self.told.step("Delete the External Client App")
        kinds = [(kind, [client_app.NAME]) for _, _, kind in reversed(client_app.FILES)]
        self._delete(kinds)
        admin = self.directory.admin(self.sf.username)
        self.told.step(f"Deactivate {self.username}, and take the permission sets away")
        self.directory.take_away(self.username, str(admin["Id"]))
        self._delete_rounds([FORCE_APP])
        if not self.told.dry_run and self.keeper.forget():
            self.told.changed(f"{self.keeper}: deleted")
        print(f"\nWhat stays: Events, the user (nobody can delete one), the role {ROLE_LABEL}.")

    def _delete_rounds(self, parts: Sequence[Path]) -> None:
        for what, ends in _ROUNDS:
            self.told.step(f"Delete {what}")
            self._delete(_members(parts, ends))

    def _delete(self, types: list[tuple[str, list[str]]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            options = client_app.write_manifests(Path(folder), types)
            done = self.sf.deploy(options, project=Path(folder), dry_run=self.told.dry_run)
        for problem in done.problems:
            self.told.refused(problem, "delete it in Setup, and run this again")
        # What is not there, for it was never wanted or is gone already, is no problem.
        count = sum(len(members) for _, members in types) if self.told.dry_run else done.changed
        if count:
            self.told.changed(f"{count} components are deleted")
        elif not done.problems:
            self.told.is_there("nothing of it is there")


def _members(parts: Sequence[Path], ends: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Type and names of what lies in these folders in files that end so."""
    found: dict[str, list[str]] = defaultdict(list)
    for end in ends:
        kind, has_folder = _TYPES[end]
        files = [file for part in parts for file in part.rglob(f"*.{end}-meta.xml")]
        for file in sorted(files):
            name = file.name.removesuffix(f".{end}-meta.xml")
            if has_folder:
                name = f"{file.parent.name}/{name}"
            if end == "field":
                owner = file.parent.parent.name
                if owner.endswith("__c"):
                    continue  # it goes with its object
                name = f"{owner}.{name}"
            found[kind].append(name)
    return list(found.items())
