# SPDX-License-Identifier: Apache-2.0
"""Schedulers behind one Protocol: Slurm through submitit, and the embedded local one. Only ``policy`` judges."""
