"""Exported models answer like the trained one, at any size, and carry all that a user needs."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from wsss.config import RunConfig, load
from wsss.data import mask_io
from wsss.data.synthetic import CLASS_NAMES
from wsss.engine.checkpoint import load_trained
from wsss.errors import WsssError
from wsss.export.load import card_of, open_network
from wsss.export.write import save_exported, save_onnx, trace
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.run.state import Run
from wsss.stages import export, predict

CPU = torch.device("cpu")
# whole strides, and sizes that need padding; one below the least side of a graph
SIZES = ((2, 64, 96), (1, 160, 128), (1, 90, 131), (1, 64, 70))


# tracing a network takes longer than all other tests of this file
FORMATS = (
    pytest.param("onnx", marks=pytest.mark.slow),
    pytest.param("torch-export", marks=pytest.mark.slow),
    "safetensors",
    "hub",
)
Opened = tuple[nn.Module, dict[str, Any]]


@pytest.fixture(scope="module")
def onnx_file(finished: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run as ONNX."""
    return export.run(finished, "onnx", tmp_path_factory.mktemp("exported") / "model.onnx")


@pytest.fixture(scope="module", params=FORMATS)
def exported(
    request: pytest.FixtureRequest, finished: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The finished run in one format, away from the run."""
    if request.param == "onnx":
        path: Path = request.getfixturevalue("onnx_file")
        return path
    folder = tmp_path_factory.mktemp("exported")
    return export.run(finished, request.param, folder / f"m{export.SUFFIXES[request.param]}")


@pytest.fixture(scope="module")
def opened(exported: Path) -> Opened:
    """That file, opened: the network and its card."""
    return open_network(exported, build_segmenter, CPU)


def random_images(batch: int, *size: int) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size)))


def trained(config: RunConfig) -> Segmenter:
    path = Run(config.run).model("train_seg")
    return load_trained(path, "segmenter", build_segmenter, CPU)[0]


@torch.inference_mode()
def distance(one: nn.Module, other: nn.Module, size: tuple[int, int, int]) -> float:
    images = random_images(*size)
    answers = one(images), other(images)
    assert answers[0].shape == answers[1].shape == (size[0], answers[0].shape[1], *size[1:])
    return float((answers[0] - answers[1]).abs().max())


def test_export_answers_like_the_trained_model(opened: Opened, finished: RunConfig) -> None:
    for size in SIZES:
        assert distance(opened[0], trained(finished), size) < 1e-4


def test_export_card_holds_classes_palette_and_preprocessing(opened: Opened) -> None:
    card = opened[1]
    assert card["classes"] == ["background", *CLASS_NAMES]
    assert card["palette"] == mask_io.palette()[: len(CLASS_NAMES) + 1].tolist()
    how = card["preprocessing"]
    assert (how["channels"], how["range"]) == ("RGB", [0, 1])
    assert how["mean"] == [0.485, 0.456, 0.406] and how["std"] == [0.229, 0.224, 0.225]


@pytest.mark.slow  # the command does so by a safetensors file
def test_export_predicts_without_a_run(exported: Path, finished: RunConfig, tmp_path: Path) -> None:
    assert finished.data.root is not None
    alone = load(None, ["data.root=.", f"run={tmp_path / 'no run'}", "runtime.threads=1"])
    images = finished.data.root / "JPEGImages"
    folder = predict.run(alone, images, tmp_path / "masks", model=exported)
    assert not (tmp_path / "no run").exists()
    own = Run(finished.run).predictions("val")
    same = [
        (mask_io.read_mask(folder / path.name) == mask_io.read_mask(path)).mean()
        for path in own.glob("*.png")
    ]
    # rounding may turn a pixel between two classes
    assert len(same) == 4 and min(same) > 0.999


@pytest.mark.slow
def test_export_metadata_of_onnx_are_read_by_any_runtime(
    finished: RunConfig, onnx_file: Path
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, answer.name) == ("images", "logits")
    assert given.shape[1] == 3 and all(isinstance(given.shape[i], str) for i in (0, 2, 3))
    card = json.loads(session.get_modelmeta().custom_metadata_map["wsss"])
    assert card["sides"] == {"multiple_of": 32, "at_least": 64}
    images = random_images(3, 64, 128).numpy()
    with torch.inference_mode():
        expected = trained(finished)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["segformer", "fpn", "upernet", "unet"])
def test_export_of_every_decoder_for_any_size(decoder: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_scale": 8.0}
    metadata = {
        "kind": "segmenter",
        "backbone": "glnet_nano",
        "backbone_args": args,
        "decoder": decoder,
        "class_names": ["cat", "dog"],
    }
    model = build_segmenter(metadata).eval()
    save_onnx(tmp_path / "m.onnx", model.graph, card_of(metadata))
    network, _ = open_network(tmp_path / "m.onnx", build_segmenter, CPU)
    for size in SIZES:
        assert distance(network, model, size) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_export_of_a_backbone_that_knows_images_differently(to: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    metadata = {
        "kind": "segmenter",
        "backbone": "tf_efficientnet_lite0",
        "backbone_args": {},
        "decoder": "fpn",
        "class_names": ["cat", "dog"],
    }
    model = build_segmenter(metadata).eval()
    path = tmp_path / f"m{export.SUFFIXES[to]}"
    (save_onnx if to == "onnx" else save_exported)(path, model.graph, card_of(metadata))
    network, _ = open_network(path, build_segmenter, CPU)
    for size in SIZES:
        assert distance(network, model, size) < 1e-4


@pytest.mark.slow
def test_trace_refuses_a_network_of_one_size() -> None:
    # windows ask how many of them fit
    args = {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 32, 32], "local_mixer": "window"}
    model = Segmenter("glnet_nano", args, "fpn", 3)
    with pytest.raises(WsssError, match="--to safetensors"):
        trace(model.graph)


@pytest.mark.slow
def test_trace_changes_nothing_of_the_network(finished: RunConfig) -> None:
    model = trained(finished).train()
    names = [type(module) for module in model.modules()]
    trace(model.graph)
    assert model.training and [type(module) for module in model.modules()] == names


def test_export_hub_folder_holds_config_card_and_scores(
    finished: RunConfig, tmp_path: Path
) -> None:
    folder = export.run(finished, "hub", tmp_path / "hub")
    weights = {"model.safetensors", "classifier.safetensors"}
    names = {*weights, "config.json", "preprocessor_config.json", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["1"] == CLASS_NAMES[0]
    assert config["label2id"][CLASS_NAMES[0]] == 1 and config["num_labels"] == len(CLASS_NAMES) + 1
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    meta = yaml.safe_load(header)
    assert (meta["library_name"], meta["pipeline_tag"]) == ("wsss", "image-segmentation")
    scores = json.loads((finished.run / "evaluation" / "predictions_val.json").read_text())
    (result,) = meta["model-index"][0]["results"]
    assert result["dataset"]["split"] == "val"
    values = [metric["value"] for metric in result["metrics"]]
    assert values == [round(100 * c["miou"], 2) for c in scores["columns"].values()]
    assert len(values) == 3
    for column in scores["columns"].values():
        assert f"| {100 * column['miou']:.1f} | {100 * column['boundary_miou']:.1f} |" in text


def test_export_hub_card_of_a_run_without_scores(finished: RunConfig, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    shutil.rmtree(run / "evaluation")
    folder = export.run(finished.model_copy(update={"run": run}), "hub")
    assert folder == run / "export" / "hub"
    text = (folder / "README.md").read_text()
    assert "model-index" not in text and "\nNot scored.\n" in text and "no mask was drawn" in text


def test_export_hub_keeps_a_card_that_a_person_changed(finished: RunConfig, tmp_path: Path) -> None:
    folder, card = tmp_path / "hub", tmp_path / "hub" / "README.md"
    text = export.run(finished, "hub", folder).joinpath("README.md").read_text()
    assert export.run(finished, "hub", folder) == folder
    for changed in ("# Mine\n", text.replace("wsss", "WSSS", 1), text + "Mine.\n"):
        card.write_text(changed)
        with pytest.raises(WsssError, match=r"README\.md was not made .*--overwrite"):
            export.run(finished, "hub", folder)
        assert card.read_text() == changed
    export.run(finished, "hub", folder, overwrite=True)
    assert card.read_text() == text


def test_export_refuses_format_name_and_untrained_run(finished: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="--to is 'tflite'"):
        export.run(finished, "tflite")
    with pytest.raises(WsssError, match=r"m\.pt.*\.onnx"):
        export.run(finished, "onnx", tmp_path / "m.pt")
    with pytest.raises(WsssError, match=r"train_seg/model\.safetensors"):
        export.run(finished.model_copy(update={"run": tmp_path}), "onnx")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.onnx", None, r"gone\.onnx"),
        ("gone.safetensors", None, r"gone\.safetensors"),
        ("a.onnx", b"none", r"a\.onnx .*ONNX"),
        ("a.pt2", b"none", r"a\.pt2 .*torch\.export"),
        ("a.safetensors", b"none", r"a\.safetensors"),
        ("hub/config.json", b"{}", r"config\.json .*classes"),
        ("hub/config.json", b"\xff", r"config\.json .*classes"),
    ],
)
def test_open_network_refuses_a_file_that_is_no_model(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WsssError, match=words):
        open_network(path.parent if "hub" in name else path, build_segmenter, CPU)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_export_names_a_missing_package(
    finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WsssError, match=rf"{package} .*wsss\[export\]"):
        export.run(finished, "onnx", tmp_path / "m.onnx")


def test_open_network_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(WsssError, match=r"onnxruntime .*m\.onnx"):
        open_network(tmp_path / "m.onnx", build_segmenter, CPU)


def test_open_network_of_a_hub_folder_without_weights(finished: RunConfig, tmp_path: Path) -> None:
    folder = export.run(finished, "hub", tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WsssError, match=r"hub .*model\.safetensors"):
        open_network(folder, build_segmenter, CPU)


def test_open_network_refuses_an_onnx_model_of_another_program(tmp_path: Path) -> None:
    import onnx

    helper = onnx.helper
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(WsssError, match=r"m\.onnx .*classes"):
        open_network(tmp_path / "m.onnx", build_segmenter, CPU)


def test_open_network_takes_the_folder_of_a_run(finished: RunConfig) -> None:
    network, _ = open_network(finished.run, build_segmenter, CPU)
    assert distance(network, trained(finished), (1, 64, 64)) == 0
