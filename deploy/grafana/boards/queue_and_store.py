"""The board of queue and store: jobs, leases, ledger, Redis and its disk, files."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec

_OK = ((1.0, GREEN),)

QUEUE_AND_STORE = BoardSpec(
    uid="errata-queue-and-store",
    title="Errata: queue and store",
    about="Waiting work, leases, durability of Redis, and the size of the store.",
    panels=(
        PanelSpec(
            title="Append-only file",
            about="1 while Redis writes every accepted batch to its disk before the client receives 202.",
            unit="none",
            queries=(("min(errata_redis_durable)", "at start"), ("min(errata_redis_append_only)", "now")),
            kind="stat",
            thresholds=_OK,
            below_is=RED,
            alert="ErrataRedisUnsafe",
        ),
        PanelSpec(
            title="Last write and rewrite",
            about="1 while the last write and rewrite of that file succeeded. 0: the disk is full or failing.",
            unit="none",
            queries=(
                ("min(errata_redis_last_write_ok)", "write"),
                ("min(errata_redis_last_rewrite_ok)", "rewrite"),
            ),
            kind="stat",
            thresholds=_OK,
            below_is=RED,
            alert="ErrataRedisUnsafe",
        ),
        PanelSpec(
            title="Promotions",
            about="Number of times the pointer has moved, from the ledger.",
            unit="none",
            queries=(("max(errata_pointer_revision)", "revision"),),
            kind="stat",
        ),
        PanelSpec(
            title="Waiting jobs",
            about="Length of the queue. It is normally short, since a shard contains many edits.",
            unit="none",
            queries=(("max(errata_queue_depth)", "jobs"),),
            thresholds=((500.0, ORANGE),),
            alert="ErrataQueueNearlyFull",
        ),
        PanelSpec(
            title="Open batches",
            about="Batches without a final state. From ERRATA_MAX_OPEN_BATCHES (1000) on, new batches are refused.",
            unit="none",
            queries=(("max(errata_open_batches)", "batches"),),
            thresholds=((800.0, RED),),
            alert="ErrataQueueNearlyFull",
        ),
        PanelSpec(
            title="Oldest open batch",
            about="Age of the oldest open batch. Minutes are normal for large models, hours are not.",
            unit="s",
            queries=(("max(errata_oldest_batch_age_seconds)", "oldest"),),
            thresholds=((3600.0, RED),),
            alert="ErrataOldestBatchWaits",
        ),
        PanelSpec(
            title="Age of the current unit of work",
            about="How long each worker has been busy with its current unit of work. A live worker keeps its lease.",
            unit="s",
            queries=(("errata_worker_unit_age_seconds", "{{instance}}"),),
            thresholds=((7200.0, RED),),
            alert="ErrataUnitStuck",
        ),
        PanelSpec(
            title="Commit running for",
            about="How long a worker has held the lease of the commit, from the ledger. 0: no commit is running.",
            unit="s",
            queries=(("max(errata_commit_lease_age_seconds)", "lease"),),
            thresholds=((7200.0, RED),),
            alert="ErrataUnitStuck",
        ),
        PanelSpec(
            title="Work enqueued again",
            about="Units enqueued again since the start of the workers. A few are normal after a crash.",
            unit="none",
            queries=(("sum(errata_worker_requeues_total)", "units"),),
            alert="ErrataWorkForgotten",
        ),
        PanelSpec(
            title="Open exports",
            about="Exports that wait or run. Commits come first.",
            unit="none",
            queries=(("max(errata_open_exports)", "exports"),),
        ),
        PanelSpec(
            title="Redis memory",
            about="Memory that Redis uses. Redis never evicts keys; at its limit it refuses writes.",
            unit="bytes",
            queries=(("max(errata_redis_memory_bytes)", "used"),),
        ),
        PanelSpec(
            title="Size of the append-only file",
            about="Size on disk. It grows until the next rewrite.",
            unit="bytes",
            queries=(("max(errata_redis_append_only_bytes)", "size"),),
        ),
        PanelSpec(
            title="Audit entries",
            about="Number of entries in the audit chain. It only grows.",
            unit="none",
            queries=(("max(errata_audit_entries)", "entries"),),
        ),
        PanelSpec(
            title="Store by kind",
            about="Bytes of versions, z files, artefacts and exports in the data folder, measured every minute.",
            unit="bytes",
            queries=(("max by (kind) (errata_store_bytes)", "{{kind}}"),),
        ),
    ),
)
