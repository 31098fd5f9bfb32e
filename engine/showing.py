"""What SHOW and DESCRIBE print, and SET and RESET of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from thresher import plan
from thresher.catalog import Catalog, OracleEntry, ProxyEntry
from thresher.errors import ProgrammingError, nearest
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.settings import SETTINGS, Settings
from thresher.stored_proxies import Check, checks_of, shelved

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
    return _shown_proxies(catalog, store)


def _shown_proxies(catalog: Catalog, store: LabelStore) -> Columns:
    """Return a row for each declared proxy, and for each that queries have trained besides."""
    from thresher.trained import Trained, sha256_of

    rows: list[tuple[str | None, ...]] = []
    shelf = shelved(store.file)
    for entry in catalog.proxies():
        own = [one for one in shelf if one.name == entry.name]
        trained: Sequence[str | None] = (None, None, None)
        if entry.trained is not None and (learnt := catalog.learnt(entry.name)) is not None:
            found = Trained.unpack(learnt)
            trained = _figures(store, found.n_labels, found.quality.auc, sha256_of(learnt))
        elif own:
            trained = _figures(store, own[0].n_labels, own[0].auc, own[0].sha256)
        rows.append((entry.name, entry.oracle, entry.provider, *trained))
    names = set(catalog.proxy_names())
    for one in shelf:
        if one.name not in names:
            figures = _figures(store, one.n_labels, one.auc, one.sha256)
            provider = one.name.rpartition("_")[2]
            rows.append((one.name, ", ".join(one.oracles), provider, *figures))
    columns = ("proxy", "oracle", "provider", "trained_on", "auc", "drift")
    return {name: [row[i] for row in rows] for i, name in enumerate(columns)}


def _figures(store: LabelStore, n_labels: int, auc: float, sha256: str) -> tuple[str, str, str]:
    """Say on how many labels a proxy was trained, how good it was, and how it did since."""
    checks = checks_of(store.file, sha256)
    drift = _check(checks[0]) if checks else "not used since"
    return f"{n_labels:,} labels", f"{auc:.3f}", drift


def _check(check: Check) -> str:
    text = "has drifted: " if check.drifted else "none: "
    if check.auc is not None:
        text += f"AUC {check.auc:.3f} on {check.n_labels:,} labels, "
    return f"{text}shift of its scores {check.shift:.2f}"


def _trained_facts(
    catalog: Catalog, store: LabelStore, entry: ProxyEntry | None, name: str
) -> dict[str, object]:
    """Return what there is to say of what a proxy has learnt; empty where it has nothing yet."""
    from thresher.trained import Trained, sha256_of

    learnt = None if entry is None or entry.trained is None else catalog.learnt(name)
    if learnt is not None and entry is not None:
        found = Trained.unpack(learnt)
        return {
            "trained from": entry.trained,
            "trained on": f"{found.n_labels:,} labels",
            "auc": f"{found.auc:.3f}, cross-validated",
            **_history(store, sha256_of(learnt)),
        }
    facts: dict[str, object] = {}
    for one in shelved(store.file):
        if one.name == name and not facts:
            made_at = datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds")
            facts = {"trained by": f"a query, {made_at}", "trained on": f"{one.n_labels:,} labels"}
            facts |= {"auc": f"{one.auc:.3f}", **_history(store, one.sha256)}
    return facts


def _history(store: LabelStore, sha256: str) -> dict[str, object]:
    """Return how a trained proxy did in the queries since, the newest first."""
    checks = checks_of(store.file, sha256)
    return {f"drift in {check.run}": _check(check) for check in checks} or {"drift": "not used yet"}


def describe(
    statement: plan.Describe, catalog: Catalog, models: Models, store: LabelStore
) -> Columns:
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
        proxy, name = catalog.proxy(statement.name), statement.name.lower()
        trained = _trained_facts(catalog, store, proxy, name)
        if proxy is None and not trained:
            raise _unknown(statement, catalog.proxy_names())
        facts = {"proxy": name}
        if proxy is not None:
            facts |= {"oracle": proxy.oracle, "provider": proxy.provider, **proxy.options}
        facts |= trained
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
