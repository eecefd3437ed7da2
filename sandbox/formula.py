"""Evaluate the formulas of `force-app/`'s validation rules, so that the stand-in obeys them.

AND, OR, NOT, IF, ISNEW, ISBLANK, ISCHANGED, PRIORVALUE and comparisons only.
https://help.salesforce.com/s/articleView?id=platform.customize_functions.htm
"""

import ast
import re
from collections.abc import Callable, Mapping
from functools import cache

Record = Mapping[str, object]


@cache
def _compiled(formula: str) -> ast.Expression:
    text = re.sub(r"/\*.*?\*/", " ", formula, flags=re.S)
    text = text.replace("<>", "!=").replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"(?<![<>=!])=(?!=)", "==", text)
    for name in ("AND", "OR", "NOT", "IF"):
        text = re.sub(rf"\b{name}\s*\(", f"_{name.lower()}(", text)
    return ast.parse(text.strip().replace("\n", " "), mode="eval")


def evaluate(formula: str, *, new: Record, old: Record | None) -> bool:
    """Tell whether the rule's error condition holds for a record that becomes `new`.

    `old`: the stored record, None on insert. Raises ValueError for what it does not know.
    """

    def value(node: ast.expr, record: Record) -> object:
        if isinstance(node, ast.Name):
            return {"TRUE": True, "FALSE": False}.get(node.id.upper(), record.get(node.id))
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return call(node.func.id.upper(), node.args, record)
        if isinstance(node, ast.BoolOp):
            whole = all if isinstance(node.op, ast.And) else any
            return whole(bool(value(each, record)) for each in node.values)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return compare(
                node.ops[0], value(node.left, record), value(node.comparators[0], record)
            )
        raise ValueError(f"not a formula that this knows: {ast.dump(node)}")

    def call(name: str, arguments: list[ast.expr], record: Record) -> object:
        if name == "_AND":
            return all(bool(value(each, record)) for each in arguments)
        if name == "_OR":
            return any(bool(value(each, record)) for each in arguments)
        if name == "_IF":
            condition, then, otherwise = arguments
            return value(then if value(condition, record) else otherwise, record)
        if name == "_NOT":
            return not value(arguments[0], record)
        if name == "ISNEW":
            return old is None
        if name == "ISBLANK":
            return value(arguments[0], record) in (None, "")
        # On insert the prior value is the value itself.
        if name == "PRIORVALUE":
            return value(arguments[0], record if old is None else old)
        if name == "ISCHANGED":
            return old is not None and value(arguments[0], old) != value(arguments[0], record)
        raise ValueError(f"not a function that this knows: {name}")

    return bool(value(_compiled(formula).body, new))


def compare(operator: ast.cmpop, left: object, right: object) -> bool:
    """Compare as Salesforce does: nothing compares with a blank but equality."""
    if isinstance(operator, ast.Eq):
        return left == right
    if isinstance(operator, ast.NotEq):
        return left != right
    if left is None or right is None:
        return False
    order: dict[type[ast.cmpop], Callable[[float], bool]] = {
        ast.Lt: lambda sign: sign < 0,
        ast.LtE: lambda sign: sign <= 0,
        ast.Gt: lambda sign: sign > 0,
        ast.GtE: lambda sign: sign >= 0,
    }
    return order[type(operator)]((left > right) - (left < right))  # type: ignore[operator]
