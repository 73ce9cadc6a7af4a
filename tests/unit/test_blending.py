"""Backgrounds, masks over time and the two forms of blending, against closed forms."""

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.samplers.blending import (
    InvertedImage,
    NoisedImage,
    blend,
    blend_after_steps,
    blend_around_calls,
    masks_over_time,
    steps_of_strength,
)
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

STEPS = 12

# The second grid has its last level twice: linspace ends at the table's first level, and so does this terminal.
both_grids = pytest.mark.parametrize("sigmas", [("leading", "clean"), ("linspace", "first")], indirect=True)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x, sigma):
    """A smooth function that mixes neighbors, so that what lies beside the mask matters."""
    x_vp = PATH.to_unit(x, sigma)
    return 0.7 * torch.tanh(x_vp + 0.3 * x_vp.roll(1, -1) - 0.2 * x_vp.roll(2, -2))


@pytest.fixture
def sigmas(sigma_table, request):
    return make_schedule(sigma_table, STEPS, *getattr(request, "param", ())).sigmas


@pytest.fixture
def inverted(sigmas):
    inversion = invert_ddim(network, randn(2, 4, 8, 8), sigmas.flip(0), fixed_point_iterations=3, path=PATH)
    return InvertedImage(inversion.states, sigmas.flip(0), PATH)


def half(batch=1):
    mask = torch.zeros(batch, 1, 8, 8, dtype=torch.float64)
    mask[..., 4:] = 1
    return mask


@pytest.mark.parametrize(("steps", "strength", "expected"), [
    (20, 1.0, 20), (20, 0.33, 6), (7, 0.33, 2), (7, 0.1, 0), (50, 0.0, 0), (50, 0.5, 25),
])  # fmt: skip
def test_strength_counts_steps_as_diffusers_does(steps, strength, expected):
    assert steps_of_strength(steps, strength) == expected


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_other_strengths_are_refused(strength):
    with pytest.raises(ValueError, match=f"strength is {strength}; give 0"):
        steps_of_strength(20, strength)


@both_grids
def test_the_inverted_background_is_each_state_at_its_level_and_straight_between(inverted, sigmas):
    for state, sigma in zip(inverted.states, inverted.sigmas, strict=True):
        assert torch.allclose(inverted.at(sigma), state, atol=1e-12)
    middle = inverted.at((inverted.sigmas[3] + inverted.sigmas[4]) / 2)
    torch.testing.assert_close(middle, (inverted.states[3] + inverted.states[4]) / 2)
    assert torch.equal(inverted.clean, PATH.to_unit(inverted.states[0], inverted.sigmas[0]))


def test_a_sampler_that_starts_above_the_trajectory_is_refused(inverted):
    with pytest.raises(ValueError, match="above the trajectory's highest level .* the trajectory's own levels"):
        inverted.at(inverted.sigmas[-1] * 1.01)


@both_grids
def test_the_answer_of_the_background_leads_an_ode_step_along_it(inverted):
    """x + (s' - s) (x - x0) / s from each state is the next state, for inverted and for noised images."""
    noised = NoisedImage(randn(2, 4, 8, 8, seed=1), randn(2, 4, 8, 8, seed=2), PATH)
    descending = inverted.sigmas.flip(0)
    for background in (inverted, noised):
        for sigma, sigma_next in zip(descending[:-1], descending[1:], strict=True):
            x = background.at(sigma)
            stepped = x + (sigma_next - sigma) * (x - background.denoised_at(sigma)) / sigma
            assert torch.allclose(stepped, background.at(sigma_next), atol=1e-9)


def test_blend_is_exact_at_both_ends():
    x, kept = randn(1, 4, 8, 8, seed=1), randn(1, 4, 8, 8, seed=2)
    result = blend(x, kept, half())
    assert torch.equal(result[..., :4], kept[..., :4]) and torch.equal(result[..., 4:], x[..., 4:])


def run(background, masks, sigmas, legacy=False, finished=True, start=None):
    x = background.at(sigmas[0]) if start is None else start
    seen = []

    def watched(step, x):
        seen.append(hook(step, x))
        return seen[-1]

    hook = blend_after_steps(background, masks, sigmas, legacy=legacy, finished=finished, path=PATH)
    return sample_ddim(network, x, sigmas, after_step=watched), seen


def test_the_kept_part_is_on_the_trajectory_at_every_level_and_the_image_at_the_end(inverted, sigmas):
    start = sigmas[0] * randn(2, 4, 8, 8, seed=9)
    result, seen = run(inverted, masks_over_time(half(), STEPS), sigmas, start=start)
    for state, sigma in zip(seen, sigmas[1:], strict=True):
        assert torch.allclose(state[..., :4], inverted.at(sigma)[..., :4], atol=1e-12)
    assert torch.equal(result[..., :4], inverted.states[0][..., :4])
    assert not torch.allclose(result[..., 4:], inverted.states[0][..., 4:], atol=0.1)


def test_matched_is_at_the_level_of_the_state_and_legacy_one_level_noisier(sigmas):
    background = NoisedImage(randn(1, 4, 8, 8, seed=1), randn(1, 4, 8, 8, seed=2), PATH)
    masks = masks_over_time(half(), STEPS)
    for legacy, offset in ((False, 1), (True, 0)):
        result, seen = run(background, masks, sigmas, legacy)
        for step, state in enumerate(seen[:-1]):
            level, scale = sigmas[step + offset], sigmas[step + 1]
            expected = background.at(level) / (1 + level**2).sqrt() * (1 + scale**2).sqrt()
            assert torch.allclose(state[..., :4], expected[..., :4], atol=1e-12)
        assert torch.equal(result[..., :4], background.clean[..., :4])


def test_an_unfinished_run_keeps_its_noise_in_both_parts(inverted, sigmas):
    window = sigmas[:6]
    masks = masks_over_time(half(), 5)
    result, _ = run(inverted, masks, window, finished=False)
    assert torch.allclose(result[..., :4], inverted.at(window[-1])[..., :4], atol=1e-12)
    noised = NoisedImage(randn(1, 4, 8, 8, seed=1), randn(1, 4, 8, 8, seed=2), PATH)
    result, _ = run(noised, masks, window, finished=False)
    assert torch.allclose(result[..., :4], noised.at(window[-1])[..., :4], atol=1e-12)


@pytest.mark.parametrize("kind", ["noised", "inverted"])
def test_around_the_calls_equals_after_the_steps_for_hard_masks(inverted, sigmas, kind):
    background = inverted
    if kind == "noised":
        background = NoisedImage(randn(2, 4, 8, 8, seed=1), randn(2, 4, 8, 8, seed=2), PATH)
    for over_time, dilations in (("constant", 0), ("shrinking", 2), ("change map", 0)):
        masks = masks_over_time(half(), STEPS, over_time, dilations)
        after, _ = run(background, masks, sigmas)
        around = blend_around_calls(network, background, masks, sigmas)
        x = sample_ddim(around, background.at(sigmas[0]), sigmas)
        assert torch.allclose(blend(x, background.clean, masks[-1]), after, atol=1e-9), over_time


def test_around_the_calls_a_soft_mask_is_close(sigmas):
    background = NoisedImage(randn(1, 4, 8, 8, seed=1), randn(1, 4, 8, 8, seed=2), PATH)
    soft = torch.linspace(0, 1, 8, dtype=torch.float64).expand(1, 1, 8, 8)
    masks = masks_over_time(soft, STEPS)
    after, _ = run(background, masks, sigmas)
    x = sample_ddim(blend_around_calls(network, background, masks, sigmas), background.at(sigmas[0]), sigmas)
    around = blend(x, background.clean, soft)
    distance, whole = (after - around).square().mean(), (after - background.clean).square().mean()
    assert 0 < float(distance) < 0.25 * float(whole)


def test_progressive_shrinking_is_the_papers_list_of_masks():
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 4, 4] = 1
    steps, dilations = 10, 3
    masks = masks_over_time(mask, steps, "shrinking", dilations)
    # 4 masks, 10 // 4 + 1 = 3 steps each: squares of 7, 5, 3 and 1.
    widths = [int(row[0, 0, 4].sum()) for row in masks]
    assert widths == [7, 7, 7, 5, 5, 5, 3, 3, 3, 1, 1]
    assert [int(row.sum()) for row in masks] == [width**2 for width in widths]
    with pytest.raises(ValueError, match="dilations is -1"):
        masks_over_time(mask, steps, "shrinking", -1)


def test_a_change_map_frees_a_pixel_when_its_time_has_come():
    change = torch.tensor([0.0, 0.1, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
    masks = masks_over_time(change, 4, "change map")[:, 0, 0, 0]
    assert masks.tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]


def test_nothing_is_changed_in_place(inverted, sigmas):
    x, before = inverted.at(sigmas[0]).clone(), inverted.states.clone()
    copy = x.clone()
    hook = blend_after_steps(inverted, masks_over_time(half(), STEPS), sigmas, path=PATH)
    sample_ddim(network, x, sigmas, after_step=hook)
    hook(0, x)
    assert torch.equal(x, copy) and torch.equal(inverted.states, before)
