# SPDX-License-Identifier: Apache-2.0
"""What people read: the state of all experiments, the history of one. Read-only."""
