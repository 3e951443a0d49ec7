"""The request and response models of ``/generate`` and ``/score``; requests are parsed strictly."""

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
        raise ValueError("is blank: send at least one character that is not white space")
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
    "answer with server-sent events: one per piece of text, then `event: end` or `event: problem` for each answer; "
    "with a list of prompts, each event has the `index` of its prompt, and a failed answer leaves the others intact"
)


class _Choice(BaseModel):
    """Which version answers, and how long the client waits."""

    timeout_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the answer fails with 504 if it is not complete by then"
    )

    version: Version | None = Field(None, description="the version that answers, live or not; default: the live one")
    min_version: Version | None = Field(
        None, description="wait a short time until the live version is this one or descends from it, then ask it"
    )

    @model_validator(mode="after")
    def _only_one(self) -> _Choice:
        if self.version is not None and self.min_version is not None:
            raise ValueError("version and min_version exclude each other: send only one of them")
        return self


class _Options(_Choice):
    """How to continue the prompt."""

    max_new_tokens: int = Field(32, ge=1, description="maximum number of tokens; the end of the context may come first")
    temperature: float = Field(
        0.0, ge=0, le=100, allow_inf_nan=False, description="0: greedy and repeatable; above 0: sampled"
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="sample from the fewest tokens whose probabilities reach this share",
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same text")
    stop: list[Stop] = Field([], max_length=MAX_STOPS, description="the text ends before the first of these strings")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MAX_LOGPROBS,
        description="return each token's log-probability and those of this many likeliest tokens",
    )
    stream: bool = Field(False, description=STREAMED)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        """Treat empty parameters as missing: ``?seed=&version=`` sets neither."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if value != "" or name in {"prompt", "target"}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GenerateQuery(_Query, _Options):
    """A prompt to continue."""

    prompt: Text = Field(description="used unchanged", examples=[EXAMPLE_PROMPT])


class GenerateBody(_Body, _Options):
    """A prompt, or several that one version continues at the same time."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)] = Field(
        description=f"used unchanged; or a list of up to {MAX_PROMPTS}", examples=[EXAMPLE_PROMPT]
    )


class ScoreQuery(_Query, _Choice):
    """A prompt and a target that may follow it."""

    prompt: Text = Field(description="used unchanged", examples=[EXAMPLE_PROMPT])
    target: Text = Field(description="joined to the prompt by a space unless either has one", examples=["French"])


class ScoreBody(_Body, _Choice):
    """A prompt and a target; or one prompt and several targets; or as many prompts as targets."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)] = Field(
        description="used unchanged; or a list with one prompt for each target", examples=[EXAMPLE_PROMPT]
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
    """The numbers of tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int


class LikelyToken(_Answer):
    """A token that could have been written, with its log-probability."""

    token: str = Field(examples=[" English"])
    logprob: float


class WrittenToken(LikelyToken):
    """A token that was written, and the likeliest tokens at its position."""

    top: list[LikelyToken]


class GenerateAnswer(_Answer):
    """A continuation; every token of it comes from ``version``."""

    prompt: str = Field(examples=[EXAMPLE_PROMPT])
    text: str = Field(description="the text after the prompt, including a leading space", examples=[" English"])
    finish_reason: Literal["stop", "length"] = Field(
        description="stop: the model or a stop string ended it; length: max_new_tokens or the end of the context"
    )
    version: str = Field(examples=["v12"])
    usage: Usage
    logprobs: list[WrittenToken] | None = Field(
        None, description="log-probabilities of each token, before temperature and top_p"
    )


class GenerateAnswers(_Answer):
    """The answers of one version to a list of prompts, in its order."""

    answers: list[GenerateAnswer]


class TopToken(_Answer):
    """A token that may follow the prompt, with its probability."""

    token: str = Field(examples=[" English"])
    probability: float


class ScoreAnswer(_Answer):
    """How likely the target is after the prompt."""

    logprob: float = Field(description="natural logarithm of probability")
    probability: float = Field(description="joint probability of the target's tokens")
    rank: int = Field(description="rank of the target's first token among all tokens; 1 is the likeliest")
    greedy_match: bool = Field(description="whether greedy decoding produces the target")
    top: list[TopToken] = Field(description="the likeliest first tokens")
    version: str = Field(examples=["v12"])


class ScoreAnswers(_Answer):
    """The scores of one version for a list, in its order."""

    scores: list[ScoreAnswer]
