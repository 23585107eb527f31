# SPDX-License-Identifier: Apache-2.0
"""What runs on the compute node: the payload, its sidecar, the container's command line."""
