"""Writers may be killed and readers may look at any time: only complete versions are ever seen."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from editing_core.versions.store import VersionStore
from tests.unit.editing_core.versions.examples import ROOT, manifest, tensors

WRITER = """
import sys, time
from pathlib import Path
import editing_core.versions.store as store_module
from editing_core.versions.layout import StoreLayout
from tests.unit.editing_core.versions.examples import manifest, tensors

encode = store_module.encode_manifest

def stall(found):
    print("tensors written", flush=True)
    time.sleep(600)
    return encode(found)

store_module.encode_manifest = stall
store_module.VersionStore(StoreLayout(Path(sys.argv[1]))).write(manifest(), tensors())
"""


def test_a_writer_killed_midway_leaves_nothing_servable_and_its_rest_is_swept_once_it_is_dead(
    store: VersionStore,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.layout.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "tensors written\n"
        assert store.sweep_partial() == []
        assert store.list() == ["v0"]
        assert store.damaged() == {}
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    (swept,) = store.sweep_partial()
    assert swept.startswith(".partial-v1-")
    assert store.sweep_partial() == []
    store.write(manifest(), tensors())
    assert store.list() == ["v0", "v1"]


def test_while_versions_are_written_a_reader_never_sees_one_that_is_not_complete(store: VersionStore) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from editing_core.versions.layout import StoreLayout\n"
        "from editing_core.versions.store import VersionStore\n"
        "from tests.unit.editing_core.versions.examples import manifest, tensors\n"
        "store = VersionStore(StoreLayout(Path(sys.argv[1])))\n"
        "for n in range(1, 9): store.write(manifest(f'v{n}'), tensors(n))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(store.layout.root)], cwd=ROOT) as writer:
        while writer.poll() is None:
            assert store.damaged() == {}
            for version in store.list():
                store.load_tensors(version, "cpu")
            time.sleep(0.02)
    assert writer.returncode == 0
    assert len(store.list()) == 9
