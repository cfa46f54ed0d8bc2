"""A part of the report that another audit brings: its findings, tables, figures and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from audit.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report.

    name: its anchor. verdict: a sentence for the top of the page; empty: none. paragraphs: under the heading, before
    the answers of the findings. tables, figures: by file name. captions: of figures. shown: tables on the page.
    """

    name: str
    title: str
    verdict: str
    paragraphs: tuple[str, ...]
    findings: tuple[Finding, ...]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    captions: Mapping[str, str]
    shown: tuple[str, ...]
