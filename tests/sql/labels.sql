-- Statements that are answered twice: by DuckDB alone, with the oracles as macros, and by thresher
-- with ACCURACY TARGET 100%, so that every row gets the oracle's own label.

SELECT id, is_odd(n) AS odd FROM items ORDER BY id;
SELECT *, rest(n) AS r FROM items ORDER BY id;
SELECT items.*, word(n) FROM items ORDER BY items.id;
SELECT id FROM items WHERE is_odd(n) ORDER BY id;
SELECT id FROM items WHERE is_odd(n) AND rest(n) > 3 ORDER BY id;
SELECT upper(word(n)) || '!' AS w, id FROM items WHERE price > 2 ORDER BY word(n), id;
SELECT i.id, k.good, word(i.n) AS w FROM items AS i JOIN kinds AS k ON i.kind = k.kind ORDER BY i.id;
SELECT i.id, k.good, word(i.n) AS w FROM items AS i LEFT JOIN kinds AS k ON i.kind = k.kind ORDER BY i.id LIMIT 20;
SELECT * EXCLUDE (price), CASE WHEN is_odd(n) THEN 'odd' ELSE 'even' END AS parity FROM items ORDER BY id;
WITH few AS (SELECT * FROM items WHERE id < 50) SELECT id, word(n) AS w FROM few ORDER BY id;
