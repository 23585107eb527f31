# SPDX-License-Identifier: Apache-2.0
"""``python -m ade_hpc.cli``: the same as the ``ade-hpc`` command."""

from ade_hpc.cli.entry import run

run()
