"""Mask preparation: thin strokes, holes, edges, sizes, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from retrace_pack.samplers.blend_mask import (
    checked_mask,
    feather_mask,
    fill_holes,
    grow_mask,
    pad_image,
    pad_mask,
    snap_mask,
    to_latent_size,
)


def stroke(width: int, at: int = 20, size: int = 64) -> torch.Tensor:
    mask = torch.zeros(1, size, size)
    mask[:, :, at : at + width] = 1
    return mask


@pytest.mark.parametrize("width", range(1, 9))
def test_thin_strokes_survive_by_area_and_by_maximum_where_nearest_loses_them(width):
    lost = 0
    for at in range(16, 24):
        mask = stroke(width, at)
        area, maximum = to_latent_size(mask, "area"), to_latent_size(mask, "maximum")
        assert maximum.max() == 1 and area.sum() == pytest.approx(mask.sum() / 64)
        assert torch.equal(maximum > 0, area > 0)
        nearest = F.interpolate(mask[:, None], scale_factor=1 / 8, mode="nearest")
        lost += int(nearest.max() == 0)
    assert lost == 8 - width


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 63), (7, 1), (8, 9), (129, 250)])
def test_every_pixel_has_its_latent_also_in_odd_sizes(height, width):
    mask = torch.zeros(2, height, width)
    mask[0, -1, -1] = 1
    mask[1, 0, 0] = 1
    latent = to_latent_size(mask, "maximum")
    assert latent.shape == (2, -(-height // 8), -(-width // 8))
    assert latent[0, -1, -1] == 1 and latent[1, 0, 0] == 1
    assert torch.equal(to_latent_size(torch.ones(1, height, width), "area"), torch.ones_like(latent[:1]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_stay_so(value):
    mask = torch.full((1, 20, 30), value)
    for changed in (
        fill_holes(mask), grow_mask(mask, 3), grow_mask(mask, -3), feather_mask(mask, 6), snap_mask(mask, 0.1),
    ):  # fmt: skip
        torch.testing.assert_close(changed, mask)


def test_growing_and_shrinking_move_the_edge_by_so_many_pixels():
    mask = torch.zeros(1, 32, 32)
    mask[:, 10:20, 12:18] = 1
    grown = grow_mask(mask, 3)
    assert grown[0, 7:23, 9:21].all() and grown.sum() == 16 * 12
    assert torch.equal(grow_mask(grown, -3), mask)
    assert torch.equal(grow_mask(mask, 0), mask)
    soft = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert bool((grow_mask(soft, 1) >= soft).all()) and bool((grow_mask(soft, -1) <= soft).all())


def test_holes_are_filled_and_bays_are_not():
    mask = torch.zeros(2, 16, 16)
    mask[:, 4:12, 4:12] = 1
    mask[:, 6:9, 6:9] = 0.2
    mask[1, 6:9, 8:16] = 0
    filled = fill_holes(mask)
    assert filled[0, 4:12, 4:12].all()
    assert torch.equal(filled[1], mask[1])


def test_feathering_is_a_soft_edge_on_both_sides():
    mask = stroke(32, at=16)
    soft = feather_mask(mask, 4)
    assert float(soft[0, 32, 16]) == pytest.approx(0.5, abs=0.12) and float(soft[0, 32, 32]) == pytest.approx(1)
    assert 0 < float(soft[0, 32, 13]) < 0.5 < float(soft[0, 32, 18]) < 1
    assert torch.equal(feather_mask(mask, 0), mask)
    assert feather_mask(torch.ones(1, 3, 5), 10).shape == (1, 3, 5)


def test_snapping_cleans_what_only_looks_kept():
    mask = torch.tensor([[[0.0, 0.02, 0.05, 0.5, 0.95, 0.98, 1.0]]])
    assert snap_mask(mask, 0.05).tolist()[0][0] == pytest.approx([0, 0, 0, 0.5, 1, 1, 1])
    assert torch.equal(snap_mask(mask, 0), mask)
    for margin in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match=f"snap is {margin}; give 0"):
            snap_mask(mask, margin)


def test_padding_repeats_the_edge():
    image = torch.rand(1, 9, 15, 3, generator=torch.Generator().manual_seed(0))
    padded = pad_image(image)
    assert padded.shape == (1, 16, 16, 3) and torch.equal(padded[:, :9, :15], image)
    assert torch.equal(padded[:, 12, :15], image[:, -1]) and torch.equal(padded[:, :9, 15], image[:, :, -1])
    assert torch.equal(pad_mask(image[..., 0]), padded[..., 0])
    exact = torch.rand(1, 8, 16, 3)
    assert torch.equal(pad_image(exact), exact)


@pytest.mark.parametrize(("mask", "message"), [
    (torch.full((1, 4, 4), float("nan")), "holds NaN or infinite values"),
    (torch.full((1, 4, 4), 255.0), "values run from 255 to 255; a mask lies between 0 and 1"),
    (torch.full((1, 4, 4), -0.5), "values run from -0.5 to -0.5"),
    (torch.zeros(1, 4, 4, 3), r"has the shape \(1, 4, 4, 3\); give a mask"),
    (torch.zeros(0, 4, 4), r"has the shape \(0, 4, 4\)"),
])  # fmt: skip
def test_what_is_no_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        checked_mask(mask)


def test_the_usual_shapes_and_roundings_are_taken():
    assert checked_mask(torch.ones(4, 5)).shape == (1, 4, 5) == checked_mask(torch.ones(1, 1, 4, 5)).shape
    assert float(checked_mask(torch.full((1, 2, 2), 1.00005)).max()) == 1
