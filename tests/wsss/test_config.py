"""The config: every wrong key, value and override is named; what is saved loads again."""

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


def test_load_takes_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\ndata: {root: voc}\ntrain_cls: {epochs: 2, crop: 64}\n")
    config = load(path, ["train_cls.epochs=5", "runtime.device=cpu", "run=here"])
    assert (config.seed, config.train_cls.epochs, config.train_cls.crop) == (3, 5, 64)
    assert config.train_cls.batch_size == RunConfig(data=DataConfig(root="v")).train_cls.batch_size
    assert (config.runtime.device, config.run) == ("cpu", Path("here"))
    assert config.data.root == Path("voc")


def test_save_then_load_gives_the_same_config(tmp_path: Path) -> None:
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


def test_load_takes_the_last_override_as_yaml() -> None:
    config = load(None, ["data.root=a", "train_cls.lr=1", "train_cls.lr=1e-3"])
    assert config.train_cls.lr == 1e-3
    assert load(None, ["data={root: a, val_split: test}"]).data.val_split == "test"
    # all but the first sign of equality belong to the value
    assert load(None, ["data.root=a=b"]).data.root == Path("a=b")


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train_cls.epocs=3", "train_cls.epocs (did you mean epochs?)"),
        ("pseudo_maks.flip=true", "pseudo_maks (did you mean pseudo_masks?)"),
        ("epochs=3", "epochs (did you mean train_cls.epochs?)"),
        ("sharpness=3", "sharpness (did you mean pseudo_masks.sharpness?)"),
        ("train_cls.lr=fast", "train_cls.lr is 'fast': expected a number"),
        ("train_cls.lr=0", "train_cls.lr is 0: expected greater than 0"),
        ("train_cls.lr=.nan", "train_cls.lr is nan: expected a finite number"),
        ("train_seg.epochs=.inf", "train_seg.epochs is inf: expected a finite number"),
        ("train_cls.batch_size=0", "train_cls.batch_size is 0: expected greater than or equal to"),
        ("seed=1.5", "seed is 1.5: expected an integer"),
        ("seed=", "seed is None: expected an integer"),
        ("pseudo_masks.flip=3", "pseudo_masks.flip is 3: expected a boolean"),
        ("train_seg.decoder=vnet", "train_seg.decoder is 'vnet': expected 'segformer', 'fpn', "),
        (
            "pseudo_masks.background=ots",
            "background is 'ots': expected a number or 'otsu'",
        ),
        ("pseudo_masks.background=1.5", "background is 1.5: expected less than 1 or 'otsu'"),
        ("pseudo_masks.background=0", "background is 0: expected greater than 0 or 'otsu'"),
        ("seed=-1", "seed is -1: expected greater than or equal to 0"),
        (
            "train_seg={decoder: upernet, batch_size: 1}",
            "batch_size is 1 and accumulate 1",
        ),
        (
            "train_seg={decoder: upernet, batch_size: 4, accumulate: 4}",
            "batch_size is 4 and accumulate 4",
        ),
        ("train_cls.slot_block=16.0", "slot_block is 16.0: expected text"),
        ("train_cls=3", "train_cls is 3: expected keys"),
        ("train_cls.lr.x=3", "train_cls.lr is {'x': 3}: expected a number"),
        ("pseudo_masks.scales=[]", "pseudo_masks.scales is []: expected"),
        ("pseudo_masks.scales=[1, 0]", "pseudo_masks.scales.1 is 0: expected greater than 0"),
        ("evaluate.scales=[-1.0]", "evaluate.scales.0 is -1.0: expected greater than 0"),
        (
            "pseudo_masks.walks=[{block: '8.0', steps: 0}]",
            "pseudo_masks.walks.0.steps is 0: expected greater than or equal to 1",
        ),
        (
            "pseudo_masks.walks=[{block: '8.0', steps: 1, stepz: 1}]",
            "pseudo_masks.walks.0.stepz (did you mean steps?)",
        ),
        ("pseudo_masks.walks=[{steps: 1}]", "pseudo_masks.walks.0.block is missing"),
        ("train_cls.crop_area=[1, 0.5]", "[1.0, 0.5]"),
        ("train_seg.scale=[0, 1]", "train_seg.scale.0 is 0: expected greater than 0"),
        ("train_seg.scale=[1, 1, 1]", "train_seg.scale is [1, 1, 1]: expected at most 2"),
        (
            "data.class_names=[cat]",
            "data.class_names goes with data.images",
        ),
        ("data.images=b", "data.root and data.images"),
    ],
)
def test_load_names_key_value_and_what_is_expected(override: str, fault: str) -> None:
    found = refusal(["data.root=a", override])
    assert "the command line" in found
    # one fault is reported once
    assert fault in found and ";" not in found


def test_load_names_all_faults_and_their_file(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {root: a}\nsed: 3\ntrain_cls: {lr: x}\n")
    found = refusal([], path)
    for part in (str(path), "train_cls.lr is 'x'", "sed (did you mean seed?)"):
        assert part in found


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("--flip", "'--flip' is not an override"),
        ("seed: 3", "'seed: 3' is not an override"),
        ("=3", "'=3' is not an override"),
        ('seed="3', "'seed=\"3' is not valid YAML"),
        ("seed.x.y=1", "'seed.x.y=1': seed is a single value"),
    ],
)
def test_load_refuses_what_is_no_override(tmp_path: Path, override: str, fault: str) -> None:
    assert fault in refusal([override], write(tmp_path, "seed: 1\ndata: {root: a}"))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "data is missing"),
        ({"data": {}}, "data.root"),
        ({"data": {"images": "a"}}, "data.images and data.tags"),
        ({"data": {"root": "a", "tags": "b"}}, "data.images and data.tags"),
    ],
)
def test_parse_requires_one_source_of_data(values: dict[str, object], fault: str) -> None:
    with pytest.raises(WsssError, match=f"a test: .*{fault}"):
        parse(values, "a test")


def test_load_refuses_a_file_that_is_no_config(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    assert str(gone) in refusal([], gone)
    assert "is not valid YAML" in refusal([], write(tmp_path, "data: [1\nseed: 2"))
    assert "holds a list" in refusal([], write(tmp_path, "- 1\n- 2\n"))
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert f"{path} can't be read" in refusal([], path)
    assert f"{tmp_path} can't be read" in refusal([], tmp_path)


def test_load_of_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), ["data.root=a"]) == load(None, ["data.root=a"])


def test_config_checks_assignments() -> None:
    config = load(None, ["data.root=a"])
    with pytest.raises(ValueError, match="greater than 0"):
        config.train_cls.lr = -1.0


def test_config_without_background_has_no_border_evidence() -> None:
    assert load(None, ["data.root=a"]).pseudo_masks.border is not None
    config = load(None, ["data.root=a", "data.background=false", "pseudo_masks.border={steps: 2}"])
    assert config.pseudo_masks.border is None and config.pseudo_masks.walks


def test_load_takes_a_list_of_paths_as_yaml() -> None:
    # a single path is taken as it stands; brackets make a list all the same
    config = load(None, ["data.root=Photos #1", "ablate.runs=[runs/a,runs/b]"])
    assert config.data.root == Path("Photos #1")
    assert [path.name for path in config.ablate.runs] == ["a", "b"]


BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    "text",
    [
        "seed: 2024-13-45\n",  # a date that isn't one
        f"seed: {'9' * 5000}\n",
        f"seed: {'[' * 2000}{']' * 2000}\n",
        f"a0: &a0 [x, x]\n{BOMB}data: {{class_names: *a8}}\n",
        'data: {root: "a\\0b"}\n',
        "? [a, b]\n: 1\n",
        "seed: 1\nseed: 1\n",
        "train_cls: {epochs: 1, epochs: 2}\n",
    ],
)
def test_load_refuses_what_yaml_stumbles_over(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert str(path) in refusal([], path) or "NUL" in refusal([], path)
    assert len(refusal([], path)) < 3000
