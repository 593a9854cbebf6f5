"""One part in this process: `python -m gpu.part NAME --out DIR …` writes its rows as it goes."""

import argparse
import importlib
import json
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wsss.engine.precision import choose
from wsss.engine.runtime import hardware


@dataclass
class Job:
    """What a part is given, and where its rows go.

    Attributes:
        rows: file of the rows.
        folder: what `gpu_check --prepare` laid out; it may be absent.
        scratch: an empty folder.
        device: where to measure.
        tiny: the smallest sizes, to see that everything runs.
        end: of the time, on the monotonic clock.
    """

    rows: Path
    folder: Path
    scratch: Path
    device: torch.device
    tiny: bool
    end: float
    found: list[dict[str, str]] = field(default_factory=list)
    failed: int = 0

    @property
    def left(self) -> float:
        """Seconds until the part is killed."""
        return self.end - time.monotonic()

    @property
    def precision(self) -> str:
        """Of networks on this device: what `auto` takes on a GPU, fp32 on a CPU."""
        on_cpu = self.device.type == "cpu"
        return "fp32" if on_cpu else choose("auto", hardware(self.device)).precision

    def row(self, what: str, result: str, beside: str = "") -> None:
        """A line of the table."""
        print(f"{what}: {result}{f' ({beside})' if beside else ''}", flush=True)
        self.found.append({"what": what, "result": result, "beside": beside})
        self._write()

    def update(self, what: str, result: str, beside: str = "") -> None:
        """The last word on something, first in the table."""
        self.found = [row for row in self.found if row["what"] != what]
        self.found.insert(0, {"what": what, "result": result, "beside": beside})
        self._write()

    def _write(self) -> None:
        partial = self.rows.with_suffix(".partial")
        partial.write_text(json.dumps(self.found, ensure_ascii=False))
        partial.replace(self.rows)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails inside becomes a row, and the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            first = (str(error).strip().splitlines() or [""])[0][:120]
            self.row(what, f"failed: {type(error).__name__}: {first}")
        if self.device.type != "cpu":
            torch.cuda.empty_cache()

    def voc(self) -> Path:
        """Images with masks in VOC layout: of the sample, or synthetic ones where it is absent."""
        from wsss.data.synthetic import write_synthetic_voc

        sample = self.folder / "VOC2012"
        if sample.is_dir() and not self.tiny:
            return sample
        root = self.scratch / "synthetic"
        write_synthetic_voc(root, train=8, val=4, size=64)
        return root


def main() -> int:
    """Returns 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="gpu.part")
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix=f"gpu_check_{args.name}_") as scratch:
        rows = args.out / f"{args.name}.json"
        job = Job(rows, args.folder, Path(scratch), device, args.tiny, end)
        importlib.import_module(f"gpu.part_{args.name}").run(job)
    if job.failed:
        print(f"{job.failed} rows failed")
    return int(job.failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
