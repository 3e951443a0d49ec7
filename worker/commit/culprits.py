"""Finds the edits to blame if a single batch fails its checks. With `drop`, the rest goes on without them.

Does not use the ledger: the findings go into the report, and the caller ends the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from editing_core.culprits.inquiry import Inquest, Inquiry
from worker.commit.group import Dropped, Group
from worker.current_job import LeasedWork
from worker.metrics import Metrics
from worker.protocol.logs import log_event
from worker.session import Candidate

if TYPE_CHECKING:
    from editing_core.checks.checks import CheckReport
    from editing_core.edits import AcceptedEdit
    from worker.session import EditingSession

LOGGER = logging.getLogger(__name__)
PHASE = "finding culprits"
NAMED_CULPRITS = 20
"""Culprits named in a batch's error; its report names all of them."""
UNBLAMED = "no edit of this batch is to blame"


class CulpritFinder:
    """Searches a failed batch for the edits to blame."""

    def __init__(self, *, session: EditingSession, metrics: Metrics, max_tries: int) -> None:
        """``max_tries``: how many sets may be solved and tested per batch. 0 turns the search off."""
        self._session, self._metrics, self._max_tries = session, metrics, max_tries

    def resolve(
        self, group: Group, candidate: Candidate, report: CheckReport, work: LeasedWork
    ) -> tuple[Group, Candidate, CheckReport]:
        """Return the group unchanged with its culprits named in the report or, with `drop`, the group without them.

        If the returned report has passed, it describes the rest, and the returned group excludes the dropped edits.
        The group must have one batch. Raises StaleLease, WorkerStopping.
        """
        if not group.new or not self._max_tries:
            return group, candidate, report
        if not report.broken:
            return group, candidate, replace(report, reasons=(UNBLAMED, *report.reasons))
        with self._metrics.stage("finding_culprits"):
            work.begin(PHASE, 1)
            resolved = self._find(group, candidate, report, work)
            work.end()
        return resolved

    def _find(
        self, group: Group, candidate: Candidate, report: CheckReport, work: LeasedWork
    ) -> tuple[Group, Candidate, CheckReport]:
        def sets(left_out: frozenset[str]) -> tuple[Sequence[AcceptedEdit], Sequence[AcceptedEdit]]:
            rest = group.without(left_out)
            return rest.live, rest.new

        trials = self._session.trials(group.parent.version, group.guards)
        inquiry = Inquiry(trials, sets, broken=report.broken, max_tries=self._max_tries, on_progress=work.on_progress)
        found = inquiry.run()
        log_event(
            LOGGER,
            "batch.culprits",
            batch=group.ids[0],
            culprits=list(found.culprits),
            tries=found.num_tries,
            complete=found.is_complete,
        )
        named = {accepted.id: accepted for accepted in group.edits}
        blaming = _blaming(report, found, named)
        if group.options.on_failure != "drop" or found.rest is None or not found.rest.new:
            return group, candidate, blaming
        final = trials.report(found.rest)
        if not final.passed:  # all live edits together break a limit, which is no single edit's fault
            return group, candidate, replace(blaming, reasons=(*blaming.reasons, *final.reasons))
        rest = self._session.candidate_of(found.rest, group.guards)
        self._session.report_standing(final, rest)
        searched = {name: blaming.summary[name] for name in ("culprits", "culprit_search")}
        dropped = tuple(Dropped(named[edit], {**blaming.edits[edit], "holds": False}) for edit in found.culprits)
        own = {row.accepted.id: row.report for row in dropped} if group.options.dry_run else {}
        return (
            group.without(found.culprits, dropped=dropped),
            rest,
            replace(
                final,
                summary={**final.summary, **searched, "dropped": list(found.culprits)},
                edits={**final.edits, **own},
            ),
        )


def _blaming(report: CheckReport, found: Inquest, edits: dict[str, AcceptedEdit]) -> CheckReport:
    """Return the report with the culprits named in its reasons, its summary and the culprits' own reports."""
    culprits = [
        _culprit(edits[edit], [broken.limit for broken in why], [b.reason for b in why])
        for edit, why in found.culprits.items()
    ]
    own = {
        row["id"]: {**report.edits.get(row["id"], {}), "culprit": {"limits": row["limits"], "why": row["why"]}}
        for row in culprits
    }
    return replace(
        report,
        reasons=(_sentence(found, culprits, num_edits=len(edits)), *report.reasons),
        summary={
            **report.summary,
            "culprits": culprits,
            "culprit_search": {"tries": found.num_tries, "complete": found.is_complete},
        },
        edits={**report.edits, **own},
    )


def _culprit(accepted: AcceptedEdit, limits: Sequence[str], reasons: Sequence[str]) -> dict[str, Any]:
    return {
        "id": accepted.id,
        "subject": accepted.edit.subject,
        "target_new": accepted.edit.target_new,
        "limits": list(dict.fromkeys(limits)),
        "why": "; ".join(reasons) or "left out with the others; whether it alone breaks a limit was not tried any more",
    }


def _sentence(found: Inquest, culprits: Sequence[dict[str, Any]], *, num_edits: int) -> str:
    if not culprits and found.is_complete:
        return f"{UNBLAMED}: the check fails without any of them too"
    if not culprits:
        return f"which edits are to blame was not found in {found.num_tries} tries: send fewer edits at once"
    shown = ", ".join(
        f"{row['id']} ({row['subject']} → {row['target_new']}: {', '.join(row['limits']) or 'not tried alone'})"
        for row in culprits[:NAMED_CULPRITS]
    )
    more = f" and {len(culprits) - NAMED_CULPRITS} more" if len(culprits) > NAMED_CULPRITS else ""
    doubt = "" if found.is_complete else f" Some of them may be innocent: {found.num_tries} tries were allowed."
    rest = num_edits - len(culprits)
    way_out = f'Without them the other {rest} break no limit: leave them out, or send the batch with on_failure "drop"'
    return f"{len(culprits)} of {num_edits} edits break the checks: {shown}{more}.{doubt} " + (
        way_out if rest else "Of its edits nothing is left without them"
    )
