"""Every file of a store read and compared with what was written down of it; changes nothing.

The store's own files, each version's matrices against its manifest, every z against its own digest, the model's
statistics, HEAD. Knows no Redis and no service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from editing_core.covariance.artefacts import RECORD_FILE, read_artefacts
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
    """What was found, one for each thing looked at. Raises StoreDamaged when the store's own id cannot be read."""
    layout = StoreLayout(root)
    identity = open_identity(root)
    yield _settings(layout, identity)
    yield from _versions(layout, identity, on_progress)
    yield _head(layout)
    yield from _targets(layout, on_progress)
    yield from _artefacts(layout, on_progress)


def _settings(layout: StoreLayout, identity: StoreIdentity) -> Finding:
    bound, what = identity.settings, "settings"
    if bound is None:
        return Finding(what=what, told="the store is bound to none yet")
    found = settings_fingerprint(bound.values)
    if found != bound.fingerprint:
        return Finding(what=what, problem=f"{layout.settings_file}: {bound.fingerprint} written down, {found} found")
    return Finding(what=what, told=found)


def _versions(layout: StoreLayout, identity: StoreIdentity, on_progress: Progress) -> Iterator[Finding]:
    store = VersionStore(layout)
    names = store.folders()
    for number, name in enumerate(names):
        on_progress("versions", number, len(names))
        what = f"version {name}"
        try:
            manifest = store.read_manifest(name)
            store.load_tensors(name, "cpu")
        except (ErrataError, OSError) as error:
            yield Finding(what=what, problem=str(error))
            continue
        problem = _foreign(layout, manifest, identity)
        yield Finding(what=what, problem=problem, told=manifest.digest or "")
    on_progress("versions", len(names), len(names))


def _foreign(layout: StoreLayout, manifest: Manifest, identity: StoreIdentity) -> str | None:
    """What of a whole version says that it is another store's."""
    file = layout.manifest_file(manifest.version)
    expected = {
        "store": identity.id,
        "model_fingerprint": identity.model.fingerprint if identity.model else None,
        "settings": identity.settings.values if identity.settings else None,
    }
    for name, value in expected.items():
        found = getattr(manifest, name)
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
        return Finding(what="HEAD", told="nothing was promoted yet")
    if head.version != ORIGINAL and not layout.version_dir(head.version).is_dir():
        return Finding(what="HEAD", problem=f"{layout.head} names {head.version}, whose folder is not there")
    return Finding(what="HEAD", told=f"promotion {head.revision}, version {head.version}")


def _targets(layout: StoreLayout, on_progress: Progress) -> Iterator[Finding]:
    whole = 0
    for number, (path, damage) in enumerate(TargetFiles(layout.targets_dir).examine(), start=1):
        on_progress("z", number, number)
        if damage is None:
            whole += 1
        else:
            yield Finding(what="z", problem=f"{path}: {damage}. It is searched anew where it is needed")
    yield Finding(what="z", told=f"{whole} whole")


def _artefacts(layout: StoreLayout, on_progress: Progress) -> Iterator[Finding]:
    records = sorted(layout.artefacts_dir.glob(f"*/{RECORD_FILE}"))
    for number, record in enumerate(records):
        on_progress("statistics", number, len(records))
        what = f"statistics {record.parent.name[:8]}"
        try:
            found = read_artefacts(record.parent)
        except (ErrataError, OSError, ValueError, KeyError) as error:
            yield Finding(what=what, problem=str(error) if isinstance(error, ErrataError) else f"{record}: {error}")
            continue
        yield Finding(what=what, told=found.fingerprint() if found else "not finished")
