# SPDX-License-Identifier: Apache-2.0
"""The one table of defaults. docs/detectors.md says where each number comes from and what it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Every number a detector uses. Counts are logged points, factors and shares have no unit, times are seconds.

    "Gain" is what a curve has won since its start, "noise" its point-to-point standard deviation, "wander" that of
    what it does around its own slow course.
    """

    # evidence for any verdict: so many finite points of the objective, or two beside so many of the training loss
    judge_points: int = 5
    judge_loss_points: int = 30

    # does the objective agree that something is wrong?
    gain_wanders: float = 6.0  # a gain counts from so many times the wander ...
    level_wanders: float = 3.5  # ... or so many, where whole stretches of the run are compared
    lost_gain: float = 0.5  # share of the gain that must be gone ...
    lost_return: float = 0.6  # ... of a return, which swings more
    lost_return_points: int = 50  # points that a return is given to agree with a loss
    lost_resumed: float = 0.1  # a resumed run has gained before: share of what there is to win that must be gone

    # nan
    nan_run: int = 3  # consecutive non-finite values of the objective: one may be a loss scaler's skipped step
    nan_alone: int = 10  # the same where it was never finite, or is a return: NaN where no episode ended
    nan_loss_run: int = 20  # the same of the training loss, where the objective has not been logged since

    # diverging
    diverging_factor: float = 3.0  # above this multiple of where the loss began
    diverging_points: int = 8  # for so many points, or three where training and validation loss agree
    diverging_blind_factor: float = 10.0  # without word from the objective: this multiple ...
    diverging_blind_points: int = 50  # ... for so many points

    # overfitting
    overfit_points: int = 5  # validation points after the best
    overfit_rise: float = 0.25  # rise of the validation loss above its best, as a share of it ...
    overfit_gain: float = 0.05  # ... and of what it had gained ...
    overfit_noises: float = 2.5  # ... and in times its noise
    overfit_lost: float = 0.05  # a rise by this share is worth a note where the gain is lost with it
    overfit_train: float = 0.1  # share by which the training loss fell meanwhile
    overfit_score: float = 0.1  # share of its gain that a score must have lost, where that is the objective

    # collapse
    collapse_points: int = 4  # the gain is gone for so many points ...
    collapse_share: float = 0.1  # ... and for this share of the run
    collapse_return_points: int = 20  # the same of a return
    collapse_return_share: float = 0.2
    collapse_spreads: float = 2.0  # the gain was so many times the swings (10th to 90th percentile) since ...
    collapse_surely_points: int = 100  # ... or has been gone for so long
    collapse_below_points: int = 100  # a return may also fall below where it began, in a run of this length ...
    collapse_below_share: float = 0.7  # ... that had been good for this share of the time that it has not been since

    # oscillating
    swing_points: int = 20
    swing_batches: int = 10  # a training loss is judged by medians of so many points: single batches always swing
    swing_gain: float = 0.3  # width of the swings (10th to 90th percentile) as a share of the gain ...
    swing_loss: float = 0.4  # ... and of the start of a loss ...
    swing_score: float = 0.2  # ... or of the whole range of a score
    swing_note: float = 0.45  # ... this share of which is worth a note
    swing_turns: int = 5  # how often the objective has to turn round ...
    swing_turns_too: int = 3  # ... and each loss with it
    swing_progress: float = 0.35  # a second half that is better by this share of the width may be progress: a note

    # never-learns and slow
    learn_points: int = 10  # points of the objective, together with ...
    learn_updates: int = 250  # ... so many updates: points of the training loss, or for a note what the steps count
    learn_epochs: int = 15  # ... or so many of both, where each is an epoch
    learn_alone_points: int = 40  # points of a held-out objective that stands alone
    learn_surely: int = 2  # all of these are a note; so many times as much, an intervention
    learn_return_points: int = 100  # returns may be flat for long before they take off: a note from here ...
    learn_return_surely: int = 1000  # ... and an intervention from here
    learn_gain: float = 0.05  # a loss that has not lost this share of its start has not learned ...
    learn_score: float = 0.15  # ... nor has a score that has not won this share of what there is to win
    learn_high: float = 0.9  # ... and where one stands above this share of its range, there is little left to learn
    learn_settle: float = 0.12  # a loss may settle by this share at first ...
    learn_settled: float = 0.02  # ... and has not learned if it moves by less than this after the first fifth
    learn_heart: float = 0.25  # a loss that lost more than this share of its start was learned, if only by heart
    stand_bins: int = 20  # whole stretches of the run are compared by the medians of so many
    slow_gain: float = 0.5  # one that lost less than this, as fast as ever, is slow (an intervention below learn_gain)
    slow_half: tuple[float, float] = (0.3, 0.65)  # share of the fall in the second half: not settled, not taking off
    slow_half_note: float = 0.8  # a curve that falls faster by and by is worth a note up to here

    # plateau
    flat_points: int = 30  # fewer, and the two halves are compared by almost the same points
    flat_gain: float = 0.03  # a target missed by less than this share of the gain is as good as reached
    flat_reach: float = 4.0  # what the second half of the run won, so many times again, does not reach the target
    flat_share: float = 0.15  # what still wins this share of its whole gain in its second half is no plateau
    flat_rate: float = 0.05  # a learning rate has come down, and its schedule to an end, below this share of its top
    flat_fall: float = 0.2  # what lost more than this share of its gain again does not stand still
    flat_score: float = 0.95  # without a target: what a score might reach (share of its range) ...
    flat_poor: float = 0.5  # ... a note where it is below this ...
    flat_won: float = 0.25  # ... and had won this share of what there is to win

    # spike
    spike_noises: float = 8.0  # height over the running median, in times the noise ...
    spike_neighbours: float = 4.0  # ... and in times the next largest deviation nearby ...
    spike_gain: float = 0.5  # ... and as a share of the gain
    spike_back: float = 0.25  # share of the gain that may still be missing at the end

    # what a trainer may log of its health
    witness_points: int = 20
    gradient_gone: float = 1e-7
    gradient_grown: float = 100.0  # times the level of the first quarter, and above 1
    units_dead: float = 0.5
    update_small: float = 1e-8
    update_large: float = 10.0

    # stalled
    gap_s: float = 1800.0  # a silence in the log of at least this ...
    gap_factor: float = 20.0  # ... and so many times the usual distance between two records
