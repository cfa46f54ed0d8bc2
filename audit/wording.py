"""Numbers as they are printed: one way of writing them in findings, tables and pages."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """Fixed decimals with a true minus sign; a dash where there is no finite number."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def signed(value: float | None, digits: int = 3) -> str:
    """As `number`, with a plus sign on positive values."""
    text = number(value, digits)
    return f"+{text}" if value is not None and math.isfinite(value) and value > 0 else text


def span(interval: tuple[float, float] | None, digits: int = 3) -> str:
    """`−0.10 to +0.20`, or words that say there is none."""
    if interval is None or not all(map(math.isfinite, interval)):
        return "none at this n"
    return f"{signed(interval[0], digits)} to {signed(interval[1], digits)}"


def p_equals(value: float | None) -> str:
    """`p = 0.012`: two significant digits, never a false zero."""
    if value is None or not math.isfinite(value):
        return "p unknown"
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def compact(value: float | None) -> str:
    """Four significant digits, for tables of mixed columns; a dash where there is no finite number."""
    if value is None or not math.isfinite(value):
        return "–"
    return (count(value) if abs(value) >= 1e4 else f"{value:.4g}").replace("-", "−")


def count(value: float | None) -> str:
    """A whole number with thousands separated by thin spaces."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(value):,}".replace(",", "\u202f")


def percent(share: float, digits: int = 1) -> str:
    """A share as a signed percentage."""
    return f"{signed(100 * share, digits)}%"


def plural(amount: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"
