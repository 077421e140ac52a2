"""The chart of times: milliseconds an evaluation, a line per plan, and a legend that gives the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static
from textual_plotext.plot import Plot

from workbench.model.run import Run
from workbench.plain import plain
from workbench.widgets.axes import linear_ticks, log_ticks, number, spread_out, tick
from workbench.widgets.chart import N_COLOURS, Chart
from workbench.widgets.lines import fitted
from workbench.widgets.measured import Measured

_LEAST_LEGEND = 9
"""Lines, its title among them."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_REFERENCE = "reference"
_LOG_FROM = 6.0
"""Where the slowest plan takes this many times the fastest, the axis is logarithmic by itself."""


def letter_of(plans: Sequence[str], plan: str) -> str:
    """The letter that stands for a plan in every chart of a run."""
    return LETTERS[plans.index(plan) % len(LETTERS)]


def plans_of(run: Run) -> list[str]:
    """The plans of a run, in the order in which they were first heard of."""
    return list(dict.fromkeys([plan for plan, _ in run.timings] + [plan for plan, *_ in run.accuracies]))


def cases_of(run: Run) -> list[str]:
    """The systems that were timed, in the order in which they were first heard of."""
    return list(dict.fromkeys(case for _, case in run.timings))


class TimingChart(Chart):
    """Lines of one case."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Mapping[str, Measured] = {}
        """By plan."""
        self.plans: Sequence[str] = ()
        self.smooth = False
        self.logarithmic = False

    def draw(self, plot: Plot, width: int, height: int) -> str | None:
        """Each plan's line in its colour, with its letter at its end."""
        if not self.lines:
            return "No evaluation has been timed yet."
        drawn = {plan: line.line(width, smooth=self.smooth) for plan, line in self.lines.items()}
        low, high = self._limits([y for _, ys in drawn.values() for y in ys])
        last_x = max(xs[-1] for xs, _ in drawn.values())

        def scaled(value: float) -> float:
            return math.log10(max(value, low)) if self.logarithmic else value

        bottom, top = scaled(low), scaled(high)
        room = max(2, height - 3)
        ends = spread_out(
            [(scaled(ys[-1]) - bottom) / (top - bottom) * (room - 1) for _, ys in drawn.values()], room - 1
        )
        right = max(1.0, last_x)
        for (plan, (xs, ys)), end in zip(drawn.items(), ends, strict=True):
            index = self.plans.index(plan)
            colour = self.colour(index)
            plot.plot(xs, [scaled(y) for y in ys], marker="braille", color=colour)
            y = bottom + (top - bottom) * end / max(1, room - 1)
            plot.text(f" {letter_of(self.plans, plan)}", right, y, color=colour, alignment="left")
        plot.xlim(0, right * (1 + 3.5 / width))
        plot.ylim(bottom, top)
        ticks = (log_ticks if self.logarithmic else linear_ticks)(low, high, max(3, height // 2))
        plot.yticks([scaled(value) for value in ticks], [tick(value) for value in ticks])
        x_ticks = [value for value in linear_ticks(0, right, max(3, width // 14)) if value == int(value)]
        plot.xticks(x_ticks, [f"{int(value)}" for value in x_ticks])
        return None

    def _limits(self, values: Sequence[float]) -> tuple[float, float]:
        """From below the lowest to above the highest value, with a little air."""
        low, high = min(values), max(values)
        if self.logarithmic:
            low = max(low, high * 1e-9, 1e-12)
            return low / 1.15, max(high, low) * 1.15
        air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        # Zero is shown where it is near: a chart that cuts it off makes small differences look large.
        return (0.0 if 0 <= low < 0.5 * high else low - air), high + air


class TimingPanel(Vertical):
    """The chart with its legend."""

    DEFAULT_CSS = """
    TimingPanel {
        & > Static { height: auto; padding: 0 1; text-wrap: nowrap; }
        & > TimingChart { height: 1fr; min-height: 6; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.smooth = False
        self.case = ""
        self._case_chosen = False
        """Until somebody has chosen, the newest case is drawn."""
        self._log_scale: bool | None = None
        """None until somebody has chosen."""
        self._measured: dict[tuple[str, str], Measured] = {}
        self._run: Run | None = None
        self._chart = TimingChart()
        self._legend = Static(markup=False)
        self._legend_lines = 0
        self._title = ""

    def compose(self) -> ComposeResult:
        """Chart above, numbers below."""
        yield self._chart
        yield self._legend

    def on_resize(self) -> None:
        """Give the numbers half of the room where they need it."""
        self._legend.styles.max_height = self._room
        self._say_left_out()

    @property
    def _room(self) -> int:
        """Lines that the legend may have."""
        return max(_LEAST_LEGEND, self.size.height // 2)

    @property
    def logarithmic(self) -> bool:
        """Whether the axis of time is logarithmic: as chosen, or where the plans lie far apart."""
        if self._log_scale is not None:
            return self._log_scale
        medians = [measured.quantile(0.5) for measured in self._lines().values()]
        return len(medians) > 1 and max(medians) > _LOG_FROM * max(min(medians), 1e-12)

    def show(self, run: Run) -> None:
        """Draw what is new of a run."""
        known = self._measured
        changed = self._run is not run or len(known) != len(run.timings)
        self._run = run
        self._measured = {}
        for key, series in run.timings.items():
            measured = known.get(key)
            if measured is None or measured.series is not series:  # a new attempt measures anew
                measured = Measured(series)
            changed |= measured.catch_up() and (key[1] == self.case or not self.case)
            self._measured[key] = measured
        cases = cases_of(run)
        newest = cases[-1] if cases else ""
        if self.case not in cases or (self.case != newest and not self._case_chosen):
            self.case, self._case_chosen, changed = newest, False, True
        if changed:
            self.draw()

    def choose_case(self, step: int) -> None:
        """Go on to another case."""
        cases = cases_of(self._run) if self._run else []
        if cases:
            self._case_chosen = True
            self.case = cases[(cases.index(self.case) + step) % len(cases)]
            self.draw()

    def toggle_log_scale(self) -> bool:
        """Turn between a linear and a logarithmic axis; which it is now."""
        self._log_scale = not self.logarithmic
        self.draw()
        return self._log_scale

    def toggle_smooth(self) -> bool:
        """Turn between measurements and their running median; whether it is smooth now."""
        self.smooth = not self.smooth
        self.draw()
        return self.smooth

    def draw(self) -> None:
        """Draw chart, legend and title again."""
        run = self._run
        if run is None:
            return
        chart, plans = self._chart, plans_of(run)
        chart.lines, chart.plans = self._lines(), plans
        chart.smooth, chart.logarithmic = self.smooth, self.logarithmic
        chart.redraw()
        # A new layout of the whole screen only where the legend has gained a line.
        self._legend.update(_legend(chart, plans), layout=len(chart.lines) != self._legend_lines)
        self._legend_lines = len(chart.lines)
        self._say_left_out()
        axis = "log" if chart.logarithmic else "linear"
        lines = "smooth lines" if chart.smooth else "every point"
        cases = cases_of(run)
        where = f" · {plain(self.case)} ({cases.index(self.case) + 1}/{len(cases)})" if cases else ""
        title = f"ms, by evaluation{where} · {axis} axis, {lines}"
        if title != self._title:
            self._title = title
            self.border_title = Text(title)

    def _say_left_out(self) -> None:
        left_out = max(0, self._legend_lines + 1 - self._room)
        self.border_subtitle = f"{left_out} more: z, or a taller terminal" if left_out else ""

    def _lines(self) -> dict[str, Measured]:
        return {plan: measured for (plan, case), measured in self._measured.items() if case == self.case}


def _legend(chart: TimingChart, plans: Sequence[str]) -> Text:
    """Letter, plan, median, interquartile range, number, and how many times faster than the reference."""
    lines = chart.lines
    if not lines:
        return Text("")
    reference = lines.get(_REFERENCE) or next(iter(lines.values()))
    widest = max(12, *(len(plain(plan)) for plan in lines))
    width = min(26, widest)
    text = Text(no_wrap=True)
    # What matters most stands first: a narrow panel cuts off the rest.
    text.append(f"  {'plan':{width}} {'median ms':>10} {'speed-up':>9} {'quartiles':>15} {'n':>6}", "dim")
    for plan, line in lines.items():
        median = line.quantile(0.5)
        ratio = f"{number(reference.quantile(0.5) / median)}×" if median > 0 else "-"
        quartiles = f"{number(line.quantile(0.25))}–{number(line.quantile(0.75))}"
        r, g, b = chart.colour(plans.index(plan) % N_COLOURS)
        text.append(f"\n{letter_of(plans, plan)} ", f"bold rgb({r},{g},{b})")
        text.append(fitted(plain(plan), width))
        text.append(f" {number(median):>10}", "bold")
        text.append(f" {ratio:>9} {quartiles:>15} {len(line.values):>6}")
    return text
