"""The nodes around a trajectory: files inside ComfyUI's folders, pictures, and what is refused."""

from dataclasses import replace

import folder_paths
import pytest
import torch
from retrace_pack.host.trajectory_files import trajectory_names, trajectory_path
from retrace_pack.inversion.trajectory import InversionFacts, ModelFacts, plain_trajectory
from retrace_pack.nodes.measuring import RetraceCompareImages
from retrace_pack.nodes.schedules import RetraceSchedulePlot
from retrace_pack.nodes.trajectory import RetraceLoadTrajectory, RetraceSaveTrajectory, RetraceTrajectoryPreview

STEPS = 5


@pytest.fixture
def folders(tmp_path):
    """ComfyUI's input, output and temp folders, empty."""
    before = (
        folder_paths.get_output_directory(),
        folder_paths.get_input_directory(),
        folder_paths.get_temp_directory(),
    )
    for name in ("output", "input", "temp"):
        (tmp_path / name).mkdir()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_input_directory(str(tmp_path / "input"))
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.set_input_directory(before[1])
    folder_paths.set_temp_directory(before[2])


@pytest.fixture
def trajectory():
    latents = torch.randn(STEPS + 1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ModelFacts(torch.linspace(0.03, 14.6, 1000), "epsilon", "SD15", "weights")
    facts = InversionFacts("ddim", STEPS, "leading", "clean", 1.0, "prompts")
    return plain_trajectory(latents, torch.linspace(0, 14, STEPS + 1), torch.zeros(STEPS), model, facts)


def test_a_trajectory_is_saved_listed_and_loaded(folders, trajectory):
    for _ in range(2):
        RetraceSaveTrajectory.execute(trajectory, "trajectories/cat")
    names = trajectory_names()
    assert sorted(names) == [f"trajectories/cat_0000{n}_.safetensors [output]" for n in (1, 2)]
    loaded = RetraceLoadTrajectory.execute(names[0]).result[0]
    assert torch.equal(loaded.latents, trajectory.latents)
    assert trajectory_path(names[0]).stat().st_mode & 0o044 == 0o044


def test_another_file_of_the_same_name_is_read_again(folders, trajectory):
    RetraceSaveTrajectory.execute(trajectory, "trajectories/cat")
    (name,) = trajectory_names()
    before = RetraceLoadTrajectory.fingerprint_inputs(name)
    assert RetraceLoadTrajectory.fingerprint_inputs(name) == before
    path = trajectory_path(name)
    path.write_bytes(path.read_bytes() + b" ")
    assert RetraceLoadTrajectory.fingerprint_inputs(name) != before


@pytest.mark.parametrize("prefix", ["", "  ", "trajectories/", "../escaped", "/escaped"])
def test_a_prefix_without_a_name_or_outside_is_refused(folders, trajectory, prefix):
    with pytest.raises(ValueError, match="Save Trajectory: filename_prefix .* (has no file name|points outside)"):
        RetraceSaveTrajectory.execute(trajectory, prefix)
    assert not list(folders.rglob("*.safetensors"))


def test_odd_files_in_the_folder_do_not_take_the_list_away(folders, trajectory):
    RetraceSaveTrajectory.execute(trajectory, "trajectories/a [1] cat")
    shelf = folders / "output" / "trajectories"
    (shelf / "gone.safetensors").symlink_to(folders / "nowhere")
    outside = folders / "outside.safetensors"
    outside.write_bytes(b"")
    (shelf / "out.safetensors").symlink_to(outside)
    names = trajectory_names()
    assert names == ["trajectories/a [1] cat_00001_.safetensors [output]"]
    assert torch.equal(RetraceLoadTrajectory.execute(names[0]).result[0].latents, trajectory.latents)


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors [output]", "/etc/passwd [input]", "x.pt [output]", "x.safetensors [temp]", "x.safetensors"],
)
def test_names_that_were_not_listed_are_refused(folders, name):
    with pytest.raises(ValueError, match="Load Trajectory: .* is not a .safetensors file inside of ComfyUI's folders"):
        RetraceLoadTrajectory.execute(name)


def test_a_file_that_vanished_is_refused(folders):
    with pytest.raises(ValueError, match="does not exist any more; save the trajectory again"):
        RetraceLoadTrajectory.execute("trajectories/x.safetensors [output]")


def test_a_damaged_file_is_refused_in_the_nodes_name(folders):
    shelf = folders / "input" / "trajectories"
    shelf.mkdir()
    (shelf / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="Load Trajectory: x.safetensors is damaged or incomplete"):
        RetraceLoadTrajectory.execute("trajectories/x.safetensors [input]")


def test_the_preview_shows_the_predicted_images_in_order(folders, trajectory):
    class FlatVAE:
        """Decodes a latent to its mean as a grey."""

        def decode(self, samples):
            return samples.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 16, 16, 3)

    grid = RetraceTrajectoryPreview.execute(trajectory, FlatVAE(), 3, 2).result[0]
    assert grid.shape == (1, 36, 36, 3)
    expected = trajectory.evenly_spaced_predictions(3).mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(torch.stack([grid[0, 0, 0, 0], grid[0, 0, 20, 0], grid[0, 20, 0, 0]]), expected)


def test_equal_levels_do_not_spoil_the_preview(trajectory):
    sigmas = trajectory.sigmas.clone()
    sigmas[0] = sigmas[1]
    assert bool(torch.isfinite(replace(trajectory, sigmas=sigmas).predicted_clean()).all())


def test_the_schedule_plot_is_drawn(folders, models):
    image = RetraceSchedulePlot.execute(models("sd15")[0], 20, "trailing", "clean").result[0]
    assert image.shape == (1, 600, 768, 3) and float(image.min()) < 0.3


def test_the_comparison_shows_its_heat_map_and_figures_on_the_node(folders):
    first = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    output = RetraceCompareImages.execute(first, first + 0.1, "all", 0.25)
    assert output.result[0] == pytest.approx(20, abs=1e-3)
    assert output.ui["text"][0].startswith("PSNR 20.00 dB") and len(output.ui["images"]) == 1
    with pytest.raises(ValueError, match="Compare Images: region is 'inside', but there is no mask"):
        RetraceCompareImages.execute(first, first, "inside", 0.25)
    with pytest.raises(ValueError, match="Compare Images: a picture holds NaN"):
        RetraceCompareImages.execute(first, first * float("nan"), "all", 0.25)
