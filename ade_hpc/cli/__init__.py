# SPDX-License-Identifier: Apache-2.0
"""The commands. Thin: what a command needs beyond its arguments is imported inside it."""
