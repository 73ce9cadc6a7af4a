"""Where an edit changed the picture: all of the change, little else, and nothing where nothing changed."""

import pytest
import torch
from retrace_pack.samplers.changed_region import changed_region


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_equal_picture_has_no_changed_region_nor_has_a_decoders_noise():
    before = rand(1, 96, 128, 3)
    assert not bool(changed_region(before, before, 0.06, 8, 4).any())
    noisy = before + 0.03 * (rand(2, 96, 128, 3, seed=1) - 0.5)
    assert not bool(changed_region(noisy, before, 0.06, 8, 4).any())


@pytest.mark.parametrize("size", [(128, 128), (384, 512)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_change_of_one_channel_is_found_and_the_rest_stays(size, channel):
    height, width = size
    before = rand(1, height, width, 3) * 0.6 + 0.1
    edited = before + 0.02 * (rand(1, height, width, 3, seed=1) - 0.5)
    box = (slice(None), slice(height // 4, height // 2), slice(width // 4, width // 2))
    edited[(*box, channel)] += 0.25
    mask = changed_region(edited, before, 0.06, 0, 0)
    assert float(mask[box].mean()) > 0.97
    outside = torch.ones_like(mask)
    outside[
        :,
        height // 4 - height // 32 : height // 2 + height // 32,
        width // 4 - height // 32 : width // 2 + height // 32,
    ] = 0
    assert not bool((mask * outside).any())
    grown = changed_region(edited, before, 0.06, 5, 4)
    assert float(grown[box].min()) > 0.9 and float(grown.sum()) > float(mask.sum())
    assert bool(((grown > 0) & (grown < 1)).any())


def test_a_strong_change_does_not_hide_a_weaker_one():
    before = torch.zeros(1, 64, 64, 3)
    edited = before.clone()
    edited[:, 8:24], edited[:, 40:56] = 0.9, 0.3
    mask = changed_region(edited, before, 0.06, 0, 0)
    assert bool(mask[:, 10:22].all()) and bool(mask[:, 42:54].all()) and not bool(mask[:, 28:36].any())
    edited[:] = 0.3
    edited[:, 8:24] = 0.9
    assert bool(changed_region(edited, before, 0.06, 0, 0).all())


def test_each_edit_of_a_batch_has_a_region_of_its_own():
    before = torch.zeros(1, 64, 64, 3)
    edited = before.repeat(2, 1, 1, 1)
    edited[0, :16], edited[1, 48:] = 0.5, 0.1
    mask = changed_region(edited, before, 0.06, 0, 0)
    assert bool(mask[0, :14].all()) and not bool(mask[0, 20:].any())
    assert bool(mask[1, 50:].all()) and not bool(mask[1, :44].any())


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(
        ValueError, match="the edit is 8 x 8 with 3 channels, the picture before it 16 x 8 with 3 channels;"
    ):
        changed_region(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 16, 3), 0.1, 0, 0)
    with pytest.raises(ValueError, match="there are 3 edits and 2 pictures before them; give one picture for all"):
        changed_region(torch.zeros(3, 8, 8, 3), torch.zeros(2, 8, 8, 3), 0.1, 0, 0)
