"""Put what was measured into tables and a plot, with nothing but Python itself."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from .contenders import NAMES

COLOURS = dict(zip(NAMES, ("#0176d3", "#9aa5b1", "#e8a33d"), strict=True))
WIDTH, HEIGHT, PLOT = 430, 250, 150  # of a panel, and of the bars in it, in pixels


@dataclass
class Measure:
    """One thing that was measured of each contender, a number for each turn."""

    label: str
    unit: str
    digits: int
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def add(self, name: str, value: float) -> None:
        """Note one turn."""
        self.values[name].append(value)

    def median(self, name: str) -> float:
        """The median of a contender's turns."""
        return statistics.median(self.values[name])

    def shown(self, name: str) -> str:
        """The median as text; a dash where it was not measured."""
        return f"{self.median(name):,.{self.digits}f}" if self.values[name] else "–"


@dataclass(frozen=True, slots=True)
class Target:
    """A limit, and what was measured."""

    label: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        low = self.at_least is None or self.measured >= self.at_least
        return low and (self.at_most is None or self.measured <= self.at_most)


def ratio(measure: Measure) -> float:
    """The function to the floor: the median of the turns' ratios."""
    return statistics.median(_ratios(measure))


def _ratios(measure: Measure) -> list[float]:
    pairs = zip(measure.values["function"], measure.values["floor"], strict=False)
    return [function / floor for function, floor in pairs if floor]


@dataclass
class Report:
    """All that was measured."""

    targets: Sequence[Target]
    measures: Sequence[Measure]
    panels: Mapping[str, Mapping[str, Measure]]
    notes: Sequence[str]

    def text(self) -> str:
        """Two Markdown tables, and how to read them."""
        lines = ["| target | limit | measured | |", "|---|---|---|---|"]
        for each in self.targets:
            limit = f"≥ {each.at_least}" if each.at_least is not None else f"≤ {each.at_most}"
            met = "met" if each.is_met else "MISSED"
            lines.append(f"| {each.label} | {limit} | {each.measured:.3g} | {met} |")
        lines += ["", f"| measured | unit | {' | '.join(NAMES)} | function : floor |"]
        lines.append(f"|---|---|{'---|' * len(NAMES)}---|")
        for measure in self.measures:
            shown = " | ".join(measure.shown(name) for name in NAMES)
            ratios = _ratios(measure)
            spread = ""
            if len(ratios) > 1:
                low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
                spread = f" ({low:.2f} to {high:.2f})"
            told = f"{ratio(measure):.2f}{spread}" if ratios else "–"
            lines.append(f"| {measure.label} | {measure.unit} | {shown} | {told} |")
        return "\n".join([*lines, "", *self.notes, ""])

    def write(self, stem: Path) -> None:
        """Write the text to `stem`.md and the plot to `stem`.svg."""
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".md").write_text(self.text())
        stem.with_suffix(".svg").write_text(self._plot())

    def _plot(self) -> str:
        rows = (len(self.panels) + 1) // 2
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{rows * HEIGHT}"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
        ]
        for number, (title, groups) in enumerate(self.panels.items()):
            x, y = number % 2 * WIDTH, number // 2 * HEIGHT
            parts.append(f'<g transform="translate({x + 20},{y + 30})">')
            parts += _panel(title, groups)
            parts.append("</g>")
        return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, groups: Mapping[str, Measure]) -> list[str]:
    unit = next(iter(groups.values())).unit
    most = max(measure.median(name) for measure in groups.values() for name in NAMES)
    parts = [f'<text font-weight="bold">{escape(title)} ({unit})</text>']
    for at, name in enumerate(NAMES):
        parts.append(f'<rect x="{at * 80}" y="10" width="10" height="10" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{at * 80 + 14}" y="19">{name}</text>')
    step = (WIDTH - 40) / len(groups)
    bar = step * 0.8 / len(NAMES)
    for place, (label, measure) in enumerate(groups.items()):
        left = place * step
        for at, name in enumerate(NAMES):
            height = PLOT * measure.median(name) / most
            x, top = left + at * bar, 40 + PLOT - height
            parts.append(
                f'<rect x="{x:.0f}" y="{top:.0f}" width="{bar - 2:.0f}" height="{height:.0f}"'
                f' fill="{COLOURS[name]}"/>'
                f'<text x="{x + bar / 2 - 1:.0f}" y="{top - 3:.0f}" text-anchor="middle"'
                f' font-size="9">{measure.median(name):.3g}</text>'
            )
        middle = left + step * 0.4
        parts.append(
            f'<text x="{middle:.0f}" y="{40 + PLOT + 16}" text-anchor="middle">{label}</text>'
        )
    return parts
