"""Run every attack, or those whose names hold one of the words, and print what was heard.

Each takes some ten seconds on loopback. Ends with 1 where an authentic message was not answered, or
the slowest hundredth took a second; of what only Cloud Run's front end keeps off, the figures are
just told.
"""

import sys
import tempfile
from pathlib import Path

from sandbox.world import World

from .attacks import ATTACKS
from .run import attacked

MESSAGES = 40


def main(words: list[str]) -> int:
    """Print the table; return the exit code."""
    held = True
    print(f"{'attack':<58}{'200':>5}{'503':>5}{'none':>6}{'p99 ms':>8}")
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            for attack in ATTACKS:
                if words and not any(word in attack.name for word in words):
                    continue
                outcome = attacked(world, attack, MESSAGES)
                held &= outcome.held or attack.is_kept_off
                print(outcome, flush=True)
        finally:
            world.close()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
