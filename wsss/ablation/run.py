"""The ablation: score maps and refinements of one classifier, or several, on the same images.

Reads `train_cls/model.safetensors` of every run and true masks, which score and choose nothing.
Writes `ablation/rows/*.npz` into every run while it goes, so that a killed start resumes where it
stopped; `ablation/ablation.json` and `.md` into the config's run.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.ablation.bench import RowBench
from wsss.ablation.counts import RowCounts
from wsss.ablation.images import draw, masks_of
from wsss.ablation.memory import DENSE_TOKENS, Measured, measure
from wsss.ablation.rows import Row, choose
from wsss.ablation.table import Figures, figures, markdown
from wsss.config import RunConfig
from wsss.engine.runtime import join, start
from wsss.files import write_json, write_text
from wsss.run.state import Run


def run(config: RunConfig, rows: str = "*", overwrite: bool = False) -> Path:
    """Score every row on every classifier, write the table; returns its path.

    Args:
        config: of the run; `ablate.runs` names the runs whose classifiers are scored.
        rows: names of rows, with `*` for anything, separated by `;`.
        overwrite: recount what is counted.
    """
    team = join()
    with team.together():
        tagged = draw(config)
        runtime = start(config.runtime, config.seed)
        folders = config.ablate.runs or (config.run,)
        benches = [RowBench(config, Run(folder), tagged, runtime) for folder in folders]
        # a pattern that matches nothing is reported before anything is counted
        chosen_of = [choose(bench.rows, rows) for bench in benches]
    root = masks_of(config, tagged, team)
    all_counts: dict[str, list[RowCounts]] = {}
    chosen: dict[str, Row] = {}
    for bench, own in zip(benches, chosen_of, strict=True):
        chosen |= {row.name: row for row in own}
        for row, row_counts in zip(own, bench.count(own, root, overwrite), strict=True):
            all_counts.setdefault(row.name, []).append(row_counts)
    write = partial(_write, config, list(chosen.values()), all_counts, len(tagged))

    def finish() -> Path:
        path = write({})
        if config.ablate.memory:
            first = benches[0]
            path = write(measure(first, [row for row in first.rows if row.name in chosen]))
        return path

    return team.once(finish)


def _write(
    config: RunConfig,
    rows: Sequence[Row],
    all_counts: dict[str, list[RowCounts]],
    images: int,
    measured: Measured,
) -> Path:
    settings, masks = config.ablate, config.pseudo_masks
    rule = str(masks.background)
    table: list[Figures] = []
    for row in rows:
        fixed = settings.fixed_walk if row.walked else settings.fixed_cam
        found = figures(row, all_counts[row.name], fixed, rule)
        table.append({**found, "peak_mib": measured.get(row.name, {})})
    first = next(iter(all_counts.values()))
    network = [1e3 * row_counts.network / max(row_counts.images, 1) for row_counts in first]
    protocol: dict[str, Any] = {
        "split": f"{config.data.score_split}, {images} images, tags given",
        "classifiers": ", ".join(str(path) for path in settings.runs or (config.run,)),
        "scales": list(masks.scales),
        "flip": masks.flip,
        "refined masks": f"threshold {rule}, sharpness {masks.sharpness}, {masks.crf} "
        f"({masks.crf_backend}), {masks.crf_iterations} iterations, likeliest label",
        "ms": "processor time per image of the row's own part (CPU), wall time elsewhere; the "
        f"network's passes, shared by all rows: {np.mean(network):.1f}",
        "MiB": "peak of the row's own part beyond the network's, scale 1, no flip, two tags; "
        f"pixel affinity of over {DENSE_TOKENS} tokens without its squarings, which take more",
        "threads": torch.get_num_threads(),
    }
    path = Run(config.run).ablation / "ablation.json"
    write_json(path, {"protocol": protocol, "rows": table})
    sizes = list(next(iter(measured.values()), ()))
    text = markdown(table, sizes, protocol)
    write_text(path.with_suffix(".md"), text)
    return path.with_suffix(".md")
