"""How null-text optimization runs inside ComfyUI: memory, interruption, progress, and what it refuses."""

from dataclasses import replace

import comfy.model_management as management
import pytest
import torch
from retrace_pack.host import gradients
from retrace_pack.host import null_text as host


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_little_memory_means_checkpoints_and_the_same_embeddings(short_task, monkeypatch, method):
    task = short_task()
    trajectory = task.invert()
    whole, _ = task.optimize(trajectory, method, inner_steps=2)
    calls = []
    checkpoint = gradients.checkpoint
    monkeypatch.setattr(gradients, "checkpoint", lambda *args, **more: calls.append(1) or checkpoint(*args, **more))
    monkeypatch.setattr(host, "KEPT_PER_LATENT_PIXEL", 1e15)
    recomputed, _ = task.optimize(trajectory, method, inner_steps=2)
    assert calls
    torch.testing.assert_close(recomputed.null_text.embeddings, whole.null_text.embeddings, rtol=1e-4, atol=1e-5)


def test_an_interrupt_takes_effect_at_once_and_leaves_the_model_as_it_was(short_task):
    task = short_task()
    trajectory = task.invert()
    before = [(parameter, parameter.clone()) for parameter in task.model.model.parameters()]
    expected, _ = task.optimize(trajectory)
    heard = []

    def interrupt(step, inner, *others):
        heard.append((step, inner))
        if len(heard) == 3:
            management.interrupt_current_processing(True)

    with pytest.raises(management.InterruptProcessingException):
        task.optimize(trajectory, callback=interrupt)
    assert len(heard) == 3
    for (parameter, value), now in zip(before, task.model.model.parameters(), strict=True):
        assert now is parameter and torch.equal(now, value)
    again, _ = task.optimize(trajectory)
    assert torch.equal(again.null_text.embeddings, expected.null_text.embeddings)


def test_an_error_in_the_middle_leaves_the_model_as_it_was(short_task):
    task = short_task()
    trajectory = task.invert()
    before = [(parameter, parameter.clone()) for parameter in task.model.model.parameters()]

    def fail(step, *others):
        if step == 1:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        task.optimize(trajectory, callback=fail)
    for (parameter, value), now in zip(before, task.model.model.parameters(), strict=True):
        assert now is parameter and torch.equal(now, value)


def test_the_bar_is_as_long_as_all_inner_steps_and_previews_come(short_task, monkeypatch):
    import latent_preview

    task = short_task()
    trajectory = task.invert()
    lengths, seen = [], []

    def prepare(patcher, steps, *args):
        lengths.append(steps)
        return lambda place, x0, x, total: seen.append((place, total, x0.shape))

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    task.optimize(trajectory, inner_steps=3, epsilon=0.0)
    assert lengths == [task.steps * 3]
    places = [place for place, _, _ in seen]
    assert places == sorted(places) and places[0] == 0 and places[-1] == task.steps * 3 - 1
    assert {(total, shape) for _, total, shape in seen} == {(task.steps * 3, (1, 4, 8, 8))}


def test_more_than_a_hundred_steps_are_for_fast_alone(short_task):
    task = replace(short_task(), steps=101)
    trajectory = task.invert()
    with pytest.raises(ValueError, match="Null Text Optimize: the trajectory has 101 steps, .* choose the method fast"):
        task.optimize_node(trajectory, method="reference")
    optimized = task.optimize_node(trajectory, inner_steps=0)[0]
    assert len(optimized.null_text.embeddings) == 101


def test_what_it_cannot_do_is_refused_in_plain_words(models, short_task):
    task = short_task()
    trajectory, pair = task.invert(), replace(task, steps=2).exact("o-belm")
    second = torch.randn(task.samples.shape, generator=torch.Generator().manual_seed(1))
    batch = replace(task, samples=torch.cat([task.samples, second]), steps=2).invert()
    two_parts, other = replace(task, negative=task.negative * 2), replace(task, model=models("sd2_v")[0])
    ((embedding, settings),) = task.negative
    two_rows = replace(task, negative=[[embedding.repeat(2, 1, 1), settings]])
    for asked, given, changes, message in (
        (task, batch, {}, "holds 2 images, .* invert them one at a time"),
        (task, trajectory, {"cfg": 1.0}, "cfg is 1, at which the null embedding is never used"),
        (task, trajectory, {"inner_steps": -1}, "inner_steps is -1, but it must be a whole number from 0"),
        (task, pair, {}, "was made by o-belm and continues from its pair"),
        (two_parts, trajectory, {}, "negative has 2 parts .* give the one prompt of a CLIP Text"),
        (two_rows, trajectory, {}, "negative has 2 rows .* give the one prompt of a CLIP Text"),
        (other, trajectory, {}, "the trajectory's prediction is 'epsilon', but the model's is"),
    ):
        with pytest.raises(ValueError, match=f"^Null Text Optimize: .*{message}"):
            asked.optimize_node(given, **changes)
