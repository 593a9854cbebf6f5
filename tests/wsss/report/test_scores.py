"""Files of scores: what `evaluate` writes is read, what is damaged is named with the place."""

import json
from pathlib import Path
from typing import Any

import pytest

from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.report.scores import read_metrics, read_scores
from wsss.run.state import Run


def test_read_scores_takes_what_a_run_wrote(finished: RunConfig) -> None:
    run = Run(finished.run)
    paths = sorted(run.evaluations.glob("*.json"))
    assert len(paths) == 4
    for path in paths:
        assert read_scores(path) == json.loads(path.read_text())
    assert read_metrics(run.metrics) == json.loads(run.metrics.read_text())
    assert read_metrics(run.root / "none.json") == {}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"miou": "x"}, "miou"),
        ({"iou": [1]}, "iou"),
        ({"of": "nothing"}, "of"),
        ({"columns": {"single": {}}}, r"columns\.single\.miou"),
        ({"protocol": None}, "protocol"),
    ],
)
def test_read_scores_names_the_place_of_a_fault(
    finished: RunConfig, tmp_path: Path, change: dict[str, Any], where: str
) -> None:
    scores = json.loads(Run(finished.run).evaluation("predictions", "val").read_text())
    (tmp_path / "s.json").write_text(json.dumps({**scores, **change}))
    with pytest.raises(WsssError, match=rf"s\.json isn't .*\({where}: .*wsss evaluate"):
        read_scores(tmp_path / "s.json")
