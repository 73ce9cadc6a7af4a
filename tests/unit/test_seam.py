"""The seam measure on pictures whose seams are known."""

import pytest
import torch
from retrace_pack.measuring.seam import seam_jump


def box():
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 10:22] = 1
    return mask


def test_a_shade_inside_is_its_own_height_and_a_faded_one_is_less():
    mask = box()
    flat = torch.full((1, 32, 32, 3), 0.4)
    assert float(seam_jump(flat + 0.2 * mask[..., None], mask)) == pytest.approx(0.2, abs=1e-6)
    faded = mask.clone()
    faded[:, 8:24, 10] = faded[:, 8:24, 21] = faded[:, 8, 10:22] = faded[:, 23, 10:22] = 0.5
    assert float(seam_jump(flat + 0.2 * faded[..., None], mask)) == pytest.approx(0.05, abs=0.01)


def test_a_slope_has_no_seam_and_neither_has_a_picture_without_an_edge():
    slope = torch.linspace(0, 1, 32).view(1, 1, 32, 1).expand(2, 32, 32, 3)
    assert seam_jump(slope, box().expand(2, -1, -1)).abs().max() < 1e-6
    assert seam_jump(slope, torch.ones(2, 32, 32)).tolist() == [0, 0]
