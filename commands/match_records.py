"""Match Clockify's people, clients and projects with Salesforce's Users, Accounts, Opportunities.

A match is Clockify's id in a field of the Salesforce record; the function finds owner and links by
it. This proposes matches, by e-mail address and by name, and writes only with --apply (what is the
same) or --ask (what you say yes to). It never overwrites an id, so it may be run again at any time.
Where Clockify's messages of clients come to the org, what is exact of them is not its business.

Exit code: 0 all done, 1 something could not be written (the last lines say what), 2 the call is
wrong.
"""

import argparse
import csv
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from rapidfuzz import fuzz, process
from rapidfuzz.utils import default_process

from clockify_salesforce.clockify.client import Clockify, ClockifyError
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.kinds.client import KIND as CLIENT
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.errors import SalesforceRefused, refusal_of
from clockify_salesforce.settings import Settings
from commands.kinds import CLIENTS_ARE_THERE
from commands.terminal import (
    CREDENTIALS_FROM,
    WrongCall,
    add_credentials,
    api_key,
    salesforce_credentials,
    settings,
)
from commands.webhooks import find_workspace

# Names are proposed from this score on, and only where the next best is clearly less alike.
# https://rapidfuzz.github.io/RapidFuzz/Usage/fuzz.html#wratio
ALIKE, CLEARLY = 85.0, 5.0
CALL_S, READ_S = 300.0, 120.0
BATCH = 200  # records in a call
PATIENCE_S = 3600.0  # for Clockify: the Free plan allows 30 calls an hour
# A proposal's states in order, and as they are shown.
STATES = {state: state for state in ("matched", "exact")} | {
    "itself": "by itself",
    **{state: state for state in ("similar", "ambiguous", "conflict")},
    "none": "no match",
}
AT_ONCE = "python -m commands.backfill --workspace %s --kinds clients --apply"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is matched with what."""

    title: str
    clockify: str  # as in the path of Clockify's API
    source: str  # Salesforce's object
    field: str  # where Clockify's id is kept
    read: str  # what else is read of it
    which: str = ""  # SOQL: which records


KINDS = (
    Kind(
        "Clockify's people and Salesforce's Users",
        "users",
        "User",
        "Clockify_User_Id__c",
        "Email, IsActive",
        "WHERE UserType = 'Standard' AND (IsActive = true OR Clockify_User_Id__c != null)",
    ),
    # Before the projects: an Opportunity has to be of the client's Account.
    Kind(
        "Clockify's clients and Salesforce's Accounts",
        "clients",
        "Account",
        "Clockify_Client_Id__c",
        "",
    ),
    Kind(
        "Clockify's projects and Salesforce's Opportunities",
        "projects",
        "Opportunity",
        "Clockify_Project_Id__c",
        "AccountId",
    ),
)


@dataclass(frozen=True, slots=True)
class Item:
    """A person, client or project of Clockify's."""

    id: str
    name: str
    email: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A User, Account or Opportunity of Salesforce's; `clockify_id`: "" where it is not matched."""

    id: str
    name: str
    clockify_id: str = ""
    email: str = ""
    account_id: str = ""
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to become of one item.

    `state`: matched, exact, itself (the function is going to match it), similar, ambiguous,
    conflict or none; `why`: for the person who reads.
    """

    state: str
    item: Item
    record: Record | None = None
    why: str = ""


def propose(
    items: Sequence[Item], records: Sequence[Record], accounts: Mapping[str, str]
) -> list[Proposal]:
    """Say for each item which record it is matched with, or may be.

    `accounts`: Clockify's client id -> id of the Account that it is matched with. Exact is the same
    e-mail address, for people, or the same name but for case and spaces, if that is one item and
    one record only. A project of such a client is compared with the Account's Opportunities only.
    Every record is proposed once at most.
    """
    matched = {record.clockify_id: record for record in records if record.clockify_id}
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.is_active or record.clockify_id:
            by_key[_key(record)].append(record)
    shared = Counter(_key(item) for item in items if item.id not in matched)
    names = {item.id: item.name for item in items}
    found = [
        _matched(item, matched[item.id])
        if item.id in matched
        else _exact(item, by_key[_key(item)], accounts, names, shared[_key(item)])
        for item in items
    ]
    claimed = {proposal.record.id for proposal in found if proposal.record}
    free = [
        record
        for record in records
        if record.is_active and not record.clockify_id and record.id not in claimed
    ]
    choices = {record.id: record.name for record in free}
    by_id = {record.id: record for record in free}
    found = [
        _similar(proposal.item, choices, by_id, accounts) if proposal.state == "none" else proposal
        for proposal in found
    ]
    return list(_each_once(found))


def _key(one: Item | Record) -> str:
    """What has to be the same: a person's e-mail address, everything else's name."""
    return one.email.strip().casefold() or " ".join(one.name.split()).casefold()


def _matched(item: Item, record: Record) -> Proposal:
    return Proposal("matched", item, record, "" if record.is_active else "the User is not active")


def _exact(
    item: Item,
    same: Sequence[Record],
    accounts: Mapping[str, str],
    names: Mapping[str, str],
    items_alike: int,
) -> Proposal:
    what = "e-mail address" if item.email else "name"
    account = accounts.get(item.client_id)
    if account is not None:
        same = [record for record in same if record.account_id == account]
    free = [record for record in same if not record.clockify_id]
    if not same:
        return Proposal("none", item)
    if not free:
        taken_by = names.get(
            same[0].clockify_id, "something that Clockify does not have (any more)"
        )
        return Proposal("conflict", item, None, f"{same[0].name} is matched with {taken_by}")
    if len(free) > 1:
        return Proposal("ambiguous", item, None, f"{len(free)} records have the same {what}")
    if items_alike > 1:
        return Proposal("ambiguous", item, None, f"{items_alike} in Clockify have the same {what}")
    return Proposal("exact", item, free[0], f"same {what}")


def _similar(
    item: Item,
    choices: Mapping[str, str],
    by_id: Mapping[str, Record],
    accounts: Mapping[str, str],
) -> Proposal:
    account = accounts.get(item.client_id)
    if account is not None:
        choices = {
            record_id: name
            for record_id, name in choices.items()
            if by_id[record_id].account_id == account
        }
    best = process.extract(
        item.name,
        choices,
        scorer=fuzz.WRatio,
        processor=default_process,
        score_cutoff=ALIKE,
        limit=2,
    )
    if not best:
        return Proposal("none", item)
    (name, score, record_id), *others = best
    if others and others[0][1] > score - CLEARLY:
        why = f"{name} ({score:.0f}) or {others[0][0]} ({others[0][1]:.0f})"
        return Proposal("ambiguous", item, None, why)
    return Proposal("similar", item, by_id[record_id], f"{score:.0f} of 100 alike")


def _each_once(proposals: Iterable[Proposal]) -> Iterator[Proposal]:
    """Propose no record to two items."""
    proposals = list(proposals)
    times = Counter(each.record.id for each in proposals if each.record)
    for each in proposals:
        if each.record and each.state != "matched" and times[each.record.id] > 1:
            yield Proposal("ambiguous", each.item, None, f"others are like {each.record.name} too")
        else:
            yield each


def unknown(items: Sequence[Item], records: Sequence[Record]) -> list[Record]:
    """Records whose id is of nothing that Clockify has."""
    known = {item.id for item in items}
    return [record for record in records if record.clockify_id and record.clockify_id not in known]


# Clockify and Salesforce --------------------------------------------------------------------------


def read_items(clockify: Clockify, workspace: str, kind: Kind) -> list[Item]:
    """Clockify's people, clients or projects. Raises ClockifyError.

    https://docs.clockify.me/#tag/User, https://docs.clockify.me/#tag/Client,
    https://docs.clockify.me/#tag/Project
    """
    return [
        Item(
            str(each.get("id")),
            str(each.get("name") or ""),
            str(each.get("email") or ""),
            str(each.get("clientId") or ""),
        )
        for each in clockify.get_pages(f"/workspaces/{quote(workspace, '')}/{kind.clockify}")
    ]


def read_records(org: Org, kind: Kind) -> list[Record]:
    """Salesforce's Users, Accounts or Opportunities. Raises IntegrationError."""
    fields = ", ".join(filter(None, ("Id", "Name", kind.field, kind.read)))
    soql = " ".join(("SELECT", fields, "FROM", kind.source, kind.which))
    return [
        Record(
            str(row["Id"]),
            str(row["Name"] or ""),
            str(row[kind.field] or ""),
            str(row.get("Email") or ""),
            str(row.get("AccountId") or ""),
            is_active=row.get("IsActive") is not False,
        )
        for row in org.query(soql, time.monotonic() + CALL_S)
    ]


def clients_match_themselves(org: Org, clockify: Clockify, workspace: str) -> bool:
    """Tell whether the function gives an Account of the same name a client's id by itself.

    It does where Clockify sends messages of clients, and the org has their metadata. Raises
    SalesforceUnavailable, ClockifyError.
    """
    try:
        org.query(f"SELECT {CLIENTS_ARE_THERE} FROM Account LIMIT 1", time.monotonic() + CALL_S)
        hooks = clockify.webhooks(workspace)
    except SalesforceRefused:
        return False
    except ClockifyError as error:
        if error.status not in (401, 403, 404):
            raise
        return False  # a key that reads clients need not read webhooks
    return any(
        hook.get("webhookEvent") in CLIENT.writes and hook.get("enabled") is not False
        for hook in hooks
    )


def left_to_the_function(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The same, without what would be written of itself."""
    why = "same name: with its next message or repair"
    return [
        replace(each, state="itself", why=why) if each.state == "exact" else each
        for each in proposals
    ]


def write(org: Org, kind: Kind, chosen: Sequence[Proposal]) -> list[tuple[Proposal, str]]:
    """Write Clockify's ids; return what Salesforce refused, with its code. Raises IntegrationError.

    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_update.htm
    """
    refused = []
    for place in range(0, len(chosen), BATCH):
        part = chosen[place : place + BATCH]
        records = [
            {"attributes": {"type": kind.source}, "id": record_id, kind.field: clockify_id}
            for record_id, clockify_id in map(_ids, part)
        ]
        answer: list[dict[str, Any]] = org.call(
            "PATCH",
            "composite/sobjects",
            time.monotonic() + CALL_S,
            json={"allOrNone": False, "records": records},
        )
        for proposal, result in zip(part, answer, strict=True):
            if not result.get("success"):
                refusal = refusal_of((result.get("errors") or [{}])[0], last=True)
                refused.append((proposal, refusal.code if refusal else "busy, run it again"))
    return refused


def hand_over(kind: Kind, refused: Sequence[tuple[Proposal, str]]) -> None:
    """Write what was refused into a file, and say how an admin writes it into Salesforce."""
    file = f"match-{kind.source}.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        rows = csv.writer(text, lineterminator=os.linesep)
        rows.writerow(("Id", kind.field))
        rows.writerows(_ids(proposal) for proposal, _ in refused)
    for proposal, code in refused:
        print(f"{proposal.item.name} was refused: {code}", file=sys.stderr)
    command = f"sf data update bulk --sobject {kind.source} --file {file} --wait 10"
    print(f"{file} holds what was refused. As an admin: {command}", file=sys.stderr)


def _ids(proposal: Proposal) -> tuple[str, str]:
    return (proposal.record.id if proposal.record else ""), proposal.item.id


# The command line ---------------------------------------------------------------------------------


def table(kind: Kind, proposals: Sequence[Proposal], unknowns: Sequence[Record]) -> str:
    """All proposals, a line each, those that want nothing first."""
    order = tuple(STATES)
    lines = [kind.title]
    for each in sorted(proposals, key=lambda each: (order.index(each.state), each.item.name)):
        record = each.record.name if each.record else ""
        state, name = STATES[each.state], each.item.name
        lines.append(f"  {state:<10}{name[:32]:<34}{record[:32]:<34}{each.why}".rstrip())
    for stray in unknowns:
        why = "has an id that Clockify does not have"
        lines.append(f"  {'unknown':<10}{'':<34}{stray.name[:32]:<34}{why}")
    return "\n".join(lines)


def says_yes(kind: Kind, proposal: Proposal) -> bool:
    """Ask the person at the terminal."""
    record = proposal.record.name if proposal.record else ""
    answer = input(f"{proposal.item.name}  =  {kind.source} {record} ({proposal.why})? [y/N] ")
    return answer.strip().casefold() in ("y", "yes")


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Match Clockify's people, clients and projects with Salesforce's Users,"
        " Accounts and Opportunities. Nothing is written without --apply or --ask.",
        epilog=f"{CREDENTIALS_FROM} What their user may see and not edit is put into match-*.csv,"
        " for an admin to write.",
    )
    parser.add_argument("--workspace", help="Clockify's workspace id; needed if there are several")
    parser.add_argument("--apply", action="store_true", help="write the exact matches")
    parser.add_argument(
        "--ask", action="store_true", help="ask about each match, and write where you say yes"
    )
    parser.add_argument(
        "--target-org",
        default="",
        metavar="ORG",
        help="write as the admin who is signed in with sf (sf org login web --alias ORG)",
    )
    add_credentials(parser)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    """Propose and, where wished, write. Returns the exit code; raises IntegrationError."""
    found = settings()
    org = _org(arguments, found)
    region, key = api_key(arguments, found)
    clockify = Clockify(
        api_key=key,
        region=region,
        patience=PATIENCE_S,
        on_wait=lambda wait_s: print(f"Clockify asks to wait {wait_s:.0f} s", file=sys.stderr),
    )
    workspace = find_workspace(clockify, arguments.workspace)
    return match(org, clockify, workspace, apply=arguments.apply, ask=arguments.ask)


def _org(arguments: argparse.Namespace, found: Settings) -> Org:
    """Salesforce as the admin who is signed in with `sf`, else as the function. Raises."""
    if arguments.target_org:
        from commands.salesforce_set_up.admin_org import AdminOrg
        from commands.salesforce_set_up.sf import Sf

        return AdminOrg(Sf(arguments.target_org), version=found.salesforce_api_version)
    credentials = salesforce_credentials(arguments, found)
    return Org(credentials, version=found.salesforce_api_version, read_s=READ_S)


def match(org: Org, clockify: Clockify, workspace: str, *, apply: bool, ask: bool) -> int:
    """Propose, and write what is exact (`apply`), or what somebody says yes to (`ask`).

    Returns the exit code; raises IntegrationError.
    """
    accounts: dict[str, str] = {}
    written, refused, left, by_themselves = 0, 0, 0, 0
    for kind in KINDS:
        items, records = read_items(clockify, workspace, kind), read_records(org, kind)
        proposals = propose(items, records, accounts)
        if kind.source == "Account" and clients_match_themselves(org, clockify, workspace):
            proposals = left_to_the_function(proposals)
            by_themselves = sum(each.state == "itself" for each in proposals)
        print(table(kind, proposals, unknown(items, records)), end="\n\n")
        exact = [each for each in proposals if each.state == "exact"]
        similar = [each for each in proposals if each.state == "similar"]
        chosen = exact if apply else []
        problems = write(org, kind, chosen)
        if ask:
            for each in similar if apply else exact + similar:
                if says_yes(kind, each):
                    problems += write(org, kind, [each])
                    chosen = [*chosen, each]
        if kind.source == "Account":
            believed = chosen if ask else exact
            accounts = {
                each.item.id: each.record.id
                for each in proposals
                if each.record and (each.state in ("matched", "itself") or each in believed)
            }
        written += len(chosen) - len(problems)
        left += len(exact) + len(similar) - len(chosen)
        refused += len(problems)
        if problems:
            hand_over(kind, problems)
    if by_themselves:
        print(f"{by_themselves} clients match by themselves. All at once: {AT_ONCE % workspace}")
    _tell_result(written, refused, left, is_dry=not (apply or ask))
    return 1 if refused else 0


def _tell_result(written: int, refused: int, left: int, *, is_dry: bool) -> None:
    if not is_dry:
        print(f"{written} written, {refused} refused, {left} proposed and not written.")
    else:
        print(f"Dry run, nothing is written: {left} proposed.")
        print("--apply writes the exact ones, --ask asks about each.")


def main() -> int:
    """Run the command line and return the exit code."""
    try:
        return run(read_arguments())
    except WrongCall as error:
        print(error, file=sys.stderr)
        return 2
    except SalesforceRefused as error:
        # Its own sentence is about Events.
        print(
            f"Salesforce refuses: {error.code} {' '.join(error.fields)}: deploy force-app/, and see"
            " that the credentials' user has the permission set Clockify_Integration or"
            " Clockify_Admin (README, 'Salesforce')",
            file=sys.stderr,
        )
        return 1
    except IntegrationError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nStopped: what you said yes to is written.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
