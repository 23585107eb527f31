# SPDX-License-Identifier: Apache-2.0
"""The agent: a language model that looks at the curves where no rule fits. LangChain lives here and nowhere else."""
