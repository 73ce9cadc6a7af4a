"""The photos of the demo, the help pages and the templates."""

import numpy as np
import pytest
from tiny_models.photos import FIRST_SEED, PHOTOS, mask, photo, write
from tiny_models.world.captions import words_of


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_shows_a_solid_that_an_edit_changes(name):
    edit = PHOTOS[name]
    assert edit.seed >= FIRST_SEED
    assert words_of(edit.before) != words_of(edit.after)
    assert 0.005 < mask(name, 64).mean() < 0.5
    assert photo(name, 64).std() > 10


def test_they_are_written_with_their_masks(tmp_path):
    from PIL import Image

    write(tmp_path, ["ball"], size=64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball mask.png", "ball.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "ball.png")), photo("ball", 64))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "ball mask.png").convert("L")) > 127, mask("ball", 64))
