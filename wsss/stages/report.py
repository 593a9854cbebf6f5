"""The page of a run: figures and images in one HTML file.

Reads `evaluation/*.json`, `train_cls/metrics.json`, `report/*.png`, the classes' names and the
settings; writes `report/index.html`, which needs none of them.
"""

import platform
import re
from pathlib import Path
from typing import Any

import torch

from wsss import __version__
from wsss.config import RunConfig
from wsss.engine.runtime import start
from wsss.files import real_path, write_text
from wsss.labels import CLASS_NAMES_FILE
from wsss.report.figures import read_figure
from wsss.report.page import render
from wsss.report.scores import read_metrics, read_scores
from wsss.run.state import Run


def run(config: RunConfig) -> Path:
    """Write the page of a run; returns its path."""
    run = Run(config.run)
    found = [read_scores(path) for path in sorted(run.evaluations.glob("*.json"))]
    ceilings = [scores for scores in found if scores["of"] == "ceiling"]
    page = render(
        real_path(run.root).name,
        read_metrics(run.metrics),
        [scores for scores in found if scores["of"] != "ceiling"],
        [read_figure(path) for path in sorted(run.report.glob("*.png"))],
        [_with_classes(config, ceiling) for ceiling in ceilings],
        _classes(run),
        _versions(config),
        _text(run.config_file),
    )
    path = run.report / "index.html"
    write_text(path, page)
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _with_classes(config: RunConfig, ceiling: dict[str, Any]) -> dict[str, Any]:
    """A comparison with full supervision, and that side's IoU by class."""
    baseline = Run.of_round(config, 1).ceiling
    path = Run(baseline).evaluation("predictions", ceiling["split"])
    return {**ceiling, "iou": read_scores(path)["iou"]} if path.is_file() else ceiling


def _classes(run: Run) -> list[str]:
    """Names in the order of mask values, as they stand beside the pseudo-masks."""
    lines = _text(run.pseudo_masks / CLASS_NAMES_FILE).splitlines()
    return [line.partition(" ")[2] for line in lines]


def _versions(config: RunConfig) -> dict[str, str]:
    """Programs and machine that wrote the page, which are those of the run's last stage."""
    device = start(config.runtime, config.seed).device
    if device.type == "cpu":
        known = re.search(r"model name\s*:\s*(.+)", _text(Path("/proc/cpuinfo")))
        machine = known[1] if known else platform.processor() or platform.machine()
    else:
        machine = torch.get_device_module(device).get_device_name(device)
    return {
        "wsss": __version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "on": f"{device.type} ({machine})",
    }
