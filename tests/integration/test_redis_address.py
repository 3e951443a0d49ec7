"""TLS to Redis, passwords from files, and the refusal of a Redis that answers everyone."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from editing_core.errors import InvalidSettings
from service.cli.embedded_redis import find_redis_server, server_command
from tests.support.api_process import start_service
from tests.support.free_port import free_port
from tests.support.operator_tools import run_tool, tool
from tests.support.waiting import until
from worker.protocol.connections import connect
from worker.protocol.errors import UnsafeRedis
from worker.protocol.redis_address import redis_address, require_closed_redis
from worker.protocol.settings import Settings


@contextmanager
def redis_on_port(folder: Path, *options: str) -> Iterator[int]:
    """A Redis on all addresses of this machine, without a password unless ``options`` set one."""
    folder.mkdir()
    port = free_port()
    command = server_command(find_redis_server(), folder, folder / "redis.sock")
    command[command.index("--port") + 1] = str(port)
    process = subprocess.Popen([*command, "--protected-mode", "no", "--bind", "0.0.0.0", *options])  # noqa: S104
    try:
        until(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_open_redis_on_another_address_is_refused_and_a_closed_one_is_not(tmp_path: Path) -> None:
    host = socket.gethostname()
    with redis_on_port(tmp_path / "open") as port:
        for host_and_user in (host, f"any:password@{host}"):
            with pytest.raises(UnsafeRedis, match=rf"{host} answers without a password.*errata redis-users"):
                require_closed_redis(f"redis://{host_and_user}:{port}/0", accept_open=False)
        require_closed_redis(f"redis://{host}:{port}/0", accept_open=True)
        require_closed_redis(f"redis://127.0.0.1:{port}/0", accept_open=False)
    require_closed_redis(f"redis://{host}:{port}/0", accept_open=False)  # gone: reported elsewhere
    with redis_on_port(tmp_path / "closed", "--requirepass", "secret") as port:
        require_closed_redis(f"redis://:secret@{host}:{port}/0", accept_open=False)


def test_service_does_not_start_with_an_open_redis_on_another_address(tmp_path: Path) -> None:
    with redis_on_port(tmp_path / "open") as port:
        address = f"redis://{socket.gethostname()}:{port}/0"
        process = start_service(redis_url=address, data=tmp_path / "data", role="api")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "answers without a password" in said
    assert "Traceback" not in said


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A certificate for localhost that signs itself, and its key."""
    openssl = tool("openssl", package="openssl")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    done = run_tool(openssl, *options.split(), "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    assert done.returncode == 0, done.stdout
    return tmp_path


@contextmanager
def tls_in_front_of(port: int, certificates: Path) -> Iterator[int]:
    """A TLS listener that passes one connection at a time on to the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_relay_all, args=(listener, context, port), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _relay_all(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, socket.create_connection(("127.0.0.1", port)) as redis:
            try:
                with context.wrap_socket(connection, server_side=True) as client:
                    while asked := client.recv(65536):
                        redis.sendall(asked)
                        client.sendall(redis.recv(65536))
            except OSError:
                continue


def test_tls_is_used_and_the_certificate_is_verified(tmp_path: Path, certificates: Path) -> None:
    with redis_on_port(tmp_path / "redis") as port, tls_in_front_of(port, certificates) as tls_port:
        url = f"rediss://localhost:{tls_port}/0"
        with connect(redis_address(Settings(redis_url=url, redis_ca_file=certificates / "cert.pem"))) as client:
            assert client.ping()
        with (
            connect(redis_address(Settings(redis_url=url))) as client,
            pytest.raises(RedisConnectionError, match="cert"),
        ):
            client.ping()


def address(**settings: object) -> str:
    return redis_address(Settings.model_validate({"redis_url": "redis://api@host:6379/0", **settings}))


def test_password_comes_from_a_file_and_may_hold_any_character(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/w:rd?#%é\n")
    found = address(redis_password_file=tmp_path / "password")
    options = Redis.from_url(found).connection_pool.connection_kwargs
    assert (options["username"], options["password"], options["host"]) == ("api", "p@ss/w:rd?#%é", "host")
    socket_url = address(redis_url="unix://api@/tmp/redis.sock?db=1", redis_password_file=tmp_path / "password")
    options = Redis.from_url(socket_url).connection_pool.connection_kwargs
    assert (options["password"], options["path"], options["db"]) == ("p@ss/w:rd?#%é", "/tmp/redis.sock", 1)  # noqa: S108


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"redis_url": "redis://api:known@host", "redis_password_file": "password"}, "both give a password"),
        ({"redis_password_file": "missing"}, "cannot be read"),
        ({"redis_password_file": "empty"}, "is empty"),
        ({"redis_ca_file": "password"}, "uses no TLS"),
        ({"redis_url": "rediss://host", "redis_ca_file": "missing"}, "cannot be read"),
    ],
)
def test_contradiction_or_missing_file_is_refused(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    (tmp_path / "password").write_text("known")
    (tmp_path / "empty").write_text("\n")
    placed = {name: value if name == "redis_url" else tmp_path / value for name, value in settings.items()}
    with pytest.raises(InvalidSettings, match=reason):
        address(**placed)
