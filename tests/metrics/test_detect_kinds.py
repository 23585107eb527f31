# SPDX-License-Identifier: Apache-2.0
"""Each kind of trouble on a curve made for it, with its onset and severity, and what looks like it and is not."""

from __future__ import annotations

import numpy as np
import pytest

from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import Guess
from tests.metrics.detect_curves import curves, decay, kinds, prefixes, series, until

VAL_LOSS, ACCURACY, REWARD = Guess("loss/val", "min"), Guess("accuracy/val", "max"), Guess("reward", "max")
RNG = np.random.default_rng(1)


def accuracy(n: int) -> np.ndarray:
    return 1 - decay(n) / 2.5


class TestNan:
    def test_in_the_training_loss_it_is_dated_by_the_blow_up_that_led_to_it(self) -> None:
        """The checkpoint that is chosen has to be from before the rise, not from before the first NaN."""
        loss = decay(300)
        loss[200:220] = np.geomspace(0.5, 1e6, 20)
        loss[220:] = np.nan
        val = decay(30)
        val[22:] = np.nan
        first = find(curves(series("loss/train", loss), series("loss/val", val, every=10)), VAL_LOSS)[0]
        assert (first.kind, first.severity) == ("nan", "intervene")
        assert first.onset is not None
        assert 1180 <= first.onset <= 1201

    def test_in_an_auxiliary_loss_beside_a_perfect_policy_it_is_a_note(self) -> None:
        """Measured on real runs: the return is what counts."""
        aux = decay(300)
        aux[50:] = np.nan
        found = find(curves(series("losses/aux_loss", aux), series("episode_return", 500 - 200 * decay(300))))
        assert (kinds(found), kinds(found, "note")) == ([], ["nan"])

    def test_a_skipped_step_of_a_loss_scaler_is_a_note(self) -> None:
        """One infinite loss among finite ones harms nothing."""
        loss = decay(300)
        loss[[80, 190]] = np.inf
        found = find(curves(series("loss/train", loss), series("accuracy/val", accuracy(30), every=10)))
        assert (kinds(found), kinds(found, "note")) == ([], ["nan"])

    def test_a_return_is_nan_until_the_first_episode_ends(self) -> None:
        """Nothing has gone wrong yet."""
        values = np.r_[[np.nan] * 8, 200 - 80 * decay(5)]
        assert find(curves(series("reward", values[:8])), REWARD)[0].severity == "note"
        assert kinds(find(curves(series("reward", values)), REWARD)) == []


class TestNames:
    """Which loss is trained: trainers have habits that no list of words knows."""

    heart = 2.3 * np.exp(-np.arange(400) / 40)
    val = np.r_[decay(15, low=0.5), np.linspace(0.7, 2.0, 25)]

    @pytest.mark.parametrize(
        ("trained", "held_out"),
        [
            ("train_inner/loss", "valid/loss"),  # the only loss of its split
            ("train/l1", "val/l1"),  # no known word, but the objective's own on other data
            ("fit/chamfer_dist", "holdout/chamfer_dist"),
        ],
    )
    def test_the_only_one_or_the_twin_of_the_objective(self, trained: str, held_out: str) -> None:
        run = curves(series(trained, self.heart), series(held_out, self.val, every=10))
        assert kinds(find(run, Guess(held_out, "min"))) == ["overfitting"]

    def test_not_one_of_several_terms(self) -> None:
        """Which of them is trained nobody knows."""
        terms = [series(f"train/{name}_loss", self.heart) for name in ("box", "mask")]
        run = curves(*terms, series("val/accuracy", accuracy(40), every=10), series("val/loss", self.val, every=10))
        assert find(run, Guess("val/accuracy", "max")) == ()

    def test_a_score_beside_a_validation_loss_is_held_out(self) -> None:
        """Its own name says nothing: half of the epochs at chance are worth a note."""
        rng = np.random.default_rng(0)
        run = curves(
            series("train/cls_loss", 1.8 + 0.004 * rng.standard_normal(20)),
            series("val/cls_loss", 1.8 + 0.004 * rng.standard_normal(20)),
            series("metrics/accuracy", 0.17 + 0.01 * rng.standard_normal(20)),
        )
        assert kinds(find(run, Guess("metrics/accuracy", "max")), "note") == ["never-learns"]

    @pytest.mark.parametrize(("tag", "low", "high"), [("AverageEpRet", 0.0, 0.9), ("elo", 1200.0, 1900.0)])
    def test_what_rises_without_a_scale_is_given_the_time_of_a_return(self, tag: str, low: float, high: float) -> None:
        """It takes off after three hundred points: no score, whatever its name."""
        grown = 1 / (1 + np.exp(-(np.arange(400) - 350) / 8)) + 0.01 * np.random.default_rng(0).standard_normal(400)
        run = curves(series(tag, low + (high - low) * grown))
        for seen in prefixes(run, most=40):
            assert kinds(find(seen, Guess(tag, "max"))) == []


class TestDiverging:
    def test_with_the_accuracy_at_chance_it_is_dated_by_the_last_good_loss(self) -> None:
        """Onset is the last good minimum before the rise."""
        loss = decay(400)
        loss[250:] = np.geomspace(0.4, 1e5, 150)
        fallen = accuracy(40)
        fallen[27:] = 0.1
        first = find(curves(series("loss/train", loss), series("accuracy/val", fallen, every=10)), ACCURACY)[0]
        assert (first.kind, first.severity, first.tag) == ("diverging", "intervene", "loss/train")
        assert first.onset is not None
        assert 1200 <= first.onset <= 1252

    def test_a_critic_that_grows_with_the_return_is_a_note(self) -> None:
        """It predicts returns, and the returns grow."""
        run = curves(series("losses/value_loss", np.geomspace(1, 1e4, 300)), series("reward", 500 - 200 * decay(300)))
        assert kinds(find(run)) == []

    def test_an_adversary_that_loses_is_none(self) -> None:
        """A generator's loss may grow as long as what it is for gets better; not if that is lost as well."""
        rising = series("loss/generator", np.linspace(1, 6, 300))
        assert find(curves(rising, series("fid", 100 * decay(30), every=10))) == ()
        lost = np.r_[decay(12), np.full(18, 2.3)]
        found = find(curves(rising, series("fid", 100 * lost, every=10)))
        assert ("diverging", "loss/generator") in [(f.kind, f.tag) for f in found]

    def test_one_huge_value_is_none(self) -> None:
        """One bad batch of 1e30 says nothing of the run."""
        loss = decay(300)
        loss[150] = 1e30
        assert "diverging" not in [f.kind for f in find(curves(series("loss", loss)))]

    def test_a_loss_that_comes_back_by_itself_is_none(self) -> None:
        """The first steps of a large rate overshoot."""
        loss = 0.3 + 40 * np.exp(-np.arange(300) / 20)
        loss[:3] = 2.3
        run = curves(series("loss/train", loss))
        assert kinds(find(run)) == []

    def test_it_is_over_only_where_it_began(self) -> None:
        """Restored with another run's rate: a jump to a hundred times the start, and most of the way back."""
        loss = decay(60)
        loss[30:] = 2.4 + 100 * np.exp(-np.arange(30) / 4)
        found = find(curves(series("loss/val", loss)), VAL_LOSS)
        assert ("diverging", "note") in [(f.kind, f.severity) for f in found]
        assert "spike" not in [f.kind for f in found]
        assert "diverging" not in [f.kind for f in find(curves(series("loss/val", np.r_[loss, decay(20)])), VAL_LOSS)]

    def test_what_has_learned_nothing_since_is_its_consequence(self) -> None:
        """A jump to forty times the start, and back to it: it was flat before and is again."""
        loss = np.r_[np.full(20, 2.3), 2.4 + 100 * np.exp(-np.arange(30) / 4)] + 0.002 * RNG.standard_normal(50)
        run = curves(series("loss/train", np.repeat(loss, 10)), series("loss/val", loss, every=10))
        named = [f.kind for f in find(run, VAL_LOSS)]
        assert "diverging" in named
        assert "never-learns" not in named

    def test_a_held_out_loss_alone_is_overfitting_however_far_it_rises(self) -> None:
        """Four times its start, while the training loss goes to nothing: that is learned by heart."""
        val = np.r_[decay(15), np.linspace(0.5, 20.0, 25)]
        run = curves(series("loss/train", 2.3 * np.exp(-np.arange(400) / 40)), series("loss/val", val, every=10))
        assert [f.kind for f in find(run, VAL_LOSS)] == ["overfitting"]

    def test_what_is_lost_or_overflows_with_it_stands_beside_it(self) -> None:
        """One event in two views: a rule on either finds it."""
        loss = decay(400)
        loss[250:] = np.geomspace(0.4, 1e5, 150)
        fallen = accuracy(40)
        fallen[27:] = 0.1
        score = series("accuracy/val", fallen, every=10)
        found = find(curves(series("loss/train", loss), score), ACCURACY)
        assert [(f.kind, f.severity) for f in found] == [("diverging", "intervene"), ("collapse", "note")]
        loss[380:] = np.inf
        found = find(curves(series("loss/train", loss), score), ACCURACY)
        assert (kinds(found), kinds(found, "note")) == (["nan"], ["diverging"])

    def test_an_objective_said_to_rise_is_never_said_to_diverge(self) -> None:
        """The user's word on the direction counts, whatever the tag is called."""
        assert kinds(find(curves(series("elbo_loss", 500 - 200 * decay(300))), Guess("elbo_loss", "max"))) == []


class TestOverfitting:
    def test_with_the_objective_it_intervenes_from_the_best_validation(self) -> None:
        """Training loss to zero, validation loss back up."""
        val = np.r_[decay(15, low=0.5), np.linspace(0.7, 2.0, 25)]
        run = curves(series("loss/train", 2.3 * np.exp(-np.arange(400) / 40)), series("loss/val", val, every=10))
        first = find(run, VAL_LOSS)[0]
        assert (first.kind, first.severity) == ("overfitting", "intervene")
        assert 80 <= first.first_step <= 170

    def test_beside_an_accuracy_at_its_best_it_is_a_note(self) -> None:
        """A confident model at the ordinary end of a good run."""
        val = np.r_[decay(15, low=0.3), np.linspace(0.5, 1.5, 25)]
        run = curves(
            series("loss/train", 2.3 * np.exp(-np.arange(400) / 40)),
            series("loss/val", val, every=10),
            series("accuracy/val", accuracy(40), every=10),
        )
        found = find(run, ACCURACY)
        assert (kinds(found), kinds(found, "note")) == ([], ["overfitting"])

    def test_what_it_had_gained_is_lost_again(self) -> None:
        """A tenth above its best is little, but all that the validation loss ever gained: a note."""
        val = np.r_[2.3 - 0.2 * np.linspace(0, 1, 6), np.linspace(2.12, 2.32, 20), np.full(14, 2.32)]
        run = curves(series("loss/train", 2.3 * np.exp(-np.arange(400) / 40)), series("loss/val", val, every=10))
        found = find(run, VAL_LOSS)
        assert (kinds(found), kinds(found, "note")) == ([], ["overfitting"])

    def test_a_few_per_cent_are_none(self) -> None:
        """A validation loss that ticks up is no reason for a restart."""
        val = np.r_[decay(15, low=0.3, noise=0), np.linspace(0.32, 0.35, 25)]
        run = curves(series("loss/train", 2.3 * np.exp(-np.arange(400) / 40)), series("loss/val", val, every=10))
        assert find(run, VAL_LOSS) == ()


class TestCollapse:
    def test_of_a_policy(self) -> None:
        """The return was 200 and is 10 for good."""
        reward = np.r_[200 - 80 * decay(200, noise=0.1), np.full(80, 10.0) + RNG.standard_normal(80)]
        found = find(curves(series("reward", reward), series("losses/value_loss", np.ones(280))), REWARD)
        assert kinds(found) == ["collapse"]
        assert 180 <= found[0].first_step <= 200

    def test_of_a_policy_that_wanders_ever_since(self) -> None:
        """It was steady and good; that it is never the same for long since then is no excuse."""
        lost = 25 + 50 * np.sin(np.arange(400) / 5) + 10 * RNG.standard_normal(400)
        reward = np.r_[200 - 80 * decay(200, noise=0.1), lost]
        assert kinds(find(curves(series("reward", reward)), REWARD)) == ["collapse"]

    def test_a_dip_of_a_policy_is_none(self) -> None:
        """Returns dip and recover; while they dip, a supervisor must not act."""
        reward = 200 - 80 * decay(200, noise=0.1)
        for length in range(1, 19):
            assert kinds(find(curves(series("reward", np.r_[reward, np.full(length, 60.0)])), REWARD)) == []

    def test_while_it_may_be_a_dip_it_is_a_note(self) -> None:
        """Fallen to nothing, but only a tenth of the run ago."""
        reward = np.r_[200 - 80 * decay(300, noise=0.1), 10 + RNG.standard_normal(30)]
        found = find(curves(series("reward", reward)), REWARD)
        assert (kinds(found), kinds(found, "note")) == ([], ["collapse"])

    def test_where_it_is_good_now_and_then_it_is_a_note(self) -> None:
        """Since the target network was lost, the return swings between the worst and the best."""
        swings = 100 + 90 * np.sign(np.sin(np.arange(400) / 6) - 0.6)
        reward = np.r_[200 - 80 * decay(300, noise=0.1), swings + RNG.standard_normal(400)]
        found = find(curves(series("reward", reward)), REWARD)
        assert (kinds(found), kinds(found, "note")) == ([], ["collapse"])

    def test_an_expert_first_episode_is_none(self) -> None:
        """A demonstration at the start is no level that was lost."""
        reward = np.r_[500.0, 20 + 3 * RNG.standard_normal(60)]
        assert kinds(find(curves(series("reward", reward)), REWARD)) == []

    def test_of_a_classifier(self) -> None:
        """Accuracy and training loss are back at chance."""
        fallen = np.r_[accuracy(25), np.full(15, 0.1)]
        loss = np.r_[decay(250), 2.3 + 0.02 * RNG.standard_normal(150)]
        run = curves(series("loss/train", loss), series("accuracy/val", fallen, every=10))
        assert kinds(find(run, ACCURACY)) == ["collapse"]

    def test_a_number_that_is_none_is_told_beside_it(self) -> None:
        """It came later and may be its consequence, but is a fact."""
        fallen = np.r_[accuracy(25), np.full(15, 0.1)]
        aux = np.r_[np.ones(300), np.full(100, np.nan)]
        loss = np.r_[decay(250), 2.3 + 0.02 * RNG.standard_normal(150)]
        run = curves(series("loss/train", loss), series("loss/aux", aux), series("accuracy/val", fallen, every=10))
        found = find(run, ACCURACY)
        assert (kinds(found), kinds(found, "note")) == (["collapse"], ["nan"])

    def test_not_while_the_training_loss_is_as_low_as_ever(self) -> None:
        """Then it is the measurement that broke, or the data."""
        run = curves(
            series("loss/train", decay(400)), series("accuracy/val", np.r_[accuracy(25), [0.1] * 15], every=10)
        )
        assert "collapse" not in kinds(find(run, ACCURACY))


class TestOscillating:
    swings = 1.2 + np.sin(np.arange(50) * 1.3) + 0.1 * RNG.standard_normal(50)

    def test_of_validation_and_training_alike(self) -> None:
        """All that is gained is lost again; where the rate is not known to be steady, it may be meant."""
        batches = np.repeat(self.swings, 10) + 0.05 * RNG.standard_normal(500)
        run = curves(series("loss/train", batches), series("loss/val", self.swings, every=10))
        assert kinds(find(run, VAL_LOSS), "note") == ["oscillating"]
        rate = series("lr", np.full(500, 0.5))
        assert kinds(find(curves(*run.series.values(), rate), VAL_LOSS)) == ["oscillating"]

    def test_of_single_batches_it_is_a_note(self) -> None:
        """Three points of the training loss to an evaluation: they swing by chance, too."""
        rate = series("lr", np.full(150, 0.5))
        run = curves(series("loss/train", np.repeat(self.swings, 3)), series("loss/val", self.swings, every=3), rate)
        assert [(f.kind, f.severity) for f in find(run, VAL_LOSS)] == [("oscillating", "note")]

    def test_of_half_that_width_it_is_a_note(self) -> None:
        """A rate at the edge of what is stable need not lose all: worth knowing, and no reason to act."""
        swings = 1.0 + 0.35 * (self.swings - 1.2)
        start = np.r_[[2.3] * 3, swings]
        batches = np.repeat(start, 10) + 0.05 * RNG.standard_normal(530)
        run = curves(
            series("loss/train", batches), series("loss/val", start, every=10), series("lr", np.full(530, 0.5))
        )
        assert (kinds(find(run, VAL_LOSS)), kinds(find(run, VAL_LOSS), "note")) == ([], ["oscillating"])

    def test_in_bursts(self) -> None:
        """Short and far, and calm between: no quantile is wide, but it loses all it has gained, again and again."""
        bursts = decay(80, low=0.4, noise=0.01)
        for at, height in ((30, 1), (44, 12), (58, 1), (70, 1)):
            bursts[at : at + 3] += height * np.array([1.0, 2.0, 1.5])
        run = curves(series("loss/train", np.repeat(bursts, 5)), series("loss/val", bursts, every=5))
        assert [(f.kind, f.severity) for f in find(run, VAL_LOSS)] == [("oscillating", "note")]

    def test_of_a_validation_loss_that_stands_alone_it_has_to_be_wide(self) -> None:
        """Nothing else was logged."""
        narrow = 1.0 + 0.4 * (self.swings - 1.2)
        start = np.full(3, 2.3)
        assert [f.kind for f in find(curves(series("loss/val", np.r_[start, self.swings])), VAL_LOSS)] == [
            "oscillating"
        ]
        assert "oscillating" not in [f.kind for f in find(curves(series("loss/val", np.r_[start, narrow])), VAL_LOSS)]

    def test_a_ragged_blow_up_on_its_way_back_is_none(self) -> None:
        """Its lows come down and down."""
        ragged = np.r_[decay(30), (2.5 + 200 * np.exp(-np.arange(60) / 8)) * (1.2 + 0.5 * np.sin(np.arange(60) * 1.3))]
        run = curves(series("loss/train", np.repeat(ragged, 5)), series("loss/val", ragged, every=5))
        named = [f.kind for f in find(run, VAL_LOSS)]
        assert "diverging" in named
        assert "oscillating" not in named

    def test_what_came_to_rest_at_its_best_is_none(self) -> None:
        """A rough start of a run that ends well."""
        val = np.r_[2.3, self.swings[:45] - 0.1, np.full(25, 0.1)]
        run = curves(series("loss/train", np.repeat(val, 10)), series("loss/val", val, every=10))
        assert find(run, VAL_LOSS) == ()

    def test_not_of_a_small_validation_set_alone(self) -> None:
        """The training loss is calm: the swings are in the measurement."""
        run = curves(series("loss/train", decay(500)), series("loss/val", self.swings, every=10))
        assert kinds(find(run, VAL_LOSS)) == []

    def test_not_under_a_cyclic_rate(self) -> None:
        """Warm restarts swing by design, and the logged rate says so."""
        batches = np.repeat(self.swings, 10)
        rate = 0.5 + 0.5 * np.cos(np.arange(500) * 0.13)
        run = curves(series("loss/train", batches), series("loss/val", self.swings, every=10), series("lr", rate))
        assert kinds(find(run, VAL_LOSS)) == []


class TestNeverLearns:
    flat = curves(
        series("loss/train", 2.303 + 0.01 * RNG.standard_normal(600)),
        series("loss/val", 2.303 + 0.002 * RNG.standard_normal(60), every=10),
    )

    def test_at_chance_from_first_to_last(self) -> None:
        """Worth a note after half the time."""
        assert kinds(find(self.flat, VAL_LOSS)) == ["never-learns"]
        assert kinds(find(until(self.flat, 1400.0), VAL_LOSS), "note") == ["never-learns"]

    def test_it_is_sure_earlier_where_no_gradient_arrives(self) -> None:
        """What the trainer logs of its gradients stands in the evidence, and beside it as a note of its own."""
        run = curves(*self.flat.series.values(), series("grad_norm", np.full(600, 1e-9)))
        found = find(until(run, 1400.0), VAL_LOSS)
        assert [(f.kind, f.severity) for f in found] == [
            ("never-learns", "intervene"),
            ("vanishing-gradient", "note"),
        ]
        assert found[0].evidence["grad_norm"] == pytest.approx(1e-9)

    def test_a_few_epochs_are_worth_a_note(self) -> None:
        """Twelve of them, each logged once, in steps or in epochs."""
        for every in (1, 500):
            run = curves(
                series("train/loss", 2.303 + 0.004 * np.random.default_rng(2).standard_normal(12), every=every),
                series("val/loss", 2.305 + 0.002 * np.random.default_rng(3).standard_normal(12), every=every),
            )
            found = find(run, Guess("val/loss", "min"))
            assert (kinds(found), kinds(found, "note")) == ([], ["never-learns"])

    def test_steps_count_batches_where_few_are_logged(self) -> None:
        """Thirty points of the training loss, fifty steps apart."""
        run = curves(
            series("loss/train", 2.303 + 0.01 * np.random.default_rng(2).standard_normal(60), every=50),
            series("loss/val", 2.303 + 0.002 * np.random.default_rng(3).standard_normal(20), every=150),
        )
        assert kinds(find(run, VAL_LOSS), "note") == ["never-learns"]
        assert find(until(run, 1200.0), VAL_LOSS) == ()

    def test_what_was_better_for_a_moment_has_not_learned(self) -> None:
        """It wanders: a fifth better in mid-run, and back where it began."""
        val = (
            2.3
            - 0.25 * np.exp(-(((np.arange(60) - 30) / 2) ** 2))
            + 0.01 * np.random.default_rng(4).standard_normal(60)
        )
        train = 2.3 + 0.1 * np.random.default_rng(5).standard_normal(600)
        found = find(curves(series("loss/train", train), series("loss/val", val, every=10)), VAL_LOSS)
        assert (kinds(found), kinds(found, "note")) == ([], ["never-learns"])

    def test_not_where_the_noise_hides_what_was_learned(self) -> None:
        """A quarter gained, and noise as large: nobody can tell."""
        rng = np.random.default_rng(6)
        fall = 0.7 + 0.3 * np.exp(-np.arange(30) / 6)
        run = curves(
            series("loss/train", np.repeat(fall, 10) + 0.3 * rng.standard_normal(300)),
            series("loss/val", fall + 0.2 * rng.standard_normal(30), every=10),
        )
        assert "never-learns" not in [f.kind for f in find(run, VAL_LOSS)]

    def test_what_is_learned_by_heart_may_be_understood_later(self) -> None:
        """Accuracy at chance beside a training loss of nothing: some networks take off after that."""
        heart = curves(series("loss/train", decay(2000, low=0.01)), series("accuracy/val", np.full(200, 0.1), every=10))
        assert kinds(find(heart, ACCURACY)) == []

    def test_not_during_warm_up(self) -> None:
        """While the learning rate still rises, nothing is expected."""
        run = curves(*self.flat.series.values(), series("lr", np.linspace(0, 1, 600)))
        assert kinds(find(run, VAL_LOSS)) == []

    def test_not_in_a_resumed_run(self) -> None:
        """It had learned before this log began."""
        run = curves(*(series(s.tag, s.values, every=10, first=5000) for s in self.flat.series.values()))
        assert kinds(find(run, VAL_LOSS)) == []

    def test_a_return_is_given_much_longer(self) -> None:
        """A sparse reward takes off late: a note after a hundred updates, an intervention after a thousand."""
        for n, severity in ((80, None), (150, "note"), (1200, "intervene")):
            wandering = 20 + np.random.default_rng(0).standard_normal(n)
            found = find(curves(series("reward", wandering), series("losses/value_loss", np.ones(n))), REWARD)
            assert [f.severity for f in found if f.kind == "never-learns"] == ([severity] if severity else [])


class TestSlow:
    def test_a_straight_line_that_leads_nowhere_soon(self) -> None:
        """Two per cent in the whole run, and no faster at its end."""
        run = curves(
            series("loss/train", np.linspace(2.3, 2.25, 600) + 0.005 * RNG.standard_normal(600)),
            series("loss/val", np.linspace(2.3, 2.25, 60), every=10),
        )
        found = find(run, VAL_LOSS)
        assert kinds(found) == ["slow"]
        assert found[0].evidence["per_step"] == pytest.approx(0.05 / 590, rel=0.1)

    def test_of_a_third_in_a_straight_line_it_is_a_note(self) -> None:
        """As fast at its end as ever; it has learned something, but is far from done."""
        fall, noise = np.linspace(1.0, 0.66, 40), 0.03 * np.random.default_rng(1).standard_normal(40)
        batches = np.repeat(fall, 10) + 0.1 * np.random.default_rng(2).standard_normal(400)
        found = find(curves(series("loss/train", batches), series("loss/val", fall + noise, every=10)), VAL_LOSS)
        assert (kinds(found), kinds(found, "note")) == ([], ["slow"])
        learned = 0.6 + 0.4 * np.exp(-np.arange(40) / 6)
        run = curves(series("loss/train", np.repeat(learned, 10)), series("loss/val", learned, every=10))
        assert find(run, VAL_LOSS) == ()

    def test_batches_may_hide_it_but_not_gainsay_it(self) -> None:
        """The validation loss falls by one per cent, where single batches differ by ten."""
        rng, val = np.random.default_rng(3), series("loss/val", np.linspace(1.0, 0.99, 60), every=10)
        hidden = series("loss/train", np.linspace(1.0, 0.99, 600) + 0.1 * rng.standard_normal(600))
        flat = series("loss/train", 1.0 + 0.01 * rng.standard_normal(600))
        found = find(curves(hidden, val), VAL_LOSS)
        assert (kinds(found), kinds(found, "note")) == ([], ["slow"])
        assert [f.kind for f in find(curves(flat, val), VAL_LOSS)] == ["never-learns"]

    def test_not_where_it_takes_off(self) -> None:
        """The second half falls much faster than the first."""
        fall = 2.3 - 0.3 * np.linspace(0, 1, 400) ** 4
        assert find(curves(series("loss/train", fall), series("loss/val", fall[::10], every=10)), VAL_LOSS) == ()


class TestPlateau:
    run = curves(series("accuracy/val", np.r_[accuracy(10) * 0.7, np.full(50, 0.64)] + 0.003 * RNG.standard_normal(60)))

    def test_short_of_its_target(self) -> None:
        """It had learned, and stands still: an intervention only once the rate has come down."""
        wanted = Guess("accuracy/val", "max", target=0.9)
        found = find(self.run, wanted)
        assert kinds(found, "note") == ["plateau"]
        assert found[0].first_step <= 15
        rate = series("lr", 0.5 + 0.5 * np.cos(np.arange(60) / 60 * np.pi))
        run = curves(*self.run.series.values(), rate)
        assert kinds(find(until(run, 1040.0), wanted), "note") == ["plateau"]
        assert kinds(find(run, wanted)) == ["plateau"]

    def test_without_a_target_it_may_as_well_have_converged(self) -> None:
        """Nobody said that it should be better."""
        assert find(self.run, ACCURACY) == ()

    def test_a_climb_is_none(self) -> None:
        """Smooth, slower and slower, and still on its way, at whatever moment a supervisor looks."""
        climb = 1 - 0.9 * (1 + np.arange(120) / 8) ** -1.0
        run = curves(series("accuracy/val", climb + 0.003 * RNG.standard_normal(120)))
        for seen in prefixes(run):
            assert kinds(find(seen, Guess("accuracy/val", "max", target=0.97))) == []

    def test_not_at_its_target(self) -> None:
        """What has arrived may rest."""
        assert find(self.run, Guess("accuracy/val", "max", target=0.63)) == ()


class TestSpike:
    def test_a_jump_and_back_is_a_note(self) -> None:
        """One bad batch, and four steps to get over it."""
        loss = decay(300)
        loss[200:204] = [6.0, 3.0, 1.5, 0.7]
        found = find(curves(series("loss/train", loss), series("loss/val", decay(30), every=10)), VAL_LOSS)
        assert [(f.kind, f.severity, f.first_step) for f in found] == [("spike", "note", 200)]

    def test_what_stays_up_is_none(self) -> None:
        """A jump after which it is never as good again."""
        loss = decay(300)
        loss[200:] += 0.8 + 4 * np.exp(-np.arange(100.0) / 2)
        assert "spike" not in [f.kind for f in find(curves(series("loss/train", loss)))]

    def test_heavy_tails_are_none(self) -> None:
        """Where every tenth batch jumps, a jump is nothing special."""
        loss = decay(400) * np.exp(0.5 * np.abs(np.random.default_rng(3).standard_t(3, 400)).clip(0, 4))
        assert "spike" not in [f.kind for f in find(curves(series("loss/train", loss)))]


class TestStalled:
    def test_a_long_silence_inside_the_log_is_a_note(self) -> None:
        """Two hours without a record, then it went on."""
        one = series("loss/train", decay(100))
        one.wall_times[60:] += 7200
        found = find(curves(one))
        assert [(f.kind, f.severity, f.first_step, f.last_step) for f in found] == [("stalled", "note", 59, 60)]
        assert found[0].onset == 1059.0

    def test_slow_logging_is_none(self) -> None:
        """A trainer that always writes once an hour has no silences."""
        assert find(curves(series("loss/val", decay(30), pace=3600))) == ()


class TestWitnesses:
    @pytest.mark.parametrize(
        ("tag", "level", "kind"),
        [
            ("grad_norm", 1e-9, "vanishing-gradient"),
            ("grad_norm", 1e3, "exploding-gradient"),
            ("dead_frac", 0.9, "dead-units"),
            ("update_ratio", 1e-10, "update-size"),
            ("update_ratio", 30.0, "update-size"),
        ],
    )
    def test_they_are_notes_where_they_last(self, tag: str, level: float, kind: str) -> None:
        """Odd for the last thirty points; not for five in between."""
        usual = np.full(200, 0.01 if tag == "update_ratio" else 0.3)
        lasting, passing = np.r_[usual, np.full(30, level)], np.r_[usual, np.full(5, level), usual]
        loss = series("loss/train", decay(230))
        found = find(curves(loss, series(tag, lasting)))
        assert [(f.kind, f.severity, f.first_step) for f in found] == [(kind, "note", 200)]
        assert find(curves(loss, series(tag, passing))) == ()
