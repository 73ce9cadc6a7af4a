"""The hints as bare OpenCV calls (NumPy where OpenCV has none): the reference for benchmarks/preprocessors.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


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
    """The methods that are not limited to 8 bits: bare calls on the float image."""

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
