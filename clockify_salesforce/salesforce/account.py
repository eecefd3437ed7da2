"""A client's Account: matched by Clockify's id or by its name, and hardly ever written. Pure.

The Account is the company's own. It gets Clockify's id, and keeps all else that it has; only one
that was made for a client follows the client's name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from clockify_salesforce.decisions import Match
from clockify_salesforce.mapping_rules import Accounts
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Part, quoted
from clockify_salesforce.salesforce.errors import GONE, SalesforceRefused
from clockify_salesforce.salesforce.records import Conflict, Draft, Known, Made, Nothing

_SIMILAR = 200  # Accounts whose names are compared
_THERE = "IsDeleted = false"
# https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_duplicaterules.htm
_PASS_ALERTS = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}


def questions(match: Match) -> list[str]:
    """What to ask Salesforce before: who has Clockify's id, and who has the name and no id."""
    target = match.target
    asked = [
        f"SELECT Id, Name, CreatedById FROM {target.object} WHERE {target.external_id} ="
        f" {quoted(match.entry_id)} AND {_THERE} LIMIT 1"
    ]
    if match.name and not match.gone:
        asked.append(
            f"SELECT Id, Name FROM {target.object} WHERE {is_named(match.name)}"
            f" AND {target.external_id} = null AND {_THERE} LIMIT {_SIMILAR}"
        )
    return asked


def draft(
    match: Match, known: Known, rules: Accounts, own_user_id: Callable[[], str]
) -> tuple[Draft, tuple[str, ...]]:
    """What is to be written, given the answers to `questions`, and what is to be told.

    `own_user_id`: the integration user, whose Accounts follow the client's name; asked for only
    where the names differ. Raises as Org.call does.
    """
    own, *others = known.rows
    headers = _PASS_ALERTS if rules.pass_alerts else None
    if own:
        return _of_its_own(match, known, own[0], own_user_id, headers), ()
    if match.gone:
        return Nothing(Result.DELETED, known), ()
    same = [
        row for row in (others[0] if others else ()) if key_of(row["Name"]) == key_of(match.name)
    ]
    if len(same) == 1:
        body: Json = {match.target.external_id: match.entry_id}
        return AccountDraft(_path(match, str(same[0]["Id"])), body, Result.UPDATED, headers), ()
    if not same and match.name and rules.are_created:
        path = f"sobjects/{match.target.object}/{match.target.external_id}/{match.entry_id}"
        return AccountDraft(path, {"Name": match.name}, Result.CREATED, headers), ()
    how_many = f"{len(same)} Accounts have" if same else "no Account has"
    return Nothing(Result.IGNORED, known), (
        f"{how_many} the client's name and no Clockify id: give one of them"
        f" {match.target.external_id} = {match.entry_id}, or set create_accounts in mapping.toml"
        " (docs/kinds.md)",
    )


def _of_its_own(
    match: Match,
    known: Known,
    account: Json,
    own_user_id: Callable[[], str],
    headers: Json | None,
) -> Draft:
    """What becomes of the Account that has Clockify's id."""
    path = _path(match, str(account["Id"]))
    if match.gone:
        return AccountDraft(path, {match.target.external_id: None}, Result.DELETED, headers)
    is_renamed = bool(match.name) and account["Name"] != match.name
    if is_renamed and str(account.get("CreatedById"))[:15] == own_user_id()[:15]:
        return AccountDraft(path, {"Name": match.name}, Result.UPDATED, headers)
    return Nothing(Result.UPDATED, known)


def _path(match: Match, record_id: str) -> str:
    return f"sobjects/{match.target.object}/{record_id}"


def is_named(name: str) -> str:
    """The condition in SOQL that finds every record whose name has the same `key_of`, and others.

    LIKE knows no capitals; its own signs in a name stand for themselves.
    """
    like = re.sub(r"([\\%_])", r"\\\1", name)
    return f"Name LIKE {quoted('%'.join(like.split()))}"


def key_of(name: object) -> str:
    """What two names have in common that are the same but for capitals and spaces."""
    return "".join(str(name).split()).casefold()


@dataclass(frozen=True, slots=True)
class AccountDraft:
    """One write of an Account. `headers`: of the request."""

    path: str
    body: Json
    result: Result
    headers: Json | None = None

    @property
    def is_by_its_id(self) -> bool:
        """Whether it is written by the id that it was read with, and not by Clockify's."""
        return self.path.count("/") == 2

    def parts(self) -> list[Part]:
        return [Part("account", "PATCH", self.path, self.body, self.headers)]

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple[Draft, str]:
        """Raises Conflict where somebody has deleted or merged it since it was read."""
        if refusal.code in GONE and self.is_by_its_id:
            raise Conflict("the Account is gone: another one may be the client's")
        raise refusal

    def made(self, answers: list[Json]) -> Made:
        return Made(self.result, True, record_id=str(answers[0].get("id") or self.path[-18:]))
