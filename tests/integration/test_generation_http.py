"""Asking the model over real HTTP."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.runtime import GenerationRuntime
from tests.support.generation import PROMPTS, greedy_text, publish, serving, view_of, write_version
from tests.support.redis_server import open_bench
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until

LOADED = tiny_loaded("gptj")
PROMPT = PROMPTS[0]

Served = tuple[GenerationRuntime, httpx.Client]


@pytest.fixture(scope="module")
def served(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """v1 live, v0 and v2 kept, v3 written and never published."""
    root = tmp_path_factory.mktemp("store")
    bind_identity(root, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(root))
    write_version(store, LOADED, "v3")
    with open_bench(redis_url) as bench:
        publish(bench.ledger, write_version(store, LOADED, "v2"))
        publish(bench.ledger, write_version(store, LOADED, "v1"))
        with serving(bench, store, LOADED, num_places=2, max_waiting=4, max_new_tokens=200) as made:
            yield made


@pytest.fixture
def client(served: Served) -> httpx.Client:
    return served[1]


def expected(version: str, prompt: str, num_tokens: int) -> str:
    return greedy_text(view_of(LOADED, version), LOADED.tokenizer, prompt, num_tokens)


def test_get_and_post_give_the_live_versions_greedy_answer(client: httpx.Client) -> None:
    by_query = client.get("/generate", params={"prompt": PROMPT, "max_new_tokens": 9, "seed": "", "version": ""})
    by_body = client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 9})
    assert by_query.status_code == by_body.status_code == 200
    assert by_query.json() == by_body.json()
    assert by_query.json() == {
        "prompt": PROMPT,
        "text": expected("v1", PROMPT, 9),
        "finish_reason": "length",
        "version": "v1",
        "usage": {"prompt_tokens": len(LOADED.tokenizer(PROMPT)["input_ids"]), "completion_tokens": 9},
    }
    assert by_query.headers["X-Model-Version"] == "v1"


def test_a_list_of_prompts_is_answered_in_its_order_by_one_version(client: httpx.Client) -> None:
    prompts = list(PROMPTS[:5])
    answers = client.post("/generate", json={"prompt": prompts, "max_new_tokens": 6}).json()["answers"]
    assert [answer["prompt"] for answer in answers] == prompts
    assert [answer["text"] for answer in answers] == [expected("v1", prompt, 6) for prompt in prompts]
    assert {answer["version"] for answer in answers} == {"v1"}


@pytest.mark.parametrize("version", ["v0", "v1", "v2"])
def test_any_kept_version_can_be_asked(client: httpx.Client, version: str) -> None:
    answer = client.get("/generate", params={"prompt": PROMPT, "max_new_tokens": 8, "version": version})
    assert answer.json()["text"] == expected(version, PROMPT, 8)
    assert answer.headers["X-Model-Version"] == version


def test_sampling_with_a_seed_is_repeatable_and_differs_from_greedy(client: httpx.Client) -> None:
    asked = {"prompt": PROMPT, "max_new_tokens": 20, "temperature": 1.5, "seed": 3}
    first, second = (client.post("/generate", json=asked).json()["text"] for _ in range(2))
    assert first == second != expected("v1", PROMPT, 20)


def test_prompts_are_taken_as_they_are(client: httpx.Client) -> None:
    for prompt in ("{0.__class__}", "{} %s \\n ${PATH}", "שלום 👩‍👩‍👧 é", "<|endoftext|>x", "\x00\x1b[31m"):
        answer = client.post("/generate", json={"prompt": prompt, "max_new_tokens": 3})
        assert answer.status_code == 200, answer.text
        assert answer.json()["text"] == expected("v1", prompt, 3)


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({}, 422, "prompt"),
        ({"prompt": ""}, 422, "prompt"),
        ({"prompt": " \n\t"}, 422, "prompt"),
        ({"prompt": []}, 422, "prompt"),
        ({"prompt": ["x"] * 65}, 422, "prompt"),
        ({"prompt": ["x", " "]}, 422, "prompt"),
        ({"prompt": 5}, 422, "prompt"),
        ({"prompt": "x", "max_new_tokens": 0}, 422, "max_new_tokens"),
        ({"prompt": "x", "max_new_tokens": 201}, 422, "max_new_tokens"),
        ({"prompt": "x", "max_new_tokens": "9"}, 422, "max_new_tokens"),
        ({"prompt": "x", "temperature": -0.1}, 422, "temperature"),
        ({"prompt": "x", "top_p": 0}, 422, "top_p"),
        ({"prompt": "x", "top_p": 1.1}, 422, "top_p"),
        ({"prompt": "x", "seed": -1}, 422, "seed"),
        ({"prompt": "x", "seed": 2**63}, 422, "seed"),
        ({"prompt": "x", "stream": "yes"}, 422, "stream"),
        ({"prompt": "x", "nonsense": 1}, 422, "nonsense"),
        ({"prompt": "x", "timeout_seconds": 301}, 422, "timeout_seconds"),
        ({"prompt": "x", "stop": [""]}, 422, "stop"),
        ({"prompt": "x", "logprobs": 21}, 422, "logprobs"),
        ({"prompt": "x", "version": "v1", "min_version": "v1"}, 422, "exclude"),
        ({"prompt": "x " * 600}, 400, "prompt"),
        ({"prompt": "x" * 1_000_000}, 400, "prompt"),
        ({"prompt": "x", "version": "v77"}, 404, "v77"),
        ({"prompt": "x", "version": "../v1"}, 404, "../v1"),
        ({"prompt": "x", "min_version": "v77"}, 404, "v77"),
        ({"prompt": "x", "min_version": "nonsense"}, 404, "nonsense"),
    ],
)
def test_bad_input_is_a_problem_that_names_its_place(
    client: httpx.Client, body: dict[str, Any], status: int, place: str
) -> None:
    answer = client.post("/generate", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert place in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "x", "temperature": Infinity}',
        b'{"prompt": "x", "top_p": NaN}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": ["x", "a\\udfff"]}',
        b'{"prompt": "x", "version": "\\ud800"}',
        b'{"prompt": "x", "max_new_tokens": 1e400}',
        b'{"prompt": "x"',
        b'["x"]',
        b"",
    ],
)
def test_json_values_outside_the_schema_are_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query", ["temperature=nan", "temperature=-1", "top_p=inf", "seed=x", "logprobs=-1", "prompt=%20"]
)
def test_bad_queries_are_refused(client: httpx.Client, query: str) -> None:
    prompt = "" if query.startswith("prompt") else "prompt=x&"
    assert client.get(f"/generate?{prompt}{query}").status_code == 422


def test_score_returns_probability_rank_and_the_likeliest_tokens(client: httpx.Client) -> None:
    asked = {"prompt": PROMPT, "target": "French"}
    by_query = client.get("/score", params=asked)
    by_body = client.post("/score", json={**asked, "version": "v1"})
    assert by_query.status_code == 200, by_query.text
    assert by_query.json() == by_body.json()
    score = by_query.json()
    assert 0 < score["probability"] < 1
    assert score["rank"] >= 1
    assert score["version"] == by_query.headers["X-Model-Version"] == "v1"
    written = expected("v1", PROMPT, 1)
    assert score["top"][0]["token"] == written
    assert client.get("/score", params=asked | {"version": "v0"}).json()["probability"] != score["probability"]


def test_score_refuses_invalid_targets(client: httpx.Client) -> None:
    assert client.get("/score", params={"prompt": "x", "target": " "}).status_code == 422
    assert client.get("/score", params={"prompt": "x"}).status_code == 422
    assert client.get("/score", params={"prompt": "x", "target": "y", "top": 3}).status_code == 422
    assert client.get("/score", params={"prompt": "x", "target": "y", "version": "v9"}).status_code == 404
    assert client.post("/score", json={"prompt": "x", "target": "y " * 600}).status_code == 400


def test_a_client_that_goes_away_frees_its_place(served: Served) -> None:
    runtime, client = served
    url = client.base_url
    body = b'{"prompt": ["a", "b", "c", "d"], "max_new_tokens": 200, "temperature": 1, "seed": 1}'
    head = f"POST /generate HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: runtime.readiness()["running"] == 2)
    until(lambda: (runtime.readiness()["running"], runtime.readiness()["waiting"]) == (0, 0))
    until(lambda: 'answers_total{outcome="gone"} 4.0' in client.get("/metrics").text)


def test_requests_beyond_the_waiting_list_get_a_time_to_retry(served: Served) -> None:
    runtime, client = served
    full = {"prompt": ["x"] * 6, "max_new_tokens": 1}
    statuses: list[int] = []
    first = threading.Thread(target=lambda: statuses.append(client.post("/generate", json=full).status_code))
    with runtime.pause():
        first.start()
        until(lambda: runtime.readiness()["waiting"] == 6)
        refused = client.post("/generate", json=full | {"prompt": "x"})
    first.join()
    assert (refused.status_code, refused.headers["Retry-After"], statuses) == (429, "1", [200])


def test_more_prompts_than_there_is_room_for_are_refused_for_good(client: httpx.Client) -> None:
    answer = client.post("/generate", json={"prompt": ["x"] * 7, "max_new_tokens": 1})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["prompt"])
    assert "Retry-After" not in answer.headers


def test_a_version_that_was_written_and_never_published_is_unknown(client: httpx.Client) -> None:
    answer = client.get("/generate", params={"prompt": "x", "version": "v3"})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_a_body_is_limited_and_read_as_json(client: httpx.Client) -> None:
    assert client.post("/generate", json={"prompt": "x" * 5_000_000}).status_code == 413
    assert client.post("/generate", content=b"prompt=x").status_code == 415
    answer = client.post("/score", content=b'{"prompt": ', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/malformed-json")


def test_ready_with_the_live_versions_digest_and_figures(client: httpx.Client) -> None:
    part = client.get("/readyz").json()["parts"]["generation"]
    assert (part["ready"], part["degraded"], part["version"], part["pointer_revision"]) == (True, False, "v1", 2)
    assert part["digest"].startswith("sha256:")
    figures = client.get("/metrics").text
    assert "errata_generation_pointer_revision 2.0" in figures
    assert all(f"errata_generation_swap_{name}_seconds_count 1.0" in figures for name in ("duration", "stall"))
    assert re.search(r"errata_generation_load_duration_seconds_count [1-9]", figures)
    assert "errata_generation_digest_matches 1.0" in figures
    assert 'errata_generation_tokens_total{kind="completion"}' in figures


def test_the_openapi_page_documents_parameters_routes_and_statuses(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    names = {parameter["name"] for parameter in document["paths"]["/generate"]["get"]["parameters"]}
    assert {"prompt", "max_new_tokens", "temperature", "top_p", "seed", "version", "min_version"} <= names
    assert {"stream", "stop", "logprobs", "timeout_seconds"} <= names
    assert {"/v1/models", "/v1/completions"} <= set(document["paths"])
    assert {"200", "400", "404", "409", "422", "429", "503"} <= set(document["paths"]["/generate"]["post"]["responses"])
