"""Answer SOQL over records in memory: what the project asks, and a little more.

SELECT fields or COUNT() FROM object [WHERE …] [ORDER BY field [ASC|DESC] [NULLS …]] [LIMIT n];
a field may be a parent's (Account__r.Name), and among them may be (SELECT … FROM Children__r).
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

Record = Mapping[str, object]
_TOKEN = re.compile(
    r"\s*('(?:[^'\\]|\\.)*'|COUNT\(\)|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)|\d{4}-\d\d-\d\d|LAST_N_DAYS:\d+|-?\d+(?:\.\d+)?|[\w.]+"
    r"|<=|>=|!=|<>|[=<>(),])"
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Malformed(Exception):
    """The text is not SOQL that this knows."""


@dataclass(frozen=True)
class Query:
    """A parsed query.

    `names`: every field that it mentions; `filtered`: those of WHERE; `equal`: fields that must
    have one of some texts; `bounds`: times that a field must not lie before or behind; `order`:
    fields, each with whether it descends and whether empty ones come last; `children`: queries of
    what hangs on each record, whose `object` is the relation's name.
    """

    fields: list[str]
    object: str
    where: Callable[[Record], bool]
    names: list[str]
    filtered: list[str]
    equal: list[tuple[str, list[str]]]
    bounds: list[tuple[str, str, datetime]]
    order: list[tuple[str, bool, bool]]
    limit: int | None
    counts: bool = False
    children: tuple["Query", ...] = ()


def parse(text: str, now: datetime | None = None) -> Query:
    """Parse one SELECT; `now`: what its date literals are reckoned from. Raises Malformed."""
    return _Parser(text, now or datetime.now(UTC)).query()


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self._now = now
        self._tokens: list[str] = []
        self._names: list[str] = []
        self._equal: list[tuple[str, list[str]]] = []
        self._bounds: list[tuple[str, str, datetime]] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise Malformed(f"unexpected token at {text[place : place + 20]!r}")
            self._tokens.append(match[1])
            place = match.end()

    def query(self) -> Query:
        query = self._query()
        if self._tokens:
            raise Malformed(f"unexpected token: {self._tokens[0]!r}")
        return query

    def _query(self) -> Query:
        self._names, self._equal, self._bounds = [], [], []
        self._expect("SELECT")
        counts = self._take("COUNT()")
        fields, children = ([], []) if counts else self._selected()
        self._expect("FROM")
        name = self._next()
        where: Callable[[Record], bool] = lambda record: True  # noqa: E731
        if self._take("WHERE"):
            where = self._either()
        filtered = self._names[len(fields) :]
        order = []
        if self._take("ORDER"):
            self._expect("BY")
            order.append(self._ordered())
            while self._take(","):
                order.append(self._ordered())
        limit = int(self._next()) if self._take("LIMIT") else None
        return Query(
            fields,
            name,
            where,
            self._names,
            filtered,
            self._equal,
            self._bounds,
            order,
            limit,
            counts,
            tuple(children),
        )

    def _selected(self) -> tuple[list[str], list[Query]]:
        fields: list[str] = []
        children: list[Query] = []
        while True:
            if self._take("("):
                names = self._names
                children.append(self._query())
                self._names, self._equal, self._bounds = names, [], []
                self._expect(")")
            else:
                fields.append(self._name())
            if not self._take(","):
                return fields, children

    def _ordered(self) -> tuple[str, bool, bool]:
        field = self._name()
        descending = self._take("DESC")
        if not descending:
            self._take("ASC")
        if not self._take("NULLS"):
            return field, descending, False
        if self._take("LAST"):
            return field, descending, True
        self._expect("FIRST")
        return field, descending, False

    def _either(self) -> Callable[[Record], bool]:
        terms = [self._both()]
        while self._take("OR"):
            terms.append(self._both())
        if len(terms) > 1:
            self._equal.clear()
            self._bounds.clear()
        return terms[0] if len(terms) == 1 else lambda record: any(term(record) for term in terms)

    def _both(self) -> Callable[[Record], bool]:
        terms = [self._one()]
        while self._take("AND"):
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else lambda record: all(term(record) for term in terms)

    def _one(self) -> Callable[[Record], bool]:
        if self._take("NOT"):
            inner = self._one()
            self._equal.clear()
            self._bounds.clear()
            return lambda record: not inner(record)
        if self._take("("):
            inner = self._either()
            self._expect(")")
            return inner
        name, operator = self._name(), self._next().upper()
        if operator == "NOT":
            self._expect("IN")
            operator = "NOT IN"
        if operator in ("IN", "NOT IN"):
            self._expect("(")
            literals = [self._literal()]
            while self._take(","):
                literals.append(self._literal())
            self._expect(")")
            values = {_key(literal) for literal in literals}
            if operator == "IN" and all(isinstance(literal, str) for literal in literals):
                self._equal.append((name, [str(literal) for literal in literals]))
            return lambda record: (_key(record.get(name)) in values) is (operator == "IN")
        if operator == "LIKE":
            return _like(name, self._next())
        literal = self._literal()
        if operator == "=" and isinstance(literal, str):
            self._equal.append((name, [literal]))
        if isinstance(literal, datetime):
            self._bounds.append((name, operator, literal))
        return _comparison(name, operator, literal)

    def _literal(self) -> object:
        token = self._next()
        if token.startswith("'"):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if _MOMENT.match(token):
            return datetime.fromisoformat(token)
        if _DAY.fullmatch(token):
            return date.fromisoformat(token)
        if token.startswith("LAST_N_DAYS:"):
            # From midnight, where the user lives: here UTC.
            # https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_dateformats.htm
            today = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
            return today - timedelta(days=int(token.rpartition(":")[2]))
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return float(token)
        words = {"NULL": None, "TRUE": True, "FALSE": False}
        if token.upper() in words:
            return words[token.upper()]
        raise Malformed(f"unexpected token: {token!r}")

    def _name(self) -> str:
        name = self._next()
        if not re.fullmatch(r"[A-Za-z][\w.]*", name):
            raise Malformed(f"unexpected token: {name!r}")
        self._names.append(name)
        return name

    def _next(self) -> str:
        if not self._tokens:
            raise Malformed("unexpected end of the query")
        return self._tokens.pop(0)

    def _take(self, word: str) -> bool:
        if self._tokens and self._tokens[0].upper() == word:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise Malformed(f"expecting {word}")


def _key(value: object) -> object:
    """Salesforce compares texts without regard to case."""
    return value.casefold() if isinstance(value, str) else value


def _like(name: str, token: str) -> Callable[[Record], bool]:
    """% is any text and _ any character, but where a backslash stands before them."""
    if not token.startswith("'"):
        raise Malformed(f"unexpected token: {token!r}")
    wild = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|[^\\]", token[1:-1], re.S)
    wanted = (wild.get(part) or re.escape(part[-1]) for part in parts)
    pattern = re.compile("".join(wanted), re.I | re.S)

    def check(record: Record) -> bool:
        have = record.get(name)
        return isinstance(have, str) and pattern.fullmatch(have) is not None

    return check


def _comparison(name: str, operator: str, wanted: object) -> Callable[[Record], bool]:
    if operator in ("=", "!=", "<>"):
        equal = operator == "="
        return lambda record: (_typed(record.get(name), wanted) == _key(wanted)) is equal
    compare: dict[str, Callable[[float], bool]] = {
        "<": lambda sign: sign < 0,
        ">": lambda sign: sign > 0,
        "<=": lambda sign: sign <= 0,
        ">=": lambda sign: sign >= 0,
    }
    if operator not in compare:
        raise Malformed(f"unexpected token: {operator!r}")

    def check(record: Record) -> bool:
        have = _typed(record.get(name), wanted)
        if have is None:
            return False
        want = _key(wanted)
        return compare[operator]((have > want) - (have < want))  # type: ignore[operator]

    return check


def _typed(value: object, like: object) -> object:
    """A record's value as a value of the literal's kind."""
    if isinstance(like, datetime) and isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(like, date) and isinstance(value, str):
        return date.fromisoformat(value[:10])
    return _key(value)
