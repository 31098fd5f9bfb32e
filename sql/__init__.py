"""SQL text to logical plan, and decided plan to plain DuckDB SQL."""

from thresher.sql.lowering import (
    answer_sql,
    base_source,
    formula_sql,
    inputs_sql,
    leaf_materialise_sql,
    matches_sql,
    population_sql,
    temp_source,
)
from thresher.sql.names import Names
from thresher.sql.statements import Fragment, parse, split

__all__ = [
    "Fragment",
    "Names",
    "answer_sql",
    "base_source",
    "formula_sql",
    "inputs_sql",
    "leaf_materialise_sql",
    "matches_sql",
    "parse",
    "population_sql",
    "split",
    "temp_source",
]
