"""Declarations as values that programs read: names, types and options apart, nothing joined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from thresher.catalog import Catalog, OracleEntry, ProxyEntry
from thresher.labels import LabelStore
from thresher.plan import OptionValue
from thresher.stored_proxies import Shelved, checks_of, shelved

__all__ = ["listed_oracle", "listed_proxies"]

Listed = dict[str, Any]


def listed_oracle(entry: OracleEntry) -> Listed:
    """Return what is declared of an oracle.

    Parameters
    ----------
    entry : OracleEntry

    Returns
    -------
    dict
        ``name``, ``kind``, ``provider``, ``arguments`` (``name`` and ``type`` of each),
        ``returns``, ``options`` and ``sql``, as JSON can hold them.
    """
    arguments = [{"name": one.name, "type": one.type} for one in entry.signature.arguments]
    return {
        "name": entry.name,
        "kind": "oracle",
        "provider": entry.provider,
        "arguments": arguments,
        "returns": entry.signature.returns,
        "options": _options(entry.options),
        "sql": entry.sql,
    }


def listed_proxies(catalog: Catalog, store: LabelStore) -> list[Listed]:
    """Return the declared proxies, then those that queries have trained besides.

    Parameters
    ----------
    catalog : Catalog
    store : LabelStore
        In which proxies that queries train are kept.

    Returns
    -------
    list of dict
        ``name``, ``kind``, ``provider``, ``oracles`` (names), ``options`` and ``sql`` (None where a
        query has made it); ``trained``: None, or ``from`` (the relation that the declaration
        names), ``made_at`` (ISO 8601, UTC), ``n_labels``, ``auc`` and ``checks``, the newest first
        (``certificate``, ``n_labels``, ``auc``, ``shift``, ``drifted``).
    """
    shelf = shelved(store.file)
    found = [_declared(entry, catalog, store, shelf) for entry in catalog.proxies()]
    names = set(catalog.proxy_names())
    for one in shelf:
        if one.name not in names:
            provider = one.name.rpartition("_")[2]
            facts = _proxy(one.name, provider, list(one.oracles), {}, None)
            found.append({**facts, "trained": _shelved(one, store)})
    return found


def _declared(
    entry: ProxyEntry, catalog: Catalog, store: LabelStore, shelf: list[Shelved]
) -> Listed:
    from thresher.trained import Trained, sha256_of

    facts = _proxy(entry.name, entry.provider, [entry.oracle], entry.options, entry.sql)
    learnt = None if entry.trained is None else catalog.learnt(entry.name)
    if learnt is not None:
        made = Trained.unpack(learnt)
        known = _trained(entry.trained, None, made.n_labels, made.quality.auc)
        return {**facts, "trained": {**known, "checks": _checks(store, sha256_of(learnt))}}
    own = next((one for one in shelf if one.name == entry.name), None)
    return {**facts, "trained": None if own is None else _shelved(own, store)}


def _proxy(
    name: str,
    provider: str,
    oracles: list[str],
    options: Mapping[str, OptionValue],
    sql: str | None,
) -> Listed:
    return {
        "name": name,
        "kind": "proxy",
        "provider": provider,
        "oracles": oracles,
        "options": _options(options),
        "sql": sql,
    }


def _shelved(one: Shelved, store: LabelStore) -> Listed:
    made_at = datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds")
    known = _trained(None, made_at, one.n_labels, one.auc)
    return {**known, "checks": _checks(store, one.sha256)}


def _trained(relation: str | None, made_at: str | None, n_labels: int, auc: float) -> Listed:
    return {"from": relation, "made_at": made_at, "n_labels": n_labels, "auc": auc}


def _checks(store: LabelStore, sha256: str) -> list[Listed]:
    return [
        {
            "certificate": check.run,
            "n_labels": check.n_labels,
            "auc": check.auc,
            "shift": check.shift,
            "drifted": check.drifted,
        }
        for check in checks_of(store.file, sha256)
    ]


def _options(options: Mapping[str, OptionValue]) -> Listed:
    """Return options with the numbers that JSON has none for as texts."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in options.items()
    }
