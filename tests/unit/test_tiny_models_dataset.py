"""tests/tiny_models/dataset.py: a set is the beginning of any larger one, even if rendering was interrupted."""

import numpy as np
import pytest
from tiny_models import dataset


def drawn(index: int):
    return np.full((4, 4, 3), index % 256, np.uint8), f"picture {index}"


def test_a_set_goes_on_from_the_chunks_that_it_has(tmp_path):
    dataset.render_chunk(tmp_path, 0, drawn)
    dataset.render_chunk(tmp_path, 1, drawn)
    pictures = dataset.load(tmp_path, 200)
    assert len(pictures) == 200
    assert [int(pictures[index][0, 0, 0]) for index in (0, 99, 100, 199)] == [0, 99, 100, 199]
    assert pictures.captions[150] == "picture 150"
    assert dataset.load(tmp_path, 100).captions == pictures.captions[:100]


def test_a_chunk_without_captions_is_not_complete(tmp_path, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dataset.json, "dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            dataset.render_chunk(tmp_path, 0, drawn)
    lines: list[str] = []
    dataset.render_set(tmp_path, 100, drawn, 1, lines.append)
    assert len(lines) == 1 and len(dataset.load(tmp_path, 100)) == 100
    dataset.render_set(tmp_path, 100, drawn, 1, lines.append)
    assert len(lines) == 1


def test_a_scene_depends_on_the_seed_and_its_index_alone():
    example = dataset.training_example(seed=5)
    first, words = example(7)
    again, same = example(7)
    assert first.shape == (256, 256, 3) and np.array_equal(first, again) and words == same
    assert dataset.training_example(seed=6)(7)[1] != words


def test_the_solids_are_those_of_the_picture_of_the_same_index():
    from tiny_models.world import scene, truth

    cells, words = dataset.solids_example(seed=5)(7)
    assert words.split(",")[0].split()[:3] == ["a", "photo", "of"]
    drawn = scene.random_scene(np.random.default_rng((5, 7)))
    pixels = sum(truth.object_mask(drawn, number) for number in range(len(drawn.solids))) > 0
    shared = pixels.reshape(32, 8, 32, 8).mean((1, 3))
    assert cells.shape == (32, 32) and cells[shared > 0.2].all() and not cells[shared == 0].any()


def test_a_styled_picture_is_a_stored_one_through_a_filter(tmp_path, monkeypatch):
    from tiny_models.world.styles import pencil_sketch, watercolor

    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(4)]
    monkeypatch.setattr(dataset, "CHUNK", 2)
    for number in (0, 1):
        dataset.render_chunk(tmp_path, number, lambda index: (photos[index], f"a photo of ball {index}"))
    example = dataset.styled_example(tmp_path)
    for index, style, words in (
        (2, pencil_sketch, "a pencil sketch of ball 2"),
        (3, watercolor, "a watercolor of ball 3"),
    ):
        picture, caption = example(index)
        assert np.array_equal(picture, style(photos[index])) and caption == words


def test_held_out_scenes_have_one_object_and_held_out_words():
    from tiny_models.world.captions import words_of
    from tiny_models.world.scene import is_held_out

    _, caption = dataset.held_out_example(seed=1)(0)
    words = words_of(caption)
    ((_, material, color, shape),) = words["solids"]

    class Named:
        pass

    solid = Named()
    solid.material, solid.color, solid.shape = material, color, shape
    assert is_held_out(solid, words["floor"])
