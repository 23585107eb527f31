# SPDX-License-Identifier: Apache-2.0
"""The doctor on Slurm: its clients, its daemons, a submission, and the tables that a tick can be scheduled by."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from ade_hpc.report import schedule
from ade_hpc.report.checkup import Check, Patient, tried, version
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.pyslurm_client import ask_argv
from ade_hpc.scheduler.refusal import own_words, what_to_change
from ade_hpc.scheduler.slurm import ACCOUNTING_OFF
from ade_hpc.scheduler.tables import Table
from ade_hpc.spec.resources import resource_directives
from ade_hpc.spec.site import Site

CLIENTS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")
OLDEST_SLURM = (20, 11)


def slurm_checks(patient: Patient) -> Iterator[Check]:
    if patient.site.scheduler == "local":
        yield Check("Slurm", "green", "not used: site.yaml says `scheduler: local`")
        return
    clients = tried(_clients, patient, "Slurm clients")
    yield clients
    controller = tried(_controller, patient, "slurmctld", clients)
    yield controller
    yield tried(_accounting, patient, "accounting", clients)
    if patient.site.pyslurm:
        yield tried(_pyslurm, patient, "pyslurm", controller)
    for probe, name in ((_submission, "submission"), (_scrontab, "scrontab"), (_schedule, "schedule")):
        yield tried(probe, patient, name, controller)


def _clients(patient: Patient) -> Check:
    path = clean_env(patient.environ)["PATH"]
    missing = [client for client in CLIENTS if shutil.which(client, path=path) is None]
    if missing:
        return Check("Slurm clients", "red", f"{', '.join(missing)} not on PATH", "load the site's Slurm module")
    conf = patient.environ.get("SLURM_CONF")
    if conf and not os.access(conf, os.R_OK):  # they would sit for a minute
        return Check("Slurm clients", "red", f"SLURM_CONF={conf} can't be read", "set SLURM_CONF to the cluster's own")
    answer = patient.run("sbatch", "--version")
    said = answer.words
    if answer.returncode != 0:
        return Check("Slurm clients", "red", said, "set SLURM_CONF to the cluster's slurm.conf, or load its module")
    if version(said) < OLDEST_SLURM:
        return Check("Slurm clients", "yellow", said, "Slurm before 20.11 was never tried with ade-hpc")
    return Check("Slurm clients", "green", said)


def _controller(patient: Patient) -> Check:
    answer = patient.run("scontrol", "ping")
    if answer.returncode == 0 and " is UP" in answer.stdout:
        return Check("slurmctld", "green", answer.words)
    return Check("slurmctld", "red", answer.words or "no answer", "is SLURM_CONF right? else wait, or ask your support")


def _accounting(patient: Patient) -> Check:
    options = ("--noheader", "--allocations", f"--user={os.getuid()}", "--starttime=now-1hour", "--format=JobID")
    answer = patient.run("sacct", *options)
    if answer.returncode == 0:
        return Check("accounting", "green", "sacct answers")
    if ACCOUNTING_OFF.search(answer.stderr):
        return Check("accounting", "yellow", "this cluster keeps none", "queue and exit records decide instead")
    return Check(
        "accounting", "red", answer.words, "slurmdbd must answer, else ended jobs stay unknown: ask your support"
    )


def _pyslurm(patient: Patient) -> Check:
    """Never red: what pyslurm does not answer, squeue and sacct do."""
    slurm = patient.run("sbatch", "--version").words
    answer = patient.run(*ask_argv(sys.executable, slurm, "queue"))
    if answer.returncode == 0:
        return Check("pyslurm", "green", f"answers for {slurm}; sacct for jobs that were queued again")
    advice = "squeue and sacct answer instead; mend it, or take `pyslurm: true` out of site.yaml"
    return Check("pyslurm", "yellow", answer.words, advice)


def _submission(patient: Patient) -> Check:
    answer = patient.run("sbatch", "--test-only", *site_options(patient.site), "--wrap=true")
    if answer.returncode == 0:
        return Check("submission", "green", own_words(answer))
    hint = what_to_change(answer, lambda: patient.run("sinfo", "--noheader", "--format=%R").words)
    return Check("submission", "red", own_words(answer), hint or "mend `defaults:` and `sbatch:` in site.yaml")


def site_options(site: Site, *, skip: tuple[str, ...] = ()) -> list[str]:
    """The site's defaults as options of sbatch."""
    options = {**resource_directives(site.defaults), **site.sbatch}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if name not in (*skip, *site.skip)
    ]


def _scrontab(patient: Patient) -> Check:
    source = Table("scrontab").available()
    if source.answered:
        return Check("scrontab", "green", "enabled")
    if source.answer == "failed":
        return Check("scrontab", "red", source.detail, "ask your support")
    other = Table("cron").available()
    if other.answered:
        return Check(
            "scrontab", "yellow", source.detail, "`ade-hpc schedule install` takes cron: is that allowed here?"
        )
    return Check(
        "scrontab", "red", f"{source.detail}; {other.detail}", "run `ade-hpc tick` from another machine's cron"
    )


def _schedule(patient: Patient) -> Check:
    seen = schedule.gather(patient.service)
    if seen.problem:
        return Check("schedule", "red", f"{seen.state}: {seen.problem}", "ade-hpc schedule install")
    if seen.state == "absent":
        return Check("schedule", "yellow", "no tick is scheduled", "ade-hpc schedule install")
    age = "no tick has come yet" if seen.heart.age_s is None else f"last tick {seen.heart.age_s / 60:.0f} min ago"
    return Check("schedule", "green", f"in {seen.kind}, {age}")
