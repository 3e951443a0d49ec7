from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings
from worker.protocol.signing import LEAST_KEY_BYTES, SigningKey, read_signing_key


def key_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_signature_holds_for_its_key_purpose_and_content_only() -> None:
    key = SigningKey(b"k" * LEAST_KEY_BYTES)
    signature = key.sign("a", b"content")
    assert key.has_signed("a", b"content", signature)
    assert not key.has_signed("a", b"content2", signature)
    assert not key.has_signed("ac", b"ontent", signature)
    assert not key.has_signed("a", b"content", "é")
    assert not SigningKey(b"l" * LEAST_KEY_BYTES).has_signed("a", b"content", signature)


def test_key_comes_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    content = bytes(range(LEAST_KEY_BYTES))
    key = read_signing_key(key_file(tmp_path, content))
    assert key is not None
    assert key.sign("a", b"x") == SigningKey(content).sign("a", b"x")
    assert read_signing_key(None) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidSettings, match=f"mode {mode:04o}.*chmod 600"):
        read_signing_key(key_file(tmp_path, b"k" * LEAST_KEY_BYTES, mode))


@pytest.mark.parametrize("num_bytes", [0, LEAST_KEY_BYTES - 1, 5000])
def test_key_that_is_too_short_or_too_long_is_refused(tmp_path: Path, num_bytes: int) -> None:
    with pytest.raises(InvalidSettings, match="are needed"):
        read_signing_key(key_file(tmp_path, b"k" * num_bytes))


def test_missing_key_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"cannot be read .*urandom"):
        read_signing_key(tmp_path / "missing")
