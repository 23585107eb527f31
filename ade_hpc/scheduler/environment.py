# SPDX-License-Identifier: Apache-2.0
"""The one environment of every scheduler call: an allow-list, the same in a shell, in cron and inside a job.

``sbatch`` exports everything it sees by default, and slurmdbd may store it (``AccountingStoreFlags=job_env``); it
obeys ``SBATCH_*`` before the script's own lines; and the ``SLURM_*`` of a surrounding job break the new one (measured:
``SLURM_MEM_PER_CPU``, ``SLURM_EXPORT_ENV``, ``SLURM_ARRAY_JOB_ID``). So nothing gets through that is not named here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ALLOWED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "SLURM_CONF"})
# cron may set no PATH at all
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def clean_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What ``sbatch``, ``scancel`` and the job itself get to see of ``environ``."""
    kept = {key: value for key, value in environ.items() if key in ALLOWED or key.startswith("LC_")}
    return {"PATH": DEFAULT_PATH, **kept}


def query_env(environ: Mapping[str, str]) -> dict[str, str]:
    """``clean_env`` for ``squeue`` and ``sacct``: times are printed as seconds, which no time zone can twist.

    Not for ``sbatch``: the job would inherit it (squeue(1), sacct(1): ``SLURM_TIME_FORMAT``, a strftime format).
    """
    return {**clean_env(environ), "SLURM_TIME_FORMAT": "%s"}
