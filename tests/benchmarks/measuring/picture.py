"""Curves over the number of edits, both axes logarithmic, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

MARKERS = ("o", "s", "^", "D", "v")


def draw_curves(
    path: Path, sizes: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]], *, title: str
) -> None:
    """One panel a quantity, named by its unit; in each one line a stage."""
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    figure.suptitle(title)
    for axes, (unit, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for marker, (stage, values) in zip(MARKERS, curves.items(), strict=False):
            axes.plot(sizes, values, marker=marker, markersize=5, linewidth=1.6, label=stage)
        axes.set(xscale="log", yscale="log", xlabel="edits", ylabel=unit, xticks=sizes)
        axes.xaxis.set_minor_formatter(NullFormatter())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axes.grid(visible=True, which="major", alpha=0.35)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
