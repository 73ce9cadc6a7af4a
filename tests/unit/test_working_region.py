"""What of a photo is worked on and at what size, over random sizes, aspects and masks."""

import numpy as np
import pytest
import torch
from retrace_pack.samplers.working_region import NARROWEST, WORTH_A_CROP, Region, region_around, resized, working_size


@pytest.mark.parametrize("seed", range(60))
def test_a_working_size_keeps_aspect_and_pixels(seed):
    rng = np.random.default_rng(seed)
    side = int(rng.choice([128, 512, 768, 1024]))
    width, height = (int(each) for each in rng.integers(side // 3, 5000, 2))
    wide, high = working_size(width, height, side)
    assert wide % 8 == high % 8 == 0 and min(wide, high) >= 64
    assert 0.7 < wide * high / side**2 < 1.55 or min(wide, high) == 64
    # Each side is off by at most half of a multiple of eight.
    assert abs(wide - high * width / height) <= 4 + 4 * width / height + 1e-6 or min(wide, high) == 64


def test_other_multiples_hold_for_the_size_and_for_the_crop():
    assert working_size(4000, 3000, 1024, 16) == (1184, 880) and working_size(1000, 1000, 1024, 16) == (1024, 1024)
    assert working_size(1000, 1000, 1024, 8) == (1000, 1000)
    mask = torch.zeros(1, 2000, 3000)
    mask[:, 900:1210, 1400:1500] = 1
    region = region_around(mask, 512, 0.5, 16)
    assert (region.width, region.height) == working_size(region.width, region.height, 512, 16) == (432, 640)
    assert region_around(mask, 512, 0.5).width % 16 == 8


@pytest.mark.parametrize(
    ("photo", "side", "expected"),
    [
        ((512, 768), 512, (512, 768)), ((512, 512), 512, (512, 512)), ((4000, 3000), 512, (592, 440)),
        ((3000, 4000), 1024, (888, 1184)), ((500, 500), 512, (512, 512)), ((100, 80), 512, (576, 456)),
        ((10000, 200), 512, (3624, 72)), ((20000, 100), 512, (7240, 64)),
    ],
)  # fmt: skip
def test_examples_of_working_sizes(photo, side, expected):
    assert working_size(*photo, side) == expected


@pytest.mark.parametrize("seed", range(80))
def test_a_crop_holds_the_mask_and_as_many_pixels_as_the_model_takes(seed):
    rng = np.random.default_rng(seed)
    width, height = (int(each) for each in rng.integers(40, 900, 2))
    side, context = int(rng.choice([64, 128, 256])), float(rng.choice([0, 0.25, 0.5, 1]))
    mask = torch.zeros(int(rng.integers(1, 3)), height, width)
    for row in mask:
        top, left = int(rng.integers(height)), int(rng.integers(width))
        row[top : top + int(rng.integers(1, 80)), left : left + int(rng.integers(1, 80))] = float(rng.random()) + 0.01
    region = region_around(mask.clamp(max=1), side, context)
    assert int(region.cut(mask).count_nonzero()) == int(mask.count_nonzero())
    assert 0 <= region.x <= region.x + region.width <= width and 0 <= region.y <= region.y + region.height <= height
    if region == Region(0, 0, width, height):
        return
    assert region.width * region.height <= WORTH_A_CROP * width * height
    assert region.width * region.height >= side**2
    lacks = region.width == width or region.height == height
    assert lacks or min(region.width, region.height) >= NARROWEST * max(region.width, region.height) - 8
    assert (region.width % 8 == 0 or region.width == width) and (region.height % 8 == 0 or region.height == height)


def test_a_crop_of_the_models_size_is_not_resized():
    mask = torch.zeros(1, 2000, 3000)
    mask[:, 990:1010, 1490:1510] = 1
    region = region_around(mask, 512, 0.5)
    assert region == Region(1244, 744, 512, 512)
    assert working_size(region.width, region.height, 512) == (512, 512)
    image = torch.rand(1, 64, 64, 3)
    assert resized(image, 64, 64) is image


def test_nothing_masked_is_the_whole_picture():
    assert region_around(torch.zeros(1, 50, 70), 64, 0.5) == Region(0, 0, 70, 50)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 11, 5), (0, 3, 5, 6), (2, 2, 0, 5)])
def test_a_region_outside_the_picture_is_refused(box):
    picture = torch.zeros(1, 8, 10, 3)
    with pytest.raises(ValueError, match="does not lie in the picture of 10 x 8; connect the region"):
        Region.of(dict(zip(("x", "y", "width", "height"), box, strict=True)), picture)
    assert Region.of({"x": 2, "y": 3, "width": 8, "height": 5}, picture) == Region(2, 3, 8, 5)


def test_resizing_up_and_down_keeps_a_smooth_picture():
    ramp = torch.linspace(0.2, 0.8, 120)
    picture = torch.stack([ramp.expand(80, 120), ramp.flip(0).expand(80, 120), ramp.expand(80, 120) ** 2], -1)[None]
    small = resized(picture, 48, 32)
    assert small.shape == (1, 32, 48, 3)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    torch.testing.assert_close(resized(small, 120, 80)[inner], picture[inner], atol=2e-3, rtol=0)
