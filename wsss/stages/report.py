"""The page of a run: figures and images in one HTML file.

Reads `evaluation/*.json`, `train_cls/metrics.json` and `report/*.png`; writes `report/index.html`.
"""

import json
from pathlib import Path

from wsss.config import RunConfig
from wsss.files import write_text
from wsss.report.page import render
from wsss.run.state import Run


def run(config: RunConfig) -> Path:
    """Write the page of a run; returns its path."""
    run = Run(config.run)
    found = [
        json.loads(path.read_text()) for path in sorted((run.root / "evaluation").glob("*.json"))
    ]
    ceilings = [scores for scores in found if scores["of"] == "ceiling"]
    evaluations = [scores for scores in found if scores["of"] != "ceiling"]
    metrics_file = run.root / "train_cls" / "metrics.json"
    metrics = json.loads(metrics_file.read_text()) if metrics_file.is_file() else {}
    sheets = sorted(path.name for path in run.report.glob("*.png"))
    page = render(run.root.name, metrics, evaluations, sheets, ceilings)
    path = run.report / "index.html"

    write_text(path, page)
    return path
