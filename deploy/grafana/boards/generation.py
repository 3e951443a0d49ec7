"""The board of answers: how many, how fast, by which version, in how much memory."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Median and 95 %; 0 where nothing was measured yet."""
    counted = f"sum by (le) (rate({metric}_bucket[$__rate_interval]))"
    return tuple(
        (f"(histogram_quantile({share}, {counted}) >= 0) or vector(0)", legend)
        for share, legend in ((0.5, "median"), (0.95, "95 %"))
    )


GENERATION = BoardSpec(
    uid="errata-generation",
    title="Errata: generation",
    about="Answers of the resident versions.",
    panels=(
        PanelSpec(
            title="Answers by end",
            about="Answers a second: stop, length, gone (the client left), refused, failed. Failed should be nothing.",
            unit="reqps",
            queries=(("sum by (outcome) (rate(errata_generation_answers_total[$__rate_interval]))", "{{outcome}}"),),
            alert="ErrataAnswersFail",
        ),
        PanelSpec(
            title="Scores by end",
            about="Scored targets a second: scored, gone (the client left), refused, failed.",
            unit="reqps",
            queries=(("sum by (outcome) (rate(errata_generation_scores_total[$__rate_interval]))", "{{outcome}}"),),
        ),
        PanelSpec(
            title="Tokens",
            about="Tokens read and written a second.",
            unit="suffix: tokens/s",
            queries=(("sum by (kind) (rate(errata_generation_tokens_total[$__rate_interval]))", "{{kind}}"),),
        ),
        PanelSpec(
            title="Requests in places and waiting",
            about="Prompts that are decoded together, and prompts without a place; too many are refused (429).",
            unit="none",
            queries=(
                ("sum(errata_generation_running_requests)", "running"),
                ("sum(errata_generation_waiting_requests)", "waiting"),
            ),
            thresholds=((200.0, ORANGE),),
        ),
        PanelSpec(
            title="Time to the whole answer",
            about="From a prompt's arrival to its whole answer.",
            unit="s",
            queries=_quantiles("errata_generation_answer_duration_seconds"),
            thresholds=((30.0, ORANGE),),
            alert="ErrataAnswersSlow",
        ),
        PanelSpec(
            title="Time to the first token",
            about="Of streams: from the arrival to the first piece of text.",
            unit="s",
            queries=_quantiles("errata_generation_first_token_duration_seconds"),
            thresholds=((5.0, ORANGE),),
        ),
        PanelSpec(
            title="Gap between tokens",
            about="Of streams: between two pieces of text.",
            unit="s",
            queries=_quantiles("errata_generation_token_gap_seconds"),
            thresholds=((0.5, ORANGE),),
        ),
        PanelSpec(
            title="Live version by replica",
            about="Number of the version that each replica serves. They differ for a moment after a promotion.",
            unit="none",
            queries=(("errata_generation_version_number", "{{instance}}"),),
            alert="ErrataReplicaBehind",
        ),
        PanelSpec(
            title="Behind the pointer",
            about="Since when another version should be live, by replica.",
            unit="s",
            queries=(("errata_generation_behind_seconds", "{{instance}}"),),
            thresholds=((60.0, RED),),
            alert="ErrataReplicaBehind",
        ),
        PanelSpec(
            title="Promotions that failed",
            about="Attempts to make a version live that failed: damaged, gone, or no room.",
            unit="none",
            queries=(("sum(errata_generation_load_failures_total)", "failures"),),
            alert="ErrataVersionNotLoaded",
        ),
        PanelSpec(
            title="Time to go live",
            about="From seeing a moved pointer to serving its version; running answers go on meanwhile.",
            unit="s",
            queries=_quantiles("errata_generation_swap_duration_seconds"),
        ),
        PanelSpec(
            title="Time to load",
            about="Reading a version into memory, of what it takes to go live.",
            unit="s",
            queries=_quantiles("errata_generation_load_duration_seconds"),
        ),
        PanelSpec(
            title="Stall by a change of version",
            about="The longest time between two steps of running answers while a version went live; 0: none ran.",
            unit="s",
            queries=_quantiles("errata_generation_swap_stall_seconds"),
            thresholds=((0.5, ORANGE),),
        ),
        PanelSpec(
            title="Digest by replica",
            about="0 while the version that should be live is damaged there, or has another digest than the ledger's.",
            unit="none",
            queries=(("errata_generation_digest_matches", "{{instance}}"),),
            thresholds=((1.0, GREEN),),
            below_is=RED,
            alert="ErrataDigestMismatch",
        ),
        PanelSpec(
            title="Versions in memory",
            about="Resident versions, all replicas.",
            unit="none",
            queries=(("errata_generation_resident_versions", "{{instance}}"),),
        ),
        PanelSpec(
            title="Memory of versions",
            about="Bytes that resident versions add to the model.",
            unit="bytes",
            queries=(("errata_generation_resident_bytes", "{{instance}}"),),
        ),
        PanelSpec(
            title="GPU memory",
            about="Memory of GPUs that each replica and each worker holds; 0 without one.",
            unit="bytes",
            queries=(
                ("errata_generation_gpu_memory_bytes", "{{instance}}"),
                ("errata_worker_gpu_memory_bytes", "worker {{instance}}"),
            ),
            gpu=True,
        ),
    ),
)
