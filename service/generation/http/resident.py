"""``GET /resident``: the digest of every version in memory, computed from its tensors at each request.

A manifest's digest describes the files; this one describes the tensors that compute the answers. If a matrix is also
packed, both copies must match. Needs no Redis.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import APIRouter
from pydantic import BaseModel, Field

from editing_core.errors import NotFound
from editing_core.models.load import LoadedModel
from editing_core.models.streams import loading_stream
from editing_core.verifying.digests import replaced_weights, tensors_digest
from service.api.openapi import refusals
from service.generation.decoding.forward.packed import unpacked
from service.generation.versions.loading import Resident
from service.generation.versions.resident import ResidentVersions


class ResidentDigest(BaseModel):
    """One version in memory."""

    version: str
    digest: str = Field(description="digest of the edited matrices as they are in memory now")


class ResidentDigests(BaseModel):
    """All versions in memory and which of them is live."""

    store: str = Field(description="id of the store")
    live: str | None = Field(description="the version that answers requests which name none")
    versions: list[ResidentDigest]


def resident_router(loaded: LoadedModel, residents: ResidentVersions, *, store: str) -> APIRouter:
    """Return the route for one process's versions. ``store`` is their store's id."""
    router = APIRouter(responses=refusals(503))

    def digest_of(resident: Resident) -> str:
        with loading_stream(loaded.device).work():
            weights = replaced_weights(resident.model, loaded.model)
            found = tensors_digest(weights)
            return found if found != resident.digest else tensors_digest(unpacked(resident.decoding_model, weights))

    @router.get("/resident", summary="Compute the digests of the versions in memory")
    async def resident() -> ResidentDigests:
        found = []
        for version in residents.versions:
            with suppress(NotFound):  # unloaded and removed in the meantime
                async with residents.lease(version) as held:
                    digest = await asyncio.to_thread(digest_of, held)
                    found.append(ResidentDigest(version=version, digest=digest))
        live = residents.live
        return ResidentDigests(store=store, live=live.version if live else None, versions=found)

    return router
