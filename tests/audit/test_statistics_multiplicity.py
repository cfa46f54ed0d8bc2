"""Corrections for the size of a family, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audit.statistics.multiplicity import benjamini_hochberg, holm


def test_holm_steps_down_and_keeps_the_order_given() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_benjamini_hochberg_steps_up_and_keeps_the_order_given() -> None:
    assert benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])


def test_a_test_that_could_not_be_made_still_counts_in_its_family() -> None:
    assert holm([0.01, math.nan, math.nan]) == pytest.approx([0.03, 1.0, 1.0])
    assert benjamini_hochberg([0.01, math.nan]) == pytest.approx([0.02, 1.0])


def test_an_empty_family_has_no_p_values() -> None:
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("bad", [[1.2], [-0.1], [[0.1]]])
def test_what_is_not_a_vector_of_p_values_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(np.asarray(bad))
