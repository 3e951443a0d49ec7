from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from editing_core.errors import InvalidSettings
from service.cli.redis_users import PASSWORD_FILE, RULES, USERS_FILE
from tests.support.operator_tools import ROOT, run_tool, tool
from worker.protocol.settings import Settings, known_environment, read_settings

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "overlays/gpu")
OLDEST_KUSTOMIZE = (5, 0)
"""Part of kubectl since 1.27."""


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kubectl = tool("kubectl", package="kubectl 1.27 or later")
    version = re.search(r"Kustomize Version: v(\d+)\.(\d+)", run_tool(kubectl, "version", "--client").stdout)
    assert version is not None
    assert (int(version[1]), int(version[2])) >= OLDEST_KUSTOMIZE
    done = run_tool(kubectl, "kustomize", KUBERNETES / request.param)
    assert done.returncode == 0, done.stdout
    path = tmp_path_factory.mktemp("rendered") / "all.yaml"
    path.write_text(done.stdout)
    return path


@pytest.fixture(scope="module")
def objects(rendered: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(rendered.read_text()))


def _of(objects: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] in kinds}


def _pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    workloads = _of(objects, "Deployment", "StatefulSet")
    return {name: found["spec"]["template"]["spec"] for name, found in workloads.items()}


def test_every_object_is_valid_by_the_schemas_of_kubernetes(rendered: Path) -> None:
    done = run_tool(Path(sys.executable).parent / "kubernetes-validate", "--strict", rendered)
    assert done.returncode == 0, done.stdout


def test_every_pod_is_restricted(objects: list[dict[str, Any]]) -> None:
    pods = _pods(objects)
    assert pods.keys() == {"errata-api", "errata-generation", "errata-worker", "errata-redis"}
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"].keys() == {"requests", "limits"}


def test_no_service_of_the_cluster_adds_variables_that_errata_would_refuse(objects: list[dict[str, Any]]) -> None:
    assert all(pod["enableServiceLinks"] is False for pod in _pods(objects).values())


def test_pods_set_only_settings_that_errata_reads(objects: list[dict[str, Any]]) -> None:
    own = [pod for name, pod in _pods(objects).items() if name != "errata-redis"]
    given = {variable["name"] for pod in own for variable in pod["containers"][0]["env"]}
    assert given <= known_environment()
    assert {"ERRATA_CONFIG", "REDIS_URL"} <= given


def test_settings_file_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_environment():
        monkeypatch.delenv(name, raising=False)
    try:
        settings = read_settings(config=KUBERNETES / "base" / "errata.toml")
    except InvalidSettings as error:
        pytest.fail(error.detail)
    assert settings.stop_seconds > settings.max_answer_seconds


def test_a_pod_may_drain_longer_than_the_longest_answer_lasts(objects: list[dict[str, Any]]) -> None:
    (text,) = (found["data"]["errata.toml"] for found in _of(objects, "ConfigMap").values())
    drain = tomllib.loads(text)["stop_seconds"]
    assert drain > Settings.model_fields["max_answer_seconds"].default
    for name in ("errata-api", "errata-generation"):
        pod = _pods(objects)[name]
        pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod["terminationGracePeriodSeconds"] > pause + drain


def test_a_slow_load_causes_no_restarts(objects: list[dict[str, Any]]) -> None:
    """The liveness probe starts after the start-up probe, which may take an hour."""
    container = _pods(objects)["errata-generation"]["containers"][0]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_ledger_has_its_own_disk_and_syncs_every_write(objects: list[dict[str, Any]]) -> None:
    redis = _of(objects, "StatefulSet")["errata-redis"]
    assert redis["spec"]["volumeClaimTemplates"]
    command = " ".join(redis["spec"]["template"]["spec"]["containers"][0]["args"])
    for words in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "--dir /data"):
        assert words in command


def test_the_store_is_shared_by_all_pods_and_every_workload_has_its_budget(objects: list[dict[str, Any]]) -> None:
    (claim,) = _of(objects, "PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert _of(objects, "PodDisruptionBudget").keys() == _pods(objects).keys()
    assert _of(objects, "HorizontalPodAutoscaler").keys() == {"errata-api"}


def test_each_process_has_its_own_redis_user_and_sees_only_its_own_password(objects: list[dict[str, Any]]) -> None:
    for name in RULES:
        pod = _pods(objects)[f"errata-{name}"]
        given = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
        assert given["REDIS_URL"] == f"redis://{name}@errata-redis:6379/0"
        secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert secrets == {"redis-password": f"errata-redis-{name}"}
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert given["ERRATA_REDIS_PASSWORD_FILE"] == f"{mounts['redis-password']}/{PASSWORD_FILE}"


def test_redis_reads_its_users_from_a_secret_that_no_other_pod_mounts(objects: list[dict[str, Any]]) -> None:
    redis = _pods(objects)["errata-redis"]
    (users,) = redis["volumes"]
    assert users["secret"]["secretName"] == "errata-redis-users"
    (mount,) = [found for found in redis["containers"][0]["volumeMounts"] if found["name"] == users["name"]]
    assert f"--aclfile {mount['mountPath']}/{USERS_FILE.name}" in redis["containers"][0]["args"][0]


def test_policies_refuse_everything_and_then_name_what_each_component_may_reach(objects: list[dict[str, Any]]) -> None:
    policies = {name: found["spec"] for name, found in _of(objects, "NetworkPolicy").items()}
    assert policies["errata-nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, pod in _pods(objects).items():
        spec = policies[name]
        assert spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": name}}
        assert all(rule["from"] and rule["ports"] for rule in spec["ingress"])
        opened = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        assert opened == {port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert "egress" not in policies["errata-redis"]
    assert {port["port"] for rule in policies["errata-worker"]["egress"] for port in rule["ports"]} == {443}


def test_no_secret_is_in_the_files(objects: list[dict[str, Any]]) -> None:
    assert not _of(objects, "Secret")


def test_only_the_overlay_requests_gpus(objects: list[dict[str, Any]], request: pytest.FixtureRequest) -> None:
    asking = {
        name for name, pod in _pods(objects).items() if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]
    }
    is_overlay = "cuda" in yaml.safe_dump(_pods(objects)["errata-worker"])
    assert asking == ({"errata-generation", "errata-worker"} if is_overlay else set())
