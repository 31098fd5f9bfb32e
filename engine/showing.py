"""What SHOW and DESCRIBE print, and SET and RESET of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from thresher import plan
from thresher.catalog import Catalog, OracleEntry
from thresher.errors import ProgrammingError, nearest
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.settings import SETTINGS, Settings

__all__ = ["describe", "set_setting", "show", "show_setting"]

Columns = Mapping[str, Sequence[str | None]]


def show(statement: plan.Show, catalog: Catalog, store: LabelStore) -> Columns:
    """Return the columns of SHOW ORACLES, SHOW PROXIES or SHOW CERTIFICATES."""
    if statement.what == "certificates":
        found = store.certificates()
        return {
            "certificate": [row[0] for row in found],
            "made_at": [datetime.fromtimestamp(row[1], UTC).isoformat() for row in found],
            "summary": [row[2] for row in found],
        }
    if statement.what == "oracles":
        oracles = catalog.oracles()
        return {
            "oracle": [entry.name for entry in oracles],
            "arguments": [_arguments(entry) for entry in oracles],
            "returns": [entry.signature.returns for entry in oracles],
            "provider": [entry.provider for entry in oracles],
        }
    proxies = catalog.proxies()
    return {
        "proxy": [entry.name for entry in proxies],
        "oracle": [entry.oracle for entry in proxies],
        "provider": [entry.provider for entry in proxies],
    }


def describe(statement: plan.Describe, catalog: Catalog, models: Models) -> Columns:
    """Return property and value of one oracle or proxy.

    Raises
    ------
    ProgrammingError
        It is not declared.
    """
    facts: dict[str, object]
    if statement.kind == "oracle":
        oracle = catalog.oracle(statement.name)
        if oracle is None:
            raise _unknown(statement, catalog.oracle_names())
        facts = {"oracle": oracle.name, "arguments": _arguments(oracle)}
        facts |= {"returns": oracle.signature.returns, "provider": oracle.provider}
        facts |= {**oracle.options, "version": models.bound(oracle.name).oracle.version}
    else:
        proxy = catalog.proxy(statement.name)
        if proxy is None:
            raise _unknown(statement, catalog.proxy_names())
        facts = {"proxy": proxy.name, "oracle": proxy.oracle, "provider": proxy.provider}
        facts |= proxy.options
    return {"property": list(facts), "value": [str(value) for value in facts.values()]}


def _unknown(statement: plan.Describe, known: Sequence[str]) -> ProgrammingError:
    return ProgrammingError(
        f"there is no {statement.kind} {statement.name}.{nearest(statement.name, known)}",
        sql=statement.sql,
        offset=statement.place.offset,
        length=statement.place.length,
    )


def _arguments(entry: OracleEntry) -> str:
    return ", ".join(f"{a.name} {a.type}" for a in entry.signature.arguments)


def show_setting(statement: plan.ShowSetting, settings: Settings) -> Columns:
    """Return name, value and meaning of one setting."""
    value = settings.get(statement.name)
    text = str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
    return {
        "name": [f"thresher_{statement.name}"],
        "value": [text],
        "meaning": [SETTINGS[statement.name].help],
    }


def set_setting(statement: plan.SetSetting | plan.ResetSetting, settings: Settings) -> None:
    """Change one setting, or give it its default again.

    Raises
    ------
    ProgrammingError
        There is no such setting, or it cannot have this value.
    """
    try:
        value = statement.value if isinstance(statement, plan.SetSetting) else None
        settings.set(statement.name, value)
    except ProgrammingError as error:
        place = statement.place
        raise ProgrammingError(
            error.message, sql=statement.sql, offset=place.offset, length=place.length
        ) from None
