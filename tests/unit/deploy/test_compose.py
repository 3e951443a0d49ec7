from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.redis_users import PASSWORD_FILE, RULES, USERS_FILE
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
        assert service["volumes"] == ["data:/data", f"{name}-password:/secrets/own:ro"]
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_each_process_has_its_own_redis_user_and_sees_only_its_own_password(compose: dict[str, Any]) -> None:
    for name in OWN:
        environment = compose[name]["environment"]
        assert environment["REDIS_URL"] == f"redis://{name}@redis:6379/0"
        folder = compose[name]["volumes"][1].split(":")[1]
        assert environment["ERRATA_REDIS_PASSWORD_FILE"] == f"{folder}/{PASSWORD_FILE}"
        assert f"{name}-password:/secrets/{name}" in compose["users"]["volumes"]
    assert RULES.keys() == set(OWN)


def test_redis_reads_the_users_that_the_first_service_writes(compose: dict[str, Any]) -> None:
    redis, users = compose["redis"], compose["users"]
    assert users["command"] == ["errata", "redis-users", "/secrets"]
    assert f"redis-users:/secrets/{USERS_FILE.parent}" in users["volumes"]
    assert "redis-users:/users:ro" in redis["volumes"]
    assert redis["command"][-2:] == ["--aclfile", f"/users/{USERS_FILE.name}"]
    assert redis["depends_on"]["users"] == {"condition": "service_completed_successfully"}


def test_no_password_and_no_key_is_in_the_file_or_the_log(compose: dict[str, Any]) -> None:
    assert "requirepass" not in str(compose)
    (command,) = compose["keys"]["command"][2:]
    assert command.endswith("(umask 077; errata keys add operator --scope admin > /secrets/operator/key)")


def test_folders_of_the_secrets_belong_to_the_user_of_the_image(compose: dict[str, Any]) -> None:
    """A new volume takes the owner of the image's folder at the place where it is mounted."""
    image = (ROOT / "docker" / "api.Dockerfile").read_text()
    mounted = [volume.split(":")[1] for name in ("users", "keys") for volume in compose[name]["volumes"]]
    made = image[image.index("install -d -o errata -g errata") :].partition("\nCOPY")[0].split()
    assert set(mounted) <= set(made)


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
