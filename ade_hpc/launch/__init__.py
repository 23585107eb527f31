# SPDX-License-Identifier: Apache-2.0
"""One attempt of an experiment: freeze, submit, adopt, replace, cancel. Used by `submit` and by the tick."""
