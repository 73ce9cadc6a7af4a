"""What the exact inversions share: P11 of the parity tests, pairs, batches, and what is refused."""

import re

import pytest
import torch
from retrace_pack.inversion import methods
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()
METHODS = {
    name.upper(): (method.invert, method.sample) for name, method in methods.METHODS.items() if method.stores == "pair"
}
TWO_STEP = ["BDIA", "O-BELM"]


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("method", METHODS)
def test_p11_the_round_trip_is_the_identity_from_every_level(sigma_table, toy64, randn, method, guidance):
    invert, sample = METHODS[method]
    schedule = make_schedule(sigma_table, 50)
    denoise, x = toy64(guidance), randn(2)
    pairs = invert(denoise, x, schedule.ascending_sigmas, path=PATH).pairs
    for level in (1, 2, 23, 24, 50):
        back = sample(denoise, pairs[level], schedule.sigmas[50 - level :], path=PATH)
        assert float((back - x).square().mean()) < 1e-20


@pytest.mark.parametrize("method", METHODS)
def test_it_may_begin_above_level_0(sigma_table, toy64, randn, method):
    invert, sample = METHODS[method]
    schedule = make_schedule(sigma_table, 10, terminal="first")
    pairs = invert(toy64(3.0), randn(2), schedule.ascending_sigmas, path=PATH).pairs
    torch.testing.assert_close(sample(toy64(3.0), pairs[-1], schedule.sigmas, path=PATH), randn(2))


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_its_rows(sigma_table, toy64, randn, method):
    invert, sample = METHODS[method]
    schedule = make_schedule(sigma_table, 6)
    pairs = invert(toy64(3.0), randn(3), schedule.ascending_sigmas, path=PATH).pairs
    images = sample(toy64(7.5), pairs[-1], schedule.sigmas, path=PATH)
    for row in range(len(images)):
        alone = invert(toy64(3.0), randn(3)[[row]], schedule.ascending_sigmas, path=PATH).pairs
        torch.testing.assert_close(alone, pairs[:, :, [row]])
        torch.testing.assert_close(sample(toy64(7.5), alone[-1], schedule.sigmas, path=PATH), images[[row]])


@pytest.mark.parametrize("method", TWO_STEP)
def test_a_pair_is_a_state_and_the_one_below(sigma_table, toy64, randn, method):
    pairs = METHODS[method][0](toy64(), randn(1), make_schedule(sigma_table, 10).ascending_sigmas, path=PATH).pairs
    assert pairs.shape == (11, 2, *randn(1).shape) and pairs.dtype == torch.float64
    assert torch.equal(pairs[0, 0], pairs[0, 1]) and torch.equal(pairs[1:, 1], pairs[:-1, 0])


@pytest.mark.parametrize("method", TWO_STEP)
def test_the_network_is_evaluated_once_a_step_in_float32_and_the_pair_saves_the_first_step_back(
    sigma_table, randn, method
):
    invert, sample = METHODS[method]
    schedule = make_schedule(sigma_table, 4)
    ascending = schedule.ascending_sigmas
    evaluated, heard = [], []

    def denoise(x, sigma):
        evaluated.append((x.dtype, float(sigma)))
        return 0.5 * x

    def listen(*step):
        heard.append(step)

    pairs = invert(denoise, randn(1).float(), ascending, callback=listen, path=PATH).pairs
    levels = [(torch.float32, float(sigma)) for sigma in ascending.float()]
    assert evaluated == [levels[1], *levels[1:-1]]
    assert [(step, float(sigma)) for step, _, sigma, _ in heard] == list(enumerate(ascending[1:].tolist()))
    evaluated.clear(), heard.clear()
    sample(denoise, pairs[-1], schedule.sigmas, callback=listen, path=PATH)
    assert evaluated == levels[-2:0:-1]
    assert [(step, float(sigma)) for step, _, sigma, _ in heard] == list(enumerate(schedule.sigmas[:-1].tolist()))[1:]
    assert all(x.shape == denoised.shape == randn(1).shape for _, x, _, denoised in heard)


@pytest.mark.parametrize("method", METHODS)
def test_the_input_is_not_changed(sigma_table, toy64, randn, method):
    invert, sample = METHODS[method]
    schedule = make_schedule(sigma_table, 4)
    x = randn(1)
    pair = invert(toy64(), x, schedule.ascending_sigmas, path=PATH).pairs[-1]
    before = pair.clone()
    sample(toy64(), pair, schedule.sigmas, path=PATH)
    assert torch.equal(x, randn(1)) and torch.equal(pair, before)


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [0.0], [0.0, 0.0, 1.0], [-1.0, 1.0], [0.0, float("nan")]])
@pytest.mark.parametrize("method", METHODS)
def test_sigmas_that_do_not_ascend_are_refused(toy64, randn, method, sigmas):
    with pytest.raises(ValueError, match=f"{method} inversion.*do not ascend strictly from image to noise"):
        METHODS[method][0](toy64(), randn(1), torch.tensor(sigmas), path=PATH)


@pytest.mark.parametrize("sigmas", [[0.0, 1.0, 2.0], [0.0], [1.0, 0.0, 0.0]])
@pytest.mark.parametrize("method", METHODS)
def test_sigmas_that_do_not_descend_are_refused(toy64, randn, method, sigmas):
    with pytest.raises(ValueError, match=f"{method} sampling.*do not descend strictly from noise to image"):
        METHODS[method][1](toy64(), torch.stack([randn(1)] * 2), torch.tensor(sigmas), path=PATH)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_state_is_refused(sigma_table, toy64, randn, method):
    message = f"{method} sampling: a pair of states [2, B, C, H, W] is needed to walk back, not [2, 4, 8, 8]"
    with pytest.raises(ValueError, match=re.escape(message)):
        METHODS[method][1](toy64(), randn(1), make_schedule(sigma_table, 4).sigmas, path=PATH)
