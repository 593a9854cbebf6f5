"""Parts one after the other, each in a process of its own with a time limit, and the table.

The standard library alone: a machine that runs it may lack the project's dependencies, which are
installed from the wheels that `--prepare` laid beside the sample. DIR receives `results.json`,
`table.md` and a `<part>.log` each; while a part runs, its rows so far are in `<part>.json`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu.facts import ROOT, facts
from gpu.site import install

FOLDER = ROOT / ".gpu"


@dataclass(frozen=True)
class Part:
    """Limits of a part in seconds: it is killed after `most`, and not begun with less than `least`.

    The parts that a run is worth most for come first.
    """

    most: float
    least: float


PARTS = {
    "crf": Part(60, 15),
    "tests": Part(120, 20),
    "pipeline": Part(170, 30),
    "sizes": Part(40, 15),
    "throughput": Part(150, 60),
    "profile": Part(60, 20),
}

Row = dict[str, str]
"""`what` was measured, the `result`, and what stands `beside` it."""


@dataclass
class Outcome:
    """How a part went: `done`, `failed`, `killed` or `skipped`, and its rows."""

    state: str
    seconds: float = 0.0
    note: str = ""
    rows: list[Row] = field(default_factory=list)


Command = Callable[[str, float], list[str]]
"""(part, seconds that it has) → command that writes its rows to `<part>.json`."""


def run_parts(
    parts: Mapping[str, Part],
    command: Command,
    out: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Outcome]:
    """Run parts in their order until the time is up; writes `results.json` after each.

    Args:
        parts: name → limits.
        command: what a part runs.
        out: folder of logs and results.
        seconds: for all of them.
        environment: of the processes.
        told: facts that go into the results.
    """
    end = time.monotonic() + seconds
    outcomes: dict[str, Outcome] = {}
    for name, part in parts.items():
        left = end - time.monotonic()
        if left < part.least:
            outcomes[name] = Outcome("skipped", note=f"{max(0, left):.0f} s were left")
        else:
            print(f"{name} …", end=" ", flush=True)
            limit = min(part.most, left)
            outcomes[name] = _run(name, command(name, limit), out, limit, environment)
            print(f"{outcomes[name].state}, {outcomes[name].seconds:.0f} s", flush=True)
        results = {"facts": dict(told or {}), "parts": {k: asdict(v) for k, v in outcomes.items()}}
        (out / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False))
        (out / f"{name}.json").unlink(missing_ok=True)
    return outcomes


def _run(
    name: str,
    command: Sequence[str],
    out: Path,
    limit: float,
    environment: Mapping[str, str] | None,
) -> Outcome:
    start = time.monotonic()
    with (out / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    try:
        rows = json.loads((out / f"{name}.json").read_text())
    except (OSError, ValueError):
        rows = []
    taken = time.monotonic() - start
    if status is None:
        return Outcome("killed", taken, f"after {limit:.0f} s", rows)
    if status:
        return Outcome("failed", taken, _last_line(out / f"{name}.log"), rows)
    return Outcome("done", taken, "", rows)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def table(outcomes: Mapping[str, Outcome], told: Mapping[str, Any]) -> str:
    """Markdown: a line of facts, one of how the parts went, and a table of all rows."""
    went = ", ".join(
        f"{name} {one.state} ({one.note or f'{one.seconds:.0f} s'})"
        for name, one in outcomes.items()
    )
    lines = [", ".join(f"{k} {v}" for k, v in told.items()), "", went, ""]
    lines += ["| part | what | result | beside it |", "|---|---|---|---|"]
    for name, one in outcomes.items():
        for row in one.rows:
            cells = [name, row["what"], row["result"], row.get("beside", "")]
            lines.append("| " + " | ".join(c.replace("|", "/") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def choose(names: str) -> dict[str, Part]:
    """Parts by their names, in the order of `PARTS`.

    Raises:
        ValueError: there is none of a name.
    """
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in PARTS:
            raise ValueError(f"there is no part {name!r}: choose among {', '.join(PARTS)}")
    return {name: part for name, part in PARTS.items() if name in wanted}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", nargs="?", type=Path, const=FOLDER, metavar="FOLDER")
    parser.add_argument(
        "--distil", action="store_true", help="--prepare: what gpu_distil needs, too"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="what --prepare laid out")
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("--parts", default=",".join(PARTS), help="default: %(default)s")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes")
    parser.add_argument("--minutes", type=float, default=8.0, help="default: %(default)s")
    args = parser.parse_args(argv)
    if (args.prepare is None) == (args.out is None):
        parser.error("give either --prepare or --out")
    try:
        args.parts = choose(args.parts)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare or run; returns 1 where a part failed or was killed."""
    args = arguments(argv)
    if args.prepare:
        from gpu.prepare import prepare

        return prepare(args.prepare, distil=args.distil)
    start = time.monotonic()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = install(args.folder)
    if args.device == "cpu":
        # the parts then look for no GPU, either
        environment |= {"CUDA_VISIBLE_DEVICES": "", "WSSS_TEST_DEVICE": "cpu"}
        environment.setdefault("OMP_NUM_THREADS", "1")

    def command(name: str, limit: float) -> list[str]:
        options = ["--out", str(out), "--folder", str(args.folder.resolve())]
        options += ["--seconds", f"{limit:.0f}", *(["--tiny"] if args.tiny else [])]
        return [sys.executable, "-m", "gpu.part", name, *options]

    told = facts(environment)
    if args.device == "auto" and "capability" not in told:
        print("No CUDA device is here: add --device cpu --tiny to try it.", file=sys.stderr)
        return 2
    left = 60 * args.minutes - (time.monotonic() - start)
    outcomes = run_parts(args.parts, command, out, left, environment, told)
    text = table(outcomes, told)
    (out / "table.md").write_text(text)
    print(f"\n{text}", end="")
    return int(any(one.state in ("failed", "killed") for one in outcomes.values()))
