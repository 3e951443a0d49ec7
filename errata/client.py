"""The clients of Errata's HTTP API: ``from errata.client import Client, AsyncClient``.

``Client`` blocks, ``AsyncClient`` has the same methods as coroutines. Importing this module never imports torch.

ErrataClientError
├── ServiceUnreachable   no answer came
├── ErrataApiError       the service refused, with a problem document
├── UnexpectedAnswer     another server answered
├── InvalidRequest       the arguments cannot be sent
└── WaitTimedOut         the batch or export did not end in time
"""

from __future__ import annotations

from service.client.async_client import AsyncClient
from service.client.client import Client
from service.client.errors import (
    ErrataApiError,
    ErrataClientError,
    InvalidRequest,
    ServiceUnreachable,
    UnexpectedAnswer,
    WaitTimedOut,
)
from service.client.schemas import (
    Batch,
    BatchEdit,
    EditCounts,
    EditRecord,
    Export,
    Generation,
    GenerationPiece,
    Guard,
    Readiness,
    Score,
    Version,
)

__all__ = [
    "AsyncClient",
    "Batch",
    "BatchEdit",
    "Client",
    "EditCounts",
    "EditRecord",
    "ErrataApiError",
    "ErrataClientError",
    "Export",
    "Generation",
    "GenerationPiece",
    "Guard",
    "InvalidRequest",
    "Readiness",
    "Score",
    "ServiceUnreachable",
    "UnexpectedAnswer",
    "Version",
    "WaitTimedOut",
]
