"""A record of an object of ours as it is going to be written, with its lines. Pure.

A project, an invoice, or a kind of the company's own: the whole of it comes from Clockify, so that
nothing of it is a person's own choice.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from clockify_salesforce.decisions import Lines, Record
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.client import Json, Part, quoted
from clockify_salesforce.salesforce.errors import GONE, LINK_CODES, SalesforceRefused
from clockify_salesforce.salesforce.records import Conflict, Draft, Known, Made, Nothing

_RECORD, _LINE, _GONE = "record", "line", "gone"  # how the parts of the call are called
_THERE = "IsDeleted = false"
MOST_LINES = 498  # one call that is carried out as a whole has 500 parts


def questions(record: Record) -> list[str]:
    """What to ask Salesforce before: the record, what it is related to, and the lines it has."""
    target = record.target
    asked = [
        f"SELECT Id FROM {target.object} WHERE {target.external_id} = {quoted(record.entry_id)}"
        f" AND {_THERE} LIMIT 1"
    ]
    asked += [
        f"SELECT Id FROM {each.target.object} WHERE {each.target.external_id} ="
        f" {quoted(each.clockify_id)} AND {_THERE} LIMIT 1"
        for each in record.references
        if each.clockify_id
    ]
    if record.lines is not None:
        lines, key = record.lines, record.lines.target.external_id
        asked.append(
            f"SELECT Id, {key} FROM {lines.target.object} WHERE"
            f" {lines.parent.removesuffix('c')}r.{target.external_id} = {quoted(record.entry_id)}"
            f" AND {_THERE}"
        )
    return asked


def draft(record: Record, known: Known) -> tuple[Draft, tuple[str, ...]]:
    """The record as it is to be, given the answers to `questions`, and what was not found."""
    if not record.fields:
        return Nothing(Result.DELETED, known), ()
    answers = list(known.rows[1:])
    found: dict[str, str | None] = {}
    notes: list[str] = []
    for each in record.references:
        rows = answers.pop(0) if each.clockify_id else ()
        found[each.field] = str(rows[0]["Id"]) if rows else None
        if each.clockify_id and not rows:
            where = f"{each.target.object}.{each.target.external_id}"
            notes.append(f"{each.field}: no {where} is {each.clockify_id}: the repair looks again")
    held: dict[str, str] = {}
    if record.lines is not None:
        key = record.lines.target.external_id
        held = {str(row[key]): str(row["Id"]) for row in answers.pop(0)}
    return RecordDraft(record, known, found, held), tuple(notes)


@dataclass(frozen=True, slots=True)
class RecordDraft:
    """What a record is written with.

    `found`: lookup field -> id, None to clear it; `held`: the lines that are there, key -> id.
    """

    record: Record
    known: Known
    found: Mapping[str, str | None]
    held: Mapping[str, str]

    def parts(self) -> list[Part]:
        """The record, then its lines, then the lines that go away."""
        record, target = self.record, self.record.target
        path = f"sobjects/{target.object}/{target.external_id}/{record.entry_id}"
        parts = [Part(_RECORD, "PATCH", path, {**record.fields, **self.found})]
        if record.lines is not None:
            parts += self._lines(record.lines)
        return parts

    def _lines(self, lines: Lines) -> list[Part]:
        base, key = f"sobjects/{lines.target.object}/", lines.target.external_id
        others = self._others(lines)
        parts = []
        for at, line in enumerate(lines.lines, 1):
            path, body = f"{base}{key}/{line.key}", {**line.fields}
            if line.key in others:
                path, body[key] = base + self.held[others[line.key]], line.key
            body[lines.parent] = f"@{{{_RECORD}.id}}"
            parts.append(Part(f"{_LINE}{at}", "PATCH", path, body))
        return parts + [
            Part(f"{_GONE}{at}", "DELETE", base + self.held[each])
            for at, each in enumerate(self._gone(), 1)
        ]

    def _gone(self) -> list[str]:
        """The keys of the lines that are to go away."""
        lines = self.record.lines
        return self._surplus(lines)[len(self._others(lines)) :] if lines else []

    def _surplus(self, lines: Lines) -> list[str]:
        """The keys of the lines that Salesforce has and the record has not."""
        wanted = {line.key for line in lines.lines}
        return [key for key in self.held if key not in wanted]

    def _others(self, lines: Lines) -> dict[str, str]:
        """New lines that become of surplus ones, key -> key, where one call cannot hold them all.

        It is carried out as a whole, so that it cannot be two.
        """
        surplus = self._surplus(lines)
        if len(lines.lines) + len(surplus) <= MOST_LINES:
            return {}
        fresh = [line.key for line in lines.lines if line.key not in self.held]
        return dict(zip(fresh, surplus, strict=False))

    def give_way(
        self, refusal: SalesforceRefused, own_user_id: Callable[[], str]
    ) -> tuple[Draft, str]:
        """A relation that Salesforce refuses is left out; a line that is gone already is as good.

        Raises Conflict where a line that was to become another one is gone, the refusal itself
        where nothing of this is meant.
        """
        lines = self.record.lines
        if refusal.part.startswith(_LINE) and refusal.code in GONE:
            if lines and self._others(lines):
                raise Conflict("a line is gone that was read a moment ago")
            raise refusal
        if refusal.part.startswith(_GONE) and refusal.code in GONE:
            key = self._gone()[int(refusal.part.removeprefix(_GONE)) - 1]
            return replace(self, held={k: v for k, v in self.held.items() if k != key}), ""
        blamed = [
            name
            for name, each in self.found.items()
            if each and (name in refusal.fields or each[:15] in refusal.ids)
        ]
        if refusal.part != _RECORD or refusal.code not in LINK_CODES or not blamed:
            raise refusal
        found = {name: each for name, each in self.found.items() if name not in blamed}
        return replace(self, found=found), f"{', '.join(blamed)}: {refusal.code}"

    def made(self, answers: list[Json]) -> Made:
        """It is there; where Clockify has deleted it, it says so."""
        result = Result.CREATED if answers[0].get("created") is True else Result.UPDATED
        record_id = str(answers[0].get("id") or self.known.record_id)
        return Made(Result.DELETED if self.record.gone else result, True, None, record_id)
