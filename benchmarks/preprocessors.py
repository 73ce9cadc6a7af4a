"""How fast the hints are: each method versus bare OpenCV, a batch versus a loop, ours versus controlnet_aux.

    python benchmarks/preprocessors.py [--sizes 512 4096] [--repeats 15] [--methods canny blur ...]

All three measurements are paired (both sides alternate in one process) and reported as the median of the ratios, of wall time
and ("cpu") of this process's CPU time; on a busy machine, read the latter:

1. one image: our method from float tensor to float hint, versus `reference(...)` between the same two conversions,
   where `reference` is the method written as bare OpenCV calls (and NumPy where OpenCV has no call);
2. a batch of 64 on all cores, versus a loop over its images;
3. the methods that controlnet_aux (PyPI, 0.0.10) also has, if it can be imported, from float tensor to float hint.
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
from _bare_opencv import disc, float_references, references
from numpy.typing import NDArray

Array = NDArray[Any]
Hint = Callable[..., Array]
ROOT = Path(__file__).resolve().parent.parent
BATCH = 64


def pack(name: str) -> Any:  # noqa: ANN401
    """A module of the pack, imported by its path as ComfyUI does."""
    if "retrace_pack" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "retrace_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules["retrace_pack"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return importlib.import_module(f"retrace_pack.{name}")


def picture(size: int) -> Array:
    """[size, size, 3] float32 in 0..1 with the features of a photo: shading, shapes, edges and some noise."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.random((12, 12, 3), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        x, y, side = rng.integers(0, size, 3)
        color = tuple(float(c) for c in rng.random(3))
        if rng.random() < 0.5:
            cv2.circle(image, (int(x), int(y)), int(side) // 6 + 1, color, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (int(x), int(y)), (int(x + side // 5), int(y + side // 7)), color, -1)
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    return (image + rng.normal(0, 0.01, image.shape).astype(np.float32)).clip(0, 1)


@dataclass(frozen=True)
class Pair:
    """Seconds of both sides (median), and the ratios ours/theirs of wall time and CPU time."""

    ours: float
    theirs: float
    wall: float
    cpu: float


def paired(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> Pair:
    """Run both alternately, after a warm-up; the ratios are medians over the turns."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        # Alternate the order, so that neither side always finds warm caches.
        for side in (0, 1) if turn % 2 else (1, 0):
            start, start_cpu = time.perf_counter(), time.process_time()
            (ours, theirs)[side]()
            wall[side].append(time.perf_counter() - start)
            cpu[side].append(time.process_time() - start_cpu)

    def ratio(times: tuple[list[float], list[float]]) -> float:
        return statistics.median(a / b for a, b in zip(times[0][1:], times[1][1:], strict=True))

    return Pair(statistics.median(wall[0][1:]), statistics.median(wall[1][1:]), ratio(wall), ratio(cpu))


def measure_methods(sizes: list[int], repeats: int, wanted: list[str]) -> None:
    """Table 1: each method versus its bare calls between the same conversions."""
    methods, pixels, batch = pack("preprocessors.methods"), pack("preprocessors.pixels"), pack("preprocessors.batch")
    bare, of_floats = references(), float_references()
    print(f"\n{'method':20}{'size':>6}{'ours ms':>10}{'bare ms':>10}{'ratio':>8}{'cpu':>8}   (target 1.15)")
    for size in sizes:
        images = picture(size)[None]
        turns = repeats if size <= 1024 else max(3, repeats // 3)
        for name in wanted or list(methods.METHODS):
            # A bound shuffler caches its flow between images; here both sides recompute it.
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
    """Table 2: a batch of 64 at once versus one image after another."""
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
    """Table 3: versus controlnet_aux, each from a float tensor to a float tensor of the same size."""
    try:
        from controlnet_aux import CannyDetector, ContentShuffleDetector  # pyright: ignore[reportMissingImports]
        from controlnet_aux.open_pose import PoseResult, draw_poses  # pyright: ignore[reportMissingImports]
        from controlnet_aux.open_pose.body import BodyResult, Keypoint  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(
            f"\ncontrolnet_aux is not measured: {error}. Install controlnet-aux 0.0.10 in a separate venv and use that one."
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
