"""world/scene.py and captions.py: a caption says what the scene is, and a tenth of the words is held out."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from world.captions import WORDS, caption, words_of
from world.scene import (
    COLORS,
    FLOORS,
    MATERIALS,
    SHAPES,
    STYLES,
    Lamp,
    Scene,
    Solid,
    is_held_out,
    random_scene,
    stand_clear,
)

SOLIDS = (
    Solid("cylinder", "red", "striped", "large", -0.5, 0.0, 0.7, 0.0, 0.0),
    Solid("ball", "blue", "shiny", "small", 0.7, 0.0, 0.4, 0.0, 0.0),
)
SCENE = Scene(SOLIDS, "wooden", "beige", Lamp(-3.0, 3.5, -2.0), (0.0, 0.0), 0.0)


def test_the_plain_wording():
    both = "a photo of a large striped red cylinder and a small shiny blue ball on a wooden floor, beige wall"
    assert caption(SCENE) == both
    assert caption(SCENE, lamp=True) == both + ", lit from the left"
    assert caption(replace(SCENE, style="watercolor")) == both.replace("photo", "watercolor")


@pytest.mark.parametrize("style", STYLES)
def test_a_caption_says_what_the_scene_is(style):
    rng = np.random.default_rng(1)
    wordings = set()
    for _ in range(60):
        scene = replace(random_scene(rng), style=style)
        text = caption(scene, rng)
        said = words_of(text)
        assert (said["style"], said["floor"], said["wall"]) == (style, scene.floor, scene.wall)
        assert said["side"] in (None, scene.lamp.side)
        for phrase, solid in zip(said["solids"], scene.solids, strict=True):
            assert phrase[0] in (None, solid.size) and phrase[1:] == (solid.material, solid.color, solid.shape)
        assert set(text.replace(",", " ,").split()) <= set(WORDS)
        wordings.add((said["side"] is None, any(phrase[0] is None for phrase in said["solids"]), "front" in text))
    assert len(wordings) > 4


def test_a_tenth_of_all_words_is_held_out():
    kept = [
        is_held_out(replace(SOLIDS[0], material=material, color=color, shape=shape), floor)
        for material, color, shape, floor in product(MATERIALS, COLORS, SHAPES, FLOORS)
    ]
    assert 0.08 < np.mean(kept) < 0.12


def test_random_scenes_keep_to_their_words_and_stand_clear():
    rng = np.random.default_rng(2)
    for _ in range(100):
        scene = random_scene(rng)
        assert not any(is_held_out(solid, scene.floor) for solid in scene.solids)
        assert is_held_out((other := random_scene(rng, held_out=True)).solids[0], other.floor)
        for each in (scene, other):
            colors = [solid.color for solid in each.solids]
            assert stand_clear(each.solids) and len({*colors, each.wall}) == len(colors) + 1
            assert [solid.radius for solid in each.solids] == sorted((s.radius for s in each.solids), reverse=True)
    assert {len(random_scene(rng, objects=2).solids) for _ in range(5)} == {2}
    assert random_scene(np.random.default_rng(5)) == random_scene(np.random.default_rng(5))
