"""The grid and the schedule plot."""

import torch
from retrace_pack.measuring.grid import image_grid
from retrace_pack.measuring.plots import loss_plot, schedule_plot
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule


def test_a_grid_holds_every_picture_in_reading_order():
    pictures = [torch.full((2, 3, 5, 3), value / 10) for value in range(5)]
    grid = image_grid(pictures, columns=2)
    assert grid.shape == (2, 3 * 3 + 2 * 4, 2 * 5 + 4, 3)
    assert [round(float(grid[1, row * 7, column * 9, 0]), 1) for row in range(3) for column in range(2)] == [
        0.0, 0.1, 0.2, 0.3, 0.4, 1.0,
    ]  # fmt: skip
    assert float(grid[0, 4, 0, 0]) == 1.0


def test_a_grid_is_no_wider_than_its_pictures():
    assert image_grid([torch.zeros(1, 4, 4, 3)], columns=8).shape == (1, 4, 4, 3)


def test_the_plot_marks_as_many_steps_as_there_are(sigma_table):
    few, many = (
        schedule_plot(sigma_table, make_schedule(sigma_table, steps), VarianceExploding()) for steps in (5, 50)
    )
    assert few.shape == many.shape == (1, 600, 768, 3)
    assert few.dtype == torch.float32 and float(few.min()) >= 0 and float(few.max()) <= 1

    def dots(plot):
        color = torch.tensor([214, 80, 40]) / 255
        return int(((plot - color).abs().sum(-1) < 0.02).sum())

    assert dots(few) > 50 and dots(many) > 5 * dots(few)


def test_the_loss_plot_tells_a_better_run_from_a_worse_one():
    thresholds = [1e-5, 3e-5]
    better = loss_plot([(1e-1, 1e-4), (1e-1, 1e-5)], thresholds, "better")
    worse = loss_plot([(1e-1, 5e-2), (1e-1, 4e-2)], thresholds, "better")
    assert better.shape == worse.shape and better.shape[0] == 1 and better.shape[3] == 3
    assert float(better.min()) >= 0 and float(better.max()) <= 1
    assert not torch.equal(better, worse)


def test_the_loss_plot_takes_one_step_and_a_loss_of_nothing():
    assert bool(torch.isfinite(loss_plot([(0.0,)], [1e-5], "one")).all())
