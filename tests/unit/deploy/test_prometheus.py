from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.operator_tools import ROOT, run_tool, tool

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    return tool("promtool", package="Debian's prometheus")


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, Any]]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_prometheus_accepts_its_settings(promtool: str) -> None:
    done = run_tool(promtool, "check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_promtool_accepts_the_rules(file: Path, promtool: str) -> None:
    done = run_tool(promtool, "check", "rules", file)
    assert done.returncode == 0, done.stdout


def test_each_alert_fires_under_its_fault_and_none_does_in_a_quiet_run(promtool: str) -> None:
    done = run_tool(promtool, "test", "rules", "alerts.yml", cwd=PROMETHEUS / "tests")
    assert done.returncode == 0, done.stdout


def test_every_alert_has_its_own_test(alerts: dict[str, dict[str, Any]]) -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]
    assert [test["name"] for test in tests] == ["quiet", *alerts]
    for test in tests:
        fires = {asked["alertname"]: bool(asked["exp_alerts"]) for asked in test["alert_rule_test"]}
        assert fires == {name: name == test["name"] for name in alerts}


def test_every_alert_has_a_page_in_the_runbook(alerts: dict[str, dict[str, Any]]) -> None:
    runbook = (ROOT / "deploy" / "runbook.md").read_text()
    pages = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL))
    assert list(pages) == list(alerts)
    for name, page in pages.items():
        assert all(f"- **{part}.** " in page for part in ("Cause", "How to tell", "What to do")), name
        assert alerts[name]["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
        assert alerts[name]["labels"]["severity"] in {"critical", "warning", "info"}
