"""The limits of the checks. Knows no model and no settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self

Limit = Literal["finite", "norms", "reliability", "specificity", "earlier", "guards", "drift", "perplexity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """The limits that a candidate must meet. Shares are between 0 and 1."""

    min_reliability: float = 0.7
    min_specificity: float = 0.8
    min_earlier_kept: float = 0.9
    max_drift: float = 0.5
    """Mean KL divergence on the probe set, in nats."""
    max_perplexity_rise: float = 0.1
    """As a share: 0.1 is +10 %."""
    max_delta_norm: float = 15.0
    """‖Δ‖/‖W‖ of one layer."""
    max_delta_per_edit: float = 0.72
    """‖Δ‖/‖W‖ over the square root of the number of live edits. The norm grows with it while the prior limits it."""
    min_guards_kept: float = 0.95
    max_earlier: int = 200
    """The largest number of earlier edits to ask. If more are live, half are the oldest and half are drawn by seed."""

    @classmethod
    def read(cls, source: object) -> Self:
        """The limits from the attributes of ``source``, such as settings. Missing limits have their default."""
        return cls(**{item.name: getattr(source, item.name) for item in fields(cls) if hasattr(source, item.name)})
