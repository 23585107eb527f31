# SPDX-License-Identifier: Apache-2.0
"""On the laptop: the same commands over SSH. Nothing here runs on the cluster."""
