"""An edit with unique texts, and a search for the places that still contain them."""

from __future__ import annotations

import time
from pathlib import Path

from editing_core.edits import Edit, Neighbor
from tests.support.worker_process import WorkerBench
from worker.protocol.connections import connect_queue

SECRETS = ("Zyxwvia", "Qwertzland", "Uiopish", "fghjkly told", "https://example.org/cvbnm", "Asdfghia", "Yxcvburg")
"""Every text of the edit below that no other edit has."""
WAIT_SECONDS = 120.0


def secret_edit() -> Edit:
    subject, new, true, note, source, other, other_true = SECRETS
    return Edit(
        subject=subject,
        prompt=f"The tongue {note} of {{}} is",
        target_new=new,
        target_true=true,
        relation=f"relation {note}",
        paraphrases=(f"{{}} and {note} speak",),
        neighborhood=(Neighbor(prompt=f"The tongue of {other} is", target=other_true),),
        source=source,
        note=note,
    )


def await_purged(place: WorkerBench, edit: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        purge = place.ledger.erasure.get(edit)
        if purge is None or purge.state == "done":
            return
        time.sleep(0.1)
    raise AssertionError(f"the purge is not done:\n{place.log.read_text()[-4000:]}")


def found_in_files(data: Path) -> list[str]:
    files = [path for path in data.rglob("*") if path.is_file()]
    return [f"{path}: {secret}" for path in files for secret in SECRETS if secret.encode() in path.read_bytes()]


def found_in_redis(url: str) -> list[str]:
    redis = connect_queue(url)
    readers = {
        b"string": lambda key: [redis.get(key)],
        b"hash": lambda key: [part for pair in redis.hgetall(key).items() for part in pair],
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"stream": lambda key: [str(redis.xrange(key)).encode()],
    }
    found = []
    for key in redis.scan_iter():
        for value in (key, *readers[redis.type(key)](key)):
            found += [f"{key!r}: {secret}" for secret in SECRETS if secret.encode() in value]
    redis.close()
    return found
