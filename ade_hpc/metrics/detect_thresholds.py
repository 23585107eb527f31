# SPDX-License-Identifier: Apache-2.0
"""The one table of defaults. docs/detectors.md says where each number comes from and what it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Every number a detector uses. Counts are logged points, factors and shares have no unit, times are seconds.

    "Gain" is what the objective has won since its start, "noise" its point-to-point standard deviation.
    """

    # evidence: fewer finite points of the objective than this and nothing is said of how it learns
    judge_points: int = 5
    judge_loss_points: int = 30  # two are enough for a verdict beside so many of the training loss

    # nan
    nan_run: int = 3  # consecutive non-finite values of the objective: one may be a loss scaler's skipped step
    nan_alone: int = 10  # the same where it was never finite, or is a return: NaN where no episode ended
    lost_return_points: int = 50  # ... of a loss beside a return: points by which the return must have lost its gain
    lost_resumed: float = 0.1  # ... of a resumed run, which had gained before: share of what there is to win
    nan_loss_run: int = 20  # ... of the training loss, where the objective has not been logged since

    # diverging
    diverging_factor: float = 3.0  # above this multiple of where the loss began
    diverging_points: int = 8  # for so many points, or three where training and validation loss agree
    diverging_blind_factor: float = 10.0  # without word from the objective: this multiple ...
    diverging_blind_points: int = 50  # ... for so many points

    # collapse
    lost_gain: float = 0.5  # share of the gain that must be gone ...
    lost_return: float = 0.6  # ... of a return, which swings more
    collapse_points: int = 4  # ... for so many points
    collapse_return_points: int = 20
    collapse_share: float = 0.1  # ... and for this share of the run
    collapse_return_share: float = 0.2
    collapse_spreads: float = 2.0  # ... where the gain was so many times the swings (10th to 90th percentile) since
    gain_wanders: float = 6.0  # a gain counts from so many times what the curve wanders about its course
    level_wanders: float = 4.0  # ... where whole quarters of the run are compared, which wander less

    # never-learns and slow
    learn_points: int = 15  # points of the objective, together with ...
    learn_loss_points: int = 200  # ... so many of the training loss
    learn_alone_points: int = 40  # points of a held-out objective that stands alone
    learn_return_points: int = 200  # returns may be flat for long before they take off: a note from here ...
    learn_return_surely: int = 1000  # ... and an intervention from here
    learn_gain: float = 0.05  # a loss that has not lost this share of its start has not learned
    slow_gain: float = 0.2  # one that lost less than this, as fast as ever, is slow (an intervention below learn_gain)
    slow_half: tuple[float, float] = (0.3, 0.65)  # share of the fall in the second half: neither settled nor taking off

    # plateau
    flat_points: int = 15
    flat_gain: float = 0.03  # a target missed by less than this share of the gain is as good as reached
    flat_reach: float = 4.0  # what the second half of the run won, so many times again, does not reach the target

    # overfitting
    overfit_points: int = 5  # validation points after the best
    overfit_rise: float = 0.25  # rise of the validation loss above its best, as a share of it
    overfit_gain: float = 0.05  # ... and as a share of what it had gained
    overfit_score: float = 0.1  # share of its gain that a score objective must have lost
    overfit_train: float = 0.1  # the training loss fell by this share meanwhile

    # oscillating
    swing_points: int = 20
    swing_batches: int = 10  # a training loss is judged by medians of so many points: single batches always swing
    swing_gain: float = 0.3  # width of the swings (10th to 90th percentile) as a share of the gain
    swing_scale: float = 0.2  # ... and of what there is to win: the start of a loss, the room above that of a score
    swing_scale_batches: float = 0.5  # ... the same for a training loss that is itself the objective
    swing_turns: int = 4  # how often they go from the lowest quarter to the highest, or back ...
    swing_noise: float = 0.4  # ... or once less, where the noise alone is this share of the gain
    swing_progress: float = 0.35  # a better second half by this share of the width is progress

    # spike
    spike_noises: float = 8.0  # height over the running median, in times the noise ...
    spike_neighbours: float = 4.0  # ... and in times the next largest deviation nearby
    spike_gain: float = 0.3  # ... and as a share of the gain

    # stalled
    gap_s: float = 1800.0  # a silence in the log of at least this ...
    gap_factor: float = 20.0  # ... and so many times the usual distance between two records
