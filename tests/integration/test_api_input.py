"""What the API refuses: each time a problem document with the right status, and a ledger that has not changed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_process import ApiProcess, require_problem, running_api
from tests.support.api_process import edit as plain_edit
from tests.support.waiting import until

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running_api(redis_url, tmp_path_factory.mktemp("data")) as api:
        yield api


def edit(**fields: Any) -> dict[str, Any]:
    return {**plain_edit("Danielle Darrieux"), **fields}


def batch(*edits: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"edits": list(edits), **fields}).encode()


INVALID_INPUT: dict[str, tuple[bytes, str, list[str | int]]] = {
    "empty batch": (batch(), "invalid-input", ["body", "edits"]),
    "no edits at all": (b"{}", "invalid-input", ["body", "edits"]),
    "no slot": (batch(edit(prompt="The mother tongue is")), "invalid-edit", ["body", "edits", 0, "prompt"]),
    "two slots": (batch(edit(prompt="{} and {} are")), "invalid-edit", ["body", "edits", 0, "prompt"]),
    "attribute in a slot": (batch(edit(prompt="{0.__class__} is")), "invalid-edit", ["body", "edits", 0, "prompt"]),
    "attribute beside a slot": (batch(edit(prompt="{} {0.__class__}")), "invalid-edit", ["body", "edits", 0, "prompt"]),
    "subject of spaces": (batch(edit(subject=" \u3000 ")), "invalid-edit", ["body", "edits", 0, "subject"]),
    "empty subject": (batch(edit(subject="")), "invalid-edit", ["body", "edits", 0, "subject"]),
    "slot in the subject": (batch(edit(subject="{}")), "invalid-edit", ["body", "edits", 0, "subject"]),
    "empty target": (batch(edit(target_new="")), "invalid-edit", ["body", "edits", 0, "target_new"]),
    "control character": (batch(edit(target_new="a\x00b")), "invalid-edit", ["body", "edits", 0, "target_new"]),
    "same edit twice": (batch(edit(), edit()), "invalid-edit", ["body", "edits", 1]),
    "number as subject": (batch(edit(subject=7)), "invalid-input", ["body", "edits", 0, "subject"]),
    "null as target": (batch(edit(target_new=None)), "invalid-input", ["body", "edits", 0, "target_new"]),
    "text as list": (batch(edit(paraphrases="{} is")), "invalid-input", ["body", "edits", 0, "paraphrases"]),
    "wrong type beyond the first hundred": (
        batch(*(edit(subject=f"S{i}") for i in range(150)), edit(subject=1)),
        "invalid-input",
        ["body", "edits", 150, "subject"],
    ),
    "repeated key of the batch": (
        b'{"edits": [], "remove": ["a"], "remove": ["b"]}',
        "invalid-input",
        ["body", "remove"],
    ),
    "repeated key of an edit": (
        b'{"edits": [{}, {"subject": "A", "prompt": "{} is", "subject": "B"}]}',
        "invalid-input",
        ["body", "edits", 1, "subject"],
    ),
    "repeated key by another spelling": (
        b'{"remove": ["a"], "\\u0072emove": ["b"]}',
        "invalid-input",
        ["body", "remove"],
    ),
    "list as body": (b"[]", "invalid-input", ["body"]),
    "unknown field of the batch": (batch(edit(), colour="red"), "invalid-input", ["body", "colour"]),
    "unknown field of an edit": (batch(edit(colour="red")), "invalid-input", ["body", "edits", 0, "colour"]),
    "unknown promotion": (batch(edit(), promote="later"), "invalid-input", ["body", "promote"]),
    "unknown end of a failure": (batch(edit(), on_failure="ignore"), "invalid-input", ["body", "on_failure"]),
    "text as dry run": (batch(edit(), dry_run="yes"), "invalid-input", ["body", "dry_run"]),
    "nothing to take out": (batch(remove=[]), "invalid-input", ["body", "edits"]),
    "number to take out": (batch(edit(), remove=[1]), "invalid-input", ["body", "remove", 0]),
    "empty body": (b"", "malformed-json", ["body"]),
    "not JSON": (b"edits: none", "malformed-json", ["body"]),
    "half of a JSON": (b'{"edits": [', "malformed-json", ["body"]),
    "NaN": (b'{"edits": [], "dry_run": NaN}', "malformed-json", ["body"]),
    "lone leading surrogate": (b'{"edits": [{"subject": "\\ud83d"}]}', "malformed-json", ["body"]),
    "lone trailing surrogate": (b'{"edits": [{"subject": "\\ude00 x"}]}', "malformed-json", ["body"]),
    "bytes that are not UTF-8": (b'{"edits": [{"subject": "\xff"}]}', "malformed-json", ["body"]),
    "deep nesting": (b"[" * 100_000, "malformed-json", ["body"]),
}


@pytest.mark.parametrize("name", INVALID_INPUT)
def test_bad_batch_is_a_422_that_names_the_place_and_leaves_no_trace(api: ApiProcess, name: str) -> None:
    body, slug, loc = INVALID_INPUT[name]
    with api.client() as client:
        problem = require_problem(client.post("/edits", content=body, headers=JSON), 422, slug)
    assert loc in [error["loc"] for error in problem["errors"]]
    assert all(error["msg"] for error in problem["errors"])
    assert_untouched(api)


def assert_untouched(api: ApiProcess) -> None:
    assert not api.ledger.batches.page().items
    assert api.queue.depth() == 0
    assert api.ledger.versions.pointer().revision == 0


def test_conflicting_pair_is_a_409_that_names_both_edits_and_objects(api: ApiProcess) -> None:
    pair = batch(edit(subject="Anna"), edit(relation="P103"), edit(relation=" P103 ", target_new="Thai"))
    with api.client() as client:
        problem = require_problem(client.post("/edits", content=pair, headers=JSON), 409, "edit-conflict")
    assert {tuple(error["loc"]) for error in problem["errors"]} == {
        ("body", "edits", 1, "target_new"),
        ("body", "edits", 2, "target_new"),
    }
    assert all(word in problem["detail"] for word in ("English", "Thai", "1", "2"))
    assert_untouched(api)


def test_ten_thousand_and_one_edits_are_a_413(api: ApiProcess) -> None:
    body = batch(*(edit(subject=f"Person {i}") for i in range(10_001)))
    with api.client() as client:
        require_problem(client.post("/edits", content=body, headers=JSON), 413, "too-many-edits")
    assert_untouched(api)


def test_seventy_megabytes_are_a_413_that_the_sender_can_read(api: ApiProcess) -> None:
    with api.client() as client:
        require_problem(client.post("/edits", content=b" " * (70 * MIB), headers=JSON), 413, "body-too-large")
    assert_untouched(api)


def test_a_stream_of_unknown_length_is_cut_at_the_limit(api: ApiProcess) -> None:
    with api.client() as client:
        pieces = (b" " * MIB for _ in range(70))
        require_problem(client.post("/edits", content=pieces, headers=JSON), 413, "body-too-large")
    assert_untouched(api)


def test_a_body_that_is_declared_too_large_is_refused_before_any_of_it_is_sent(api: ApiProcess) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /edits HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {70 * MIB}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_not_declared_as_json_is_a_415(api: ApiProcess, media_type: str) -> None:
    with api.client() as client:
        answer = client.post("/edits", content=batch(edit()), headers={"Content-Type": media_type})
    require_problem(answer, 415, "wrong-media-type")
    assert_untouched(api)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/edits/nothing"),
        ("GET", "/edits/%F0%9F%8E%AD"),
        ("GET", "/edits?batch=nothing"),
        ("GET", "/batches/nothing"),
        ("GET", "/batches/nothing/events"),
        ("DELETE", "/batches/nothing"),
        ("GET", "/versions/v7"),
        ("GET", "/versions/latest"),
        ("POST", "/versions/v7/promote"),
        ("POST", "/versions/%00/promote"),
        ("GET", "/problems/nothing"),
    ],
)
def test_an_unknown_id_is_a_404(api: ApiProcess, method: str, path: str) -> None:
    with api.client() as client:
        require_problem(client.request(method, path), 404, "not-found")
    assert_untouched(api)


@pytest.mark.parametrize(
    ("path", "loc"),
    [
        ("/edits?limit=0", ["query", "limit"]),
        ("/edits?limit=501", ["query", "limit"]),
        ("/edits?limit=many", ["query", "limit"]),
        ("/edits?status=alive", ["query", "status"]),
        ("/edits?colour=red", ["query", "colour"]),
        ("/batches?limit=-1", ["query", "limit"]),
        ("/versions?page=2", ["query", "page"]),
    ],
)
def test_a_bad_query_is_a_422_that_names_the_parameter(api: ApiProcess, path: str, loc: list[str]) -> None:
    with api.client() as client:
        problem = require_problem(client.get(path), 422, "invalid-input")
    assert problem["errors"][0]["loc"] == loc


@pytest.mark.parametrize("path", ["/edits", "/batches", "/versions"])
def test_a_cursor_that_no_page_gave_is_a_422(api: ApiProcess, path: str) -> None:
    with api.client() as client:
        require_problem(client.get(path, params={"cursor": "gibberish!"}), 422, "invalid-cursor")


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "301", "long"])
def test_a_wait_out_of_range_is_a_422(api: ApiProcess, wait: str) -> None:
    with api.client() as client:
        answer = client.post("/edits", params={"wait": wait}, content=batch(edit()), headers=JSON)
    problem = require_problem(answer, 422, "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "wait"]
    assert_untouched(api)


@pytest.mark.parametrize("key", ["", "a" * 256, "tab\there"])
def test_an_idempotency_key_that_is_no_key_is_a_422(api: ApiProcess, key: str) -> None:
    with api.client() as client:
        answer = client.post("/edits", content=batch(edit()), headers={**JSON, "Idempotency-Key": key})
    require_problem(answer, 422, "invalid-input")
    assert_untouched(api)


def test_an_unknown_path_is_a_404_and_a_wrong_method_a_405_that_names_the_right_ones(api: ApiProcess) -> None:
    with api.client() as client:
        require_problem(client.get("/generate"), 404, "unknown-route")
        answer = client.put("/edits")
    require_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, POST"


def test_every_kind_of_problem_has_a_page_under_its_type(api: ApiProcess) -> None:
    with api.client() as client:
        kinds = client.get("/problems").json()
        assert {"/problems/invalid-edit", "/problems/ledger-down"} <= {kind["type"] for kind in kinds}
        assert all(client.get(kind["type"]).json() == kind for kind in kinds)


def test_client_that_leaves_in_the_middle_of_its_body_is_counted_as_gone_and_not_as_a_failure(api: ApiProcess) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /edits HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(f"{head}{{".encode())
    with api.client() as client:
        until(lambda: 'status="499"' in client.get("/metrics").text)
        assert 'status="500"' not in client.get("/metrics").text


LARGER = {"/versions/v0/export": 64 * 1024, "/generate": 4 * MIB, "/v1/completions": 4 * MIB, "/nowhere": 64 * 1024}


def begin(api: ApiProcess, path: str, framing: str, body: bytes = b"") -> bytes:
    """Send the head of a request and a part of its body; return the beginning of the answer."""
    host, port = api.url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        return connection.recv(4096)


@pytest.mark.parametrize(("path", "limit"), LARGER.items())
def test_declared_length_beyond_the_limit_of_the_route_is_refused_without_a_byte_of_the_body(
    api: ApiProcess, path: str, limit: int
) -> None:
    assert begin(api, path, f"Content-Length: {limit + 1}").startswith(b"HTTP/1.1 413 ")


def test_body_without_a_length_is_refused_as_it_passes_the_limit_of_the_route(api: ApiProcess) -> None:
    num_bytes = 64 * 1024 + 1
    unfinished = f"{num_bytes:x}\r\n".encode() + b" " * num_bytes
    answer = begin(api, "/versions/v0/export", "Transfer-Encoding: chunked", unfinished)
    assert answer.startswith(b"HTTP/1.1 413 ")
