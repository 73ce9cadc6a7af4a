"""An edit at working size in a photo of any size: outside the mask no bit changes, nor in the photo's eight bits."""

from typing import get_args

import numpy as np
import pytest
import torch
from retrace_pack.samplers.region_composite import KeptTexture, composite_region
from retrace_pack.samplers.working_region import Region, region_around, resized, working_size


def photo(rng, height, width, batch=1):
    """As a file holds it: eight bits a channel."""
    return torch.from_numpy(rng.integers(0, 256, (batch, height, width, 3)).astype(np.float32) / 255)


@pytest.mark.parametrize("seed", range(60))
def test_outside_the_mask_every_bit_is_the_photos(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(each) for each in rng.integers(64, 400, 2))
    source = photo(rng, height, width)
    mask = torch.zeros(1, height, width)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    mask[:, top : top + int(rng.integers(1, 120)), left : left + int(rng.integers(1, 120))] = 1
    region = Region(0, 0, width, height) if rng.random() < 0.3 else region_around(mask, 64, 0.5)
    wide, high = working_size(region.width, region.height, 64)
    rows = int(rng.integers(1, 3))
    edited = torch.from_numpy(rng.random((rows, high, wide, 3), np.float32))
    trip = torch.from_numpy(rng.random((1, high, wide, 3), np.float32)).expand(rows, -1, -1, -1)
    given = region.cut(mask)
    if rng.random() < 0.5:
        given = resized(given[..., None], wide, high)[..., 0].clamp(0, 1)
    done = composite_region(
        source, edited, given, int(rng.integers(0, 9)), bool(rng.random() < 0.3), "feather", region,
        trip if rng.random() < 0.5 else None, str(rng.choice(get_args(KeptTexture))),
    )  # fmt: skip
    assert done.picture.shape == (rows, height, width, 3) and done.weight.shape == (rows, height, width)
    kept = done.weight == 0
    originals = source.expand_as(done.picture)
    assert torch.equal(done.picture[kept], originals[kept])
    eight_bits = (done.picture * 255).round().to(torch.uint8)
    assert torch.equal(eight_bits[kept], (originals * 255).round().to(torch.uint8)[kept])
    assert not bool((done.weight[~kept] < 1 / 255).any())
    assert float(done.picture.min()) >= 0 and float(done.picture.max()) <= 1
    # The weight does not reach beyond the mask, except by the pixels over which a smaller mask is enlarged.
    beyond = torch.nn.functional.max_pool2d(mask[:, None], 33, 1, 16)[:, 0] == 0
    assert not bool(done.weight[beyond.expand_as(done.weight)].any())
    if torch.equal(given, region.cut(mask)):
        assert not bool(done.weight[(mask == 0).expand_as(done.weight)].any())


def test_the_difference_is_added_and_texture_stays():
    rng = np.random.default_rng(0)
    source = 0.25 + 0.5 * photo(rng, 160, 240)
    region = Region(0, 0, 240, 160)
    trip = resized(source, 72, 48)
    edited = trip + torch.tensor([0.1, 0.0, -0.1])
    done = composite_region(source, edited, torch.ones(1, 48, 72), 0, False, "feather", region, trip).picture
    torch.testing.assert_close(done, source + torch.tensor([0.1, 0.0, -0.1]), atol=1e-5, rtol=0)
    fitted = composite_region(
        source, edited, torch.ones(1, 48, 72), 0, False, "feather", region, trip, "everywhere, edges too"
    ).picture
    torch.testing.assert_close(fitted, done, atol=1e-3, rtol=0)
    same = composite_region(source, trip, torch.ones(1, 48, 72), 3, False, "feather", region, trip).picture
    assert torch.equal(same, source)


def test_around_the_change_texture_stays_and_what_was_replaced_leaves_no_ghost():
    rng = np.random.default_rng(0)
    source = 0.25 + 0.5 * photo(rng, 192, 288)
    region = Region(0, 0, 288, 192)
    trip = resized(source, 96, 64)
    edited = trip.clone()
    edited[:, 16:48, 8:40] = torch.tensor([1.0, 0.0, 0.0])
    done = composite_region(
        source, edited, torch.ones(1, 64, 96), 0, False, "feather", region, trip, "around the change"
    ).picture
    assert torch.equal(done[:, :, 168:], source[:, :, 168:])
    enlarged = resized(edited, 288, 192).clamp(0, 1)
    inside = slice(None), slice(60, 132), slice(36, 108)
    torch.testing.assert_close(done[inside], enlarged[inside], atol=1e-5, rtol=0)
    everywhere = composite_region(source, edited, torch.ones(1, 64, 96), 0, False, "feather", region, trip).picture
    assert float((everywhere[inside] - enlarged[inside]).abs().mean()) > 0.02, "the old texture is the ghost"


def test_without_a_round_trip_the_edit_itself_is_enlarged_into_the_region():
    source = torch.zeros(1, 60, 80, 3)
    region = Region(16, 8, 40, 24)
    edited = torch.full((1, 64, 104, 3), 0.5)
    done = composite_region(source, edited, torch.ones(1, 64, 104), 0, False, "feather", region).picture
    assert torch.allclose(region.cut(done), torch.tensor(0.5), atol=1e-6)
    region.cut(done)[:] = 0
    assert not bool(done.any())


def test_a_round_trip_of_another_size_is_refused():
    source, edited = torch.zeros(1, 60, 80, 3), torch.zeros(1, 64, 104, 3)
    with pytest.raises(ValueError, match="the round trip is 64 x 104, the edited image 104 x 64; decode both"):
        composite_region(
            source,
            edited,
            torch.ones(1, 64, 104),
            0,
            False,
            "feather",
            Region(0, 0, 80, 60),
            torch.zeros(1, 104, 64, 3),
        )
