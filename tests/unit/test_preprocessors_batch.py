from __future__ import annotations

import threading
import tracemalloc
import weakref

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors import batch
from retrace_pack.preprocessors.batch import hint_batch, render_batch, resized
from retrace_pack.preprocessors.methods import bind


def test_frames_are_rendered_in_parallel(monkeypatch):
    monkeypatch.setattr(batch, "available_cores", lambda: 2)
    meeting = threading.Barrier(2, timeout=600)

    def render(index: int) -> np.ndarray:
        if index > 0:
            meeting.wait()  # only passes when two frames are in hand at once
        return np.full((4, 5), index, np.uint8)

    out = render_batch(5, render)
    assert np.array_equal(out[:, 2, 2, 1], np.arange(5, dtype=np.float32) / np.float32(255))


def test_progress_is_told_in_the_callers_thread_and_can_stop_the_batch(monkeypatch):
    monkeypatch.setattr(batch, "available_cores", lambda: 2)
    rendered, told = [], []

    def render(index: int) -> np.ndarray:
        rendered.append(index)
        return np.zeros((2, 2), np.uint8)

    def stop() -> None:
        told.append(threading.current_thread())
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_batch(10_000, render, stop)
    assert len(told) == 3 and set(told) == {threading.current_thread()}
    assert len(rendered) < 10_000


@pytest.mark.parametrize("failing", [None, 0, 3])
def test_opencvs_own_threads_rest_while_frames_run_in_parallel(failing):
    before, during = cv2.getNumThreads(), []
    cv2.setNumThreads(3)
    try:

        def render(index: int) -> np.ndarray:
            during.append(cv2.getNumThreads())
            if index == failing:
                raise ValueError
            return np.zeros((2, 2), np.uint8)

        if failing is None:
            render_batch(4, render)
            assert during == [3, 1, 1, 1]
        else:
            with pytest.raises(ValueError):
                render_batch(4, render)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_an_error_names_the_image_of_a_batch():
    images = np.zeros((3, 4, 4, 3), np.float32)
    images[1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="^image 2 of 3: the image has NaN"):
        hint_batch(images, bind("canny"))
    with pytest.raises(ValueError, match="^the image has NaN"):
        hint_batch(images[1:2], bind("canny"))
    with pytest.raises(ValueError, match="no images"):
        hint_batch(images[:0], bind("canny"))


def test_hints_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="one size"):
        render_batch(2, lambda index: np.zeros((4 + index, 4), np.uint8))


def test_memory_does_not_grow_with_the_frames(monkeypatch):
    # One worker: what two threads hold at the same moment is not the same in every run.
    monkeypatch.setattr(batch, "available_cores", lambda: 1)
    image = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)

    def peak_beside_the_result(count: int) -> int:
        images = np.broadcast_to(image, (count, *image.shape[1:]))
        tracemalloc.start()
        result = hint_batch(images, bind("soft_edge"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - result.nbytes

    few = peak_beside_the_result(4)
    assert few > image.nbytes, "the temporaries must be seen by the measurement"
    assert peak_beside_the_result(24) < few * 1.2


def test_no_more_hints_are_alive_than_there_are_workers(monkeypatch):
    monkeypatch.setattr(batch, "available_cores", lambda: 2)
    alive, most = set(), [0]
    lock = threading.Lock()

    def render(index: int) -> np.ndarray:
        hint = np.zeros((4, 4), np.uint8)
        with lock:
            alive.add(index)
            most[0] = max(most[0], len(alive))
        weakref.finalize(hint, alive.discard, index)
        return hint

    render_batch(40, render)
    # The first hint, which gives the size, stays beside those of the two workers.
    assert most[0] <= 3 and not alive


@pytest.mark.parametrize("shape", [(40, 60, 3), (60, 40), (41, 60, 1), (33, 33, 4)])
def test_resolution_is_the_shorter_side_and_keeps_the_proportions(shape):
    image = np.random.default_rng(0).random(shape, np.float32)
    for resolution in (20, 80):
        result = resized(image, resolution)
        assert min(result.shape[:2]) == resolution
        scale = resolution / min(shape[:2])
        assert abs(max(result.shape[:2]) - max(shape[:2]) * scale) <= 0.5
    assert resized(image, 0) is image
    assert resized(image, min(shape[:2])) is image


def test_shrinking_takes_the_mean():
    image = np.zeros((4, 4, 3), np.float32)
    image[:2, :2] = 1.0
    assert resized(image, 2)[..., 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_growing_does_not_leave_the_range():
    image = np.kron(np.random.default_rng(0).integers(0, 2, (5, 6, 3)), np.ones((4, 4, 1)))
    for dtype in (np.float32, np.float16):
        grown = resized(image.astype(dtype), 50)
        assert grown.min() == 0.0 and grown.max() == 1.0


@pytest.mark.parametrize("resolution", [-8, 20_000])
def test_impossible_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match=f"resolution {resolution} would make"):
        resized(np.zeros((64, 64, 3), np.float32), resolution)


def test_a_hint_of_a_resized_image_is_the_hint_of_the_resized_image():
    images = np.random.default_rng(0).random((2, 30, 40, 3), np.float32)
    hints = hint_batch(images, bind("lineart"), resolution=60)
    expected = bind("lineart")(resized(images[1], 60))
    assert hints.shape == (2, 60, 80, 3)
    assert np.array_equal(hints[1, ..., 0], expected / np.float32(255))


def test_one_mask_serves_all_images_and_is_stretched_to_them():
    images = np.random.default_rng(0).random((3, 20, 30, 3), np.float32)
    mask = np.zeros((1, 10, 15), np.float32)
    mask[:, 5:] = 1.0
    hints = hint_batch(images, bind("inpaint"), masks=mask)
    assert (hints[:, 11:] == -1.0).all()
    assert np.array_equal(hints[:, :9], images[:, :9])


def test_each_image_gets_its_own_mask_and_other_numbers_are_refused():
    images = np.full((3, 4, 4, 3), 0.5, np.float32)
    masks = np.zeros((3, 4, 4), np.float32)
    masks[1] = 1.0
    assert [(hint == -1.0).all() for hint in hint_batch(images, bind("inpaint"), masks=masks)] == [False, True, False]
    with pytest.raises(ValueError, match="2 masks do not fit 3 images"):
        hint_batch(images, bind("inpaint"), masks=masks[:2])
