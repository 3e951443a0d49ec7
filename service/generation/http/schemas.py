"""What goes over the wire when the model is asked: requests are strict, answers are what OpenAPI says they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_PROMPTS = 64
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_LOGPROBS = 20
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
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS, examples=["."]), AfterValidator(_encodable)]
Version = Annotated[str, Field(max_length=32, examples=["v12"])]


STREAMED = (
    "answer with server-sent events: one per piece of text, then `event: end` or `event: problem` for each answer; of "
    "a list of prompts each says by `index` whose it is, and one that fails leaves the others"
)


class _Choice(BaseModel):
    """Which version is asked, and for how long the answer is of use."""

    timeout_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="an answer that is not complete by then is given up (504)"
    )

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
    stop: list[Stop] = Field(
        [], max_length=MAX_STOPS, description="the text ends before the first of these that it would contain"
    )
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="tell each token's log probability, and so many likeliest ones"
    )
    stream: bool = Field(False, description=STREAMED)


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
    """A prompt and what may follow it; or several targets for one prompt, or as many prompts as targets."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)] = Field(
        description="taken as it is; or a list, one for each target", examples=[EXAMPLE_PROMPT]
    )
    target: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)] = Field(
        description=f"joined to the prompt by a space unless either has one; or a list of up to {MAX_PROMPTS}",
        examples=["French"],
    )

    @model_validator(mode="after")
    def _one_prompt_each(self) -> ScoreBody:
        if isinstance(self.prompt, list) and (
            not isinstance(self.target, list) or len(self.target) != len(self.prompt)
        ):
            raise ValueError("a list of prompts needs a list of targets of the same length")
        return self


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usage(_Answer):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int


class LikelyToken(_Answer):
    """A token that could have been written."""

    token: str = Field(examples=[" English"])
    logprob: float


class WrittenToken(LikelyToken):
    """A token that was written, and the likeliest in its place."""

    top: list[LikelyToken]


class GenerateAnswer(_Answer):
    """A continuation; every token of it comes from ``version``."""

    prompt: str = Field(examples=[EXAMPLE_PROMPT])
    text: str = Field(description="what follows the prompt, leading space included", examples=[" English"])
    finish_reason: Literal["stop", "length"] = Field(
        description="stop: the model ended it, or a stop text did; length: max_new_tokens or the end of the context"
    )
    version: str = Field(examples=["v12"])
    usage: Usage
    logprobs: list[WrittenToken] | None = Field(
        None, description="of each token, by the model itself: temperature and top_p change nothing here"
    )


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


class ScoreAnswers(_Answer):
    """The scores of a list, in its order, all by one version."""

    scores: list[ScoreAnswer]
