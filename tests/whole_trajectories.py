"""A trajectory file of every kind, and whether a file can be used as these can. Needs the pack as `retrace_pack`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from retrace_pack.inversion.facts import InversionFacts, ModelFacts
from retrace_pack.inversion.result import Asks
from retrace_pack.inversion.trajectory import NullEmbeddings, Trajectory
from retrace_pack.inversion.trajectory_file import load_trajectory, save_trajectory

STEPS = 3
LONGEST_MESSAGE = 500


def _trajectories() -> Iterator[Trajectory]:
    """One of each kind."""
    latents = torch.randn(STEPS + 1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    model = ModelFacts(torch.linspace(0.03, 14.6, 20), "epsilon", "SD15", "abc")
    facts = InversionFacts("ddim", STEPS, "leading", "clean", 1.0, "digest", 2, 9)
    plain = Trajectory(latents, torch.linspace(0, 14, STEPS + 1), torch.zeros(STEPS), model, facts)
    yield plain
    yield replace(plain, asks=Asks(latents[1:] / 8, plain.sigmas[1:] / 2, latents[1:] / 9))
    embeddings = NullEmbeddings(torch.ones(STEPS, 7, 3), torch.ones(1, 5), latents[1:] / 7, 7.5, ("control",))
    yield plain.with_null_text(embeddings)
    pairs = torch.stack([latents, latents], 1).double()
    yield replace(plain, pairs=pairs, inversion=replace(facts, method="edict", settings={"mixing": 0.93}))
    settings = {"order": 1, "eta": 1.0}
    yield replace(
        plain, noise_maps=latents[1:] / 6, inversion=replace(facts, method="edit-friendly", settings=settings)
    )
    flow = replace(model, prediction="flow", latent_format="Flux", noise_scale=2.0)
    made = replace(facts, method="euler", spacing="simple", guidance=3.5)
    yield replace(plain, sigmas=torch.linspace(0, 1, STEPS + 1), model=flow, inversion=made)


@cache
def whole_files() -> tuple[bytes, ...]:
    """What `save_trajectory` writes for each kind."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(
            save_trajectory(trajectory, Path(folder), [str(number)]).read_bytes()
            for number, trajectory in enumerate(_trajectories())
        )


def outcome(path: Path) -> str | None:
    """The message by which a file is refused; None if it loads, and can then be used and saved like any other.

    Raises AssertionError for a message that does not begin with the file's name or is long; any other exception is a fault, too.
    """
    try:
        loaded = load_trajectory(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path.name} ") and len(message) < LONGEST_MESSAGE, message
        return message
    _use(loaded)
    copy = save_trajectory(loaded, path.parent, [f"{path.name} again"])
    again = load_trajectory(copy)
    copy.unlink()
    assert torch.equal(again.latents, loaded.latents) and again.inversion == loaded.inversion
    return None


def _use(loaded: Trajectory) -> None:
    """What the nodes read of a trajectory before any network runs."""
    assert bool(torch.isfinite(loaded.latents).all()) and 0 < loaded.steps == loaded.inversion.steps
    assert loaded.latent_at(0).shape == loaded.image().shape and loaded.predicted_clean().shape[0] == loaded.steps
    assert len(loaded.remaining_sigmas(0)) == loaded.steps + 1 and loaded.kind and loaded.largest_offset() >= 0
    assert loaded.inversion.inputs(1) and f"{loaded.inversion.unet_evaluations}"
    for timestep in (0, 500, 999):
        assert loaded.model.level_of(timestep) >= 0 and math.isfinite(loaded.model.percent_of(timestep))
    loaded.require_model(loaded.model)
