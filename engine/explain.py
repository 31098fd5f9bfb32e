"""What EXPLAIN, SHOW and DESCRIBE print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from thresher import plan
from thresher.catalog import Catalog, OracleEntry, ProxyEntry
from thresher.errors import ProgrammingError, nearest
from thresher.labels import LabelStore
from thresher.models import Models
from thresher.settings import Settings

__all__ = ["describe", "explain", "show"]

Columns = Mapping[str, Sequence[str | None]]


def explain(
    query: plan.SelectionQuery,
    entries: Sequence[ProxyEntry],
    settings: Settings,
) -> list[str]:
    """Return the lines of EXPLAIN that need neither rows nor labels."""
    predicate = query.formula
    for call in query.calls:
        written = f"{call.oracle}({', '.join(call.arguments)})"
        predicate = written.join(re.split(rf"\b{call.value}\b", predicate))
    proxies = [term.text for term in query.proxies]
    if not proxies:
        fitted = dict.fromkeys([*(entry.name for entry in entries), "tfidf"])
        proxies = [f"the best, after the first labels, of {', '.join(fitted)}"]
    return [
        f"query      {query.canonical}",
        *(f"understood {note}" for note in query.understood),
        f"candidates {query.plain or 'all rows of FROM'}",
        f"predicate  {predicate}",
        f"proxies    {', '.join(proxies)}",
        f"labels     {_limit(query, settings)}",
    ]


def _limit(query: plan.SelectionQuery, settings: Settings) -> str:
    """Say what the query may spend at most."""
    tail, cap = query.tail, settings.count("oracle_limit")
    if tail.oracle_limit is not None:
        return f"at most {tail.oracle_limit:,} (ORACLE LIMIT; thresher_oracle_limit {cap:,})"
    if tail.accuracy is not None or tail.error is not None or tail.budget:
        return f"as few as the target takes, at most {cap:,} (thresher_oracle_limit)"
    if tail.recall is None and tail.precision is None:
        return f"one for every candidate, at most {cap:,} (thresher_oracle_limit)"
    if tail.recall is not None and tail.precision is not None:
        return f"as few as both targets take, at most {cap:,} (thresher_oracle_limit)"
    return f"at most {settings.count('default_budget'):,} (thresher_default_budget)"


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
