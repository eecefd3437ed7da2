"""What a set-up says: before each step what it will do, then what came of it, and what is left."""

import re
import sys
from dataclasses import dataclass, field


@dataclass(slots=True)
class Told:
    """`dry_run`: nothing is changed. `left`: what somebody has to do by hand."""

    dry_run: bool
    left: list[str] = field(default_factory=list)
    changes: int = 0
    _steps: int = 0

    def step(self, text: str) -> None:
        """Say what comes now."""
        self._steps += 1
        print(f"\n{self._steps}. {plain(text)}", flush=True)

    def is_there(self, text: str) -> None:
        """It needs no change."""
        print(f"   ✓ {plain(text)}", flush=True)

    def changed(self, text: str) -> None:
        """Something was changed, or would be."""
        self.changes += 1
        print(f"   {'would be: ' if self.dry_run else '✓ '}{plain(text)}", flush=True)

    def refused(self, what: str, todo: str) -> None:
        """The org does not do it: what to click, and the set-up goes on."""
        print(f"   ✗ {plain(what)}\n     → {plain(todo)}", flush=True)
        if todo not in self.left:
            self.left.append(todo)

    def agrees(self, question: str, *, yes: bool) -> bool:
        """Ask the person; `yes`: without asking. Where nobody can answer, it is a no."""
        if yes:
            return True
        if not sys.stdin.isatty():
            return False
        return input(f"   {plain(question)} [y/N] ").strip().casefold() in ("y", "yes")


def plain(text: str) -> str:
    """`text` without what moves a terminal's cursor: names in an org may hold it."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
