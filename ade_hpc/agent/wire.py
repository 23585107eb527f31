# SPDX-License-Identifier: Apache-2.0
"""A question as it travels: from a cluster without a way to a model to a laptop that has one, as JSON.

It holds all that the tools may look at, and what the guard judges by, so that the model reads the guard's answers at
once; the cluster's own guard judges again. No key travels, in either direction. What arrives is read strictly.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ade_hpc.agent.budget import Allowance
from ade_hpc.agent.curves import relevant_tags
from ade_hpc.agent.situation import Situation
from ade_hpc.errors import RemoteError
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding, Health
from ade_hpc.policy.question import Question
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.site import Price, Site

MAX_POINTS = 500_000  # of all curves together: 12 MB before compression
_CAPS = ("max_live_attempts", "max_submissions_per_hour")
_COLUMNS = ("steps", "wall_times", "values")


@dataclass(frozen=True, eq=False)
class Asked:
    """One question: the situation, what an answer may cost, and what the guard needs of the site."""

    situation: Situation
    left: Allowance
    site: Site


def to_json(situation: Situation, left: Allowance, site: Site) -> dict[str, Any]:
    snapshot = asdict(replace(situation.snapshot, curves=Curves(), before=Curves()))
    del snapshot["curves"], snapshot["before"]  # what the latter were to prove stands in the findings
    return {
        "question": asdict(situation.question),
        "snapshot": snapshot,
        "curves": _curves_json(situation),
        "health": asdict(situation.health),
        "findings": [asdict(finding) for finding in situation.findings],
        "preferences": situation.preferences.to_json(),
        "memory": situation.memory,
        "log": situation.log,
        "left": {**asdict(left), "prices": {name: one.model_dump() for name, one in left.prices.items()}},
        "site": {name: getattr(site, name) for name in _CAPS},
    }


def from_json(value: Mapping[str, Any], picture: Path) -> Asked:
    """picture: where the curves are to be drawn. Raises RemoteError for whatever `to_json` did not write."""
    try:
        left = dict(value["left"])
        prices = {name: Price.model_validate(one) for name, one in left.pop("prices").items()}
        hints = get_type_hints(Snapshot)
        known = {name: _load(hints[name], one) for name, one in value["snapshot"].items()}
        situation = Situation(
            question=_load(Question, value["question"]),
            snapshot=Snapshot(**known, curves=_curves(value["curves"])),
            health=_load(Health, value["health"]),
            findings=_load(tuple[Finding, ...], value["findings"]),
            preferences=Preferences.from_json(value["preferences"]),
            picture=picture,
            memory=str(value["memory"]),
            log=str(value["log"]),
        )
        site = Site.model_validate({name: value["site"][name] for name in _CAPS})
        return Asked(situation, Allowance(**left, prices=prices), site)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise RemoteError(
            "a question from the login node can't be read; do both sides have the same version?"
        ) from error


def _curves_json(situation: Situation) -> dict[str, Any]:
    """The most relevant ones first, as many as there is room for."""
    series, room = situation.snapshot.curves.series, MAX_POINTS
    ordered = dict.fromkeys([*relevant_tags(situation, len(series)), *series])
    chosen = []
    for tag in ordered:
        if len(series[tag]) <= room:
            room -= len(series[tag])
            chosen.append(tag)
    left_out = len(series) - len(chosen)
    notes = [*situation.snapshot.curves.notes, *([f"{left_out} curves stayed on the cluster"] if left_out else [])]
    # in their own order, which the model's list of tags has too
    return {"series": [_series_json(one) for tag, one in series.items() if tag in chosen], "notes": notes}


def _series_json(series: Series) -> dict[str, Any]:
    columns = {name: _packed(getattr(series, name)) for name in _COLUMNS}
    return {"tag": series.tag, "points": len(series), **columns}


def _curves(value: Mapping[str, Any]) -> Curves:
    counts = [_load(int, one["points"]) for one in value["series"]]
    if min(counts, default=0) < 0 or sum(counts) > MAX_POINTS:
        raise ValueError("too many points")
    series = (
        Series(
            str(one["tag"]),
            _unpacked(one["steps"], one["points"], np.dtype("<i8")),
            _unpacked(one["wall_times"], one["points"], np.dtype("<f8")),
            _unpacked(one["values"], one["points"], np.dtype("<f8")),
        )
        for one in value["series"]
    )
    return Curves({one.tag: one for one in series}, tuple(map(str, value["notes"])))


def _packed(numbers: NDArray[Any]) -> str:
    """Little-endian, 8 bytes each, compressed."""
    return base64.b64encode(zlib.compress(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())).decode()


def _unpacked(text: str, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Never more than was announced, whatever the bytes would become."""
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), max_length=kind.itemsize * count + 1)
    if len(data) != kind.itemsize * count:
        raise ValueError("a curve is not as long as announced")
    return np.frombuffer(data, kind).astype(kind.newbyteorder("="))


def _load(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
