"""The ledger: what was accepted, how far it is, and what is live; the truth that all processes share.

Each move is one Lua script in Redis, under the store's keys. What the moves promise:

* a batch and its idempotency key are written together, and are on disk when ``accept`` returns (Redis syncs its
  append-only file before it answers);
* work is done under a lease with a growing number; whoever has lost it cannot move anything any more;
* the script that takes out a batch's last open shard makes it ready;
* the pointer, the version's record and its batches' states move together or not at all.

Every method raises LedgerDown when Redis is away.
"""

from __future__ import annotations

from worker.protocol.exports.moves import Exports
from worker.protocol.guarding.guards import Guarding
from worker.protocol.moves.acceptance import Acceptance
from worker.protocol.moves.edits import EditReading
from worker.protocol.moves.leases import Leases
from worker.protocol.moves.publication import Publication
from worker.protocol.moves.restoring import Restoring
from worker.protocol.moves.transitions import Transitions
from worker.protocol.records.dump import Dumping
from worker.protocol.records.erasure import Erasing
from worker.protocol.records.load import Loading
from worker.protocol.records.retention import Retaining
from worker.protocol.upgrading.formats import Formats


class Records(Retaining, Erasing, Dumping, Loading):
    """What is kept to look back on: ``worker.protocol.records``."""


class Ledger(Formats, Acceptance, Leases, Transitions, Publication, EditReading, Restoring, Guarding, Exports, Records):
    """``Ledger(redis, Keys(store_id))``; ``redis`` from ``connections.connect``."""
