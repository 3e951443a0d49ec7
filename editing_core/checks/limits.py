"""The limits that the checks hold a candidate to. Knows no model and no settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Limit = Literal["finite", "norms", "reliability", "specificity", "earlier", "guards", "drift", "perplexity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """What a candidate must reach; shares are between 0 and 1."""

    min_reliability: float
    min_specificity: float
    min_earlier_kept: float
    max_drift: float
    """Mean KL divergence on the probe set, in nats."""
    max_perplexity_rise: float
    """As a share: 0.1 is +10 %."""
    max_delta_norm: float
    """‖Δ‖/‖W‖ of one layer."""
    max_delta_per_edit: float
    """The same over the square root of the number of live edits, with which it grows while the prior holds it."""
    min_guards_kept: float = 0.95
    max_earlier: int = 200
    """Earlier edits that are asked; of more, half are the oldest and half drawn by seed."""
