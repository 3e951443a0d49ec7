"""Decides from the measurements whether a candidate may go live, with a reason for every broken limit.

The verdict separates two kinds of harm: harm by this batch (against the parent), and harm by all live edits together
(against the original: capacity). Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from editing_core.asking.perplexity import Perplexities
from editing_core.checks.limits import CheckLimits, Limit

_NUM_NAMED = 5
_GUARDS_WAY_OUT = "Leave out the edits that change them, or take the guards away (DELETE /guards/{id})"
NOT_FINITE = "the candidate computes no finite numbers"
"""The beginning of the reason for numbers that are not finite."""


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total. ``blame`` names the edits that cost most, worst first."""

    count: int
    total: int
    blame: tuple[str, ...] = ()

    @property
    def value(self) -> float | None:
        """None if there was nothing to count."""
        return self.count / self.total if self.total else None

    def to_json(self) -> dict[str, Any]:
        """Count, total and share."""
        return {"count": self.count, "total": self.total, "share": self.value}


@dataclass(frozen=True, slots=True)
class Broken:
    """A limit that a candidate breaks."""

    limit: Limit
    reason: str
    is_capacity: bool = False
    """Whether only all live edits together break the limit, and not the new edits alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The verdict, for people and for the ledger. Reports and summary are plain JSON."""

    passed: bool
    reasons: tuple[str, ...]
    """Why the candidate did not pass; empty if it passed."""
    summary: dict[str, Any]
    edits: dict[str, dict[str, Any]]
    """By id, the reports on the new edits (see ``editing_core.checks.edit_reports``)."""
    broken: tuple[Broken, ...] = ()
    """The limits that the new edits break. Limits that only all live edits together break are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All figures of a candidate."""

    num_live: int
    """Edits in force in the candidate."""
    num_new: int
    reliability: Share
    generation_success: float | None
    """Mean over the new edits; reported, not judged."""
    generalization: Share = Share(0, 0)
    """The share of the new edits' paraphrases with the new object as first choice; reported, not judged."""
    specificity: Share
    earlier: Share
    """The share of the earlier edits that still hold, among those that held in the parent."""
    guards: Share = Share(0, 0)
    """The share of the guards that still hold, among those that held in the parent."""
    drift: float
    """KL(original ‖ candidate)."""
    drift_from_parent: float
    parent_drift: float = 0.0
    """KL(original ‖ parent)."""
    answers_kept: float
    """Share of probes with the original's first choice."""
    perplexity: Perplexities
    delta_norms: Mapping[str, float]
    not_finite: Sequence[str] = field(default=())
    """Names of further results that are NaN or infinite."""


def judge(measured: Measured, limits: CheckLimits, *, edits: dict[str, dict[str, Any]]) -> CheckReport:
    """Compare each figure with its limit."""
    found = broken_limits(measured, limits)
    report = report_of(measured, limits, tuple(broken.reason for broken in found), edits=edits)
    return replace(report, broken=tuple(broken for broken in found if not broken.is_capacity))


def report_of(
    measured: Measured, limits: CheckLimits, reasons: tuple[str, ...], *, edits: dict[str, dict[str, Any]]
) -> CheckReport:
    """The report with these reasons against the candidate. Without reasons, the candidate has passed."""
    summary = summary_of(measured, limits)
    return CheckReport(passed=not reasons, reasons=reasons, summary=summary, edits=without_nan(edits))


def broken_limits(measured: Measured, limits: CheckLimits) -> tuple[Broken, ...]:
    """Every limit that the measurements break. If numbers are not finite, only that is reported."""
    broken = tuple(Broken("finite", reason) for reason in not_finite(measured))
    return broken or (*_shares(measured, limits), *_harm(measured, limits))


def not_finite(measured: Measured) -> Iterator[str]:
    """A reason if the candidate does not compute finite numbers."""
    figures = {
        "drift on the probe set": measured.drift,
        "perplexity on held-out text": measured.perplexity.candidate,
        **{f"‖Δ‖/‖W‖ of {name}": norm for name, norm in measured.delta_norms.items()},
    }
    broken = [*measured.not_finite, *(name for name, value in figures.items() if not math.isfinite(value))]
    if broken:
        yield (
            f"{NOT_FINITE} ({_some(broken)}): its weights cannot be served. "
            "Leave out the edits with unusual targets, or raise λ"
        )


def _shares(measured: Measured, limits: CheckLimits) -> Iterator[Broken]:
    judged: tuple[tuple[Limit, Share, float, str, str, str], ...] = (
        (
            "reliability",
            measured.reliability,
            limits.min_reliability,
            "new edits hold",
            "those that do not",
            "Reword their prompts or send fewer at once",
        ),
        (
            "specificity",
            measured.specificity,
            limits.min_specificity,
            "neighbours kept their answer",
            "most were lost by",
            "Leave these edits out, or raise λ",
        ),
        (
            "earlier",
            measured.earlier,
            limits.min_earlier_kept,
            "earlier edits still hold",
            "lost are",
            "Send fewer edits at once, or take out those that contradict them",
        ),
        ("guards", measured.guards, limits.min_guards_kept, "guards kept their answer", "lost are", _GUARDS_WAY_OUT),
    )
    for name, share, least, what, culprits, way_out in judged:
        if share.value is not None and not share.value >= least:
            yield Broken(
                name,
                f"only {share.count} of {share.total} {what} ({_percent(share.value)} of at least {_percent(least)}); "
                f"{culprits}: {_some(share.blame)}. {way_out}",
            )


def _harm(measured: Measured, limits: CheckLimits) -> Iterator[Broken]:
    for name, norm in measured.delta_norms.items():
        per_edit = norm / math.sqrt(max(1, measured.num_live))
        if not norm <= limits.max_delta_norm:
            yield Broken(
                "norms",
                f"the change of {name} is {norm:.2f} of the weight's own size (at most {limits.max_delta_norm:.2f}). "
                "Send fewer edits at once, or raise λ",
            )
        elif not per_edit <= limits.max_delta_per_edit:
            yield Broken(
                "norms",
                f"the change of {name} is {norm:.2f} of the weight's own size, {per_edit:.2f} for the root of "
                f"{measured.num_live} edits (at most {limits.max_delta_per_edit:.2f}): what the model knew hardly "
                "holds it back. Raise λ, or leave out edits with unusual prompts or targets",
            )
    drift = (measured.drift_from_parent, measured.drift, limits.max_drift)
    yield from _either(measured, "drift", *drift, shown="{:.2f} nats")
    perplexity = (measured.perplexity.rise_over_parent, measured.perplexity.rise, limits.max_perplexity_rise)
    yield from _either(measured, "perplexity", *perplexity, shown="+{:.1%}")


def _either(
    measured: Measured, what: Limit, from_parent: float, from_original: float, limit: float, *, shown: str
) -> Iterator[Broken]:
    """Blames the batch if it breaks the limit alone; otherwise reports that the store is full."""
    suspects = measured.specificity.blame
    if measured.num_new and not from_parent <= limit:
        named = f" Most neighbours were lost by: {_some(suspects)}." if suspects else ""
        yield Broken(
            what,
            f"this batch alone costs too much: {what} {_shown(shown, from_parent)} of {_shown(shown, limit)} allowed, "
            f"against the version before.{named} Leave such edits out, or raise λ",
        )
    elif not from_original <= limit:
        yield Broken(
            what,
            f"the store is full: {measured.num_live:,} live edits, {what} {_shown(shown, from_original)} of "
            f"{_shown(shown, limit).removeprefix('+')} allowed. Take edits out, or raise the limit",
            is_capacity=True,
        )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _shown(form: str, value: float) -> str:
    return form.format(value).replace("%", " %")


def summary_of(measured: Measured, limits: CheckLimits) -> dict[str, Any]:
    """All figures with their limits, as plain JSON."""
    perplexity = measured.perplexity
    used = max(perplexity.rise / limits.max_perplexity_rise, measured.drift / limits.max_drift)
    summary = {
        "num_live": measured.num_live,
        "num_new": measured.num_new,
        "reliability": measured.reliability.to_json(),
        "generation_success": measured.generation_success,
        "generalization": measured.generalization.to_json(),
        "specificity": measured.specificity.to_json(),
        "earlier": {**measured.earlier.to_json(), "lost": list(measured.earlier.blame)},
        "guards": {**measured.guards.to_json(), "lost": list(measured.guards.blame)},
        "drift": measured.drift,
        "drift_from_parent": measured.drift_from_parent,
        "probe_answers_kept": measured.answers_kept,
        "perplexity": {**asdict(perplexity), "rise": perplexity.rise, "rise_over_parent": perplexity.rise_over_parent},
        "delta_norms": dict(measured.delta_norms),
        "room": min(1.0, max(0.0, 1 - used)) if math.isfinite(used) else 0.0,
        "limits": asdict(limits),
    }
    plain: dict[str, Any] = without_nan(summary)
    return plain


def without_nan(value: Any) -> Any:
    """The same value with None for every number that JSON cannot express."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value
