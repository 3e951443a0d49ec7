"""What answers are counted as: the same whether they were streamed or not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.runtime import GenerationRuntime
from tests.support.generation import PROMPTS, serving
from tests.support.redis_server import open_bench
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until

LOADED = tiny_loaded("gptj")
Served = tuple[GenerationRuntime, httpx.Client]


@pytest.fixture(scope="module")
def served(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("store")
    bind_identity(root, model=LOADED.fingerprint, model_source="tiny")
    with open_bench(redis_url) as bench, serving(bench, VersionStore(StoreLayout(root)), LOADED) as made:
        yield made


def counted(client: httpx.Client, metric: str, label: str) -> float:
    found = re.search(rf'^{metric}{{[^}}]*="{label}"}} (\S+)$', client.get("/metrics").text, re.MULTILINE)
    assert found is not None, (metric, label)
    return float(found[1])


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_come_too_late_have_failed(served: Served, *, stream: bool) -> None:
    runtime, client = served
    before = counted(client, "errata_generation_answers_total", "failed")
    asked = {"prompt": ["a", "b"], "max_new_tokens": 200, "stream": stream, "timeout_seconds": 0.3}
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(client.post("/generate", json=asked)))
    with runtime.pause():
        asking.start()
        until(lambda: runtime.readiness()["waiting"] == 2)
        threading.Event().wait(0.5)
    asking.join()
    assert "not complete in time" in answers[0].text
    until(lambda: counted(client, "errata_generation_answers_total", "failed") == before + 2)


def test_a_prompt_that_is_answered_several_times_is_counted_once(served: Served) -> None:
    _, client = served
    before = counted(client, "errata_generation_tokens_total", "prompt")
    asked = {"model": "tiny-gptj", "prompt": PROMPTS[0], "n": 3, "max_tokens": 2, "temperature": 1, "seed": 1}
    usage = client.post("/v1/completions", json=asked).json()["usage"]
    until(lambda: counted(client, "errata_generation_tokens_total", "prompt") == before + usage["prompt_tokens"])


def test_scores_are_counted_with_the_tokens_that_are_read_for_them(served: Served) -> None:
    _, client = served
    metric, tokens = "errata_generation_scores_total", "errata_generation_tokens_total"
    before, read = counted(client, metric, "scored"), counted(client, tokens, "prompt")
    prompt, targets = "The capital of France is", [" Paris", " Rome"]
    assert client.post("/score", json={"prompt": prompt, "target": targets}).status_code == 200
    until(lambda: counted(client, metric, "scored") == before + 2)
    num_tokens = sum(len(LOADED.tokenizer(text)["input_ids"]) for target in targets for text in (prompt, target))
    assert counted(client, tokens, "prompt") == read + num_tokens
    refused = counted(client, metric, "refused")
    assert client.post("/score", json={"prompt": prompt, "target": targets, "version": "v77"}).status_code == 404
    until(lambda: counted(client, metric, "refused") == refused + 2)
