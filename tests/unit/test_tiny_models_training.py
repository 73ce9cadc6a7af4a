"""tests/tiny_models/training.py: an interrupted stage resumes as if nothing had happened."""

from dataclasses import replace

import pytest
import torch
from tiny_models import autoencoder
from tiny_models.training import Plan, fit
from tiny_models.work import Work

PLAN = Plan("toy", iterations=12, learning_rate=0.05, warm_up=3, save_every=4, log_every=1, look_every=5)


class Killed(Exception):  # noqa: N818 (it is no error of the loop)
    """Stands for a kill: the loop ends on the spot, without cleaning up."""


def toy() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def loss_that_stops_at(losses: list[float], last: int | None = None):
    def loss_of(model, iteration, generator):
        if iteration == last:
            raise Killed
        x = torch.randn(16, 3, generator=generator)
        loss = (model(x) - x.prod(dim=1, keepdim=True)).square().mean()
        losses.append(loss.item())
        return loss

    return loss_of


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("last", [1, 4, 7, 11])
def test_a_killed_run_goes_on_with_the_same_losses(tmp_path, last, muon):
    plan = replace(PLAN, muon=muon)
    whole, before, after = [], [], []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    expected = fit(plan, toy(), loss_that_stops_at(whole), tmp_path / "whole", lambda line: None)
    with pytest.raises(Killed):
        fit(plan, toy(), loss_that_stops_at(before, last), tmp_path / "cut", lambda line: None)
    average = fit(plan, toy(), loss_that_stops_at(after), tmp_path / "cut", lambda line: None)
    assert len(after) == PLAN.iterations - last // PLAN.save_every * PLAN.save_every
    assert before == whole[:last]
    assert after == whole[-len(after) :]
    for ours, theirs in zip(average.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_frozen_is_neither_trained_nor_kept(tmp_path):
    model = toy()
    model[0].requires_grad_(False)
    frozen, trained = model[0].weight.clone(), model[2].weight.clone()
    fit(PLAN, model, loss_that_stops_at([]), tmp_path, lambda line: None)
    assert torch.equal(model[0].weight, frozen) and not torch.equal(model[2].weight, trained)
    assert len(torch.load(tmp_path / "toy.state.pt", weights_only=True)["weights"]) == 2


def test_muon_trains_matrices_and_kernels_in_place(tmp_path):
    kernel = torch.nn.Conv2d(1, 4, (1, 3), bias=False).to(memory_format=torch.channels_last)
    model = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 1, 3)), kernel, torch.nn.Flatten(), torch.nn.Linear(4, 1))
    before = [value.clone() for value in model.parameters()]
    fit(replace(PLAN, muon=True), model, loss_that_stops_at([]), tmp_path, lambda line: None)
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_the_rate_warms_up_and_ends_near_zero():
    plan = Plan("toy", iterations=100, learning_rate=1.0, warm_up=10)
    rates = [plan.rate(iteration) for iteration in range(100)]
    assert rates[0] < rates[4] < max(rates) and rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_with_a_cool_down_the_rate_is_constant_before():
    plan = Plan("toy", iterations=100, learning_rate=1.0, warm_up=10, cool_down=20)
    rates = [plan.rate(iteration) for iteration in range(100)]
    assert rates[0] == 0.1 and set(rates[9:81]) == {1.0}
    assert rates[80:] == sorted(rates[80:], reverse=True) and rates[-1] == 1 / 20


def test_it_looks_at_the_average_now_and_then_and_at_the_end(tmp_path):
    seen = []
    fit(PLAN, toy(), loss_that_stops_at([]), tmp_path, lambda line: None, lambda average, done: seen.append(done))
    assert seen == [5, 10, 12]


def test_a_decoder_trained_further_takes_the_place_of_the_first(tmp_path):
    work = Work(tmp_path, pictures=0, threads=1, report=lambda line: None)
    first, further = (autoencoder.build(4, seed) for seed in (0, 1))
    for name, model in (("autoencoder", first), ("decoder", further)):
        work.take_over(name, model.state_dict())
        taken = work.autoencoder().state_dict()
        assert all(torch.equal(taken[key], value) for key, value in model.state_dict().items())
