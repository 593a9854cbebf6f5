"""What a figure holds for: machine, driver, versions, commit."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from measuring import cpu_name

ROOT = Path(__file__).resolve().parents[2]

_ASK = """
import json, torch
from wsss.engine.precision import choose
from wsss.engine.runtime import hardware
found = {"torch": torch.__version__, "timm": __import__("timm").__version__}
if torch.cuda.is_available():
    p = torch.cuda.get_device_properties(0)
    found["device"] = p.name
    found["capability"] = f"{p.major}.{p.minor}"
    found["memory"] = f"{p.total_memory / 2**30:.0f} GiB"
    found["CUDA"] = torch.version.cuda
    found["precision"] = choose("auto", hardware(torch.device("cuda"))).precision
else:
    found["device"] = f"cpu, {torch.get_num_threads()} thread(s)"
    found["precision"] = "fp32"
print(json.dumps(found))
"""


def facts(environment: Mapping[str, str]) -> dict[str, str]:
    """Names and versions as the parts see them."""
    # packages may print when they are imported
    said = _output(sys.executable, "-c", _ASK, env=environment).splitlines()
    found: dict[str, str] = json.loads(said[-1]) if said else {}
    if "capability" in found:
        query = ("--query-gpu=driver_version", "--format=csv,noheader")
        found["driver"] = (_output("nvidia-smi", *query) or "?").splitlines()[0]
    return {**found, "CPU": cpu_name(), "Python": platform.python_version(), "commit": commit()}


def commit() -> str:
    """Of the checkout; where the repository didn't come along, the one that was prepared."""
    here = _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*")
    if here:
        return here
    prepared = ROOT / ".gpu" / "commit"
    return f"{prepared.read_text().strip()} when prepared" if prepared.is_file() else "unknown"


def _output(*command: str, env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
