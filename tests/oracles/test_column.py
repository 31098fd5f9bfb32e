"""Labels and scores that lie in a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.errors import DataError
from thresher.oracles import Argument, Signature
from thresher.oracles.column import ColumnOracle, ColumnProxy
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.registry import create_oracle, create_proxy

OPTIONS = {"table": "labels", "key": "id", "value": "good"}


class Tables:
    """A table that can be replaced, and how often it was read."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.reads = table, 0

    def read(self, name: str, columns: list[str]) -> pa.Table:
        self.reads += 1
        return self.table.select(columns)

    def fingerprint(self, name: str, columns: list[str]) -> str:
        return str(id(self.table))


def make(
    table: pa.Table, returns: str = "BOOLEAN", options: dict[str, object] = OPTIONS
) -> tuple[ColumnOracle, Tables]:
    tables = Tables(table)
    keys = options["key"] if isinstance(options["key"], list) else [options["key"]]
    signature = Signature(tuple(Argument(str(k), "BIGINT") for k in keys), returns)
    context = Context(read_table=tables.read, fingerprint=tables.fingerprint)
    found = create_oracle("column", "c", signature, options, context)
    assert isinstance(found, ColumnOracle)
    return found, tables


def ask(oracle: ColumnOracle, *columns: list[object]) -> list[object]:
    batch = pa.table({f"a{i}": column for i, column in enumerate(columns)})
    return oracle.answer(batch).values.to_pylist()


def test_labels_are_found_by_key_and_the_table_is_read_once() -> None:
    oracle, tables = make(pa.table({"id": [3, 1, 2], "good": [True, False, True]}))
    assert tables.reads == 0
    assert ask(oracle, [1, 2, 3, 1]) == [False, True, True, False]
    assert ask(oracle, [3]) == [True]
    assert ask(oracle, []) == []
    assert tables.reads == 1


def test_a_key_without_a_label_is_named() -> None:
    oracle, _ = make(pa.table({"id": [1, 2, None], "good": [True, None, True]}))
    with pytest.raises(DataError, match=r"2 of 3 keys have no label in good of table labels.*= 2"):
        ask(oracle, [1, 2, 7])


def test_an_empty_table_has_no_label() -> None:
    oracle, _ = make(pa.table({"id": pa.array([], pa.int64()), "good": pa.array([], pa.bool_())}))
    with pytest.raises(DataError, match="1 of 1 keys have no label"):
        ask(oracle, [1])


def test_two_different_labels_are_an_error_and_equal_ones_are_not() -> None:
    oracle, _ = make(pa.table({"id": [1, 1, 2, 2], "good": [True, True, True, False]}))
    assert ask(oracle, [1]) == [True]
    with pytest.raises(DataError, match="a0 = 2 has two different labels"):
        ask(oracle, [1, 2])


def test_labels_of_another_type_are_refused() -> None:
    oracle, _ = make(pa.table({"id": [1], "good": [1]}))
    with pytest.raises(DataError, match=r"1 \(int64\) for row 0 .*True or False"):
        ask(oracle, [1])


def test_a_key_of_another_type_is_refused() -> None:
    oracle, _ = make(pa.table({"id": ["one"], "good": [True]}))
    with pytest.raises(DataError, match="the key does not fit the argument"):
        ask(oracle, [1])


def test_text_labels_and_dictionaries() -> None:
    table = pa.table({"id": [1, 2], "good": pa.array(["a", "b"]).dictionary_encode()})
    oracle, _ = make(table, "VARCHAR")
    assert ask(oracle, [2, 1]) == ["b", "a"]


def test_a_key_of_two_columns() -> None:
    table = pa.table({"x": [1, 1, 2], "y": [1, 2, 1], "good": [True, False, True]})
    oracle, _ = make(table, options={"table": "t", "key": ["x", "y"], "value": "good"})
    assert ask(oracle, [2, 1, 1], [1, 2, 1]) == [True, False, True]
    with pytest.raises(DataError, match=r"a0 = 2, a1 = 2"):
        ask(oracle, [2], [2])


def test_a_key_of_five_columns_with_many_values_each() -> None:
    names, n = ["v", "w", "x", "y", "z"], 8_000
    rng = np.random.default_rng(5)
    parts = {name: rng.permutation(n) for name in names}
    table = pa.table({**parts, "good": np.arange(n)})
    oracle, _ = make(table, "BIGINT", {"table": "t", "key": names, "value": "good"})
    assert ask(oracle, *parts.values()) == list(range(n))
    swapped = [*list(parts.values())[:4], np.roll(parts["z"], 1)]
    with pytest.raises(DataError, match="8,000 of 8,000 keys have no label"):
        ask(oracle, *swapped)
    assert ask(oracle, *[[] for _ in names]) == []


@given(
    st.dictionaries(
        st.tuples(*[st.one_of(st.none(), st.integers(0, 3))] * 4), st.integers(0, 9), min_size=1
    ),
    st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 4))] * 4), min_size=1),
)
def test_look_ups_by_several_columns_agree_with_a_dictionary(
    labels: dict[tuple[int | None, ...], int], asked: list[tuple[int | None, ...]]
) -> None:
    names, kind = ["w", "x", "y", "z"], pa.int64()
    columns = {
        name: pa.array(c, kind) for name, c in zip(names, np.array(list(labels)).T, strict=True)
    }
    table = pa.table({**columns, "good": list(labels.values())})
    oracle, _ = make(table, "BIGINT", {"table": "t", "key": names, "value": "good"})
    batch = [pa.array(column, kind) for column in np.array(asked).T]
    if all(None not in key and key in labels for key in asked):
        assert ask(oracle, *batch) == [labels[key] for key in asked]
    else:
        with pytest.raises(DataError, match="have no label"):
            ask(oracle, *batch)


def test_as_many_key_columns_as_arguments() -> None:
    signature = Signature((Argument("a", "BIGINT"), Argument("b", "BIGINT")), "BOOLEAN")
    context = Context(read_table=Tables(pa.table({})).read)
    with pytest.raises(OptionError, match=r"1 key column\(s\) for 2 argument\(s\) \(a, b\)"):
        create_oracle("column", "c", signature, OPTIONS, context)


def test_a_changed_table_is_a_new_version_and_is_read_again() -> None:
    oracle, tables = make(pa.table({"id": [1], "good": [True]}))
    before = oracle.version
    assert ask(oracle, [1]) == [True]
    assert oracle.version == before
    tables.table = pa.table({"id": [1], "good": [False]})
    assert oracle.version != before
    assert ask(oracle, [1]) == [False]


def test_without_a_fingerprint_the_content_is_hashed() -> None:
    def version(values: list[bool]) -> str:
        table = pa.table({"id": [1, 2], "good": values})
        signature = Signature((Argument("id", "BIGINT"),), "BOOLEAN")
        context = Context(read_table=lambda name, columns: table)
        return create_oracle("column", "c", signature, OPTIONS, context).version

    assert version([True, False]) == version([True, False])
    assert version([True, False]) != version([True, True])


def test_scores_by_key() -> None:
    tables = Tables(pa.table({"id": [1, 2, 3], "good": [0.5, 1.0, float("nan")]}))
    signature = Signature((Argument("id", "BIGINT"),), "BOOLEAN")
    proxy = create_proxy("column", "p", signature, OPTIONS, Context(read_table=tables.read))
    assert isinstance(proxy, ColumnProxy)
    assert proxy.score(pa.table({"id": [2, 1]})).tolist() == [1.0, 0.5]
    with pytest.raises(DataError, match="1 of 1 keys have no score"):
        proxy.score(pa.table({"id": [9]}))
    with pytest.raises(DataError, match="no finite score for 1 of 1 rows"):
        proxy.score(pa.table({"id": [3]}))


@given(st.dictionaries(st.text(max_size=3), st.integers(-5, 5), min_size=1, max_size=20))
def test_look_ups_agree_with_a_dictionary(labels: dict[str, int]) -> None:
    keys = list(labels)
    order = np.random.default_rng(len(keys)).integers(0, len(keys), 40)
    table = pa.table({"id": keys, "good": list(labels.values())})
    oracle, _ = make(table, "BIGINT")
    asked = [keys[i] for i in order]
    assert ask(oracle, asked) == [labels[key] for key in asked]
