# SPDX-License-Identifier: Apache-2.0
"""Plots show what is there, mark what is wrong, and survive whatever a tag or a value may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ade_hpc.metrics.panels import Run, choose, outline, scale
from ade_hpc.metrics.plot import draw
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding

VALUES = hnp.arrays(np.float64, st.integers(1, 400), elements=st.floats(width=64))


def series(tag: str, values: object, *, every: int = 1) -> Series:
    array = np.asarray(values, np.float64)
    steps = np.arange(len(array), dtype=np.int64) * every
    return Series(tag, steps, steps + 1.7e9, array)


def run(*every: Series, label: str = "attempt 1", resumed_at: int | None = None) -> Run:
    return Run(label, Curves({one.tag: one for one in every}), resumed_at)


LOSS = series("loss", 1 / (1 + np.arange(300) / 30))


def red(path: Path) -> int:
    """How many pixels are of the colour of alarm."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int(((pixels[..., 0] > 150) & (pixels[..., 1] < 60) & (pixels[..., 2] < 80)).sum())


def test_it_is_a_small_png_of_the_size_asked_for(tmp_path: Path) -> None:
    """800x600 by default, a palette, tens of kilobytes; nothing else is left in the folder."""
    tags = draw([run(LOSS, *(series(f"metric{n}", np.random.default_rng(n).normal(size=500)) for n in range(9)))],
                tmp_path / "a.png")  # fmt: skip
    assert len(tags) == 6
    with Image.open(tmp_path / "a.png") as image:
        assert (image.size, image.mode, image.format) == ((800, 600), "P", "PNG")
    assert (tmp_path / "a.png").stat().st_size < 60_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    draw([run(LOSS)], tmp_path / "a.png", size=(400, 300))
    assert Image.open(tmp_path / "a.png").size == (400, 300)


def test_the_objective_comes_first_then_what_is_wrong(tmp_path: Path) -> None:
    """Six panels of twenty tags: the objective, the findings, then losses and scores before the rest."""
    tags = ["zeta", "loss/train", "loss/val", "accuracy/val", "lr", "grad_norm", "odd", *(f"x{n}" for n in range(13))]
    one = run(*(series(tag, np.arange(20.0)) for tag in tags))
    findings = [Finding("spike", "odd", 3, 4, "note"), Finding("nan", "zeta", 3, 4, "intervene")]
    chosen = ["accuracy/val", "zeta", "odd", "loss/val", "loss/train", "lr"]
    assert choose([one], "accuracy/val", findings) == chosen
    assert draw([one], tmp_path / "a.png", objective="accuracy/val", findings=findings) == chosen


def test_a_finding_and_a_nan_are_seen(tmp_path: Path) -> None:
    """What calls for an intervention, and what is not a number, is red; a healthy plot has none of it."""
    draw([run(LOSS)], tmp_path / "healthy.png")
    assert not red(tmp_path / "healthy.png")
    draw([run(LOSS)], tmp_path / "found.png", findings=[Finding("diverging", "loss", 100, 120, "intervene")])
    assert red(tmp_path / "found.png") > 200
    for odd in (np.nan, np.inf, -np.inf):
        values = LOSS.values.copy()
        values[150:160] = odd
        draw([run(series("loss", values))], tmp_path / "odd.png")
        assert red(tmp_path / "odd.png") > 20


def test_every_run_is_drawn(tmp_path: Path) -> None:
    """A second attempt adds its line and the mark of its beginning."""
    draw([run(LOSS)], tmp_path / "one.png")
    later = Series("loss", LOSS.steps[100:], LOSS.wall_times[100:], LOSS.values[100:] * 0.5)
    draw([run(LOSS), run(later, label="attempt 2", resumed_at=100)], tmp_path / "two.png")
    orange = np.asarray(Image.open(tmp_path / "two.png").convert("RGB")).astype(int)
    assert ((orange[..., 0] > 180) & (orange[..., 2] < 90)).sum() > 100
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_point_between_gaps_is_seen(tmp_path: Path) -> None:
    """Every second value NaN: a line would show nothing, so the points are drawn."""
    values = np.where(np.arange(60) % 2, np.nan, np.linspace(0, 1, 60))
    draw([run(series("loss", values))], tmp_path / "gaps.png")
    pixels = np.asarray(Image.open(tmp_path / "gaps.png").convert("RGB")).astype(int)
    assert ((pixels[..., 0] < 60) & (pixels[..., 2] > 80) & (pixels[..., 2] < 150)).sum() > 300


HOSTILE = ["$\\bad{", "\x1b[2J\u202eevil", "_hidden", "損失", "x" * 5000, "", "%s{}\\n\n", "a\x00b"]


@pytest.mark.parametrize("tag", HOSTILE)
def test_no_tag_breaks_a_plot(tmp_path: Path, tag: str) -> None:
    """Mathematics, escape sequences, foreign scripts and nothing at all are drawn as text, and returned as they are."""
    drawn = draw([Run(tag, Curves({tag: series(tag, LOSS.values)}))] * 2, tmp_path / "a.png", objective=tag, title=tag,
                 findings=[Finding(tag, tag, 1, 2, "note")])  # fmt: skip
    assert drawn == [tag]


@pytest.mark.parametrize(
    "values",
    [
        [1.0], [np.nan], [np.inf, -np.inf], np.full(50, np.nan), np.logspace(-300, 300, 60), [1.7e308, -1.7e308] * 20,
        np.full(9, 5e-324), np.zeros(30), [1e6, *np.random.default_rng(0).normal(size=50)], -np.logspace(0, 30, 50),
    ],
)  # fmt: skip
def test_no_value_breaks_a_plot(tmp_path: Path, values: object) -> None:
    """One point, no finite point, numbers at the ends of double precision, with a threshold beyond all of them."""
    for threshold in (0.0, -1.0, 1e308, float("inf")):
        assert draw([run(series("loss", values))], tmp_path / "a.png", thresholds={"loss": threshold}) == ["loss"]


def test_steps_may_be_any_integers(tmp_path: Path) -> None:
    """Negative, huge and equal steps, and a finding far outside of them."""
    steps = np.array([-(2**62), 0, 0, 2**62], np.int64)
    one = Series("loss", steps, np.zeros(4), np.arange(4.0))
    draw([Run("r", Curves({"loss": one}))], tmp_path / "a.png", findings=[Finding("slow", "loss", 5, 2**62, "note")])


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    """No run, and a run without scalars, still give a picture."""
    empty = Series("t", *(np.zeros(0) for _ in range(3)))  # type: ignore[arg-type]  # of no length, so of no type
    for runs in ([], [Run("r", Curves())], [run(empty)]):
        draw(runs, tmp_path / "a.png")
        assert Image.open(tmp_path / "a.png").size == (800, 600)


def test_a_plot_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A picture that cannot be written leaves the old one and no rubbish."""
    with pytest.raises(OSError, match="No such file"):
        draw([run(LOSS)], tmp_path / "none" / "a.png")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        draw([run(LOSS)], tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_users_style_has_no_say(tmp_path: Path) -> None:
    """A matplotlibrc made for papers (LaTeX, tight boxes, huge fonts) changes nothing, and is not changed."""
    draw([run(LOSS)], tmp_path / "a.png")
    with matplotlib.rc_context({"savefig.bbox": "tight", "font.size": 30, "text.usetex": True, "lines.linewidth": 9}):
        draw([run(LOSS)], tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_global_state_of_pyplot() -> None:
    """pyplot keeps figures alive and looks for a display: it is never imported."""
    code = "import sys, ade_hpc.metrics.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@given(VALUES, st.integers(1, 50))
def test_an_outline_keeps_every_extreme(values: np.ndarray, width: int) -> None:
    """However few columns: highest and lowest value are those of the series, and no number is invented."""
    shape = outline(series("t", values), width)
    seen = values[np.abs(values) <= 1e100]
    assert len(shape.raw) <= max(2 * width, 2)
    finite = shape.raw[np.isfinite(shape.raw)]
    assert bool(len(seen)) == bool(len(finite))
    if len(seen):
        near = np.where(np.abs(seen) < 1e-100, 0.0, seen)
        assert (finite.min(), finite.max()) == (near.min(), near.max())
        slack = 1e-12 * np.abs(near).max()
        assert near.min() - slack <= np.nanmin(shape.smooth) <= np.nanmax(shape.smooth) <= near.max() + slack
    assert bool(len(shape.nan)) == bool(np.isnan(values).any())
    assert bool(len(shape.high)) == bool((values > 1e100).any())


@settings(max_examples=10)
@given(values=VALUES)
def test_any_series_can_be_drawn(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    """No array of doubles makes the axes fail."""
    draw([run(series("loss", values))], tmp_path_factory.mktemp("any") / "a.png")


@pytest.mark.parametrize(
    ("tag", "values", "kind"),
    [
        ("loss/train", np.logspace(0, 4, 50), "log"),
        ("loss/train", np.linspace(1, 2, 50), "linear"),
        ("loss/train", [1.0, 2.0, -1.0, 0.0] * 20, "linear"),
        ("accuracy/val", np.linspace(0.01, 0.99, 50), "linear"),
        ("return", [-1e7, *np.linspace(-200, 200, 99)], "symlog"),
        ("loss", [np.nan], "linear"),
    ],
)
def test_a_log_scale_where_it_helps(tag: str, values: object, kind: str) -> None:
    """Losses over decades are logarithmic, accuracies never; one absurd value does not press the others flat."""
    assert scale(tag, np.asarray(values)).kind == kind


def cpu_and_peak(code: str) -> list[float]:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True, cwd=root
    )
    return [float(word) for word in done.stdout.split()]


MILLION = """
import time, numpy as np, tempfile, pathlib
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.plot import draw
from ade_hpc.metrics.series import Curves, Series
from benchmarks.measuring import peak_mb
steps, rng = np.arange(166_667), np.random.default_rng(0)
tags = ("loss/train", "loss/val", "accuracy/val", "lr", "grad_norm", "update_ratio")
curves = Curves({tag: Series(tag, steps, steps * 1.0, np.exp(rng.normal(size=len(steps)))) for tag in tags})
times = []
with tempfile.TemporaryDirectory() as folder:
    for _ in range(6):
        started = time.process_time()
        assert len(draw([Run("r", curves)], pathlib.Path(folder) / "a.png")) == 6
        times.append(time.process_time() - started)
print(min(times), peak_mb())
"""


def test_a_million_points_are_drawn_quickly_and_in_little_memory() -> None:
    """Six panels of a million points: under 0.6 s of one core and 200 MB, Python and matplotlib included."""
    seconds, peak_mb = cpu_and_peak(MILLION)
    assert seconds < 0.6
    assert peak_mb < 200
