"""Shared by both pictures: values as digits and colours, code as its first line."""

from __future__ import annotations


def first_line(text: str) -> str:
    lines = text.strip("\n").splitlines()
    return lines[0] if lines else ""


def digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def colour(value: float | None) -> str:
    """From red (0) over yellow to green (1); grey if there is no value."""
    if value is None:
        return "#e8e8e8"
    return f"hsl({120 * min(1.0, max(0.0, value)):.0f},70%,80%)"
