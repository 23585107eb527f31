# SPDX-License-Identifier: Apache-2.0
"""What a laptop brings to the cluster: the commit that is to run, the image it runs in, and the order to submit it.

    ~/.ade-hpc/
      incoming/<request>.bundle     commits on their way
      images/incoming-<sha256>      an image on its way
      images/sha256-<sha256>.sif    images that arrived whole; one file for all that use it
      projects/<name>-<origin>/     repository/, and one work tree for each experiment: <experiment>/

The laptop knows these names from the order alone, so both sides use the functions below. Each experiment has a work
tree of its own, because a tick reads ``preferences.md`` there: what is submitted next to it must not change its bounds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ade_hpc.errors import AdeError, UsageError
from ade_hpc.repo.bundle import check_out, commits_known, lend, open_bare, read_bundle
from ade_hpc.spec.experiment_fields import experiment_name
from ade_hpc.spec.fields import inside
from ade_hpc.store.files import private_dir

FOLDER = PurePosixPath(".ade-hpc")  # in the home folder, on the shared filesystem
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REQUEST = re.compile(r"[0-9a-f]{32}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True)
class Order:
    """A submission as a laptop asks for it.

    project: the name of its folder there, for people. origin: the first commit of its history, by which it is known
    whatever its folder is called. commit: what is to run. file: experiment.yaml, relative to the top of the work tree.
    image: the sha256 of the image, empty where the path in the file counts. request: see ``launch.submit.submit``.
    """

    project: str
    origin: str
    experiment: str
    commit: str
    file: str
    request: str
    image: str = ""
    local: bool = False
    dry_run: bool = False

    @property
    def bundle(self) -> PurePosixPath:
        """Where the laptop puts its commits, relative to the home folder."""
        return FOLDER / "incoming" / f"{self.request}.bundle"

    @property
    def incoming_image(self) -> PurePosixPath:
        return FOLDER / "images" / f"incoming-{self.image}"

    @staticmethod
    def from_json(text: bytes) -> Order:
        """Raises UsageError for whatever could not be an order: its words become paths."""
        try:
            order = TypeAdapter(Order).validate_json(text, strict=True)
            experiment_name(order.experiment)
            inside(order.file)
        except (ValidationError, ValueError) as error:
            raise UsageError("this is no order of an ade-hpc on a laptop, or of another version") from error
        shapes = ((_PROJECT, order.project), (_SHA, order.origin), (_SHA, order.commit), (_REQUEST, order.request))
        if not all(shape.fullmatch(word) for shape, word in shapes) or not (
            order.image == "" or _DIGEST.fullmatch(order.image)
        ):
            raise UsageError("this order of a laptop holds a name that can't be one")
        return order


@dataclass(frozen=True)
class Stock:
    """What is here already, so that it need not be sent. image: the one that the order names."""

    commits: tuple[str, ...]
    image: bool

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Stock:
        return TypeAdapter(Stock).validate_json(json.dumps(value), strict=True)


@dataclass(frozen=True)
class Depot:
    """``~/.ade-hpc`` of the user whom the laptop logs in as."""

    home: Path

    def stock(self, order: Order) -> Stock:
        """Asks nobody and makes nothing."""
        repository = self._project(order) / "repository"
        commits = commits_known(repository) if (repository / "HEAD").exists() else []
        return Stock(tuple(commits), bool(order.image) and self._image(order).exists())

    def check_out(self, order: Order) -> Path:
        """Take the commit in and put its files there; returns experiment.yaml."""
        project = self._take_in(order)
        return check_out(project / "repository", order.commit, project / order.experiment).top / order.file

    @contextmanager
    def lend(self, order: Order) -> Iterator[tuple[Path, Path]]:
        """Take the commit in, and its files into a folder that is gone afterwards: that folder, and the one into which
        ``check_out`` would have put them. They lie side by side, so a relative path means the same in both."""
        project = self._take_in(order)
        with lend(project / "repository", order.commit, project) as lent:
            yield lent.top, lent.top.parent / order.experiment

    def _take_in(self, order: Order) -> Path:
        """Returns the folder of its project, with the commit in its ``repository``."""
        project = private_dir(private_dir(private_dir(self.home / FOLDER) / "projects") / self._project(order).name)
        repository = open_bare(project / "repository")
        bundle = self.home / order.bundle
        read_bundle(repository, bundle if bundle.exists() else None, order.experiment, order.commit)
        bundle.unlink(missing_ok=True)
        return project

    def image(self, order: Order) -> Path:
        """The image of the order. One that has just come is looked at, and moved into its place whole."""
        place, incoming = self._image(order), self.home / order.incoming_image
        if place.exists():
            return place
        try:
            with incoming.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != order.image:
                incoming.unlink()
                raise AdeError("the image arrived damaged: submit again, and it is sent again")
            os.rename(incoming, place)
        except OSError as error:
            raise AdeError(f"the image {place.name} can't be had: {error.strerror}; submit again") from error
        return place

    def _image(self, order: Order) -> Path:
        return self.home / FOLDER / "images" / f"sha256-{order.image}.sif"

    def _project(self, order: Order) -> Path:
        """The project of this origin, under whatever name it came first."""
        projects = self.home / FOLDER / "projects"
        known = sorted(projects.glob(f"*-{order.origin[:16]}"))
        return known[0] if known else projects / f"{order.project}-{order.origin[:16]}"
