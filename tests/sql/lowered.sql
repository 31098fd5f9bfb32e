-- Statements and what they are lowered to; white space does not count.

-- input
SELECT * FROM reviews WHERE n > 2 AND is_good(text) USING score RECALL TARGET 0.9
-- formula
__thresher_o0
-- population
SELECT __thresher_r0, CAST(CASE WHEN __thresher_settled THEN coalesce(CAST((__thresher_o0) AS BOOLEAN), FALSE) ELSE
CAST((__thresher_o0) AS BOOLEAN) END AS TINYINT) AS __thresher_known, __thresher_s0 FROM (SELECT __thresher_rows.*,
CAST(NULL AS BOOLEAN) AS __thresher_o0, (__thresher_o0_n) AS __thresher_settled FROM (SELECT
coalesce(__thresher_r0, -1) AS __thresher_r0, ((CAST((text) AS VARCHAR)) IS NULL) AS
__thresher_o0_n, CAST((score) AS DOUBLE) AS __thresher_s0 FROM (SELECT *, rowid AS __thresher_r0
FROM reviews) AS reviews WHERE n > 2) AS __thresher_rows) AS __thresher_answers
-- inputs
SELECT coalesce(__thresher_r0, -1) AS __thresher_r0, CAST((text) AS VARCHAR) AS __thresher_o0_a0,
sha256(strlen(CAST(CAST((text) AS VARCHAR) AS VARCHAR)) || ':' || CAST(CAST((text) AS VARCHAR) AS
VARCHAR)) AS __thresher_o0_k FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0 FROM reviews)
AS reviews WHERE __thresher_r0 IN (SELECT __thresher_r0 FROM sample)) AS reviews
-- answer
SELECT * EXCLUDE (__thresher_r0) FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0 FROM
reviews) AS reviews WHERE __thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS reviews ORDER BY
__thresher_r0
-- bits
SELECT * EXCLUDE (__thresher_r0) FROM (SELECT * EXCLUDE (__thresher_block, __thresher_bits) FROM
(SELECT *, rowid AS __thresher_r0 FROM reviews) AS reviews JOIN keep ON __thresher_r0 >> 6 =
__thresher_block WHERE (__thresher_bits >> CAST(__thresher_r0 & 63 AS UBIGINT)) & 1 = 1) AS reviews
ORDER BY __thresher_r0

-- input
SELECT text FROM reviews WHERE is_good(text) OR n > 5 ORDER BY n LIMIT 3
-- formula
__thresher_o0 OR __thresher_p0
-- population
SELECT __thresher_r0, CAST(CASE WHEN __thresher_settled THEN coalesce(CAST((__thresher_o0 OR
__thresher_p0) AS BOOLEAN), FALSE) ELSE CAST((__thresher_o0 OR __thresher_p0) AS BOOLEAN) END AS TINYINT) AS __thresher_known
FROM (SELECT __thresher_rows.*, CAST(NULL AS BOOLEAN) AS __thresher_o0, (__thresher_o0_n) AS
__thresher_settled FROM (SELECT coalesce(__thresher_r0, -1) AS __thresher_r0, (n > 5) AS
__thresher_p0, ((CAST((text) AS VARCHAR)) IS NULL) AS __thresher_o0_n FROM (SELECT *, rowid AS
__thresher_r0 FROM reviews) AS reviews) AS __thresher_rows) AS __thresher_answers
-- answer
SELECT text FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0 FROM reviews) AS reviews WHERE
__thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS reviews ORDER BY n, __thresher_r0 LIMIT 3

-- input
SELECT r.*, price FROM reviews AS r LEFT JOIN sales AS s ON r.id = s.review WHERE NOT is_good(r.text)
-- population
SELECT __thresher_r0, __thresher_r1, CAST(CASE WHEN __thresher_settled THEN coalesce(CAST((NOT
__thresher_o0) AS BOOLEAN), FALSE) ELSE CAST((NOT __thresher_o0) AS BOOLEAN) END AS TINYINT) AS __thresher_known FROM (SELECT
__thresher_rows.*, CAST(NULL AS BOOLEAN) AS __thresher_o0, (__thresher_o0_n) AS __thresher_settled
FROM (SELECT coalesce(__thresher_r0, -1) AS __thresher_r0, coalesce(__thresher_r1, -1) AS
__thresher_r1, ((CAST((r.text) AS VARCHAR)) IS NULL) AS __thresher_o0_n FROM (SELECT *, rowid AS
__thresher_r0 FROM reviews AS r) AS r LEFT JOIN (SELECT *, rowid AS __thresher_r1 FROM sales AS s)
AS s ON r.id = s.review) AS __thresher_rows) AS __thresher_answers
-- inputs
SELECT coalesce(__thresher_r0, -1) AS __thresher_r0, coalesce(__thresher_r1, -1) AS __thresher_r1,
CAST((r.text) AS VARCHAR) AS __thresher_o0_a0, sha256(strlen(CAST(CAST((r.text) AS VARCHAR) AS
VARCHAR)) || ':' || CAST(CAST((r.text) AS VARCHAR) AS VARCHAR)) AS __thresher_o0_k FROM (SELECT *
FROM (SELECT *, rowid AS __thresher_r0 FROM reviews AS r) AS r WHERE __thresher_r0 IN (SELECT
__thresher_r0 FROM sample)) AS r LEFT JOIN (SELECT * FROM (SELECT *, rowid AS __thresher_r1 FROM
sales AS s) AS s WHERE __thresher_r1 IN (SELECT __thresher_r1 FROM sample)) AS s ON r.id =
s.review WHERE (coalesce(__thresher_r0, -1), coalesce(__thresher_r1, -1)) IN (SELECT
__thresher_r0, __thresher_r1 FROM sample)
-- answer
SELECT r.* EXCLUDE (__thresher_r0), price FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0
FROM reviews AS r) AS r WHERE __thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS r LEFT JOIN
(SELECT * FROM (SELECT *, rowid AS __thresher_r1 FROM sales AS s) AS s WHERE __thresher_r1 IN
(SELECT __thresher_r1 FROM keep)) AS s ON r.id = s.review WHERE (coalesce(__thresher_r0, -1),
coalesce(__thresher_r1, -1)) IN (SELECT __thresher_r0, __thresher_r1 FROM keep) ORDER BY
__thresher_r0, __thresher_r1

-- input
WITH c AS (SELECT id, text FROM reviews) SELECT count(*) FROM c WHERE is_good(text)
-- answer
WITH c AS (SELECT id, text FROM reviews) SELECT count(*) FROM (SELECT * FROM leaf_0 AS c WHERE
__thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS c

-- input
SELECT id, tag FROM reviews AS r, unnest(r.tags) AS u(tag) WHERE is_good(tag)
-- answer
SELECT id, tag FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0 FROM reviews AS r) AS r WHERE
__thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS r , unnest(r.tags) WITH ORDINALITY AS u(tag,
__thresher_r1) WHERE (coalesce(__thresher_r0, -1), coalesce(__thresher_r1, -1)) IN (SELECT
__thresher_r0, __thresher_r1 FROM keep) ORDER BY __thresher_r0, __thresher_r1

-- input
SELECT COLUMNS('t.*') FROM reviews WHERE is_good(text)
-- answer
SELECT COLUMNS('t.*') FROM (SELECT * EXCLUDE (__thresher_r0) FROM (SELECT *, rowid AS
__thresher_r0 FROM reviews) AS reviews WHERE __thresher_r0 IN (SELECT __thresher_r0 FROM keep)
ORDER BY __thresher_r0) AS reviews
-- bits
SELECT COLUMNS('t.*') FROM (SELECT * EXCLUDE (__thresher_r0, __thresher_block, __thresher_bits)
FROM (SELECT *, rowid AS __thresher_r0 FROM reviews) AS reviews JOIN keep ON __thresher_r0 >> 6 =
__thresher_block WHERE (__thresher_bits >> CAST(__thresher_r0 & 63 AS UBIGINT)) & 1 = 1 ORDER BY
__thresher_r0) AS reviews

-- input
SELECT n, count(*) FROM reviews WHERE is_good(text) GROUP BY n
-- answer
SELECT n, count(*) FROM (SELECT * FROM (SELECT *, rowid AS __thresher_r0 FROM reviews) AS reviews
WHERE __thresher_r0 IN (SELECT __thresher_r0 FROM keep)) AS reviews GROUP BY n

-- input
SELECT id FROM reviews WHERE stars(text, n) - 1
-- formula
__thresher_o0 - 1
-- truths
SELECT __thresher_r0, CAST(CAST((__thresher_o0 - 1) AS BOOLEAN) AS TINYINT) AS truth FROM labelled
-- population
SELECT __thresher_r0, CAST(CASE WHEN __thresher_settled THEN coalesce(CAST((__thresher_o0 - 1) AS
BOOLEAN), FALSE) ELSE CAST((__thresher_o0 - 1) AS BOOLEAN) END AS TINYINT) AS __thresher_known
FROM (SELECT __thresher_rows.*, CAST(NULL AS BIGINT) AS __thresher_o0, (__thresher_o0_n) AS
__thresher_settled FROM (SELECT coalesce(__thresher_r0, -1) AS __thresher_r0, ((CAST((text) AS
VARCHAR)) IS NULL OR (CAST((n) AS BIGINT)) IS NULL) AS __thresher_o0_n FROM (SELECT *, rowid AS
__thresher_r0 FROM reviews) AS reviews) AS __thresher_rows) AS __thresher_answers

-- input
SELECT id FROM reviews WHERE abs(stars(text, n))
-- truths
SELECT __thresher_r0, CAST(CAST((abs(__thresher_o0)) AS BOOLEAN) AS TINYINT) AS truth FROM labelled
-- population
SELECT __thresher_r0, CAST(CASE WHEN __thresher_settled THEN coalesce(CAST((abs(__thresher_o0)) AS
BOOLEAN), FALSE) END AS TINYINT) AS __thresher_known FROM (SELECT __thresher_rows.*, CAST(NULL AS
BIGINT) AS __thresher_o0, (__thresher_o0_n) AS __thresher_settled FROM (SELECT
coalesce(__thresher_r0, -1) AS __thresher_r0, ((CAST((text) AS VARCHAR)) IS NULL OR (CAST((n) AS
BIGINT)) IS NULL) AS __thresher_o0_n FROM (SELECT *, rowid AS __thresher_r0 FROM reviews) AS
reviews) AS __thresher_rows) AS __thresher_answers
