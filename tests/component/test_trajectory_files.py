"""Trajectories as files: only inside ComfyUI's folders, under new names, listed whatever else the folder contains."""

import asyncio
import errno
import os
from dataclasses import replace

import execution
import folder_paths
import pytest
import torch
from node_call import run_node
from retrace_pack.host.trajectory_files import trajectory_names, trajectory_path
from retrace_pack.nodes.trajectory import RetraceLoadTrajectory, RetraceSaveTrajectory

import nodes

STEPS = 5


def test_a_trajectory_is_saved_listed_and_loaded(folders, trajectory):
    for _ in range(2):
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    names = trajectory_names()
    assert sorted(names) == [f"trajectories/cat_0000{n}_.safetensors [output]" for n in (1, 2)]
    loaded = run_node(RetraceLoadTrajectory, name=names[0]).result[0]
    assert torch.equal(loaded.latents, trajectory.latents)


def test_another_file_of_the_same_name_is_read_again(folders, trajectory):
    run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    (name,) = trajectory_names()
    before = RetraceLoadTrajectory.fingerprint_inputs(name)
    assert RetraceLoadTrajectory.fingerprint_inputs(name) == before
    path = trajectory_path(name)
    path.write_bytes(path.read_bytes() + b" ")
    assert RetraceLoadTrajectory.fingerprint_inputs(name) != before


@pytest.mark.parametrize("prefix", ["", "  ", "trajectories/", "../escaped", "/escaped"])
def test_a_prefix_without_a_name_or_outside_is_refused(folders, trajectory, prefix):
    with pytest.raises(
        ValueError, match="Save Trajectory: filename_prefix .* does not name a file inside ComfyUI's output"
    ):
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix=prefix)
    assert not list(folders.rglob("*.safetensors"))


def test_odd_files_in_the_folder_do_not_take_the_list_away(folders, trajectory):
    run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/a [1] cat")
    shelf = folders / "output" / "trajectories"
    (shelf / "gone.safetensors").symlink_to(folders / "nowhere")
    outside = folders / "outside.safetensors"
    outside.write_bytes(b"")
    (shelf / "out.safetensors").symlink_to(outside)
    names = trajectory_names()
    assert names == ["trajectories/a [1] cat_00001_.safetensors [output]"]
    assert torch.equal(run_node(RetraceLoadTrajectory, name=names[0]).result[0].latents, trajectory.latents)


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors [output]", "/etc/passwd [input]", "x.pt [output]", "x.safetensors [temp]", "x.safetensors"],
)
def test_names_that_were_not_listed_are_refused(folders, name):
    with pytest.raises(ValueError, match="Load Trajectory: .* is not a .safetensors file inside ComfyUI's folders"):
        run_node(RetraceLoadTrajectory, name=name)


def test_a_file_that_vanished_is_refused(folders):
    with pytest.raises(ValueError, match="does not exist; save the trajectory again"):
        run_node(RetraceLoadTrajectory, name="trajectories/x.safetensors [output]")


def test_a_damaged_file_is_refused_in_the_nodes_name(folders):
    shelf = folders / "input" / "trajectories"
    shelf.mkdir()
    (shelf / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="Load Trajectory: x.safetensors is damaged or incomplete"):
        run_node(RetraceLoadTrajectory, name="trajectories/x.safetensors [input]")


LOOPING = "trajectories/loop.safetensors [output]"
LONG = "n" * 5000


def short_and_without_paths(refused, folders) -> str:
    message = str(refused.value)
    assert str(folders) not in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    "prefix", [LONG, f"{LONG}/cat", "trajectories/a\0b", "\ud800", "link/../../x", "loop/x", "loop"]
)
def test_an_impossible_prefix_is_refused_in_the_nodes_name(folders, trajectory, prefix):
    (folders / "output" / "deep" / "deeper").mkdir(parents=True)
    (folders / "output" / "link").symlink_to(folders / "output" / "deep" / "deeper")
    (folders / "output" / "loop").symlink_to(folders / "output" / "loop")
    if prefix == "loop":  # a prefix like any other: the number after it makes the name
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix=prefix)
        assert (folders / "output" / "loop_00001_.safetensors").is_file()
        return
    with pytest.raises(ValueError, match="Save Trajectory: ") as refused:
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix=prefix)
    assert "filename_prefix" in short_and_without_paths(refused, folders)
    assert not [path for path in folders.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "name",
    [f"{LONG}.safetensors [output]", "a\0b.safetensors [output]", "\ud800.safetensors [output]", LOOPING, LONG,
     "link/../../x.safetensors [output]"],
)  # fmt: skip
def test_an_impossible_name_is_refused_in_the_nodes_name(folders, name):
    (folders / "output" / "trajectories").mkdir()
    (folders / "output" / "trajectories" / "loop.safetensors").symlink_to("loop.safetensors")
    (folders / "output" / "link").symlink_to(folders)
    (folders / "x.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"Load Trajectory: .*choose (it|one) from the list") as refused:
        run_node(RetraceLoadTrajectory, name=name)
    short_and_without_paths(refused, folders)


def test_a_link_to_itself_and_a_name_that_is_no_text_cost_no_other_entry(folders, trajectory):
    run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    shelf = folders / "output" / "trajectories"
    (shelf / "loop.safetensors").symlink_to("loop.safetensors")
    (shelf / "folder").symlink_to("folder")
    os.close(os.open(bytes(shelf) + b"/\xff.txt", os.O_CREAT))
    assert trajectory_names() == ["trajectories/cat_00001_.safetensors [output]"]
    assert RetraceLoadTrajectory.define_schema().inputs


def test_a_folder_that_cannot_be_read_costs_no_other_entry(folders, trajectory, monkeypatch):
    run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    broken = folders / "output" / "trajectories" / "broken"
    broken.mkdir()
    scandir = os.scandir

    def failing(path):
        if os.fspath(path) == str(broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(broken))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert trajectory_names() == ["trajectories/cat_00001_.safetensors [output]"]


def test_a_name_that_another_process_took_meanwhile_is_passed_over(folders, trajectory, monkeypatch):
    (folders / "output" / "trajectories").mkdir()
    chosen_early = folder_paths.get_save_image_path("trajectories/cat", str(folders / "output"))
    monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *_: chosen_early)
    texts = [
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat").ui["text"][0]
        for _ in range(2)
    ]
    assert texts == [f"trajectories/cat_0000{n}_.safetensors" for n in (1, 2)]
    assert len(trajectory_names()) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_save_that_fails_says_what_to_do_and_leaves_nothing_behind(folders, trajectory, monkeypatch, call, code):
    shelf = folders / "output" / "trajectories"
    shelf.mkdir()

    def failing(*_):
        raise OSError(code, os.strerror(code), str(shelf))

    monkeypatch.setattr(os, call, failing)
    if call == "link":
        monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ValueError, match="Save Trajectory: .*trajectories/cat.*make room on the disk") as refused:
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    assert os.strerror(code) in short_and_without_paths(refused, folders)
    assert not list(shelf.iterdir())


def test_a_file_in_the_place_of_the_folder_is_an_error_in_the_nodes_name(folders, trajectory):
    (folders / "output" / "trajectories").write_bytes(b"")
    with pytest.raises(ValueError, match="Save Trajectory: .* cannot be saved as 'trajectories/cat'") as refused:
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    short_and_without_paths(refused, folders)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_of_a_file_follows_the_umask(folders, trajectory, umask, mode):
    before = os.umask(umask)
    try:
        run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    finally:
        os.umask(before)
    (name,) = trajectory_names()
    assert trajectory_path(name).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(("latent_format", "channels"), [("SD15", 3), ("SDXL", 16), ("Flux", 4)])
def test_latents_of_other_channels_than_their_format_has_are_refused(folders, trajectory, latent_format, channels):
    latents = torch.zeros(STEPS + 1, 1, channels, 8, 8)
    model = replace(trajectory.model, latent_format=latent_format)
    run_node(
        RetraceSaveTrajectory,
        trajectory=replace(trajectory, latents=latents, model=model),
        filename_prefix="trajectories/cat",
    )
    with pytest.raises(
        ValueError, match=rf"Load Trajectory: .* have {channels} channels, .* {latent_format} have \d+;"
    ):
        run_node(RetraceLoadTrajectory, name=trajectory_names()[0])


def test_a_latent_format_that_comfyui_does_not_know_is_not_judged(folders, trajectory):
    model = replace(trajectory.model, latent_format="OfAnotherPack")
    run_node(RetraceSaveTrajectory, trajectory=replace(trajectory, model=model), filename_prefix="trajectories/cat")
    assert run_node(RetraceLoadTrajectory, name=trajectory_names()[0]).result[0].model.latent_format == "OfAnotherPack"


def refused_by_comfyui(name: str) -> str:
    """ComfyUI's error for a prompt with this name, before it runs anything."""
    prompt = {"1": {"class_type": "RetraceLoadTrajectory", "inputs": {"name": name}}}
    valid, errors, _ = asyncio.run(execution.validate_inputs("prompt", prompt, "1", {}))
    assert valid == (not errors)
    return " ".join(error["details"] for error in errors)


def test_without_files_the_list_and_the_refusal_say_what_to_do(folders, trajectory, monkeypatch):
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "RetraceLoadTrajectory", RetraceLoadTrajectory)
    (offered,) = RetraceLoadTrajectory.GET_NODE_INFO_V1()["input"]["required"]["name"][1]["options"]
    assert "run Save Trajectory, then press R" in offered
    assert "Load Trajectory: " in refused_by_comfyui(offered)
    assert "save one with Save Trajectory" in refused_by_comfyui(offered)
    run_node(RetraceSaveTrajectory, trajectory=trajectory, filename_prefix="trajectories/cat")
    (name,) = RetraceLoadTrajectory.GET_NODE_INFO_V1()["input"]["required"]["name"][1]["options"]
    assert name == "trajectories/cat_00001_.safetensors [output]" and refused_by_comfyui(name) == ""
    trajectory_path(name).unlink()
    assert "does not exist; save the trajectory again" in refused_by_comfyui(name)


def test_a_name_that_comes_over_a_link_is_judged_when_it_is_there(folders):
    assert RetraceLoadTrajectory.validate_inputs(None) is True
