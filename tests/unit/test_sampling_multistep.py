"""The second-order samplers against k-diffusion's own form, against the exact solution, and step by step."""

import math

import pytest
import torch
from retrace_pack.samplers.multistep import sample_multistep, slope_weights

RULES = ["dpm++ 2m", "res 2m"]
SIGMAS = torch.tensor([9.0, 5.0, 2.5, 1.5, 0.4, 0.1, 0.0], dtype=torch.float64)


def published_dpmpp_2m(denoise, x, sigmas):
    """Algorithm 2 of Lu et al. 2022 as in k-diffusion's `sample_dpmpp_2m`, with t = -log(sigma)."""
    old = None
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        t, t_next = -sigmas[i].log(), -sigmas[i + 1].log()
        h = t_next - t
        if old is None or sigmas[i + 1] == 0:
            x = (sigmas[i + 1] / sigmas[i]) * x - (-h).expm1() * denoised
        else:
            r = (t + sigmas[i - 1].log()) / h
            x = (sigmas[i + 1] / sigmas[i]) * x - (-h).expm1() * ((1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * old)
        old = denoised
    return x


def published_res_2m(denoise, x, sigmas):
    """The multistep rule of Zhang et al. 2023 with their phi functions: b_2 = -phi_2(-h) / c_2, where c_2 = -h_old / h."""

    def phi_1(z):
        return math.expm1(z) / z

    def phi_2(z):
        return (phi_1(z) - 1) / z

    old = None
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        if sigmas[i + 1] == 0:
            x = denoised
        elif old is None:
            x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
        else:
            h = float((sigmas[i] / sigmas[i + 1]).log())
            c_2 = -float((sigmas[i - 1] / sigmas[i]).log()) / h
            b_2 = phi_2(-h) / c_2
            x = math.exp(-h) * x + h * ((phi_1(-h) - b_2) * denoised + b_2 * old)
        old = denoised
    return x


@pytest.mark.parametrize(("rule", "published"), [("dpm++ 2m", published_dpmpp_2m), ("res 2m", published_res_2m)])
def test_it_equals_the_published_rule(toy64, randn, rule, published):
    denoise, x = toy64(3.0), 9 * randn(1)
    torch.testing.assert_close(sample_multistep(denoise, x, SIGMAS, rule), published(denoise, x, SIGMAS))


@pytest.mark.parametrize("rule", RULES)
def test_it_is_of_second_order(randn, rule):
    """Gaussian data of variance s^2 has x(sigma) = x(0) sqrt(s^2 + sigma^2) / s; twice the steps, a quarter of the error."""
    spread = 0.7

    def error(steps):
        sigmas = torch.logspace(1.0, -1.5, steps + 1, dtype=torch.float64)
        truth = randn(1) * (spread**2 + sigmas.view(-1, 1, 1, 1, 1) ** 2).sqrt()
        result = sample_multistep(lambda x, s: x * spread**2 / (spread**2 + s**2), truth[0], sigmas, rule)
        return float((result - truth[-1]).abs().max())

    assert 3.3 < error(40) / error(80) < 4.7 and 3.5 < error(80) / error(160) < 4.5


def test_the_rules_differ_in_the_third_order_only():
    """Where h is small both weights are h^2 / (2 h_old): dpm++ 2m's is the other's to first order."""
    weights = [slope_weights(torch.logspace(0, -0.02, 3, dtype=torch.float64), rule)[1] for rule in RULES]
    h = 0.01 * math.log(10)
    assert torch.stack(weights).sub(h / 2).abs().max() < h**2 / 2
    assert weights[0] != weights[1]


def test_one_call_a_step_and_what_is_reported(toy64, randn):
    reported, denoise, x = [], toy64(), randn(1)
    changed = sample_multistep(
        denoise, x, SIGMAS, callback=lambda *step: reported.append(step), after_step=lambda step, state: state + step
    )
    assert [(step, float(sigma)) for step, _, sigma, _ in reported] == list(enumerate(SIGMAS[:-1].tolist()))
    assert torch.equal(reported[0][1], randn(1)) and torch.equal(x, randn(1))
    # The step to level 0 gives the predicted image.
    torch.testing.assert_close(changed, reported[-1][3] + 5)


@pytest.mark.parametrize("sigmas", [[0.0, 1.0, 2.0], [1.0], [2.0, 1.0, 1.0, 0.0]])
@pytest.mark.parametrize("rule", RULES)
def test_sigmas_that_do_not_strictly_descend_are_refused(toy64, randn, sigmas, rule):
    with pytest.raises(ValueError, match="do not strictly descend from noise to image"):
        sample_multistep(toy64(), randn(1), torch.tensor(sigmas), rule)
