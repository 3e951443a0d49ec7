"""Write the JSON of the boards that Grafana loads: ``python -m deploy.grafana.boards``."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.boards.editing import EDITING
from deploy.grafana.boards.generation import GENERATION
from deploy.grafana.boards.overview import OVERVIEW
from deploy.grafana.boards.panels import board_json
from deploy.grafana.boards.queue_and_store import QUEUE_AND_STORE

BOARDS = (OVERVIEW, EDITING, GENERATION, QUEUE_AND_STORE)
FOLDER = Path(__file__).parents[1] / "dashboards"

if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(board_json(board), encoding="utf-8")
