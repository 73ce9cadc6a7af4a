"""Proximal guidance: P18 of the parity tests, the shrinkage and the pull back to the trajectory."""

import pytest
import torch
from retrace_pack.samplers.proximal import pull_back, shrink

SHAPE = (2, 4, 8, 8)


def randn(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def spot() -> torch.Tensor:
    """A difference that is large at one latent pixel of one channel of the first row, and small elsewhere."""
    difference = 0.01 * randn(1)
    difference[0, 2, 3, 4] = -5.0
    return difference


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.7, 0.99, 1.0])
def test_p18_soft_is_the_references_l0_branch(quantile):
    """The published code: what is left when the difference is reduced by itself, clamped to the threshold."""
    difference = randn(1)[:1]
    threshold = difference.abs().flatten().quantile(quantile)
    expected = difference - difference.clamp(-threshold, threshold)
    torch.testing.assert_close(shrink(difference, quantile, "soft"), expected, rtol=0, atol=1e-6)


def test_p18_the_references_l1_branch_shrinks_twice_and_is_not_ours():
    difference = randn(1)[:1]
    threshold = difference.abs().flatten().quantile(0.7)
    once = shrink(difference, 0.7, "soft")
    twice = once - once.sign() * threshold
    assert bool((twice * difference < 0).any()), "signs turn"
    assert bool((once * difference >= 0).all())


def test_hard_keeps_what_is_above_the_threshold_as_it_is():
    difference = randn(1)[:1]
    threshold = difference.abs().flatten().quantile(0.7)
    result = shrink(difference, 0.7, "hard")
    above = difference.abs() > threshold
    assert torch.equal(result[above], difference[above])
    assert not result[~above].any()
    assert float(above.float().mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("shrinkage", ["soft", "hard"])
@pytest.mark.parametrize("factor", [-14.6, 0.03])
def test_scaling_the_difference_scales_the_result(shrinkage, factor):
    """So that it may be taken in x0 as well as in eps: x0 = x - sigma eps."""
    difference = randn(1)
    expected = factor * shrink(difference, 0.7, shrinkage)
    torch.testing.assert_close(shrink(factor * difference, 0.7, shrinkage), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shrinkage", ["soft", "hard"])
def test_every_row_has_its_own_threshold(shrinkage):
    """A row beside one a hundred times as large is treated as it is alone."""
    difference = randn(1) * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    alone = torch.cat([shrink(row[None], 0.7, shrinkage) for row in difference])
    assert torch.equal(shrink(difference, 0.7, shrinkage), alone)
    assert torch.count_nonzero(alone[0]) == torch.count_nonzero(alone[1]) > 0
    x, path = randn(2), randn(3)
    rows = zip(x.split(1), path.split(1), difference.split(1), strict=True)
    pulled = torch.cat([pull_back(*row, 0.5, 0.7, 1) for row in rows])
    assert torch.equal(pull_back(x, path, difference, 0.5, 0.7, 1), pulled)


@pytest.mark.parametrize("shrinkage", ["soft", "hard"])
def test_no_difference_stays_none(shrinkage):
    """Equal prompts: nothing is guided, nothing is edited, all is pulled back."""
    nothing = torch.zeros(SHAPE)
    assert not shrink(nothing, 0.7, shrinkage).any()
    assert torch.equal(pull_back(randn(2), randn(3), nothing, 1.0, 0.7, 1), randn(2) + (randn(3) - randn(2)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype):
    """torch.quantile itself takes no half."""
    difference = randn(1).to(dtype)
    assert shrink(difference, 0.7, "soft").dtype == shrink(difference, 0.7, "hard").dtype == dtype
    assert pull_back(randn(2).to(dtype), randn(3).to(dtype), difference, 0.5, 0.7, 1).dtype == dtype


@pytest.mark.parametrize("dilation", [0, 1, 2])
def test_the_pull_back_spares_what_is_edited_and_its_surroundings(spot, dilation):
    x, path = randn(2), randn(3)
    edited = torch.zeros(SHAPE, dtype=torch.bool)
    edited[0, 2, 3 - dilation : 4 + dilation, 4 - dilation : 5 + dilation] = True
    # A quantile just below 1: only the largest of a row's 256 entries is above it, in the second row one of the small ones.
    result = pull_back(x, path, spot, 0.25, 0.999, dilation)[0]
    assert torch.equal(result[edited[0]], x[0][edited[0]])
    torch.testing.assert_close(result[~edited[0]], (0.75 * x[0] + 0.25 * path[0])[~edited[0]])


def test_full_strength_lays_the_rest_on_the_trajectory(spot):
    x, path = randn(2), randn(3)
    result = pull_back(x, path, spot, 1.0, 0.7, 0)
    edited = shrink(spot, 0.7, "hard") != 0
    torch.testing.assert_close(result, torch.where(edited, x, path))


def test_no_strength_is_the_identity(spot):
    assert torch.equal(pull_back(randn(2), randn(3), spot, 0.0, 0.7, 1), randn(2))


def test_the_inputs_are_not_changed():
    tensors = randn(1), randn(2), randn(3)
    pull_back(*tensors, 0.5, 0.7, 1)
    for shrinkage in ("soft", "hard"):
        shrink(tensors[2], 0.7, shrinkage)
    assert all(torch.equal(tensor, randn(seed)) for seed, tensor in enumerate(tensors, start=1))
