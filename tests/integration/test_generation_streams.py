"""Answers as server-sent events, stop texts, log probabilities, deadlines, several clients, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from errata.client import AsyncClient, Client, ErrataApiError, Generation, GenerationPiece
from service.cli.main import run
from service.generation.runtime import GenerationRuntime
from tests.support.generation import PROMPTS, greedy_text, publish, serving, view_of, write_version
from tests.support.redis_server import Bench, open_bench
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until

LOADED = tiny_loaded("gptj")
PROMPT = PROMPTS[0]
Served = tuple[GenerationRuntime, httpx.Client, Bench]


@pytest.fixture(scope="module")
def served(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("store")
    bind_identity(root, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(root))
    with open_bench(redis_url) as bench:
        publish(bench.ledger, write_version(store, LOADED, "v1"))
        publish(bench.ledger, write_version(store, LOADED, "v2"))
        with serving(bench, store, LOADED, num_places=2, max_waiting=4, max_new_tokens=240) as (runtime, client):
            yield runtime, client, bench


@pytest.fixture
def client(served: Served) -> httpx.Client:
    return served[1]


def events(client: httpx.Client, **asked: Any) -> tuple[httpx.Response, list[tuple[str, dict[str, Any]]]]:
    """The response and its events by name."""
    with client.stream("POST", "/generate", json={"prompt": PROMPT, "stream": True, **asked}) as answer:
        body = answer.read().decode()
    found = []
    for block in body.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((lines.get("event", "piece"), json.loads(lines["data"])))
    return answer, found


@pytest.mark.parametrize("asked", [{"max_new_tokens": 30}, {"max_new_tokens": 60, "temperature": 1.3, "seed": 5}])
def test_the_pieces_join_to_the_whole_answer_and_the_end_has_usage_and_version(
    client: httpx.Client, asked: dict[str, Any]
) -> None:
    whole = client.post("/generate", json={"prompt": PROMPT, **asked}).json()
    answer, found = events(client, **asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["X-Model-Version"] == "v2"
    assert "".join(said["text"] for name, said in found if name == "piece") == whole["text"]
    assert found[-1] == (
        "end",
        {"finish_reason": whole["finish_reason"], "version": "v2", "usage": whole["usage"]},
    )


def test_a_stream_can_be_asked_by_query(client: httpx.Client) -> None:
    answer = client.get("/generate", params={"prompt": PROMPT, "stream": "true", "max_new_tokens": 3})
    assert answer.text.count("data: ") == answer.text.count("\n\n")
    assert '"finish_reason":"length"' in answer.text


def test_a_list_of_prompts_streams_side_by_side_and_each_event_says_whose_it_is(client: httpx.Client) -> None:
    prompts = list(PROMPTS[:2])
    _, found = events(client, prompt=prompts, max_new_tokens=8)
    for number, prompt in enumerate(prompts):
        pieces = [said["text"] for name, said in found if name == "piece" and said["index"] == number]
        assert "".join(pieces) == greedy_text(view_of(LOADED, "v2"), LOADED.tokenizer, prompt, 8)
    assert sorted(said["index"] for name, said in found if name == "end") == [0, 1]


def test_a_running_stream_keeps_its_version_when_another_is_promoted(served: Served) -> None:
    runtime, client, bench = served
    asked = {"prompt": PROMPTS[1], "stream": True, "max_new_tokens": 200}
    with client.stream("POST", "/generate", json=asked) as answer:
        lines = answer.iter_lines()
        body = [next(lines)]
        bench.ledger.publication.promote("v1", author=None)
        until(lambda: runtime.readiness()["version"] == "v1")
        body += list(lines)
    bench.ledger.publication.promote("v2", author=None)
    until(lambda: runtime.readiness()["version"] == "v2")
    assert answer.headers["X-Model-Version"] == "v2"
    said = [json.loads(line.removeprefix("data: ")) for line in body if line.startswith("data: ")]
    text = "".join(item.get("text", "") for item in said)
    assert text == greedy_text(view_of(LOADED, "v2"), LOADED.tokenizer, PROMPTS[1], 200)
    assert said[-1]["version"] == "v2"


def test_a_stream_whose_client_goes_away_frees_its_place_and_its_version(served: Served) -> None:
    runtime, client, _ = served
    url = client.base_url
    query = "prompt=a&max_new_tokens=240&stream=true&temperature=1&seed=1&version=v0"
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(f"GET /generate?{query} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
        until(lambda: runtime.readiness()["running"] == 1)
    until(lambda: (runtime.readiness()["running"], runtime.num_leases) == (0, 0))


def test_a_stop_text_ends_the_answer_before_it(client: httpx.Client) -> None:
    whole = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 30}).json()["text"]
    stop = whole[10:13]
    asked = {"max_new_tokens": 30, "stop": ["never there", stop]}
    answer = client.post("/generate", json={"prompt": PROMPT, **asked}).json()
    assert (answer["text"], answer["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    by_query = client.get("/generate", params={"prompt": PROMPT, **asked}).json()
    assert by_query == answer
    _, found = events(client, **asked)
    assert "".join(said["text"] for name, said in found if name == "piece") == answer["text"]


def test_logprobs_list_each_token_and_the_likeliest_ones(client: httpx.Client) -> None:
    answer = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 6, "logprobs": 3}).json()
    assert len(answer["logprobs"]) == answer["usage"]["completion_tokens"] == 6
    for reported in answer["logprobs"]:
        assert reported["token"] == reported["top"][0]["token"]
        assert reported["logprob"] == pytest.approx(reported["top"][0]["logprob"])
        assert [item["logprob"] for item in reported["top"]] == sorted(
            (i["logprob"] for i in reported["top"]), reverse=True
        )
    first = client.get("/score", params={"prompt": PROMPT, "target": "x"}).json()["top"][0]
    assert answer["logprobs"][0]["logprob"] == pytest.approx(math.log(first["probability"]), abs=1e-4)
    _, found = events(client, max_new_tokens=6, logprobs=0)
    told_in_pieces = [item for name, said in found if name == "piece" for item in said.get("logprobs", [])]
    assert [item["token"] for item in told_in_pieces] == [item["token"] for item in answer["logprobs"]]


def test_scores_of_a_list_are_those_of_each_alone(client: httpx.Client) -> None:
    targets = ["French", "English and more", "a"]
    together = client.post("/score", json={"prompt": PROMPT, "target": targets}).json()["scores"]
    for target, found in zip(targets, together, strict=True):
        alone = client.post("/score", json={"prompt": PROMPT, "target": target}).json()
        assert found["logprob"] == pytest.approx(alone["logprob"], rel=1e-4)
        assert (found["rank"], found["greedy_match"]) == (alone["rank"], alone["greedy_match"])
    pairs = client.post("/score", json={"prompt": list(PROMPTS[:2]), "target": targets[:2]}).json()["scores"]
    assert pairs[0]["logprob"] == pytest.approx(together[0]["logprob"], rel=1e-4)
    assert client.post("/score", json={"prompt": list(PROMPTS[:2]), "target": targets}).status_code == 422


def test_an_answer_that_takes_too_long_is_given_up_and_its_place_is_free(served: Served) -> None:
    runtime, client, _ = served
    with runtime.pause():
        answers: list[httpx.Response] = []
        asked = {"prompt": PROMPT, "timeout_seconds": 0.05}
        asking = threading.Thread(target=lambda: answers.append(client.post("/generate", json=asked)))
        asking.start()
        until(lambda: runtime.readiness()["waiting"] == 1)
        threading.Event().wait(0.1)
    asking.join()
    assert (answers[0].status_code, answers[0].json()["type"]) == (504, "/problems/answer-late")
    assert (runtime.readiness()["running"], runtime.readiness()["waiting"]) == (0, 0)


def test_a_stream_that_takes_too_long_ends_with_a_problem(served: Served) -> None:
    runtime, client, _ = served
    with client.stream(
        "POST", "/generate", json={"prompt": PROMPT, "stream": True, "max_new_tokens": 240, "timeout_seconds": 0.5}
    ) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        with runtime.pause():
            threading.Event().wait(0.6)
        rest = list(lines)
    assert first.startswith("data: ")
    assert "event: problem" in rest
    assert "/problems/answer-late" in rest[rest.index("event: problem") + 1]


def test_the_python_client_reads_a_stream_and_raises_its_errors(client: httpx.Client) -> None:
    whole = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 20}).json()
    with Client(str(client.base_url)) as asking:
        pieces = list(asking.stream(PROMPT, max_new_tokens=20))
        with pytest.raises(ErrataApiError, match="v77"):
            list(asking.stream(PROMPT, version="v77"))
    assert "".join(piece.text for piece in pieces) == whole["text"]
    assert (pieces[-1].finish_reason, pieces[-1].version, pieces[-1].usage) == ("length", "v2", whole["usage"])


def test_the_asynchronous_client_reads_the_same_stream(client: httpx.Client) -> None:
    async def story() -> tuple[list[GenerationPiece], Generation]:
        async with AsyncClient(str(client.base_url)) as asking:
            pieces = [piece async for piece in asking.stream(PROMPT, max_new_tokens=20)]
            with pytest.raises(ErrataApiError, match="v77"):
                await anext(asking.stream(PROMPT, version="v77"))
            return pieces, await asking.generate(PROMPT, max_new_tokens=20)

    pieces, whole = asyncio.run(story())
    assert "".join(piece.text for piece in pieces) == whole.text
    assert (pieces[-1].finish_reason, pieces[-1].version) == ("length", "v2")


def test_the_command_line_prints_a_stream_as_it_prints_the_whole(
    client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", str(client.base_url)]
    assert run(["generate", PROMPT, "--max-new-tokens", "12", "--stream", *url]) == 0
    streamed = capsys.readouterr().out
    assert run(["generate", PROMPT, "--max-new-tokens", "12", *url]) == 0
    assert streamed.strip() == capsys.readouterr().out.strip()
    assert run(["generate", PROMPT, "--stop", streamed.strip()[3:5], "--json", "--logprobs", "2", *url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["finish_reason"] == "stop"
    assert len(answer["logprobs"][0]["top"]) == 2
