# SPDX-License-Identifier: Apache-2.0
"""Event files made by others: their scalars are read as TensorBoard reads them, everything else is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from ade_hpc.metrics.collect import collect
from tests.metrics.event_files import Point, points, tensorboard_points

FILES = Path(__file__).parent / "files"
KERAS = ["train/batch_accuracy", "train/batch_loss", "train/epoch_accuracy", "train/epoch_learning_rate",
         "train/epoch_loss",
         "validation/epoch_accuracy", "validation/epoch_loss", "validation/evaluation_accuracy_vs_iterations",
         "validation/evaluation_loss_vs_iterations"]  # fmt: skip
LIGHTNING = [f"lightning_logs/version_0/{tag}" for tag in
             ("epoch", "hp_metric", "lr-SGD", "train_epoch", "train_loss", "val_loss")]  # fmt: skip


def by_folder(top: Path) -> dict[str, list[Point]]:
    """Every folder read by TensorBoard by itself, its tags named as its runs are."""
    found = {}
    for folder in {path.parent for path in top.rglob("*tfevents*")}:
        run = folder.relative_to(top).as_posix()
        prefix = "" if run == "." else f"{run}/"
        found.update({prefix + tag: values for tag, values in tensorboard_points(folder).items()})
    return found


@pytest.mark.parametrize(
    ("writer", "tags"),
    [
        ("keras", KERAS),
        ("tf2", ["int", "loss"]),
        ("lightning", LIGHTNING),
        ("tensorboardx", ["g/a/g", "g/b/g", "loss"]),
    ],
)
def test_files_of_other_programs(writer: str, tags: list[str]) -> None:
    """Recorded files of Keras, TensorFlow 2, Lightning and tensorboardX: these tags, these values, nothing lost."""
    curves = collect([FILES / writer])
    assert list(curves.series) == tags
    assert points(curves) == by_folder(FILES / writer)
    assert not curves.notes


def test_torch_writes_and_we_read(tmp_path: Path) -> None:
    """torch's SummaryWriter, every kind of summary that it has, old style and new."""
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(40):
            writer.add_scalar("loss", 1 / (step + 1), step)
            writer.add_scalar("new", step * 0.5, step, new_style=True)
            writer.add_scalar("double", step / 3, step, new_style=True, double_precision=True)
            writer.add_scalars("group", {"a": step, "b": -step}, step)
            writer.add_histogram("weights", torch.arange(9.0), step)
            writer.add_image("image", torch.zeros(3, 4, 4), step)
            writer.add_text("text", "some *text*", step)
            writer.add_pr_curve("pr", torch.tensor([0, 1]), torch.tensor([0.1, 0.9]), step)
        writer.add_hparams({"lr": 0.1}, {"hparam/acc": 0.5}, run_name="trial")
    curves = collect([tmp_path])
    assert list(curves.series) == ["double", "group_a/group", "group_b/group", "loss", "new", "trial/hparam/acc"]
    assert points(curves) == by_folder(tmp_path)
    assert curves.series["double"].values[1] == 1 / 3


def test_a_purge_step_is_obeyed(tmp_path: Path) -> None:
    """A resumed torch run with ``purge_step``: every tag is cut there, also the one not written again."""
    for start, (purge, steps) in enumerate(((None, range(20)), (8, range(8, 12)))):
        with SummaryWriter(str(tmp_path), purge_step=purge, filename_suffix=".new") as writer:
            for step in steps:
                writer.add_scalar("loss", step + (purge or 0), step)
                if purge is None:
                    writer.add_scalar("val", step, step)
        (written,) = tmp_path.glob("*.new")  # named by the second, and by a number that goes from 9 to 10
        written.rename(tmp_path / f"events.out.tfevents.{1_700_000_000 + start}")
    curves = collect([tmp_path])
    assert curves.series["loss"].steps.tolist() == list(range(12))
    assert curves.series["loss"].values[8:].tolist() == [16, 17, 18, 19]
    assert curves.series["val"].steps.tolist() == list(range(8))


def test_a_writer_that_still_writes(tmp_path: Path) -> None:
    """What torch has flushed is seen while it runs, and nothing of it twice."""
    cache, seen = tmp_path / "cache", []
    with SummaryWriter(str(tmp_path / "logs")) as writer:
        for step in range(30):
            writer.add_scalar("loss", step, step)
            writer.flush()
            seen.append(len(collect([tmp_path / "logs"], cache).series["loss"]))
    assert seen == list(range(1, 31))
