"""The composite: bit-identical outside the mask, whatever the sizes and batches; seams, color and Poisson inside."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from retrace_pack.samplers.blend_mask import pad_image
from retrace_pack.samplers.pixel_composite import composite_pixels, feathered_inside, matched_color


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def some_mask(rng: np.random.Generator, batch: int, height: int, width: int) -> torch.Tensor:
    """Empty, full, thin strokes, boxes and grays."""
    mask = torch.zeros(batch, height, width)
    for row in mask:
        kind = rng.integers(5)
        top, left = int(rng.integers(height)), int(rng.integers(width))
        if kind == 1:
            row[:] = 1
        elif kind == 2:
            row[:, left : left + int(rng.integers(1, 9))] = 1
        elif kind == 3:
            row[top : top + 20, left : left + 20] = 1
        elif kind == 4:
            row[top:, left:] = torch.from_numpy(rng.random((height - top, width - left)).astype(np.float32))
    return mask


@pytest.mark.parametrize("seed", range(40))
def test_outside_the_mask_every_bit_is_the_sources(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(9, 70, 2))
    batch = int(rng.integers(1, 4))
    sizes = [int(rng.choice([1, batch])) for _ in range(3)]
    source = rand(sizes[0], height, width, 3, seed=seed)
    edited = rand(sizes[1], height, width, 3, seed=seed + 1000)
    if rng.random() < 0.5:
        edited = pad_image(edited)
    mask = some_mask(rng, sizes[2], height, width)
    if rng.random() < 0.4:
        mask = some_mask(rng, sizes[2], *(int(side) for side in rng.integers(5, 90, 2)))
    result = composite_pixels(
        source, edited, mask, feather=int(rng.integers(0, 7)), match_colour=bool(rng.random() < 0.5),
        blend="poisson" if rng.random() < 0.3 else "feather",
    ).picture  # fmt: skip
    assert result.shape == (max(sizes), height, width, 3)
    resized = mask
    if mask.shape[1:] != (height, width):
        resized = F.interpolate(mask[:, None], (height, width), mode="bilinear")[:, 0]
    kept = (resized == 0)[..., None].expand(len(resized), height, width, 3).expand(len(result), -1, -1, -1)
    assert torch.equal(result[kept], source.expand_as(result)[kept])
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_inside_is_the_edit_and_a_gray_mask_mixes():
    source, edited = rand(1, 16, 16, 3), rand(1, 16, 16, 3, seed=1)
    mask = torch.zeros(1, 16, 16)
    mask[:, :, 8:] = 1
    mask[:, 8:, :8] = 0.25
    result = composite_pixels(source, edited, mask).picture
    assert torch.equal(result[:, :, 8:], edited[:, :, 8:])
    torch.testing.assert_close(result[:, 8:, :8], source[:, 8:, :8] * 0.75 + edited[:, 8:, :8] * 0.25)


def test_the_feather_rises_inside_of_the_mask_only():
    mask = torch.zeros(1, 9, 20)
    mask[:, :, 10:] = 1
    ramp = feathered_inside(mask, 4)[0, 4]
    assert ramp[:10].tolist() == [0] * 10
    assert ramp[10:].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])
    assert torch.equal(feathered_inside(torch.ones(1, 5, 5), 4), torch.ones(1, 5, 5))
    assert torch.equal(feathered_inside(torch.zeros(1, 5, 5), 4), torch.zeros(1, 5, 5))


def test_the_color_is_matched_by_what_is_kept():
    source = rand(1, 32, 32, 3) * 0.7 + 0.1
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    shifted = source * torch.tensor([1.15, 0.85, 1.0]) + torch.tensor([-0.05, 0.05, 0.02])
    matched, kept = matched_color(shifted, source, mask), mask == 0
    torch.testing.assert_close(matched[kept].mean(0), source[kept].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(matched[kept].std(0), source[kept].std(0), atol=0, rtol=0.05)
    assert float((matched - source).abs().max()) < 0.2 * float((shifted - source).abs().max())
    full = torch.ones(1, 32, 32)
    assert torch.equal(matched_color(shifted, source, full), shifted.clamp(0, 1))


@pytest.mark.parametrize("noises", [(0.01, 0.06), (0.06, 0.01), (0.0, 0.06)])
def test_plain_surroundings_leave_the_contrast_of_what_was_painted(noises):
    """What the autoencoder makes of a plain wall is its own noise; to match that bleached or grayed the object."""
    of_source, of_edited = noises
    source, edited = (
        0.1 + noise * (rand(1, 32, 32, 3, seed=seed) - 0.5) for seed, noise in enumerate((of_source, of_edited))
    )
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    edited[:, 12:20, 12:20] = torch.tensor([0.2, 0.3, 0.8])
    matched = matched_color(edited, source, mask)[:, 12:20, 12:20]
    torch.testing.assert_close(matched, edited[:, 12:20, 12:20], atol=0.02, rtol=0)


def test_what_bleeds_over_the_masks_edge_is_no_shift_of_color():
    source = rand(1, 64, 64, 3) * 0.2 + 0.4
    mask = torch.zeros(1, 64, 64)
    mask[:, 24:40, 24:40] = 1
    edited = source.clone()
    edited[:, 16:48, 16:48] = torch.tensor([1.0, 0.0, 0.0])
    assert torch.equal(matched_color(edited, source, mask), edited)
    edited[:, :, :8] = 0.9
    assert not torch.allclose(matched_color(edited, source, mask), edited)
    # Where nothing is further away, what there is has to do.
    wide = torch.zeros(1, 64, 64)
    wide[:, 8:56, 8:56] = 1
    shifted = source * 0.5
    torch.testing.assert_close(matched_color(shifted, source, wide)[wide == 0].mean(), source[wide == 0].mean())


def test_poisson_does_not_move_the_picture_and_hides_a_shift():
    ramp = torch.linspace(0.2, 0.7, 48).expand(48, 48)
    source = torch.stack([ramp, ramp.T, (ramp + ramp.T) / 2], dim=-1)[None]
    for box in ((slice(10, 31), slice(13, 40)), (slice(0, 20), slice(0, 48))):
        mask = torch.zeros(1, 48, 48)
        mask[(0, *box)] = 1
        same = composite_pixels(source, source, mask, blend="poisson").picture
        assert float((same - source).abs().max()) < 4 / 255
    mask = torch.zeros(1, 48, 48)
    mask[:, 10:31, 13:40] = 1
    plain, poisson = (
        composite_pixels(source, source + 0.2, mask, blend=blend).picture for blend in ("feather", "poisson")
    )
    assert float((poisson - source).abs().max()) < 0.3 * float((plain - source).abs().max())


@pytest.mark.parametrize("blend", ["feather", "poisson"])
@pytest.mark.parametrize("match_colour", [False, True])
def test_half_precision_images_give_what_float32_gives(blend, match_colour):
    """ComfyUI's --fp16-intermediates makes every IMAGE float16."""
    source, edited = (torch.rand(1, 32, 40, 3, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    mask = torch.zeros(1, 32, 40)
    mask[:, 8:24, 8:30] = 1
    half = composite_pixels(source.half(), edited.half(), mask.half(), 4, match_colour, blend).picture
    full = composite_pixels(source.half().float(), edited.half().float(), mask, 4, match_colour, blend).picture
    assert half.dtype == torch.float16
    assert torch.equal(half, full.half())
    assert torch.equal(half[mask == 0], source.half()[mask == 0])


@pytest.mark.parametrize(("changes", "message"), [
    ({"edited": torch.zeros(1, 8, 16, 3)}, "the edited image is 16 x 8, the source 17 x 13. Encoding to a latent crops"),
    ({"edited": torch.zeros(1, 24, 24, 3)}, "the edited image is 24 x 24, the source 17 x 13"),
    ({"edited": torch.full((1, 13, 17, 3), float("nan"))}, "the edited image holds NaN"),
    ({"source": torch.full((1, 13, 17, 3), float("inf"))}, "the source holds NaN or infinite"),
    ({"mask": torch.full((1, 13, 17), float("nan"))}, "the mask holds NaN"),
    ({"source": torch.zeros(1, 13, 17, 4)}, "the source has 4 channels; give it without"),
    ({"source": torch.zeros(1, 13, 17, 1)}, r"the source has the shape \(1, 13, 17, 1\)"),
    ({"feather": -1}, "feather is -1; give 0 or more"),
    (
        {"edited": torch.zeros(2, 13, 17, 3), "mask": torch.zeros(3, 13, 17)},
        r"the batches do not fit together \(1 in the source, 2 in the edited image, 3 in the mask\)",
    ),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    inputs = {
        "source": torch.zeros(1, 13, 17, 3), "edited": torch.zeros(1, 13, 17, 3), "mask": torch.zeros(1, 13, 17),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        composite_pixels(**{**inputs, **changes})
