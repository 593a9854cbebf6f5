"""Packages that a machine lacks, from the wheels that were taken along."""

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpu.facts import ROOT

NEEDED = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "numpy", "scipy", "cv2",
          "PIL", "yaml", "pydantic", "annotated_types", "typer", "rich", "safetensors", "jinja2",
          "filelock", "pycocotools", "pytest")  # fmt: skip


def install(folder: Path, more: Sequence[str] = ()) -> dict[str, str]:
    """The environment in which the parts run, with missing packages on its path.

    Args:
        folder: what `--prepare` laid out, with `wheels/`.
        more: modules that are needed beside `NEEDED`.

    Raises:
        SystemExit: packages are missing, and so are their wheels, or pip refuses them.
    """
    paths = [str(ROOT / "scripts"), str(ROOT)]
    missing = [name for name in (*NEEDED, *more) if importlib.util.find_spec(name) is None]
    if missing:
        wheels = sorted((folder / "wheels").glob("*.whl"))
        if not wheels:
            raise SystemExit(
                f"{', '.join(missing)} can't be imported, and {folder}/wheels is empty: run "
                "scripts/gpu_check --prepare where there is a network, and take the folder along."
            )
        site = tempfile.mkdtemp(prefix="gpu_check_site_")
        atexit.register(shutil.rmtree, site, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-compile", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--find-links", str(folder / "wheels"), "--target", site, *map(str, wheels)]
        done = subprocess.run(command, check=False)
        if done.returncode:
            raise SystemExit(f"pip can't install the wheels of {folder}: its words are above.")
        paths.append(site)
        lacking = [name for name in missing if not _holds(Path(site), name)]
        if lacking:
            print(f"No wheel holds {', '.join(lacking)}: parts may fail.", file=sys.stderr)
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*paths, *([before] if before else [])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _holds(site: Path, module: str) -> bool:
    return (site / module).is_dir() or any(site.glob(f"{module}.*"))
