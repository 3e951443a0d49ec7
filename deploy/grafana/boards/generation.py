"""The board of generation: number and speed of answers, versions, and memory."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Median and 95th percentile; 0 if nothing has been measured yet."""
    counted = f"sum by (le) (rate({metric}_bucket[$__rate_interval]))"
    return tuple(
        (f"(histogram_quantile({share}, {counted}) >= 0) or vector(0)", legend)
        for share, legend in ((0.5, "median"), (0.95, "95 %"))
    )


GENERATION = BoardSpec(
    uid="errata-generation",
    title="Errata: generation",
    about="Answers of the resident versions, promotions, and memory.",
    panels=(
        PanelSpec(
            title="Answers by outcome",
            about="Answers per second: stop, length, gone (client disconnected), refused, failed. Failed should be 0.",
            unit="reqps",
            queries=(("sum by (outcome) (rate(errata_generation_answers_total[$__rate_interval]))", "{{outcome}}"),),
            alert="ErrataAnswersFail",
        ),
        PanelSpec(
            title="Scores by outcome",
            about="Scored targets per second: scored, gone (the client disconnected), refused, failed.",
            unit="reqps",
            queries=(("sum by (outcome) (rate(errata_generation_scores_total[$__rate_interval]))", "{{outcome}}"),),
        ),
        PanelSpec(
            title="Tokens",
            about="Tokens read and written per second.",
            unit="suffix: tokens/s",
            queries=(("sum by (kind) (rate(errata_generation_tokens_total[$__rate_interval]))", "{{kind}}"),),
        ),
        PanelSpec(
            title="Running and waiting prompts",
            about="Prompts in decoding, and prompts that wait for a place. A full waiting list refuses prompts (429).",
            unit="none",
            queries=(
                ("sum(errata_generation_running_requests)", "running"),
                ("sum(errata_generation_waiting_requests)", "waiting"),
            ),
            thresholds=((200.0, ORANGE),),
        ),
        PanelSpec(
            title="Time to the complete answer",
            about="Time from the arrival of a prompt to its complete answer.",
            unit="s",
            queries=_quantiles("errata_generation_answer_duration_seconds"),
            thresholds=((30.0, ORANGE),),
            alert="ErrataAnswersSlow",
        ),
        PanelSpec(
            title="Time to the first token",
            about="For streams: time from the arrival to the first piece of text.",
            unit="s",
            queries=_quantiles("errata_generation_first_token_duration_seconds"),
            thresholds=((5.0, ORANGE),),
        ),
        PanelSpec(
            title="Gap between tokens",
            about="For streams: time between two pieces of text.",
            unit="s",
            queries=_quantiles("errata_generation_token_gap_seconds"),
            thresholds=((0.5, ORANGE),),
        ),
        PanelSpec(
            title="Live version by replica",
            about="Number of the version that each replica serves. Replicas differ briefly after a promotion.",
            unit="none",
            queries=(("errata_generation_version_number", "{{instance}}"),),
            alert="ErrataReplicaBehind",
        ),
        PanelSpec(
            title="Behind the pointer",
            about="How long each replica has served an outdated version.",
            unit="s",
            queries=(("errata_generation_behind_seconds", "{{instance}}"),),
            thresholds=((60.0, RED),),
            alert="ErrataReplicaBehind",
        ),
        PanelSpec(
            title="Failed promotions",
            about="Failed attempts to make a version live: it was damaged or missing, or memory was insufficient.",
            unit="none",
            queries=(("sum(errata_generation_load_failures_total)", "failures"),),
            alert="ErrataVersionNotLoaded",
        ),
        PanelSpec(
            title="Time to go live",
            about="Time from noticing a new pointer to serving its version. Running answers continue.",
            unit="s",
            queries=_quantiles("errata_generation_swap_duration_seconds"),
        ),
        PanelSpec(
            title="Time to load",
            about="Time to read a version into memory; part of the time to go live.",
            unit="s",
            queries=_quantiles("errata_generation_load_duration_seconds"),
        ),
        PanelSpec(
            title="Pause at a promotion",
            about="Longest time between two steps of running answers while a version went live. 0: no answers ran.",
            unit="s",
            queries=_quantiles("errata_generation_swap_stall_seconds"),
            thresholds=((0.5, ORANGE),),
        ),
        PanelSpec(
            title="Digest by replica",
            about="0 while the replica's copy of the live version is damaged or differs from the ledger's digest.",
            unit="none",
            queries=(("errata_generation_digest_matches", "{{instance}}"),),
            thresholds=((1.0, GREEN),),
            below_is=RED,
            alert="ErrataDigestMismatch",
        ),
        PanelSpec(
            title="Versions in memory",
            about="Number of resident versions by replica.",
            unit="none",
            queries=(("errata_generation_resident_versions", "{{instance}}"),),
        ),
        PanelSpec(
            title="Memory of versions",
            about="Bytes that resident versions need in addition to the model.",
            unit="bytes",
            queries=(("errata_generation_resident_bytes", "{{instance}}"),),
        ),
        PanelSpec(
            title="GPU memory",
            about="GPU memory that each replica and each worker uses. 0 without a GPU.",
            unit="bytes",
            queries=(
                ("errata_generation_gpu_memory_bytes", "{{instance}}"),
                ("errata_worker_gpu_memory_bytes", "worker {{instance}}"),
            ),
            gpu=True,
        ),
    ),
)
