"""What many Tasks belong to, asked for many at a time: owner, and the project's Opportunity, else
its own record, else the client's Account.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from clockify_salesforce.kinds.project import PROJECT
from clockify_salesforce.mapping_rules import Link as LinkRule
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.salesforce.wish import Link, Wish
from commands.repair.patience import PatientOrg
from commands.repair.records import rows_with
from mapping import Upsert

Json = dict[str, Any]


class TaskLinks:
    """Knows what `wish` is asked for once `read` has been."""

    def __init__(self, org: PatientOrg, directory: Directory, links: Sequence[LinkRule]) -> None:
        """`links`: what time entries are related to, in order of preference."""
        self._org = org
        self._directory = directory
        own = LinkRule("project", PROJECT.object, PROJECT.external_id, several=False)
        projects = [rule for rule in links if rule.source == "project"]
        others = [rule for rule in links if rule.source != "project"]
        self._rules = [*projects, own, *others]
        self._found: dict[LinkRule, dict[str, list[str]]] = {}

    def read(self, decisions: Iterable[Upsert]) -> None:
        """Ask for what these are related to. Raises as PatientOrg.call does."""
        decisions = list(decisions)
        for rule in self._rules:
            if rule.several and rule in self._found:
                continue  # all of them are known
            ids = {each for one in decisions if (each := _subject(rule, one))}
            if not rule.several:
                self._found[rule] = {}
            try:
                self._found[rule] = self._read_all(rule) if rule.several else self._with(rule, ids)
            except SalesforceRefused as refusal:
                if refusal.code not in ("INVALID_FIELD", "INVALID_TYPE"):
                    raise
                self._found[rule] = {}

    def _with(self, rule: LinkRule, ids: set[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        select = f"Id, {rule.field}"
        for row in rows_with(self._org, rule.object, rule.field, sorted(ids), select=select):
            found[row[rule.field]].append(row["Id"])
        return found

    def _read_all(self, rule: LinkRule) -> dict[str, list[str]]:
        """A field that may hold several ids cannot be asked for one."""
        found: dict[str, list[str]] = defaultdict(list)
        soql = f"SELECT Id, {rule.field} FROM {rule.object} WHERE {rule.field} != null"
        for row in self._org.rows(soql):
            for each in "".join(c if c.isalnum() else " " for c in row[rule.field]).split():
                found[each].append(row["Id"])
        return found

    def wish(self, decision: Upsert, deadline: float) -> Wish:
        """Owner and links of one; see Directory.wish."""
        owner = self._directory.wish(
            replace(decision, record_id=None, project_id=None, client_id=None), deadline
        )
        links = []
        for rule in self._rules:
            found = self._found.get(rule, {}).get(_subject(rule, decision) or "", [])
            if len(found) == 1:
                links.append(Link("WhatId", found[0]))
        unknown = owner.unknown & frozenset({"OwnerId"})
        return Wish(owner.owner, tuple(links), unknown, owner.notes)


def _subject(rule: LinkRule, decision: Upsert) -> str | None:
    return decision.project_id if rule.source == "project" else decision.client_id
