-- Statements that are answered twice: by DuckDB alone, with the oracles as macros, and by thresher
-- with a limit that lets every row be labelled. The estimates must then be exact, and so must their
-- limits be. `is_odd(n)` (BOOLEAN) and `rest(n)` (INTEGER) are the oracles; items has NULLs.

SELECT count(*) AS n FROM items WHERE is_odd(n);
SELECT count(*) FROM items WHERE is_odd(n) AND price > 3;
SELECT count(price) AS p, count(*) AS n FROM items WHERE is_odd(n);
SELECT sum(price) AS s, avg(price) AS a, min(price) AS lo, max(price) AS hi FROM items WHERE is_odd(n);
SELECT kind, count(*) AS n FROM items WHERE is_odd(n) GROUP BY kind ORDER BY kind;
SELECT kind, count(*) AS n FROM items WHERE is_odd(n) GROUP BY 1 ORDER BY n DESC, kind LIMIT 2;
SELECT upper(kind) AS k, sum(price) AS s FROM items WHERE is_odd(n) GROUP BY k ORDER BY s, 1;
SELECT kind, n % 3 AS m, count(*) AS c FROM items WHERE is_odd(n) GROUP BY ALL ORDER BY ALL;
SELECT avg(rest(n)) AS a, max(rest(n)) AS m, sum(rest(n)) AS s FROM items;
SELECT kind, avg(rest(n)) AS a FROM items WHERE is_odd(n) GROUP BY kind ORDER BY kind DESC NULLS LAST;
SELECT sum(rest(n) * price) AS s FROM items WHERE price IS NOT NULL;
SELECT count(*) FILTER (WHERE is_odd(n)) AS odd, count(*) AS every FROM items;
SELECT count(*) FILTER (WHERE is_odd(n)) / count(*) AS share FROM items;
SELECT count(*) FILTER (price > 4) AS dear FROM items WHERE is_odd(n);
SELECT sum(price) FILTER (WHERE rest(n) > 4 OR price > 5) AS s FROM items WHERE is_odd(n);
SELECT count_if(is_odd(n)) AS c FROM items;
SELECT sum(price) / count(*) AS r, 100.0 * sum(price) / sum(rest(n)) AS q FROM items WHERE is_odd(n);
SELECT median(id) AS m, quantile_disc(id, 0.25) AS q FROM items WHERE is_odd(n) AND id % 7 > 0;
SELECT count(*) AS c FROM items AS i JOIN kinds AS k ON i.kind = k.kind WHERE is_odd(i.n) AND k.good;
SELECT k.good, count(*) AS c FROM items AS i JOIN kinds AS k USING (kind) WHERE is_odd(i.n) GROUP BY k.good ORDER BY k.good;
WITH few AS (SELECT * FROM items WHERE id < 100) SELECT count(*) AS c, avg(price) AS a FROM few WHERE is_odd(n);
SELECT count(*) AS c FROM (SELECT DISTINCT n, kind FROM items) AS d WHERE is_odd(n) OR rest(n) = 2;
SELECT count(rest(n)) AS c FROM items WHERE rest(n) BETWEEN 2 AND 6;
SELECT sum(price) AS s FROM items WHERE is_odd(n) AND FALSE;
SELECT kind, sum(price) AS s FROM items WHERE is_odd(n) AND FALSE GROUP BY kind;

-- HAVING over aggregates, those of the SELECT list and others, aliases and groups.
SELECT kind, count(*) AS n FROM items WHERE is_odd(n) GROUP BY kind HAVING count(*) > 25 ORDER BY kind NULLS FIRST;
SELECT kind, count(*) AS c FROM items WHERE is_odd(n) GROUP BY kind HAVING c > 25 AND sum(price) > 90 OR kind IS NULL ORDER BY kind NULLS FIRST;
SELECT kind, avg(rest(n)) AS m FROM items GROUP BY kind HAVING count(*) FILTER (WHERE is_odd(n)) BETWEEN 20 AND 28 ORDER BY kind NULLS FIRST;
SELECT count(*) FROM items WHERE is_odd(n) HAVING count(*) > 1000;

-- Nothing counts as 0, where it is written so.
SELECT coalesce(sum(price), 0) AS s, ifnull(count(*), 0) AS c FROM items WHERE is_odd(n);
SELECT kind, coalesce(sum(price), 0) + 1 AS s FROM items WHERE is_odd(n) GROUP BY kind ORDER BY kind NULLS FIRST;
SELECT coalesce(sum(price), 0) AS s FROM items WHERE is_odd(n) AND id < 0;

-- Arithmetic over one aggregate, constants beside estimates, DISTINCT.
SELECT 'odd' AS what, 7 AS seven, count(*) AS c FROM items WHERE is_odd(n);
SELECT kind, DATE '2024-01-01' AS day, 100 - count(*) AS c, round(avg(price), 1) AS p FROM items WHERE is_odd(n) GROUP BY ALL ORDER BY kind NULLS FIRST;
SELECT -sum(n) AS s, (count(*) + 1) / 2 AS h, CAST(avg(price) * 100 AS INTEGER) AS cents, ceil(max(price))::BIGINT AS top FROM items WHERE is_odd(n);
SELECT DISTINCT count(*) * 0 AS c FROM items WHERE is_odd(n) GROUP BY kind;
