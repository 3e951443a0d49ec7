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

from worker.protocol.ledger.acceptance import Acceptance
from worker.protocol.ledger.dump import Dumping
from worker.protocol.ledger.edits import EditReading
from worker.protocol.ledger.erasure import Erasing
from worker.protocol.ledger.exports import Exports
from worker.protocol.ledger.formats import Formats
from worker.protocol.ledger.guards import Guarding
from worker.protocol.ledger.leases import Leases
from worker.protocol.ledger.load import Loading
from worker.protocol.ledger.publication import Publication
from worker.protocol.ledger.restoring import Restoring
from worker.protocol.ledger.retention import Retaining
from worker.protocol.ledger.transitions import Transitions


class Records(Retaining, Erasing, Dumping, Loading):
    """What is kept to look back on: ``worker.protocol.records``."""


class Ledger(Formats, Acceptance, Leases, Transitions, Publication, EditReading, Restoring, Guarding, Exports, Records):
    """``Ledger(redis, Keys(store_id))``; ``redis`` from ``connections.connect``."""
