"""The command line as scripts see it: exit codes, one line of error, help for everything, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.free_port import free_port
from worker.protocol.settings import Settings

EMMA = ("--subject", "Emma", "--prompt", "{} was written by", "--target-new", "Wells")
COMMANDS = ("up", "serve", "worker", "edit", "edits", "batches", "versions", "promote", "generate", "score", "recover")
RECORDS = ("config", "audit", "pin", "unpin", "purge", "backup", "restore", "verify")
LEAVING = ("export", "exports")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """A service address where nothing listens."""
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ERRATA_URL", url)
    return url


def _complaint(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("errata: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("command", [*COMMANDS, *RECORDS, *LEAVING, "keys", "keys add", "keys list", "keys remove"])
def test_every_command_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == ExitCode.OK
    assert f"Usage: errata {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", *EMMA),
        ("edits",),
        ("batches",),
        ("versions",),
        ("promote", "v0"),
        ("audit",),
        ("pin", "v1"),
        ("purge", "e1"),
        ("export", "v0", "--format", "hf"),
        ("exports",),
        ("generate", "Emma was written by"),
        ("score", "Emma was written by", "Austen"),
    ],
)
def test_a_service_that_is_not_there_is_exit_code_3(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], nobody: str
) -> None:
    assert run(arguments) == ExitCode.UNREACHABLE
    assert f"no answer from {nobody}" in _complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("generate",), "Missing argument"),
        (("generate", "x", "--frobnicate"), "No such option"),
        (("generate", "x", "--temperature", "warm"), "--temperature"),
        (("generate", "x", "--temperature", "nan"), "cannot be written as JSON"),
        (("generate", "\udcff"), "cannot be written as JSON in UTF-8"),
        (("generate", "x", "--url", "nonsense"), "does not begin with http://"),
        (("edit",), "give either FILE, or one edit"),
        (("edit", "e.json", *EMMA), "give either FILE, or one edit"),
        (("edit", "/nowhere/e.json"), "/nowhere/e.json: cannot be read"),
        (("edit", "--subject", "Emma"), "--prompt is missing"),
        (("edit", "--subject", "Emma", "--prompt", "no slot", "--target-new", "Wells"), "has 0 slots"),
        (("up", "--port", "70000"), "--port"),
        (("up", "--dtype", "float8"), "float8"),
        (("serve", "--role", "cook"), "cook"),
        (("keys", "add", "ann", "--scope", "root"), "'root' is not a scope"),
        (("recover",), "there is no version store"),
    ],
)
def test_wrong_input_is_exit_code_2_and_one_line(
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == ExitCode.USAGE
    assert words in _complaint(capsys)


def test_an_option_wins_over_its_environment_twin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRATA_URL", "http://127.0.0.1:1")
    assert run(["versions", "--url", "http://127.0.0.1:2"]) == ExitCode.UNREACHABLE
    assert "no answer from http://127.0.0.1:2" in _complaint(capsys)


def test_a_misspelt_setting_in_the_environment_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRATA_LAYRES", "3-8")
    assert run(["versions"]) == ExitCode.USAGE
    assert "ERRATA_LAYRES" in _complaint(capsys)


def test_a_key_is_made_listed_and_removed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert run(["keys", "add", "ann", "--scope", "edit", *data]) == ExitCode.OK
    secret = capsys.readouterr().out.strip()
    assert run(["keys", "list", "--json", *data]) == ExitCode.OK
    out = capsys.readouterr().out
    assert [(key["name"], key["scopes"]) for key in json.loads(out)] == [("ann", ["edit"])]
    assert secret not in out
    assert run(["keys", "remove", "ann", *data]) == ExitCode.OK
    capsys.readouterr()
    assert run(["keys", "remove", "ann", *data]) == ExitCode.USAGE
    assert "there is no key named 'ann'" in _complaint(capsys)


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, service.cli.main, service.cli.demo.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("prepare", "--help"), ExitCode.OK, "usage: errata prepare"),
        (("rebuild", "--help"), ExitCode.OK, "usage: errata rebuild"),
        (("migrate", "--to", "demo-gptneox", "--out", "/nowhere/new"), ExitCode.USAGE, "there is no version store in"),
        (("evaluate", "/nowhere/records.json"), ExitCode.USAGE, "/nowhere/records.json: cannot be read"),
    ],
)
def test_what_runs_offline_has_its_own_help_and_its_own_exit_code(
    arguments: tuple[str, ...], code: ExitCode, words: str
) -> None:
    command = [sys.executable, "-m", "service.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_output_into_a_closed_pipe_ends_without_a_word() -> None:
    shell = f"{sys.executable} -m service.cli.main --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.FAILED, b"")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"prompt": ' + "9" * 5_000 + "}"], ids=["deep", "long number"])
def test_json_that_the_library_cannot_read_is_refused_with_its_line(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(line + "\n")
    assert run(["guards", "add", str(file)]) == ExitCode.USAGE
    assert f"{file}:1: is not JSON" in _complaint(capsys)
    assert run(["audit", "--verify", "--file", str(file)]) == ExitCode.FAILED
    assert "entry 1: cannot be read" in _complaint(capsys)


def test_a_copy_of_the_audit_is_only_looked_at_to_verify_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--file", str(tmp_path / "audit.jsonl")]) == ExitCode.USAGE
    assert "give --verify with it" in _complaint(capsys)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("errata ")


def test_config_leaves_out_advanced_settings_with_their_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "--json", "--clamp", "2"]) == ExitCode.OK
    shown = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"model", "clamp"} <= shown
    assert "shard_size" not in shown
    assert run(["config", "--json", "--all"]) == ExitCode.OK
    assert len(json.loads(capsys.readouterr().out)) == len(Settings.model_fields)
