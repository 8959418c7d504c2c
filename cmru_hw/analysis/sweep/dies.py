"""Yield of a point of a sweep: dies in the fast engine, as `cmru_hw.analysis.montecarlo` draws and scores them."""

from __future__ import annotations

import pyarrow as pa

from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import Interval
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.sequences import Sequences

# A die is good if its accuracy is at most this much below software's.
DROP = 0.01
SEED = 0


def yield_of(exported: Exported, data: Sequences, dies: int) -> Interval:
    """Yield of ``dies`` dies on ``data``, with its Clopper-Pearson interval.

    Raises InputError for a design whose dies cannot be drawn, DataError for a network with one score.
    """
    job = Job(
        design=exported.design,
        trained=exported.trained,
        sequences=data,
        seed=SEED,
        varied=exported.architecture.select_variations(exported.design),
    )
    block = statistics.block_size(job)
    tables = [statistics.scores(job, range(first, min(first + block, dies))) for first in range(0, dies, block)]
    return statistics.summary(job, pa.concat_tables(tables), drop=DROP).yield_
