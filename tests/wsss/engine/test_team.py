"""A team of two forked processes: what they decide, share out and add up."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.processes import in_team
from wsss.engine import team as team_module
from wsss.engine.inference import Steps, process
from wsss.engine.loop import train
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import Schedule
from wsss.engine.team import ALONE, Team, agree
from wsss.errors import WsssError
from wsss.metrics.split_scores import SplitScores

# torch has threads of its own, none of which the forked processes use
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
CPU = torch.device("cpu")


def test_team_of_one_does_everything_itself(tmp_path: Path) -> None:
    counts = np.ones(2, np.int64)
    ALONE.add_up(counts)
    ALONE.require_one_folder(tmp_path)
    ALONE.require_equal(lambda: 1, "a number")
    deal = ALONE.deal([4, 5])
    assert [*deal] == [4, 5] and deal.finish(2) == 2 and len(deal) == 2
    assert ALONE.once(lambda: 3) == 3 and ALONE.gather(3) == [3] and ALONE.others(3) == []
    assert counts.tolist() == [1, 1] and ALONE.total(torch.ones(1)).item() == 1
    with pytest.raises(WsssError, match="own"), ALONE.together():
        raise WsssError("own")


def shared_work(team: Team) -> tuple[Any, ...]:
    counts = np.full(2, team.rank + 1)
    team.add_up(counts)
    deal = team.deal(range(9))
    mine = []
    for item in deal:
        time.sleep(0.1 * team.rank)  # the second is slow
        mine.append(item)
        deal.finish(1)
    team.gather(None)
    decided = team.once(lambda: f"by {team.rank}")
    return counts.tolist(), mine, deal.finish(0) >= 0, decided, team.others(team.rank)


def test_team_deals_adds_up_and_decides_once(tmp_path: Path) -> None:
    first, second = in_team(2, tmp_path, shared_work)
    assert first[0] == second[0] == [3, 3]
    assert sorted(first[1] + second[1]) == list(range(9)) and len(first[1]) > len(second[1])
    assert first[3] == second[3] == "by 0" and (first[4], second[4]) == ([1], [0])


def test_processes_agree_on_a_name_whoever_was_there_before(tmp_path: Path) -> None:
    def name(team: Team) -> str:
        assert team.links is not None
        store = team.links.store
        if team.rank == 0:
            store.set("ask/1", "of one that died")
        team.gather(None)
        return agree(store, team.rank, team.world) + agree(store, team.rank, team.world)

    first, second = in_team(2, tmp_path, name)
    assert first == second and len(first) == 64 and first[:32] != first[32:]


def failing(team: Team) -> None:
    with team.together():
        if team.rank == 1:
            raise WsssError("the second can't read its image")


def failing_once(team: Team) -> None:
    team.once(lambda: int("no number"))


def test_team_ends_together_and_one_says_why(tmp_path: Path) -> None:
    first, second = in_team(2, tmp_path, failing)
    assert first == 2 and "the second can't read" in second
    (tmp_path / "store").unlink()
    first, second = in_team(2, tmp_path, failing_once)
    assert "no number" in first and second == 2


def test_team_refuses_other_data_and_another_folder(tmp_path: Path) -> None:
    def other_data(team: Team) -> None:
        team.require_equal(lambda: team.rank, "The split val of DATA")

    def other_folder(team: Team) -> None:
        team_module.PATIENCE = 0.0
        own = tmp_path / f"disk{team.rank}"
        own.mkdir()
        team.require_one_folder(tmp_path)
        team.require_one_folder(own)

    first, second = in_team(2, tmp_path, other_data)
    assert first == 2 and "The split val of DATA on" in second
    (tmp_path / "store").unlink()
    first, second = in_team(2, tmp_path, other_folder)
    assert first == 2 and "disk1 on" in second and "shared file system" in second
    assert not list(tmp_path.rglob(".team-*"))


def test_process_of_a_team_makes_every_item_once(tmp_path: Path) -> None:
    def read(item: int) -> int:
        if item == 5:
            raise WsssError("item 5 is damaged")
        return item

    def make(team: Team) -> tuple[list[int], int, list[int]]:
        done: list[int] = []
        steps = Steps(read, lambda item: 0, lambda items: items, done.append)
        usage, left_out = process(range(20), steps, Runtime(CPU, team), "test", skip_damaged=True)
        return done, usage.units, left_out

    answers = in_team(2, tmp_path, make)
    assert sorted(i for done, *_ in answers for i in done) == [*range(5), *range(6, 20)]
    assert [answer[1:] for answer in answers] == [(19, [5]), (19, [5])]


def test_scores_of_a_team_are_those_of_one_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (7, 2, 6, 8), np.uint8)

    def score(team: Team) -> dict[str, Any]:
        scores = SplitScores(["cat", "dog"])
        for i in range(team.rank, len(masks), team.world):
            scores.update(*masks[i], i)
        team.add_up(*scores.counts)
        for others in team.others(scores.mious):
            scores.mious |= others
        return {**scores.summary(), "worst": scores.worst(7)}

    assert in_team(2, tmp_path, score) == [score(ALONE)] * 2


class Noise(torch.utils.data.Dataset[tuple[Tensor]]):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor]:
        generator = torch.Generator().manual_seed(100 * index[0] + index[1])
        return (torch.randn(3, 6, 6, generator=generator, dtype=torch.float64),)


class CutShortError(Exception):
    pass


def weights_of(team: Team, folder: Path, cut_at: int | None = None) -> dict[str, Any]:
    """What six steps end with, or the exception where they are cut short."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.GELU(), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(*layers).double()
    steps: list[int] = []

    def loss(trained: nn.Module, batch: Any) -> Tensor:
        if len(steps) == cut_at:
            raise CutShortError
        steps.append(1)
        (images,) = batch
        count = team.total(images.new_tensor(len(images)))
        return (trained(images) - 1).square().mean((1, 2, 3)).sum() / count

    train(
        Runtime(CPU, team),
        model,
        [{"params": list(model.parameters()), "lr": 0.01}],
        Noise(),
        loss,
        Schedule(6, 5, 0, 0.0, 1.0, ema=0.5),  # of five images two have unequal shares
        title="test",
        seed=1,
        checkpoint=folder / "checkpoint.pt",
        log=folder / "log.jsonl",
        save_every=0,
    )
    return {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("cut_at", [None, 3])
def test_training_of_a_team_is_that_of_one_process(tmp_path: Path, cut_at: int | None) -> None:
    (tmp_path / "alone").mkdir()
    alone = weights_of(ALONE, tmp_path / "alone")
    if cut_at is not None:  # and goes on in another number of processes
        with pytest.raises(CutShortError):
            weights_of(ALONE, tmp_path, cut_at)
    for found in in_team(2, tmp_path, lambda team: weights_of(team, tmp_path)):
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
