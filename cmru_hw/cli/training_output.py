"""Tables that ``train`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmru_hw.cli import common

if TYPE_CHECKING:
    from cmru_hw.analysis.training_result import Improvement


def print_improvement(found: Improvement) -> None:
    """Print the accuracy of dies before and after training on dies."""
    before, after = found.before, found.after
    rows = [
        (name, f"{_share(one)} before, {_share(other)} after")
        for name, one, other in (
            ("software", before.accuracy.software, after.accuracy.software),
            ("median die", before.accuracy.median, after.accuracy.median),
            ("5th percentile", before.accuracy.p05, after.accuracy.p05),
            ("worst die", before.accuracy.min, after.accuracy.min),
        )
    ]
    yielded = (
        f"{one.value:.1%} [{one.low:.1%}, {one.high:.1%}] {when}"
        for one, when in ((before.yield_, "before"), (after.yield_, "after"))
    )
    rows.append(("yield", ", ".join(yielded)))
    agree = f"{_share(before.decision_agreement)} before, {_share(after.decision_agreement)} after"
    rows.append(("decisions as in software", agree))
    goal = before.accuracy.software - before.drop
    rows.append(("a good die has", f"accuracy of at least {goal:.2%}, before and after"))
    common.print_table(f"test accuracy of {before.dies} dies of {found.technology}, fast engine", rows)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"
