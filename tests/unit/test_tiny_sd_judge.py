"""tests/tiny_sd/judge.py, on which every quality figure rests: it must read what the renderer drew, and nothing else."""

import judge
import numpy as np
import pytest
import scenes


@pytest.mark.parametrize("seed", range(3))
def test_it_reads_every_picture_of_the_renderer(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        scene = scenes.random_scene(rng, held_out=bool(rng.random() < 0.5))
        verdict = judge.judge(scenes.render(scene))
        first = scene.objects[0]
        assert (verdict.color, verdict.shape, verdict.background) == (first.color, first.shape, scene.background)


def test_of_two_objects_it_reads_the_larger():
    large = scenes.SceneObject("star", "red", "large", 44.0, 50.0, 36.0)
    small = scenes.SceneObject("circle", "white", "small", 108.0, 108.0, 14.0)
    verdict = judge.judge(scenes.render(scenes.Scene((small, large), "blue", 0.1, 0.0)))
    assert (verdict.color, verdict.shape) == ("red", "star")


def test_an_empty_picture_has_no_object():
    verdict = judge.judge(scenes.render(scenes.Scene((), "green", 0.1, 0.0)))
    assert (verdict.background, verdict.color, verdict.shape) == ("green", None, None)


def test_another_shape_in_its_place_is_told_apart():
    item = scenes.SceneObject("square", "red", "small", 60.0, 60.0, 19.0)
    scene = scenes.Scene((item,), "white", 0.05, 0.0)
    for shape in scenes.SHAPES:
        assert judge.judge(scenes.render(scene.with_object(0, shape=shape))).shape == shape
