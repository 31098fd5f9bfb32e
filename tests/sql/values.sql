-- Estimates where a value stands: one column, without limits. {} is a clause, or nothing on DuckDB.
SELECT (SELECT count(*) FROM items WHERE is_odd(n) {}) AS odd;
SELECT (SELECT count(*) FROM items WHERE is_odd(n) {}) * 2 AS twice, 'x' AS x;
SELECT round(coalesce((SELECT avg(n) FROM items WHERE is_odd(n) {}), 0), 3) AS mean;
SELECT id FROM items WHERE id < (SELECT count(*) FROM items WHERE is_odd(n) AND id < 30 {}) ORDER BY id;
SELECT id FROM items WHERE is_odd(n) AND id < (SELECT count(*) FROM items WHERE is_odd(n) {}) / 10 ORDER BY id;
SELECT id FROM items WHERE id IN (SELECT count(*) FROM items WHERE is_odd(n) {});
SELECT id FROM items WHERE (kind, 40) IN (SELECT kind, count(*) + 20 - 20 FROM items GROUP BY kind) OR id = 3 AND id < ALL (SELECT count(*) FROM items WHERE is_odd(n) {}) ORDER BY id;
SELECT (WITH few AS (SELECT * FROM items WHERE id < 50) SELECT count(*) FROM few WHERE is_odd(n) {}) AS odd;
SELECT k.kind FROM kinds AS k JOIN items AS i ON i.id = (SELECT count(*) FROM items WHERE is_odd(n) AND id < 40 {}) ORDER BY k.kind;
SELECT CASE WHEN (SELECT count(*) FROM items WHERE is_odd(n) {}) > 9 THEN 'many' ELSE 'few' END AS how;
SELECT kind FROM kinds ORDER BY kind LIMIT (SELECT count(*) FROM items WHERE is_odd(n) AND id < 5 {});
FROM (VALUES ((SELECT count(*) FROM items WHERE is_odd(n) {}), 'odd')) AS v(c, what);
