"""Events and Tasks: what Salesforce asks of them beside what it asks of every record."""

from collections.abc import Iterable
from datetime import timedelta

from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.metadata import ACTIVITIES
from sandbox.salesforce.records import instant, with_checksum
from sandbox.salesforce.rights import no_access
from sandbox.salesforce.values import Values, bad_choice, inactive, missing

# What a new org has: https://help.salesforce.com/s/articleView?id=sales.tasks_fields.htm
_STATUSES = (
    {"MasterLabel": "Not Started", "IsDefault": True},
    {"MasterLabel": "In Progress"},
    {"MasterLabel": "Completed", "IsClosed": True},
    {"MasterLabel": "Waiting on someone else"},
    {"MasterLabel": "Deferred"},
)


class Activities(Values):
    """The rules of Event and Task."""

    def reset(self) -> None:
        """Forget all records, and everything that was switched on."""
        super().reset()
        # Users whose activities the integration may make and not edit: its role is not above
        # theirs.
        self.out_of_reach: set[str] = set()
        self.multiday = False
        # Whether every update of an activity is refused whose owner has been deactivated: not said.
        self.inactive_owner_refuses = False
        # Standard picklists are unrestricted, until an admin or Salesforce restricts them.
        self.task_status_is_restricted = True
        self.set_task_statuses(_STATUSES)

    def set_task_statuses(self, rows: Iterable[Json]) -> None:
        """Replace the values of Task.Status.

        Each row has MasterLabel, and ApiName, IsClosed, IsDefault and SortOrder where they are not
        the same name, false, false and the row's place.
        """
        table = self.records["TaskStatus"]
        table.clear()
        for number, row in enumerate(rows, 1):
            record_id = with_checksum(f"{self.prefixes['TaskStatus']}Kj{number:010d}")
            now = self._now()
            table[record_id] = {
                "Id": record_id,
                "IsDeleted": False,
                "SystemModstamp": now,
                "LastModifiedDate": now,
                "CreatedDate": now,
                "ApiName": row["MasterLabel"],
                "IsClosed": False,
                "IsDefault": False,
                "SortOrder": number,
                **row,
            }

    def _new_activity(self, name: str) -> Json:
        """The values that a new one has where nobody sends others."""
        if name == "Event":
            # "Defaulted on create", as describe has it: who sends nothing gets a reminder.
            return {"IsReminderSet": True}
        rows = sorted(self.records["TaskStatus"].values(), key=lambda row: int(row["SortOrder"]))
        defaults = [row for row in rows if row["IsDefault"]] or rows
        status = defaults[0]["ApiName"] if defaults else None
        return {"Status": status, "Priority": "Normal"}

    def _check_activity(
        self, name: str, record: Json, values: Json, old: Json | None, *, by_integration: bool
    ) -> None:
        if name not in ACTIVITIES:
            return
        if name == "Event":
            self._check_time(record)
        else:
            self._settle_status(record)
        owner = self.records["User"].get(record["OwnerId"], {})
        left_alone = old is not None and "OwnerId" not in values
        # Who lacks the right "Update Records with Inactive Owners", as this user does, is refused:
        # https://www.simplysfdc.com/2025/05/salesforce-inactive-user.html
        refuses = self.inactive_owner_refuses and by_integration
        if refuses and left_alone and not owner.get("IsActive"):
            raise inactive(record["OwnerId"], name)
        # An activity is edited by its owner and by those above, whoever has made it.
        if by_integration and old is not None and old["OwnerId"] in self.out_of_reach:
            raise no_access()

    def _check_time(self, record: Json) -> None:
        for each in ("StartDateTime", "EndDateTime"):
            if record.get(each) is None:
                raise missing(each)
        span = instant(record["EndDateTime"]) - instant(record["StartDateTime"])
        longest = timedelta(days=14) if self.multiday else timedelta(minutes=1440)
        if not timedelta(0) <= span <= longest:
            raise Refusal(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                f"Duration must be between 0 and {longest // timedelta(minutes=1)} minutes",
                "DurationInMinutes",
            )

    def _settle_status(self, record: Json) -> None:
        """A Task is closed where its status is, which it names by the value's ApiName."""
        if record.get("Status") is None:
            raise missing("Status")
        rows = {row["ApiName"]: row for row in self.records["TaskStatus"].values()}
        row = rows.get(record["Status"])
        if row is None and self.task_status_is_restricted:
            raise bad_choice("Status", record["Status"])
        record["IsClosed"] = row is not None and row["IsClosed"]
