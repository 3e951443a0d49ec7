from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings
from worker.protocol.configuration.effective import HIDDEN, Source
from worker.protocol.settings import child_environment, explained_settings, known_environment, read_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_environment():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "errata.toml"
    path.write_text('model = "demo-gptneox"\nport = 8001\ncorpus = ["a.txt", "b.txt"]\nredis_url = "redis://r:1/0"\n')
    return path


def test_option_wins_over_environment_over_file_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_CONFIG", str(file))
    monkeypatch.setenv("ERRATA_PORT", "8002")
    assert read_settings().port == 8002
    assert read_settings(port=8003).port == 8003
    monkeypatch.delenv("ERRATA_PORT")
    assert read_settings().port == 8001
    assert read_settings().model == "demo-gptneox"
    assert read_settings().host == "127.0.0.1"


def test_file_gives_lists_and_the_address_of_redis(file: Path) -> None:
    settings = read_settings(config=file)
    assert settings.corpus == (Path("a.txt"), Path("b.txt"))
    assert settings.redis_url == "redis://r:1/0"


def test_child_processes_get_the_settings_file(file: Path) -> None:
    assert child_environment(config=file)["ERRATA_CONFIG"] == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prot = 1", "unknown setting 'prot'"),
        ("ERRATA_PORT = 1", "is port meant?"),
        ("[http]\nport = 1", "unknown setting 'http'"),
        ("[port]\nnumber = 1", "port in "),
        ('config = "other.toml"', "unknown setting 'config'"),
        ("port = ", "is not TOML"),
        ('port = "x"', "port = 'x'"),
        ('api_key = "top"\nport = -1', "port = -1"),
    ],
)
def test_what_is_wrong_in_the_file_is_refused_with_its_name_and_place(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "errata.toml"
    path.write_text(content)
    with pytest.raises(InvalidSettings) as caught:
        read_settings(config=path)
    assert words in caught.value.detail
    assert str(path) in caught.value.detail


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read: No such file"):
        read_settings(config=tmp_path / "none.toml")


def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_LAYRES", "3-8")
    with pytest.raises(InvalidSettings, match="ERRATA_LAYRES"):
        read_settings()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"corpus": "a.txt", "dataset": "wiki"}, "ERRATA_CORPUS and ERRATA_DATASET"),
        ({"text_column": "body"}, "ERRATA_TEXT_COLUMN is given without ERRATA_DATASET"),
        ({"port": 9000, "worker_metrics_port": 9000}, "are both 9000"),
        ({"lease_seconds": 100.0, "job_timeout_seconds": 60}, "must be longer than ERRATA_LEASE_SECONDS"),
        ({"role": "api", "generation_device": "cuda:1"}, "ERRATA_ROLE is api"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_both_names(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidSettings, match=words):
        read_settings(**options)


def test_every_setting_is_listed_with_its_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_PORT", "8002")
    monkeypatch.setenv("ERRATA_HOST", "::1")
    rows = {row.name: row for row in explained_settings(config=file, host="127.0.0.2")}
    assert {name: rows[name].source for name in ("config", "host", "port", "model", "device")} == {
        "config": Source.OPTION,
        "host": Source.OPTION,
        "port": Source.ENVIRONMENT,
        "model": Source.FILE,
        "device": Source.DEFAULT,
    }
    assert {rows[name].value for name in ("host", "port", "corpus")} == {"127.0.0.2", "8002", "a.txt:b.txt"}
    assert rows.keys() == read_settings().__class__.model_fields.keys()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_API_KEY", "top-secret")
    monkeypatch.setenv("REDIS_URL", "rediss://errata:top-secret@redis:6379/0")
    rows = {row.name: row.value for row in explained_settings()}
    assert rows["api_key"] == HIDDEN
    assert rows["redis_url"] == f"rediss://errata:{HIDDEN}@redis:6379/0"
    assert "top-secret" not in str(rows)


def test_no_refusal_shows_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "errata.toml"
    path.write_text("api_key = 12345")
    with pytest.raises(InvalidSettings) as caught:
        read_settings(config=path)
    assert "12345" not in caught.value.detail
