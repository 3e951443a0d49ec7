"""The board of edits: arrivals, outcomes, times, and results of the checks."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec

EDITING = BoardSpec(
    uid="errata-editing",
    title="Errata: editing",
    about="Edits and batches from acceptance to the live version, and the results of its checks.",
    panels=(
        PanelSpec(
            title="Edits accepted",
            about="Edits per second that are written to the ledger.",
            unit="suffix: edits/s",
            queries=(("sum(rate(errata_edits_accepted_total[$__rate_interval]))", "accepted"),),
        ),
        PanelSpec(
            title="Edits by outcome",
            about="Edits per second that reach a final state.",
            unit="suffix: edits/s",
            queries=(("max by (outcome) (rate(errata_edits_total[$__rate_interval]))", "{{outcome}}"),),
            alert="ErrataBatchFailed",
        ),
        PanelSpec(
            title="Rejected batches by reason",
            about="Since the start of the workers: input (an edit does not fit the model), a limit, or capacity.",
            unit="none",
            queries=(("sum by (reason) (errata_worker_rejections_total)", "{{reason}}"),),
            alert="ErrataBatchRejected",
        ),
        PanelSpec(
            title="Rejected edits by reason",
            about="Edits of rejected batches, since the start of the workers.",
            unit="none",
            queries=(("sum by (reason) (errata_worker_rejected_edits_total)", "{{reason}}"),),
            alert="ErrataBatchRejected",
        ),
        PanelSpec(
            title="Superseded and removed",
            about="Edits that were superseded or removed, since the start of the workers.",
            unit="none",
            queries=(
                ("sum(errata_edits_superseded_total)", "superseded"),
                ("sum(errata_edits_taken_out_total)", "removed"),
            ),
        ),
        PanelSpec(
            title="Live edits",
            about="Number of edits in the live set.",
            unit="none",
            queries=(("max(errata_live_edits)", "edits"),),
        ),
        PanelSpec(
            title="Candidates",
            about="Versions that wait to be promoted. They expire after ERRATA_CANDIDATE_SECONDS.",
            unit="none",
            queries=(("max(errata_candidates)", "candidates"),),
        ),
        PanelSpec(
            title="Time by stage",
            about="Mean duration of a stage in the last hour. computing: search for z; applying: keys and solve.",
            unit="s",
            queries=(("errata:stage_seconds:mean1h", "{{stage}}"),),
        ),
        PanelSpec(
            title="Slow stages",
            about="95th percentile of the duration of a stage, since the start of the workers.",
            unit="s",
            queries=(
                (
                    "histogram_quantile(0.95, sum by (le, stage) (errata_worker_stage_seconds_bucket)) >= 0"
                    " or sum by (stage) (errata_worker_stage_seconds_count) * 0",
                    "{{stage}}",
                ),
            ),
        ),
        PanelSpec(
            title="z found",
            about="Edits per second whose z was searched or read from disk.",
            unit="suffix: edits/s",
            queries=(("sum(rate(errata_worker_targets_total[$__rate_interval]))", "edits"),),
        ),
        PanelSpec(
            title="Search steps",
            about="Steps per second of the searches for z.",
            unit="suffix: steps/s",
            queries=(("sum(rate(errata_worker_z_steps_total[$__rate_interval]))", "steps"),),
        ),
        PanelSpec(
            title="Checks of the live version",
            about="Reliability, generalization, specificity, generation success; earlier edits and guards that hold.",
            unit="percentunit",
            queries=(("min by (check) (errata_check_share)", "{{check}}"),),
            thresholds=((0.7, ORANGE), (0.9, GREEN)),
            below_is=RED,
        ),
        PanelSpec(
            title="Drift",
            about="KL divergence between the live version and the original on the probe set. The default limit is 0.5.",
            unit="suffix: nats",
            queries=(("max(errata_check_drift_nats)", "nats"),),
            thresholds=((0.4, ORANGE), (0.5, RED)),
            alert="ErrataStoreNearlyFull",
        ),
        PanelSpec(
            title="Perplexity",
            about="Perplexity on held-out text, divided by that of the original model. The default limit is 1.1.",
            unit="none",
            queries=(("max(errata_check_perplexity_ratio)", "ratio"),),
            thresholds=((1.08, ORANGE), (1.1, RED)),
            alert="ErrataStoreNearlyFull",
        ),
    ),
)
