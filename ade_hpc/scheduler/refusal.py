# SPDX-License-Identifier: Apache-2.0
"""What a failed ``sbatch`` means: refused, or unclear; and what its user can change. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ade_hpc.scheduler.run import Completed

# The message may have arrived, and the answer been lost
SILENCE = re.compile(
    r"socket timed out|timed? ?out|unable to contact|connect failure|connection (refused|reset|timed)|zero bytes"
    r"|unexpected message|unspecified error|authentication error|communication|no route to host|broken pipe"
    r"|header lengths|insane message|standby mode|transport endpoint",
    re.IGNORECASE,
)
# The client knows of no cluster: nothing was sent
NO_CONFIG = re.compile(r"could not establish a configuration source", re.IGNORECASE)
NO_CONFIG_ADVICE = "Slurm's commands find no slurm.conf here: set SLURM_CONF to the cluster's, or load its module"
NO_SUCH_JOB = re.compile(r"invalid job id specified|already completing or completed", re.IGNORECASE)

HINTS: tuple[tuple[str, str], ...] = (
    (r"account or account/partition", "Set account: `sacctmgr show assoc user=$USER` lists yours."),
    (r"invalid qos", "Set qos to one that your account has: `sacctmgr show assoc user=$USER format=account,qos`."),
    (r"invalid feature", "Change constraint: `sinfo -o '%R %f'` lists the features of each partition."),
    (r"invalid node name", "Change nodelist or exclude: `sinfo -N` lists the nodes."),
    (r"invalid --time", "Write time as MINUTES, HH:MM:SS or D-HH:MM:SS."),
    (r"invalid --mem", "Write mem as a number with M, G or T."),
    (r"generic resource|gres", "Change gres or gpus_per_node: `sinfo -o '%R %G'` lists what each partition has."),
    (r"requested node configuration", "No node of this partition has that much: ask for fewer gpus, cpus or less mem."),
    (r"accounting/qos policy", "A limit of your account is reached: wait for other jobs to end, or ask for less."),
    (r"unrecognized option", "This Slurm does not know the option: remove it, or name it under skip."),
    (r"dependency problem", "The job that it should wait for is unknown to Slurm."),
    (r"configuration file", "Set SLURM_CONF to the cluster's slurm.conf."),
)


def own_words(answer: Completed) -> str:
    """What sbatch said, on one line, less what it always says first."""
    lines = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    return "; ".join(re.sub(r"^sbatch: (error|fatal): (Batch job submission failed: )?", "", line) for line in lines)


def is_unclear(answer: Completed) -> bool:
    """May the job exist although sbatch failed? Only plain words of sbatch itself prove that it does not.

    sbatch ends with 255 for options that it can't read and with 1 for what the controller refused.
    """
    spoken = re.search(r"^sbatch: ", answer.stderr, re.MULTILINE) is not None
    return answer.returncode not in (1, 255) or not spoken or SILENCE.search(answer.stderr) is not None


def what_to_change(answer: Completed, partitions: Callable[[], str]) -> str:
    """One sentence for who wrote the request, or an empty string. ``partitions`` is asked only where it helps."""
    if re.search(r"invalid partition|partition not available", answer.stderr, re.IGNORECASE):
        names = partitions()
        return f"Set partition to one of: {names}." if names else "Change partition: `sinfo -s` lists them."
    hints = (hint for pattern, hint in HINTS if re.search(pattern, answer.stderr, re.IGNORECASE))
    return next(hints, "")
