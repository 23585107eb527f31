# SPDX-License-Identifier: Apache-2.0
"""Judgement without side effects: diagnose, rules, guard. Everything here is a pure function of recorded data."""
