"""What the integration user may do: which objects and fields it sees, and which it writes."""

from collections.abc import Iterable
from pathlib import Path

from sandbox.salesforce.faults import CALLER, Refusal
from sandbox.salesforce.metadata import SYSTEM
from sandbox.salesforce.records import Records

# Activities hang on permissions of the user's, not on ones of the object's.
_BY_USER_PERMISSION = {"Event": "EditEvent", "Task": "EditTask"}


class Rights(Records):
    """The answer to who may; an admin may all."""

    def reset(self) -> None:
        """Forget all records, and all rights that were changed."""
        super().reset()
        self.hidden: set[str] = set()  # not deployed: like Event.Clockify_Hours__c, or an object
        self.read_only: set[str] = set()  # seen by the integration user, and not written
        # Whether what the permission sets open for reading only is read only. Where it is off, the
        # integration user stands for whoever has the right, such as an admin's own credentials.
        self.is_strict = False

    def deploy(
        self, package: str | Path = "data", *, assign: Iterable[str] = ("Clockify_Data",)
    ) -> None:
        """Deploy a folder as an admin; from then on the rights are looked at strictly."""
        super().deploy(package, assign=assign)
        self.is_strict = True

    def _may(self, action: str, name: str) -> bool:
        """Whether the integration user may create, edit or delete an object's records."""
        if name in self.read_only or name == "TaskStatus":
            return False
        if name in _BY_USER_PERMISSION:
            return _BY_USER_PERMISSION[name] in self._permitted.user
        if action == "edit":
            return not self.is_strict or name in self._permitted.edits
        objects = self._permitted.creates if action == "create" else self._permitted.deletes
        return name in objects

    def _may_edit_field(self, name: str, field_name: str) -> bool:
        full = f"{name}.{field_name}"
        if full in self.read_only or self._field(name, field_name).calculated:
            return False
        is_open = not field_name.endswith("__c") or self._field(name, field_name).required
        return not self.is_strict or is_open or full in self._permitted.edits

    def _is_hidden(self, name: str, field_name: str = "") -> bool:
        """Not deployed, or not opened by the integration user's permission sets.

        Whatever is custom is hidden until a permission set opens it, but for a required field,
        which has no security of its own.
        """
        full = f"{name}.{field_name}" if field_name else name
        if full in self.hidden:
            return True
        if field_name:
            kind = self.fields[name].get(field_name)
            is_open = not field_name.endswith("__c") or (kind is not None and kind.required)
        else:
            is_open = not name.startswith("Clockify_")
        return not is_open and full not in self._permitted.reads

    def _check_object(self, name: str) -> None:
        if name not in self.prefixes or self._is_hidden(name):
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")

    def _check_field(self, name: str, field_name: str, *, as_person: bool = False) -> None:
        known = field_name in self.fields[name] or field_name in SYSTEM
        if not known or (not as_person and self._is_hidden(name, field_name)):
            raise Refusal(
                400, "INVALID_FIELD", f"No such column '{field_name}' on sobject of type {name}"
            )

    def _check_external(self, name: str, external: str) -> None:
        known = self.fields[name].get(external)
        if known is None or not known.external or self._is_hidden(name, external):
            raise Refusal(
                404,
                "NOT_FOUND",
                f"Provided external ID field does not exist or is not accessible: {external}",
            )

    def _check_may(self, action: str, name: str) -> None:
        if CALLER.get().is_admin or self._may(action, name):
            return
        if action == "create":
            # Seen in a public integration's notes, with status 400, for a user without the right.
            message = f"entity type cannot be inserted: {name}"
            raise Refusal(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
        raise no_access()

    def _check_writable(self, name: str, field_name: str, *, as_person: bool) -> None:
        self._check_field(name, field_name, as_person=as_person)
        if as_person:
            return
        numbered = field_name == "Name" and self.objects[name].is_auto_numbered
        is_system = field_name in SYSTEM and field_name != "OwnerId"
        if numbered or is_system or not self._may_edit_field(name, field_name):
            raise Refusal(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {field_name}. Please check the security settings"
                " of this field and verify that it is read/write for your profile or permission"
                " set.",
                field_name,
            )


def no_access() -> Refusal:
    """The refusal of a record that is seen and not written."""
    message = "insufficient access rights on object id"
    return Refusal(400, "INSUFFICIENT_ACCESS_OR_READONLY", message)
