"""The run folder: settings are kept apart, files are whole or absent, full disks are reported."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from wsss.config import RunConfig, load, quoted
from wsss.errors import WsssError
from wsss.run_dir import RunDir, config_of_round, make_folder, read_config, write_atomic, write_json

COMMANDS = {
    "train_cls": "train-cls",
    "pseudo_masks": "generate-pseudo-masks",
    "train_seg": "train-seg",
}


def config(folder: Path, *settings: str) -> RunConfig:
    return load(None, [f"run={folder}", "data.root=data/VOC2012", *settings])


@pytest.fixture
def begun(tmp_path: Path) -> RunDir:
    """A run whose three stages are finished, with the files that they would have left."""
    run = RunDir.create(config(tmp_path / "run"))
    for stage in ("train_cls", "pseudo_masks", "train_seg"):
        run.begin(stage, config(tmp_path / "run"))
        run.finish(stage, {})
    for path in (run.pseudo_mask("a"), run.seed("a"), run.checkpoint("train_cls")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("made")
    return run


def test_file_names(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    names = {
        "train_cls/model.safetensors": run.model("train_cls"),
        "train_seg/checkpoint.pt": run.checkpoint("train_seg"),
        "train_seg/log.jsonl": run.log("train_seg"),
        "seeds/sub/a.npz": run.seed("sub/a"),
        "pseudo_masks/2007_000033.png": run.pseudo_mask("2007_000033"),
        # an id is not a file name: what stands behind its dot stays
        "pseudo_masks/a.b.png": run.pseudo_mask("a.b"),
        "predictions/val/a.png": run.prediction("val", "a"),
        "evaluation/pseudo_masks_train.json": run.evaluation("pseudo-masks", "train"),
        "report": run.report,
        "config.yaml": run.config_file,
    }
    assert {name: tmp_path / name for name in names} == names


def test_a_run_opens_with_its_own_config_and_settings_on_top(tmp_path: Path) -> None:
    RunDir.create(config(tmp_path / "run", "seed=5", "train_cls.lr=0.5"))
    moved = tmp_path / "it moved: [here]"
    shutil.move(tmp_path / "run", moved)
    found = read_config(moved, ["train_cls.lr=0.25"])
    assert (found.run, found.seed, found.train_cls.lr) == (moved, 5, 0.25)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"holds no run \(no config.yaml\): give the folder"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("setting", "stage", "sentence"),
    [
        ("seed=1", "train_cls", "seed=0, now it is 1"),
        ("train_cls.lr=0.5", "train_cls", "train_cls.lr=0.001, now it is 0.5"),
        ("backbone.args={head_dim: 16}", "train_cls", "backbone.args.head_dim=None, now it is 16"),
        ("data.train_split=train", "train_cls", "data.train_split='train_aug', now it is 'train'"),
        ("data.mask_split=train", "pseudo_masks", "data.mask_split='train_aug', now it is 'tr"),
        ("pseudo_masks.confidence=0.5", "pseudo_masks", "pseudo_masks.confidence=0.7, now it is"),
        ("train_seg.ema=0", "train_seg", "train_seg.ema=0.998, now it is 0"),
        ("data.root=data/VOC2007", "train_cls", "data.root='VOC2012', now it is 'VOC2007'"),
    ],
)
def test_other_settings_are_refused_with_their_key(
    begun: RunDir, setting: str, stage: str, sentence: str
) -> None:
    with pytest.raises(WsssError) as error:
        RunDir.create(config(begun.root, setting))
    assert str(error.value).startswith(f"{begun.root / stage} was made with {sentence}")
    again = f"add --overwrite to `wsss {COMMANDS[stage]}` to recompute the stage."
    assert str(error.value).endswith(again)


def test_the_number_of_other_changes_is_told(begun: RunDir) -> None:
    with pytest.raises(WsssError, match=r"now it is 1 \(and 2 more\): choose"):
        RunDir.create(config(begun.root, "seed=1", "train_cls.lr=0.5", "train_cls.epochs=1"))


@pytest.mark.parametrize(
    "setting",
    [
        "data.root=/elsewhere/VOC2012",
        "data.val_split=test",
        "data.score_split=val",
        "evaluate.flip=true",
        "runtime.threads=1",
    ],
)
def test_what_no_training_depends_on_may_change(begun: RunDir, setting: str) -> None:
    RunDir.create(config(begun.root, setting))
    assert read_config(begun.root) == config(begun.root, setting)


@pytest.mark.parametrize("stage", ["pseudo_masks", "train_seg"])
def test_the_list_whose_images_come_first_counts_where_only_some_are_taken(
    begun: RunDir, stage: str
) -> None:
    some = ("data.mask_images=9", "data.score_split=train")
    begun.begin(stage, config(begun.root, *some))
    begun.check_settings(stage, config(begun.root, *some))
    other = config(begun.root, *some, "data.score_split=val")
    with pytest.raises(WsssError, match=r"made with data.score_split='train', now it is 'val'"):
        begun.check_settings(stage, other)


@pytest.mark.parametrize("stage", ["train_cls", "pseudo_masks", "train_seg"])
def test_other_images_or_tags_are_refused(begun: RunDir, stage: str) -> None:
    now = config(begun.root)
    # made by a version that kept no digest
    assert RunDir.create(now, {stage: "new"}).finished(stage)
    RunDir(begun.root, {stage: "old"}).begin(stage, now)
    RunDir.create(now)  # who hasn't read the images
    RunDir.create(now, {stage: "old"})
    with pytest.raises(WsssError) as error:
        RunDir.create(now, {stage: "new"})
    assert str(error.value) == (
        f"{begun.root / stage} was made with other images, tags or classes than data/VOC2012 "
        "holds now: choose another run folder (run=…), or add --overwrite to "
        f"`wsss {COMMANDS[stage]}` to recompute the stage."
    )
    again = RunDir.create(now, {stage: "new"}, again=stage)
    again.begin(stage, now, again=True)
    RunDir.create(now, {stage: "new"})


def test_nothing_goes_before_the_stage_begins(begun: RunDir) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in begun.root.rglob("*") if path.is_file()}

    before = files()
    for again in ("pseudo_masks", "train_seg"):
        with pytest.raises(WsssError, match=r"train_cls was made with train_cls.lr=0.001"):
            RunDir.create(config(begun.root, "train_cls.lr=0.5"), again=again)
    new = config(begun.root, "train_cls.lr=0.5")
    run = RunDir.create(new, again="train_cls")
    assert files() == before
    run.begin("train_cls", new, again=True)
    assert not any(run.finished(stage) for stage in ("train_cls", "pseudo_masks", "train_seg"))
    assert not run.pseudo_mask("a").exists() and read_config(run.root) == new


def test_masks_of_an_unfinished_stage_stay_only_where_its_settings_are_known(
    begun: RunDir,
) -> None:
    now = config(begun.root)
    (begun.root / "pseudo_masks" / "done.json").unlink()
    begun.begin("pseudo_masks", now, again=True)  # another shard began to recompute the stage
    assert begun.pseudo_mask("a").exists()
    (begun.root / "pseudo_masks" / "settings.json").unlink()  # a reset that was cut short
    begun.begin("pseudo_masks", now)
    assert not begun.pseudo_mask("a").exists() and not begun.seed("a").exists()


@pytest.mark.parametrize("setting", ["seed=0", "pseudo_masks.flip=false"])
def test_masks_of_a_finished_stage_or_of_other_settings_go_when_it_is_recomputed(
    begun: RunDir, setting: str
) -> None:
    if setting != "seed=0":
        (begun.root / "pseudo_masks" / "done.json").unlink()
    begun.begin("pseudo_masks", config(begun.root, setting), again=True)
    assert not begun.pseudo_mask("a").exists() and not begun.finished("train_seg")


@pytest.mark.parametrize(
    ("folder", "given"),
    [("mine/round_2/round_3", "."), ("mine/round_2", "round_3"), ("mine/round_2/round_3/x", "..")],
)
def test_a_round_is_found_from_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, given: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    third = config(Path(given), "round=3")
    found = [config_of_round(third, n).run for n in (1, 2, 3)]
    mine = tmp_path / "mine"
    assert found == [mine, mine / "round_2", mine / "round_2" / "round_3"]


def test_a_refused_config_is_not_saved(begun: RunDir) -> None:
    with pytest.raises(WsssError):
        RunDir.create(config(begun.root, "seed=1"))
    assert read_config(begun.root).seed == 0


@pytest.mark.parametrize(
    ("stage", "left", "masks"),
    [
        ("train_cls", [], False),
        ("pseudo_masks", ["train_cls"], False),
        ("train_seg", ["train_cls", "pseudo_masks"], True),
    ],
)
def test_a_reset_forgets_the_stage_and_what_is_built_on_it(
    begun: RunDir, stage: str, left: list[str], masks: bool
) -> None:
    begun.reset(stage)
    stages = ("train_cls", "pseudo_masks", "train_seg")
    assert [name for name in stages if begun.finished(name)] == left
    assert begun.pseudo_mask("a").exists() == begun.seed("a").exists() == masks
    assert begun.checkpoint("train_cls").exists() == (stage != "train_cls")
    later = {"train_cls": "seed=1", "pseudo_masks": "pseudo_masks.flip=false"}
    RunDir.create(config(begun.root, later.get(stage, "train_seg.ema=0")))


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        ("train_cls", []),
        ("pseudo_masks", []),
        ("train_seg", ["cam_train", "pseudo_masks_train", "seeds_train"]),
    ],
)
def test_a_reset_forgets_scores_and_images_of_what_is_gone(
    begun: RunDir, stage: str, left: list[str]
) -> None:
    for of in ("cam", "seeds", "pseudo-masks", "predictions"):
        write_json(begun.evaluation(of, "train"), {})
    write_json(begun.evaluation("predictions", "val"), {})
    begun.report.mkdir()
    (begun.report / "train.png").touch()
    begun.reset(stage)
    assert sorted(path.stem for path in (begun.root / "evaluation").iterdir()) == left
    assert list(begun.report.iterdir()) == []


def test_an_unfinished_stage_is_required_with_its_command(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(WsssError, match="no finished train_cls: run `wsss train-cls` on it first"):
        run.require("train_cls")
    run.finish("train_cls", {"images": 3})
    assert run.require("train_cls") == tmp_path / "train_cls"


def test_json_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    write_json(path, {"a": [1, None], "where": Path("p")})
    assert json.loads(path.read_text()) == {"a": [1, None], "where": "p"}


def test_a_file_is_whole_or_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_text("old")

    def half(target: Path) -> None:
        target.write_text("new, but only h")
        assert path.read_text() == "old"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WsssError, match=r"x.bin can't be written \(.*No space left on device\)"):
        write_atomic(path, half)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    write_atomic(path, lambda target: target.write_text("new"))
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_who_reads_the_former_file_reads_on(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("the old text")
    with path.open() as reader:
        assert reader.read(4) == "the "
        write_atomic(path, lambda target: target.write_text("THE NEW"))
        assert reader.read() == "old text"


def test_a_finished_stage_sweeps_up_after_killed_starts(begun: RunDir) -> None:
    half = [begun.root / name for name in ("pseudo_masks/.a.png.12.tmp", "seeds/.a.12.tmp.npz")]
    for path in half:
        path.write_text("hal")
    begun.finish("train_seg", {})
    assert all(path.exists() for path in half)
    begun.finish("pseudo_masks", {})
    assert not any(path.exists() for path in half)
    assert begun.pseudo_mask("a").exists() and begun.seed("a").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_a_full_disk(tmp_path: Path) -> None:
    # the device that refuses every byte stands where the temporary file would be
    (tmp_path / f".x.{os.getpid()}.tmp.json").symlink_to("/dev/full")
    with pytest.raises(WsssError) as error:
        write_json(tmp_path / "x.json", {})
    assert "(No space left on device" not in str(error.value)  # the errno stands before it
    assert "No space left on device): free the disk or choose another run" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", read_only)
    monkeypatch.setattr(Path, "write_text", read_only)
    with pytest.raises(WsssError, match="Read-only file system"):
        write_json(tmp_path / "x.json", {})
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(WsssError, match=r"can't be made \(Read-only file system\): choose another"):
        make_folder(tmp_path / "new")


def test_a_file_where_the_run_should_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(WsssError, match=r"run can't be made .*: choose another run folder"):
        RunDir.create(config(tmp_path / "run"))


@pytest.mark.parametrize("name", ["2024", "a: b", "x #1", "é 🐈", 'quo"te'])
def test_a_run_folder_of_any_name_is_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    RunDir.create(load(None, ["data.root=data/VOC2012", f"run={quoted(folder)}"]))
    assert read_config(folder).run == folder
