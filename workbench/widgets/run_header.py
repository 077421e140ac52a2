"""What is always on a run's screen: where it is, what is wrong, and what it uses."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget
from textual.widgets import Static

from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.series import Series
from workbench.plain import plain
from workbench.report import duration, start_expected
from workbench.widgets import words
from workbench.widgets.lines import short

_BLOCKS = "▁▂▃▄▅▆▇█"


class RunHeader(Widget):
    """State, name, attempt and elapsed time; below them the progress with the time left."""

    COMPONENT_CLASSES = {  # noqa: RUF012  # Textual's own declaration
        *(f"run-header--{tone}" for tone in ("running", "done", "waiting", "muted", "failed")),
    }
    DEFAULT_CSS = """
    RunHeader {
        height: 2;
        padding: 0 1;
        background: $surface;
        & > .run-header--running { color: $text-primary; }
        & > .run-header--done { color: $text-success; }
        & > .run-header--waiting { color: $text-warning; }
        & > .run-header--muted { color: $text-muted; }
        & > .run-header--failed { color: $text-error; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = ("", "", "", "")
        self._tone = "muted"
        self._shown: tuple[Job, Run, float] | None = None

    def on_resize(self) -> None:
        """Fit the bar to the room, which is not known before."""
        if self._shown is not None:
            self.show(*self._shown)

    def show(self, job: Job, run: Run, now: float) -> None:
        """Draw these, where they have changed."""
        self._shown = (job, run, now)
        state = words.job_state_text(job)
        facts = [plain(job.spec.run.experiment), job.id, plain(job.status.node or job.profile)]
        if run.attempt > 1:
            facts.append(f"attempt {run.attempt}")
        facts.append(duration(job.elapsed_s(now)))
        progress = self._progress(job, run, now)
        if age := words.job_age(job, now):
            progress += f"  as of {age} ago" if job.as_of else "  not heard of yet"
        lines = (state, plain(job.spec.name), "  ".join(facts), progress)
        tone = words.state_tone(job.state)
        if (lines, tone) != (self._lines, self._tone):
            self._lines, self._tone = lines, tone
            self.refresh()

    def _progress(self, job: Job, run: Run, now: float) -> str:
        fraction = words.fraction_done(job, run)
        if fraction is None:
            starts = start_expected(job.status.expected_start_at, now)
            said = [plain(job.status.reason), starts]
            return (
                "; ".join(filter(None, said)) or f"no progress reported{'' if job.state.is_over else ' yet'}"
            )
        parts = [f"{int(fraction * 100)}%"]
        if left := words.eta(job, run):
            parts.append(f"{left} left")
        if run.progress and run.progress.stage and not job.state.is_over:
            parts.append(plain(run.progress.stage))
        width = max(10, min(40, self.size.width // 5))
        return f"{words.bar(fraction, width)} {'  '.join(parts)}"

    def render(self) -> Text:
        """Two lines."""
        state, name, facts, progress = self._lines
        tone = self.get_component_rich_style(f"run-header--{self._tone}", partial=True)
        width = self.size.width
        name = short(name, max(8, width - len(state) - len(facts) - 6))
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{state}  ", tone).append(name, "bold")
        text.append(" " * max(2, width - text.cell_len - len(facts))).append(facts, "dim")
        return text.append("\n").append(progress, tone)


class Notice(Static):
    """Why a run failed, or what a reader of its numbers should know; not there where there is nothing."""

    DEFAULT_CSS = """
    Notice {
        display: none;
        height: auto;
        max-height: 4;
        padding: 0 1;
        &.-caution { display: block; background: $warning-muted; color: $text-warning; }
        &.-failure { display: block; background: $error-muted; color: $text-error; }
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said = ""

    def show(self, job: Job, run: Run) -> None:
        """Say the failure, or else the newest warning."""
        failure = run.failure or (job.status.reason if words.state_tone(job.state) == "failed" else "")
        said = f"✗ {plain(failure)}" if failure else ""
        if not said and run.notes:
            more = f" (and {len(run.notes) - 1} before)" if len(run.notes) > 1 else ""
            said = f"! {plain(run.notes[-1])}{more}"
        if said != self._said:
            self._said = said
            self.set_class(bool(failure), "-failure")
            self.set_class(bool(said) and not failure, "-caution")
            self.update(said)


class ResourceLine(Widget):
    """Processor and memory of the run: a little chart and the newest value of each."""

    DEFAULT_CSS = """
    ResourceLine { height: 1; padding: 0 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._drawn = -1

    def show(self, run: Run) -> None:
        """Draw what is new."""
        if self._run is not run or len(run.cpu_percent) != self._drawn:
            self._run, self._drawn = run, len(run.cpu_percent)
            self.refresh()

    def render(self) -> Text:
        """One line."""
        run = self._run
        if run is None or run.resource is None:
            return Text("processor and memory: nothing reported")
        now = run.resource
        width = max(4, min(40, (self.size.width - 46) // 2))
        parts = []
        if now.cpu_percent is not None:
            parts.append(f"cpu {sparkline(run.cpu_percent, width)} {now.cpu_percent:.0f}%")
        if now.rss_mb is not None:
            parts.append(f"memory {sparkline(run.rss_mb, width)} {now.rss_mb:.0f} MB")
        if now.gpu_percent is not None:
            parts.append(f"gpu {now.gpu_percent:.0f}%")
        if now.gpu_memory_mb is not None:
            parts.append(f"gpu memory {now.gpu_memory_mb:.0f} MB")
        return Text("   ".join(parts), no_wrap=True, overflow="ellipsis")


def sparkline(series: Series, width: int) -> str:
    """The newest `width` values as blocks between 0 and the largest of them."""
    values = list(series.ys[-width:])
    top = max(values, default=0.0)
    if top <= 0:
        return "▁" * len(values)
    return "".join(_BLOCKS[min(7, max(0, int(value / top * 8)))] for value in values)
