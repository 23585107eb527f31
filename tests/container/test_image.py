# SPDX-License-Identifier: Apache-2.0
"""The image that scripts/build-image makes of apptainer/trainer.def trains, and obeys, as on a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # the first of them may have to build the image

PROJECT = Path(__file__).parents[2]


def run(command: list[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **env}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=500, env=whole)


def build(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run([PROJECT / "scripts/build-image", *arguments], **env)


def built(*arguments: str) -> Path:
    """The image in the user's own cache: fixtures of a module still see it, tests have a home of their own."""
    done = build(*arguments, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def trainer() -> Path:
    return built()


@pytest.fixture(scope="module")
def base() -> Path:
    return built("--base")


def inside(image: Path, work: Path, *command: str) -> list[str | Path]:
    """The command line that runs ``command`` as a job does: clean environment, code read-only, ``work`` writable."""
    shape = ["apptainer", "exec", "--pid", "--cleanenv", "--no-home", "--no-eval"]
    binds = ["--bind", f"{PROJECT / 'jobs'}:/code:ro", "--bind", f"{work}:/workspace", "--pwd", "/code"]
    return [*shape, *binds, image, *command]


def train(*more: str) -> list[str]:
    outputs = ["--tensorboard", "/workspace/tb", "--checkpoints", "/workspace/checkpoints"]
    return ["python3", "train.py", "--config", "config.yaml", *outputs, *more]


def test_the_trainer_runs_in_the_image_and_can_be_continued(trainer: Path, tmp_path: Path) -> None:
    first = run(inside(trainer, tmp_path, *train("--steps", "100")))
    more = train("--steps", "120", "--resume", "/workspace/checkpoints/step-000100.pt")
    second = run(inside(trainer, tmp_path, *more))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000100.pt", "step-000120.pt"]
    assert len(list((tmp_path / "tb").glob("events.out.tfevents.*"))) == 2


def test_sigusr1_reaches_the_trainer_through_apptainer(trainer: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(inside(trainer, tmp_path, *train()), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("tb/events*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=100) == 85
    finally:
        process.kill()
        process.wait(timeout=10)
    assert list((tmp_path / "checkpoints").glob("step-*.pt"))


def test_the_image_says_what_it_was_made_of(trainer: Path) -> None:
    labels = run(["apptainer", "inspect", trainer]).stdout
    assert "org.opencontainers.image.revision: " in labels
    assert "trainer.python: 3.11." in labels


def test_the_base_image_is_python_alone_and_starts_at_once(base: Path, tmp_path: Path) -> None:
    script = "import importlib.util, sys; sys.exit(3 if importlib.util.find_spec('torch') is None else 0)"
    assert run(inside(base, tmp_path, "python3", "-c", script)).returncode == 3
    assert base.stat().st_size < 100e6


def test_an_image_is_built_once(base: Path) -> None:
    before = base.stat()
    done = build("--base", base, APPTAINER="/nonexistent")  # nothing is called, so nothing is missing
    assert (done.returncode, done.stdout) == (0, f"{base}\n")
    assert base.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("changed", ["scripts/build-image", "apptainer/trainer.def", "constraints.txt"])
def test_an_image_is_built_again_when_its_inputs_change(base: Path, changed: str, tmp_path: Path) -> None:
    """In a copy of the project: the image is up to date, then one input changes, and Apptainer would be needed."""
    for name in ("scripts/build-image", "apptainer/trainer.def", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    image = tmp_path / "base.sif"
    image.write_text("only its presence counts")
    shutil.copy(f"{base}.inputs", f"{image}.inputs")
    command: list[str | Path] = [tmp_path / "scripts/build-image", "--base", image]
    assert run(command, APPTAINER="/nonexistent").returncode == 0
    with (tmp_path / changed).open("a") as file:
        file.write("# changed\n")
    done = run(command, APPTAINER="/nonexistent")
    assert done.returncode == 1
    assert "scripts/install-apptainer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["new.sif"], {"APPTAINER": "/nonexistent"}, "/nonexistent is missing; install it: scripts/install-apptainer"),
        (["new.sif"], {"PYTHON": "/bin/false"}, "/bin/false is not Python 3.11"),
        (["--fast"], {}, "unknown option --fast"),
        (["one.sif", "two.sif"], {}, "too many arguments"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    arguments: list[str], env: dict[str, str], said: str, tmp_path: Path
) -> None:
    out = [str(tmp_path / word) if word.endswith(".sif") else word for word in arguments]
    done = build(*out, **env)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert not list(tmp_path.glob("*.sif"))
