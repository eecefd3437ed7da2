"""What README, docs/ and every message name is there: paths, links, headings, settings, options."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from clockify_salesforce.kinds import KINDS
from clockify_salesforce.kinds.kind import Kind
from clockify_salesforce.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
# What tells a person something: documentation, code, and what deploys, builds and configures it.
TELLING = {".md", ".py", ".sh", ".toml", ".txt", ".xml", ".js", ".html", ".json"}
TOP = sorted(each.name for each in ROOT.iterdir() if each.is_dir() and each.name != "build")
FOLDERS = [name for name in TOP if not name.startswith((".", "__"))]

# A path from the repository's root, and no part of an address or of a longer path.
PATH = re.compile(rf"(?<![\w/.~$}}-])(?:{'|'.join(FOLDERS)})/[\w./*-]*")
MODULE = re.compile(r"python3? -m ((?:commands|tests|sandbox)(?:\.\w+)*)")
HEADING = re.compile(r"(docs/[\w/-]+\.md), [\"“]([^\"”]+)[\"”]")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:\./(deploy\.sh)|python3? -m ((?:commands|tests|sandbox)(?:\.\w+)*))((?:[^\n`|;]|\\\n)*)"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# In a span of its own, and no option of ours.
OTHERS_OPTIONS = {
    "--invoker-iam-check",  # gcloud run's
    "--no-invoker-iam-check",
    "--allow-unauthenticated",
    "--max-retries",
    "--instance-url",  # sf org login's
}
# Settings that are not the function's: functions-framework's, and the commands'.
OTHERS_SETTINGS = {"THREADS", "CLOCKIFY_REGION"}
# Made at run time, or what a name stands for.
MADE = {"commands.NAME"}


@cache
def text_of(file: Path) -> str:
    return file.read_text("utf-8")


def told() -> Iterator[tuple[Path, str]]:
    """Every file of ours that may tell a person where to look, with what it tells."""
    for name in (*FOLDERS, "."):
        found = (ROOT / name).iterdir() if name == "." else (ROOT / name).rglob("*")
        for file in sorted(found):
            is_ours = file.suffix in TELLING or file.name == "Makefile"
            if is_ours and file.is_file() and "node_modules" not in file.parts:
                yield file, _said_in(file) if file.suffix == ".py" else text_of(file)


def _said_in(file: Path) -> str:
    """The comments of a Python file, and its texts of more than one word."""
    text = text_of(file)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [each.string for each in tokens if each.type == tokenize.COMMENT]
    texts = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return "\n".join([*said, *(each for each in texts if isinstance(each, str) and " " in each)])


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def is_there(path: str) -> bool:
    """Whether a path that is written somewhere exists; `*` in it stands for anything."""
    path = path.rstrip(".-")
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for line in FENCED.sub("", text_of(page)).splitlines():
        if heading := re.fullmatch(r"#{1,6} (.+?)", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.append(anchor if anchor not in found else f"{anchor}-{found.count(anchor)}")
    return frozenset(found)


def links(page: Path) -> list[str]:
    """Where a page's links and pictures point to; addresses of the internet are left out."""
    targets = LINK.findall(FENCED.sub("", text_of(page)))
    return [each for each in targets if not re.match(r"[a-z]+:", each)]


def target_of(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = unquote(link).partition("#")
    return (page.parent / path).resolve() if path else page, anchor


@cache
def module_file(module: str) -> Path | None:
    """The file that `python -m` runs, None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__main__.py")
    return next((each for each in candidates if each.exists()), None)


@cache
def options_of(module: str) -> frozenset[str]:
    """The options of a command, with those that it takes from modules beside it."""
    file = module_file(module)
    return _options_in(file) if file else frozenset()


@cache
def _options_in(file: Path) -> frozenset[str]:
    tree = ast.parse(text_of(file))
    found = {"--help"} | {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and OPTION.fullmatch(node.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("commands."):
            package = ROOT.joinpath(*str(node.module).split("."))
            for each in (package.with_suffix(".py"), package / "__init__.py"):
                found |= _options_in(each) if each.exists() and each != file else set()
    return frozenset(found)


@cache
def options_of_deploy() -> frozenset[str]:
    """The options that deploy.sh reads: what stands in front of `)` in a `case`."""
    files = [ROOT / "deploy.sh", *sorted((ROOT / "deploy").glob("*.sh"))]
    patterns = re.findall(
        r"^\s+(--[\w-]+(?: \| --?[\w-]+)*)\)", "\n".join(map(text_of, files)), re.MULTILINE
    )
    return frozenset(option for each in patterns for option in OPTION.findall(each))


def commands_in(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of ours that a page shows, with the options behind it."""
    for deploy, module, rest in COMMAND.findall(text_of(page)):
        yield deploy or module, OPTION.findall(re.split(r" # | #$", rest)[0])


# Paths and links ----------------------------------------------------------------------------------


def test_path_that_is_named_exists() -> None:
    missing = []
    for file, text in told():
        absent = [path for path in PATH.findall(text) if not is_there(path)]
        absent += [
            each for each in MODULE.findall(text) if each not in MADE and not module_file(each)
        ]
        missing += [f"{name_of(file)}: {each}" for each in absent]
    assert not missing


def test_heading_that_is_named_exists() -> None:
    for file, text in told():
        for page, heading in HEADING.findall(text):
            is_heading = f"# {heading}\n" in text_of(ROOT / page)
            assert is_heading, f"{name_of(file)}: {page}, {heading!r}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, anchor = target_of(page, link)
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, new = {README}, [README]
    while new:
        page = new.pop()
        for target, _ in (target_of(page, link) for link in links(page)):
            if target.suffix == ".md" and target.exists() and target not in reached:
                reached.add(target)
                new.append(target)
    assert set(PAGES) <= reached


def test_readme_is_read_in_three_minutes() -> None:
    assert 130 <= len(text_of(README).splitlines()) <= 180


# A deployment, as the set-up shows it, and how many components there are then.
DEPLOYED = re.compile(
    r"^ *sf project deploy start ((?:--source-dir \S+ )+)--target-org \w+\n *✓ \d+ of (\d+) comp",
    re.M,
)


@pytest.mark.parametrize("page", [ROOT / "docs/kinds.md", ROOT / "docs/salesforce.md"], ids=name_of)
def test_deployment_that_is_shown_has_as_many_components_as_there_are(page: Path) -> None:
    shown = DEPLOYED.findall(text_of(page))
    assert len(shown) == 2
    for folders, number in shown:
        of = [ROOT / each for each in folders.split() if each != "--source-dir"]
        assert sum(len([*each.rglob("*-meta.xml")]) for each in of) == int(number)


# Settings and options -----------------------------------------------------------------------------


def test_settings_page_names_every_setting_and_no_other() -> None:
    named = re.findall(
        r"^\| `([A-Z][A-Z_]+)` \| (?!made|`--)", text_of(ROOT / "docs/settings.md"), re.M
    )
    assert set(named) == {each.name.upper() for each in fields(Settings)} | OTHERS_SETTINGS


def test_kinds_page_names_every_field_that_is_deployed_for_them_and_no_other() -> None:
    files = (ROOT / "force-app/main").glob("*/objects/*/fields/*.field-meta.xml")
    fields = {file: file.name.partition(".")[0] for file in files}
    named = set(re.findall(r"`(\w+__c)`", text_of(ROOT / "docs/kinds.md")))
    assert {name for file, name in fields.items() if "main/data" in str(file)} <= named
    assert named <= set(fields.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kinds_page_tells_where_each_goes(kind: Kind) -> None:
    page = text_of(ROOT / "docs/kinds.md")
    assert re.search(rf"^\| {kind.name} \| .*\*\*.*Clockify {kind.name.title()} ID", page, re.M)
    assert all(f"{event}: created" in page for event in kind.events)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_option_of_a_command_exists(page: Path) -> None:
    for command, options in commands_in(page):
        known = options_of_deploy() if command == "deploy.sh" else options_of(command)
        assert set(options) <= known, f"{name_of(page)}: {command} {set(options) - known}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_option_by_itself_exists(page: Path) -> None:
    files = [file for folder in ("commands", "tests", "sandbox") for file in python_in(folder)]
    known = options_of_deploy().union(OTHERS_OPTIONS, *map(_options_in, files))
    spans = re.findall(r"`(--[a-z][a-z-]*)[^`]*`", FENCED.sub("", text_of(page)))
    assert set(spans) <= known, f"{name_of(page)}: {set(spans) - known}"


def python_in(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_target_that_is_named_exists(page: Path) -> None:
    there = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    shown = FENCED.findall(text_of(page))
    spans = re.findall(r"`make ([a-z-]+)`", FENCED.sub("", text_of(page)))
    lines = re.findall(r"^ *(?:\$ )?make ([a-z-]+)", "\n".join(shown), re.MULTILINE)
    assert {*spans, *lines} <= there, name_of(page)
