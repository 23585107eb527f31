# SPDX-License-Identifier: Apache-2.0
"""The fault matrix on a real Slurm: every row gets its answer, and no healthy twin gets one.

The rows of a ward run beside each other in its lab, begun by the ward's first test; each test waits for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.faults.judge import Outcome
from tests.faults.table import FAULTS, TWINS, Fault, Twin
from tests.faults.ward import SIDE_BY_SIDE, ward

# Disturbing rows have a lab to themselves, one at a time; the nodes with cgroups of all labs share a folder.
GROUPS = {"side by side": "faults", "alone": "faults alone", "cgroups": "cgroups"}

pytestmark = [pytest.mark.cluster, pytest.mark.container, pytest.mark.timeout(420)]


@dataclass
class Wards:
    """The labs of this session, each made when the first of its rows is asked for."""

    factory: pytest.TempPathFactory
    stack: ExitStack
    outcomes: dict[str, dict[str, Future[Outcome]]] = field(default_factory=dict)

    def outcome(self, row: Fault | Twin) -> Outcome:
        if row.ward not in self.outcomes:
            root = self.factory.mktemp("faults")
            beds = SIDE_BY_SIDE if row.ward == "side by side" else 1
            admitted = [one for one in (*FAULTS, *TWINS) if one.ward == row.ward]
            self.outcomes[row.ward] = self.stack.enter_context(ward(root, beds)).admit(admitted)
        return self.outcomes[row.ward][row.name].result()


@pytest.fixture(scope="session")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wards]:
    with ExitStack() as stack:
        yield Wards(tmp_path_factory, stack)


def rows(of: tuple[Fault, ...] | tuple[Twin, ...]) -> list[object]:
    return [pytest.param(row, id=row.name, marks=pytest.mark.xdist_group(GROUPS[row.ward])) for row in of]


@pytest.mark.parametrize("fault", rows(FAULTS))
def test_a_fault_gets_its_answer(wards: Wards, fault: Fault) -> None:
    outcome = wards.outcome(fault)
    assert outcome.passed, outcome.why


@pytest.mark.parametrize("twin", rows(TWINS))
def test_a_healthy_twin_is_left_alone(wards: Wards, twin: Twin) -> None:
    outcome = wards.outcome(twin)
    assert outcome.passed, outcome.why
