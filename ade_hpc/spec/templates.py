# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc init`: the files to start from, commented so that nobody needs a manual to fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ade_hpc.errors import StoreError

_EXPERIMENT = """\
# What to run and on which resources. `ade-hpc check experiment.yaml` says what is wrong with it,
# `ade-hpc submit experiment.yaml --dry-run` shows the job script, and without --dry-run it runs.

name: my-experiment            # becomes a path, the branch ade/my-experiment and the names of its jobs

# --- what Slurm is asked for, in Slurm's own names; what you leave out comes from the site file, else from Slurm
# partition: gpu
# account: my-project
time: 4:00:00                  # hours:minutes:seconds; a bare 30 is minutes, 2-12 is two days and 12 hours
nodes: 1
# gpus_per_node: 1             # or TYPE:NUMBER, such as a100:2
cpus_per_task: 4
mem: 16G
# Also: qos ntasks_per_node gres constraint exclude reservation.
# sbatch: {mail-type: END}     # any other long option of sbatch; true for one without a value
# skip: [mem]                  # directives that this cluster refuses
# setup: [module load miniconda, conda activate torch]      # lines of shell before the trainer starts

# --- where it runs
image: null                    # null: the Python that `setup` puts in PATH; or an Apptainer image such as trainer.sif
# binds: ["/datasets/cifar:/data"]      # SOURCE:TARGET, read-only unless it ends in :rw; only with an image
# env: {OMP_NUM_THREADS: 4}
# pass_env: [WANDB_API_KEY]    # by name: keys and tokens never stand in this file

# --- the trainer: its own command line. Filled in at each start, on the compute node:
#     {config} {tensorboard} {checkpoints} {attempt}   paths and a number, also within an argument
#     {resume}     zero or more arguments: see `checkpoint` below
#     {params}     the config as `--key value` arguments, for a trainer that reads no config file
command: >-
  python train.py --config {config} --tensorboard {tensorboard} --checkpoints {checkpoints} {resume}

config: config.yaml            # the hyper-parameters: the one file that ade-hpc may change, in git
preferences: preferences.md    # what you want, and the bounds of what may be done about it

checkpoint:
  pattern: "step-{step}.pt"    # its name below {checkpoints}; a plain name if it is replaced each time
  resume: --resume {path}      # what {resume} becomes when there is a checkpoint to continue from
  # weights: --init {path}     # what it becomes for `resume: weights`, if your trainer can take the weights alone
  # signal: SIGUSR1            # if your trainer saves when it gets this signal; sent before the time is up
  # complete: metadata.json    # if a checkpoint is a folder: the file that is written last

# signal_delay: 90s            # how long before the time limit the job is told
# stall_floor: 4m              # no shorter silence counts as a stall; what is normal beyond that is learnt
# code: [train.py, src]        # what to freeze for the job; all that git tracks, unless you say so
# runs_dir: /scratch/me/ade    # where run folders go; .ade beside this file, unless the site file says otherwise
# push: never                  # or a git remote that gets the commits on ade/my-experiment
"""

_CONFIG = """\
# The hyper-parameters. Your trainer reads this file; ade-hpc changes single values of it, within the bounds of
# preferences.md, and commits each change. Write 1.0e-3, not 1e-3: PyYAML reads the latter as text.

optimizer:
  lr: 1.0e-3
  weight_decay: 1.0e-4
  clip: 1.0
"""

_PREFERENCES = """\
# What I want

Say it in your own words: what this experiment is for, what has been tried, what you would look at first. People and
the language model (if you turn it on) read the words. The YAML blocks are what is enforced, whoever proposes a change.

I want the best validation accuracy that this model can reach. The learning rate is a guess.

```yaml
objective: {tag: accuracy/val, goal: max}       # a TensorBoard tag; add `target: 0.97` if you know when to stop
metrics:
  - {tag: loss/val, goal: min}
```

These keys of config.yaml may be changed, and no others:

```yaml
tunables:
  optimizer.lr: {min: 1.0e-6, max: 1.0e-2, max_factor: 10, tag: lr}   # tag: where your trainer logs the rate in force
  optimizer.clip: {choices: [0.5, 1.0, 5.0]}
```

To begin with it only watches and says what it would have done. `propose` asks you first, `auto` acts.

```yaml
limits: {mode: observe, max_attempts: 8, cooldown: 30m, gpu_hours: 50}
```

The first rule that holds is applied. Findings are nan, diverging, collapse, never-learns, plateau, overfitting, spike,
oscillating, slow, stalled, vanishing-gradient, exploding-gradient, dead-units and update-size.

```yaml
rules:
  - name: diverged
    when: [nan, diverging]                      # any of these
    do: {scale: {optimizer.lr: 0.3}, resume: last-healthy}
    max_times: 3
```
"""

_IMAGE = """\
# An image for the trainer: `apptainer build trainer.sif apptainer/trainer.def`, then `image: trainer.sif` in
# experiment.yaml. Building needs no root (user namespaces), but it needs the network: do it where there is one.

Bootstrap: docker
From: python:3.11-slim

%post
    # What your trainer imports. The code itself is not in the image: each attempt mounts its own frozen commit.
    pip install --no-cache-dir torch tensorboard pyyaml

%environment
    export PYTHONUNBUFFERED=1
"""

TEMPLATES: Mapping[str, str] = {
    "experiment.yaml": _EXPERIMENT,
    "config.yaml": _CONFIG,
    "preferences.md": _PREFERENCES,
    "apptainer/trainer.def": _IMAGE,
}


def init(folder: Path) -> list[Path]:
    """Write the templates that are not there yet and return what was written; no file is ever overwritten.

    What of ``TEMPLATES`` is not in the answer was there before. Raises StoreError where the folder can't be written.
    """
    return [folder / name for name, text in TEMPLATES.items() if _write_new(folder / name, text)]


def _write_new(path: Path, text: str) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror or error}") from None
    # preferences.md is obeyed without asking, so it must not be writable by others, whatever the umask says
    path.chmod(path.stat().st_mode & ~0o022)
    return True
