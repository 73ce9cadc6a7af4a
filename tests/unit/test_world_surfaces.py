"""world/surfaces.py, spots.py and studio.py: materials can be told however far a solid stands and however it is turned."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from world import camera
from world.render import nearest_solid, render
from world.scene import SHAPES, SIZES, TURNS, Lamp, Scene, Solid
from world.solids import to_local
from world.spots import spots
from world.surfaces import stripes

FAR = Solid("ball", "red", "striped", "small", 0.0, 0.55, SIZES["small"][0], 0.0, 0.0)
PLACES = (-0.9, 0.0, 0.9)
SIZE = 256


def far_solids(shape: str) -> list[Solid]:
    """The smallest solids, furthest from the camera, in several turns; a ball's pattern leans to either side."""
    turns = np.linspace(*TURNS.get(shape, (-np.pi, np.pi)), len(PLACES) * 2)
    tilts = np.linspace(-0.9, 0.9, len(turns))
    return [
        replace(FAR, shape=shape, x=PLACES[number % len(PLACES)], turn=float(turn), tilt=float(tilt))
        for number, (turn, tilt) in enumerate(zip(turns, tilts, strict=True))
    ]


def seen(solid: Solid, pattern) -> tuple[np.ndarray, np.ndarray]:
    """Where a picture shows the solid's second color, and its first, bool [256, 256]."""
    view = camera.view(SIZE, 1)
    which, nearest = nearest_solid(Scene((solid,), "stone", "gray", Lamp(3.0, 3.0, -2.0), (0.0, 0.0), 0.0), view)
    hit = np.flatnonzero(which == 0)
    p = np.array(camera.EYE, np.float32)[:, None] + nearest[hit] * view.directions[:, hit]
    second, first = np.zeros((2, SIZE * SIZE), bool)
    marks = pattern(solid, to_local(solid, p)) > 0.5
    second[hit], first[hit] = marks, ~marks
    return second.reshape(SIZE, SIZE), first.reshape(SIZE, SIZE)


def widths(mask: np.ndarray) -> list[float]:
    """The width of every connected part, in pixels, where it is widest."""
    number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return [2 * float(inside[labels == label].max()) - 1 for label in range(1, number)]


@pytest.mark.parametrize("shape", SHAPES)
def test_four_wide_bands_are_seen(shape):
    for solid in far_solids(shape):
        both = [width for mask in seen(solid, stripes) for width in widths(mask)]
        assert sum(width >= 4 for width in both) >= 4, (solid, both)


@pytest.mark.parametrize("shape", SHAPES)
def test_five_spots_are_seen(shape):
    for solid in far_solids(shape):
        areas = cv2.connectedComponentsWithStats(seen(solid, spots)[0].astype(np.uint8), connectivity=4)[2][1:, 4]
        assert (areas >= 13).sum() >= 5, (solid, areas)


@pytest.mark.parametrize("color", ["black", "blue"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shiny_solid_mirrors_a_bright_thing_and_a_matte_one_nothing(shape, color):
    for solid, x in zip(far_solids(shape)[::3], (-3.5, 3.5), strict=True):
        shiny = replace(solid, color=color, material="shiny")
        scene = Scene((shiny,), "grassy", "gray", Lamp(x, 2.5, -1.5), (0.0, 0.0), 0.0)
        inside = cv2.erode(np.logical_or(*seen(solid, stripes)).astype(np.uint8), np.ones((3, 3))) > 0
        brightest = [
            np.sort(render(each, SIZE, 1, grain=0)[inside].min(-1))[-8]
            for each in (scene, scene.with_solid(material="matte"))
        ]
        assert brightest[0] > 120 and brightest[1] < 90, (solid, brightest)
