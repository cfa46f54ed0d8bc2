"""Certificates as a tidy table."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from audit.evidence import CERTIFICATE_COLUMNS, printable
from replication.certificate import Certificate


def certificate_rows(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """One row a candidate id and check, with the columns of `evidence.CERTIFICATE_COLUMNS`; NaN where no number is."""
    rows = [
        {
            "candidate": candidate,
            "check": check,
            "outcome": result.outcome,
            "size": math.nan if result.size is None else result.size,
            "limit": math.nan if result.limit is None else result.limit,
            "detail": printable(result.detail),
        }
        for candidate, certificate in certificates.items()
        for check, result in certificate.checks.items()
    ]
    return pd.DataFrame(rows, columns=list(CERTIFICATE_COLUMNS))
