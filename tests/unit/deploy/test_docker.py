"""The images, tested without a container engine: linting, the install steps, and the promises of the Dockerfiles."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.operator_tools import ROOT, run_tool
from worker.protocol.settings import known_environment

DOCKER = ROOT / "docker"
PROCESSES = ("api", "generation", "worker")
FILES = [DOCKER / f"{process}.Dockerfile" for process in PROCESSES]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("file", FILES, ids=PROCESSES)
def test_hadolint_finds_nothing(file: Path) -> None:
    done = run_tool(BIN / "hadolint", "--failure-threshold", "info", file)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=PROCESSES)
def test_image_runs_as_an_unprivileged_user_with_a_health_check_from_a_pinned_base(file: Path) -> None:
    lines = file.read_text().splitlines()
    bases = [line for line in lines if line.startswith("FROM")]
    assert len(bases) == 2
    assert all("${PYTHON_IMAGE}" in line for line in bases)
    (base,) = (line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert base.rpartition(":")[2].count(".") == 2, base
    assert "USER 10001:10001" in lines[lines.index(bases[1]) :]
    assert any(line.startswith("HEALTHCHECK") for line in lines)


@pytest.mark.parametrize("file", FILES, ids=PROCESSES)
def test_image_sets_only_variables_that_errata_reads(file: Path) -> None:
    words = file.read_text().replace("=", " ").split()
    assert {word for word in words if word.startswith("ERRATA_")} <= known_environment()


def test_builder_receives_only_files_that_are_installed() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert not {"tests", ".git", "var", ".venv"} & allowed
    copied = {
        part
        for file in FILES
        for line in file.read_text().splitlines()
        if line.startswith("COPY") and "--from" not in line
        for part in line.split()[1:-1]
    }
    assert {part.split("/")[0] for part in copied} == allowed


def test_image_of_the_api_has_no_model() -> None:
    assert "editing_core/demo/models" in (DOCKER / "api.Dockerfile.dockerignore").read_text().splitlines()


def test_healthcheck_fails_if_nothing_answers() -> None:
    done = run_tool(sys.executable, DOCKER / "healthcheck.py", "http://127.0.0.1:9/readyz")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/readyz" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("cook",), "unknown process cook"), (("api", "tpu"), "unknown variant tpu")],
    ids=["process", "variant"],
)
def test_install_refuses_unknown_processes_and_variants(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = run_tool(DOCKER / "install.sh", tmp_path / "venv", *arguments)
    assert done.returncode == 2
    assert words in done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with the files that the build stage copies."""
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docker", "editing_core", "worker", "service"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_api_installs_without_torch_and_without_a_model_and_starts(source: Path) -> None:
    for folder in ("models", "text"):
        shutil.rmtree(source / "editing_core" / "demo" / folder)
    done = run_tool("docker/install.sh", source / "venv", "api", cwd=source)
    assert done.returncode == 0, done.stdout
    python = source / "venv" / "bin" / "python"
    asked = "import importlib.util, service.serve, service.api.app; print(importlib.util.find_spec('torch'))"
    assert run_tool(python, "-c", asked, cwd=source / "venv", PYTHONPATH="").stdout == "None\n"
    refused = run_tool(source / "venv" / "bin" / "errata", "serve", "--role", "api", cwd=source / "venv", PYTHONPATH="")
    assert refused.returncode == 2
    assert "no Redis is named" in refused.stdout
    size = sum(path.stat().st_size for path in (source / "venv").rglob("*") if path.is_file())
    assert size < 300e6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_worker_and_generation_install_with_the_requested_torch(source: Path) -> None:
    done = run_tool("docker/install.sh", source / "venv", "worker", "cpu", cwd=source)
    assert done.returncode == 0, done.stdout
    python = source / "venv" / "bin" / "python"
    asked = "import worker.main, service.generation.runtime, torch; print(torch.__version__.split('+')[0])"
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert f"torch=={run_tool(python, '-c', asked, cwd=source / 'venv', PYTHONPATH='').stdout.strip()}" in pinned
    other = run_tool("docker/install.sh", source / "venv", "worker", "cuda", cwd=source)
    assert other.returncode != 0
    assert "pip installed the cpu build of torch" in other.stdout
