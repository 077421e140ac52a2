"""Comparison: the results of several runs side by side, and only what differs in how they were made.

The ratios are of medians from different runs, which may have met different loads or machines: they are
leads. A ratio to be relied on comes from one run that interleaves both plans.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench import report
from workbench.errors import NotAllowed
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.plain import plain

_VARIES = ("date", "load_average", "pid")
"""Differs between any two runs, and explains nothing by itself."""


@dataclass(frozen=True)
class Comparison:
    """What several runs measured, one column a run; the first is what the others are held against."""

    measured: pd.DataFrame
    """By quantity, plan and case: each run's value."""
    ratios: pd.DataFrame
    """By plan and case: the median time of the first run over that of each run: above 1 is faster."""
    differences: pd.DataFrame
    """By key: what the runs were asked and measured on, where they are not all the same."""

    def values(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            name: json.loads(frame.reset_index().to_json(orient="records", double_precision=12))
            for name, frame in (
                ("measured", self.measured),
                ("speed_up_over_the_first", self.ratios),
                ("differences", self.differences),
            )
        }

    def text(self) -> str:
        """As tables."""
        parts = [_table(self.measured)]
        if len(self.ratios.columns) > 1:
            parts.append("times faster than the first (medians of separate runs):\n" + _table(self.ratios))
        parts.append(
            "what differs:\n" + _table(self.differences) if len(self.differences) else "nothing differs"
        )
        return "\n\n".join(parts)


def compare(pairs: Sequence[tuple[Job, Run]]) -> Comparison:
    """Set runs side by side.

    Raises:
        NotAllowed: None of them has measured anything.
    """
    records = [record for job, run in pairs for record in _measurements(job.id, run)]
    if not records:
        raise NotAllowed("None of these runs has measured anything yet.")
    names = [job.id for job, _ in pairs]
    frame = pd.DataFrame(records, columns=["quantity", "plan", "case", "run", "value"])
    measured = frame.pivot_table(
        index=["quantity", "plan", "case"], columns="run", values="value", sort=False, dropna=False
    ).reindex(columns=names)
    measured = measured.dropna(how="all")
    times = measured.loc[["median ms"]].droplevel("quantity") if _has_times(measured) else measured.iloc[:0]
    ratios = times.rdiv(times[names[0]], axis=0)
    return Comparison(measured, ratios, _differences(pairs))


def _has_times(measured: pd.DataFrame) -> bool:
    return "median ms" in measured.index.get_level_values("quantity")


def _measurements(job_id: str, run: Run) -> list[tuple[str, str, str, str, float | None]]:
    found: list[tuple[str, str, str, str, float | None]] = []
    for (plan, case), series in run.timings.items():
        found.append(("median ms", plan, case, job_id, float(pd.Series(series.ys).median())))
    for (plan, case, against), accuracy in run.accuracies.items():
        name = f"force rmse meV/Å to {against}"
        found.append((name, plan, case, job_id, accuracy.force_rmse_mev_per_a))
        name = f"energy rmse meV/atom to {against}"
        found.append((name, plan, case, job_id, accuracy.energy_mev_per_atom))
    for name, series in run.metrics.items():
        found.append((f"last {name}", "", "", job_id, series.ys[-1]))
    return found


def _differences(pairs: Sequence[tuple[Job, Run]]) -> pd.DataFrame:
    columns = {
        job.id: {**_flat(json.loads(job.spec.run.to_json())), **_flat(run.provenance)} for job, run in pairs
    }
    frame = pd.DataFrame(columns).drop(index=list(_VARIES), errors="ignore").fillna("-").astype(str)
    frame.index.name = "key"
    return frame[frame.nunique(axis=1) > 1]


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = plain(value)
    return flat


def _table(frame: pd.DataFrame) -> str:
    flat = frame.reset_index()
    rows = [
        [plain(None if pd.isna(cell) else cell) for cell in row]
        for row in flat.itertuples(index=False, name=None)
    ]
    return report.table([str(name) for name in flat.columns], rows)
