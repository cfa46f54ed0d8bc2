"""Figures of certificates and of the threshold audit draw what they are given, and text stays text."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from audit.figures import svg
from audit.threshold import certificate_figures
from audit.threshold import figures as threshold_figures
from replication.certificate import CHECKS

HOSTILE = "$\\frac{1}{$ </svg><script>alert(1)</script> & --> 混合"
RATES = ("false_positive_rate", "true_positive_rate")


def outcomes(name: str, violated: str = "", group: str = "leaks", expected: object = math.nan) -> list[dict]:
    return [
        {"group": group, "name": name, "check": check, "expected": expected,
         "outcome": "violated" if check in violated.split() else "certified"}
        for check in CHECKS
    ]  # fmt: skip


def certificates() -> pd.DataFrame:
    rows = outcomes("a", "future", expected="certified") + outcomes("b", "batch mode")
    return pd.DataFrame(rows + outcomes(HOSTILE, group="clean") + outcomes("d", "cost", group="others"))


def published() -> pd.DataFrame:
    return pd.DataFrame(
        [row for index in range(40) for row in outcomes(str(index))] + outcomes(f"41 {HOSTILE}", "future")
    )


def rates() -> pd.DataFrame:
    rows = [
        {"panel": panel, "threshold": x, **dict.fromkeys(RATES, at),
         **{f"{name}_low": max(0.0, at - 0.1) for name in RATES},
         **{f"{name}_high": min(1.0, at + 0.1) for name in RATES}}
        for panel in ("small", HOSTILE)
        for x, at in ((0.05, 0.7), (0.1, 0.4), (0.2, 0.4))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def corners() -> pd.DataFrame:
    rows = [{"panel": panel, **dict.fromkeys(RATES, at)} for panel in ("small", HOSTILE) for at in (0.0, 0.4, 0.7, 1.0)]
    return pd.DataFrame(rows)


def shares() -> pd.DataFrame:
    rows = [
        {"panel": panel, "group": group, "threshold": x, "share": 0.5, "low": low, "high": low + 0.4, "n": 12}
        for panel, group, low in (("zoo", "leaky", 0.3), ("zoo", "clean", 0.3), (HOSTILE, "all", math.nan))
        for x in (0.005, 0.1, 0.3)
    ]
    return pd.DataFrame(rows)


def gains(**columns: object) -> pd.DataFrame:
    rows = [
        {"scale": scale, "name": HOSTILE, "loss_gain": at, "loss_gain_low": at - 0.1, "loss_gain_high": at + 0.1,
         "leak_gain": at / 2, "leak_gain_low": at / 2, "leak_gain_high": at / 2, "baseline_loss": 2.0}
        for scale in ("small", "large")
        for at in (0.0, 0.5)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def maps() -> dict[str, np.ndarray]:
    clean = np.triu(np.ones((9, 9)))
    return {"clean": clean, HOSTILE: clean + 1e-5 * np.eye(9, k=-1)}


DRAWN = {
    "matrix": lambda: certificate_figures.matrix(certificates()),
    "patterns": lambda: certificate_figures.patterns(published()),
    "dependency": lambda: certificate_figures.dependency(maps()),
    "roc": lambda: threshold_figures.roc(corners(), rates(), marked=[0.1, 0.2]),
    "discards": lambda: threshold_figures.discards(shares(), headline=0.1),
    "leak_gain": lambda: threshold_figures.leak_gain(
        gains(state=["leaky", "clean", "leaky", "unknown"]), gains(strength=[0.0, 1.0, 0.0, 1.0]), headline=0.1
    ),
}


def texts(figure: Figure) -> list[str]:
    root = ElementTree.fromstring(svg(figure))
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_the_same_at_every_call_and_shows_strangers_text_as_text(name):
    first = DRAWN[name]()
    assert svg(first) == svg(DRAWN[name]())
    start = HOSTILE[:10]
    assert any(start in text.replace("\xa0", " ") for text in texts(DRAWN[name]()))


def test_the_matrix_rings_what_was_not_planted_and_only_that():
    axes = certificate_figures.matrix(certificates()).axes
    rings = [line for ax in axes for line in ax.lines if line.get_markersize() == 11]
    # of program a everything but `future` is certified, as planted
    assert [(float(ring.get_xdata()[0]), ring.get_ydata()[0]) for ring in rings] == [(CHECKS.index("future"), 1)]


def test_equal_outcomes_share_a_row_and_every_leaky_program_is_named():
    shown = " ".join(texts(certificate_figures.patterns(published()))).replace("\xa0", " ")
    assert "41 $" in shown
    assert "40" in shown.split()  # the count of programs without a violation
    assert "…" in shown  # whose list is cut


def test_leaks_come_before_properties_in_the_patterns():
    table = pd.DataFrame([row for i in range(9) for row in outcomes(str(i), "mode")] + outcomes("77 x", "batch"))
    drawn = texts(certificate_figures.patterns(table))
    assert drawn.index("1") < drawn.index("9")


def test_the_dependency_map_covers_exactly_the_cells_that_are_not_zero():
    values = np.array([[1.0, 1.0, 0.0], [0.0, 1e-3, 1e-3], [1e-9, 0.0, 1.0]])
    levels = certificate_figures._levels(values, np.linspace(-9, 0, 13))
    covered = np.zeros((3, 3), dtype=int)
    for cells in levels:
        for path in cells:
            (left, top), (right, bottom) = path.vertices.min(0) + 0.5, path.vertices.max(0) + 0.5
            covered[int(top) : int(bottom), int(left) : int(right)] += 1
    assert (covered == (values > 0)).all()
    assert [len(cells) for cells in levels].count(0) == 9  # three levels are in use
    assert len(levels[-1]) == 2  # neighbours of one level are one rectangle


def test_a_map_of_zeros_is_drawn_empty():
    assert texts(certificate_figures.dependency({"nothing": np.zeros((4, 4))}))


def test_thresholds_on_one_point_share_a_label_and_only_marked_ones_have_intervals():
    figure = threshold_figures.roc(corners(), rates(), marked=[0.1, 0.2])
    shown = texts(figure)
    assert "10%, 20%" in shown
    assert "5%" not in shown


def test_discards_without_intervals_are_drawn_without_bands_and_counts_are_given():
    figure = threshold_figures.discards(shares(), headline=0.1)
    assert "all (n = 12)" in texts(figure)
    assert [len(axes.collections) for axes in figure.axes] == [2, 1]


def test_one_panel_a_scale_with_every_state_in_the_legend():
    shown = texts(DRAWN["leak_gain"]())
    assert {"leaky", "clean", "unknown", "small", "large"} <= set(shown)
