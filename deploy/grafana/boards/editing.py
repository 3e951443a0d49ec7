"""The board of edits: what came in, what became of it, how long it took, what the checks found."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec

EDITING = BoardSpec(
    uid="errata-editing",
    title="Errata: editing",
    about="Edits and batches from acceptance to the live version, and what the checks found of it.",
    panels=(
        PanelSpec(
            title="Edits accepted",
            about="Edits taken into the ledger, a second.",
            unit="suffix: edits/s",
            queries=(("sum(rate(errata_edits_accepted_total[$__rate_interval]))", "accepted"),),
        ),
        PanelSpec(
            title="Edits by outcome",
            about="Edits that reached a final state, a second.",
            unit="suffix: edits/s",
            queries=(("max by (outcome) (rate(errata_edits_total[$__rate_interval]))", "{{outcome}}"),),
            alert="ErrataBatchFailed",
        ),
        PanelSpec(
            title="Rejected batches by reason",
            about="Since the workers' start: input (an edit does not fit the model), a broken limit, or capacity.",
            unit="none",
            queries=(("sum by (reason) (errata_worker_rejections_total)", "{{reason}}"),),
            alert="ErrataBatchRejected",
        ),
        PanelSpec(
            title="Rejected edits by reason",
            about="Edits of the rejected batches, since the workers' start.",
            unit="none",
            queries=(("sum by (reason) (errata_worker_rejected_edits_total)", "{{reason}}"),),
            alert="ErrataBatchRejected",
        ),
        PanelSpec(
            title="Replaced and taken out",
            about="Edits that later ones replaced, and edits that were taken out, since the workers' start.",
            unit="none",
            queries=(
                ("sum(errata_edits_superseded_total)", "superseded"),
                ("sum(errata_edits_taken_out_total)", "taken out"),
            ),
        ),
        PanelSpec(
            title="Edits in force",
            about="The size of the live set.",
            unit="none",
            queries=(("max(errata_live_edits)", "edits"),),
        ),
        PanelSpec(
            title="Candidates",
            about="Versions that wait for somebody to promote them; they expire.",
            unit="none",
            queries=(("max(errata_candidates)", "candidates"),),
        ),
        PanelSpec(
            title="Time by stage",
            about="Mean seconds that a stage took in the last hour. computing: z; applying: keys and solve.",
            unit="s",
            queries=(("errata:stage_seconds:mean1h", "{{stage}}"),),
        ),
        PanelSpec(
            title="Slow stages",
            about="95 % of the stages took no longer; since the workers' start.",
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
            about="Edits whose z was searched or found on disk, a second.",
            unit="suffix: edits/s",
            queries=(("sum(rate(errata_worker_targets_total[$__rate_interval]))", "edits"),),
        ),
        PanelSpec(
            title="Steps of z",
            about="Steps that searches for z take, a second.",
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
            about="KL divergence of the live version from the original on the probe set. The default limit is 0.5.",
            unit="suffix: nats",
            queries=(("max(errata_check_drift_nats)", "nats"),),
            thresholds=((0.4, ORANGE), (0.5, RED)),
            alert="ErrataStoreNearlyFull",
        ),
        PanelSpec(
            title="Perplexity",
            about="Of the live version on held-out text, over the original's. The default limit is 1.1.",
            unit="none",
            queries=(("max(errata_check_perplexity_ratio)", "ratio"),),
            thresholds=((1.08, ORANGE), (1.1, RED)),
            alert="ErrataStoreNearlyFull",
        ),
    ),
)
