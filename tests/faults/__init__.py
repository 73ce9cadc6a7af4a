"""The faults that the tests are known to notice, room by room; benchmarks/mutations.py puts each in and looks."""

from . import attention, batch, editing, flow, host_attention, host_sampling, inversion, samplers
from .fault import Fault

FAULTS: tuple[Fault, ...] = (
    *inversion.FAULTS,
    *samplers.FAULTS,
    *attention.FAULTS,
    *editing.FAULTS,
    *host_attention.FAULTS,
    *host_sampling.FAULTS,
    *flow.FAULTS,
    *batch.FAULTS,
)
