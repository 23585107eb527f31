# SPDX-License-Identifier: Apache-2.0
"""The doctor on this machine: containers, git, the run folder, the registry, the model's server."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from ade_hpc.errors import AdeError, SchedulerError, StoreError
from ade_hpc.job.probe import fuse_problem
from ade_hpc.launch.image import find_container
from ade_hpc.report.checkup import TIMEOUT_S, Check, Level, Patient, version
from ade_hpc.scheduler.run import run
from ade_hpc.store.files import create_exclusive, private_dir, write_atomic
from ade_hpc.store.registry import experiments

OLDEST_GIT = (2, 30)
LITTLE_BYTES, LITTLE_INODES = 5_000_000_000, 10_000
NO_BYTES, NO_INODES = 200_000_000, 500
WITHOUT_FUSE = "without FUSE an unprivileged Apptainer unpacks each image at each start"


def _container(patient: Patient) -> Check:
    try:
        program = find_container(patient.site.container)
        answer = patient.run(program, "--version")
    except AdeError as error:
        level: Level = "red" if patient.site.container else "yellow"
        return Check("container", level, str(error), "needed only where an experiment has an `image:`")
    if answer.returncode != 0:
        return Check("container", "red", f"{program}: {answer.words}", "reinstall it, or name another: `container:`")
    return Check("container", "green", f"{program}: {answer.words}")


def _namespaces(patient: Patient) -> Check:
    try:
        answer = patient.run("unshare", "--user", "--map-root-user", "true")
        said = "" if answer.returncode == 0 else answer.words
    except SchedulerError as error:
        said = str(error)
    advice = "Apptainer needs them unless it is installed setuid: ask for sysctl user.max_user_namespaces"
    return Check("user namespaces", "yellow" if said else "green", said or "can be made", advice if said else "")


def _fuse(patient: Patient) -> Check:
    said = fuse_problem()
    return Check("FUSE", "yellow" if said else "green", said or "can be opened", WITHOUT_FUSE if said else "")


def _git(patient: Patient) -> Check:
    environ = dict(patient.environ)  # git's own variables count, as they do for a commit
    try:
        said = run(["git", "--version"], timeout=TIMEOUT_S, env=environ).words
    except SchedulerError:
        return Check("git", "red", "not on PATH", "install git 2.30 or newer, or load its module")
    if version(said) < OLDEST_GIT:
        return Check("git", "red", said, "install git 2.30 or newer, or load its module")
    address = run(["git", "config", "user.email"], timeout=TIMEOUT_S, env=environ).stdout.strip()
    if not address:
        return Check("git", "yellow", f"{said}; no user.email", "commits get a neutral author: git config --global ...")
    return Check("git", "green", f"{said}; commits as {address}")


def _runs_dir(patient: Patient) -> Check:
    """Make a private folder there as a run would, fill a file, link it, and count what is left."""
    try:
        place = patient.runs_dir
        folder = place / f".ade-hpc-doctor-{secrets.token_hex(4)}"
        made = [path for path in (place, *place.parents) if not path.exists()]
        try:
            private_dir(folder)
            write_atomic(folder / "a", os.urandom(1_000_000))
            create_exclusive(folder / "b", b"linked")
            left = os.statvfs(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for path in made:
                path.rmdir()
    except (StoreError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Check(
            "runs_dir", "red", f"{place}: {said}", "set `runs_dir:` in site.yaml to a folder of your own with room"
        )
    return _room(place, left.f_bavail * left.f_frsize, left.f_favail, counts=left.f_files > 0)


def _room(place: Path, free: int, inodes: int, *, counts: bool) -> Check:
    said = f"{place}: {free / 1e9:.1f} GB free" + (f", {inodes} inodes" if counts else "")
    if free < NO_BYTES or (counts and inodes < NO_INODES):
        return Check("runs_dir", "red", said, "make room, or set `runs_dir:` in site.yaml to another filesystem")
    if free < LITTLE_BYTES or (counts and inodes < LITTLE_INODES):
        return Check("runs_dir", "yellow", said, "make room: checkpoints will go there")
    return Check("runs_dir", "green", said)


def _registry(patient: Patient) -> Check:
    registry = patient.service.registry
    if not registry.exists():
        return Check("registry", "green", f"{registry}: none yet; `ade-hpc submit` makes it")
    try:
        private_dir(registry)
        known = experiments(registry)
        gone = [one.name for one in known if not one.path.is_dir()]
        if gone:
            return Check(
                "registry", "red", f"{', '.join(gone)}: the run folder is gone", "mount it, or remove its entry"
            )
        probe = registry.parent / f".ade-hpc-doctor-{secrets.token_hex(4)}"
        write_atomic(probe, b"")
        probe.unlink()
    except (StoreError, OSError) as error:
        return Check("registry", "red", f"{registry}: {error}", "mend its permissions, or set ADE_REGISTRY")
    return Check("registry", "green", f"{registry}: {len(known)} experiments")


def _model(patient: Patient) -> Check:
    address, key_file = patient.model_address, patient.site.llm.key_file
    if not address:
        return Check("model", "green", "none is configured: rules decide")
    if key_file is not None and (problem := _key_problem(key_file)):
        return Check("model", "red", f"{key_file}: {problem}", f"chmod 600 {key_file}")
    where = "put a reachable `llm: {base_url: ...}` into site.yaml, or let a laptop ask: `agent: {where: laptop}`"
    if not address.startswith(("http://", "https://")):
        return Check("model", "red", "the address is no http(s) address", where)
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/models", timeout=TIMEOUT_S).close()  # noqa: S310 - http(s) only
    except urllib.error.HTTPError as error:
        error.close()  # no key was sent: being turned away is an answer
    except (OSError, ValueError) as error:
        return Check("model", "red", f"{address}: {getattr(error, 'reason', error)}", where)
    return Check("model", "green", f"{address} answers from here")


def _key_problem(path: Path) -> str:
    try:
        info = path.lstat()
    except OSError as error:
        return str(error.strerror)
    own = stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077
    return "" if own else "must be your own file of mode 0600"


HERE: Mapping[str, Callable[[Patient], Check]] = {
    "container": _container,
    "user namespaces": _namespaces,
    "FUSE": _fuse,
    "git": _git,
    "runs_dir": _runs_dir,
    "registry": _registry,
    "model": _model,
}
