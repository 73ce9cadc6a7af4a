"""DDIM Invert's second-order methods: Edit Sample and the rule's stock sampler reconstruct the image."""

import pytest
from node_call import run_node
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.null_text import RetraceNullTextOptimize

STEPS = 20
METHODS = {"dpm++ 2m": "dpmpp_2m", "res 2m": "res_multistep"}


@pytest.fixture(scope="module")
def invert(trained):
    """(Method, inputs) -> its trajectory of a held-out scene."""

    def get(method, **changes):
        task = trained()
        inputs = {"fixed_point_iterations": 0, "steps": STEPS, "cfg": 1.0, "method": method, **changes}
        latent = {"samples": task.samples}
        return run_node(
            RetraceDDIMInvert, model=task.model, positive=task.source, negative=task.negative, latent=latent, **inputs
        ).result[0]

    return get


@pytest.mark.parametrize("method", METHODS)
def test_half_the_steps_give_back_more_than_ddim_by_the_pack_and_by_the_stock_sampler(trained, invert, method):
    task, ddim = trained(), invert("ddim", steps=2 * STEPS)
    trajectory = invert(method)
    assert trajectory.inversion.unet_evaluations == STEPS + 4
    plain = task.psnr(task.edit(ddim, cfg=1.0)[0])
    own, stock = task.edit(trajectory, cfg=1.0)[0], task.k_sampler(trajectory, cfg=1.0, sampler_name=METHODS[method])
    assert min(task.psnr(own), task.psnr(stock)) > plain + 5
    # Both walk by the same rule; rounding differs.
    assert float((own - stock).square().mean()) < 1e-4 * float(stock.square().mean())


def test_iterations_of_ddim_are_refused(invert):
    with pytest.raises(ValueError, match=r"DDIM Invert: fixed_point_iterations is 2.*'dpm\+\+ 2m'"):
        invert("dpm++ 2m", fixed_point_iterations=2)
    with pytest.raises(ValueError, match=r"acceleration is 'anderson'.*'res 2m'"):
        invert("res 2m", acceleration="anderson")


def test_null_embeddings_are_those_of_ddim(trained, invert):
    task = trained()
    with pytest.raises(ValueError, match=r"Null Text Optimize: .*'dpm\+\+ 2m'"):
        run_node(
            RetraceNullTextOptimize,
            model=task.model,
            trajectory=invert("dpm++ 2m"),
            positive=task.source,
            negative=task.negative,
        )
