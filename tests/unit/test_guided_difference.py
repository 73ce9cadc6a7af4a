"""The guided filter that fits a change of color to the edges of the photo."""

import pytest
import torch
from retrace_pack.samplers.guided_difference import fitted_to_edges

RED_TO_BLUE = torch.tensor([-0.6, 0.0, 0.6])


def disk(size, radius, x=0.5):
    """bool [size, size]: a disk of this radius, in shares of the side, whose middle is at x across."""
    places = (torch.arange(size) + 0.5) / size
    return torch.hypot(places[None, :] - x, places[:, None] - 0.5) < radius


def photo_of(size):
    """A red disk before a gray wall, [1, size, size, 3]."""
    inside = disk(size, 0.25)[..., None]
    return torch.where(inside, torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.5, 0.5, 0.5]))[None]


def test_no_change_stays_none():
    photo = torch.rand(1, 40, 48, 3, generator=torch.Generator().manual_seed(0))
    assert not fitted_to_edges(torch.zeros(2, 20, 24, 3), photo).any()


def test_an_affine_function_of_the_color_is_itself():
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(2, 64, 64, 3, generator=generator)
    slopes, offset = 0.3 * torch.randn(3, 3, generator=generator), torch.tensor([0.1, -0.2, 0.0])
    difference = photo @ slopes + offset
    assert (fitted_to_edges(difference, photo) - difference).abs().max() < 0.05


@pytest.mark.parametrize("scale", [1, 4])
def test_a_displaced_change_ends_at_the_photos_edge(scale):
    """The model saw the disk 3 pixels from where it is; the photo has up to four times the model's size."""
    size = 128
    changed = disk(size, 0.25, x=0.5 + 3 / size)[..., None] * RED_TO_BLUE
    fitted = fitted_to_edges(changed[None], photo_of(scale * size))[0]
    right = disk(scale * size, 0.25)[..., None] * RED_TO_BLUE
    plain = torch.nn.functional.interpolate(changed.movedim(-1, 0)[None], scale_factor=scale, mode="bilinear")[0]
    errors = [(each - right).square().mean() for each in (fitted, plain.movedim(0, -1))]
    assert errors[0] < 0.3 * errors[1]
    across, edge = fitted[scale * size // 2, :, 2], int(0.75 * scale * size)
    assert across[edge - 1] > 0.55 and across[edge - 1] - across[edge] > 0.3, (
        "the change does not end where the disk does"
    )


def test_a_floor_of_a_color_between_takes_no_part_in_a_change():
    """A black disk with white stripes on a gray floor: the black parts turn red, seen 4 pixels off."""
    size = 128
    stripes = (torch.arange(size) // 8 % 2 == 0)[:, None]
    gray, white, black = (torch.full((3,), value) for value in (0.5, 0.95, 0.05))

    def shown(x, change):
        """The picture, or the change of its black parts, with the disk at x."""
        on_disk = torch.where(stripes[..., None], change[0], change[1])
        return torch.where(disk(size, 0.25, x)[..., None], on_disk, change[2])[None]

    red, none = torch.tensor([0.7, 0.0, 0.0]), torch.zeros(3)
    photo, right, seen = (
        shown(0.5, (white, black, gray)),
        shown(0.5, (none, red, none)),
        shown(0.5 + 4 / size, (none, red, none)),
    )
    fitted = fitted_to_edges(seen, photo)
    assert (fitted - right).square().mean() < 0.3 * (seen - right).square().mean()
    floor = ~disk(size, 0.27)
    assert fitted[0][floor].abs().max() < 0.2
