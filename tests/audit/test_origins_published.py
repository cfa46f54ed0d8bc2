"""Published shares at every number of units they may be of: the answer changes with it, and says so."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from audit.origins import components
from audit.origins.plan import OriginSettings
from audit.origins.published import ARCHITECTURES, FITTED, difference_findings, difference_table, read_published
from audit.origins.text import TextLabels, share_table, text_findings
from audit.sheets import Sheet
from replication.configure import compose
from replication.settings import InputError, typed

GALLERY, REST = 500, 7000


@functools.cache
def settings() -> OriginSettings:
    plan = compose("audit_origins", [])["audit"] | {"resamples": 300, "most_units": 8000}
    return typed(OriginSettings, plan, "audit")


def sheet(name: str, rows: list[dict]) -> Sheet:
    cells = pd.DataFrame(rows, dtype=object)
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return Sheet(name, f"{name}.csv", cells)


def origins(experience: float, others: float) -> Sheet:
    def row(group: str, n: int, share: float) -> dict:
        return {
            "group": group, "n_architectures": str(n), "experience_pct": f"{share:.1f}",
            "cognition_pct": f"{90 - share:.1f}", "originality_pct": "10.0",
        }  # fmt: skip

    return sheet("table3", [row("Model Gallery", 106, experience), row("Others", 1667, others)])


def figure7(changed: float = 0.0) -> Sheet:
    """30 categories; `changed` of the gallery's units move from the rare half to the most common one."""
    shares = np.exp(-np.arange(30) / 6.0)
    shares /= shares.sum()
    gallery = shares.copy()
    gallery[15:] *= 1.0 - changed
    gallery[0] += 1.0 - gallery.sum()
    counts = [np.round(gallery * GALLERY), np.round(shares * REST)]
    parts = [100 * count / count.sum() for count in counts]
    return sheet(
        "figure7",
        [
            {"category": f"kind {i}", "gallery_pct": f"{parts[0][i]:.3f}", "remains_pct": f"{parts[1][i]:.3f}"}
            for i in range(30)
        ],
    )


@functools.cache
def read(experience: float = 45.0, *, changed: float = 0.0):
    return read_published(origins(experience, 38.0), figure7(changed), settings())


def test_a_difference_that_only_many_units_establish_depends_on_their_number():
    table = difference_table(read(), settings()).query("channel == 'experience'").set_index("assumption")
    assert table.loc[ARCHITECTURES, "p_holm"] > 0.05
    fitted = table.loc[FITTED].set_index("design_effect")
    assert fitted.loc[1.0, "p_holm"] < 0.05
    assert (fitted["high"] - fitted["low"]).is_monotonic_increasing
    finding = difference_findings(read(), settings(), frozenset())[0]
    assert finding.details["outcome"] == "depends on the number of units"
    assert finding.estimate == pytest.approx(7.0)
    assert finding.interval[0] < 0 < finding.interval[1]
    assert finding.claim is None


@pytest.mark.parametrize(
    ("experience", "outcome"),
    [(38.0, "not established at any assumed number"), (85.0, "different at every assumed number of units")],
)
def test_large_and_absent_differences_have_one_answer_at_every_number(experience, outcome):
    finding = difference_findings(read(experience), settings(), frozenset())[0]
    assert finding.id == "origins.asi_arch.experience_difference"
    assert finding.details["outcome"] == outcome


def test_the_p_values_of_one_assumption_are_corrected_for_its_channels():
    table = difference_table(read(), settings())
    assert (table["p_holm"] >= table["p_value"]).all()
    cautious = table[table["assumption"] == ARCHITECTURES]
    assert cautious["p_holm"].min() == pytest.approx(3 * cautious["p_value"].min())


def test_an_interval_that_calibration_fails_is_not_shown():
    finding = difference_findings(read(), settings(), frozenset({("share_difference.interval", 106)}))[0]
    assert np.isnan(finding.interval).all()
    assert "none at this n" in finding.answer


def test_the_units_are_found_again_from_the_percentages():
    found = read().counts
    assert abs(int(found["gallery"].sum()) - GALLERY) < 20
    assert read().units[1].fits.all()


def outcome(changed: float) -> str:
    found = components.tail_table(read(changed=changed), settings())
    cautious = found[found["assumption"] == ARCHITECTURES]
    independent = found[(found["assumption"] == FITTED) & (found["design_effect"] == 1.0)]
    assert (cautious["sd"].to_numpy() > independent["sd"].to_numpy()).all()
    return "lighter" if (independent["distance"] < -2).all() else "as drawn"


def test_a_small_group_that_is_drawn_from_the_rest_has_no_lighter_tail_than_expected():
    assert outcome(0.0) == "as drawn"
    assert outcome(0.8) == "lighter"


@functools.cache
def measured(changed: float):
    published = read(changed=changed)
    rng = np.random.default_rng(0)
    return components._as_published(published, settings(), rng)


def test_concentration_is_compared_with_units_dealt_out_anew():
    same, moved = (measured(changed).null.set_index("measure")["p_value"] for changed in (0.0, 0.95))
    assert same["entropy"] > 0.05
    assert moved["entropy"] < 0.01


def test_the_same_tables_give_the_same_answers():
    again = components._as_published(read(changed=0.0), settings(), np.random.default_rng(0))
    pd.testing.assert_frame_equal(again.null, measured(0.0).null, check_exact=True)
    pd.testing.assert_frame_equal(again.tails, measured(0.0).tails, check_exact=True)


def test_enriched_categories_are_fewer_where_fewer_units_are_assumed():
    found = measured(0.95)
    told = found.by_number.assign(total=found.by_number["more"] + found.by_number["fewer"]).set_index("assumption")
    assert told.loc[FITTED, "total"].iloc[0] >= 1
    assert told.loc[ARCHITECTURES, "total"] <= told.loc[FITTED, "total"].iloc[0]
    listed = found.enriched[found.enriched["q_value"] <= 0.05]["component"].tolist()
    assert ", ".join(listed) == told.loc[FITTED, "names"].iloc[0]


def test_a_category_without_an_interval_is_not_counted_as_outside_it():
    names = tuple(read().categories.index)
    text = TextLabels(
        categories=names, labels={"rules": {i: names[: i % 3 + 1] for i in range(9)}}, hand=None, notes=()
    )
    shares = share_table(text, read(), settings(), np.random.default_rng(0))
    assert shares["low"].isna().all()
    (finding,) = text_findings(text, pd.DataFrame(), shares, read(), settings(), frozenset())
    assert finding.details["outside"] == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (sheet("table3", [{"group": "Model Gallery"}]), "Others"),
        (sheet("table3", [*origins(45, 38).cells.to_dict("records")[:1]]), "Others"),
    ],
)
def test_a_table_without_a_group_is_an_error_in_one_line(table, message):
    with pytest.raises(InputError, match=message):
        read_published(table, figure7(), settings())


def test_a_share_that_is_no_number_is_an_error_in_one_line():
    broken = origins(45, 38)
    broken.cells.loc[1, "experience_pct"] = "n/a"
    with pytest.raises(InputError, match=r"table3.csv: rows .* should hold percentages"):
        read_published(broken, figure7(), settings())
