"""attention/masks and attention/rows: thresholds against brute force, shapes against pixel counts, DiffEdit's formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from retrace_pack.attention.masks import difference_map, map_to_mask, mean_map, otsu_threshold
from retrace_pack.attention.rows import repeat_source
from retrace_pack.samplers.blend_mask import feather_mask


@pytest.mark.parametrize("seed", range(5))
def test_otsu_separates_best(seed):
    """The variance between the classes at every level, by the definition."""
    rng = np.random.default_rng(seed)
    image = np.concatenate([rng.normal(0.3, 0.08, 700), rng.normal(0.75, 0.06, 300)]).clip(0, 1)
    levels = np.linspace(0.01, 0.99, 400)

    def between(level):
        above = image > level
        if above.all() or not above.any():
            return 0.0
        return above.mean() * (1 - above.mean()) * (image[above].mean() - image[~above].mean()) ** 2

    best = max(between(level) for level in levels)
    assert between(otsu_threshold(torch.from_numpy(image))) > 0.999 * best


def test_otsu_takes_the_middle_of_a_gap():
    assert otsu_threshold(torch.tensor([0.1] * 50 + [0.9] * 50)) == pytest.approx(0.5, abs=0.02)


def test_otsu_lies_between_neighboring_bins_of_the_histogram():
    assert otsu_threshold(torch.tensor([100.9] * 50 + [101.1] * 50) / 256) == pytest.approx(101 / 256, abs=1e-6)


def test_a_mean_map_is_stretched_and_normalized_by_image():
    small, large = torch.rand(2, 4, 6), torch.rand(2, 8, 12) * torch.tensor([1.0, 50.0]).view(2, 1, 1)
    mean = mean_map([small, large], (32, 48))
    assert mean.shape == (2, 32, 48)
    for image in mean:
        assert float(image.min()) == 0 and float(image.max()) == pytest.approx(1)
    assert bool(torch.isfinite(mean_map([torch.ones(1, 4, 4)], (8, 8))).all())


def test_a_map_becomes_a_mask():
    maps = torch.zeros(1, 20, 20)
    maps[:, 5:10, 5:12] = 0.8
    assert int(map_to_mask(maps, None, 0, 0).sum()) == 35
    assert int(map_to_mask(maps, 0.9, 0, 0).sum()) == 0
    assert int(map_to_mask(maps, 0.5, 2, 0).sum()) == 9 * 11
    assert int(map_to_mask(maps, 0.5, -1, 0).sum()) == 3 * 5
    soft = map_to_mask(maps, 0.5, 0, 3)
    assert 0 < float(soft[0, 4, 8]) < 0.5 < float(soft[0, 7, 8]) <= 1
    assert float(soft.sum()) == pytest.approx(35, rel=1e-4) and float(soft[0, 0, 0]) < 1e-4


@pytest.mark.parametrize("grow", [-7, -2, -1, 1, 2, 7])
def test_growing_and_shrinking_take_the_whole_square_around_a_pixel(grow):
    maps = torch.rand(2, 24, 17, generator=torch.Generator().manual_seed(0))
    maps[:, 4:20, 3:] += 0.7
    mask, size = (maps > 0.5).float(), 2 * abs(grow) + 1
    pooled = F.max_pool2d(mask if grow > 0 else 1 - mask, size, stride=1, padding=size // 2)
    assert torch.equal(map_to_mask(maps, 0.5, grow, 0), pooled if grow > 0 else 1 - pooled)


def test_an_edge_fades_as_that_of_any_mask():
    maps = torch.rand(2, 24, 17, generator=torch.Generator().manual_seed(0))
    assert torch.equal(map_to_mask(maps, 0.5, 0, 3), feather_mask((maps > 0.5).float(), 3))


def test_each_image_has_its_own_threshold():
    maps = torch.zeros(2, 8, 8)
    maps[0, :4], maps[1, :4], maps[1, 4:] = 0.2, 1.0, 0.6
    assert map_to_mask(maps, None, 0, 0).mean((1, 2)).tolist() == [0.5, 0.5]


def test_diffedit_equals_the_references_formula():
    """diffusers: mean over maps and channels, clamp to three times the mean, divide, cut at a half."""
    first, second = torch.randn(2, 10, 1, 4, 16, 16).unbind()
    second[:, :, :, 4:8, 4:8] += 3
    guidance = (first - second).abs().mean([0, 2])
    limit = guidance.mean() * 3.0
    expected = torch.where(guidance.clamp(0, limit) / limit <= 0.5, 0, 1)
    assert torch.equal(map_to_mask(difference_map(first, second), 0.5, 0, 0), expected.float())
    assert 0.04 < float(expected.float().mean()) < 0.5
    assert float(difference_map(first, first).abs().max()) == 0


def test_each_image_has_its_own_limit_of_differences():
    first, second = torch.randn(2, 3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    second[:, 1] *= 20
    alone = [difference_map(first[:, [row]], second[:, [row]]) for row in (0, 1)]
    torch.testing.assert_close(difference_map(first, second), torch.cat(alone))


def test_rows_take_from_the_source_in_the_named_chunks():
    tensor = torch.arange(12.0).view(6, 2)
    taken = repeat_source(tensor, 3, [1], 2)
    assert torch.equal(taken[:3], tensor[:3]) and torch.equal(taken[3:], tensor[3].expand(3, 2))
    assert torch.equal(tensor, torch.arange(12.0).view(6, 2))


def test_rows_take_tile_by_tile_from_the_source():
    tensor = torch.arange(8.0).view(8, 1)
    assert repeat_source(tensor, 2, [0], 2).flatten().tolist() == [0, 1, 0, 1, 4, 5, 6, 7]
