"""The board of what lies between: queue, leases, ledger, Redis and its disk, the store."""

from __future__ import annotations

from deploy.grafana.boards.panels import GREEN, ORANGE, RED, BoardSpec, PanelSpec

_OK = ((1.0, GREEN),)

QUEUE_AND_STORE = BoardSpec(
    uid="errata-queue-and-store",
    title="Errata: queue and store",
    about="Work that waits, who has it in hand, whether Redis keeps it, and how large the store is.",
    panels=(
        PanelSpec(
            title="Append-only file",
            about="1 while Redis keeps every accepted batch on its disk before 202 is sent.",
            unit="none",
            queries=(("min(errata_redis_durable)", "as started"), ("min(errata_redis_append_only)", "now")),
            kind="stat",
            thresholds=_OK,
            below_is=RED,
            alert="ErrataRedisUnsafe",
        ),
        PanelSpec(
            title="Last writes to it",
            about="1 while the last write, and the last rewriting, succeeded. 0: the disk is full or failing.",
            unit="none",
            queries=(
                ("min(errata_redis_last_write_ok)", "write"),
                ("min(errata_redis_last_rewrite_ok)", "rewriting"),
            ),
            kind="stat",
            thresholds=_OK,
            below_is=RED,
            alert="ErrataRedisUnsafe",
        ),
        PanelSpec(
            title="Promotions",
            about="Number of the last move of the pointer, as the ledger knows it.",
            unit="none",
            queries=(("max(errata_pointer_revision)", "revision"),),
            kind="stat",
        ),
        PanelSpec(
            title="Jobs that wait",
            about="Length of the queue; short, since batches are cut into shards of many edits.",
            unit="none",
            queries=(("max(errata_queue_depth)", "jobs"),),
            thresholds=((500.0, ORANGE),),
            alert="ErrataQueueNearlyFull",
        ),
        PanelSpec(
            title="Open batches",
            about="Batches without a final state. At ERRATA_MAX_OPEN_BATCHES (1000) more are refused.",
            unit="none",
            queries=(("max(errata_open_batches)", "batches"),),
            thresholds=((800.0, RED),),
            alert="ErrataQueueNearlyFull",
        ),
        PanelSpec(
            title="Oldest open batch",
            about="Age of the batch that waits longest. Minutes are normal for large models, hours are not.",
            unit="s",
            queries=(("max(errata_oldest_batch_age_seconds)", "oldest"),),
            thresholds=((3600.0, RED),),
            alert="ErrataOldestBatchWaits",
        ),
        PanelSpec(
            title="In hand since",
            about="How long each worker has had its present unit of work. It keeps the lease as long as it lives.",
            unit="s",
            queries=(("errata_worker_unit_age_seconds", "{{instance}}"),),
            thresholds=((7200.0, RED),),
            alert="ErrataUnitStuck",
        ),
        PanelSpec(
            title="At a commit since",
            about="How long one worker has held the right to commit, as the ledger knows it; 0 while none does.",
            unit="s",
            queries=(("max(errata_commit_lease_age_seconds)", "lease"),),
            thresholds=((7200.0, RED),),
            alert="ErrataUnitStuck",
        ),
        PanelSpec(
            title="Forgotten work",
            about="Units that the reconciler enqueued again, since the workers' start. A few after a crash are normal.",
            unit="none",
            queries=(("sum(errata_worker_requeues_total)", "units"),),
            alert="ErrataWorkForgotten",
        ),
        PanelSpec(
            title="Open exports",
            about="Exports that wait or run; commits come before them.",
            unit="none",
            queries=(("max(errata_open_exports)", "exports"),),
        ),
        PanelSpec(
            title="Redis memory",
            about="Memory that Redis uses. It never evicts: at its limit it refuses.",
            unit="bytes",
            queries=(("max(errata_redis_memory_bytes)", "used"),),
        ),
        PanelSpec(
            title="Append-only file's size",
            about="Grows between two rewritings.",
            unit="bytes",
            queries=(("max(errata_redis_append_only_bytes)", "size"),),
        ),
        PanelSpec(
            title="Audit",
            about="Entries of the audit chain; it only grows.",
            unit="none",
            queries=(("max(errata_audit_entries)", "entries"),),
        ),
        PanelSpec(
            title="Store by kind",
            about="Bytes of versions, z files, artefacts and exports in the data folder, measured once a minute.",
            unit="bytes",
            queries=(("max by (kind) (errata_store_bytes)", "{{kind}}"),),
        ),
    ),
)
