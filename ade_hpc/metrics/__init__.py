# SPDX-License-Identifier: Apache-2.0
"""Learning curves: read event files, diagnose them, draw them."""
