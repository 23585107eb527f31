# SPDX-License-Identifier: Apache-2.0
"""The tick: observe, diagnose, propose, guard, act, record."""
