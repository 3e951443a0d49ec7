"""Panels and boards, and their conversion to Grafana's JSON with the typed model of its schema.

This module contains no board and no metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, FieldColorModeId, Threshold, ThresholdsMode

RUNBOOK = "/public/errata/runbook.md"
"""Path at which Grafana serves deploy/runbook.md; deploy/compose.yaml mounts it there."""
SOURCE = DataSourceRef(type_val="prometheus", uid="errata-prometheus")
WIDTH = 24
"""Width of a board in Grafana's columns."""
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSpec:
    """One panel."""

    title: str
    about: str
    """Describes the metric and its normal values."""
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Pairs of an expression and a legend."""
    kind: Literal["graph", "stat"] = "graph"
    thresholds: tuple[tuple[float, str], ...] = ()
    """Pairs of a value and the color from that value on; ``below_is`` applies below the first."""
    below_is: str = GREEN
    """Color below the first threshold."""
    alert: str | None = None
    """The alert whose runbook page the panel links to."""
    gpu: bool = False
    """The panel shows values only if there is a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSpec:
    """One board: one row of stats, then rows of three graphs."""

    uid: str
    title: str
    about: str
    panels: tuple[PanelSpec, ...]


def board_json(spec: BoardSpec) -> str:
    """Return the board as Grafana's JSON."""
    board = (
        dashboard
        .Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.about)
        .tags(["errata"])
        .time("now-1h", "now")
        .refresh("15s")
        .readonly()
        .link(dashboard.DashboardLink("Runbook").url(RUNBOOK).target_blank(True))
    )
    for panel, span in zip(spec.panels, _spans(spec.panels), strict=True):
        board = board.with_panel(_panel(panel, span=span))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _spans(panels: tuple[PanelSpec, ...]) -> list[int]:
    """Return the width of each panel: a graph takes a third of the board, and all stats share one row."""
    stats = [panel for panel in panels if panel.kind == "stat"]
    share, left = divmod(WIDTH, max(1, len(stats)))
    return [WIDTH // 3 if panel.kind == "graph" else share + (stats.index(panel) < left) for panel in panels]


def _panel(spec: PanelSpec, *, span: int) -> timeseries.Panel | stat.Panel:
    panel = _graph() if spec.kind == "graph" else _stat()
    panel = (
        panel
        .title(f"{spec.title} (gpu)" if spec.gpu else spec.title)
        .description(spec.about)
        .unit(spec.unit)
        .datasource(SOURCE)
        .thresholds(_thresholds(spec))
        .height(8 if spec.kind == "graph" else 4)
        .span(span)
    )
    if spec.alert is not None:
        page = f"{RUNBOOK}#{spec.alert.lower()}"
        panel = panel.links([dashboard.DashboardLink(f"Runbook: {spec.alert}").url(page).target_blank(True)])
    for number, (expression, legend) in enumerate(spec.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        panel = panel.with_target(query.instant() if spec.kind == "stat" else query.range())
    return panel


def _graph() -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    return timeseries.Panel().min(0).line_width(1).fill_opacity(10).legend(legend)


def _stat() -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    colour = dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS)
    return stat.Panel().reduce_options(last).color_scheme(colour)


def _thresholds(spec: PanelSpec) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color=spec.below_is), *(Threshold(value=v, color=c) for v, c in spec.thresholds)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
