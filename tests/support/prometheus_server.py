"""Debian's Prometheus in front of a running Errata: with the shipped rules, and a scrape interval of one second."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.free_port import free_port
from tests.support.operator_tools import ROOT, tool
from tests.support.waiting import until

RULES = ROOT / "deploy" / "prometheus" / "rules"
BOARDS = ROOT / "deploy" / "grafana" / "dashboards"
WINDOW = "15s"
"""In place of Grafana's ``$__rate_interval`` and of the rules' minutes, as everything is looked at every second."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now. Raises AssertionError for one that is refused."""
        answer = self.client.get("/api/v1/query", params={"query": expression.replace("$__rate_interval", WINDOW)})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """``targets``: address by job. Alerts fire at once (``for: 0s``), and look back seconds and not minutes."""
    program = tool("prometheus", package="Debian's prometheus")
    folder.mkdir(parents=True)
    for file in RULES.glob("*.yml"):
        (folder / file.name).write_text(quickened(file.read_text()))
    jobs = [{"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "*.yml")],
        "scrape_configs": jobs,
    }
    path = folder / "config" / "prometheus.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(config))
    port = free_port()
    command = [program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client,
    ):
        try:
            until(lambda: _is_ready(client))
            yield Prometheus(client)
        finally:
            process.terminate()


def quickened(rules: str) -> str:
    """The same rules for a world in which a minute is a second; a replica is behind after three seconds."""
    rules = re.sub(r"for: \S+", "for: 0s", rules)
    rules = re.sub(r"\[(5m|10m|15m|1h)\]", f"[{WINDOW}]", rules)
    return rules.replace("errata_generation_behind_seconds) > 60", "errata_generation_behind_seconds) > 3")


def panels() -> Iterator[tuple[str, str, list[str]]]:
    """Every panel of every board: the board's title, the panel's, its expressions."""
    for file in sorted(BOARDS.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            yield board["title"], panel["title"], [target["expr"] for target in panel["targets"]]


def print_panels(empty: Collection[tuple[str, str]]) -> None:
    """The list of all panels, and which of them hold nothing."""
    for board, panel, expressions in panels():
        print(f"{'EMPTY' if (board, panel) in empty else 'data '} {board} / {panel}: {'; '.join(expressions)}")


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
