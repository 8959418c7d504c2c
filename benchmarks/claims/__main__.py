"""``python -m benchmarks.claims``: the complete study, under an hour on one core. ``--quick``: two minutes of it.

The same command resumes an interrupted study.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.claims import figures, page, study, tables, verdicts
from benchmarks.claims.study import FULL, QUICK, Job, Store
from benchmarks.claims.verdicts import Records
from cmru_hw.core.atomic_write import write_text

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer problems, seeds and steps: a few minutes")
    parser.add_argument("--report", action="store_true", help="train nothing: write tables and page from records.json")
    parser.add_argument("--collect", action="store_true", help="train nothing: use the jobs that are done")
    parser.add_argument("--work", type=Path, default=Path("out/claims"), help="where finished jobs are kept")
    parser.add_argument("-o", "--output", type=Path, help="where results go [benchmarks/results, quick: out/claims]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = QUICK if options.quick else FULL
    output = options.output or (options.work / "quick-results" if options.quick else RESULTS)
    store = Store(options.work / plan.name)
    if options.report:
        found = json.loads((output / "records.json").read_text(encoding="utf-8"))
    elif options.collect:
        found = [record for job in plan.jobs() if (record := store.read(job)) is not None]
    else:
        found = list(study.run(plan.jobs(), store, _Progress()))
    write(plan, Records(found), output)
    print(f"{output / 'README.md'}")


def write(plan: study.Plan, records: Records, output: Path) -> None:
    """Write records, tables, figures and the page."""
    command = "python -m benchmarks.claims" + (" --quick" if plan.name == "quick" else "")
    judged = verdicts.judge(records)
    lines = ",\n".join(json.dumps(record, sort_keys=True) for record in records.all)
    texts = {f"{table.name}.csv": table.csv() for table in (*tables.every(records), tables.matrix(records))}
    texts["records.json"] = f"[\n{lines}\n]\n"
    texts["claims.json"] = json.dumps([vars(verdict) for verdict in judged], indent=1, ensure_ascii=False) + "\n"
    drawn = figures.draw_all(records, output)
    texts["README.md"] = page.write(plan, records, judged, drawn, command)
    for name, text in texts.items():
        write_text(output / name, text)
    for verdict in judged:
        print(f"{verdict.holds:>14}  {verdict.claim}")


class _Progress:
    """One line per job on stderr, with the estimated remaining time."""

    def __init__(self) -> None:
        self.start, self.ran = time.monotonic(), 0

    def __call__(self, done: int, total: int, job: Job, seconds: float) -> None:
        elapsed = time.monotonic() - self.start
        rest = (total - done) * elapsed / done
        print(f"{done:4} of {total}  {seconds:7.1f} s CPU  {job.key}  about {rest / 60:.0f} min left", file=sys.stderr)


if __name__ == "__main__":
    main()
