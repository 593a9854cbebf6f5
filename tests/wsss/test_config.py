"""The config: each bad key, type and override has its sentence; what is saved loads again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from wsss.config import DataConfig, RunConfig, load, parse, save
from wsss.errors import WsssError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def refusal(overrides: Sequence[str], path: Path | None = None) -> str:
    with pytest.raises(WsssError) as error:
        load(path, overrides)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\ndata: {root: voc}\ntrain_cls: {epochs: 2, crop: 64}\n")
    config = load(path, ["train_cls.epochs=5", "runtime.device=cpu", "run=here"])
    assert (config.seed, config.train_cls.epochs, config.train_cls.crop) == (3, 5, 64)
    assert config.train_cls.batch_size == RunConfig(data=DataConfig(root="v")).train_cls.batch_size
    assert (config.runtime.device, config.run) == ("cpu", Path("here"))
    assert config.data.root == Path("voc")


def test_what_is_saved_loads_again(tmp_path: Path) -> None:
    config = load(
        None,
        [
            "data.images=mine",
            "data.tags=mine.csv",
            "backbone.args={depths: [1, 1, 1, 1], slot_scale: 8.0}",
            "pseudo_masks.background=0.4",
            "pseudo_masks.walks=[{block: '8.0', steps: 3}]",
            "train_cls.crop_area=[0.5, 0.75]",
            "runtime.threads=2",
        ],
    )
    path = tmp_path / "saved.yaml"
    save(config, path)
    assert load(path) == config
    assert load(path).pseudo_masks.walks[0].steps == 3


def test_the_last_override_wins_and_values_are_yaml() -> None:
    config = load(None, ["data.root=a", "train_cls.lr=1", "train_cls.lr=1e-3"])
    assert config.train_cls.lr == 1e-3
    assert load(None, ["data={root: a, val_split: test}"]).data.val_split == "test"
    # all but the first sign of equality belong to the value
    assert load(None, ["data.root=a=b"]).data.root == Path("a=b")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train_cls.epocs=3", "unknown key train_cls.epocs (did you mean epochs?)"),
        ("pseudo_maks.flip=true", "unknown key pseudo_maks (did you mean pseudo_masks?)"),
        ("epochs=3", "unknown key epochs (did you mean train_cls.epochs?)"),
        ("sharpness=3", "unknown key sharpness (did you mean pseudo_masks.sharpness?)"),
        ("train_cls.lr=fast", "train_cls.lr is 'fast': expected a number"),
        ("train_cls.lr=0", "train_cls.lr is 0: expected greater than 0"),
        ("train_cls.lr=.nan", "train_cls.lr is nan: expected a finite number"),
        ("train_seg.epochs=.inf", "train_seg.epochs is inf: expected a finite number"),
        (
            "train_cls.batch_size=0",
            "train_cls.batch_size is 0: expected greater than or equal to 1",
        ),
        ("seed=1.5", "seed is 1.5: expected an integer"),
        ("seed=", "seed is None: expected an integer"),
        ("pseudo_masks.flip=3", "pseudo_masks.flip is 3: expected a boolean"),
        ("train_seg.decoder=vnet", "train_seg.decoder is 'vnet': expected 'segformer', 'fpn', "),
        (
            "pseudo_masks.background=ots",
            "background is 'ots': expected a number or 'otsu' or 'mixture'",
        ),
        ("pseudo_masks.background=1.5", "background is 1.5: expected less than 1 or 'otsu'"),
        ("pseudo_masks.background=0", "background is 0: expected greater than 0 or 'otsu'"),
        ("seed=-1", "seed is -1: expected greater than or equal to 0"),
        (
            "train_seg={decoder: upernet, batch_size: 1}",
            "takes two images at once at least, batch_size is 1 and accumulate 1: raise",
        ),
        (
            "train_seg={decoder: upernet, batch_size: 4, accumulate: 4}",
            "decoder upernet takes two images at once at least, batch_size is 4 and accumulate 4",
        ),
        ("train_cls.slot_block=16.0", "slot_block is 16.0: expected text: quote it, '\"16.0\"'"),
        ("train_cls=3", "train_cls is 3: expected keys with values below it"),
        ("train_cls.lr.x=3", "train_cls.lr is {'x': 3}: expected a number"),
        ("pseudo_masks.scales=[]", "pseudo_masks.scales is []: expected at least 1 item"),
        ("pseudo_masks.scales=[1, 0]", "pseudo_masks.scales.1 is 0: expected greater than 0"),
        ("evaluate.scales=[-1.0]", "evaluate.scales.0 is -1.0: expected greater than 0"),
        (
            "pseudo_masks.walks=[{block: '8.0', steps: 0}]",
            "pseudo_masks.walks.0.steps is 0: expected greater than or equal to 1",
        ),
        (
            "pseudo_masks.walks=[{block: '8.0', steps: 1, stepz: 1}]",
            "unknown key pseudo_masks.walks.0.stepz (did you mean steps?)",
        ),
        ("pseudo_masks.walks=[{steps: 1}]", "pseudo_masks.walks.0.block is missing: set it"),
        ("train_cls.crop_area=[1, 0.5]", "[1.0, 0.5] falls: write the smaller number first"),
        ("train_seg.scale=[0, 1]", "train_seg.scale.0 is 0: expected greater than 0"),
        ("train_seg.scale=[1, 1, 1]", "train_seg.scale is [1, 1, 1]: expected at most 2 items"),
        (
            "data.class_names=[cat]",
            "data.class_names goes with data.images: a folder in VOC layout",
        ),
        ("data.images=b", "both data.root and data.images are set: keep one of them"),
    ],
)
def test_each_fault_has_its_sentence(override: str, sentence: str) -> None:
    found = refusal(["data.root=a", override])
    assert found.startswith("Config from the command line: ")
    # one fault is reported once
    assert sentence in found and ";" not in found


def test_all_faults_are_told_at_once_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\nsed: 3\ntrain_cls: {lr: x}\n")
    assert refusal([], path) == (
        f"Config from {path}: train_cls.lr is 'x': expected a number; "
        "unknown key sed (did you mean seed?)."
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("--flip", "'--flip' is not an override: write section.key=value."),
        ("seed: 3", "'seed: 3' is not an override: write section.key=value."),
        ("=3", "'=3' is not an override: write section.key=value."),
        ('seed="3', "The value in 'seed=\"3' is not valid YAML: quote it."),
        ("seed.x.y=1", "'seed.x.y=1': seed is a single value, it has no keys below it."),
    ],
)
def test_what_is_no_override(tmp_path: Path, override: str, sentence: str) -> None:
    assert refusal([override], write(tmp_path, "seed: 1\ndata: {root: a}")) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "data is missing: set it"),
        ({"data": {}}, "no data: set data.root (VOC layout), or data.images and data.tags"),
        ({"data": {"images": "a"}}, "data.images and data.tags go together: set both"),
        ({"data": {"root": "a", "tags": "b"}}, "data.images and data.tags go together: set both"),
    ],
)
def test_data_has_one_source(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(WsssError) as error:
        parse(values, "a test")
    assert sentence in str(error.value) and str(error.value).startswith("Config from a test: ")


def test_files_that_are_no_config(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    assert refusal([], gone) == f"No config at {gone}: give the path of a YAML file."
    assert "is not valid YAML" in refusal([], write(tmp_path, "data: [1\nseed: 2"))
    assert "holds a list: a config is a mapping" in refusal([], write(tmp_path, "- 1\n- 2\n"))
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert f"{path} can't be read" in refusal([], path)
    assert f"{tmp_path} can't be read" in refusal([], tmp_path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), ["data.root=a"]) == load(None, ["data.root=a"])


def test_assignment_is_checked() -> None:
    config = load(None, ["data.root=a"])
    with pytest.raises(ValueError, match="greater than 0"):
        config.train_cls.lr = -1.0
