"""The file of entries that Salesforce refused, which the next run takes up again."""

import json
from pathlib import Path


class Refusals:
    """The file of entries that Salesforce refused: one JSON object a line, with the reason.

    `waiting`: what an earlier run has left. Each line is on disk at once, and only a run that comes
    to its end takes the earlier lines out, so that a run may be stopped at any point.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0
        self._line_broke_off = False
        self.waiting: set[str] = set()
        if path.exists():
            text = path.read_text(encoding="utf-8")
            self._before = len(text.encode())
            self.waiting = {entry_id for line in text.splitlines() if (entry_id := _line_id(line))}
            self._line_broke_off = not text.endswith("\n")

    def add(self, entry_id: str, reason: str) -> bool:
        """Keep one entry for the next run; False where the file cannot be written."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                line = json.dumps({"entry": entry_id, "reason": reason}) + "\n"
                file.write("\n" + line if self._line_broke_off else line)
                self._line_broke_off = False
        except OSError:
            return False
        return True

    def finish(self) -> bool:
        """Take out the lines of earlier runs; tell whether any is left."""
        if not self._path.exists():
            return False
        left = self._path.read_bytes()[self._before :]
        if not left:
            self._path.unlink()
            return False
        new = self._path.with_suffix(self._path.suffix + ".new")
        new.write_bytes(left)
        new.replace(self._path)
        return True


def _line_id(line: str) -> str | None:
    """The entry's id in a line of the file; a line that broke off has none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return str(found["entry"]) if isinstance(found, dict) and "entry" in found else None
