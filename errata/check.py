"""The outcome of the checks in a form that people can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from editing_core.checks.verdict import CheckReport


@dataclass(frozen=True, slots=True)
class Check:
    """What the service would decide about the edited model. ``print`` shows the decision and the figures."""

    report: CheckReport
    """Everything that was measured, as the service stores it."""

    @property
    def passed(self) -> bool:
        """Whether the edited model keeps all limits."""
        return self.report.passed

    @property
    def reasons(self) -> tuple[str, ...]:
        """One text for each limit that is broken; empty if the check passed."""
        return self.report.reasons

    @property
    def edits(self) -> dict[str, dict[str, Any]]:
        """The report on each edit. ``edits[2]`` names the third edit of the list that was given."""
        return self.report.edits

    def __str__(self) -> str:
        lines = ["passed" if self.passed else "failed", *(f"  - {reason}" for reason in self.reasons)]
        for name, value in self.report.summary.items():
            if (shown := _shown(value)) is not None:
                lines.append(f"  {name}: {shown}")
        return "\n".join(lines)


def _shown(value: Any) -> str | None:
    """A figure in a few characters; None if it has no short form."""
    if isinstance(value, Mapping):
        if "share" in value and value["total"]:
            return f"{value['count']} of {value['total']}"
        if "candidate" in value and value.get("rise") is not None:
            return f"{value['candidate']:.4g} ({value['rise']:+.2%})"
        return None
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int) else None
