"""The ablation on a finished tiny run: rows agree with the stages, a killed start goes on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glmix.attention import attention_modules
from tests.wsss.cli.command_line import error, printed
from wsss.ablation import bench, memory
from wsss.ablation import run as ablate
from wsss.ablation.baselines import squared_walk
from wsss.ablation.counts import RowCounts
from wsss.ablation.rows import all_rows, row_maps
from wsss.config import RunConfig, parse
from wsss.crf import make_crf
from wsss.data.augment import normalise
from wsss.data.masks import mask_path, read_pair
from wsss.engine import inference
from wsss.engine.checkpoint import load_trained
from wsss.formats.voc import read_voc
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.multiscale import observe, seed_size
from wsss.run.state import Run
from wsss.seeding.maps import Evidence
from wsss.seeding.masks import harden, margins, refine, seed_probabilities
from wsss.stages import evaluate

TOKENS, PIXELS = "token attention, t=1", "pixel affinity, β=10, t=16"
ROWS = f"cam;default;default + crf;{TOKENS};{PIXELS}"


@pytest.fixture
def config(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """The finished run without what an earlier ablation left."""
    run = tmp_path / "run"
    shutil.copytree(finished.run / "train_cls", run / "train_cls")
    shutil.copytree(finished.run / "seeds", run / "seeds")
    shutil.copy(finished.run / "config.yaml", run)
    values = {**finished.model_dump(), "run": run, "ablate": {"memory": False}}
    return parse(values, "here")


def table(path: Path) -> dict[str, Any]:
    rows = json.loads(path.with_suffix(".json").read_text())["rows"]
    return {row["name"]: row for row in rows}


def test_ablate_scores_rows_as_the_stages_do(config: RunConfig) -> None:
    path = ablate.run(config, ROWS)
    assert path == config.run / "ablation" / "ablation.md"
    found = table(path)
    assert list(found) == [
        "cam",
        "token attention, t=1",
        "pixel affinity, β=10, t=16",
        "default",
        "default + crf",
    ]
    for of, row in (("cam", "cam"), ("seeds", "default")):
        scores = json.loads(evaluate.run(config, of).read_text())  # type: ignore[arg-type]
        # stage 2 keeps its scores in half precision
        assert found[row]["otsu"]["mean"] == pytest.approx(100 * scores["miou"], abs=0.3)
        assert found[row]["oracle"]["mean"] >= 100 * scores["oracle"]["miou"] - 0.3
    assert "oracle" not in found["default + crf"] and "otsu" in found["default + crf"]
    assert all(row["ms"] > 0 and row["otsu"]["sd"] is None for row in found.values())
    for name in found:
        assert f"| {name} |" in path.read_text()


def counted(config: RunConfig) -> dict[str, RowCounts]:
    """Row → its counts, from the files."""
    folder = config.run / "ablation" / "rows"
    names = {name: name for name in ("cam", "default")} | {"default + crf": "default_crf"}
    names |= {TOKENS: "token_attention_t=1", PIXELS: "pixel_affinity_β=10_t=16"}
    found = {}
    for name, slug in names.items():
        with np.load(folder / f"{slug}.npz") as stored:
            settings, labels = str(stored["settings"]), int(stored["numbers"][0])
        found[name] = RowCounts.load(folder / f"{slug}.npz", labels, settings)
    return found


def test_ablate_counts_what_rows_make_of_each_image_alone(config: RunConfig) -> None:
    ablate.run(config, ROWS)
    found, settings = counted(config), config.pseudo_masks
    weights = Run(config.run).model("train_cls")
    model, _ = load_trained(weights, "classifier", build_classifier, torch.device("cpu"))
    blocks = attention_modules(model.backbone, tokens=False)
    rows = {row.name: row for row in all_rows(settings.seeding, blocks)}
    expected = {name: RowCounts(one.labels, "") for name, one in found.items()}
    crf = make_crf(settings.crf, settings.crf_iterations)
    with torch.inference_mode():
        for sample in read_voc(config.data.root, "train").samples:
            assert config.data.root is not None
            image, target = read_pair(sample.path, mask_path(config.data.root, sample.id))
            x, labels = normalise(image)[None], torch.tensor(sample.labels, dtype=torch.uint8)
            evidence = observe(model, x, settings.scales, settings.flip, attention=True)
            tags = torch.zeros(1, len(model.bias), dtype=torch.bool)
            tags[0, list(sample.tags)] = True
            for name, one in expected.items():
                scores = row_maps(rows[name], evidence, tags, seed_size(*image.shape[:2]))
                if name != "default + crf":
                    one.add_scores(target, scores, labels)
                    continue
                above = margins(scores, settings.background, image.shape[:2])
                probs = seed_probabilities(above, settings.sharpness)
                pixels = torch.from_numpy(image).permute(2, 0, 1)
                (probs,) = refine([pixels], [probs], crf)
                one.add_mask(str(settings.background), target, harden(probs, sample.labels))
    for name, one in expected.items():
        np.testing.assert_array_equal(found[name].sweep.joint, one.sweep.joint, name)
        assert found[name].rules.keys() == one.rules.keys()
        for rule, counts in one.rules.items():
            np.testing.assert_array_equal(found[name].rules[rule], counts, name)


def test_ablate_in_batches_and_threads_counts_as_image_by_image(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablate.run(config, ROWS)
    expected, passed = counted(config), []
    for module in (bench, inference):
        monkeypatch.setattr(module, "batch_size", lambda _: 5)
    monkeypatch.setattr(bench, "replace", lambda runtime, workers: replace(runtime, workers=3))

    def spy(model: TagClassifier, images: Tensor, *rest: Any, **options: Any) -> list[Evidence]:
        passed.append(len(images))
        return observe(model, images, *rest, **options)

    monkeypatch.setattr(bench, "observe", spy)
    ablate.run(config, ROWS, overwrite=True)
    assert passed == [5, 5, 2]
    for name, one in counted(config).items():
        before = expected[name]
        assert one.images == 12 and one.rules.keys() == before.rules.keys()
        pairs = [(one.sweep.joint, before.sweep.joint)]
        pairs += [(one.rules[rule], before.rules[rule]) for rule in before.rules]
        for counts, alone in pairs:
            assert counts.sum() == alone.sum()
            assert np.abs(counts - alone).sum() <= 2e-3 * alone.sum(), name


def test_ablate_resumes_after_a_kill(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(ablate.run(config, "default;cam"))
    monkeypatch.setattr(bench, "SAVE_EVERY", 5)
    add, seen = RowCounts.add_scores, []

    def cut(self: RowCounts, *arguments: Any) -> None:
        if len(seen) == 2 * 7 + 1:
            raise KeyboardInterrupt
        seen.append(self)
        add(self, *arguments)

    monkeypatch.setattr(RowCounts, "add_scores", cut)
    with pytest.raises(KeyboardInterrupt):
        ablate.run(config, "default;cam", overwrite=True)
    monkeypatch.setattr(RowCounts, "add_scores", lambda *a: (seen.append(a[0]), add(*a))[1])
    seen.clear()
    again = table(ablate.run(config, "default;cam;one-way 8.0"))
    # five images were kept of two rows
    assert len(seen) == 2 * 7 + 12
    for name, row in whole.items():
        for column in ("fixed", "otsu", "mixture", "oracle"):
            assert again[name][column] == row[column]
    seen.clear()
    ablate.run(config, "default")
    assert not seen


def test_ablate_over_several_classifiers_and_a_part_of_the_images(
    config: RunConfig, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(config.run, other)
    values = config.model_dump()
    values["ablate"] |= {"runs": [config.run, other], "images": 4}
    found = table(ablate.run(parse(values, "here"), "default"))["default"]
    assert found["otsu"]["runs"][0] == found["otsu"]["runs"][1] and found["otsu"]["sd"] == 0
    for run in (config.run, other):
        with np.load(run / "ablation" / "rows" / "default.npz") as counts:
            assert counts["joint"].sum() == 4 * 64 * 64
    assert not (other / "ablation" / "ablation.json").exists()


@pytest.mark.slow  # peak_memory has a fast test
def test_ablate_measures_memory_for_small_and_large_images(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SIZES", {"small": (64, 64), "large": (512, 768)})
    monkeypatch.setattr(memory, "DENSE_TOKENS", 1000)
    values = config.model_dump()
    squared: dict[int, int] = {}

    def spy(scores: Tensor, transition: Tensor, doublings: int) -> Tensor:
        squared[doublings] = scores.shape[-1]
        return squared_walk(scores, transition, doublings)

    monkeypatch.setattr("wsss.ablation.baselines.squared_walk", spy)
    values["ablate"] |= {"memory": True, "images": 1}
    found = table(ablate.run(parse(values, "here"), "default;pixel*=10*16"))
    small, large = found["default"]["peak_mib"].values()
    assert small is not None, "the peak memory of a process is reported on Linux"
    assert large > small
    # N×N numbers, made and not squared
    assert squared == {4: 8 * 8, 0: 64 * 96}
    assert found["pixel affinity, β=10, t=16"]["peak_mib"]["large"] > (64 * 96) ** 2 * 4 / 2**20
    # measured once
    monkeypatch.setattr(memory, "peak_memory", lambda *_: pytest.fail("measured again"))
    again = table(ablate.run(parse(values, "here"), "default"))
    assert again["default"]["peak_mib"] == found["default"]["peak_mib"]


def test_ablate_command(config: RunConfig) -> None:
    common = ("ablate", config.run, "ablate.memory=false", "ablate.images=1")
    assert printed(*common, "--rows", "cam") == config.run / "ablation" / "ablation.md"
    # maps and masks of a reduced image are scored at its own size
    printed(*common, "data.max_side=32", "--rows", "cam*")
    assert "--rows 'nothing'" in error(*common, "--rows", "nothing")
    shutil.rmtree(config.run / "train_cls")
    assert "train_cls" in error(*common, "--rows", "cam")
