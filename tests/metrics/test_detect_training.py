# SPDX-License-Identifier: Apache-2.0
"""From a real training to the verdict: two small networks, their event files, our reader, the detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.detect import diagnose
from ade_hpc.metrics.objective import Guess
from curves_lab import tuning
from curves_lab.log import Log


@pytest.mark.parametrize(
    ("recipe", "verdict", "kinds"), [("mlp_plain", "healthy", []), ("mlp_rate_jumps", "failing", ["diverging"])]
)
def test_a_trained_network_is_judged_by_what_it_logged(
    recipe: str, verdict: str, kinds: list[str], tmp_path: Path
) -> None:
    """The same network with a good learning rate, and with one that jumps up in mid-run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    log = Log(tmp_path)
    tuning.BOOK.recipes[recipe].train(log, np.random.default_rng(0))
    log.close()
    torch.set_num_threads(threads)
    answer = diagnose(collect([tmp_path]), Guess("accuracy/val", "max"))
    assert answer["verdict"] == verdict
    assert [found["kind"] for found in answer["findings"] if found["severity"] == "intervene"] == kinds
