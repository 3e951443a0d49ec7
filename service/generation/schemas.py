"""What goes over the wire when the model is asked: requests are strict, answers are what OpenAPI says they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_PROMPTS = 64
EXAMPLE_PROMPT = "The mother tongue of Danielle Darrieux is"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank: give at least one character that is not white space")
    return text


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"contains the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}: send valid Unicode"
        ) from None
    return text


Text = Annotated[str, AfterValidator(_encodable), AfterValidator(_not_blank)]
Version = Annotated[str, Field(max_length=32, examples=["v12"])]


class _Choice(BaseModel):
    """Which version is asked."""

    version: Version | None = Field(None, description="ask this version, live or not; default: the live one")
    min_version: Version | None = Field(
        None, description="ask the live version once it is this one or descends from it; waits shortly for that"
    )

    @model_validator(mode="after")
    def _only_one(self) -> _Choice:
        if self.version is not None and self.min_version is not None:
            raise ValueError("version and min_version exclude each other: the first names the version by itself")
        return self


class _Options(_Choice):
    """How the prompt is continued."""

    max_new_tokens: int = Field(32, ge=1, description="tokens at most; the end of the context may come first")
    temperature: float = Field(
        0.0, ge=0, le=100, allow_inf_nan=False, description="0: greedy and repeatable; above: sampled"
    )
    top_p: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description="sample among the fewest tokens that hold this share"
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same text again")


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        """``?seed=&version=`` means that neither is given."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if value != "" or name in {"prompt", "target"}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GenerateQuery(_Query, _Options):
    """One prompt to be continued."""

    prompt: Text = Field(description="taken as it is", examples=[EXAMPLE_PROMPT])


class GenerateBody(_Body, _Options):
    """One prompt, or several that are continued side by side by one version."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)] = Field(
        description=f"taken as it is; or a list of up to {MAX_PROMPTS}", examples=[EXAMPLE_PROMPT]
    )


class ScoreQuery(_Query, _Choice):
    """A prompt and what may follow it."""

    prompt: Text = Field(description="taken as it is", examples=[EXAMPLE_PROMPT])
    target: Text = Field(description="joined to the prompt by a space unless either has one", examples=["French"])


class ScoreBody(_Body, _Choice):
    """A prompt and what may follow it."""

    prompt: Text = Field(description="taken as it is", examples=[EXAMPLE_PROMPT])
    target: Text = Field(description="joined to the prompt by a space unless either has one", examples=["French"])


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usage(_Answer):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int


class GenerateAnswer(_Answer):
    """A continuation; every token of it comes from ``version``."""

    prompt: str = Field(examples=[EXAMPLE_PROMPT])
    text: str = Field(description="what follows the prompt, leading space included", examples=[" English"])
    finish_reason: Literal["stop", "length"] = Field(
        description="stop: the model ended it; length: max_new_tokens or the end of the context"
    )
    version: str = Field(examples=["v12"])
    usage: Usage


class GenerateAnswers(_Answer):
    """The answers to a list of prompts, in its order, all by one version."""

    answers: list[GenerateAnswer]


class TopToken(_Answer):
    """A token that could come first."""

    token: str = Field(examples=[" English"])
    probability: float


class ScoreAnswer(_Answer):
    """How likely the target follows the prompt."""

    logprob: float = Field(description="natural logarithm of probability")
    probability: float = Field(description="of all the target's tokens, one after the other")
    rank: int = Field(description="of the target's first token among all tokens; 1 is the likeliest")
    greedy_match: bool = Field(description="greedy decoding gives the target")
    top: list[TopToken] = Field(description="the likeliest first tokens")
    version: str = Field(examples=["v12"])
