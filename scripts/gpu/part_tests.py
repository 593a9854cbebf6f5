"""Every test marked `gpu`; on a CPU the code of those that need no more than a device runs.

On a GPU most of their time goes into kernels that cuDNN compiles for each size, so several
processes share them, where pytest-xdist is there.
"""

import importlib.util
import os
from collections import Counter

import pytest

from gpu.facts import ROOT
from gpu.part import Job


class Rows:
    """Counts outcomes as they come and makes a row of every failure."""

    def __init__(self, job: Job, files: int) -> None:
        self.job, self.files = job, files
        self.counts: Counter[str] = Counter()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Slow tests, such as those that compile, come last."""
        items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
        self.counts["left"] = len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Called by pytest-xdist with the tests that each of its processes has found."""
        self.counts["left"] = len(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after set-up, call and tear-down of each test."""
        if report.failed:
            self._failed(report.nodeid, str(report.longrepr))
        elif report.skipped or report.when == "call":
            self.counts[report.outcome] += 1
        self.counts["left"] -= report.when == "teardown"
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(self.counts.items()) if n)
        self.job.update("tests marked gpu", counts, f"{self.files} files")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called by pytest after each module is collected."""
        if report.failed:
            self._failed(report.nodeid, str(report.longrepr))

    def _failed(self, test: str, text: str) -> None:
        self.counts["failed"] += 1
        lines = [line for line in text.splitlines() if line.startswith("E  ")]
        reason = (
            " ".join(line[1:].strip() for line in lines[:2])
            if lines
            else (text.strip().splitlines() or ["?"])[-1]
        )
        self.job.row(test.removeprefix("tests/"), f"FAILED: {reason[:150]}")


def run(job: Job) -> None:
    """Run them and count."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.setdefault("WSSS_REFERENCE", str(job.folder / "glnet_reference"))
    files = [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "mark.gpu" in path.read_text()
    ]
    rows = Rows(job, len(files))
    # warnings of another machine's packages are not what is tested
    options = ["-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", "--durations=10"]
    options += ["--continue-on-collection-errors"]
    cores = os.cpu_count() or 1
    if job.device.type != "cpu" and cores > 4 and importlib.util.find_spec("xdist"):
        os.environ["OMP_NUM_THREADS"] = "1"
        options += ["-p", "xdist.plugin", "-n", str(min(14, cores - 2)), "--dist=worksteal"]
    pytest.main([*options, *files], plugins=[rows])
    job.failed += rows.counts["failed"]
