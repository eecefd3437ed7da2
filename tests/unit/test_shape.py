"""The shape of the product: short functions, no import circles, and what is pure stays pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = [ROOT / "main.py", ROOT / "mapping.py", *ROOT.glob("clockify_salesforce/**/*.py")]
PRODUCT = [*FUNCTION, *ROOT.glob("commands/**/*.py")]
LONGEST, BRANCHES = 40, 12
BRANCHING = (ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.match_case)
# What a module that takes values and gives values has no use for.
OUTSIDE = {
    *(
        "os",
        "socket",
        "requests",
        "threading",
        "time",
        "subprocess",
        "random",
        "secrets",
        "logging",
    ),
    *("google", "grpc", "flask", "simple_salesforce", "urllib", "http", "asyncio"),
}
PURE = (
    *("mapping", "clockify_salesforce.state", "clockify_salesforce.message"),
    *("clockify_salesforce.time_entry", "clockify_salesforce.mapping_rules"),
    *("clockify_salesforce.mapping_file", "clockify_salesforce.salesforce.wish"),
    *("clockify_salesforce.salesforce.credentials", "clockify_salesforce.clockify.api_key"),
    *("clockify_salesforce.decisions", "clockify_salesforce.kinds"),
)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in PRODUCT}


def imported(path: Path) -> Iterator[str]:
    """The modules that a module names, at the top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def branches(function: ast.AST) -> int:
    return sum(isinstance(node, BRANCHING) for node in ast.walk(function))


def test_function_of_the_function_is_short() -> None:
    long = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in FUNCTION
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and ((node.end_lineno or 0) - node.lineno + 1 > LONGEST or branches(node) > BRANCHES)
    ]
    assert long == []


def test_imports_go_round_in_no_circle() -> None:
    needs = {
        name: {each for each in imported(path) if each in NAMES and each != name}
        for name, path in NAMES.items()
    }
    while free := {name for name, others in needs.items() if not others}:
        needs = {name: others - free for name, others in needs.items() if name not in free}
    assert needs == {}


@pytest.mark.parametrize("name", PURE)
def test_pure_module_knows_nothing_of_the_outside(name: str) -> None:
    seen: set[str] = set()
    todo = [name]
    while todo:
        module = todo.pop()
        seen.add(module)
        names = set(imported(NAMES[module]))
        assert not {each.split(".")[0] for each in names} & OUTSIDE, module
        todo += [each for each in names if each in NAMES and each not in seen]


def test_product_knows_neither_sandbox_nor_tests() -> None:
    for path in PRODUCT:
        assert not {each.split(".")[0] for each in imported(path)} & {"sandbox", "tests", "pytest"}
