"""Processes killed at random moments, disks that fill up, and folders that can't be written or go.

Whatever happens, another start of the same command has to end with the bytes of an unbroken run.
"""

import argparse
import fnmatch
import shutil
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

from robustness import child, trouble
from robustness.digest import without_notes
from robustness.stages import CONFIG, STEPS, Step

# times, what was said, what a finished stage leaves no trace of, and what a choice was compared
# with, which is the former choice when it is made again
_DIFFERS = (
    "*.jsonl",
    "*/done.json",
    "*/.lock*",
    "*/checkpoint.pt",
    "*/ablation/*",
    "*/tuning.json",
)
Contents = dict[str, int]
"""File → sum of its bytes."""


def contents(folder: Path) -> Contents:
    """What has to be alike after any number of starts."""
    found: Contents = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(fnmatch.fnmatch(name, p) for p in _DIFFERS):
            data = path.read_bytes()
            found[name] = zlib.crc32(without_notes(data) if path.suffix == ".png" else data)
    return found


class Chain:
    """The steps on one folder, from images to a page.

    Attributes:
        work: a folder of everything.
        folder: where the steps are done.
        seconds: step → how long it takes unbroken.
    """

    def __init__(self, work: Path, steps: Sequence[Step] = STEPS) -> None:
        self.work, self.folder, self.steps = work, work / "chain", steps
        self.log = work / "log.txt"
        self.seconds: dict[str, float] = {}
        self._after: dict[str, Contents] = {}

    def unbroken(self) -> None:
        """Do every step once, undisturbed; keeps the state before each."""
        self.folder.mkdir(parents=True)
        drawn = child.start_drawing(self.folder / "VOC", self.log)
        if drawn.fault:
            raise RuntimeError(drawn.fault)
        (self.folder / "config.yaml").write_text(CONFIG)
        for step in self.steps:
            shutil.copytree(self.folder, self.state(step), symlinks=True)
            done = self.do(step)
            if done.code != 0:
                raise RuntimeError(f"{step.name} fails undisturbed: {done.said[-800:]}")
            self.seconds[step.name] = done.seconds
            self._after[step.name] = contents(self.folder)

    def state(self, step: Step) -> Path:
        """Copy of the folder as it is before a step."""
        return self.work / "states" / step.name.replace(" ", "_")

    def do(self, step: Step) -> child.Ended:
        """Do a step to its end."""
        return child.run(step.words, self.folder, self.log)

    def restart(self, step: Step | None = None) -> None:
        """Put the folder back to the state before a step, or before the first."""
        for inner in self.folder.iterdir() if self.folder.is_dir() else ():
            shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
        shutil.copytree(self.state(step or self.steps[0]), self.folder, dirs_exist_ok=True)

    def differences(self, step: Step) -> list[str]:
        """What isn't as it is after the step in an unbroken run."""
        found, right = contents(self.folder), self._after[step.name]
        return sorted(n for n in found.keys() | right.keys() if found.get(n) != right.get(n))


def kill_all(chain: Chain, times: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Kill steps at random moments and finish each.

    Returns:
        Step → counts of `kills`, `equal` and `other`; and a line for every fault.
    """
    rng = Random(seed)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    faults: list[str] = []
    kills = 0
    while kills < times:
        chain.restart()
        for step in chain.steps:
            counts = table[step.name]
            for _ in range(rng.choice((1, 1, 2, 3))):
                after = rng.uniform(0, chain.seconds[step.name])
                hit = kills < times and child.killed(step.words, chain.folder, chain.log, after)
                counts["kills"] += hit
                kills += hit
            done = chain.do(step)
            other = chain.differences(step)
            print(f"{kills} kills, {step.name}", file=sys.stderr, flush=True)
            counts["equal" if done.code == 0 and not other else "other"] += 1
            if done.code != 0 or other:
                why = done.fault or done.sentence or f"differ: {', '.join(other[:5])}"
                faults.append(f"{step.name} after kills: {why}")
                print(faults[-1], flush=True)
                break  # what follows would differ, too
    return table, faults


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kills, full disks, folders that go.")
    parser.add_argument("--times", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--steps", nargs="*", help="the first steps alone, by name; all if left out"
    )
    parser.add_argument("--no-disk", action="store_true", help="kills alone")
    parser.add_argument("--work", type=Path, help="folder, kept; a temporary one by default")
    options = parser.parse_args()
    begun = time.monotonic()
    child.import_everything()
    with tempfile.TemporaryDirectory() as temporary:
        steps = [s for s in STEPS if options.steps is None or s.name in options.steps]
        chain = Chain((options.work or Path(temporary)).resolve() / "kill", steps)
        shutil.rmtree(chain.work, ignore_errors=True)
        chain.unbroken()
        counts, faults = kill_all(chain, options.times, options.seed)
        print("\n" + kills_table(counts))
        if not options.no_disk:
            found, more = trouble.try_all(chain, options.seed)
            faults += more
            print("\n" + trouble.table(found))
    print(f"\nseed {options.seed}, {time.monotonic() - begun:.0f} s, {len(faults)} faults")
    return int(bool(faults))


def kills_table(counts: dict[str, Counter[str]]) -> str:
    """Markdown: step, kills, times it ended as unbroken, and otherwise."""
    head = ("command", "killed", "ended with the bytes of an unbroken run", "otherwise")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [
        f"| {name} | {one['kills']} | {one['equal']} | {one['other']} |"
        for name, one in counts.items()
    ]
    total = sum(counts.values(), Counter())
    lines.append(f"| all | {total['kills']} | {total['equal']} | {total['other']} |")
    return "\n".join(lines)
