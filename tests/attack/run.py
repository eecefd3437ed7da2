"""One attack: the function, the strangers, and what authentic messages hear meanwhile."""

from dataclasses import dataclass

from sandbox.world import Function, World

from .attacks import Attack
from .messages import Heard, send
from .strangers import at_work

SLOWEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was heard during an attack; printed, it is a line of the table."""

    attack: Attack
    heard: Heard

    @property
    def held(self) -> bool:
        """Whether it kept no message out. Where no secret can be read, 503 at once is all."""
        attack, heard = self.attack, self.heard
        nothing_known = attack.cold and (attack.slow_s or attack.down or attack.missing)
        taken = heard.counted(200, 503) if nothing_known else heard.counted(200)
        return taken == len(heard.statuses) and heard.p99 < SLOWEST_S

    def __str__(self) -> str:
        heard, attack = self.heard, self.attack
        none = len(heard.statuses) - heard.counted(200, 503)
        verdict = "" if self.held else "  kept off by the front end" * attack.is_kept_off or "  !"
        return (
            f"{attack.name:<58}{heard.counted(200):>5}{heard.counted(503):>5}{none:>6}"
            f"{heard.p99 * 1000:>8.0f}{verdict}"
        )


def attacked(
    world: World,
    attack: Attack,
    number: int,
    *,
    per_second: float = 5,
    function: Function | None = None,
) -> Outcome:
    """Attack a function that runs, or one of its own, while `number` messages are sent to it."""
    own = function is None
    function = function or Function(world)
    secret, trouble = world.signing_secret, world.secret_manager.trouble
    try:
        if not attack.cold:
            send(function, secret, number=1, first=1_000_000)
        trouble.slow, trouble.down = attack.slow_s, attack.down
        if attack.missing:
            world.secrets["signing-secrets"].clear()
        with at_work(int(function.url.rpartition(":")[2]), attack.strangers):
            return Outcome(attack, send(function, secret, number=number, per_second=per_second))
    finally:
        trouble.slow, trouble.down = 0.0, False
        world.secrets["signing-secrets"] = [secret]
        if own:
            function.kill()
