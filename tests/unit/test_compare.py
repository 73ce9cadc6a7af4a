"""PSNR, SSIM and the heat map against their definitions in closed form."""

import math

import pytest
import torch
from retrace_pack.measuring.compare import compare_images


def picture(seed: int, batch: int = 1, size: int = 32) -> torch.Tensor:
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(seed))


def test_a_constant_offset_has_the_psnr_of_its_square():
    first = picture(0) * 0.5
    result = compare_images(first, first + 0.1)
    assert result.mean_psnr == pytest.approx(20.0, abs=1e-3)


def test_identical_pictures_are_infinitely_close():
    result = compare_images(picture(0), picture(0))
    assert result.psnr == (math.inf,)
    assert result.mean_ssim == pytest.approx(1.0, abs=1e-5)
    assert float(result.heat_map.max()) < 0.05


def test_ssim_of_constant_pictures_is_the_luminance_term():
    """Without variance only (2 a b + c1) / (a^2 + b^2 + c1) is left, c1 = 0.01^2."""
    first, second = torch.full((1, 32, 32, 3), 0.4), torch.full((1, 32, 32, 3), 0.6)
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert compare_images(first, second).mean_ssim == pytest.approx(expected, abs=1e-4)


def test_ssim_falls_where_structure_is_lost_though_psnr_is_the_same():
    first = picture(1) * 0.5 + 0.25
    shifted = first + 0.1
    noisy = first + 0.1 * torch.sign(picture(2) - 0.5)
    same, lost = compare_images(first, shifted), compare_images(first, noisy)
    assert same.mean_psnr == pytest.approx(lost.mean_psnr, abs=1e-3)
    assert same.mean_ssim > lost.mean_ssim + 0.05


def test_each_side_of_a_mask_is_measured_alone():
    first = picture(3) * 0.5
    second = first.clone()
    second[:, :, :16] += 0.1
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    assert compare_images(first, second, mask, "inside").mean_psnr == pytest.approx(20.0, abs=1e-3)
    assert compare_images(first, second, mask, "outside").psnr == (math.inf,)
    assert float(compare_images(first, second, mask, "outside").heat_map[:, :, :16].max()) < 0.05


def test_one_picture_is_compared_with_each_of_a_batch():
    batch = picture(4, batch=3)
    result = compare_images(batch[1:2], batch)
    assert result.psnr[1] == math.inf and len(result.psnr) == 3 and result.heat_map.shape == (3, 32, 32, 3)


def test_the_heat_map_brightens_with_the_difference():
    first, second = torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16, 3)
    second[:, :, 4:8], second[:, :, 8:12], second[:, :, 12:] = 0.05, 0.1, 0.5
    brightness = compare_images(first, second, brightest_at=0.2).heat_map[0, 0].sum(-1)
    assert brightness[0] < brightness[5] < brightness[9] < brightness[13]


@pytest.mark.parametrize(
    ("second", "mask", "region", "message"),
    [
        (picture(0, size=16), None, "all", "the pictures are 32 x 32 and 16 x 16 pixels.*Encoding to a latent crops"),
        (torch.rand(1, 32, 24, 3), None, "all", "the pictures are 32 x 32 and 24 x 32 pixels"),
        (picture(0, batch=2), None, "inside", "region is 'inside', but there is no mask"),
        (picture(0, batch=2), torch.ones(3, 8, 8), "inside", "3 masks were given for 2 pictures"),
        (picture(0, batch=2), torch.ones(1, 8, 8), "outside", "no pixel lies outside the mask"),
        (picture(0, batch=2), torch.full((1, 8, 8), math.nan), "inside", "the mask holds NaN"),
        (picture(0, batch=2), torch.full((1, 8, 8), 3.0), "inside", "the mask's values run from 3 to 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(second, mask, region, message):
    with pytest.raises(ValueError, match=message):
        compare_images(picture(1), second, mask, region)


def test_pictures_that_differ_in_alpha_alone_are_not_infinitely_close():
    color = picture(0)
    opaque, half = (torch.cat([color, torch.full_like(color[..., :1], alpha)], dim=-1) for alpha in (1.0, 0.5))
    for other in (opaque, color):
        with pytest.raises(ValueError, match="the pictures differ in transparency"):
            compare_images(half, other)
    assert compare_images(opaque, color).mean_psnr == math.inf
    assert compare_images(half, half).mean_psnr == math.inf


@pytest.mark.parametrize("size", [(1, 5, 20, 3), (1, 20, 5, 3)])
def test_pictures_smaller_than_the_window_are_refused(size):
    with pytest.raises(ValueError, match="pixels, but SSIM.* at least 6 pixels"):
        compare_images(torch.zeros(size), torch.zeros(size))
    assert compare_images(torch.zeros(1, 6, 6, 3), torch.zeros(1, 6, 6, 3)).mean_ssim == pytest.approx(1, abs=1e-4)


def test_batches_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="equal batches or a single picture"):
        compare_images(picture(0, batch=2), picture(0, batch=3))
