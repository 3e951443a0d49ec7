"""The files of the console over real HTTP: their headers, where browsers are sent, and what a key may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile, Scope
from service.console.files import console_files
from tests.support.api_process import ApiProcess, require_problem, running_api


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    grafana = "https://grafana.example.org/"
    with running_api(redis_url, tmp_path_factory.mktemp("data"), grafana_url=grafana) as api:
        yield api


def test_every_file_is_sent_with_a_policy_without_inline_scripts_and_framing(api: ApiProcess) -> None:
    with api.client() as client:
        for name in ["", *console_files()]:
            answer = client.get(f"/console/{name}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "set-cookie" not in answer.headers


def test_an_unchanged_file_is_not_sent_again(api: ApiProcess) -> None:
    with api.client() as client:
        etag = client.get("/console/main.js").headers["etag"]
        assert client.get("/console/main.js", headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("name", ["%2e%2e/files.py", "..%2f..%2fserve.py", "nothing.js", "%00"])
def test_no_other_file_can_be_asked_for(api: ApiProcess, name: str) -> None:
    with api.client() as client:
        require_problem(client.get(f"/console/{name}"), 404, "not-found")


def test_browsers_are_redirected_from_the_root_and_programs_are_not(api: ApiProcess) -> None:
    with api.client() as client:
        browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
        assert (browser.status_code, browser.headers["location"]) == (307, "/console")
        links = client.get("/").json()["links"]
        assert (links["console"], links["grafana"]) == ("/console", "https://grafana.example.org/")


def test_the_setting_switches_the_console_off(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path, console=False) as api, api.client() as client:
        assert client.get("/console").status_code == 404
        assert client.get("/", headers={"Accept": "text/html"}).status_code == 200


@pytest.mark.parametrize("scope", ["read", "edit", "admin"])
def test_a_key_learns_its_name_and_its_scope(redis_url: str, tmp_path: Path, scope: Scope) -> None:
    with running_api(redis_url, tmp_path) as api, api.client() as client:
        assert client.get("/whoami").json() == {"name": None, "scope": "admin"}
        secret = KeyFile(StoreLayout(tmp_path).api_keys).add("clerk", [scope])
        require_problem(client.get("/whoami"), 401, "key-required")
        answer = client.get("/whoami", headers={"Authorization": f"Bearer {secret}"})
        assert answer.json() == {"name": "clerk", "scope": scope}
