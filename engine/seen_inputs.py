"""Inputs that this process has asked labels for: rows that have them are found without hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["SeenInputs"]

_MOST_KEYS, _MOST_BYTES = 100_000, 1 << 26
_KEY = "key"
# Of these types two values are equal if their texts are, which is what keys are hashes of.
_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_date32,
)


class SeenInputs:
    """Inputs by the keys of their labels, as many as fit.

    The label store has only hashes of inputs. To know which of many rows have a label, all of them
    must be hashed; where the inputs themselves are at hand, rows are compared with them.

    Examples
    --------
    >>> seen = SeenInputs()
    >>> seen.add("v1", pa.array(["a1", "b2"]), pa.table({"text": ["one", "two"]}))
    >>> seen.find("v1", [pa.string()], pa.array(["b2"])).to_pydict()
    {'0': ['two']}
    >>> seen.find("v1", [pa.string()], pa.array(["b2", "c3"])) is None
    True
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, tuple[str, ...]], set[str]] = {}
        self._tables: dict[tuple[str, tuple[str, ...]], list[pa.Table]] = {}
        self._n_keys = self._n_bytes = 0

    def add(self, version: str, keys: pa.Array | pa.ChunkedArray, inputs: pa.Table) -> None:
        """Keep inputs of an oracle version by their keys; a NULL key has none."""
        types = inputs.schema.types
        if self._n_keys + len(keys) > _MOST_KEYS or not all(map(_is_plain, types)):
            return
        place = _place(version, types)
        known, new = self._keys.setdefault(place, set()), []
        for row, key in enumerate(keys.to_pylist()):
            if key is not None and key not in known:
                known.add(key)
                new.append(row)
        rows = pa.array(new, pa.int64())
        table = inputs.rename_columns([str(i) for i in range(len(types))]).take(rows)
        if self._n_bytes + table.nbytes > _MOST_BYTES:
            known.difference_update(keys.take(rows).to_pylist())
            return
        table = table.append_column(_KEY, keys.take(rows))
        self._tables.setdefault(place, []).append(table)
        self._n_keys, self._n_bytes = self._n_keys + len(new), self._n_bytes + table.nbytes

    def find(self, version: str, types: Sequence[pa.DataType], keys: pa.Array) -> pa.Table | None:
        """Return the inputs that distinct keys are of, in any order.

        Parameters
        ----------
        version : str
            Of the oracle.
        types : sequence of pyarrow.DataType
            Of its inputs.
        keys : pyarrow.Array of string

        Returns
        -------
        pyarrow.Table or None
            Columns ``0``, ``1``, ...; None where the inputs of a key are not known.
        """
        import pyarrow.compute as pc  # slow to load, and plain SQL does not need it

        tables: list[Any] = self._tables.get(_place(version, types), [])
        if not tables:
            return None
        table = pa.concat_tables(tables)
        found = table.filter(pc.is_in(table.column(_KEY), value_set=keys))
        return found.drop_columns([_KEY]) if found.num_rows == len(keys) else None


def _is_plain(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _PLAIN)


def _place(version: str, types: Sequence[pa.DataType]) -> tuple[str, tuple[str, ...]]:
    return version, tuple(map(str, types))
