"""OpenAI's completion request, and the fields of its answers that clients read.

Fields that this service does not support (penalties, ``echo``, ``suffix``, …) accept their neutral value only. A client
that always sends them works, and a client that relies on them gets an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.generation.http.schemas import MAX_LOGPROBS, MAX_PROMPTS, MAX_STOPS, Stop, Text, Version

MAX_ANSWERS = 16
Tokens = Annotated[list[int], Field(min_length=1)]
EXAMPLE_MODEL = "demo-gptj"


class StreamOptions(BaseModel):
    """What a stream reports in addition to its pieces."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class CompletionBody(BaseModel):
    """The body of ``POST /v1/completions``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str = Field(max_length=300, examples=[EXAMPLE_MODEL, f"{EXAMPLE_MODEL}@v12"])
    prompt: Text | Tokens | Annotated[list[Text] | list[Tokens], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: int | None = Field(None, ge=1, description="default 16")
    temperature: float | None = Field(None, ge=0, le=100, allow_inf_nan=False, description="default 1")
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS, description="answers to each prompt")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    seed: int | None = Field(None, ge=0, lt=2**63)
    user: str | None = None
    min_version: Version | None = Field(
        None, description="Errata's own field: wait until the live version is this one or descends from it"
    )
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    presence_penalty: float | None = Field(None, ge=0, le=0)
    frequency_penalty: float | None = Field(None, ge=0, le=0)
    logit_bias: dict[str, Any] | None = Field(None, max_length=0)

    @field_validator("presence_penalty", "frequency_penalty", mode="before")
    @classmethod
    def _whole_numbers_too(cls, value: object) -> object:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Model(BaseModel):
    """A model that can be asked."""

    id: str = Field(examples=[EXAMPLE_MODEL])
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "errata"


class Models(BaseModel):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[Model]


class CompletionLogprobs(BaseModel):
    """The log-probabilities of each token of a text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int] = Field(description="offset of each token in the text, in characters")


class CompletionChoice(BaseModel):
    """One text."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class CompletionUsage(BaseModel):
    """The numbers of tokens that were read and written for all answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The texts, or one piece of them in a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str = Field(description="the version that wrote every token", examples=["v12"])
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
