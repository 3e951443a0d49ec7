"""The board for whoever is on call: is all well, and where to look when it is not."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec

_UP = ((1.0, GREEN),)

OVERVIEW = BoardSpec(
    uid="errata-overview",
    title="Errata: overview",
    about="Is all well? Red here has a page in the runbook; the other boards tell more.",
    panels=(
        PanelSpec(
            title="Redis",
            about="1 while the ledger answers. At 0 nothing is accepted; answers go on with what is resident.",
            unit="none",
            queries=(("min(errata_ledger_up)", "answers"),),
            kind="stat",
            thresholds=_UP,
            below_is=RED,
            alert="ErrataRedisDown",
        ),
        PanelSpec(
            title="APIs",
            about="API processes that Prometheus reaches.",
            unit="none",
            queries=(('sum(up{job="errata-api"})', "up"),),
            kind="stat",
            thresholds=_UP,
            below_is=RED,
            alert="ErrataApiDown",
        ),
        PanelSpec(
            title="Generation ready",
            about="Replicas whose live version is resident with the ledger's digest.",
            unit="none",
            queries=(("sum(errata_generation_ready)", "ready"),),
            kind="stat",
            thresholds=_UP,
            below_is=RED,
            alert="ErrataGenerationNotReady",
        ),
        PanelSpec(
            title="Workers ready",
            about="Workers with their model loaded. Without one, batches wait.",
            unit="none",
            queries=(("sum(errata_worker_ready)", "ready"),),
            kind="stat",
            thresholds=_UP,
            below_is=RED,
            alert="ErrataWorkerDown",
        ),
        PanelSpec(
            title="Live version",
            about="Number of the version that answers: 12 of v12.",
            unit="none",
            queries=(("max(errata_live_version_number)", "version"),),
            kind="stat",
        ),
        PanelSpec(
            title="Room left",
            about="Share of the checks' limits that the live edits leave. Below a tenth batches are refused soon.",
            unit="percentunit",
            queries=(("min(errata_store_room)", "room"),),
            kind="stat",
            thresholds=((0.1, ORANGE), (0.25, GREEN)),
            below_is=RED,
            alert="ErrataStoreNearlyFull",
        ),
        PanelSpec(
            title="Requests",
            about="Requests a second, by class of the answer. 5xx should be nothing.",
            unit="reqps",
            queries=(("sum by (class) (rate(errata_http_responses_total[$__rate_interval]))", "{{class}}"),),
            alert="ErrataHttpErrors",
        ),
        PanelSpec(
            title="Errors",
            about="Share of requests answered 5xx. Alerted above 1 %.",
            unit="percentunit",
            queries=(("errata:http_errors:ratio5m", "5xx"),),
            thresholds=((0.01, RED),),
            alert="ErrataHttpErrors",
        ),
        PanelSpec(
            title="Latency",
            about="Of all requests, waits for a batch (?wait=) included; the generation board has answers alone.",
            unit="s",
            queries=(("errata:http_latency_seconds:p50", "median"), ("errata:http_latency_seconds:p95", "95 %")),
            thresholds=((30.0, ORANGE),),
        ),
        PanelSpec(
            title="Open batches",
            about="Batches without a final state, by state. A number that only grows means that no worker keeps up.",
            unit="none",
            queries=(("max by (state) (errata_batches)", "{{state}}"),),
            alert="ErrataOldestBatchWaits",
        ),
        PanelSpec(
            title="Tokens",
            about="Tokens written a second, by all replicas.",
            unit="none",
            queries=(("errata:generation_tokens:rate5m", "{{kind}}"),),
        ),
        PanelSpec(
            title="Behind the pointer",
            about="How long another version should have been live at the slowest replica. Seconds while one loads.",
            unit="s",
            queries=(("max(errata_generation_behind_seconds)", "slowest"),),
            thresholds=((60.0, RED),),
            alert="ErrataReplicaBehind",
        ),
    ),
)
