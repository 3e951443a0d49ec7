from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from deploy.grafana.boards.__main__ import BOARDS, FOLDER
from deploy.grafana.boards.panels import RUNBOOK, WIDTH, BoardSpec, board_json
from tests.support.operator_tools import ROOT


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_board_on_disk_equals_the_output_of_the_typed_model(board: BoardSpec) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text() == board_json(board), "run: make dashboards"


def test_every_file_is_a_board_and_every_board_has_its_file() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {board.uid for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_has_a_unit_a_description_and_thresholds(board: BoardSpec) -> None:
    made: dict[str, Any] = json.loads(board_json(board))
    assert made["description"]
    assert made["links"][0]["url"] == RUNBOOK
    for panel in made["panels"]:
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        assert panel["datasource"]["uid"] == _source_uid()
        assert all(target["expr"] for target in panel["targets"])


def test_panels_fit_on_the_board_without_overlap() -> None:
    for board in BOARDS:
        places = [panel["gridPos"] for panel in json.loads(board_json(board))["panels"]]
        assert all(place["x"] + place["w"] <= WIDTH for place in places), board.title
        covered = [
            (place["x"] + dx, place["y"] + dy)
            for place in places
            for dx in range(place["w"])
            for dy in range(place["h"])
        ]
        assert len(set(covered)) == len(covered), board.title


def test_titles_of_a_board_are_unique() -> None:
    for board in BOARDS:
        assert len({panel.title for panel in board.panels}) == len(board.panels)


def test_every_link_of_a_panel_leads_to_a_page_of_the_runbook() -> None:
    pages = set(re.findall(r"^## (\w+)$", (ROOT / "deploy" / "runbook.md").read_text(), re.MULTILINE))
    named = {panel.alert for board in BOARDS for panel in board.panels if panel.alert}
    assert named <= pages


def test_panels_that_need_a_gpu_are_named_so() -> None:
    assert [panel.title for board in BOARDS for panel in board.panels if panel.gpu] == ["GPU memory"]


def _source_uid() -> str:
    sources = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    uid: str = yaml.safe_load(sources.read_text())["datasources"][0]["uid"]
    return uid
