"""world/render.py and truth.py: the same scene gives the same bits, and a change affects no more than light can reach."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from world.edits import KINDS, random_edit
from world.render import render
from world.scene import Lamp, Scene, Solid
from world.styles import depicted, stylized
from world.truth import object_mask, shadow_mask, truth_of

SIZE = 96
BALL = Solid("ball", "red", "matte", "small", -0.6, -0.2, 0.4, 0.3, 0.5)
RING = Solid("ring", "blue", "striped", "small", 0.7, 0.1, 0.38, 0.3, 0.5)
SCENE = Scene((BALL, RING), "wooden", "gray", Lamp(-3.0, 3.5, -2.0), (1.0, 2.0), 0.1)


def grown(mask: np.ndarray, reach: int = 2) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2)) > 0


def differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one != other).any(-1)


@pytest.fixture(scope="module")
def picture():
    return render(SCENE, SIZE, seed=3)


def test_the_same_scene_and_seed_give_the_same_bits(picture):
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render(SCENE, SIZE, seed=3))
    assert differ(picture, render(SCENE, SIZE, seed=4)).mean() > 0.5


def test_another_color_changes_the_solid_and_its_mirror_images_alone(picture):
    other = render(SCENE.with_solid(0, color="green"), SIZE, seed=3)
    changed = differ(picture, other)
    mask = object_mask(SCENE, 0, SIZE)
    assert changed[mask].mean() > 0.9
    assert not changed[: SIZE // 3].any() and not (changed & object_mask(SCENE, 1, SIZE)).any()
    stone = replace(SCENE, floor="stone")
    changed = differ(render(stone, SIZE, seed=3), render(stone.with_solid(0, color="green"), SIZE, seed=3))
    assert changed[mask].mean() > 0.9 and not changed[~grown(mask)].any()


def test_a_solid_that_is_gone_leaves_the_far_side_as_it_was(picture):
    changed = differ(picture, render(replace(SCENE, solids=(BALL,)), SIZE, seed=3))
    shadow = shadow_mask(SCENE, 1, SIZE, seed=3)
    assert changed[object_mask(SCENE, 1, SIZE)].mean() > 0.9
    assert shadow.sum() > 40 and changed[shadow].mean() > 0.95
    assert not changed[:, : SIZE // 3].any()


def test_the_shadow_falls_away_from_the_lamp():
    single = replace(SCENE, solids=(replace(BALL, x=0.0),))
    for x in (-3.0, 3.0):
        across = np.nonzero(shadow_mask(replace(single, lamp=Lamp(x, 3.5, -2.0)), 0, SIZE))[1]
        assert np.sign(across.mean() - SIZE / 2) == -np.sign(x)


def test_a_wall_of_another_color_leaves_a_dull_floor():
    stone = replace(SCENE, floor="stone")
    changed = differ(render(stone, SIZE, seed=3), render(replace(stone, wall="pink"), SIZE, seed=3))
    assert changed[: SIZE // 4].mean() > 0.95
    assert not changed[SIZE // 2 + 4 :].any()


def test_every_size_shows_the_same_scene(picture):
    large = cv2.resize(render(SCENE, 2 * SIZE, seed=9), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert np.abs(large.astype(int) - picture).mean() < 5
    other = render(SCENE.with_solid(0, color="white"), SIZE, seed=3)
    assert np.abs(other.astype(int) - picture)[object_mask(SCENE, 0, SIZE)].mean() > 40


@pytest.mark.parametrize("kind", ["color", "object added", "size"])
def test_what_is_kept_is_the_same_in_source_and_target(kind):
    edit = random_edit(kind, 5)
    dull = [replace(scene, floor="stone") for scene in (edit.source, edit.target)]
    truth = truth_of(replace(edit, source=dull[0], target=dull[1]), SIZE)
    difference = np.abs(truth.source.astype(int) - truth.target).max(-1)
    assert truth.kept.mean() > 0.3 and difference[truth.kept].max() <= 3
    assert difference[truth.objects].max() > 20
    assert truth.ring.any() and not (truth.ring & (truth.objects | truth.shadows | truth.kept)).any()
    assert (truth.changed & ~grown(truth.objects | truth.shadows)).mean() < 0.01


def test_styles_are_filters_on_the_same_photograph(picture):
    np.testing.assert_array_equal(depicted(replace(SCENE, style="photo"), SIZE, seed=3), picture)
    sketch = depicted(replace(SCENE, style="pencil sketch"), SIZE, seed=3)
    np.testing.assert_array_equal(sketch, stylized(picture, "pencil sketch"))
    assert np.ptp(sketch.astype(int), axis=-1).max() < 25, "a pencil has one color"
    painted = stylized(picture, "watercolor")
    mask = cv2.erode(object_mask(SCENE, 0, SIZE).astype(np.uint8), np.ones((7, 7))) > 0
    assert (painted[mask].mean(0).argmax() == 0) and painted.mean() > picture.mean(), "pale, and the ball is still red"


def test_there_is_an_edit_of_every_kind():
    for kind in KINDS:
        edit = random_edit(kind, 1)
        assert edit == random_edit(kind, 1) and edit != random_edit(kind, 2)
        assert edit.before != edit.after and any(edit.words)
