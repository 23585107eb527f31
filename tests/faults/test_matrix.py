# SPDX-License-Identifier: Apache-2.0
"""The fault matrix on a real Slurm: every row gets its answer, and no healthy twin gets one.

The rows of a ward run beside each other in its lab, begun by the ward's first test; each test waits for its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.faults.judge import Outcome
from tests.faults.table import FAST, FAULTS, TWINS, Fault, Twin
from tests.faults.ward import SIDE_BY_SIDE, ward
from tests.support.images import image

# Disturbing rows have a lab to themselves, one at a time; the nodes with cgroups of all labs share a folder.
GROUPS = {"side by side": "faults", "alone": "faults alone", "cgroups": "cgroups"}

pytestmark = [pytest.mark.cluster, pytest.mark.container, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class Admitted:
    """The rows that run in a lab; fast: those that are run a second time, with the fast path."""

    usual: dict[str, Future[Outcome]]
    fast: dict[str, Future[Outcome]]


@dataclass
class Wards:
    """The labs of this session, each made when the first of its rows is asked for."""

    factory: pytest.TempPathFactory
    stack: ExitStack
    admitted: dict[str, Admitted] = field(default_factory=dict)

    def of(self, row: Fault | Twin) -> Admitted:
        if row.ward not in self.admitted:
            beds = SIDE_BY_SIDE if row.ward == "side by side" else 1
            lab = self.stack.enter_context(ward(self.factory.mktemp("faults"), beds))
            mine = [one for one in (*FAULTS, *TWINS) if one.ward == row.ward]
            fast = [one for one in FAST if one.ward == row.ward]
            self.admitted[row.ward] = Admitted(lab.admit(mine), lab.admit(fast, fast=True))
        return self.admitted[row.ward]


@pytest.fixture(scope="session")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wards]:
    image("--base")  # found now: a test has a home, and a cache, of its own
    with ExitStack() as stack:
        yield Wards(tmp_path_factory, stack)


def rows(of: Sequence[Fault | Twin]) -> list[object]:
    return [pytest.param(row, id=row.name, marks=pytest.mark.xdist_group(GROUPS[row.ward])) for row in of]


@pytest.mark.parametrize("fault", rows(FAULTS))
def test_a_fault_gets_its_answer(wards: Wards, fault: Fault) -> None:
    outcome = wards.of(fault).usual[fault.name].result()
    assert outcome.passed, outcome.why


@pytest.mark.parametrize("twin", rows(TWINS))
def test_a_healthy_twin_is_left_alone(wards: Wards, twin: Twin) -> None:
    outcome = wards.of(twin).usual[twin.name].result()
    assert outcome.passed, outcome.why


@pytest.mark.parametrize("row", rows(FAST))
def test_with_the_fast_path_the_job_gets_its_answer_by_itself_and_a_healthy_one_none(
    wards: Wards, row: Fault | Twin
) -> None:
    """Nobody ticks for a fault. How many seconds it takes on an idle machine is for `scripts/bench faults`."""
    outcome = wards.of(row).fast[row.name].result()
    assert outcome.passed, outcome.why
