"""Reads every file of a store and compares it with its recorded digest. Changes nothing.

Covers the store's own files, each version's matrices (against its manifest), every z (against its own digest), the
model's statistics and HEAD. Needs neither Redis nor a running service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from editing_core.asking.original_answers import damaged_answers
from editing_core.covariance.artefacts import RECORD_FILE, read_artefacts
from editing_core.durable import locked
from editing_core.errors import ErrataError, StoreDamaged
from editing_core.verifying.findings import Finding
from editing_core.versions.head import read_head
from editing_core.versions.identity import StoreIdentity, open_identity, settings_fingerprint
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from editing_core.versions.target_files import TargetFiles

Progress = Callable[[str, int, int], None]


def examine_store(root: Path, *, on_progress: Progress) -> Iterator[Finding]:
    """Yield one finding per comparison. Raises StoreDamaged if the store's own id cannot be read."""
    layout = StoreLayout(root)
    identity = open_identity(root)
    yield _settings(layout, identity)
    yield from _versions(layout, identity, on_progress)
    yield _head(layout)
    yield from _targets(layout, on_progress)
    yield from _artefacts(layout, identity, on_progress)


def _settings(layout: StoreLayout, identity: StoreIdentity) -> Finding:
    bound, what = identity.settings, "settings"
    if bound is None:
        return Finding(what=what, detail="the store is bound to none yet")
    found = settings_fingerprint(bound.values)
    if found != bound.fingerprint:
        return Finding(what=what, problem=f"{layout.settings_file}: {bound.fingerprint} written down, {found} found")
    return Finding(what=what, detail=found)


def _versions(layout: StoreLayout, identity: StoreIdentity, on_progress: Progress) -> Iterator[Finding]:
    store = VersionStore(layout)
    names = store.folders()
    for number, name in enumerate(names):
        on_progress("versions", number, len(names))
        with (
            suppress(FileNotFoundError),
            locked(layout.version_dir(name), shared=True),
        ):  # otherwise it was removed in the meantime
            yield _version(store, name, identity)
    on_progress("versions", len(names), len(names))


def _version(store: VersionStore, name: str, identity: StoreIdentity) -> Finding:
    what = f"version {name}"
    try:
        manifest = store.read_manifest(name)
        store.load_tensors(name, "cpu")
    except (ErrataError, OSError) as error:
        return Finding(what=what, problem=str(error))
    return Finding(what=what, problem=_foreign(store.layout, manifest, identity), detail=manifest.digest or "")


def _foreign(layout: StoreLayout, manifest: Manifest, identity: StoreIdentity) -> str | None:
    """Return the reason why an undamaged version belongs to another store; None if it does not."""
    file = layout.manifest_file(manifest.version)
    expected = {
        "store": identity.id,
        "model_fingerprint": identity.model.fingerprint if identity.model else None,
        "settings": identity.settings.values if identity.settings else None,
    }
    files = {"model_fingerprint": layout.model_file, "settings": layout.settings_file}
    for name, value in expected.items():
        found = getattr(manifest, name)
        if value is None and found:
            return f"{files[name]} is missing, and {file} tells of one: restore it from a backup of this folder"
        if value is not None and found != value:
            shown = "others" if name == "settings" else f"{found}, not {value}"
            return f"{file}: its {name.replace('_', ' ')} is not this store's ({shown})"
    return None


def _head(layout: StoreLayout) -> Finding:
    try:
        head = read_head(layout)
    except StoreDamaged as error:
        return Finding(what="HEAD", problem=str(error))
    if head is None:
        return Finding(what="HEAD", detail="nothing was promoted yet")
    if head.version != ORIGINAL and not layout.version_dir(head.version).is_dir():
        return Finding(what="HEAD", problem=f"{layout.head} names {head.version}, whose folder is not there")
    return Finding(what="HEAD", detail=f"promotion {head.revision}, version {head.version}")


def _targets(layout: StoreLayout, on_progress: Progress) -> Iterator[Finding]:
    whole = 0
    for number, (path, damage) in enumerate(TargetFiles(layout.targets_dir).examine(), start=1):
        on_progress("z", number, number)
        if damage is None:
            whole += 1
        else:
            yield Finding(what="z", problem=f"{path}: {damage}. It is searched again if needed")
    yield Finding(what="z", detail=f"{whole} whole")
    for path in damaged_answers(layout.targets_dir):
        yield Finding(what="answers", problem=f"{path} cannot be read. It is computed again if needed")


def _artefacts(layout: StoreLayout, identity: StoreIdentity, on_progress: Progress) -> Iterator[Finding]:
    records = sorted(layout.artefacts_dir.glob(f"*/{RECORD_FILE}"))
    wanted = identity.settings.values.get("statistics") if identity.settings else None
    known = set()
    for number, record in enumerate(records):
        on_progress("statistics", number, len(records))
        finding = _statistics(record.parent)
        known.add(finding.detail)
        yield finding
    if wanted is not None and wanted not in known:
        problem = (
            f"{layout.artefacts_dir} holds none that the store was solved with ({wanted}): restore the folder from a "
            "backup, or run `errata prepare` with the text and the options of the first time"
        )
        yield Finding(what="statistics", problem=problem)


def _statistics(folder: Path) -> Finding:
    what = f"statistics {folder.name[:8]}"
    try:
        found = read_artefacts(folder)
    except (ErrataError, OSError) as error:
        return Finding(what=what, problem=str(error))
    return Finding(what=what, detail=found.fingerprint() if found else "not finished")
