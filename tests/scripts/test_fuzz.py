"""Malformed inputs through the commands: an answer or one sentence, and nothing lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from robustness.base import prepare
from robustness.fuzz import Fuzzer, Result, table
from robustness.watch import Outcome, fault_of, files_faults

from wsss.config import RunConfig

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, finished: RunConfig) -> Path:
    """The valid inputs, with a finished run."""
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder / "box", finished=finished.run)
    shutil.copytree(folder / "box", folder / "base", symlinks=True)
    return folder


def test_inputs_end_in_an_answer_or_a_sentence(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    fuzzer = Fuzzer(work, seed=16, dearest=0.4)
    results = [fuzzer.try_input(number) for number in range(20)]
    assert [one for one in results if one.is_fault] == []
    assert {one.verdict for one in results} == {"answer", "sentence"}


def test_an_input_is_made_again_by_its_number(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    first, again = (Fuzzer(work, seed=3, dearest=0.4).try_input(5) for _ in range(2))
    assert (first.kind, first.what, first.call, first.said) == (
        again.kind,
        again.what,
        again.call,
        again.said,
    )


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome(0, "x", ""), None),
        (Outcome(2, "", "progress\nwsss: No.\n"), None),
        (Outcome(2, "", "Usage: wsss [OPTIONS]\nError: no such option\n"), None),
        (Outcome(1, "", "Traceback (most recent call last):\n  x\n"), "traceback"),
        (Outcome(0, "", "Traceback (most recent call last):\n  x\n"), "traceback"),
        (Outcome(2, "", "wsss: No.\nwsss: No again.\n"), "2 sentences"),
        (Outcome(2, "", "nothing"), "0 sentences"),
        (Outcome(2, "", "wsss: " + "x" * 2000), "a sentence of 2006 characters"),
    ],
)
def test_fault_of_an_outcome(outcome: Outcome, fault: str | None) -> None:
    assert fault_of(outcome) == fault


def test_files_faults_name_what_was_lost_changed_and_written_elsewhere() -> None:
    before = {"run/a": (1, 1), "run/b": (1, 2), "out/c": (1, 3), "photos/d": (1, 4)}
    after = {"run/b": (1, 9), "out/c": (1, 9), "out/e": (1, 5), "f": (1, 6)}
    found = set(files_faults(before, after, ["out/*"], failed=False))
    assert found == {"run/a is gone", "photos/d is gone", "run/b was changed", "f was written"}
    assert "out/c was changed" in set(files_faults(before, after, ["out/*"], failed=True))


def test_table_counts_by_kind() -> None:
    verdicts = [("masks", "answer"), ("masks", "silent"), ("lists", "sentence")]
    rows = table([Result(0, kind, "", "", verdict) for kind, verdict in verdicts]).splitlines()
    assert rows[2:] == [
        "| lists | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 0 |",
        "| masks | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 0 |",
        "| all | 3 | 1 | 1 | 0 | 1 | 0 | 0 | 0 |",
    ]


@pytest.mark.slow
def test_script_tries_more_inputs() -> None:
    command = [sys.executable, SCRIPT, "--inputs", "150", "--seed", "16", "--no-exported"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "| all | 150 |" in done.stdout
