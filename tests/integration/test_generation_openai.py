"""The public ``openai`` client, unchanged, against the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.generation import PROMPTS, greedy_text, publish, serving, view_of, write_version
from tests.support.redis_server import open_bench
from tests.support.tiny_loaded import tiny_loaded

LOADED = tiny_loaded("gptj")
PROMPT = PROMPTS[0]
NAME = "tiny-gptj"


@pytest.fixture(scope="module")
def http(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """v1 live, v0 and v2 kept, v3 written and never published."""
    root: Path = tmp_path_factory.mktemp("store")
    bind_identity(root, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(root))
    write_version(store, LOADED, "v3")
    with open_bench(redis_url) as bench:
        publish(bench.ledger, write_version(store, LOADED, "v2"))
        publish(bench.ledger, write_version(store, LOADED, "v1"))
        with serving(bench, store, LOADED, num_places=4, max_new_tokens=200) as (_, client):
            yield client


@pytest.fixture(scope="module")
def client(http: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def expected(version: str, num_tokens: int, prompt: str = PROMPT) -> str:
    return greedy_text(view_of(LOADED, version), LOADED.tokenizer, prompt, num_tokens)


def test_models_lists_the_live_name_and_every_kept_version_and_no_other(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == [NAME, f"{NAME}@v0", f"{NAME}@v2", f"{NAME}@v1"]
    assert client.models.retrieve(f"{NAME}@v2").id == f"{NAME}@v2"
    assert client.models.retrieve(NAME).owned_by == "errata"
    for unknown in ("gpt-4", f"{NAME}@v3", f"{NAME}@v77", "other@v1"):
        with pytest.raises(openai.NotFoundError) as refusal:
            client.models.retrieve(unknown)
        assert refusal.value.code == "model_not_found"


def test_a_completion_is_the_live_versions_greedy_answer_and_says_which(client: openai.OpenAI) -> None:
    done = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=9, temperature=0)
    assert (done.object, done.model, done.system_fingerprint) == ("text_completion", NAME, "v1")
    assert (done.choices[0].text, done.choices[0].finish_reason) == (expected("v1", 9), "length")
    num_prefilled = len(LOADED.tokenizer(PROMPT)["input_ids"])
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (
        num_prefilled,
        9,
        num_prefilled + 9,
    )


@pytest.mark.parametrize("version", ["v0", "v2"])
def test_a_version_is_fixed_by_its_name(client: openai.OpenAI, version: str) -> None:
    done = client.completions.create(model=f"{NAME}@{version}", prompt=PROMPT, max_tokens=8, temperature=0)
    assert (done.choices[0].text, done.system_fingerprint) == (expected(version, 8), version)


def test_a_stream_gives_the_same_text_in_pieces_and_at_last_the_usage(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=NAME, prompt=PROMPT, max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == expected("v1", 20)
    assert len(chunks) > 5
    assert {chunk.system_fingerprint for chunk in chunks} == {"v1"}
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_a_list_of_prompts_and_several_answers_each_are_numbered_in_order(client: openai.OpenAI) -> None:
    prompts = list(PROMPTS[:3])
    done = client.completions.create(model=NAME, prompt=prompts, max_tokens=4, temperature=0, n=2)
    assert [choice.index for choice in done.choices] == list(range(6))
    assert [choice.text for choice in done.choices] == [
        expected("v1", 4, prompt) for prompt in prompts for _ in range(2)
    ]
    pieces = ["", "", ""]
    for chunk in client.completions.create(model=NAME, prompt=prompts, max_tokens=4, temperature=0, stream=True):
        pieces[chunk.choices[0].index] += chunk.choices[0].text
    assert pieces == [expected("v1", 4, prompt) for prompt in prompts]


def test_a_prompt_may_be_given_as_tokens(client: openai.OpenAI) -> None:
    ids = LOADED.tokenizer(PROMPT)["input_ids"]
    done = client.completions.create(model=NAME, prompt=[ids, ids], max_tokens=5, temperature=0)
    assert [choice.text for choice in done.choices] == [expected("v1", 5)] * 2
    with pytest.raises(openai.UnprocessableEntityError, match="not a token of this model"):
        client.completions.create(model=NAME, prompt=[5, 100_000], max_tokens=5)


def test_stop_seed_and_logprobs_work_as_documented(client: openai.OpenAI) -> None:
    whole = expected("v1", 20)
    stop = whole[6:8]
    cut = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=20, temperature=0, stop=stop)
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (whole[: whole.index(stop)], "stop")
    first, second, third = (
        client.completions.create(model=NAME, prompt=PROMPT, max_tokens=20, seed=seed).choices[0].text
        for seed in (5, 5, 6)
    )
    assert first == second != third
    reported = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=4, temperature=0, logprobs=3)
    logprobs = reported.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert len(logprobs.tokens or []) == len(logprobs.token_logprobs) == len(logprobs.text_offset or []) == 4
    for logprob, top in zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert logprob == max(top.values()) <= 0


def test_errors_have_openais_shape_and_raise_its_exceptions(client: openai.OpenAI, http: httpx.Client) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="gpt-4", prompt="x")
    assert (unknown.value.code, unknown.value.type) == ("model_not_found", "not_found_error")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=f"{NAME}@v77", prompt="x")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=NAME, prompt="x " * 600)
    assert (long.value.code, long.value.param) == ("prompt_too_long", "prompt")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        client.completions.create(model=NAME, prompt="x", temperature=-1)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    for answer in (http.get("/v1/nothing"), http.get("/v1/completions"), http.post("/v1/completions", content=b"x")):
        assert answer.status_code in {404, 405, 415}
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "options", [{"echo": True}, {"presence_penalty": 0.5}, {"logit_bias": {"5": 1}}, {"suffix": "."}, {"best_of": 2}]
)
def test_unsupported_options_are_refused_and_not_ignored(client: openai.OpenAI, options: dict[str, object]) -> None:
    with pytest.raises(openai.UnprocessableEntityError):
        client.completions.create(model=NAME, prompt="x", **options)  # type: ignore[call-overload]


def test_neutral_values_of_every_field_are_taken(client: openai.OpenAI) -> None:
    done = client.completions.create(
        model=NAME,
        prompt=PROMPT,
        max_tokens=3,
        temperature=0,
        top_p=1,
        n=1,
        echo=False,
        best_of=1,
        presence_penalty=0,
        frequency_penalty=0,
        logit_bias={},
        suffix="",
        user="somebody",
        extra_body={"min_version": "v0"},
    )
    assert done.choices[0].text == expected("v1", 3)


def test_a_model_with_a_version_and_a_least_version_exclude_each_other(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="exclude each other"):
        client.completions.create(model=f"{NAME}@v2", prompt=PROMPT, max_tokens=2, extra_body={"min_version": "v1"})
    done = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=2, extra_body={"min_version": "v1"})
    assert done.system_fingerprint == "v1"
