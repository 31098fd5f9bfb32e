-- Statements with oracle calls in the SELECT list and in ORDER BY, answered twice: by DuckDB alone,
-- with the oracles as macros, and by thresher.

SELECT id, word(n) AS w FROM items ORDER BY id;
SELECT id, word(n), is_odd(n) FROM items WHERE is_odd(n) ORDER BY id;
SELECT *, rest(n) AS r FROM items WHERE id < 40 ORDER BY id;
SELECT items.*, upper(word(n)) || '!' AS w FROM items WHERE price > 2 ORDER BY items.id;
SELECT id FROM items ORDER BY rest(n) DESC NULLS LAST, id LIMIT 7;
SELECT id, rest(n) AS r FROM items ORDER BY r DESC NULLS FIRST, id LIMIT 20;
SELECT id, rest(n) AS r FROM items ORDER BY 2, 1 LIMIT 9 OFFSET 3;
SELECT id, rest(n) + 1 AS r, r * 2 AS twice FROM items ORDER BY twice DESC NULLS LAST, id LIMIT 5;
SELECT rest(n) AS r, id FROM items ORDER BY ALL LIMIT 30;
SELECT id, word(n) AS w, rest(n) AS r FROM items WHERE is_odd(n) ORDER BY r, id LIMIT 5;
SELECT id, word(n) AS w FROM items WHERE kind = 'a' ORDER BY price NULLS LAST, id LIMIT 4 OFFSET 2;
SELECT DISTINCT word(n) AS w FROM items ORDER BY w;
SELECT DISTINCT word(n) AS w, kind FROM items WHERE is_odd(n) ORDER BY w NULLS FIRST, kind LIMIT 3;
SELECT DISTINCT ON (kind) kind, rest(n) AS r FROM items WHERE n IS NOT NULL ORDER BY kind, r DESC;
SELECT i.id, k.good, word(i.n) AS w FROM items AS i JOIN kinds AS k ON i.kind = k.kind ORDER BY i.id LIMIT 11;
SELECT i.id, k.good, word(i.n) AS w FROM items AS i LEFT JOIN kinds AS k ON i.kind = k.kind ORDER BY rest(i.n), i.id LIMIT 20;
SELECT a.id AS x, b.id AS y, rest(a.n + b.n) AS r FROM items AS a, items AS b WHERE a.id < 6 AND b.id < 6 ORDER BY r DESC NULLS LAST, x, y LIMIT 8;
SELECT CASE WHEN is_odd(n) THEN 'odd' ELSE 'even' END AS parity, id FROM items WHERE id < 30 ORDER BY id;
SELECT id, is_odd(n) AND price > 3 AS dear FROM items WHERE id BETWEEN 10 AND 60 ORDER BY dear NULLS LAST, id;
SELECT * REPLACE (rest(n) AS n) FROM items WHERE id < 25 ORDER BY id;
SELECT id, rank() OVER (ORDER BY rest(n), id) AS place FROM items WHERE is_odd(n) ORDER BY place LIMIT 6;
SELECT id, rest(n) AS r FROM items WHERE is_odd(n) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY id) = 2 ORDER BY id;
SELECT w: word(n), i: id FROM items WHERE id < 9 ORDER BY i;
SELECT rest(n) r, id FROM items WHERE id < 9 ORDER BY r, id;
FROM items SELECT id, coalesce(word(n), 'none') AS w WHERE price < 1 ORDER BY id;
WITH few AS (SELECT * FROM items WHERE id < 50) SELECT id, word(n) AS w FROM few ORDER BY id;
SELECT id, unnest([1, rest(n)]) AS u FROM items WHERE id < 10 ORDER BY id, u LIMIT 7;
SELECT * FROM (SELECT id, word(n) AS w FROM items WHERE is_odd(n)) WHERE w = 'fizz' ORDER BY id;
SELECT kind, list(w ORDER BY id) AS ws FROM (SELECT kind, id, word(n) AS w FROM items WHERE id < 20) GROUP BY kind ORDER BY kind;
SELECT r, count(*) AS c FROM (SELECT rest(n) AS r FROM items WHERE id < 50) GROUP BY r ORDER BY r;

-- Aggregates over answers, and groups of them: exact where nothing limits the labels.
SELECT rest(n) AS r, count(*) AS c FROM items WHERE id < 50 GROUP BY r ORDER BY r;
SELECT word(n), count(*), max(price) FROM items GROUP BY word(n) ORDER BY ALL;
SELECT kind, is_odd(n) AS odd, sum(id) FROM items GROUP BY ALL ORDER BY ALL;
SELECT sum(4503599627370497 + id) FILTER (WHERE is_odd(n)) AS s, max(id), stddev(rest(n)) AS d, count(DISTINCT word(n)) AS c FROM items;
SELECT round(avg(rest(n)), 2) + 1 AS r, list(word(n) ORDER BY id)[1:3] AS w, bool_or(is_odd(n)) AS b FROM items WHERE is_odd(id);
SELECT kind FROM items GROUP BY kind HAVING count(*) FILTER (WHERE is_odd(n)) > 20 ORDER BY max(rest(n)), kind;
SELECT kind, min(word(n)) AS w FROM items WHERE is_odd(n) GROUP BY kind HAVING avg(rest(n)) > 2 ORDER BY kind LIMIT 3;
SELECT id FROM items WHERE is_odd(n) QUALIFY row_number() OVER (PARTITION BY word(n) ORDER BY id) = 1 ORDER BY id;
SELECT DISTINCT word(n) FROM items ORDER BY 1;
SELECT kind, rest(n) AS r, count(*) FROM items WHERE id < 60 GROUP BY ROLLUP (kind, r) ORDER BY ALL;
