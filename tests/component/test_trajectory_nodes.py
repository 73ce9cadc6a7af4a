"""The nodes that draw: a trajectory, a schedule, a comparison."""

from dataclasses import replace

import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.measuring import RetraceCompareImages
from retrace_pack.nodes.schedules import RetraceSchedulePlot
from retrace_pack.nodes.trajectory import RetraceTrajectoryPreview


def test_the_preview_shows_the_predicted_images_in_order(folders, trajectory):
    class FlatVAE:
        """Decodes a latent to its mean as a gray."""

        def decode(self, samples):
            return samples.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 16, 16, 3)

    grid = run_node(RetraceTrajectoryPreview, trajectory=trajectory, vae=FlatVAE(), pictures=3, columns=2).result[0]
    assert grid.shape == (1, 36, 36, 3)
    expected = trajectory.evenly_spaced_predictions(3).mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(torch.stack([grid[0, 0, 0, 0], grid[0, 0, 20, 0], grid[0, 20, 0, 0]]), expected)


def test_equal_levels_do_not_spoil_the_preview(trajectory):
    sigmas = trajectory.sigmas.clone()
    sigmas[0] = sigmas[1]
    assert bool(torch.isfinite(replace(trajectory, sigmas=sigmas).predicted_clean()).all())


def test_the_schedule_plot_is_drawn(folders, models):
    image = run_node(RetraceSchedulePlot, model=models("sd15")[0], steps=20, spacing="trailing").result[0]
    assert image.shape == (1, 600, 768, 3) and float(image.min()) < 0.3


def test_the_comparison_shows_its_heat_map_and_figures_on_the_node(folders):
    first = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    output = run_node(RetraceCompareImages, image_a=first, image_b=first + 0.1)
    assert output.result[0] == pytest.approx(20, abs=1e-3)
    assert output.ui["text"][0].startswith("PSNR 20.00 dB") and len(output.ui["images"]) == 1
    with pytest.raises(ValueError, match="Compare Images: region is 'inside', but there is no mask"):
        run_node(RetraceCompareImages, image_a=first, image_b=first, region="inside")
    with pytest.raises(ValueError, match="Compare Images: image_b holds NaN"):
        run_node(RetraceCompareImages, image_a=first, image_b=first * float("nan"))
