"""The changes to x after a step of Edit Sample: a patch's functions, and the pull back to the trajectory."""

import pytest
import torch
from retrace_pack.host.after_step import KEY, model_changes

MIDDLE = 3


def test_functions_after_a_step_are_called_in_order(task, relative):
    trajectory = task.invert()
    heard = []

    def first(step, x, sigma):
        heard.append(("first", step, float(sigma)))
        return x + 1

    def second(step, x, sigma):
        heard.append(("second", step, float(sigma)))
        return x - 1

    rebuilt = task.hooked(first, second).edit(trajectory, start_step=MIDDLE)[0]
    levels = trajectory.remaining_sigmas(MIDDLE)[1:].tolist()
    assert heard == [(name, step, sigma) for step, sigma in enumerate(levels) for name in ("first", "second")]
    assert relative(rebuilt, task.edit(trajectory, start_step=MIDDLE)[0]) < 1e-3


def test_only_plain_trajectories_have_functions_after_a_step(task):
    """The others are exact on their own path alone, and say so to the patches by not announcing themselves."""
    calls, announced = [], []
    hooked = task.hooked(lambda step, x, sigma: calls.append(step) or x)

    def listen(arguments):
        announced.append(model_changes(arguments["model_options"]["transformer_options"]).applied)
        return arguments["conds_out"]

    hooked.model.set_model_sampler_pre_cfg_function(listen)
    for trajectory, is_plain in (
        (task.exact("o-belm"), False),
        (task.edit_friendly("ddpm"), False),
        (task.invert(), True),
    ):
        calls.clear()
        announced.clear()
        hooked.edit(trajectory)
        assert bool(calls) == is_plain and set(announced) == {is_plain}
    assert KEY not in task.model.model_options["transformer_options"]


@pytest.mark.parametrize("dilation", [0, 2])
def test_a_full_pull_back_is_the_trajectory_at_the_levels_below(task, dilation):
    trajectory = task.invert()
    path = task.model.model.process_latent_in(trajectory.latents)
    below = 400
    states = []
    hooked = task.hooked(lambda step, x, sigma: states.append((x, sigma)) or x)
    full = {"pull_back": 1.0, "pull_back_quantile": 1.0, "pull_back_below": below, "pull_back_dilation": dilation}
    edited = hooked.edit(trajectory, task.target, **full)[0]
    limit = trajectory.model.sigma_table[below]
    pulled = [bool(sigma <= limit) for _, sigma in states]
    assert set(pulled) == {True, False}
    for level, (x, _), is_pulled in zip(reversed(range(task.steps)), states, pulled, strict=True):
        assert torch.allclose(x, path[level], rtol=1e-5, atol=1e-5) == is_pulled
    torch.testing.assert_close(edited, task.samples, rtol=1e-4, atol=1e-4)


def test_the_pull_back_leaves_what_guidance_changes(task):
    trajectory = task.invert()
    free, weak, strong, nothing = (
        task.edit(trajectory, task.target, pull_back=1.0, pull_back_quantile=quantile, pull_back_dilation=dilation)[0]
        for quantile, dilation in ((0.0, 8), (0.3, 0), (0.9, 0), (1.0, 0))
    )
    errors = [task.error(result) for result in (nothing, strong, weak, free)]
    assert errors == sorted(errors) and errors[0] < 1e-8 < errors[1]
    # At cfg 1 there is no guidance that could tell what is edited.
    changes = {"cfg": 1.0, "pull_back_quantile": 1.0}
    kept = task.edit(trajectory, task.target, pull_back=1.0, **changes)[0]
    assert torch.equal(kept, task.edit(trajectory, task.target, **changes)[0])
