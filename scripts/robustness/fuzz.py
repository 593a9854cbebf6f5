"""Malformed inputs by a seed through every command, each in one process that a limit watches."""

import argparse
import multiprocessing as mp
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

MEMORY = 12 << 30
"""Bytes of addresses that a process may have: a bomb is an error and not the end of the machine."""


@dataclass(frozen=True)
class Result:
    """What became of an input.

    Attributes:
        number: of the input: with the seed it makes the same input again.
        kind: of the input.
        what: was done.
        call: the command line.
        verdict: `answer`, `sentence`, or what is wrong: a `traceback`, a wrong answer (`silent`), a
            `hang`, `files` lost or written elsewhere, the `wording` of a sentence.
        said: the sentence, or what shows the fault.
        seconds: that it took.
    """

    number: int
    kind: str
    what: str
    call: str
    verdict: str
    said: str = ""
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether a rule was broken."""
        return self.verdict not in ("answer", "sentence")


class Fuzzer:
    """Tries inputs, each on a fresh copy of the valid ones."""

    def __init__(self, work: Path, seed: int, dearest: float = 20.0) -> None:
        """Takes `work/base`, as `base.prepare` made it for `work/box`.

        Args:
            work: holds the valid inputs.
            seed: of all inputs.
            dearest: seconds that a command takes at most, where a cheaper one reads the input.
        """
        from robustness import commands, kinds
        from robustness.visit import visit
        from wsss.review import server

        server.serve = visit  # it would wait for a browser
        self.base, self.box, self.seed = work / "base", work / "box", seed
        there = {name: (self.base / path).exists() for name, path in commands.PLACES.items()}
        self.dearest = dearest
        self.commands, self.kinds = commands.usable(there), kinds.KINDS
        self._answers: dict[tuple[str, ...], dict[str, str]] = {}

    def try_input(self, number: int, told: Callable[[str, str, str], None] | None = None) -> Result:
        """Make an input and call a command on it.

        Args:
            number: of the input.
            told: called with kind, what was done and the call, before it.
        """
        rng = Random(f"{self.seed}-{number}")
        self._restore()
        kind = rng.choice(list(self.kinds))
        os.chdir(self.box)
        try:
            case = self.kinds[kind](rng, self.box)
            command = self._command(rng, case)
        except Exception as error:
            return Result(number, kind, "", "", "traceback", f"the harness: {error!r}")
        arguments = [*command.arguments(case.places), *case.options]
        call = " ".join(arguments)[:300]
        if told is not None:
            told(kind, case.what, call)
        start = time.monotonic()
        verdict, said = self._judge(rng, case, command, arguments)
        return Result(number, kind, case.what, call, verdict, said, time.monotonic() - start)

    def _restore(self) -> None:
        os.chdir(self.base.parent)
        shutil.rmtree(self.box, ignore_errors=True)
        shutil.copytree(self.base, self.box, symlinks=True)

    def _command(self, rng: Random, case: Any) -> Any:
        fitting = [
            one
            for one in self.commands
            if case.reads & one.reads
            and case.places.keys() <= one.places
            and (not case.only or one.name in case.only)
        ]
        if not fitting:
            raise LookupError(f"no command reads {set(case.reads)} of {case}")
        fitting = [one for one in fitting if one.cost <= self.dearest] or fitting
        return rng.choices(fitting, [1 / max(one.cost, 0.2) for one in fitting])[0]

    def _judge(self, rng: Random, case: Any, command: Any, arguments: list[str]) -> tuple[str, str]:
        from robustness import watch

        before = watch.state_of(self.box)
        outside = watch.state_of(self.base)
        outcome = watch.call(arguments, rng.choice(("utf-8", "utf-8", "ascii", "cp1252")))
        os.chdir(self.box)
        fault = watch.fault_of(outcome)
        if fault is not None:
            tail = outcome.stderr.strip().splitlines()[-6:]
            said = f"{fault}: " + " | ".join(line.strip()[:200] for line in tail)
            return "traceback" if fault == "traceback" else "wording", said
        allowed = (*command.writes, *_made_by(case))
        # whoever says --overwrite gives the old work up when the new one begins
        kept = outcome.code == 2 and "--overwrite" not in command.line
        after = watch.state_of(self.box)
        faults = list(watch.files_faults(before, after, allowed, kept))
        if watch.state_of(self.base) != outside:
            faults.append("files outside the box")
        faults += sorted(_elsewhere(outcome.written, self.box))
        if faults:
            return "files", "; ".join(faults[:4])
        if outcome.code == 2:
            return "sentence", outcome.sentence
        made = [name for name in after if after[name] != before.get(name)]
        wrong = self._wrong(case, command, made)
        return ("silent", wrong) if wrong else ("answer", "")

    def _wrong(self, case: Any, command: Any, made: Sequence[str]) -> str:
        """What is wrong with an answer, which wrote some files; nothing where it is right."""
        from robustness.digest import digest, digests

        if case.means == "refuse":
            return "an answer, where only a refusal is right"
        if case.check is not None:
            found: str | None = case.check(self.box)
            if found:
                return found
        for name in made:
            try:
                digest(self.box / name)
            except Exception as error:
                return f"{name}, which it wrote, can't be read: {error!r}"[:200]
        if case.means != "same":
            return ""
        answer = digests(self.box, command.writes)
        right = self._right(command, case)
        other = [n for n in right if answer.get(n) != right[n]] + [
            n for n in answer if n not in right
        ]
        return (
            f"another answer than that of the valid input: {', '.join(other[:4])}" if other else ""
        )

    def _right(self, command: Any, case: Any) -> dict[str, str]:
        """The answer to the valid inputs."""
        from robustness import watch
        from robustness.digest import digests

        key = (*command.arguments(), *case.options)
        if key not in self._answers:
            self._restore()
            os.chdir(self.box)
            outcome = watch.call(list(key))
            if outcome.code != 0:
                raise AssertionError(
                    f"{' '.join(key)} fails on valid inputs: {outcome.stderr[-500:]}"
                )
            self._answers[key] = digests(self.box, command.writes)
        return self._answers[key]


def _made_by(case: Any) -> tuple[str, ...]:
    """What a call may write beside its command's: where the case says that the output goes."""
    out = case.places.get("out")
    return (f"{out}/*",) if out else ()


def _elsewhere(written: set[str], box: Path) -> Iterator[str]:
    """Paths outside the box that a call wrote, but for caches and /proc, which takes no file."""
    temporary = tempfile.gettempdir()
    caches = (f"{temporary}/torchinductor", f"{temporary}/tmp", str(Path.home() / ".cache"))
    for path in written:
        if not path.startswith((str(box), "/dev/", "/proc", *caches)) and "__pycache__" not in path:
            yield f"{path} was written"


def fuzz(
    work: Path,
    seed: int,
    numbers: Sequence[int],
    limit: float,
    exported: bool,
    only: Sequence[str] | None = None,
) -> Iterator[Result]:
    """Try inputs in a process that is replaced when it hangs or dies.

    Args:
        work: an empty folder.
        seed: of all inputs.
        numbers: of the inputs to try.
        limit: seconds of processor time for each, or six times as much of the clock.
        exported: try exported models, too, which takes minutes to prepare.
        only: kinds to draw from; all if left out.
    """
    context = mp.get_context("fork")
    left = list(numbers)
    prepared = False
    while left:
        ours, theirs = context.Pipe()
        arguments = (theirs, work, seed, left, exported, prepared, only)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        prepared = True
        for result in _listen(ours, process, limit):
            left.remove(result.number)
            yield result
        process.kill()
        process.join()


def _listen(ours: Connection, process: Any, limit: float) -> Iterator[Result]:
    trying: tuple[Any, ...] | None = None
    start = spent = 0.0
    while True:
        if ours.poll(0.2):
            try:
                message = ours.recv()
            except EOFError:
                message = ("died",)
            if message[0] == "trying":
                trying, start, spent = message[1:], time.monotonic(), _cpu(process.pid)
                continue
            if message[0] == "result":
                trying = None
                yield message[1]
                continue
            if message[0] == "end":
                return
            if trying is None:
                raise RuntimeError("the process that tries inputs can't start; see above")
            process.join(5)
            yield Result(*trying, "traceback", f"the process died ({process.exitcode})")
            return
        taken = time.monotonic() - start
        if trying and (_cpu(process.pid) - spent > limit or taken > 6 * limit):
            yield Result(*trying, "hang", f"{taken:.0f} s", taken)
            return


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(
    connection: Connection,
    work: Path,
    seed: int,
    numbers: list[int],
    exported: bool,
    ready: bool,
    only: Sequence[str] | None,
) -> None:
    """What the process does: prepare once, then one input after the other."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        if not ready:
            from robustness.base import prepare

            prepare(work / "box", exported=exported)
            shutil.copytree(work / "box", work / "base", symlinks=True)
        fuzzer = Fuzzer(work, seed)
        fuzzer.kinds = {name: fuzzer.kinds[name] for name in only or fuzzer.kinds}
        for number in numbers:
            told = lambda *what, n=number: connection.send(("trying", n, *what))  # noqa: E731
            connection.send(("result", fuzzer.try_input(number, told)))
        connection.send(("end",))
    except BaseException:
        traceback.print_exc()
        connection.close()
        os._exit(1)


_COLUMNS = {
    "answer": "right",
    "sentence": "sentences",
    "traceback": "tracebacks",
    "silent": "silent",
    "hang": "hangs",
    "files": "files",
    "wording": "wording",
}
"""Verdict → column of the table."""


def table(results: Sequence[Result]) -> str:
    """The table of kinds, in Markdown."""
    columns = ("inputs", *_COLUMNS.values())
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in results:
        for row in (one.kind, "all"):
            counts[row]["inputs"] += 1
            counts[row][_COLUMNS[one.verdict]] += 1
    rows = sorted(counts, key=lambda kind: (kind == "all", kind))
    lines = ["| kind | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        lines.append(f"| {row} | " + " | ".join(str(counts[row][c]) for c in columns) + " |")
    return "\n".join(lines)


def _until_stopped(results: Iterator[Result]) -> Iterator[Result]:
    """Results until the last, or until somebody stops the script: what was tried is shown."""
    try:
        yield from results
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Malformed inputs through every command.")
    parser.add_argument("--inputs", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of all of them")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of inputs to try again")
    parser.add_argument("--kinds", nargs="*", help="kinds to draw from; they change the inputs")
    parser.add_argument("--limit", type=float, default=20, help="seconds until one hangs")
    parser.add_argument("--work", type=Path, help="folder, kept; a temporary one by default")
    parser.add_argument("--no-exported", action="store_true", help="without ONNX and torch.export")
    parser.add_argument("--verbose", action="store_true", help="show every input")
    options = parser.parse_args()
    numbers = options.only if options.only is not None else range(options.inputs)
    start = time.monotonic()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if (work / "base").exists():
            shutil.rmtree(work / "base")
        shutil.rmtree(work / "box", ignore_errors=True)
        exported, seed = not options.no_exported, options.seed
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for one in _until_stopped(
            fuzz(work, seed, numbers, options.limit, exported, options.kinds)
        ):
            results.append(one)
            if len(results) % 25 == 0:
                print(f"{len(results)} inputs", file=sys.stderr, flush=True)
            if one.is_fault or options.verbose:
                print(
                    f"{one.number} {one.verdict} [{one.kind}] {one.what}\n  wsss {one.call}\n"
                    f"  {one.said}  ({one.seconds:.1f} s)",
                    file=sys.stdout if one.is_fault else sys.stderr,
                    flush=True,
                )
    print(table(results))
    print(f"\nseed {options.seed}, {time.monotonic() - start:.0f} s")
    return int(any(one.is_fault for one in results))
