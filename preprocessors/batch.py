"""Run a method over a batch of images: on all cores, into one preallocated result, with bounded temporary memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from .pixels import Array, write_hint

MAX_SIDE = 16384
# Every worker holds the temporaries of one image; beyond this many, memory is the limit, not the cores.
MAX_WORKERS = 8


def render_batch(count: int, render: Callable[[int], Array], on_frame: Callable[[], object] = lambda: None) -> Array:
    """Render hints in parallel into one array.

    Args:
        count: number of images, at least 1.
        render: image index -> hint, [H, W] or [H, W, 3], uint8 or float32; called from several threads.
        on_frame: called in the caller's thread after each image; an exception from it stops the batch.

    Returns:
        [count, H, W, 3] float32.

    Raises:
        ValueError: if the batch is empty, if hints differ in size, or if `render` raises one (prefixed with the image's
            number).
    """
    if count < 1:
        raise ValueError("there are no images in the batch; connect at least one.")

    def rendered(index: int) -> Array:
        try:
            return render(index)
        except ValueError as error:
            raise ValueError(f"image {index + 1} of {count}: {error}" if count > 1 else str(error)) from error

    first = rendered(0)
    out = np.empty((count, *first.shape[:2], 3), np.float32)
    write_hint(first, out[0])
    on_frame()

    def write(index: int) -> None:
        hint = rendered(index)
        if hint.shape[:2] != out.shape[1:3]:
            raise ValueError(
                f"all hints of a batch must be of one size, but {hint.shape[:2]} follows {out.shape[1:3]}."
            )
        write_hint(hint, out[index])

    workers = min(count - 1, MAX_WORKERS, available_cores())
    if workers > 0:
        with _single_threaded_opencv(), _pool(workers) as executor:
            for _ in executor.map(write, range(1, count)):
                on_frame()
    return out


def hint_batch(
    images: Array,
    method: Callable[..., Array],
    *,
    resolution: int = 0,
    masks: Array | None = None,
    on_frame: Callable[[], object] = lambda: None,
) -> Array:
    """Run a method over a batch.

    Args:
        images: [B, H, W] or [B, H, W, C] with 1, 3 or 4 channels; uint8, or floating point in 0..1.
        method: image -> hint, as `methods.bind` returns it; with `masks`, called as `method(image, mask=...)`.
        resolution: each image is first resized so that its shorter side has this many pixels; 0 keeps its size.
        masks: [B, h, w] or [1, h, w] (shared) in 0..1, resized to the image if the size differs.
        on_frame: see `render_batch`.

    Returns:
        [B, H', W', 3] float32 in 0..1 (an inpaint hint is -1 inside the mask).

    Raises:
        ValueError: if the number of masks is neither 1 nor B, or if `render_batch`, `resized` or the method raises one.
    """
    if masks is not None and len(masks) not in (1, len(images)):
        raise ValueError(f"{len(masks)} masks do not fit {len(images)} images; give one mask, or one per image.")

    def render(index: int) -> Array:
        image = resized(images[index], resolution)
        if masks is None:
            return method(image)
        return method(image, mask=_stretched(masks[index % len(masks)], *image.shape[:2]))

    return render_batch(len(images), render, on_frame)


def resized(image: Array, resolution: int) -> Array:
    """Resize an image so that its shorter side has `resolution` pixels; keeps the aspect ratio, never pads or crops.

    Args:
        image: [H, W] or [H, W, C]; uint8 or floating point.
        resolution: pixels; 0 returns the image unchanged.

    Raises:
        ValueError: if the resolution is negative or would make a side longer than 16384 pixels.
    """
    height, width = image.shape[:2]
    if resolution == 0 or min(height, width) in (0, resolution):
        return image
    scale = resolution / min(height, width)
    size = (round(width * scale), round(height * scale))
    if resolution < 0 or max(size) > MAX_SIDE:
        raise ValueError(
            f"resolution {resolution} would make an image of {size[0]}x{size[1]} pixels; give 0 to keep the size, or a "
            f"length that leaves both sides between 1 and {MAX_SIDE}."
        )
    import cv2

    image = _for_resize(image)
    if scale < 1:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grown = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    # Cubic interpolation overshoots at edges; uint8 saturates by itself.
    return grown if grown.dtype == np.uint8 else np.clip(grown, 0.0, 1.0, out=grown)


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that cancels pending tasks if an exception leaves the block."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Turn off OpenCV's own threads: with one image per core they only contend, which takes 50 % longer."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stretched(mask: Array, height: int, width: int) -> Array:
    if mask.shape == (height, width):
        return mask
    import cv2

    return cv2.resize(_for_resize(mask), (width, height), interpolation=cv2.INTER_LINEAR)


def _for_resize(image: Array) -> Array:
    return np.ascontiguousarray(image, dtype=None if image.dtype == np.uint8 else np.float32)
