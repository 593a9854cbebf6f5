"""Steps, rates, the order of samples and the average of weights, by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from wsss.config import OptimConfig
from wsss.config.schema import TrainSegConfig
from wsss.engine.schedule import Average, SampleOrder, Schedule, schedule_of, steps_of


def schedule(steps: int = 10, batch: int = 4, warmup: int = 0, power: float = 1.0) -> Schedule:
    return Schedule(steps, batch, warmup, power, clip_grad=1.0)


def test_schedule_factor_grows_then_decays() -> None:
    rates = [schedule(10, warmup=4).factor(step) for step in range(10)]
    expected = [0.25, 0.5 * 0.9, 0.75 * 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates == pytest.approx(expected)


def test_schedule_factor_with_power_zero_is_constant() -> None:
    assert [schedule(3, power=0.0).factor(step) for step in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("epochs", "images", "batch", "steps"),
    [(1, 10, 5, 2), (1, 11, 5, 3), (0.5, 10, 5, 1), (2, 3, 8, 1), (0.001, 1, 64, 1)],
)
def test_steps_of_epochs(epochs: float, images: int, batch: int, steps: int) -> None:
    assert steps_of(epochs, images, batch) == steps


def order(first: int = 0, rank: int = 0, world: int = 1, seed: int = 0) -> SampleOrder:
    return SampleOrder(7, schedule(10, batch=4), seed, first, rank, world)


def test_sample_order_holds_each_image_once_an_epoch() -> None:
    samples = [sample for batch in order() for sample in batch]
    assert len(samples) == 40 and len(order()) == 10
    for epoch in range(5):
        assert samples[7 * epoch : 7 * epoch + 7] == [(epoch, i) for e, i in samples if e == epoch]
        assert sorted(i for e, i in samples if e == epoch) == list(range(7))
    assert samples[0:7] != [(0, i) for e, i in samples[7:14]]
    assert samples != [sample for batch in order(seed=1) for sample in batch]


@pytest.mark.parametrize("first", [1, 4, 9, 10])
def test_sample_order_starts_at_any_step(first: int) -> None:
    assert list(order(first)) == list(order())[first:]
    assert len(order(first)) == 10 - first


def test_sample_order_divides_each_batch_among_processes() -> None:
    whole, parts = list(order()), [list(order(rank=rank, world=2)) for rank in (0, 1)]
    for batch, even, odd in zip(whole, *parts, strict=True):
        assert (batch[0::2], batch[1::2]) == (even, odd)


@pytest.mark.parametrize("world", [2, 3])
def test_sample_order_of_parts_does_not_depend_on_the_number_of_processes(world: int) -> None:
    settings = replace(schedule(10, batch=12), accumulate=2)
    whole = list(SampleOrder(7, settings, 0, 0, 0, 1))
    shares = [list(SampleOrder(7, settings, 0, 0, rank, world)) for rank in range(world)]
    for part, *own in zip(whole, *shares, strict=True):
        assert own == [part[rank::world] for rank in range(world)]


def test_sample_order_of_accumulated_batches_holds_the_same_images() -> None:
    parts = SampleOrder(7, replace(schedule(10, batch=4), accumulate=2), 0, 3, 0, 1)
    batches = list(parts)
    assert len(parts) == len(batches) == 14 and {len(batch) for batch in batches} == {2}
    for whole, even, odd in zip(order(3), batches[0::2], batches[1::2], strict=True):
        assert (whole[0::2], whole[1::2]) == (even, odd)


def one_weight(value: float) -> nn.Module:
    model = nn.BatchNorm1d(1)
    nn.init.constant_(model.weight, value)
    return model


def test_average_follows_slowly_and_starts_with_a_short_memory() -> None:
    model = one_weight(0.0)
    average = Average(model, 0.5)
    nn.init.constant_(model.weight, 1.0)
    model.num_batches_tracked.fill_(7)
    average.update(model, 0)  # decay min(0.5, 1 / 10)
    assert average.values["weight"].item() == pytest.approx(0.9)
    average.update(model, 1000)  # decay 0.5
    assert average.values["weight"].item() == pytest.approx(0.95)
    assert average.values["num_batches_tracked"].item() == 7
    assert model.weight.item() == 1.0
    average.apply(model)
    assert model.weight.item() == pytest.approx(0.95)


def test_average_without_decay_changes_nothing() -> None:
    model = one_weight(3.0)
    average = Average(model, 0.0)
    average.update(model, 0)
    average.apply(model)
    assert average.values == {} and torch.equal(model.weight, torch.tensor([3.0]))


@pytest.mark.parametrize(
    ("images", "steps", "warmup"),
    [(60, 15, 3), (10, 3, 0), (1996, 499, 99), (2000, 500, 100), (3032, 758, 100)],
)
def test_schedule_of_warms_up_for_a_fifth_of_the_steps_at_most(
    images: int, steps: int, warmup: int
) -> None:
    found = schedule_of(OptimConfig(epochs=8), images)
    assert (found.steps, found.warmup_steps) == (steps, warmup)
    assert max(found.factor(step) for step in range(steps)) > 0.8


@pytest.mark.parametrize(
    ("decoder", "arguments", "least"),
    [("segformer", {}, 1), ("upernet", {}, 2), ("upernet", {"decoder_use_norm": False}, 1)],
)
def test_schedule_of_a_decoder_that_takes_two_images(
    decoder: str, arguments: dict[str, bool], least: int
) -> None:
    settings = TrainSegConfig.model_validate({"decoder": decoder, "decoder_args": arguments})
    assert schedule_of(settings, 10).least == least
