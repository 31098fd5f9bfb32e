"""Session settings: checked when they are set."""

from __future__ import annotations

import re
from typing import Any

import pytest

import thresher
from thresher.dbapi import Connection
from thresher.errors import ProgrammingError
from thresher.settings import SETTINGS, Settings


def test_defaults() -> None:
    settings = Settings()
    assert settings.get("oracle_limit") == 10_000
    assert settings.get("probability") == 0.95
    assert settings.get("reuse_labels") is True
    assert settings.names() == list(SETTINGS)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("oracle_limit", 5, 5),
        ("oracle_limit", 5.0, 5),
        ("reuse_labels", "false", False),
        ("reuse_labels", "on", True),
        ("on_shortfall", "exact", "EXACT"),
        ("seed", 0, 0),
        ("probability", 0.9, 0.9),
        ("recall_target", 1, 1.0),
        ("error_target", 0.05, 0.05),
        ("default_oracle", "judge, rate", "judge, rate"),
    ],
)
def test_values_are_normalised(name: str, value: object, kept: object) -> None:
    settings = Settings()
    settings.set(name, value)  # type: ignore[arg-type]
    assert settings.get(name) == kept
    settings.reset(name)
    assert settings.get(name) == SETTINGS[name].default


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "oracle_limt",
            1,
            "no setting thresher_oracle_limt. Did you mean 'thresher_oracle_limit'?",
        ),
        ("nonsense", 1, "no setting thresher_nonsense. Settings: thresher_oracle_limit, thr"),
        ("oracle_limit", 0, "whole number from 1"),
        ("oracle_limit", 1.5, "whole number from 1"),
        ("oracle_limit", True, "whole number from 1"),
        ("seed", -1, "whole number from 0"),
        ("seed", 1e999, "whole number from 0"),
        ("seed", 2**70, "whole number from 0"),
        ("probability", 95, "a number in [0.5, 1)"),
        (
            "probability",
            0.05,
            "it must be in [0.5, 1), and the promise would fail with probability 0.95. Write 95%",
        ),
        ("session_probability", 0.1, "would fail with probability 0.9. Write 90%"),
        ("reuse_labels", "maybe", "true or false"),
        ("on_shortfall", "panic", "FAIL, RETURN, EXACT"),
        ("encoder", "", "a name in quotes"),
        ("recall_target", 95, "a share in (0, 1]"),
        ("accuracy_target", True, "a share in (0, 1]"),
        ("error_target", 1.0, "between 0 and 1"),
        ("default_oracle", 3, "a name in quotes"),
    ],
)
def test_wrong_values_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ProgrammingError, match=re.escape(message)):
        Settings().set(name, value)  # type: ignore[arg-type]


def test_config_takes_names_with_and_without_prefix() -> None:
    settings = Settings({"thresher_seed": 3, "oracle_limit": 9})
    assert (settings.get("seed"), settings.get("oracle_limit")) == (3, 9)


@pytest.mark.parametrize(
    "name", ["recall_target", "precision_target", "accuracy_target", "probability"]
)
def test_a_percentage_of_a_share_is_refused_at_its_place(con: Connection, name: str) -> None:
    sql = f"SET thresher_{name} = 0.9%"
    with pytest.raises(ProgrammingError, match=rf"{name}: 0\.9% is 0\.009: write 0\.9 or 90%") as e:
        con.execute(sql)
    assert str(e.value).endswith(f"{sql}\n{' ' * (8 + sql.index('0.9'))}^^^^")
    con.execute(f"SET thresher_{name} = 90%")
    con.execute("SET thresher_error_target = 0.5%")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"oracle_limt": 5}, "a setting oracle_limt. Did you mean 'oracle_limit'?"),
        ({"threads": 1, "memry_limit": "1GB"}, "memry_limit. Did you mean 'memory_limit'?"),
        ({"nonsense": 1}, "nonsense. Settings of thresher: oracle_limit, default_budget, "),
        ({"labels": "x"}, "labels is an argument of connect and no setting: write connect(..., "),
        ({"thresher_sed": 1}, "no setting thresher_sed. Did you mean 'thresher_seed'?"),
        ({"threads": "many"}, "Failed to cast"),
    ],
)
def test_a_misspelt_setting_of_connect_is_told(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgrammingError, match=re.escape(message)):
        thresher.connect(config=config)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SET oracle_limit = 3", "DuckDB has no setting oracle_limit. Did you mean thresher_or"),
        ("SET sed = 3", "DuckDB has no setting sed. Did you mean thresher_seed?"),
        ("RESET on_shortfal", "DuckDB has no setting on_shortfal. Did you mean thresher_on_short"),
        ("SET memry_limit = '1GB'", 'Did you mean: "memory_limit"'),
    ],
)
def test_a_setting_without_its_prefix_is_told(con: Connection, sql: str, message: str) -> None:
    with pytest.raises(ProgrammingError, match=re.escape(message)):
        con.execute(sql)
