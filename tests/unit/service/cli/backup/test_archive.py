from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from service.cli.backup.archive import HEADER, ArchiveWriter, unpack
from worker.protocol.errors import BackupRefused
from worker.protocol.signing import SigningKey


def silent(num_bytes: int) -> None:
    assert num_bytes >= 0


def write(path: Path, **files: bytes) -> Path:
    writer = ArchiveWriter(path, on_bytes=silent)
    writer.add_bytes(HEADER, b'{"format": 1, "store": "s"}')
    for name, content in files.items():
        writer.add_bytes(f"store/targets/{name}", content)
    writer.close()
    return path


def test_archive_gives_back_every_file_and_the_same_digest_for_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    digests = []
    for name in ("a.tar", "b.tar"):
        writer = ArchiveWriter(tmp_path / name, on_bytes=silent)
        writer.add_bytes(HEADER, b'{"format": 1, "store": "s"}')
        writer.add_file("store/targets/big", tmp_path / "source")
        writer.close()
        header, digest = unpack(tmp_path / name, tmp_path / f"{name}.out", on_bytes=silent)
        assert header["store"] == "s"
        assert (tmp_path / f"{name}.out" / "store" / "targets" / "big").read_bytes() == b"x" * 3_000_000
        digests.append(digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_archive_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    whole = write(tmp_path / "whole.tar", a=b"a" * 5_000, b=b"b" * 5_000).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * share * 0.6)])
    with pytest.raises(BackupRefused, match="cut off"):
        unpack(tmp_path / "cut.tar", tmp_path / "out", on_bytes=silent)


def test_an_archive_with_a_flipped_bit_is_refused_and_the_file_named(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "whole.tar", a=b"a" * 5_000).read_bytes())
    content[content.index(b"aaaa")] ^= 1
    (tmp_path / "flipped.tar").write_bytes(content)
    with pytest.raises(BackupRefused, match="store/targets/a differ"):
        unpack(tmp_path / "flipped.tar", tmp_path / "out", on_bytes=silent)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "store/../../outside", "store/.hidden", "store/targets/../../x"]
)
def test_name_that_leads_elsewhere_is_refused_and_nothing_is_written_there(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(BackupRefused, match="which no backup"):
        unpack(tmp_path / "evil.tar", tmp_path / "in" / "out", on_bytes=silent)
    assert not list(tmp_path.rglob("outside"))


def test_link_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        info = tarfile.TarInfo("store/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(BackupRefused, match="not a plain file"):
        unpack(tmp_path / "evil.tar", tmp_path / "out", on_bytes=silent)


def test_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(BackupRefused, match="not a backup"):
        unpack(tmp_path / "notes.txt", tmp_path / "out", on_bytes=silent)


def test_archive_of_a_later_format_is_refused_with_both_named(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "later.tar", on_bytes=silent)
    writer.add_bytes(HEADER, b'{"format": 2, "store": "s"}')
    writer.close()
    with pytest.raises(BackupRefused, match="format 2, and this Errata reads format 1"):
        unpack(tmp_path / "later.tar", tmp_path / "out", on_bytes=silent)


@pytest.mark.parametrize(
    "name",
    [
        "store/redis/appendonly.aof",
        "store/redis/appendonlydir/appendonly.aof.1.incr.aof",
        "store/redis/dump.rdb",
        "store/versions/v1/other.bin",
        "store/versions/v0/manifest.json",
        "store/guards.json/x",
        "store/exports/v1/model.safetensors",
        "extra.txt",
    ],
)
def test_complete_archive_with_a_member_that_no_backup_holds_is_refused(tmp_path: Path, name: str) -> None:
    writer = ArchiveWriter(tmp_path / "crafted.tar", on_bytes=silent)
    writer.add_bytes(HEADER, b'{"format": 1, "store": "s"}')
    writer.add_bytes(name, b"*1")
    writer.close()
    with pytest.raises(BackupRefused, match="which no backup of Errata holds"):
        unpack(tmp_path / "crafted.tar", tmp_path / "out", on_bytes=silent)
    assert not (tmp_path / "out" / name).exists()


def test_member_that_unpacks_to_more_than_the_archive_holds_is_refused(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    with tarfile.open(tmp_path / "sparse.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        content = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
        info = tarfile.TarInfo("store/targets/sparse")
        info.size, info.pax_headers = len(content), headers
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(BackupRefused, match="not a plain file"):
        unpack(tmp_path / "sparse.tar", tmp_path / "out", on_bytes=silent)


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b"null", b'"x"', b"\xff"])
def test_header_that_is_no_object_is_refused_in_one_line(tmp_path: Path, header: bytes) -> None:
    writer = ArchiveWriter(tmp_path / "bad.tar", on_bytes=silent)
    writer.add_bytes(HEADER, header)
    writer.close()
    with pytest.raises(BackupRefused, match=r"backup\.json that cannot be read"):
        unpack(tmp_path / "bad.tar", tmp_path / "out", on_bytes=silent)


@pytest.mark.parametrize(
    "index", [b"", b"[]", b"{}", b'{"format": 1, "sha256": []}', b'{"format": 1, "sha256": {"a": 1}}']
)
def test_digests_that_are_no_table_of_digests_are_refused_in_one_line(tmp_path: Path, index: bytes) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        for name, content in ((HEADER, b'{"format": 1, "store": "s"}'), ("digests.json", index)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(BackupRefused, match="digests that cannot be read"):
        unpack(tmp_path / "bad.tar", tmp_path / "out", on_bytes=silent)


KEY, OTHER_KEY = SigningKey(b"k" * 32), SigningKey(b"l" * 32)


def signed(path: Path, key: SigningKey | None) -> Path:
    writer = ArchiveWriter(path, on_bytes=silent, key=key)
    writer.add_bytes(HEADER, b'{"format": 1, "store": "s"}')
    writer.close()
    return path


def test_signed_archive_is_accepted_with_its_key_and_without_one(tmp_path: Path) -> None:
    archive = signed(tmp_path / "a.tar", KEY)
    with_key = unpack(archive, tmp_path / "with", on_bytes=silent, key=KEY)
    assert with_key == unpack(archive, tmp_path / "without", on_bytes=silent)
    assert not (tmp_path / "with" / "signature").exists()


@pytest.mark.parametrize(("key", "reason"), [(None, "is not signed, and a signing key is set"), (OTHER_KEY, "by this")])
def test_archive_that_the_key_has_not_signed_is_refused(tmp_path: Path, key: SigningKey | None, reason: str) -> None:
    with pytest.raises(BackupRefused, match=reason):
        unpack(signed(tmp_path / "a.tar", key), tmp_path / "out", on_bytes=silent, key=KEY)


def test_signature_of_one_archive_does_not_fit_another(tmp_path: Path) -> None:
    with tarfile.open(signed(tmp_path / "a.tar", KEY)) as tar:
        member = tar.extractfile("signature")
        assert member is not None
        signature = member.read()
    writer = ArchiveWriter(tmp_path / "b.tar", on_bytes=silent)
    writer.add_bytes(HEADER, b'{"format": 1, "store": "other"}')
    writer.close()
    with tarfile.open(tmp_path / "b.tar", "a") as tar:
        info = tarfile.TarInfo("signature")
        info.size = len(signature)
        tar.addfile(info, io.BytesIO(signature))
    assert unpack(tmp_path / "b.tar", tmp_path / "unchecked", on_bytes=silent)
    with pytest.raises(BackupRefused, match="by this signing key"):
        unpack(tmp_path / "b.tar", tmp_path / "out", on_bytes=silent, key=KEY)


@pytest.mark.parametrize("name", ["store/targets/late", "digests.json", "signature"])
def test_member_after_the_digests_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(signed(tmp_path / "a.tar", KEY), "a") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(BackupRefused, match=r"twice|after its digests"):
        unpack(tmp_path / "a.tar", tmp_path / "out", on_bytes=silent)
