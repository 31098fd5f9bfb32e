-- Statements with LIMIT over an oracle predicate, answered twice: by DuckDB alone, with the oracles as
-- macros, and by thresher, which stops at the last row it needs.

SELECT id FROM items WHERE is_odd(n) ORDER BY id LIMIT 5;
SELECT id FROM items WHERE is_odd(n) ORDER BY id DESC LIMIT 5 OFFSET 3;
SELECT * FROM items WHERE is_odd(n) ORDER BY price, id LIMIT 7;
SELECT id, price FROM items WHERE is_odd(n) ORDER BY price DESC NULLS LAST, id LIMIT 7;
SELECT id, price FROM items WHERE is_odd(n) ORDER BY 2 NULLS FIRST, 1 DESC LIMIT 12;
SELECT kind, n, id FROM items WHERE is_odd(n) ORDER BY ALL LIMIT 9;
SELECT id, price * 2 AS twice FROM items WHERE is_odd(n) AND price > 1 ORDER BY twice, id LIMIT 4;
SELECT id FROM items WHERE NOT is_odd(n) ORDER BY kind NULLS LAST, n, id LIMIT 10;
SELECT id FROM items WHERE is_odd(n) OR price > 7 ORDER BY id LIMIT 10;
SELECT id FROM items WHERE is_odd(n) AND rest(n) > 3 ORDER BY price NULLS LAST, id LIMIT 6;
SELECT id FROM items WHERE word(n) = 'fizz' ORDER BY (SELECT count(*) FROM kinds WHERE kinds.kind = items.kind), id LIMIT 6;
SELECT i.id, k.good FROM items AS i JOIN kinds AS k ON i.kind = k.kind WHERE is_odd(i.n) ORDER BY k.good, i.id LIMIT 8;
SELECT i.id, k.good FROM items AS i LEFT JOIN kinds AS k USING (kind) WHERE is_odd(i.n) ORDER BY k.good NULLS FIRST, i.id LIMIT 8;
SELECT a.id, b.id FROM items AS a, items AS b WHERE a.id < b.id AND rest(a.n + b.n) = 8 ORDER BY b.id, a.id LIMIT 5;
FROM items WHERE is_odd(n) ORDER BY id LIMIT 3;
SELECT id FROM items WHERE is_odd(n) ORDER BY id LIMIT 0;
SELECT id FROM items WHERE is_odd(n) ORDER BY id LIMIT 1000;
SELECT id FROM items WHERE n > 1000 AND is_odd(n) ORDER BY id LIMIT 3;
SELECT id FROM items WHERE rest(n) = 100 ORDER BY id LIMIT 3;
SELECT id, word(n) AS w FROM items WHERE is_odd(n) ORDER BY id LIMIT 4;
SELECT * EXCLUDE (price), rest(n) FROM items WHERE is_odd(n) ORDER BY price NULLS LAST, id LIMIT 4 OFFSET 1;
SELECT id, rest(n) AS r FROM items WHERE is_odd(n) ORDER BY r, id LIMIT 4;
SELECT DISTINCT kind FROM items WHERE is_odd(n) ORDER BY kind NULLS LAST LIMIT 3;
SELECT count(*) FROM items WHERE is_odd(n) LIMIT 3;
SELECT kind, count(*) AS c FROM items WHERE is_odd(n) GROUP BY kind ORDER BY c, kind LIMIT 2;
SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM items WHERE is_odd(n) ORDER BY id LIMIT 3;
SELECT id FROM items WHERE is_odd(n) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY id) = 1 ORDER BY id LIMIT 3;
SELECT id, unnest(CASE WHEN id > 100 THEN ['x', 'y'] ELSE [] END) AS u FROM items WHERE is_odd(n) ORDER BY id, u LIMIT 3;
SELECT total(n) FROM items WHERE is_odd(n) LIMIT 3;
SELECT id, place_of(id) AS p FROM items WHERE is_odd(n) ORDER BY id LIMIT 3;
SELECT id, mirrored(id) AS u FROM items WHERE is_odd(n) ORDER BY id, u LIMIT 5;
SELECT id FROM items WHERE is_odd(n) ORDER BY id LIMIT 2 + 3;
SELECT id FROM items WHERE is_odd(n) ORDER BY id LIMIT 10%;
SELECT COLUMNS('i.*') FROM items WHERE is_odd(n) ORDER BY id LIMIT 3;
SELECT * FROM (SELECT id, price FROM items WHERE is_odd(n) ORDER BY price, id LIMIT 5) ORDER BY id;
SELECT count(*) FROM (SELECT id FROM items WHERE is_odd(n) LIMIT 5);
