"""How much memory a row of the ablation takes, for a small image and a large one."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss.ablation.baselines import PixelWalk
from wsss.ablation.bench import RowBench
from wsss.ablation.rows import Row
from wsss.engine.inference import to_device
from wsss.engine.profile import peak_memory
from wsss.engine.progress import track
from wsss.errors import WsssError
from wsss.files import read_json, write_json
from wsss.seeding.maps import Evidence

SIZES = {"320×240": (240, 320), "1024²": (1024, 1024)}
"""Images whose memory is measured: rows and columns."""

DENSE_TOKENS = 6000
"""With more tokens than this the matrix of a walk on pixels is made, and not squared: hours."""

Measured = dict[str, dict[str, float | None]]
"""A row → size → MiB."""


@torch.inference_mode()
def measure(bench: RowBench, rows: Sequence[Row]) -> Measured:
    """Row → size → MiB of its own part; two tags, scale 1, no mirror image.

    What was measured before, with the same settings, is taken from the run's folder.
    """
    path = bench.run.ablation / "memory.json"
    known = _measured(path)
    keys = {row.name: bench.settings(row) for row in rows}
    for size, (height, width) in SIZES.items():
        lacking = [row for row in rows if size not in known.get(keys[row.name], {})]
        if not lacking:
            continue
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        pixels = to_device([image], bench.runtime.device)
        evidence = bench.observe(pixels, (1.0,), False)
        for row in track(lacking, f"memory {size}", len(lacking)):
            peak = _peak(bench, row, evidence, pixels[0])
            known.setdefault(keys[row.name], {})[size] = peak
            write_json(path, known)
    return {name: {size: known[key][size] for size in SIZES} for name, key in keys.items()}


def _peak(bench: RowBench, row: Row, evidence: Sequence[Evidence], pixels: Tensor) -> float | None:
    tokens = evidence[0].features[1].shape[-2:].numel()
    if isinstance(row.source, PixelWalk) and tokens > DENSE_TOKENS:
        row = replace(row, source=replace(row.source, doublings=0))
    work = partial(bench.make, row, evidence, pixels, [1, 2])
    if pixels.shape[-2] < 512:
        work()  # libraries take their own memory first
    peak = peak_memory(bench.runtime.device, work)
    return None if peak is None else round(peak / 2**20, 1)


def _measured(path: Path) -> Measured:
    """What was measured before; nothing where the file is damaged."""
    if not path.is_file():
        return {}
    try:
        found = read_json(path, "delete it")
    except WsssError:
        return {}
    return {key: sizes for key, sizes in found.items() if isinstance(sizes, dict)}
