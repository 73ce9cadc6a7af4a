"""Edit Sample on a plain trajectory: rows of prompts and images, and the source row held on it (direct inversion)."""

from dataclasses import replace

import latent_preview
import pytest
import torch
from retrace_pack.host.conditioning import stack_rows

LAYOUTS = ["sd15", "sd2_v", "sdxl"]
MIDDLE = 3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("start_step", [0, MIDDLE])
def test_p8_the_source_row_is_the_trajectory_at_every_step(random_task, relative, layout, start_step):
    task = random_task(layout)
    trajectory = task.invert()
    rows = []
    hooked = task.hooked(lambda step, x, sigma: rows.append(x) or x)
    edited, source = hooked.edit(trajectory, task.target, source=task.source, start_step=start_step)
    path = task.model.model.process_latent_in(trajectory.latents)
    assert len(rows) == task.steps - start_step
    for level, x in zip(reversed(range(len(rows))), rows, strict=True):
        assert torch.equal(x[:1], path[level])
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    alone = task.edit(trajectory, task.target, start_step=start_step)[0]
    assert relative(edited, alone) < 1e-4
    assert task.error(edited) > 1e-4


def test_p8_the_offset_form_is_the_same(task, relative):
    """Ju et al. add the difference to the trajectory after each step; putting the source row on it is the same.

    At a cfg at which random weights do not amplify the rounding of the differences, which is not the same on every processor.
    """
    task = replace(task, cfg=2.0)
    trajectory = task.invert()
    path = task.model.model.process_latent_in(trajectory.latents)
    offsets = []

    def record(step, x, sigma):
        offsets.append(path[task.steps - 1 - step] - x[:1])
        return x + offsets[-1]

    task.hooked(record).edit(trajectory)
    assert all(float(offset.abs().max()) > 1e-4 for offset in offsets)
    add = task.hooked(lambda step, x, sigma: torch.cat([x[:1] + offsets[step], x[1:]]))
    ours = task.edit(trajectory, task.target, source=task.source)
    theirs = add.edit(trajectory, task.target, source=task.source, hold_source=False)
    for mine, other in zip(ours, theirs, strict=True):
        assert relative(mine, other) < 1e-4


def test_the_source_row_runs_freely_where_it_is_not_held(task, relative):
    trajectory = task.invert()
    free = task.edit(trajectory, task.target, source=task.source, hold_source=False)
    assert task.error(free[1]) > 1e-4
    assert relative(free[1], task.edit(trajectory)[0]) < 1e-4
    # One row alone is the edit, and is never held.
    assert torch.equal(task.edit(trajectory)[0], task.edit(trajectory, hold_source=False)[0])


def test_several_rows_on_one_image(task, relative):
    trajectory = task.invert()
    rows = stack_rows([task.source, task.target, task.negative], ["source", "target", "other"])
    edited, source = task.edit(trajectory, rows)
    assert edited.shape == (2, 4, 8, 8)
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    for row, prompt in zip(edited, (task.target, task.negative), strict=True):
        assert relative(row[None], task.edit(trajectory, prompt)[0]) < 1e-4


def test_prompts_of_different_length_are_rows_too(task, relative):
    long = [[torch.cat([task.target[0][0], task.negative[0][0]], dim=1), {}]]
    trajectory = task.invert()
    edited, source = task.edit(trajectory, long, source=task.source)
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    assert relative(edited, task.edit(trajectory, long)[0]) < 1e-4


def test_a_batch_of_images_under_one_prompt_or_one_each(random_task, relative):
    task = random_task(images=2)
    trajectory = task.invert()
    edited, source = task.edit(trajectory, task.target)
    assert torch.equal(source, trajectory.latents[0])
    each = task.edit(trajectory, stack_rows([task.target, task.negative], ["first", "second"]))[0]
    for index, prompt in enumerate((task.target, task.negative)):
        alone = task.edit(replace(task, samples=task.samples[index : index + 1]).invert(), prompt)[0]
        # The random network at this cfg makes much of the last digits, in which a batch differs.
        assert relative(each[index : index + 1], alone) < 1e-2
    assert relative(edited[:1], each[:1]) < 1e-4


def test_the_pooled_embeddings_of_sdxl_are_stacked(random_task, relative):
    """Each row must see its own: the edit beside its source is the edit alone, and another pooled embedding changes it."""
    task = random_task("sdxl")
    trajectory = task.invert()
    rows = stack_rows([task.source, task.target], ["source", "target"])
    expected = torch.cat([task.source[0][1]["pooled_output"], task.target[0][1]["pooled_output"]])
    assert torch.equal(rows[0][1]["pooled_output"], expected)
    edited = task.edit(trajectory, rows)[0]
    assert relative(edited, task.edit(trajectory, task.target)[0]) < 1e-4
    swapped = [[rows[0][0], {**rows[0][1], "pooled_output": expected.flip(0)}]]
    assert relative(task.edit(trajectory, swapped)[0], edited) > 1e-3


def test_rows_that_do_not_fit_are_refused(random_task):
    task = random_task(images=2)
    trajectory = task.invert()
    three = stack_rows([task.source, task.target, task.negative], ["a", "b", "c"])
    for changes, message in (
        ({"positive": three}, "the prompts have 3 rows, but the trajectory holds 2 images"),
        ({"source": task.source}, "a source runs beside the edit of one image, but the trajectory holds 2 images"),
        ({"start_step": task.steps}, f"start_step {task.steps} is beyond the trajectory's {task.steps} steps"),
    ):
        with pytest.raises(ValueError, match=f"^Edit Sample: .*{message}"):
            task.edit(trajectory, **changes)


@pytest.mark.parametrize("given_to", ["source", "positive"])
def test_what_only_one_of_the_rows_carries_is_refused(task, given_to):
    """ComfyUI asks both rows with the settings of one entry: a ControlNet would act on both or on neither."""
    rows = {"source": task.source, "positive": task.target}
    rows[given_to] = [[rows[given_to][0][0], {**rows[given_to][0][1], "strength": 0.5}]]
    with pytest.raises(
        ValueError, match="^Edit Sample: positive and source differ in strength, but they are rows of one"
    ):
        task.edit(task.invert(), **rows)


def test_a_source_of_several_parts_is_refused(task):
    with pytest.raises(ValueError, match="^Edit Sample: source has 2 parts"):
        task.edit(task.invert(), source=task.source * 2)


def test_a_trajectory_of_another_model_is_refused(models, task):
    with pytest.raises(ValueError, match="Edit Sample: the trajectory's prediction is 'epsilon', but the model's is"):
        replace(task, model=models("sd2_v")[0]).edit(task.invert())


@pytest.mark.parametrize("source", [True, False])
def test_the_live_preview_shows_the_edit_and_not_the_source_beside_it(task, monkeypatch, source):
    """At the last level the denoised picture is the result."""
    shown = []
    monkeypatch.setattr(latent_preview, "prepare_callback", lambda *model: lambda step, x0, *rest: shown.append(x0))
    trajectory = task.invert()
    shown.clear()
    edited, _ = task.edit(trajectory, task.target, source=task.source if source else None, hold_source=False)
    last = task.model.model.process_latent_out(shown[-1][:1])
    assert len(shown) == task.steps
    torch.testing.assert_close(last, edited, rtol=1e-4, atol=1e-4)
