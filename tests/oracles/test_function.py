"""Python functions as oracles and proxies."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thresher
from thresher.errors import DataError, NotSupportedError, OperationalError, OracleError
from thresher.oracles import Argument, Oracle, Proxy, Signature
from thresher.oracles.context import Context
from thresher.oracles.options import OptionError
from thresher.oracles.registry import create_oracle, create_proxy
from thresher.oracles.versions import function_version

BATCH = pa.table({"n": [1, 2, 3]})


def oracle(callable_: Callable[..., object], returns: str = "BOOLEAN", **options: object) -> Oracle:
    signature = Signature((Argument("n", "BIGINT"),), returns)
    context = Context(functions={"f": callable_})
    return create_oracle("python", "f", signature, options, context)


def proxy(function: Callable[..., object], **options: object) -> Proxy:
    signature = Signature((Argument("n", "BIGINT"),), "BOOLEAN")
    return create_proxy("python", "f", signature, options, Context(functions={"f": function}))


@pytest.mark.parametrize(
    ("returns", "answers", "kind"),
    [
        ("BOOLEAN", [True, False, True], pa.bool_()),
        ("bool", np.array([True, False, True]), pa.bool_()),
        ("BOOLEAN", [np.True_, np.False_, True], pa.bool_()),
        ("BOOLEAN", pa.array([True, False, True]), pa.bool_()),
        ("BOOLEAN", pa.chunked_array([[True], [False, True]]), pa.bool_()),
        ("BIGINT", [1, np.int32(2), 3], pa.int64()),
        ("TINYINT", np.array([1, 2, 3]), pa.int8()),
        ("DOUBLE", [1, 2.5, np.float32(3)], pa.float64()),
        ("FLOAT", np.array([1, 2, 3]), pa.float32()),
        ("VARCHAR(10)", ["a", "b", "c"], pa.string()),
        ("TEXT", np.array(["a", "b", "c"]), pa.string()),
        ("TEXT", pa.array(["a", "b", "a"]).dictionary_encode(), pa.string()),
    ],
)
def test_answers_become_an_array_of_the_declared_type(
    returns: str, answers: object, kind: pa.DataType
) -> None:
    values = oracle(lambda n: answers, returns).answer(BATCH).values
    assert values.type == kind
    plain = answers.to_pylist() if hasattr(answers, "to_pylist") else list(answers)
    assert values.to_pylist() == plain


@pytest.mark.parametrize(
    ("returns", "answers", "message"),
    [
        ("BOOLEAN", ["yes", "no", "yes"], r"'yes' \(str\) for row 0 .*n = 1.*True or False"),
        ("BOOLEAN", [True, 1, False], r"1 \(int\) for row 1 .*n = 2"),
        ("BOOLEAN", np.array([1, 0, 1]), r"row 0"),
        ("BOOLEAN", [True, None, False], r"None \(NoneType\) for row 1"),
        ("BOOLEAN", pa.array([True, None, False]), "NULL for row 1"),
        ("BOOLEAN", pa.array(["a", "b", "c"]), r"'a' \(string\) for row 0"),
        ("BIGINT", [1, True, 2], r"True \(bool\) for row 1 .*a whole number"),
        ("BIGINT", [1, 2.5, 2], r"2.5 \(float\) for row 1"),
        ("TINYINT", [1, 2, 300], "300 for row 2"),
        ("TINYINT", np.array([1, 2, 300]), "300 for row 2"),
        ("DOUBLE", [1.0, float("nan"), 2.0], "nan for row 1"),
        ("DOUBLE", [1.0, "2", 2.0], r"'2' \(str\) for row 1 .*a number"),
        ("VARCHAR", ["a", 1, "b"], r"1 \(int\) for row 1 .*a string"),
        ("BOOLEAN", [True, False], "2 answers for 3 rows"),
        ("BOOLEAN", np.ones((3, 2), dtype=bool), "6 answers for 3 rows"),
        ("BOOLEAN", True, r"returned True \(bool\) for a batch of 3 rows"),
        ("BOOLEAN", None, "must return a list or an array"),
        ("BOOLEAN", "yes", "must return a list or an array"),
        ("BOOLEAN", [(True, 0.5), False, True], "all are, with the confidence"),
        ("BOOLEAN", [(True, 1.5)] * 3, r"\(True, 1.5\) for row 0"),
    ],
)
def test_wrong_answers_say_which_row_and_what_was_expected(
    returns: str, answers: object, message: str
) -> None:
    with pytest.raises(DataError, match=f"oracle f .*{message}"):
        oracle(lambda n: answers, returns).answer(BATCH)


def test_each_argument_is_a_list() -> None:
    seen = []

    def function(text: list[str], year: list[int]) -> list[bool]:
        seen.append((text, year))
        return [True, False]

    signature = Signature((Argument("text", "VARCHAR"), Argument("year", "BIGINT")), "BOOLEAN")
    made = create_oracle("python", "f", signature, {}, Context(functions={"f": function}))
    made.answer(pa.table({"text": ["a", "b"], "year": [1, 2]}))
    assert seen == [(["a", "b"], [1, 2])]


def test_an_answer_may_come_with_its_confidence() -> None:
    answers = oracle(lambda n: [(i > 1, 0.25 * i) for i in n]).answer(BATCH)
    assert answers.values.to_pylist() == [False, True, True]
    assert answers.confidence is not None
    assert answers.confidence.tolist() == [0.25, 0.5, 0.75]


def test_an_oracle_that_raises_keeps_the_cause_and_names_the_first_input() -> None:
    long = pa.table({"n": ["x" * 500]})
    with pytest.raises(
        OracleError, match=r"oracle f raised ZeroDivisionError.*n = 'xxx.*\.\.\."
    ) as e:
        oracle(lambda n: 1 / 0).answer(long)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    assert len(str(e.value)) < 250


def test_proxy_scores_are_finite_floats() -> None:
    assert proxy(lambda n: n).score(BATCH).tolist() == [1.0, 2.0, 3.0]
    assert proxy(lambda n: pa.array([True, False, True])).score(BATCH).tolist() == [1, 0, 1]
    assert proxy(lambda n: np.array([1, 2, 3], dtype=np.float16)).score(BATCH).dtype == np.float64


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, None, float("nan")], "no finite score for 2 of 3 rows; the first is row 1 .*n = 2"),
        ([0.1, 0.2, float("inf")], "1 of 3 rows; the first is row 2 .*a score of inf"),
        ([0.1, 0.2], "2 answers for 3 rows"),
        (["0.1", "0.2", "0.3"], "'0.1' is not a number"),
        (0.5, "must return a list or an array of numbers"),
        ([[0.1], [0.2, 0.3], []], "must return a list or an array of numbers"),
    ],
)
def test_wrong_scores_are_counted_and_the_first_is_named(scores: object, message: str) -> None:
    with pytest.raises(DataError, match=f"proxy f .*{message}"):
        proxy(lambda n: scores).score(BATCH)


def test_a_proxy_that_raises_keeps_the_cause() -> None:
    with pytest.raises(OperationalError, match="proxy f raised KeyError") as caught:
        proxy(lambda n: {}["x"]).score(BATCH)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_is_imported_by_name_from_the_base_folder(tmp_path: Path) -> None:
    (tmp_path / "my_oracles_xyz.py").write_text(
        "def even(n):\n    return [i % 2 == 0 for i in n]\n"
    )
    signature = Signature((Argument("n", "BIGINT"),), "BOOLEAN")
    options = {"function": "my_oracles_xyz:even", "batch_size": 7}
    made = create_oracle("python", "e", signature, options, Context(base=tmp_path))
    assert made.answer(BATCH).values.to_pylist() == [False, True, False]
    assert made.batch_size == 7


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("json", r"names no function\. Write 'package\.module:name'"),
        ("no_such_module_xyz:f", "cannot import 'no_such_module_xyz'.*ModuleNotFoundError"),
        ("json:no_such", "'json' has no 'no_such'"),
        ("json:__name__", "is not a function"),
    ],
)
def test_a_function_that_cannot_be_found_is_an_error_when_declared(
    function: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        oracle(len, function=function)
    assert caught.value.option == "function"


def test_without_a_function_the_message_says_how_to_give_one() -> None:
    signature = Signature((Argument("n", "BIGINT"),), "BOOLEAN")
    with pytest.raises(OptionError, match=r"connection\.create_oracle\('g', function"):
        create_oracle("python", "g", signature, {}, Context())


def test_a_type_that_no_oracle_returns_is_refused() -> None:
    with pytest.raises(NotSupportedError, match="cannot return STRUCT"):
        oracle(len, "STRUCT(a INTEGER)")


def define(source: str, **names: object) -> Callable[..., object]:
    """A function without a source file, as typed into a console."""
    scope: dict[str, object] = {"__name__": "console", **names}
    exec(source, scope)
    found = scope["f"]
    assert callable(found)
    return found


def test_an_edited_function_is_a_new_version() -> None:
    first = define("def f(n):\n    return [i > 1 for i in n]")
    assert (
        oracle(first).version == oracle(define("def f(n):\n    return [i > 1 for i in n]")).version
    )
    assert (
        oracle(first).version != oracle(define("def f(n):\n    return [i > 2 for i in n]")).version
    )
    assert (
        oracle(first).version != oracle(define("def f(n):\n    return [i < 1 for i in n]")).version
    )


def test_the_version_sees_defaults_constants_and_functions_called() -> None:
    source = (
        "def g(i):\n    return i > {0}\n"
        "def f(n, cut={1}):\n    return [g(i) > cut + CUT for i in n]"
    )
    versions = {
        function_version(define(source.format(1, 2), CUT=3)),
        function_version(define(source.format(9, 2), CUT=3)),
        function_version(define(source.format(1, 9), CUT=3)),
        function_version(define(source.format(1, 2), CUT=9)),
    }
    assert len(versions) == 4


def factory(cut: object) -> Callable[[list[int]], list[bool]]:
    calls: list[int] = []
    counts = {"calls": 0}
    total = 0

    def function(n: list[int]) -> list[bool]:
        nonlocal total
        total += 1
        calls.append(len(n))
        counts["calls"] += 1
        return [i > cut for i in n]  # type: ignore[operator]

    return function


def test_captured_settings_count_and_captured_counters_do_not() -> None:
    one, other = factory(1), factory(2)
    assert function_version(one) != function_version(other)
    before = function_version(one)
    one([1, 2, 3])
    assert function_version(one) == before == function_version(factory(1))


def test_captured_data_count_by_value() -> None:
    labels = {"a": True, "b": False}
    assert function_version(factory(labels)) == function_version(factory(dict(labels)))
    assert function_version(factory(labels)) != function_version(factory({"a": True}))
    array = np.arange(3)
    assert function_version(factory(array)) == function_version(factory(array.copy()))
    assert function_version(factory(array)) != function_version(factory(array + 1))
    assert function_version(factory({1, 2})) == function_version(factory({2, 1}))


def module_with(source: str, folder: Path, name: str) -> Callable[..., object]:
    """A function out of a file, as another process reads it."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("edited", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.f
    assert callable(found)
    return found  # type: ignore[no-any-return]


READS_GLOBALS = """
threshold = {threshold}
bounds = {{"low": [0, {low}], "names": ("a", b"b", None)}}
unread = {unread}
calls = 0
log = []
counts = {{"rows": {{"all": 0}}}}
CACHE = {{}}
done = 0


def note():
    global done
    done += 1
    threshold_seen = {{}}
    bounds = {{}}
    bounds["low"] = 1


def f(n):
    global calls
    calls += 1
    log.append(len(n))
    counts["rows"]["all"] += len(n)
    CACHE[calls] = [done, n]
    note()
    return [i > threshold and i > bounds["low"][1] for i in n if i is not __name__]
"""


def test_the_version_sees_module_globals_that_are_plain_data(tmp_path: Path) -> None:
    def version(name: str, threshold: object = 5, low: object = 1, unread: object = 1) -> str:
        source = READS_GLOBALS.format(threshold=threshold, low=low, unread=unread)
        return function_version(module_with(source, tmp_path, name))

    assert version("a") == version("b") == version("c", unread=2)
    others = [version("d", threshold=6), version("e", threshold=True), version("f", low=2)]
    assert len({version("a"), *others}) == 4


def test_globals_that_the_function_writes_are_not_seen(tmp_path: Path) -> None:
    source = READS_GLOBALS.format(threshold=5, low=1, unread=1)
    function = module_with(source, tmp_path, "written")
    before = function_version(function)
    function([1, 2, 30])
    assert function_version(function) == before
    counter = define(
        "calls = 0\nlog = []\n"
        "def f(n):\n    global calls\n    calls += 1\n    log.append(n)\n"
        "    return [calls > 0] * len(n)"
    )
    before = function_version(counter)
    counter([1])
    assert function_version(counter) == before


def test_plain_data_that_holds_itself_has_a_version() -> None:
    tree: list[object] = [1]
    tree.append(tree)
    source = "def f(n):\n    return [i in tree for i in n]"

    def version(value: object) -> str:
        return function_version(define(source, tree=value))

    assert version(tree) == version(tree) != version([1])
    assert version([1]) != version([2])
    assert version([1, object()]) == version([2, object()])


def test_lambdas_on_one_line_differ() -> None:
    one, other = (lambda n: [i > 1 for i in n]), (lambda n: [i > 2 for i in n])
    assert function_version(one) != function_version(other)


class Cut:
    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.itself = self

    def __call__(self, n: list[int]) -> list[bool]:
        return [i > self.cut for i in n]

    def method(self, n: list[int]) -> list[bool]:
        return self(n)


def test_objects_methods_and_partials_count_with_their_settings() -> None:
    assert function_version(Cut(1)) == function_version(Cut(1))
    assert function_version(Cut(1)) != function_version(Cut(2))
    assert function_version(Cut(1).method) != function_version(Cut(2).method)
    partial = functools.partial(factory, 1)
    assert function_version(partial) == function_version(functools.partial(factory, 1))
    assert function_version(partial) != function_version(functools.partial(factory, 2))
    assert function_version(len) != function_version(sum)


def test_a_version_given_by_hand_replaces_the_hash() -> None:
    assert oracle(len, version="v1").version == oracle(sum, version="v1").version
    assert oracle(len, version="v1").version != oracle(len, version="v2").version
    assert oracle(len, version="v1").version != oracle(len, "BIGINT", version="v1").version


@given(st.lists(st.one_of(st.booleans(), st.none(), st.integers(), st.text()), max_size=6))
def test_any_list_is_taken_whole_or_refused(answers: list[object]) -> None:
    batch = pa.table({"n": list(range(len(answers)))})
    try:
        values = oracle(lambda n: answers).answer(batch).values
    except DataError:
        assert not all(isinstance(a, bool) for a in answers)
    else:
        assert values.to_pylist() == answers


def test_a_version_told_sets_apart_no_two_models() -> None:
    with thresher.connect() as con:
        con.create_oracle(
            "is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"], version="1"
        )
        con.create_oracle("is_big", lambda n: [i > 2 for i in n], args=["BIGINT"], version="1")
        for name, found in (("is_even", [0, 2, 4]), ("is_big", [3, 4]), ("is_even", [0, 2, 4])):
            rows = con.execute(f"SELECT i FROM range(5) r(i) WHERE {name}(i)").fetchall()
            assert [i for (i,) in rows] == found


def test_modules_of_one_name_in_two_folders_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signature((Argument("n", "BIGINT"),), "BIGINT")

    def made(folder: str) -> Oracle:
        options = {"function": "scaling:times"}
        return create_oracle("python", "f", signature, options, Context(base=tmp_path / folder))

    for folder, factor in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        library = tmp_path / folder / ".venv" / f"library_{folder}.py"
        library.parent.mkdir()
        library.write_text("")
        monkeypatch.syspath_prepend(library.parent)
        (tmp_path / folder / "factors.py").write_text(f"FACTOR = {factor}\n")
        (tmp_path / folder / "scaling.py").write_text(
            f"import library_{folder}\nfrom factors import FACTOR\n\n\n"
            "def times(n):\n    return [FACTOR * x for x in n]\n"
        )
    (tmp_path / "three").mkdir()
    first = made("one")
    library = sys.modules["library_one"]  # is installed, and not set aside
    second = made("two")
    assert sys.modules["library_one"] is library
    with pytest.raises(OptionError, match="cannot import 'scaling'"):
        made("three")
    again = made("one")
    found = [oracle.answer(BATCH).values.to_pylist() for oracle in (first, second, again)]
    assert found == [[1, 2, 3], [2, 4, 6], [1, 2, 3]]
    assert first.version != second.version
    assert first.version == again.version


def test_a_module_may_be_listed_without_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "listing.py").write_text(
        "import sys\nimport types\n\n"
        "sys.modules['ghost.part'] = types.ModuleType('ghost.part')\n\n\n"
        "def same(n):\n    return n\n"
    )
    monkeypatch.delitem(sys.modules, "ghost.part", raising=False)
    signature = Signature((Argument("n", "BIGINT"),), "BIGINT")
    options = {"function": "listing:same"}
    made = create_oracle("python", "f", signature, options, Context(base=tmp_path))
    del sys.modules["ghost.part"]
    assert made.answer(BATCH).values.to_pylist() == BATCH.column(0).to_pylist()
