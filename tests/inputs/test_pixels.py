"""Pictures as an input: fresh warps in each epoch."""

from pathlib import Path

import numpy as np
import pytest

from systems import NETWORK, learner_of, write_stripes


def test_fresh_pictures_are_read_as_drawn_and_decide_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_stripes(tmp_path, train=12, validation=4, test=0))
    fresh, planned = learner_of(NETWORK | {"augmentation": "fresh"}), learner_of(NETWORK)
    one, other = fresh.fresh_examples(1), fresh.fresh_examples(2)
    assert len(one) == len(other) == len(planned.train), "all epochs have the same size"
    np.testing.assert_array_equal(one.rows.read([0, 5]), fresh.fresh_examples(1).rows.read([0, 5]))
    assert (one.rows.read([0, 5]) != other.rows.read([0, 5])).mean() > 0.5
    assert (one.rows.read([0]) != planned.train.rows.read([0])).mean() > 0.5, "an original is warped, too"
    assert fresh.digest != planned.digest
    assert planned.fresh_examples(1) is planned.train
