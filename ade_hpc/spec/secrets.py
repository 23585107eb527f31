# SPDX-License-Identifier: Apache-2.0
"""Does this look like a key? Secrets must not stand in a file that is committed, stored and shown (invariant 10)."""

from __future__ import annotations

import re

_NAME = re.compile(r"(KEYS?|TOKEN|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)(?=_|\d|$)", re.IGNORECASE)
# The published prefixes of OpenAI, GitHub, GitLab, Hugging Face, AWS, Slack and Google, and PEM private keys. Not
# after a letter, `/`, `.` or `-`: /data/hf_models is a folder.
_VALUE = re.compile(
    r"(?<![\w/.-])(sk-[\w-]{6,}|gh[pousr]_\w{6,}|github_pat_\w{6,}|glpat-[\w-]{6,}|hf_[A-Za-z0-9]{8,}"
    r"|AKIA[A-Z0-9]{8,}|xox[a-z]-[\w-]{6,}|AIza[\w-]{20,})|-----BEGIN [A-Z ]*PRIVATE KEY"
)


def secret_name(name: str) -> bool:
    """``WANDB_API_KEY``, ``HF_TOKEN``; not ``TOKENIZERS_PARALLELISM`` or ``MAX_TOKENS``."""
    return bool(_NAME.search(name))


def secret_value(text: str) -> bool:
    return bool(_VALUE.search(text))


def no_secret(text: str) -> str:
    """For lines of shell and arguments. The message never repeats the text."""
    if secret_value(text):
        raise ValueError("holds what looks like a key: name its variable under `pass_env` and use that instead")
    return text


def masked(text: str) -> str:
    """``text`` with whatever looks like a key replaced."""
    return _VALUE.sub("[a key]", text)
