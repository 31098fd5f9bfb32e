"""SQL text to logical plan, and decided plan to plain DuckDB SQL.

``thresher.sql("SELECT ...")`` is `thresher.opening.sql`: the package above lets it be called.
"""

from thresher.sql.lowering import (
    answer_sql,
    estimates_sql,
    formula_sql,
    inputs_sql,
    population_sql,
    values_sql,
)
from thresher.sql.matching import joined_sql, matches_sql
from thresher.sql.names import Names
from thresher.sql.sources import base_source, leaf_materialise_sql, temp_source
from thresher.sql.statements import Fragment, parse, split

__all__ = [
    "Fragment",
    "Names",
    "answer_sql",
    "base_source",
    "estimates_sql",
    "formula_sql",
    "inputs_sql",
    "joined_sql",
    "leaf_materialise_sql",
    "matches_sql",
    "parse",
    "population_sql",
    "split",
    "temp_source",
    "values_sql",
]
