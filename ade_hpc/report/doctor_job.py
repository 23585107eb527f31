# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc doctor --job`: a probe job of a minute tells what holds on a compute node; a login node can't know that."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ade_hpc.errors import SchedulerError, StoreError
from ade_hpc.report.checkup import NOT_TESTED, Check, Level, Patient
from ade_hpc.report.doctor_here import WITHOUT_FUSE
from ade_hpc.report.doctor_slurm import site_options
from ade_hpc.scheduler.refusal import own_words
from ade_hpc.spec.request import Request
from ade_hpc.spec.resources import resource_directives
from ade_hpc.store.files import private_dir, read_json, write_json

START_S = 180.0
ANSWER_S = 60.0
POLL_S = 0.2
ASK_SLURM_S = 5.0
MUCH_OFFSET_S, MUCH_LAG_S = 5.0, 10.0
SOMEWHERE = "example.org:443"  # reserved for such uses (RFC 2606); asked only where no model is configured


def examine_job(patient: Patient) -> list[Check]:
    """Submit the probe, wait for its answer for some minutes at the most, and clean up."""
    if patient.site.scheduler == "local":
        return [Check("probe job", "green", "not needed: site.yaml says `scheduler: local`")]
    try:
        folder = private_dir(patient.runs_dir / f".ade-hpc-doctor-{secrets.token_hex(4)}")
    except StoreError as error:
        return [Check("probe job", "yellow", f"{NOT_TESTED}: {error}")]
    try:
        return _probe(patient, folder)
    except (SchedulerError, OSError) as error:
        return [Check("probe job", "red", str(error), "ask your support, or try again later")]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _probe(patient: Patient, folder: Path) -> list[Check]:
    reach = _host_and_port(patient.model_address) or SOMEWHERE
    argv = [sys.executable, "-P", "-m", "ade_hpc.job.probe", str(folder), patient.site.container or "", reach]
    script = folder / "probe.sh"
    script.write_text("\n".join(["#!/bin/bash", *patient.site.setup, shlex.join(argv)]) + "\n")
    options = ("--parsable", "--time=2", "--job-name=ade-hpc-doctor", f"--output={folder}/log")
    answer = patient.run("sbatch", *site_options(patient.site, skip=("time",)), *options, str(script))
    if answer.returncode != 0:
        return [Check("probe job", "red", own_words(answer), "mend `defaults:` and `sbatch:` in site.yaml")]
    job = answer.stdout.strip().partition(";")[0]
    try:
        hello = _await(folder / "hello.json", START_S, lambda: not _is_waiting(patient, job))
        if hello is None:
            return [_never_spoke(patient, job, folder)]
        said = Check("probe job", "green", f"job {job} ran on {hello.get('host')}")
        return [said, *_clock(folder), *_findings(patient, hello, reach)]
    finally:
        patient.run("scancel", "--name=ade-hpc-doctor", job)


def _await(path: Path, seconds: float, given_up: Callable[[], bool]) -> dict[str, Any] | None:
    """The record in ``path`` as soon as it is seen; None after ``seconds`` or where nobody will write it any more."""
    until, ask_at = time.monotonic() + seconds, time.monotonic() + ASK_SLURM_S
    over = False
    while time.monotonic() < until:
        os.listdir(path.parent)  # makes an NFS client ask its server again
        if (found := read_json(path)) is not None or over:
            return found
        if time.monotonic() > ask_at:
            over, ask_at = given_up(), time.monotonic() + ASK_SLURM_S
            time.sleep(2.0 if over else 0.0)  # what a job wrote last may be seen later than its end
        time.sleep(POLL_S)
    return None


def _is_waiting(patient: Patient, job: str) -> bool:
    return _state(patient, job).partition(" ")[0] in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")


def _state(patient: Patient, job: str) -> str:
    return patient.run("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T (%r)").stdout.strip()


def _never_spoke(patient: Patient, job: str, folder: Path) -> Check:
    state = _state(patient, job) or "gone"
    if state.startswith("PENDING"):
        return Check("probe job", "yellow", f"job {job} waits: {state}", "the cluster is busy: try again later")
    try:
        log = (folder / "log").read_text(errors="replace")[-300:]
    except OSError:
        log = "it left no output, or the node sees another filesystem"
    advice = f"{sys.executable} and {folder.parent} must be on a filesystem that compute nodes mount"
    return Check("probe job", "red", f"job {job} is {state}: {' '.join(log.split())}", advice)


def _findings(patient: Patient, hello: dict[str, Any], reach: str) -> Iterator[Check]:
    yield Check("python on the node", "green", f"{hello.get('python')}, ade-hpc {hello.get('package')}")
    if hello.get("container"):
        yield Check("container on the node", "green", str(hello["container"]))
    else:
        level: Level = "red" if patient.site.container else "yellow"
        advice = "jobs with an `image:` will fail: load its module under `setup:` in site.yaml"
        yield Check("container on the node", level, "neither apptainer nor singularity works there", advice)
    if hello.get("namespaces"):
        yield Check("user namespaces on the node", "green", "can be made")
    else:
        yield Check("user namespaces on the node", "yellow", "can't be made", "fine where Apptainer is setuid")
    fuse = str(hello.get("fuse") or "")
    yield Check(
        "FUSE on the node", "yellow" if fuse else "green", fuse or "can be opened", WITHOUT_FUSE if fuse else ""
    )
    defaults = Request({**resource_directives(patient.site.defaults), **patient.site.sbatch})
    gpus, asked = len(hello.get("gpus") or ()), defaults.gpus
    if asked > gpus:
        yield Check(
            "GPUs on the node", "red", f"{asked} asked for, {gpus} seen", "look at gpus_per_node and the driver"
        )
    else:
        yield Check("GPUs on the node", "green", f"{gpus} seen, {asked} asked for by the site's defaults")
    if hello.get("reach"):
        yield Check("network on the node", "green", f"{reach} can be reached")
    else:
        advice = "a scheduled tick there can't ask a model: use cron on a login node, or `agent: {where: laptop}`"
        yield Check("network on the node", "yellow", f"{reach} can't be reached", advice)


def _clock(folder: Path) -> Iterator[Check]:
    """Four times, as in NTP: we write, the node sees, the node answers, we see."""
    sent = time.time()
    write_json(folder / "ping.json", {"sent": sent})
    pong = _await(folder / "pong.json", ANSWER_S, lambda: False)
    received = time.time()
    try:
        seen, answered = (float((pong or {})[key]) for key in ("seen", "answered"))
    except (KeyError, TypeError, ValueError):
        advice = "heartbeats will come late: is runs_dir on a filesystem that both machines share?"
        yield Check("shared filesystem", "red", "the node's answer was not seen", advice)
        return
    lag, offset = ((received - sent) - (answered - seen)) / 2, ((seen - sent) + (answered - received)) / 2
    late = lag > MUCH_LAG_S
    advice = "set `heartbeat_interval:` in site.yaml above this" if late else ""
    yield Check("shared filesystem", "yellow" if late else "green", f"a file is seen after {lag:.1f} s", advice)
    wrong = abs(offset) > MUCH_OFFSET_S
    advice = "tell your support that the clocks differ" if wrong else ""
    yield Check("clock", "yellow" if wrong else "green", f"the node's is {offset:+.1f} s from here", advice)


def _host_and_port(address: str) -> str:
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname else ""
