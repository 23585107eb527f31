# SPDX-License-Identifier: Apache-2.0
"""The parts of scripts/slurm-lab: the processes of a lab, and the templates of its configuration."""
