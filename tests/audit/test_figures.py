"""Figures draw what they are given, the same way every time, and never read a label as markup or mathematics."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from audit import figures

HOSTILE = "$\\frac{1}{$ </svg><script>alert(1)</script> & --> 混合"


def comparisons(**changes: object) -> pd.DataFrame:
    rows = [
        {"scale": scale, "candidate": name, "baseline": "DeltaNet", "outcome": outcome,
         "estimate": at, "low": at - 0.05, "high": at + 0.05}
        for scale in ("small", "large")
        for name, outcome, at in (("A", "better", -0.1), (HOSTILE, "undecided", 0.01))
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**changes)


SEEDS = pd.DataFrame(
    [("small", "A", "DeltaNet", seed, -0.1 + 0.01 * seed) for seed in range(3)],
    columns=["scale", "candidate", "baseline", "seed", "difference"],
)


def scores() -> pd.DataFrame:
    values = {("small", "A"): 2.1, ("small", HOSTILE): 2.3, ("large", "A"): 2.4, ("large", HOSTILE): 2.0}
    rows = [(scale, arm, seed, at + 0.01 * seed) for (scale, arm), at in values.items() for seed in range(3)]
    return pd.DataFrame(rows, columns=["scale", "arm", "seed", "bits_per_byte"])


def curves() -> pd.DataFrame:
    steps = np.arange(1, 201)
    frames = [
        pd.DataFrame({"scale": scale, "arm": arm, "seed": seed, "step": steps, "loss": 2.0 + gap + 3.0 / steps})
        for scale in ("small", "large")
        for arm, gap in (("DeltaNet", 0.0), (HOSTILE, 0.25))
        for seed in range(2)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


COUNTS = pd.DataFrame({"model": ["1-gram", "3-gram", "4-gram"], "bits_per_byte": [4.6, 2.2, 2.21]})
DRAWN = {
    "forest": lambda: figures.forest(comparisons(), SEEDS, sesoi=0.02, note="95%"),
    "curves": lambda: figures.loss_curves(curves(), reference="DeltaNet"),
    "ranks": lambda: figures.rank_plot(scores()),
    "losses": lambda: figures.losses(scores(), COUNTS),
}


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_the_same_text_on_every_call_and_has_no_date(name):
    figure = DRAWN[name]()
    first = figures.svg(figure)
    assert figures.svg(figure) == first
    assert figures.svg(DRAWN[name]()) == first
    assert "<dc:date>" not in first


@pytest.mark.parametrize("name", DRAWN)
def test_a_hostile_label_is_printed_as_it_is(name):
    svg = figures.svg(DRAWN[name]())
    assert "<script" not in svg
    assert any(text.startswith(figures.shown(HOSTILE)) for text in texts(svg))


@pytest.mark.parametrize("name", DRAWN)
def test_axes_say_what_they_show_and_in_which_unit(name):
    printed = " ".join(texts(figures.svg(DRAWN[name]())))
    assert ("nats per token" if name == "curves" else "bits per byte") in printed


def test_the_forest_plot_puts_marker_interval_and_seeds_where_the_numbers_are():
    figure = figures.forest(comparisons(), SEEDS, sesoi=0.02, note="95%")
    lines = figure.axes[0].get_lines()
    marker = next(line for line in lines if line.get_marker() == "<")
    assert marker.get_xdata()[0] == pytest.approx(-0.1)
    assert any(np.allclose(line.get_xdata(), [-0.15, -0.05]) for line in lines if len(line.get_xdata()) == 2)
    assert any(np.allclose(line.get_xdata(), SEEDS["difference"]) for line in lines if len(line.get_xdata()) == 3)
    band = figure.axes[0].patches[0].get_extents().transformed(figure.axes[0].transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((-0.02, 0.02))


def test_an_arm_without_a_finished_pair_is_named_not_left_out():
    empty = comparisons(estimate=np.nan, low=np.nan, high=np.nan, outcome="undecided")
    printed = texts(figures.svg(figures.forest(empty, SEEDS.iloc[:0], sesoi=0.02, note="95%")))
    assert printed.count("no finished pair") == 4


def test_outcomes_differ_in_shape_and_in_grey():
    shapes = [marker for marker, _, _ in figures.VERDICT_STYLE.values()]
    assert len(set(shapes)) == len(shapes)
    grey = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for _, colour, _ in figures.VERDICT_STYLE.values()]
    assert max(grey) < 0.6, "too pale on white"


def test_the_lower_curve_panel_is_the_difference_to_the_reference():
    figure = figures.loss_curves(curves(), reference="DeltaNet")
    lower = figure.axes[2].get_lines()
    assert np.allclose(lower[0].get_ydata(), 0.0)
    assert np.allclose(lower[1].get_ydata(), 0.25)
    assert len(lower[1].get_ydata()) == figures.CURVE_POINTS


def test_ranks_are_of_the_means_with_the_lowest_loss_first():
    lines = figures.rank_plot(scores()).axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines[:2]] == [[1.0, 2.0], [2.0, 1.0]]


def test_count_models_close_together_share_a_label_and_far_ones_are_left_to_the_table():
    printed = texts(figures.svg(figures.losses(scores(), COUNTS)))
    assert "3-gram, 4-gram" in printed
    assert "1-gram" not in printed
