"""Text files as a corpus. Each line is a document; one part is for statistics, the other is held out.

If held-out files are given, these are held out; otherwise the last 2 % of the text is. Memory is bounded by one line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from editing_core.errors import InvalidSettings

HELDOUT_SHARE = 0.02
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TextFiles:
    """Plain text in UTF-8, read one file after the other."""

    files: tuple[Path, ...]
    heldout_files: tuple[Path, ...] = ()
    """Files that are held out as a whole. If empty, the last 2 % of ``files`` are held out."""

    def digest(self) -> str:
        """Return the sha256 of the files' contents, in order."""
        digest = hashlib.sha256()
        for file in (*self.files, *self.heldout_files):
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
            digest.update(b"\0")
        if self.heldout_files:
            digest.update(f"{len(self.heldout_files)} held out".encode())
        return f"sha256:{digest.hexdigest()}"

    def documents(self, *, heldout: bool) -> Iterator[str]:
        """Yield the non-blank lines that are held out, or the others."""
        if self.heldout_files:
            yield from _lines(self.heldout_files if heldout else self.files)
        else:
            yield from self._lines_by_border(heldout=heldout)

    def _lines_by_border(self, *, heldout: bool) -> Iterator[str]:
        """Split the lines by the byte at which each begins."""
        border = int(sum(file.stat().st_size for file in self.files) * (1 - HELDOUT_SHARE))
        place = 0
        for file in self.files:
            with file.open("rb") as stream:
                for number, raw in enumerate(stream, start=1):
                    if (place >= border) == heldout and raw.strip():
                        yield _decode(raw, file, number)
                    place += len(raw)
                    if place >= border and not heldout:
                        return


def open_text_files(files: Sequence[Path]) -> TextFiles:
    """Check that the files can be read. Raises InvalidSettings with the name of the unreadable file."""
    if not files:
        raise InvalidSettings("no corpus: give --corpus FILE (plain text in UTF-8), once for each file")
    for file in files:
        if not file.is_file():
            raise InvalidSettings(f"corpus file {file}: there is no such file")
    return TextFiles(tuple(files))


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        with file.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if raw.strip():
                    yield _decode(raw, file, number)


def _decode(raw: bytes, file: Path, number: int) -> str:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"corpus file {file}, line {number}: not UTF-8 ({error.reason})") from None
