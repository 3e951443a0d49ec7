"""Reports the outcome of a rebuild or a migration, for people and as JSON. Reads and writes no files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from editing_core.remaking.remake import Outcome

NUM_SHOWN = 50
"""Largest number of rows in the table; --json contains all edits."""


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the whole outcome as plain JSON values."""
    return {
        "version": outcome.manifest.version,
        "written": outcome.is_written,
        "model_fingerprint": outcome.manifest.model_fingerprint,
        "digest": outcome.digest,
        "stored_digest": outcome.source.manifest.digest,
        "same": outcome.is_same,
        "targets": {"reused": outcome.targets_reused, "searched": outcome.targets_searched},
        "made_with": {"stored": outcome.source.manifest.made_with, "new": outcome.manifest.made_with},
        "stored_unreadable": outcome.stored_unreadable,
        "differences": [asdict(difference) for difference in outcome.matrices],
        "scores": asdict(outcome.scores) if outcome.scores else None,
        "checks": outcome.report.summary,
        "passed": outcome.report.passed,
        "reasons": list(outcome.report.reasons),
        "left_out": dict(outcome.left_out),
        "edits": outcome.report.edits,
        "command": outcome.command,
    }


def print_rebuilt(outcome: Outcome, console: Console) -> None:
    """Print digests, differences and the next step."""
    manifest, stored = outcome.manifest, outcome.source.manifest
    console.print(f"{manifest.version}: {len(manifest.live)} edits, {_targets(outcome)}")
    console.print(f"digest {outcome.digest}, {'equal to' if outcome.is_same else 'different from'} the stored one")
    if not outcome.is_same:
        console.print(f"stored {stored.digest}")
        for line in _why_different(outcome):
            console.print(line)
        _print_differences(outcome, console)
    _print_end(outcome, console)


def print_migrated(outcome: Outcome, console: Console) -> None:
    """Print the edits that hold, the others with the reasons, and the next step."""
    reliability = outcome.report.summary["reliability"]
    num_all = len(outcome.source.manifest.live)
    console.print(
        f"{outcome.manifest.version}: {reliability['count']} of {num_all} edits hold, "
        f"{reliability['total'] - reliability['count']} do not, {len(outcome.left_out)} were left out; "
        f"{_targets(outcome)}"
    )
    table = Table("edit", "subject", "new object", "why not")
    rows = list(_not_holding(outcome))
    for row in rows[:NUM_SHOWN]:
        table.add_row(*row)
    if rows:
        console.print(table)
    if len(rows) > NUM_SHOWN:
        console.print(f"and {len(rows) - NUM_SHOWN} more: --json FILE contains all")
    _print_end(outcome, console)


def _targets(outcome: Outcome) -> str:
    return f"{outcome.targets_reused} z reused from the source, {outcome.targets_searched} searched again"


def _why_different(outcome: Outcome) -> Iterator[str]:
    stored, new = outcome.source.manifest, outcome.manifest
    for name in sorted({*stored.settings, *new.settings}):
        before, after = stored.settings.get(name), new.settings.get(name)
        if before != after:
            yield f"{name}: {before} then, {after} now"
    for name in sorted({*stored.made_with, *new.made_with}):
        was, now = stored.made_with.get(name, "not recorded"), new.made_with.get(name)
        if was != now:
            yield f"{name}: {was} then, {now} now (this may change the last bits)"


def _print_differences(outcome: Outcome, console: Console) -> None:
    if outcome.stored_unreadable is not None:
        console.print(f"the stored matrices cannot be compared: {outcome.stored_unreadable}")
    if outcome.matrices:
        table = Table("matrix", "‖difference‖/‖Δ‖", "‖difference‖/‖W‖")
        for found in outcome.matrices:
            of_change = "" if found.of_change is None else f"{found.of_change:.2g}"
            table.add_row(found.name, of_change, f"{found.of_weight:.2g}")
        console.print(table)
    if outcome.scores is not None:
        scores = outcome.scores
        console.print(
            f"reliability: {scores.holding_stored} of {scores.num_edits} stored, {scores.holding_new} now; "
            f"{len(scores.changed)} in one of the two only; largest change of a new object's probability: "
            f"{scores.largest_probability_change:.2g}"
        )


def _not_holding(outcome: Outcome) -> Iterator[tuple[str, str, str, str]]:
    for accepted in outcome.source.manifest.live:
        edit, reason = accepted.edit, outcome.left_out.get(accepted.id)
        if reason is None:
            report = outcome.report.edits[accepted.id]
            if report["holds"]:
                continue
            after = report["after"]
            writes = f"it writes {report['writes'].strip()[:40]!r}"
            reason = f"rank {after['rank']}, probability {after['probability']:.2g}: {writes}"
        else:
            reason = f"left out: {reason}"
        yield accepted.id, edit.subject, edit.target_new, reason


def _print_end(outcome: Outcome, console: Console) -> None:
    for reason in outcome.report.reasons:
        console.print(f"the checks failed: {reason}")
    if outcome.is_written:
        console.print(f"written; serve it with: {outcome.command}", soft_wrap=True)
    else:
        console.print(
            "only statistics and z were written, which the next attempt reuses: choose other --layers, --prior-weight "
            "or --clamp, or write the version anyway with --even-if-checks-fail"
        )
