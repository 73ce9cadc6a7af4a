"""What a fraction of the steps means if the SIGMAS have more levels than the sampler visits."""

import comfy.samplers
import torch
from random_edits import STEPS, edit, p2p, rows, twins
from random_models import random_conditioning


def test_zeros_after_the_last_level_are_no_steps(models, relative):
    """As in RES4LYF, whose samplers pad their SIGMAS and drop the padding themselves."""
    model = models("sd15")[0]

    def euler(model, x, sigmas, **options):
        return comfy.samplers.sampler_object("euler").sampler_function(model, x, sigmas[: STEPS + 1], **options)

    def run(own: float, padding: int):
        guider = comfy.samplers.CFGGuider(p2p(model, edit(own=own)))
        guider.set_conds(rows(model, 1, 2), random_conditioning(model, 9))
        guider.set_cfg(3.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", STEPS)
        sigmas = torch.cat([sigmas, torch.zeros(padding)])
        sampler = comfy.samplers.KSAMPLER(euler)
        return guider.sample(torch.zeros_like(twins()), twins(), sampler, sigmas, disable_pbar=True, seed=0)

    assert torch.equal(run(0.5, STEPS), run(0.5, 0))
    assert relative(run(0.5, 0), run(1.0, 0)) > 1e-5
