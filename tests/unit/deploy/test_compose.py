from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.operator_tools import ROOT, run_tool
from worker.protocol.settings import Settings, known_environment

DEPLOY = ROOT / "deploy"
OWN = ("api", "generation", "worker")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return content["services"]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_file_is_valid_by_the_schema_of_compose(name: str) -> None:
    check = Path(sys.executable).parent / "check-jsonschema"
    done = run_tool(check, "--builtin-schema", "vendor.compose-spec", DEPLOY / name)
    assert done.returncode == 0, done.stdout


def test_redis_syncs_every_write_and_never_evicts(compose: dict[str, Any]) -> None:
    command = " ".join(compose["redis"]["command"])
    for words in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert words in command
    assert compose["redis"]["volumes"]


def test_errata_runs_on_a_read_only_root_without_rights(compose: dict[str, Any]) -> None:
    for name in OWN:
        service = compose[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["data:/data"]
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_only_settings_that_errata_reads_are_set(compose: dict[str, Any]) -> None:
    assert {variable for name in OWN for variable in compose[name]["environment"]} <= known_environment()


def test_a_container_may_stop_for_longer_than_the_longest_answer(compose: dict[str, Any]) -> None:
    longest = Settings.model_fields["max_answer_seconds"].default
    for name in ("api", "generation"):
        drain = float(compose[name]["environment"]["ERRATA_STOP_SECONDS"])
        assert longest < drain < float(compose[name]["stop_grace_period"].removesuffix("s"))


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_scrapes_every_process_at_its_port(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = [job["static_configs"][0]["targets"][0].split(":") for job in config["scrape_configs"]]
    assert {name for name, _ in targets} == set(OWN) <= compose.keys()
    for name, port in targets:
        assert f"EXPOSE {port}\n" in (ROOT / "docker" / f"{name}.Dockerfile").read_text()
