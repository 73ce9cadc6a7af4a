"""P3: the grid of timesteps against diffusers, spacing by spacing, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from retrace_pack.samplers.schedule import make_schedule, step_at


@pytest.mark.parametrize("steps", [50, 30, 13, 7, 999])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_p3_timesteps_equal_diffusers(sigma_table, sd_scheduler, spacing, steps):
    reference = sd_scheduler(timestep_spacing=spacing)
    reference.set_timesteps(steps)
    assert make_schedule(sigma_table, steps, spacing).timesteps == tuple(reference.timesteps.tolist())


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 50), ("leading", 30), ("leading", 13), ("trailing", 50)])
def test_p3_next_level_equals_diffusers_where_its_grid_is_right(sigma_table, spacing, steps):
    schedule = make_schedule(sigma_table, steps, spacing)
    stride = 1000 // steps
    for here, there in zip(schedule.timesteps, schedule.timesteps[1:], strict=False):
        assert here - stride == there


@pytest.mark.parametrize(
    ("spacing", "steps", "wrong"), [("trailing", 30, 10), ("trailing", 13, 11), ("linspace", 50, None)]
)
def test_p3_next_level_is_looked_up_where_diffusers_is_wrong(sigma_table, spacing, steps, wrong):
    """diffusers' step() takes t - T//N for the next level, which is not on these grids; ours lands on the grid."""
    schedule = make_schedule(sigma_table, steps, spacing)
    pairs = list(zip(schedule.timesteps, schedule.timesteps[1:], strict=False))
    missed = sum(here - 1000 // steps != there for here, there in pairs)
    assert missed == wrong if wrong is not None else missed > 0
    for index, (_, there) in enumerate(pairs):
        assert schedule.sigmas[index + 1] == sigma_table[there]


def test_p3_a_thousand_leading_steps_are_refused_in_words(sigma_table):
    """diffusers raises IndexError here."""
    with pytest.raises(ValueError, match="begin at timestep 1000, beyond the model's last \\(999\\); choose fewer"):
        make_schedule(sigma_table, 1000, "leading")
    assert make_schedule(sigma_table, 1000, "trailing").timesteps[0] == 999


def test_terminal_levels(sigma_table):
    assert make_schedule(sigma_table, 50, terminal="clean").sigmas[-1] == 0
    assert make_schedule(sigma_table, 50, terminal="first").sigmas[-1] == sigma_table[0]


@given(
    steps=st.integers(1, 999),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    terminal=st.sampled_from(["clean", "first"]),
)
def test_sigmas_never_rise_and_are_the_tables_own(steps, spacing, terminal):
    table = torch.linspace(0.03, 14.6, 1000)
    schedule = make_schedule(table, steps, spacing, terminal)
    assert len(schedule.sigmas) == steps + 1
    assert bool((schedule.sigmas[1:] <= schedule.sigmas[:-1]).all())
    assert torch.equal(schedule.sigmas[:-1], table[list(schedule.timesteps)])


@given(data=st.data(), steps=st.integers(1, 60))
def test_windows_join_to_the_whole(data, steps):
    whole = make_schedule(torch.linspace(0.03, 14.6, 1000), steps)
    cut = data.draw(st.integers(1, steps))
    first = whole.window(0, cut)
    assert torch.equal(first.sigmas, whole.sigmas[: cut + 1])
    if cut < steps:
        rest = whole.window(cut, steps)
        assert torch.equal(torch.cat([first.sigmas[:-1], rest.sigmas]), whole.sigmas)
        assert first.timesteps + rest.timesteps == whole.timesteps


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5), (0, 51), (50, 51)])
def test_a_window_beyond_the_schedule_is_refused(sigma_table, start, end):
    with pytest.raises(ValueError, match=f"start_step {start} and end_step {end} do not lie in the 50 steps"):
        make_schedule(sigma_table, 50).window(start, end)


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_steps_beyond_the_table_are_refused(sigma_table, steps):
    with pytest.raises(ValueError, match=f"{steps} steps do not fit a model of 1000 timesteps; choose 1 to 1000"):
        make_schedule(sigma_table, steps)


def test_unknown_names_are_refused(sigma_table):
    with pytest.raises(ValueError, match="spacing 'karras'"):
        make_schedule(sigma_table, 10, "karras")
    with pytest.raises(ValueError, match="terminal 'last'"):
        make_schedule(sigma_table, 10, terminal="last")


def test_calls_between_two_levels_belong_to_the_step_in_progress(sigma_table):
    sigmas = make_schedule(sigma_table, 12).sigmas
    for step, sigma in enumerate(sigmas[:-1]):
        for rounding in (1 - 1e-7, 1 + 1e-7):
            assert step_at(sigmas, sigma) == step == step_at(sigmas.float(), sigma.float() * rounding)
    assert step_at(sigmas, (sigmas[3] + sigmas[4]) / 2) == 3
    assert step_at(sigmas, sigmas[-2] / 2) == 11
    assert step_at(sigmas, 2 * sigmas[0]) == 0
