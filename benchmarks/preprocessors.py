"""How fast the hints are: each method against bare OpenCV, a batch against a loop, ours against controlnet_aux.

    python benchmarks/preprocessors.py [--sizes 512 4096] [--repeats 15] [--methods canny blur ...]

The three measurements, each paired (both sides in turn, in one process) and told as the median of the ratios, of the wall
clock and ("cpu") of this process's processor time; on a busy machine the second is the one to read:

1. one image: our method from float tensor to float hint, against `reference(...)` between the same two conversions,
   where `reference` is the method written as bare OpenCV calls (and NumPy where OpenCV has no call);
2. a batch of 64: on all cores, against a loop over its images;
3. the methods that controlnet_aux (PyPI, 0.0.10) has too, if it can be imported, from float tensor to float hint.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Hint = Callable[..., Array]
ROOT = Path(__file__).resolve().parent.parent
BATCH = 64


def pack(name: str) -> Any:  # noqa: ANN401
    """A module of the pack, imported by its path as ComfyUI does it."""
    if "retrace_pack" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "retrace_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules["retrace_pack"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return importlib.import_module(f"retrace_pack.{name}")


def picture(size: int) -> Array:
    """[size, size, 3] float32 in 0..1 with what a photo has: shading, shapes, edges and some noise."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.random((12, 12, 3), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        x, y, side = rng.integers(0, size, 3)
        colour = tuple(float(c) for c in rng.random(3))
        if rng.random() < 0.5:
            cv2.circle(image, (int(x), int(y)), int(side) // 6 + 1, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (int(x), int(y)), (int(x + side // 5), int(y + side // 7)), colour, -1)
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    return (image + rng.normal(0, 0.01, image.shape).astype(np.float32)).clip(0, 1)


def references() -> dict[str, Callable[[Array], Array]]:
    """Each method as bare calls on uint8 RGB, with the node's default parameters."""

    def gray(rgb: Array) -> Array:
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)

    def auto(rgb: Array) -> Array:
        counts = cv2.calcHist([gray(rgb)], [0], None, [256], [0, 256]).ravel().cumsum()
        median = float(np.searchsorted(counts, counts[-1] / 2))
        return cv2.Canny(rgb, 0.67 * median, min(255.0, 1.33 * median))

    def pyramid(rgb: Array) -> Array:
        height, width = rgb.shape[:2]
        blended = None
        for k in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            small = cv2.resize(rgb, (int(width * k), int(height * k)), interpolation=cv2.INTER_AREA)
            edges = cv2.merge([cv2.Canny(plane, 64, 128) for plane in cv2.split(small)]).astype(np.float32)
            if blended is not None:
                edges = cv2.addWeighted(cv2.resize(blended, edges.shape[1::-1]), 0.75, edges, 0.25, 0.0)
            blended = edges
        summed = cv2.transform(blended, np.ones((1, 3), np.float32))
        cv2.calcHist([summed], [0], None, [4096], [0.0, 766.0])
        return cv2.convertScaleAbs(summed, alpha=0.33)

    def soft(rgb: Array) -> Array:
        xx, yy, xy = (np.zeros(rgb.shape[:2], np.float32) for _ in range(3))
        for plane in cv2.split(rgb):
            values = plane.astype(np.float32)
            for sigma in (1.0, 2.0, 4.0):
                smooth = cv2.GaussianBlur(values, (0, 0), sigma)
                dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=sigma)
                dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=sigma)
                cv2.accumulateSquare(dx, xx)
                cv2.accumulateSquare(dy, yy)
                cv2.accumulateProduct(dx, dy, xy)
        half = cv2.addWeighted(xx, 0.5, yy, -0.5, 0.0)
        strength = cv2.sqrt(cv2.add(cv2.addWeighted(xx, 0.5, yy, 0.5, 0.0), cv2.magnitude(half, xy)))
        kept = np.zeros_like(strength)
        diagonal = cv2.compare(np.abs(xy), np.abs(half), cv2.CMP_GT)
        larger = cv2.copyTo(xy, diagonal, half)
        positive = cv2.compare(larger, np.zeros_like(larger), cv2.CMP_GE)
        for kernel in (
            np.ones((1, 3), np.uint8),
            np.ones((3, 1), np.uint8),
            np.eye(3, dtype=np.uint8),
            np.eye(3, dtype=np.uint8)[::-1],
        ):
            chosen = cv2.compare(strength, cv2.dilate(strength, np.ascontiguousarray(kernel)), cv2.CMP_EQ)
            cv2.copyTo(strength, cv2.bitwise_and(cv2.bitwise_and(chosen, diagonal), positive), kept)
        cv2.threshold(kept, 10.0, 0.0, cv2.THRESH_TOZERO, kept)
        cv2.threshold(kept, 60.0, 0.0, cv2.THRESH_TRUNC, kept)
        return cv2.convertScaleAbs(cv2.GaussianBlur(kept, (0, 0), 1.2), alpha=4.25)

    def darkest(rgb: Array) -> Array:
        red, green, blue = cv2.split(rgb)
        return cv2.min(cv2.min(red, green), blue)

    def difference(rgb: Array, narrow: float, wide: float) -> Array:
        planes = []
        for plane in cv2.split(rgb):
            values = plane.astype(np.float32)
            fine = cv2.GaussianBlur(values, (0, 0), narrow) if narrow else values
            planes.append(cv2.subtract(cv2.GaussianBlur(values, (0, 0), wide), fine))
        return cv2.min(cv2.min(planes[0], planes[1]), planes[2])

    def lineart(rgb: Array) -> Array:
        dark = difference(rgb, 0.0, 6.0)
        cv2.threshold(dark, 0.0, 0.0, cv2.THRESH_TOZERO, dark)
        cv2.calcHist([dark], [0], None, [4096], [8.0, 256.0])
        return cv2.convertScaleAbs(dark, alpha=8.0)

    def segments(rgb: Array, found: Array | None) -> Array:
        canvas = np.zeros(rgb.shape[:2], np.uint8)
        if found is not None:
            cv2.polylines(canvas, list(np.rint(found).astype(np.int32).reshape(-1, 2, 2)), False, (255,), 1)
        return canvas

    def hough(rgb: Array) -> Array:
        side = min(rgb.shape[:2])
        edges = cv2.Canny(gray(rgb), 50, 150)
        found = cv2.HoughLinesP(edges, 1.0, np.pi / 180, 50, minLineLength=0.06 * side, maxLineGap=0.01 * side)
        return segments(rgb, found)

    def grid(rgb: Array) -> Array:
        height, width = rgb.shape[:2]
        small = cv2.resize(rgb, (width // 64, height // 64), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)

    def shuffle(rgb: Array) -> Array:
        height, width = rgb.shape[:2]
        rng = np.random.default_rng(0)
        noise = rng.random((height // 256 + 2, width // 256 + 2, 2), np.float32)
        noise = cv2.resize(noise, (width + 512, height + 512), interpolation=cv2.INTER_CUBIC)
        flow = cv2.split(noise[256 : 256 + height, 256 : 256 + width])
        for plane, length in zip(flow, (width, height), strict=True):
            cv2.normalize(plane, plane, 0.0, length - 1.0, cv2.NORM_MINMAX)
        return cv2.remap(rgb, flow[0], flow[1], cv2.INTER_LINEAR)

    def tile(rgb: Array) -> Array:
        sizes = []
        for _ in range(3):
            sizes.append(rgb.shape[1::-1])
            rgb = cv2.pyrDown(rgb)
        for size in reversed(sizes):
            rgb = cv2.pyrUp(rgb, dstsize=size)
        return rgb

    def shrunk(rgb: Array, grow: int) -> Array:
        height, width = rgb.shape[:2]
        small = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=grow)

    def guided(rgb: Array) -> Array:
        height, width = rgb.shape[:2]
        smooth = cv2.GaussianBlur(rgb, (3, 3), 1.0)
        guide = cv2.resize(smooth, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
        planes = [plane.astype(np.float32) for plane in cv2.split(guide)]

        def mean(plane: Array) -> Array:
            return cv2.blur(plane, (7, 7))

        means = [mean(plane) for plane in planes]
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        s = {
            (i, j): cv2.subtract(mean(cv2.multiply(planes[i], planes[j])), cv2.multiply(means[i], means[j]))
            for i, j in pairs
        }
        # Six cofactors and a determinant: two products and a difference each, then a scale.
        gains = {}
        for (i, j), plane in s.items():
            other = s[0, 0] if (i, j) != (0, 0) else s[1, 1]
            cofactor = cv2.subtract(cv2.multiply(plane, other), cv2.multiply(plane, s[0, 1]))
            gains[i, j] = gains[j, i] = cv2.multiply(cofactor, s[2, 2])
        result = []
        values = [plane.astype(np.float32) for plane in cv2.split(smooth)]
        grown = {(i, j): cv2.resize(mean(gains[i, j]), (width, height)) for i, j in pairs}
        for i in range(3):
            offset = means[i]
            for j in range(3):
                offset = cv2.subtract(offset, cv2.multiply(gains[i, j], means[j]))
            out = cv2.resize(mean(offset), (width, height))
            for j in range(3):
                out = cv2.add(out, cv2.multiply(grown[min(i, j), max(i, j)], values[j]))
            result.append(cv2.convertScaleAbs(out))
        return shrunk(cv2.merge(result), cv2.INTER_CUBIC)

    return {
        "canny": lambda rgb: cv2.Canny(rgb, 100, 200),
        "canny_auto": auto,
        "canny_pyramid": pyramid,
        "soft_edge": soft,
        "scribble": lambda rgb: cv2.threshold(darkest(rgb), 126, 255, cv2.THRESH_BINARY_INV)[1],
        "scribble_xdog": lambda rgb: cv2.threshold(difference(rgb, 0.5, 5.0), 16.0, 255.0, cv2.THRESH_BINARY)[1].astype(
            np.uint8
        ),
        "lineart": lineart,
        "binary": lambda rgb: cv2.threshold(gray(rgb), 127, 255, cv2.THRESH_BINARY)[1],
        "binary_otsu": lambda rgb: cv2.threshold(gray(rgb), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1],
        "binary_adaptive": lambda rgb: cv2.adaptiveThreshold(
            gray(rgb), 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 31, 5
        ),
        "lines_lsd": lambda rgb: segments(rgb, cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(gray(rgb))[0]),
        "lines_hough": hough,
        "color_grid": grid,
        "shuffle": shuffle,
        "tile_pyramid": tile,
        "tile_simple": lambda rgb: cv2.GaussianBlur(shrunk(rgb, cv2.INTER_LANCZOS4), (3, 3), 1.0),
        "tile_guided": guided,
        "recolor_luminance": lambda rgb: cv2.extractChannel(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), 0),
        "recolor_intensity": lambda rgb: cv2.max(cv2.max(*cv2.split(rgb)[:2]), cv2.split(rgb)[2]),
        "blur": lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 9.0),
    }


def float_references() -> dict[str, Callable[[Array], Array]]:
    """The methods that do not go through 8 bits: bare calls on the float image."""

    def normals(image: Array) -> Array:
        depth = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        smooth = cv2.GaussianBlur(depth, (0, 0), 1.0)
        x, y = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=32.0) for order in ((1, 0), (0, 1)))
        x[depth < 0.1] = 0.0
        y[depth < 0.1] = 0.0
        length = cv2.magnitude(cv2.magnitude(x, y), np.ones_like(x))
        normal = cv2.merge([cv2.divide(x, length), cv2.divide(y, length), np.divide(0.5, length)])
        return np.add(normal, np.float32(0.5), out=normal)

    def inpaint(image: Array) -> Array:
        hint = image.copy()
        hint[disc(len(image)) > 0.5] = -1.0
        return hint

    return {"inpaint": inpaint, "normal_map": normals}


def disc(size: int) -> Array:
    """[size, size] float32 mask."""
    return cv2.circle(np.zeros((size, size), np.float32), (size // 2, size // 2), size // 4, 1.0, -1)


@dataclass(frozen=True)
class Pair:
    """Seconds of both sides (median) and the ratios ours/theirs: of the wall clock and of the processor time."""

    ours: float
    theirs: float
    wall: float
    cpu: float


def paired(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> Pair:
    """Both in turn, after one warm-up; the ratios are medians over the turns."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        # The order changes from turn to turn, so that neither always finds the caches warm.
        for side in (0, 1) if turn % 2 else (1, 0):
            start, start_cpu = time.perf_counter(), time.process_time()
            (ours, theirs)[side]()
            wall[side].append(time.perf_counter() - start)
            cpu[side].append(time.process_time() - start_cpu)

    def ratio(times: tuple[list[float], list[float]]) -> float:
        return statistics.median(a / b for a, b in zip(times[0][1:], times[1][1:], strict=True))

    return Pair(statistics.median(wall[0][1:]), statistics.median(wall[1][1:]), ratio(wall), ratio(cpu))


def measure_methods(sizes: list[int], repeats: int, wanted: list[str]) -> None:
    """Table 1: each method against its bare calls between the same conversions."""
    methods, pixels, batch = pack("preprocessors.methods"), pack("preprocessors.pixels"), pack("preprocessors.batch")
    bare, of_floats = references(), float_references()
    print(f"\n{'method':20}{'size':>6}{'ours ms':>10}{'bare ms':>10}{'ratio':>8}{'cpu':>8}   (target 1.15)")
    for size in sizes:
        images = picture(size)[None]
        turns = repeats if size <= 1024 else max(3, repeats // 3)
        for name in wanted or list(methods.METHODS):
            # A bound shuffler keeps its flow from image to image; here both sides make it anew.
            hint = methods.METHODS[name]
            masks = disc(size)[None] if name == "inpaint" else None

            def plain(name: str = name, images: Array = images) -> None:
                out = np.empty((*images.shape[:3], 3), np.float32)
                hint = (
                    of_floats[name](pixels.as_rgb_float(images[0]))
                    if name in of_floats
                    else bare[name](pixels.as_rgb8(images[0]))
                )
                pixels.write_hint(hint, out[0])

            def whole(hint: Hint = hint, images: Array = images, masks: Array | None = masks) -> None:
                batch.hint_batch(images, hint, masks=masks)

            pair = paired(whole, plain, turns)
            print(
                f"{name:20}{size:6}{pair.ours * 1e3:10.2f}{pair.theirs * 1e3:10.2f}{pair.wall:8.2f}{pair.cpu:8.2f}",
                flush=True,
            )


def measure_batch(repeats: int, wanted: list[str]) -> None:
    """Table 2: a batch of 64 at once against one after another."""
    methods, batch = pack("preprocessors.methods"), pack("preprocessors.batch")
    images = np.repeat(picture(512)[None], BATCH, axis=0)
    print(f"\n{'batch of 64, 512x512':24}{'batch ms':>10}{'loop ms':>10}{'speed-up':>10}{'cpu':>8}")
    print(f"({batch.available_cores()} cores)")
    for name in wanted or ["canny", "soft_edge", "lineart", "binary"]:
        hint = methods.bind(name)

        def loop(hint: Hint = hint) -> None:
            out = np.empty_like(images)
            for index, image in enumerate(images):
                out[index] = batch.hint_batch(image[None], hint)[0]

        def whole(hint: Hint = hint) -> None:
            batch.hint_batch(images, hint)

        pair = paired(whole, loop, max(3, repeats // 5))
        print(
            f"{name:24}{pair.ours * 1e3:10.1f}{pair.theirs * 1e3:10.1f}{1 / pair.wall:10.2f}{pair.cpu:8.2f}", flush=True
        )


def measure_controlnet_aux(sizes: list[int], repeats: int) -> None:
    """Table 3: against controlnet_aux, each from a float tensor to a float tensor of the same size."""
    try:
        from controlnet_aux import CannyDetector, ContentShuffleDetector  # pyright: ignore[reportMissingImports]
        from controlnet_aux.open_pose import PoseResult, draw_poses  # pyright: ignore[reportMissingImports]
        from controlnet_aux.open_pose.body import BodyResult, Keypoint  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(
            f"\ncontrolnet_aux is not measured: {error}. Install controlnet-aux 0.0.10 in a venv of its own and use it."
        )
        return
    methods, batch = pack("preprocessors.methods"), pack("preprocessors.batch")
    keypoints, drawing = pack("preprocessors.pose_keypoints"), pack("preprocessors.pose_drawing")
    print(
        f"\n{'against controlnet_aux':24}{'size':>6}{'ours ms':>10}{'theirs ms':>11}{'ratio':>8}{'cpu':>8}   (target 1.00)"
    )

    def told(name: str, size: int, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        pair = paired(ours, theirs, repeats if size <= 1024 else max(3, repeats // 3))
        print(
            f"{name:24}{size:6}{pair.ours * 1e3:10.2f}{pair.theirs * 1e3:11.2f}{pair.wall:8.2f}{pair.cpu:8.2f}",
            flush=True,
        )

    def at_size(size: int) -> None:
        image = picture(size)
        options = {"detect_resolution": size, "image_resolution": size, "output_type": "np"}

        def theirs(detector: Any) -> Array:  # noqa: ANN401
            hint = detector((image * 255.0).astype(np.uint8), **options)
            return hint.astype(np.float32) / 255.0

        def ours(name: str) -> Array:
            return batch.hint_batch(image[None], methods.METHODS[name])

        told("canny", size, lambda: ours("canny"), lambda: theirs(CannyDetector()))
        told("shuffle", size, lambda: ours("shuffle"), lambda: theirs(ContentShuffleDetector()))
        frame = keypoints.read_json((ROOT / "tests/unit/golden/pose.json").read_text())[0]

        def listed(part: Array | None) -> list[Any] | None:
            if part is None:
                return None
            return [Keypoint(float(x) / frame.width, float(y) / frame.height) if c > 0 else None for x, y, c in part]

        poses = [
            PoseResult(BodyResult(listed(p.body), 0, 0), listed(p.left_hand), listed(p.right_hand), listed(p.face))
            for p in frame.people
        ]
        told(
            "draw pose",
            size,
            lambda: batch.render_batch(1, lambda _: drawing.draw_pose(frame, size, size)),
            lambda: draw_poses(poses, size, size).astype(np.float32) / 255.0,
        )

    for size in sizes:
        at_size(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--methods", nargs="+", default=[], help="only these (tables 1 and 2)")
    arguments = parser.parse_args()
    print(f"OpenCV {cv2.__version__}, NumPy {np.__version__}")
    measure_methods(arguments.sizes, arguments.repeats, arguments.methods)
    measure_batch(arguments.repeats, arguments.methods)
    measure_controlnet_aux(arguments.sizes, arguments.repeats)


if __name__ == "__main__":
    main()
