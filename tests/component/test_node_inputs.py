"""Every node with every value that its schema does not allow, as if from a link: refused before the node runs."""

import math

import pytest
import torch
from comfy_api.latest import io
from node_call import run_node
from retrace_pack.nodes import NODES
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.node import RetraceNode

STAND_INS = {
    io.Image.Input: torch.zeros(1, 8, 8, 3),
    io.Mask.Input: torch.zeros(1, 8, 8),
    io.Latent.Input: {"samples": torch.zeros(1, 4, 2, 2)},
    io.Conditioning.Input: [[torch.zeros(1, 77, 8), {}]],
}
NAN = torch.full((1, 8, 8, 3), math.nan)


def stand_in(declared):
    """A value that passes the check."""
    if isinstance(declared, io.DynamicCombo.Input):
        return chosen(declared, declared.options[0])
    if isinstance(declared, io.Combo.Input):
        return declared.options[0]
    if isinstance(declared, (io.Int.Input, io.Float.Input, io.Boolean.Input)):
        return declared.default
    if isinstance(declared, io.String.Input):
        return "text"
    return STAND_INS.get(type(declared), object())


def chosen(combo, option):
    return {combo.id: option.key, **{each.id: stand_in(each) for each in option.inputs}}


def bad_values(declared):
    if isinstance(declared, io.DynamicCombo.Input):
        yield "unknown", {declared.id: "no such choice"}
    elif isinstance(declared, io.Combo.Input):
        yield "unknown", "no such choice"
    elif isinstance(declared, (io.Int.Input, io.Float.Input)):
        yield "too small", declared.min - 1
        yield "too large", declared.max * 2 + 1
        yield "NaN", math.nan
        yield "text", "5"
    elif isinstance(declared, io.String.Input):
        yield "no text", 5
    elif isinstance(declared, io.Conditioning.Input):
        yield "empty", []
    elif isinstance(declared, io.Image.Input):
        yield "NaN", NAN
        yield "infinity", torch.full((1, 8, 8, 3), math.inf)
        yield "empty", torch.zeros(0, 8, 8, 3)
    elif isinstance(declared, io.Mask.Input):
        yield "NaN", NAN[..., 0]
        yield "above 1", torch.full((1, 8, 8), 2.0)
    elif isinstance(declared, io.Latent.Input):
        yield "NaN", {"samples": NAN.movedim(-1, 1)}
        yield "NaN in the mask", {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": NAN[..., 0]}
    if not declared.optional:
        yield "None", None


def cases():
    """(node, input, what is wrong, the value as the node receives it: a combo's choice contains its inputs)."""
    for node in NODES:
        own = node.validate_inputs.__code__.co_varnames
        for declared in node.define_schema().inputs:
            # ComfyUI asks the node itself about what its validate_inputs takes.
            if declared.id in own:
                continue
            for wrong, value in bad_values(declared):
                yield node, declared.id, wrong, declared.id, value
            if isinstance(declared, io.DynamicCombo.Input):
                for option in declared.options:
                    for each in option.inputs:
                        for wrong, value in bad_values(each):
                            bad = {**chosen(declared, option), each.id: value}
                            yield node, declared.id, wrong, f"{declared.id}: {each.id}", bad


CASES = list(cases())


@pytest.mark.parametrize(
    ("node", "name", "wrong", "told", "value"), CASES, ids=[f"{c[0].__name__}-{c[3]}-{c[2]}" for c in CASES]
)
def test_what_the_schema_does_not_allow_is_refused(node, name, wrong, told, value):
    schema = node.define_schema()
    inputs = {each.id: stand_in(each) for each in schema.inputs}
    title = schema.display_name.removesuffix(" (Retrace)").partition(": ")[0]
    with pytest.raises(ValueError, match=rf"^{title}: {told}\b.*; |^{title}: {told}: the mask"):
        node.execute(**{**inputs, name: value})


def test_there_are_cases_of_every_node():
    assert {case[0] for case in CASES} | {node for node in NODES if "Load" in node.__name__} == set(NODES)
    assert len(CASES) > 400


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_is_checked_once_and_keeps_its_signature(node):
    assert issubclass(node, RetraceNode)
    wrapped = node.execute.__func__.__wrapped__
    assert not hasattr(wrapped, "__wrapped__")
    # As ComfyUI does before each run.
    assert node.PREPARE_CLASS_CLONE(None).execute.__func__ is node.execute.__func__


def test_the_ends_of_a_range_and_a_missing_optional_input_are_allowed(models, latent):
    model, cond = models("sd15")
    for cfg in (0, 30.0):
        run_node(RetraceDDIMInvert, model=model, positive=cond, negative=cond, latent=latent, steps=1, cfg=cfg)
