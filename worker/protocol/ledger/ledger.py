"""The ledger: accepted batches, their progress and the live version. All processes share it as the source of truth.

Every change is one Lua script in Redis, under the keys of one store. The scripts guarantee:

* A batch and its idempotency key are written together, and are on disk when ``acceptance.accept`` returns: Redis syncs
  its append-only file before it answers.
* Work requires a lease with a growing number. A worker that has lost its lease can no longer change anything.
* The script that closes the last open shard of a batch makes the batch ready.
* The pointer, the record of a version and the states of its batches change together or not at all.

Every method of every part raises LedgerDown if Redis does not answer.
"""

from __future__ import annotations

from redis import Redis

from editing_core.clock import Clock, utc_now
from worker.protocol.keys import Keys
from worker.protocol.ledger.acceptance import Acceptance
from worker.protocol.ledger.audit import Audit
from worker.protocol.ledger.backup import Backup
from worker.protocol.ledger.batches import Batches
from worker.protocol.ledger.edits import Edits
from worker.protocol.ledger.erasure import Erasure
from worker.protocol.ledger.exports import Exports
from worker.protocol.ledger.formats import Format
from worker.protocol.ledger.guards import Guards
from worker.protocol.ledger.leases import Leases
from worker.protocol.ledger.publication import Publication
from worker.protocol.ledger.restoring import Restoring
from worker.protocol.ledger.transitions import Transitions
from worker.protocol.ledger.versions import Versions
from worker.protocol.replicas import Replicas
from worker.protocol.scripting.connection import Connection


class Ledger:
    """The parts of one store's ledger over one connection. ``redis``: a client from ``connections.connect``."""

    def __init__(self, redis: Redis, keys: Keys, *, clock: Clock = utc_now) -> None:
        self.keys = keys
        self.connection = Connection(redis, keys, clock=clock)
        self.format = Format(self.connection)
        self.leases = Leases(self.connection)
        self.batches = Batches(self.connection)
        self.acceptance = Acceptance(self.connection, self.batches)
        self.transitions = Transitions(self.connection, self.batches)
        self.versions = Versions(self.connection)
        self.publication = Publication(self.connection, self.versions)
        self.edits = Edits(self.connection, self.batches, self.versions)
        self.guards = Guards(self.connection)
        self.exports = Exports(self.connection)
        self.audit = Audit(self.connection)
        self.erasure = Erasure(self.connection, self.edits)
        self.backup = Backup(self.connection, self.audit)
        self.restoring = Restoring(self.connection)
        self.replicas = Replicas(self.connection)
