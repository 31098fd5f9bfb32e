"""Keywords as proxies."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thresher
from thresher.errors import ProgrammingError
from thresher.oracles import Argument, Signature
from thresher.oracles.context import Context
from thresher.oracles.keywords import KeywordProxy
from thresher.oracles.options import OptionError
from thresher.oracles.registry import create_proxy

TEXT = Signature((Argument("text", "VARCHAR(90)"),), "BOOLEAN")


def make(signature: Signature = TEXT, **options: object) -> KeywordProxy:
    made = create_proxy("keywords", "p", signature, options, Context())
    assert isinstance(made, KeywordProxy)
    return made


def scores(texts: list[str | None], **options: object) -> list[float]:
    return make(**options).score(pa.table({"text": pa.array(texts, pa.string())})).tolist()


def test_words_count_whole_and_in_any_case() -> None:
    texts = ["I want a REFUND.", "refunds", "money\n back, refund!", "", None, "honey back"]
    words = ["refund", "money back"]
    assert scores(texts, words=words) == [0.5, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert scores(texts, words=words, whole_words=False) == [0.5, 0.5, 1.0, 0.0, 0.0, 0.0]
    assert scores(texts, words=words, ignore_case=False) == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_words_of_other_scripts_and_signs() -> None:
    texts = ["un CAFÉ noir", "cafés", "C++ is it", "C++11 too", "eine Öde", "a.b", "axb"]
    assert scores(texts, words=["café"]) == [1, 0, 0, 0, 0, 0, 0]
    assert scores(texts, words=["c++"]) == [0, 0, 1, 0, 0, 0, 0]
    assert scores(texts, words=["ÖDE"]) == [0, 0, 0, 0, 1, 0, 0]
    assert scores(texts, words=["a.b"]) == [0, 0, 0, 0, 0, 1, 0]


def test_weights_and_a_pattern() -> None:
    texts = ["refund 12 EUR", "refund", "thanks", "thanks, refund 3 eur", "other"]
    options = {"words": ["refund", "thanks"], "regex": r"\d+ eur", "weights": [2, -1, 3.0]}
    # From -1 (thanks alone) to 5, over a span of 6.
    assert scores(texts, **options) == pytest.approx([1.0, 0.5, 0.0, 5 / 6, 1 / 6])
    assert scores(texts, regex="^refund") == [1, 1, 0, 0, 0]


def test_several_arguments_are_one_text_and_numbers_are_left_out() -> None:
    arguments = (Argument("a", "TEXT"), Argument("n", "BIGINT"), Argument("b", "VARCHAR"))
    proxy = make(Signature(arguments, "BOOLEAN"), words=["one", "two", "one two"])
    batch = pa.table({"a": ["one", "x"], "n": [1, 2], "b": ["two", "one two"]})
    assert proxy.score(batch).tolist() == [1.0, 1.0]
    coded = pa.table({"a": pa.array(["one", "x"]).dictionary_encode(), "n": [1, 2], "b": ["", ""]})
    assert proxy.score(coded).tolist() == pytest.approx([1 / 3, 0.0])


@given(
    st.lists(st.text(max_size=12), max_size=12),
    st.lists(st.sampled_from(["a", "b c", "ß", "+", "."]), min_size=1, max_size=4, unique=True),
)
def test_scores_lie_between_0_and_1_whatever_the_text(texts: list[str], words: list[str]) -> None:
    texts = [text.replace("\ud800", "") for text in texts if text.isprintable()]
    found = np.array(scores(list(texts), words=words, whole_words=False, ignore_case=False))
    plain = [
        sum(bool(re.search(r"\s+".join(map(re.escape, w.split())), t)) for w in words)
        for t in texts
    ]
    assert found == pytest.approx(np.array(plain) / len(words))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs words or a regex"),
        ({"words": ["a", " "]}, "one of words is empty"),
        ({"regex": "("}, "none that RE2 understands"),
        ({"words": ["a"], "weights": [1, 2]}, "2 weights for 1 words"),
        ({"words": ["a"], "regex": "b", "weights": [1]}, "1 weights for 1 words and the regex"),
        ({"words": ["a"], "weights": [0]}, "not all 0"),
        ({"words": ["a"], "weights": ["1"]}, "'weights' must be a list of numbers"),
        ({"words": ["a"], "weights": [True]}, "'weights' must be a list of numbers"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(**options)


def test_it_needs_a_text() -> None:
    arguments = (Argument("n", "BIGINT"), Argument("s", "STRUCT(a INTEGER)"))
    with pytest.raises(OptionError, match="no argument of its oracle is VARCHAR"):
        make(Signature(arguments, "BOOLEAN"), words=["a"])


def test_the_version_holds_what_a_score_hangs_on() -> None:
    changed = [{}, {"whole_words": False}, {"ignore_case": False}, {"regex": "b"}, {"weights": [2]}]
    assert len({make(words=["a"], **options).version for options in changed}) == 5
    assert make(words=["a"]).version == make(words=["a"]).version


def test_a_query() -> None:
    with thresher.connect() as con:
        con.execute(
            "CREATE TABLE mails AS SELECT i AS id, CASE WHEN i % 7 = 0 THEN 'a Refund please '"
            " WHEN i % 11 = 0 THEN 'thanks ' ELSE 'hello ' END || i AS text FROM range(3000) r(i)"
        )
        con.create_oracle("angry", lambda texts: ["Refund" in t for t in texts], args=["VARCHAR"])
        con.execute(
            "CREATE PROXY loud FOR angry USING keywords WITH (words = ['refund', 'thanks'],"
            " weights = [1, -0.5])"
        )
        cursor = con.execute(
            "SELECT id FROM mails WHERE angry(text) USING loud"
            " RECALL TARGET 90% PRECISION TARGET 90% SEED 1"
        )
        ids = [row[0] for row in cursor.fetchall()]
        assert all(i % 7 == 0 for i in ids)
        assert len(ids) >= 0.9 * len(range(0, 3000, 7))
        certificate = cursor.certificate
        assert certificate is not None
        assert [proxy.name for proxy in certificate.proxies] == ["loud"]
        assert certificate.n_labels < 3000 / 2
        with pytest.raises(ProgrammingError, match="strings only, or numbers only"):
            con.execute("CREATE PROXY q FOR angry USING keywords WITH (words = ['a', 1])")
        con.execute("CREATE PROXY q FOR angry USING keywords WITH (words = ?)", [["a"]])
