"""What is begun, finished or stale: settings are kept apart, and nothing made is lost."""

import json
import shutil
from pathlib import Path

import pytest

from wsss.config import RunConfig, load, quoted
from wsss.errors import WsssError
from wsss.files import write_json
from wsss.run.stages import STAGES
from wsss.run.state import Run, Work, config_of_round, read_config

NAMES = tuple(stage.name for stage in STAGES)
COMMANDS = {stage.name: stage.command for stage in STAGES}


def config(folder: Path, *settings: str) -> RunConfig:
    return load(None, [f"run={quoted(folder)}", "data.root=/data/VOC2012", *settings])


def check(folder: Path, *settings: str, **digests: str) -> Work:
    """What the last stage checks before it does anything."""
    return Work(config(folder, *settings), "train_seg", digests)


def redo(stage: str, given: RunConfig) -> None:
    Work(given, stage, {}, overwrite=True).begin()


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    """A run whose three stages are finished, with the files that they would have left."""
    run = Run(tmp_path / "run")
    for stage in NAMES:
        work = Work(config(run.root), stage, {})
        work.begin()
        work.finish({})
    for path in (run.pseudo_mask("a"), run.seed("a"), run.checkpoint("train_cls")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("made")
    return run


def test_read_config_of_a_moved_run_puts_settings_on_top(tmp_path: Path) -> None:
    check(tmp_path / "run", "seed=5", "train_cls.lr=0.5")
    moved = tmp_path / "it moved: [here]"
    shutil.move(tmp_path / "run", moved)
    found = read_config(moved, ["train_cls.lr=0.25"])
    assert (found.run, found.seed, found.train_cls.lr) == (moved, 5, 0.25)


def test_a_run_of_an_earlier_version_is_opened_without_settings_that_are_no_more(
    tmp_path: Path,
) -> None:
    file = Run(tmp_path).config_file
    file.write_text("data: {root: /data}\nself_training: {former_masks: 0.3, rounds: 2}\n")
    assert read_config(tmp_path).self_training.rounds == 2
    for text in ("former_masks: 0.3", "former_mask: 0.3"):
        other = tmp_path / "mine.yaml"
        other.write_text(f"data: {{root: /data}}\nself_training: {{{text}}}\n")
        with pytest.raises(WsssError, match="unknown key self_training"):
            read_config(other)
    file.write_text("data: {root: /data}\nself_training: {former_mask: 0.3}\n")
    with pytest.raises(WsssError, match="unknown key self_training"):
        read_config(tmp_path)


def test_read_config_of_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=rf"{tmp_path}.*config\.yaml"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ["2024", "a: b", "x #1", "é 🐈", 'quo"te'])
def test_read_config_of_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    check(tmp_path / name)
    assert read_config(tmp_path / name).run == tmp_path / name


@pytest.mark.parametrize(
    ("setting", "stage", "difference"),
    [
        ("seed=1", "train_cls", "seed=0, now it is 1"),
        ("train_cls.lr=0.5", "train_cls", "train_cls.lr=0.001, now it is 0.5"),
        ("backbone.args={head_dim: 16}", "train_cls", "backbone.args.head_dim=None, now it is 16"),
        ("data.train_split=train", "train_cls", "data.train_split='train_aug', now it is 'train'"),
        ("data.mask_split=train", "pseudo_masks", "data.mask_split='train_aug', now it is 'tr"),
        ("pseudo_masks.confidence=0.5", "pseudo_masks", "pseudo_masks.confidence=0.7, now it is"),
        ("train_seg.ema=0", "train_seg", "train_seg.ema=0.998, now it is 0"),
        ("data.root=/data/VOC2007", "train_cls", "data.root='VOC2012', now it is 'VOC2007'"),
    ],
)
def test_work_refuses_other_settings_with_key_and_command(
    begun: Run, setting: str, stage: str, difference: str
) -> None:
    with pytest.raises(WsssError) as error:
        check(begun.root, setting)
    assert difference in str(error.value) and str(begun.root / stage) in str(error.value)
    assert f"--overwrite to `wsss {COMMANDS[stage]}`" in str(error.value)


def test_work_of_a_later_round_names_the_round_in_the_command(begun: Run) -> None:
    later = config_of_round(config(begun.root), 2)
    Work(later, "pseudo_masks", {"pseudo_masks": "a"}).begin()
    with pytest.raises(WsssError, match="--overwrite to `wsss generate-pseudo-masks --round 2`"):
        Work(later, "train_seg", {"pseudo_masks": "b"})


def test_work_counts_the_other_changes(begun: Run) -> None:
    with pytest.raises(WsssError, match=r"\(and 2 more\)"):
        check(begun.root, "seed=1", "train_cls.lr=0.5", "train_cls.epochs=1")


@pytest.mark.parametrize(
    "setting",
    [
        "data.root=/elsewhere/VOC2012",
        "data.val_split=test",
        "data.score_split=val",
        "evaluate.flip=true",
        "runtime.threads=1",
        "self_training.rounds=3",
    ],
)
def test_work_accepts_what_no_stage_depends_on(begun: Run, setting: str) -> None:
    check(begun.root, setting)
    assert read_config(begun.root) == config(begun.root, setting)


def test_work_takes_settings_that_an_earlier_version_did_not_have_at_their_defaults(
    begun: Run,
) -> None:
    path = begun.settings("train_seg")
    noted = json.loads(path.read_text())
    del noted["data"]["background"], noted["train_seg"]["loss"]["balanced"]
    path.write_text(json.dumps(noted))
    check(begun.root)
    with pytest.raises(WsssError, match=r"loss\.balanced=True, now it is False"):
        check(begun.root, "train_seg.loss.balanced=false")


def test_work_refuses_a_setting_that_is_no_more(begun: Run) -> None:
    path = begun.settings("train_seg")
    noted = json.loads(path.read_text())
    noted["train_seg"]["layer_decay"] = 0.5
    path.write_text(json.dumps(noted))
    with pytest.raises(WsssError, match=r"train_seg\.layer_decay=0\.5, now it is None"):
        check(begun.root)


@pytest.mark.parametrize("stage", ["pseudo_masks", "train_seg"])
def test_work_compares_the_scored_split_where_it_decides_which_images_get_masks(
    begun: Run, stage: str
) -> None:
    some = ("data.mask_images=9", "data.score_split=train")
    for name in NAMES[1:]:
        redo(name, config(begun.root, *some))
    begun.check(stage, config(begun.root, *some))
    with pytest.raises(WsssError, match=r"data\.score_split='train', now it is 'val'"):
        begun.check(stage, config(begun.root, "data.mask_images=9", "data.score_split=val"))


@pytest.mark.parametrize("stage", NAMES)
def test_work_refuses_other_images_or_tags(begun: Run, stage: str) -> None:
    now = config(begun.root)
    Work(now, stage, {stage: "old"}, overwrite=True).begin()
    check(begun.root)  # whoever hasn't read the images
    check(begun.root, **{stage: "old"})
    with pytest.raises(WsssError, match=r"other images, tags or classes than /data/VOC2012"):
        check(begun.root, **{stage: "new"})
    Work(now, stage, {stage: "new"}, overwrite=True).begin()
    check(begun.root, **{stage: "new"})


def test_work_changes_nothing_before_it_begins(begun: Run) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in begun.root.rglob("*") if path.is_file()}

    before = files()
    new = config(begun.root, "train_cls.lr=0.5")
    for stage in ("pseudo_masks", "train_seg"):
        with pytest.raises(WsssError, match=r"train_cls\.lr=0\.001"):
            Work(new, stage, {}, overwrite=True)
    work = Work(new, "train_cls", {}, overwrite=True)
    assert files() == before
    work.begin()
    assert not any(begun.finished(stage) for stage in NAMES)
    assert not begun.pseudo_mask("a").exists() and read_config(begun.root) == new


def test_work_that_is_refused_saves_no_config(begun: Run) -> None:
    with pytest.raises(WsssError):
        check(begun.root, "seed=1")
    assert read_config(begun.root).seed == 0


def test_work_on_masks_may_precede_a_training_of_other_settings(begun: Run) -> None:
    other = config(begun.root, "train_seg.ema=0")
    work = Work(other, "pseudo_masks", {}, recomputed="train_seg")
    assert not work.needed and begun.finished("train_seg")
    with pytest.raises(WsssError, match=r"train_seg\.ema"):
        Work(other, "pseudo_masks", {})


def test_work_keeps_unfinished_masks_only_where_their_settings_are_known(begun: Run) -> None:
    begun.done("pseudo_masks").unlink()
    redo("pseudo_masks", config(begun.root))  # another shard began to recompute the stage
    assert begun.pseudo_mask("a").exists()
    begun.settings("pseudo_masks").unlink()  # an interrupted removal
    Work(config(begun.root), "pseudo_masks", {}).begin()
    assert not begun.pseudo_mask("a").exists() and not begun.seed("a").exists()


@pytest.mark.parametrize("setting", ["seed=0", "pseudo_masks.flip=false"])
def test_work_removes_masks_that_are_finished_or_of_other_settings(
    begun: Run, setting: str
) -> None:
    if setting != "seed=0":
        begun.done("pseudo_masks").unlink()
    redo("pseudo_masks", config(begun.root, setting))
    assert not begun.pseudo_mask("a").exists() and not begun.finished("train_seg")


def test_work_finish_removes_what_killed_starts_left(begun: Run) -> None:
    half = [begun.root / name for name in ("pseudo_masks/.a.png.12.tmp", "seeds/.a.12.tmp.npz")]
    for path in half:
        path.write_text("hal")
    check(begun.root).finish({})
    assert all(path.exists() for path in half)
    Work(config(begun.root), "pseudo_masks", {}).finish({"images": 1})
    assert not any(path.exists() for path in half) and begun.pseudo_mask("a").exists()
    assert json.loads(begun.done("pseudo_masks").read_text()) == {"images": 1}


def test_work_where_a_file_stands_in_place_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(WsssError, match=rf"{tmp_path / 'run'} can't be made"):
        check(tmp_path / "run")


@pytest.mark.parametrize(
    ("folder", "given"),
    [("mine/round_2/round_3", "."), ("mine/round_2", "round_3"), ("mine/round_2/round_3/x", "..")],
)
def test_config_of_round_from_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, given: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    third = config(Path(given), "round=3")
    mine = tmp_path / "mine"
    found = [config_of_round(third, n).run for n in (1, 2, 3)]
    assert found == [mine, mine / "round_2", mine / "round_2" / "round_3"]


@pytest.mark.parametrize(
    ("stage", "left", "masks"),
    [
        ("train_cls", [], False),
        ("pseudo_masks", ["train_cls"], False),
        ("train_seg", ["train_cls", "pseudo_masks"], True),
    ],
)
def test_run_forget_removes_the_stage_and_what_is_built_on_it(
    begun: Run, stage: str, left: list[str], masks: bool
) -> None:
    begun.forget(stage)
    assert [name for name in NAMES if begun.finished(name)] == left
    assert begun.pseudo_mask("a").exists() == begun.seed("a").exists() == masks
    assert begun.checkpoint("train_cls").exists() == (stage != "train_cls")
    other = {"train_cls": "seed=1", "pseudo_masks": "pseudo_masks.flip=false"}
    check(begun.root, other.get(stage, "train_seg.ema=0"))


def test_run_forget_keeps_what_people_accepted_in_later_rounds(begun: Run) -> None:
    second = Run(begun.root / "round_2")
    third = Run(second.root / "round_3")
    for path in (second.trusted("a"), third.review_record("a"), second.pseudo_mask("a")):
        write_json(path, {})
    for path in (second.config_file, third.config_file, third.done("train_seg")):
        write_json(path, {})
    begun.forget("train_seg")
    files = {path for path in second.root.rglob("*") if path.is_file()}
    assert files == {second.trusted("a"), third.review_record("a")}
    shutil.rmtree(second.trusted_masks)
    shutil.rmtree(third.root)
    backup = begun.root / "round_2_before" / "config.yaml"
    write_json(backup, {})
    begun.forget("train_seg")
    assert not second.root.exists() and backup.is_file()


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        ("train_cls", []),
        ("pseudo_masks", []),
        ("train_seg", ["cam_train", "pseudo_masks_train", "seeds_train"]),
    ],
)
def test_run_forget_removes_scores_and_sheets(begun: Run, stage: str, left: list[str]) -> None:
    for of in ("cam", "seeds", "pseudo-masks", "predictions"):
        write_json(begun.evaluation(of, "train"), {})
    write_json(begun.evaluation("predictions", "val"), {})
    begun.report.mkdir()
    (begun.report / "train.png").touch()
    begun.forget(stage)
    assert sorted(path.stem for path in begun.evaluations.iterdir()) == left
    assert list(begun.report.iterdir()) == []


def test_work_saves_paths_that_do_not_depend_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["run=run", "data.root=VOC", "backbone.weights=w.pth"]
    settings += ["train_cls.second_backbone_weights=r.pth", "train_seg.backbone_weights=r.pth"]
    Work(load(None, settings), "train_cls", {})
    monkeypatch.chdir(tmp_path.parent)
    found = read_config(tmp_path / "run")
    assert (found.data.root, found.backbone.weights) == (tmp_path / "VOC", tmp_path / "w.pth")
    others = (found.train_cls.second_backbone_weights, found.train_seg.backbone_weights)
    assert others == (tmp_path / "r.pth",) * 2


def test_run_require_names_the_command(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(WsssError, match="run `wsss train-cls` on it first"):
        run.require("train_cls")
    write_json(run.done("train_cls"), {})
    assert run.require("train_cls") == tmp_path / "train_cls"
