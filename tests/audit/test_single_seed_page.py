"""The figure and the part of the page on a single-seed log."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from audit.figures import svg
from audit.report import inline_svg
from audit.single_seed import SingleSeedSettings, audit
from audit.single_seed.keeps import judge
from audit.single_seed.log import LoopLog
from audit.single_seed.page import bands, draw, page, summary
from replication.provenance import ROOT
from replication.settings import typed

HOSTILE = "<script>alert(1)</script> $\\frac{1}{2}$ & =cmd"


@pytest.fixture(scope="module")
def cfg() -> SingleSeedSettings:
    return typed(SingleSeedSettings, yaml.safe_load((ROOT / "conf/audit/single_seed.yaml").read_text("utf-8")), "audit")


def make_log(count: int = 12, metric: str = "loss") -> LoopLog:
    """Every third row is kept; one row is a disaster."""
    values = [2.0 - 0.05 * (i // 3) + (0.03 + 0.002 * i) * (i % 3 > 0) for i in range(count)]
    values[min(5, count - 1)] = 80.0
    rows = pd.DataFrame(
        {
            "row": pd.Series(range(1, count + 1), dtype="int64"),
            "label": [f"c{i}" for i in range(count)],
            "value": values,
            "kept": [i % 3 == 0 for i in range(count)],
            "description": [f"{HOSTILE} {i}" for i in range(count)],
        }
    )
    excluded = pd.DataFrame({"row": [count + 1], "reason": ["the run failed"], "text": [HOSTILE]})
    return LoopLog(file="run.tsv", metric=metric, direction="lower", rows=rows, excluded=excluded, notes=())


def rendered(log: LoopLog, cfg: SingleSeedSettings) -> str:
    findings = audit(log, cfg)
    figures = {name: inline_svg(name, svg(figure)) for name, figure in draw(log, findings, cfg).items()}
    environment = Environment(
        loader=PackageLoader("audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("_single_seed.html").render(log=page(log, findings, cfg), figures=figures)


def drawn(log: LoopLog, cfg: SingleSeedSettings):
    return draw(log, audit(log, cfg), cfg)["single_seed_run"]


def test_the_figure_is_the_same_at_every_call_and_shows_strangers_text_as_text(cfg):
    log = make_log(metric=HOSTILE)
    assert svg(drawn(log, cfg)) == svg(drawn(log, cfg))
    root = ElementTree.fromstring(svg(drawn(log, cfg)))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("frac{1}" in text for text in texts)


def test_a_disaster_is_drawn_at_the_edge_and_does_not_squash_the_rest(cfg):
    above = drawn(make_log(), dataclasses.replace(cfg, noise_sd=0.01)).axes[0]
    assert above.get_ylim()[1] < 3.0
    assert any(line.get_marker() == "^" and 6 in line.get_xdata() for line in above.lines)


def test_a_long_log_is_thinned_but_keeps_every_keep(cfg):
    above = drawn(make_log(9000), dataclasses.replace(cfg, noise_sd=0.01)).axes[0]
    counts = {line.get_label(): len(line.get_xdata()) for line in above.lines}
    assert max(count for label, count in counts.items() if label.startswith("not kept")) <= 1500
    assert sum(count for label, count in counts.items() if label.startswith("kept:")) == 2999


def test_the_bands_start_at_the_start_and_cover_the_last_row(cfg):
    log = make_log()
    found = bands(judge(log, dataclasses.replace(cfg, noise_sd=0.01), frozenset()), cfg)
    assert (found["row"].iloc[0], found["row"].iloc[-1]) == (1, 12)
    assert (found["null_low"].iloc[0], found["null_high"].iloc[0]) == (2.0, 2.0)
    assert (found["null_low"].diff().dropna() <= 0).all()
    best = log.rows["value"].where(log.rows["kept"]).cummin().ffill().to_numpy()
    assert (found["honest_low"].to_numpy() < best).all()
    assert (found["honest_high"].to_numpy() > best).all()


def test_the_page_escapes_what_strangers_wrote_and_lists_what_was_left_out(cfg):
    text = rendered(make_log(), cfg)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "row 13: the run failed" in text
    assert "<svg" in text


def test_the_page_says_when_bands_are_drawn_for_a_limit_and_when_there_are_none(cfg):
    assert "largest noise\nthat the log allows" in rendered(make_log(), cfg)
    assert "no band\ncan be drawn" in rendered(make_log(4), cfg)
    known = rendered(make_log(), dataclasses.replace(cfg, noise_sd=0.01))
    assert "largest noise" not in known
    assert "shrunken" in known


def test_a_log_without_anything_to_compare_has_words_and_no_figure(cfg):
    log = make_log(1)
    assert draw(log, audit(log, cfg), cfg) == {}
    assert "<svg" not in rendered(log, cfg)
    assert summary(log, audit(log, cfg), cfg).startswith("run.tsv: ")
