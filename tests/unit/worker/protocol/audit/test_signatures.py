from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.errors import ErrataError
from worker.protocol.audit.signatures import sign_copy, signature_fault, signatures_of
from worker.protocol.signing import SigningKey

KEY = SigningKey(b"k" * 32)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of three pieces, each signed when it was appended."""
    path = tmp_path / "audit.jsonl"
    for piece in (b"one\n", b"two\ntwo\n", b"three\n"):
        with path.open("ab") as file:
            file.write(piece)
        sign_copy(path, KEY)
    return path


def test_signed_copy_is_accepted_and_signing_it_again_adds_nothing(copy: Path) -> None:
    before = signatures_of(copy).read_bytes()
    sign_copy(copy, KEY)
    assert signatures_of(copy).read_bytes() == before
    assert signature_fault(copy, KEY) is None
    assert signatures_of(copy).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", range(len(b"one\ntwo\ntwo\nthree\n")))
def test_any_changed_byte_is_found(copy: Path, place: int) -> None:
    content = bytearray(copy.read_bytes())
    content[place] ^= 1
    copy.write_bytes(content)
    assert "not signed by this key" in (signature_fault(copy, KEY) or "")


def test_copy_of_another_key_is_refused(copy: Path) -> None:
    assert "not signed by this key" in (signature_fault(copy, SigningKey(b"l" * 32)) or "")


def test_piece_that_another_key_appends_is_refused(copy: Path) -> None:
    with copy.open("ab") as file:
        file.write(b"four\n")
    assert "follows byte 18" in (signature_fault(copy, KEY) or "")
    sign_copy(copy, SigningKey(b"l" * 32))
    assert "bytes 18 to 23" in (signature_fault(copy, KEY) or "")


@pytest.mark.parametrize("dropped", [0, 1])
def test_piece_that_is_taken_out_with_its_signature_is_missed(copy: Path, dropped: int) -> None:
    lines = signatures_of(copy).read_text().splitlines(keepends=True)
    signatures_of(copy).write_text("".join(lines[:dropped] + lines[dropped + 1 :]))
    assert signature_fault(copy, KEY) is not None


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{}\n",
        b"[]\n",
        b'{"size_bytes": -1, "signature": ""}\n',
        b'{"size_bytes": "4", "signature": ""}\n',
        b"\xff\n",
        b'{"size_bytes": 99, "signature": ""}\n',
    ],
)
def test_missing_or_odd_signatures_are_a_fault_and_no_traceback(copy: Path, content: bytes | None) -> None:
    if content is None:
        signatures_of(copy).unlink()
    else:
        signatures_of(copy).write_bytes(content)
    assert signature_fault(copy, KEY) is not None


def test_torn_last_signature_is_replaced(copy: Path) -> None:
    with signatures_of(copy).open("ab") as file:
        file.write(b'{"size_by')
    with copy.open("ab") as file:
        file.write(b"four\n")
    sign_copy(copy, KEY)
    assert signature_fault(copy, KEY) is None


def test_copy_shorter_than_its_signatures_is_not_signed(copy: Path) -> None:
    copy.write_bytes(b"one\n")
    with pytest.raises(ErrataError, match="does not fit"):
        sign_copy(copy, KEY)
