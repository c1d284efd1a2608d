"""What twice as many steps would bring follows from how the error of a training fell."""

import pytest
import torch

from omniseg.training.learning_curve import LearningCurve
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import ball_config, ball_images

CPU = torch.device("cpu")


def curve(psnr, steps: int = 200, begin: int = 0) -> LearningCurve:
    """Return the curve of a training with the PSNR `psnr(done)`, from step `begin` on."""
    found = LearningCurve(CPU)
    for step in range(begin, steps):
        found.add(step / steps, torch.tensor(10 ** (-psnr(step / steps) / 10)))
    return found


@pytest.mark.parametrize("rise", [0.0, 2.0, 6.0])
def test_a_steady_rise_is_half_of_it_from_the_middle_to_the_end(rise: float):
    gain = curve(lambda done: 20 + rise * done).gain_of_doubling()
    assert gain == pytest.approx(rise / 2, abs=0.01)


def test_no_gain_where_the_error_stays_or_grows():
    assert curve(lambda done: 20 + 5 * min(done, 0.4)).gain_of_doubling() == pytest.approx(0, abs=1e-6)
    assert curve(lambda done: 20 - done).gain_of_doubling() == 0


def test_errors_are_averaged_and_not_decibels():
    noisy = curve(lambda done: 20 + (10 if round(done * 200) % 2 else -10) * (done > 0.8))
    # Errors 1e-3 and 1e-1, with the mean 0.0505 of 13 dB, after errors of 20 dB.
    assert noisy.gain_of_doubling() == 0


def test_a_training_that_goes_on_behind_its_middle_says_nothing():
    assert curve(lambda done: 20 + done, begin=110).gain_of_doubling() is None
    assert curve(lambda done: 20 + done, begin=60).gain_of_doubling() == pytest.approx(0.5, abs=0.01)
    assert LearningCurve(CPU).gain_of_doubling() is None


def test_a_training_feeds_its_curve(device):
    def gain(lr: float) -> float | None:
        trainer = RadianceTrainer(ball_config(steps=60, lr=lr), ball_images().to(device))
        trainer.run(save=lambda: None, progress=False)
        return trainer.curve.gain_of_doubling()

    learns, stands_still = gain(5e-2), gain(1e-9)
    assert learns is not None
    assert stands_still is not None
    assert learns > stands_still + 1
