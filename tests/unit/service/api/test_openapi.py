"""The document at /openapi.json; made without Redis, which is only asked when a route is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from editing_core.errors import InvalidSettings
from service.api.app import create_app
from service.api.schemas.requests import EXAMPLE_EDIT, Submission
from service.api.submissions.reading import usable_edits
from worker.protocol.connections import connect, connect_queue
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import Settings

NOWHERE = "redis://127.0.0.1:1"


def document(data: Path, **settings: Any) -> dict[str, Any]:
    queue = WorkQueue(connect_queue(NOWHERE), "store", job_timeout_seconds=3600)
    settings = {"data": data, "role": "api", **settings}
    app = create_app(Settings(**settings), Ledger(connect(NOWHERE), Keys("store")), queue)
    return app.openapi()


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    described = document(tmp_path)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert {"Submission", "ProblemOut"} <= names
    assert names <= set(described["components"]["schemas"])


def test_only_existing_routes_are_described(tmp_path: Path) -> None:
    routes = {f"{method} {path}" for path, found in document(tmp_path)["paths"].items() for method in found}
    assert routes == {
        "get /",
        "get /healthz",
        "get /whoami",
        "get /readyz",
        "get /metrics",
        "get /problems",
        "get /problems/{slug}",
        "post /edits",
        "get /edits",
        "get /edits/{edit}",
        "get /batches",
        "get /batches/{batch}",
        "get /batches/{batch}/events",
        "delete /batches/{batch}",
        "get /versions",
        "get /versions/{version}",
        "post /versions/{version}/promote",
        "put /versions/{version}/pin",
        "delete /versions/{version}/pin",
        "post /edits/{edit}/purge",
        "get /audit",
        "get /audit/verification",
        "get /retention",
        "post /versions/{version}/export",
        "get /exports",
        "get /exports/{export}",
        "delete /versions/{version}",
        "get /versions/{a}/diff/{b}",
        "delete /edits/{edit}",
        "get /guards",
        "post /guards",
        "delete /guards/{guard}",
    }


def test_every_refusal_is_described_as_a_problem(tmp_path: Path) -> None:
    for path, methods in document(tmp_path)["paths"].items():
        for method, operation in methods.items():
            refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            if path == "/readyz":
                continue
            media = {name for answer in refusals.values() for name in answer["content"]}
            assert media <= {"application/problem+json"}, (method, path)


GUARDED = {"whoami", "edits", "batches", "versions", "guards", "exports", "audit", "retention"}


def test_exactly_the_guarded_routes_ask_for_a_key(tmp_path: Path) -> None:
    described = document(tmp_path)
    assert described["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        guarded = path.split("/")[1] in GUARDED
        for operation in methods.values():
            assert ("security" in operation) == guarded
            assert ("401" in operation["responses"]) == guarded


def test_refusals_that_a_route_can_give_are_documented(tmp_path: Path) -> None:
    paths = document(tmp_path)["paths"]
    assert "404" in paths["/edits"]["post"]["responses"], "of an edit that is to be taken out"
    assert "504" in paths["/versions/{a}/diff/{b}"]["get"]["responses"]


def test_the_role_generation_serves_no_edits(tmp_path: Path) -> None:
    assert not {"/edits", "/batches", "/versions", "/exports"} & set(document(tmp_path, role="generation")["paths"])


def test_the_example_is_a_batch_that_would_be_accepted() -> None:
    assert usable_edits(Submission.model_validate({"edits": [EXAMPLE_EDIT]}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "errata.example"])  # noqa: S104
def test_an_open_address_without_keys_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidSettings, match="errata keys add"):
        document(tmp_path, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_needs_no_keys(tmp_path: Path, host: str) -> None:
    assert document(tmp_path, host=host)
