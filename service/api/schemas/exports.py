"""The bodies of requests and responses about exports."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from editing_core.export.request import DEFAULT_DTYPE, LARGEST_RANK, ExportDtype, ExportRequest, Format
from service.api.schemas.requests import Request
from service.api.schemas.responses import ProgressOut
from worker.protocol.export_records import ExportRecord, ExportState


class ExportIn(Request):
    """Format and precision of an export."""

    model_config = ConfigDict(json_schema_extra={"example": {"format": "hf", "dtype": "float32"}})

    format: Format = Field(description="hf: a full Hugging Face checkpoint; peft: the change alone, as a LoRA adapter")
    dtype: ExportDtype | None = Field(
        None, description="of the checkpoint; null: float32, which does not round the edits"
    )
    max_rank: int | None = Field(
        None, ge=1, le=LARGEST_RANK, description="maximum rank of the adapter; null: as large as needed"
    )

    def to_request(self, version: str) -> ExportRequest:
        """The request as a type of the core; not yet validated as a whole."""
        return ExportRequest(version=version, format=self.format, dtype=self.dtype, max_rank=self.max_rank)


class ExportLinks(BaseModel):
    """Links to related routes."""

    self: str
    version: str


class ExportOut(BaseModel):
    """An export and its progress."""

    id: str = Field(examples=["v12-hf-float32"])
    version: str
    format: Format
    dtype: ExportDtype | None = Field(description="of a checkpoint; null: an adapter, which is float32")
    max_rank: int | None
    status: ExportState
    created: str
    updated: str
    author: str | None = Field(description="name of the API key; null: a local client")
    progress: ProgressOut | None
    path: str = Field(description="its folder within the service's data folder", examples=["exports/v12-hf-float32"])
    result: dict[str, Any] | None = Field(
        description="size, rank, what was lost of each matrix, and edits that hold; null: not done yet"
    )
    error: str | None = Field(description="why it failed, and what to do")
    links: ExportLinks

    @classmethod
    def of(cls, record: ExportRecord) -> Self:
        """The body for a record of the ledger."""
        request = record.request
        return cls(
            id=record.id,
            version=request.version,
            format=request.format,
            dtype=(request.dtype or DEFAULT_DTYPE) if request.format == "hf" else None,
            max_rank=request.max_rank,
            status=record.status,
            created=record.created,
            updated=record.updated,
            author=record.author,
            progress=ProgressOut(**record.progress.to_json()) if record.progress and not record.is_final else None,
            path=record.path,
            result=record.result,
            error=record.error,
            links=ExportLinks(self=f"/exports/{record.id}", version=f"/versions/{request.version}"),
        )
