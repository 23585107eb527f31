# SPDX-License-Identifier: Apache-2.0
"""ade-hpc: the supervisor that runs deep-learning experiments on Slurm overnight."""

__version__ = "0.1.0"
