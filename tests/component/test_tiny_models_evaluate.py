"""How tests/tiny_models/evaluate.py scores the judge's readings."""

import numpy as np
from tiny_models import evaluate
from tiny_models.world.judge import FoundSolid, Verdict


def test_several_solids_are_scored_in_the_order_that_fits_best():
    scene = evaluate.held_out_scenes(1, objects=2)[0]
    found = [FoundSolid(s.color, s.material, s.shape, s.size, 0.5, 0.5, 0.9) for s in reversed(scene.solids)]
    assert evaluate.right(Verdict(scene.floor, scene.wall, tuple(found)), scene) == [True] * 6
    found[0] = FoundSolid("none", *(getattr(found[0], name) for name in ("material", "shape", "size")), 0.5, 0.5, 0.9)
    assert evaluate.right(Verdict(scene.floor, "none", tuple(found)), scene) == [False, True, True, True, True, False]


def test_a_missing_solid_is_wrong_in_all_of_its_attributes():
    scene = evaluate.held_out_scenes(1, objects=1)[0]
    assert evaluate.right(Verdict(scene.floor, scene.wall, ()), scene) == [False] * 4 + [True] * 2


def test_held_out_scenes_are_the_same_each_time():
    first, again = (evaluate.held_out_scenes(3, objects=1) for _ in range(2))
    assert first == again and len({scene.floor_shift for scene in first}) == 3
    assert np.all([len(scene.solids) == 1 for scene in first])
