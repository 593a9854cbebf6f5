#!/usr/bin/env python
"""Runs a script of timm's (train.py, validate.py, benchmark.py) with the GLNets registered.

configs/imagenet/with_glmix.py TIMM/train.py --config configs/imagenet/glnet_4g.yaml --data-dir D
"""

import runpy
import sys
from pathlib import Path

import glmix  # noqa: F401  registers the models


def main() -> None:
    """Hand the remaining arguments to the script."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f"Expected the path of a script of timm's repository; got {sys.argv[1:2]}.")
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
