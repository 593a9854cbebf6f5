"""Which precision a training takes, by what was asked for and what is at hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from wsss.config import RunConfig, RuntimeConfig, load
from wsss.engine import runtime as runtime_module
from wsss.engine.checkpoint import save_state
from wsss.engine.parameter_groups import parameter_groups
from wsss.engine.precision import Asked, Choice, Hardware, Precision, choose
from wsss.engine.runtime import Runtime, hardware, start
from wsss.engine.train_stage import train_stage
from wsss.errors import WsssError
from wsss.models.classifier import build_classifier
from wsss.run.state import Work

NONE, CPU, GPU = Hardware(), Hardware(bfloat16=True), Hardware(bfloat16=True, float16=True)
OLD_GPU, VOLTA = Hardware(float16=True), Hardware(float16=True, quick_float16=True)


@pytest.mark.parametrize(
    ("asked", "at_hand", "expected"),
    [
        ("auto", NONE, "fp32"),
        ("auto", CPU, "bf16"),
        ("auto", GPU, "bf16"),
        ("auto", OLD_GPU, "fp32"),
        ("auto", VOLTA, "fp16"),
        ("fp32", VOLTA, "fp32"),
        ("fp32", GPU, "fp32"),
        ("bf16", CPU, "bf16"),
        ("fp16", OLD_GPU, "fp16"),
    ],
)
def test_choose_takes_what_the_hardware_computes(
    asked: Asked, at_hand: Hardware, expected: Precision
) -> None:
    assert choose(asked, at_hand) == Choice(expected)


def test_choose_says_that_an_explicit_bf16_is_emulated() -> None:
    precision, remark = choose("bf16", NONE)
    assert precision == "bf16" and remark is not None
    assert "emulates" in remark and "runtime.precision=auto takes fp32" in remark
    assert "runtime.precision=auto takes fp16" in str(choose("bf16", VOLTA).remark)


@pytest.mark.parametrize("at_hand", [NONE, CPU])
def test_choose_refuses_fp16_without_a_gpu(at_hand: Hardware) -> None:
    with pytest.raises(WsssError, match="fp16"):
        choose("fp16", at_hand)
    own = choose("auto", at_hand).precision
    with pytest.raises(WsssError, match=f"fp16.*runtime.precision={own}"):
        choose("auto", at_hand, begun="fp16")


@pytest.mark.parametrize(
    ("begun", "at_hand", "said"),
    [
        ("fp32", NONE, None),
        ("bf16", CPU, None),
        ("bf16", NONE, "emulated here: runtime.precision=fp32"),
        ("fp32", CPU, "it would take bf16 here"),
        ("fp16", GPU, "it would take bf16 here"),
        ("fp16", VOLTA, None),
        ("bf16", VOLTA, "emulated here: runtime.precision=fp16"),
        ("fp32", VOLTA, "it would take fp16 here"),
    ],
)
def test_choose_keeps_what_a_training_began_with(
    begun: Precision, at_hand: Hardware, said: str | None
) -> None:
    precision, remark = choose("auto", at_hand, begun)
    assert precision == begun
    assert (remark is None) if said is None else (remark is not None and said in remark)


def test_choose_takes_an_explicit_precision_whatever_was_begun() -> None:
    assert choose("fp32", NONE, begun="bf16") == Choice("fp32")


@pytest.mark.parametrize("native", [True, False])
def test_hardware_of_a_cpu_is_its_capability(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    real = runtime_module.capability()
    monkeypatch.setattr(runtime_module, "capability", lambda: real._replace(native_bfloat16=native))
    assert hardware(torch.device("cpu")) == Hardware(bfloat16=native)
    started = start(RuntimeConfig(device="cpu"), 0)
    assert started.precision == ("bf16" if native else "fp32")


@pytest.mark.parametrize(
    ("version", "name", "native", "quick"),
    [
        ((6, 0), "Tesla P100-PCIE-16GB", False, False),
        ((7, 0), "Tesla V100-SXM2-16GB", False, True),
        ((7, 5), "Tesla T4", False, True),
        ((7, 5), "NVIDIA GeForce RTX 2080 Ti", False, True),
        ((7, 5), "NVIDIA GeForce GTX 1660 Ti", False, False),
        ((7, 5), "NVIDIA T1000 8GB", False, False),
        ((7, 5), "NVIDIA GeForce MX450", False, False),
        ((8, 0), "NVIDIA A100-SXM4-40GB", True, True),
        ((9, 0), "NVIDIA H100 80GB HBM3", True, True),
    ],
)
def test_hardware_of_a_gpu_is_that_of_its_generation(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], name: str, native: bool, quick: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: version)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert hardware(torch.device("cuda", 0)) == Hardware(native, True, quick)


@pytest.mark.parametrize(("precision", "allowed"), [("auto", True), ("fp32", False)])
def test_start_allows_tf32_unless_fp32_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, precision: str, allowed: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        start(RuntimeConfig.model_validate({"precision": precision}), 0)
        assert [place.allow_tf32 for place in places] == [allowed] * 2
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


CARD = {
    "backbone": "glnet_nano",
    "backbone_args": {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [4, 4]},
    "slot_block": "16.0",
    "slot_top": 3,
}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    settings = ["train_cls={epochs: 1, batch_size: 2}", "runtime={device: cpu, workers: 0}"]
    return load(None, [f"run={tmp_path / 'run'}", "data.root=nowhere", *settings])


def trained_in(config: RunConfig, at_hand: Hardware) -> list[torch.dtype]:
    """Train a linear layer for two steps; the types that it computed in."""
    runtime = Runtime(
        torch.device("cpu"),
        precision=choose(config.runtime.precision, at_hand).precision,
        hardware=at_hand,
    )
    model = nn.Linear(2, 1)
    found: list[torch.dtype] = []

    def loss_function(trained: nn.Module, batch: object) -> Tensor:
        answer = trained(torch.ones(2, 2))
        found.append(answer.dtype)
        return answer.float().mean()

    class Keyed(TensorDataset):
        def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, ...]:
            return super().__getitem__(index[1])

    work = Work(config, "train_cls", {})
    train_stage(work, runtime, model, model, 1.0, Keyed(torch.zeros(4, 1)), loss_function)
    return found


def test_a_training_is_noted_in_its_precision(config: RunConfig) -> None:
    assert trained_in(config, CPU) == [torch.bfloat16] * 2
    work = Work(config, "train_cls", {})
    noted = {"precision": "bf16", "threads": torch.get_num_threads()}
    assert work.run.computed_with("train_cls") == noted
    assert not work.run.changes("train_cls", config)  # no reason to recompute the stage


def test_a_training_goes_on_in_its_precision(
    config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work(config, "train_cls", {})
    work.begin(computed={"precision": "bf16"})
    work.release()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(parameter_groups(model, model, 1.0, 1.0, 0.0))
    state = {"step": 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_state(work.run.checkpoint("train_cls"), {**state, "average": {}})
    assert trained_in(config, NONE) == [torch.bfloat16]
    assert "train-cls goes on in bf16" in capsys.readouterr().err
    explicit = config.model_copy(update={"runtime": RuntimeConfig(device="cpu", precision="fp32")})
    assert trained_in(explicit, NONE) == [torch.float32]
    noted = json.loads(work.run.settings("train_cls").read_text())["runtime"]
    assert noted["precision"] == "fp32"


def test_gradients_of_a_glnet_in_fp16_are_near_those_in_float32() -> None:
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    tags, found = torch.tensor([[1.0, 0, 0], [0, 1, 1]]), []
    for precision in precisions:
        torch.manual_seed(0)
        model = build_classifier({**CARD, "class_names": ["a", "b", "c"]}).train()
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=precision == "fp16")
        with Runtime(torch.device("cpu"), precision=precision).autocast():
            loss = model.loss(model(torch.randn(2, 3, 64, 64)), tags, 0.5)
        scaler.scale(loss).backward()
        scaler.unscale_(torch.optim.SGD(model.parameters()))
        found.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.999
    assert float(found[0].norm()) == pytest.approx(float(found[1].norm()), rel=0.01)


def test_autocast_is_the_precision_of_the_runtime() -> None:
    a = torch.ones(2, 2)
    runtime = Runtime(torch.device("cpu"))
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for precision, dtype in kinds.items():
        with replace(runtime, precision=precision).autocast():  # type: ignore[arg-type]
            assert (a @ a).dtype == dtype
