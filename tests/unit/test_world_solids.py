"""world/solids.py: rays hit each solid where fine steps along them first get inside, and nowhere else."""

import numpy as np
import pytest
from world import solids, surfaces
from world.scene import SHAPES, Solid


def inside(shape: str, p: np.ndarray) -> np.ndarray:
    """Whether points [3, ...] in a solid's own frame are inside it, by definition."""
    x, y, z = p
    around = np.hypot(x, z)
    if shape == "ball":
        return x**2 + (y - 1) ** 2 + z**2 < 1
    if shape == "cube":
        return np.maximum(np.maximum(abs(x), abs(z)), abs(y - solids.CUBE)) < solids.CUBE
    if shape == "cylinder":
        return (around < solids.CYLINDER) & (y > 0) & (y < solids.CYLINDER_HEIGHT)
    if shape == "cone":
        return (y > 0) & (around < solids.CONE * (1 - y / solids.CONE_HEIGHT))
    return (around - solids.RING) ** 2 + (y - solids.TUBE) ** 2 < solids.TUBE**2


@pytest.fixture(scope="module")
def rays():
    rng = np.random.default_rng(0)
    origins = rng.normal(size=(3, 400)) * 0.5
    origins[1] += 1
    directions = rng.normal(size=(3, 400))
    directions /= np.linalg.norm(directions, axis=0)
    return (origins - 4 * directions).astype(np.float32), directions.astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_point_of_a_ray(shape, rays):
    origins, directions = rays
    solid = Solid(shape, "red", "matte", "large", 0.0, 0.0, 1.0, 0.0, 0.0)
    found = solids.distance(solid, origins, directions)
    steps = np.linspace(0, 8, 4001)
    walked = inside(shape, origins[:, :, None].astype(float) + directions[:, :, None] * steps)
    expected = np.where(walked.any(1), steps[walked.argmax(1)], np.inf)
    touching = walked.sum(1) > 20  # a ray that only grazes may fall between two steps
    assert touching.sum() > 100
    np.testing.assert_allclose(found[touching], expected[touching], atol=3e-3)
    assert np.isinf(found[~walked.any(1)]).mean() > 0.97


@pytest.mark.parametrize("shape", SHAPES)
def test_a_moved_turned_and_scaled_solid_is_met_where_its_frame_says(shape, rays):
    origins, directions = rays
    plain = Solid(shape, "red", "matte", "large", 0.0, 0.0, 1.0, 0.0, 0.0)
    moved = Solid(shape, "red", "matte", "small", 0.4, -0.3, 0.5, 0.7, 0.0)
    there, along = solids.to_local(moved, origins), solids.direction_to_local(moved, directions)
    lengths = np.linalg.norm(along, axis=0)
    expected = solids.distance(plain, there, along / lengths) / lengths
    np.testing.assert_allclose(solids.distance(moved, origins, directions), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_point_out(shape, rays):
    origins, directions = rays
    solid = Solid(shape, "red", "matte", "large", 0.0, 0.0, 1.0, 0.0, 0.0)
    away = solids.distance(solid, origins, directions)
    p = origins + away * directions
    p = p[:, np.isfinite(away) & (p[1] > 0.01)]  # the underside is never seen and has no normal of its own
    n = surfaces.normal(solid, p)
    np.testing.assert_allclose(np.linalg.norm(n, axis=0), 1, atol=1e-4)
    assert not inside(shape, p + 0.05 * n).any()
    assert inside(shape, p - 0.05 * n).mean() > 0.97
