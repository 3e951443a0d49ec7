"""``errata verify``: compares the digests of the files, the ledger and the weights in the running service's memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from editing_core.errors import ErrataError, InvalidSettings, StoreDamaged
from editing_core.verifying.findings import Finding, from_json
from editing_core.versions.head import read_head
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import EMPTY_DIGEST, decode_manifest
from service.cli.embedded_redis import plan_embedded_redis
from service.cli.options import DataOption, JsonOption, KeyOption, RedisOption, UrlOption, open_client, service_url
from service.cli.output import CommandFailed, ExitCode, print_json, stdout, table
from service.client.errors import ErrataApiError, ServiceUnreachable, UnexpectedAnswer
from service.client.schemas import ResidentDigests
from worker.protocol.connections import connect
from worker.protocol.entities import Pointer, VersionRecord
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis, describe_promotion
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.redis_address import redis_address
from worker.protocol.settings import Settings, child_environment, read_settings

_REDIS_SECONDS = 0.5
_FINGERPRINT_SECONDS = 600.0
"""Long, because the service computes its digests during the request."""


def verify(
    *,
    data: DataOption = None,
    redis: RedisOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the digests of files, manifests, ledger and weights in memory. Changes nothing.

    Exit code 0: no difference. 1: there are differences, which are printed. Parts that do not answer are named and
    not compared.
    """
    settings = read_settings(data=data, redis_url=redis, url=url)
    if not StoreLayout(settings.data).store_file.exists():
        raise InvalidSettings(f"there is no version store in {settings.data}: name its folder by --data")
    findings = [*_files(settings), *_ledger(settings), *_memory(settings, api_key)]
    problems = [finding for finding in findings if finding.problem is not None]
    if as_json:
        print_json([{"what": f.what, "problem": f.problem, "detail": f.detail} for f in findings])
    else:
        rows = [(f.what, _state(f), f.problem or f.detail) for f in findings]
        stdout().print(table(("what", "", "found"), rows))
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CommandFailed(f"{problems[0].what}: {problems[0].problem}{more}")


def _state(finding: Finding) -> str:
    if finding.problem is not None:
        return "DIFFERS"
    return "not compared" if "not compared" in finding.detail else "ok"


def _files(settings: Settings) -> list[Finding]:
    """Examine the files in a separate process with torch. It reports its progress on our stderr."""
    command = [sys.executable, "-m", "editing_core.verifying", str(settings.data)]
    done = subprocess.run(  # noqa: S603  # our own module
        command, env=child_environment(), check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise CommandFailed("the store cannot be read, for the reason given above", ExitCode.FAILED)
    return from_json(done.stdout)


def _digest_on_disk(settings: Settings, version: str) -> str | None:
    """Return the digest in the version's manifest; None if the manifest cannot be read."""
    if version == ORIGINAL:
        return EMPTY_DIGEST
    file = StoreLayout(settings.data).manifest_file(version)
    try:
        return decode_manifest(file.read_bytes(), file).digest
    except (StoreDamaged, OSError):
        return None


def _ledger(settings: Settings) -> Iterator[Finding]:
    what = "ledger"
    try:
        ledger = Ledger(connect(_redis_url(settings)), Keys(open_identity(settings.data).id))
        pointer, records = ledger.versions.known_pointer(), list(_records(ledger))
    except ErrataError as error:
        yield Finding(what=what, detail=f"not reached, not compared: {error}")
        return
    yield _pointer(settings, pointer)
    for record in records:
        expected, found = record.digest, _digest_on_disk(settings, record.id)
        if found is None and _is_removed(ledger, record.id):
            continue
        if expected == found:
            yield Finding(what=f"{what}, {record.id}", detail=expected)
        else:
            words = f"{expected} in the ledger, {found or 'no manifest that can be read'} on disk"
            yield Finding(what=f"{what}, {record.id}", problem=words)


def _is_removed(ledger: Ledger, version: str) -> bool:
    """Whether retention has removed the version since the ledger was read."""
    try:
        return ledger.versions.get(version).removed
    except ErrataError:
        return False


def _redis_url(settings: Settings) -> str:
    """Return the URL of the Redis in the settings, or of the embedded Redis if it is running. Starts nothing."""
    if settings.redis_url is not None:
        return redis_address(settings)
    embedded = plan_embedded_redis(settings.data)
    try:
        embedded.wait_until_up(_REDIS_SECONDS)
    except ErrataError:
        embedded.stop()
        raise
    return embedded.url


def _records(ledger: Ledger) -> Iterator[VersionRecord]:
    """Yield all published versions whose files are kept."""
    cursor = None
    while True:
        page = ledger.versions.page(cursor, 500)
        yield from (record for record in page.items if not record.removed)
        cursor = page.next
        if cursor is None:
            return


def _pointer(settings: Settings, pointer: Pointer | None) -> Finding:
    what = "pointer"
    try:
        head = read_head(StoreLayout(settings.data))
    except StoreDamaged as error:
        return Finding(what=what, problem=str(error))
    if pointer is None:
        detail = "the ledger knows none: the next start writes it again from the files"
        return Finding(what=what, detail=detail)
    state = compare_head(head, pointer)
    if state == HeadState.HEAD_AHEAD:
        assert head is not None
        return Finding(what=what, problem=describe_older_redis(head, pointer))
    if state == HeadState.HEAD_BEHIND:
        detail = f"{describe_promotion(pointer)} in the ledger, {describe_promotion(head)} in HEAD"
        return Finding(what=what, detail=f"{detail}: a step behind, which the worker mends")
    return Finding(what=what, detail=f"{describe_promotion(pointer)}, in HEAD too")


def _memory(settings: Settings, api_key: str | None) -> Iterator[Finding]:
    what, where = "memory", service_url(settings)
    try:
        with open_client(settings.url, api_key, timeout_seconds=_FINGERPRINT_SECONDS) as client:
            resident = client.resident_digests()
    except (ErrataApiError, ServiceUnreachable, UnexpectedAnswer) as error:
        yield Finding(what=what, detail=f"not reached, not compared: {error}")
        return
    if resident.store != open_identity(settings.data).id:
        yield Finding(what=what, detail=f"not compared: the service at {where} serves another store")
        return
    yield from _resident(settings, resident, where)


def _resident(settings: Settings, resident: ResidentDigests, where: str) -> Iterator[Finding]:
    for held in resident.versions:
        what = f"memory, {held.version}{' (live)' if held.version == resident.live else ''}"
        expected = _digest_on_disk(settings, held.version)
        is_live = held.version in {resident.live, ORIGINAL}
        if not is_live and not StoreLayout(settings.data).version_dir(held.version).exists():
            yield Finding(what=what, detail="no longer kept on disk, and let go soon")
        elif held.digest == expected:
            yield Finding(what=what, detail=held.digest)
        else:
            words = f"{held.digest} in the memory of {where}, {expected or 'no manifest that can be read'} on disk"
            yield Finding(what=what, problem=words)
