# SPDX-License-Identifier: Apache-2.0
"""The researcher's files, typed and validated: experiment.yaml, preferences.md, site.yaml."""
