# SPDX-License-Identifier: Apache-2.0
"""`submit` from a laptop: the commit that is to run and its image go over, then the cluster's own ade-hpc submits.

What runs is a commit here as there: an uncommitted change is refused, or committed on ``ade/<experiment>``. Data stays
where it is. A connection may break at any moment: the request's name is on disk before it is sent, so the same command
finds what has been begun.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from ade_hpc.errors import HostSilent, UsageError
from ade_hpc.launch.depot import Order, Stock
from ade_hpc.launch.image import identify_image
from ade_hpc.remote.far import Far
from ade_hpc.remote.transport import Progress
from ade_hpc.repo.branch import Project, freeze, open_project, read_file, tree_of
from ade_hpc.repo.bundle import origin, write_bundle
from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.site import Site
from ade_hpc.store.files import private_dir, read_json, write_json
from ade_hpc.store.registry import registry_path

LOOK_S = 60.0
SUBMIT_S = 900.0  # a big checkout on a slow filesystem, a lease, and a scheduler that must be asked again


@dataclass(frozen=True)
class Sent:
    """What came of it. receipt: what the cluster said. note: what the person should know besides."""

    receipt: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Unanswered:
    """The request that has been sent and not answered, if there is one: a file of this laptop."""

    path: Path

    @staticmethod
    def of(host: str, project: Project, experiment: str, environ: Mapping[str, str]) -> Unanswered:
        folder = private_dir(registry_path(environ).parent / "requests")
        name = sha256("\0".join([host, str(project.top), experiment]).encode(errors="surrogateescape")).hexdigest()
        return Unanswered(folder / f"{name[:32]}.json")

    def request(self) -> str:
        """Its name, or a new one. It is remembered until an answer comes, whatever goes wrong before."""
        known = (read_json(self.path) or {}).get("request")
        if isinstance(known, str):
            return known
        request = _new_request()
        write_json(self.path, {"request": request})
        return request

    def answered(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Parcel:
    """What is to go over, frozen: nothing of it changes any more while it is sent."""

    project: Project
    order: Order
    image: Path | None
    unanswered: Unanswered


def pack(host: str, path: Path, *, local: bool, dry_run: bool, allow_dirty: bool, environ: Mapping[str, str]) -> Parcel:
    """Check and freeze what ``path`` describes; connects to nobody."""
    experiment = load_experiment(path, Site())
    project = open_project(experiment.root)
    unanswered = Unanswered.of(host, project, experiment.name, environ)
    request = _new_request() if dry_run else unanswered.request()  # a dry run is nothing that could be adopted
    order = _order(project, experiment, request, environ, allow_dirty=allow_dirty)
    order = replace(order, local=local, dry_run=dry_run)
    return Parcel(project, order, experiment.image if order.image else None, unanswered)


def send(far: Far, parcel: Parcel, progress: Progress | None = None) -> Sent:
    """Submit it over there. progress: of the image's way.

    Raises HostSilent, which says that the same command may be given again, where no answer came.
    """
    order = parcel.order
    given = json.dumps(asdict(order)).encode()
    stock = Stock.from_json(far.ask("for-laptop", "stock", given=given, timeout_s=LOOK_S))
    _send_commits(far, order, parcel.project, stock)
    if parcel.image and not stock.image:
        far.transport.put(parcel.image, str(order.incoming_image), progress)
    try:
        receipt = far.ask("for-laptop", "submit", given=given, timeout_s=SUBMIT_S)
    except HostSilent as silent:
        raise HostSilent(f"{silent}; give the same command again: it finds what has begun there") from silent
    if not order.dry_run:
        parcel.unanswered.answered()
    return Sent(receipt, _note(receipt, tree_of(parcel.project, order.commit)))


def _new_request() -> str:
    return secrets.token_hex(16)


def _order(
    project: Project, experiment: Experiment, request: str, environ: Mapping[str, str], *, allow_dirty: bool
) -> Order:
    """Freeze what is to run, and see that all that the cluster reads of it is in the commit."""
    commit = freeze(
        project,
        experiment.name,
        allow_dirty=allow_dirty,
        trailers={"Ade-Experiment": experiment.name},
        exclude=[experiment.runs_dir],
    )
    file = _inside(project, experiment.source)
    for path in (file, *([_inside(project, experiment.preferences)] if experiment.preferences else [])):
        read_file(project, commit, path)
    image = experiment.image if experiment.image and experiment.image.exists() else None
    return Order(
        project=re.sub(r"[^A-Za-z0-9._-]+", "-", project.top.name).lstrip("._-")[:60] or "project",
        origin=origin(project, commit),
        experiment=experiment.name,
        commit=commit,
        file=str(file),
        request=request,
        image=identify_image(image, _cache(environ)).sha256 if image else "",
    )


def _send_commits(far: Far, order: Order, project: Project, stock: Stock) -> None:
    with tempfile.TemporaryDirectory(prefix="ade-") as folder:
        bundle = Path(folder) / "bundle"
        if write_bundle(project, order.experiment, order.commit, stock.commits, bundle):
            far.transport.put(bundle, str(order.bundle))


def _inside(project: Project, path: Path) -> PurePosixPath:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(project.top):
        raise UsageError(
            f"{path} is not in the git repository {project.top}, so it can't reach the cluster: move it there"
        )
    return PurePosixPath(real.relative_to(project.top))


def _note(receipt: Mapping[str, Any], tree: str) -> str:
    if not receipt.get("adopted"):
        return ""
    other = "" if receipt.get("tree") == tree else f", and it runs {receipt.get('commit')}, not what is committed now"
    return f"an earlier try of this command had begun it{other}"


def _cache(environ: Mapping[str, str]) -> Path:
    """Where the sha256 of an image is remembered, for it takes a minute to take."""
    home = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return private_dir(Path(home) / "ade-hpc")
