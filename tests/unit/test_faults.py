"""The list of faults stays alive when the code moves: `python dev.py bench mutations` can put in each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import FAULTS

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.why}")
def test_a_fault_can_be_put_in(fault):
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.new != fault.old
    for test in fault.tests:
        file, *name = test.split("::")
        assert (
            f"def {name[0].split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
            if name
            else (ROOT / file).is_file()
        )


def test_every_room_has_its_faults_and_none_is_listed_twice():
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS) >= 60
    for room in ("inversion", "samplers", "attention", "host"):
        assert sum(fault.file.startswith(f"{room}/") for fault in FAULTS) >= 10
