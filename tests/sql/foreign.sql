-- SQL of other systems, and what it is read as; white space does not count. The oracles:
-- class(frame), color(frame), label(text) and type(text) may be written as columns; judge(prompt)
-- answers BOOLEAN, write(prompt) VARCHAR, rate(prompt) DOUBLE, all three are default oracles;
-- look(prompt, picture) answers BOOLEAN.

-- SUPG
SELECT * FROM video WHERE class(frame) = 'car'
ORACLE LIMIT 1000 USING score RECALL TARGET 90% WITH PROBABILITY 95%
-- ours
SELECT * FROM video WHERE class(frame) = 'car' USING score RECALL TARGET 0.9 WITH PROBABILITY 0.95 ORACLE LIMIT 1000

-- SUPG, both targets
SELECT * FROM video WHERE class(frame) = 'car' RECALL TARGET .9 PRECISION TARGET .8 WITH PROBABILITY .95
-- ours
SELECT * FROM video WHERE class(frame) = 'car' RECALL TARGET 0.9 PRECISION TARGET 0.8 WITH PROBABILITY 0.95

-- ABae
SELECT AVG(score) FROM video WHERE class(frame) = 'car' GROUP BY day ORACLE LIMIT 500 USING score WITH PROBABILITY .95
-- ours
SELECT AVG(score) FROM video WHERE class(frame) = 'car' GROUP BY day USING score WITH PROBABILITY 0.95 ORACLE LIMIT 500

-- ABae
SELECT PERCENTAGE(class(frame) = 'car') FROM video WHERE class(frame) <> 'none' ORACLE LIMIT 500 USING score WITH PROBABILITY .95
-- ours
SELECT (100.0 * count(*) FILTER (WHERE class(frame) = 'car') / count(*)) AS "percentage(class(frame) = 'car')"
FROM video WHERE class(frame) <> 'none' USING score WITH PROBABILITY 0.95 ORACLE LIMIT 500

-- ABae
SELECT day, PERCENTAGE(class = 'car') AS share FROM video GROUP BY day ORACLE LIMIT 500
-- ours
SELECT day, (100.0 * count(*) FILTER (WHERE class(frame) = 'car') / count(*)) AS share FROM video GROUP BY day ORACLE LIMIT 500

-- BlazeIt
SELECT FCOUNT(*) FROM taipei WHERE class='car' ERROR WITHIN 0.1 AT CONFIDENCE 95%
-- ours
SELECT (count(*) FILTER (WHERE class(frame)='car') / count(*)) AS "fcount(*)" FROM taipei
ERROR WITHIN 0.1 ABSOLUTE WITH PROBABILITY 0.95

-- BlazeIt
SELECT timestamp FROM taipei GROUP BY timestamp HAVING SUM(class='bus')>=1 LIMIT 10 GAP 300
-- ours
SELECT timestamp FROM taipei WHERE class(frame)='bus' LIMIT 10 GAP 300 ON timestamp

-- BlazeIt
SELECT timestamp FROM taipei GROUP BY timestamp HAVING SUM(class='bus')>=1
-- ours
SELECT DISTINCT timestamp FROM taipei WHERE class(frame)='bus'

-- BlazeIt
SELECT timestamp FROM taipei WHERE day = 1 OR day = 2 GROUP BY timestamp HAVING SUM(class='bus') > 0 ORDER BY timestamp
-- ours
SELECT DISTINCT timestamp FROM taipei WHERE (day = 1 OR day = 2) AND (class(frame)='bus') ORDER BY timestamp

-- BlazeIt
SELECT timestamp FROM taipei WHERE class='car' FNR WITHIN 0.01 FPR WITHIN 0.01
-- ours
SELECT timestamp FROM taipei WHERE class(frame)='car' RECALL TARGET 0.99 PRECISION TARGET 0.99

-- BlazeIt
SELECT timestamp FROM taipei WHERE class='car' FNR WITHIN 5% CONFIDENCE 99%
-- ours
SELECT timestamp FROM taipei WHERE class(frame)='car' RECALL TARGET 0.95 WITH PROBABILITY 0.99

-- AIDB
SELECT AVG(score) FROM sentiment WHERE label = '5 stars' ERROR_TARGET 10% CONFIDENCE 95%;
-- ours
SELECT AVG(score) FROM sentiment WHERE label(text) = '5 stars' ERROR WITHIN 0.1 RELATIVE WITH PROBABILITY 0.95

-- AIDB
SELECT entity_id FROM entities00 WHERE type LIKE 'PERSON' RECALL_TARGET 80% CONFIDENCE 95%;
-- ours
SELECT entity_id FROM entities00 WHERE type(text) LIKE 'PERSON' RECALL TARGET 0.8 WITH PROBABILITY 0.95

-- AIDB
SELECT frame FROM video WHERE class = 'car' PRECISION_TARGET .8 BUDGET 300
-- ours
SELECT frame FROM video WHERE class(frame) = 'car' PRECISION TARGET 0.8 ORACLE LIMIT 300

-- AIDB
SELECT * FROM colors02 WHERE frame >= 1000 AND color='black' LIMIT 100;
-- ours
SELECT * FROM colors02 WHERE frame >= 1000 AND color(frame)='black' LIMIT 100

-- AIDB
SELECT v.frame FROM video AS v, notes WHERE v.frame = notes.id AND v.class = 'car'
-- ours
SELECT v.frame FROM video AS v, notes WHERE v.frame = notes.id AND class(v.frame) = 'car'

-- AIDB
SELECT frame, class FROM video ORDER BY class ACCURACY TARGET 95%
-- ours
SELECT frame, class(frame) AS class FROM video ORDER BY class(frame) ACCURACY TARGET 0.95

-- ThalamusDB
SELECT COUNT(*) FROM cars WHERE nlfilter(pic, 'the car in the picture is red');
-- ours
SELECT COUNT(*) FROM cars WHERE judge('the car in the picture is red: ' || pic)

-- ThalamusDB
SELECT H.pic, P.pic FROM Holiday H, Profile P WHERE NLjoin(H.pic, P.pic, 'show the same person');
-- ours
SELECT H.pic, P.pic FROM Holiday H, Profile P WHERE judge('show the same person: ' || H.pic || ' ' || P.pic)

-- Flock
SELECT * FROM t WHERE llm_filter({'model_name':'gpt-4o'},
       {'prompt':'eco-friendly?', 'context_columns':[{'data': descr, 'name':'description'}]});
-- ours
SELECT * FROM t WHERE judge('eco-friendly? description: ' || descr)

-- Snowflake
SELECT a.x FROM a, b WHERE AI_FILTER(PROMPT('Are {0} and {1} one?', a.x, b.x))
-- ours
SELECT a.x FROM a, b WHERE judge('Are ' || a.x || ' and ' || b.x || ' one?')

-- Flock, with an oracle that is called as the model
SELECT * FROM t WHERE llm_filter({'model_name':'look'},
       {'prompt':'is it red?', 'context_columns':[{'data': pic}]});
-- ours
SELECT * FROM t WHERE look('is it red?', pic)

-- Flock
SELECT * FROM t WHERE llm_complete({'model_name':'gpt-4o'}, {'prompt':'Which colour is it?', 'context_columns':[{'data': descr}]}) = 'red'
-- ours
SELECT * FROM t WHERE write('Which colour is it? ' || descr) = 'red'

-- Snowflake
SELECT * FROM t WHERE AI_FILTER('Is this about bags? ' || descr);
-- ours
SELECT * FROM t WHERE judge('Is this about bags? ' || descr)

-- Snowflake
SELECT * FROM t WHERE AI_FILTER(descr, true);
-- ours
SELECT * FROM t WHERE judge(descr)

-- Snowflake
SELECT * FROM t WHERE AI_FILTER('Is there a cat?', pic);
-- ours
SELECT * FROM t WHERE judge('Is there a cat? ' || pic)

-- Snowflake
SELECT * FROM t WHERE AI_FILTER(PROMPT('The product is a backpack: {0} {1}', a, b))
-- ours
SELECT * FROM t WHERE judge('The product is a backpack: ' || a || ' ' || b)

-- Snowflake
SELECT * FROM t WHERE AI_FILTER(PROMPT('{1} or {0}? It''s {x}', a + 1, u.b.c))
-- ours
SELECT * FROM t WHERE judge(u.b.c || ' or ' || (a + 1) || '? It''s {x}')

-- Snowflake
SELECT * FROM t WHERE AI_CLASSIFY(descr, ['tech', 'sport']) = 'tech'
-- ours
SELECT * FROM t WHERE write('Answer with one of: tech, sport. ' || descr) = 'tech'

-- Snowflake
SELECT id, AI_CLASSIFY(descr, ['tech', 'sport']) AS topic FROM t
-- ours
SELECT id, write('Answer with one of: tech, sport. ' || descr) AS topic FROM t

-- Snowflake
SELECT * FROM t WHERE AI_COMPLETE('claude', PROMPT('Which colour? {0}', descr)) = 'red'
-- ours
SELECT * FROM t WHERE write('Which colour? ' || descr) = 'red'

-- BigQuery
SELECT * FROM t WHERE AI.IF(('This article discusses climate change. ', body), connection_id => 'us.c', endpoint => '...')
-- ours
SELECT * FROM t WHERE judge('This article discusses climate change. ' || body)

-- BigQuery
SELECT * FROM t WHERE AI.IF(('Is it a cat? ', pic), embeddings => emb, optimization_mode => 'MINIMIZE_COST', endpoint => 'LOOK')
-- ours
SELECT * FROM t WHERE look('Is it a cat? {0}', pic)

-- BigQuery
SELECT * FROM t WHERE AI.CLASSIFY(body, categories => ['tech','sport'], embeddings => emb) = 'tech'
-- ours
SELECT * FROM t WHERE write('Answer with one of: tech, sport. ' || body) = 'tech'

-- BigQuery
SELECT * FROM t WHERE AI.SCORE(('rate the style of ', x)) > 3
-- ours
SELECT * FROM t WHERE rate('rate the style of ' || x) > 3

-- BigQuery
SELECT * FROM t WHERE AI.GENERATE(('Which colour? ', x)).result = 'red'
-- ours
SELECT * FROM t WHERE write('Which colour? ' || x) = 'red'

-- AlloyDB
SELECT * FROM t WHERE ai.if(prompt => 'Is it kind? ' || review, review_embedding)
-- ours
SELECT * FROM t WHERE judge('Is it kind? ' || review)

-- Databricks
SELECT * FROM posts WHERE ai_query('endpoint', CONCAT('Sentiment of ', t), responseFormat => '...', failOnError => false) = 'good'
-- ours
SELECT * FROM posts WHERE write(CONCAT('Sentiment of ', t)) = 'good'

-- Databricks
SELECT * FROM posts WHERE ai_query('endpoint', 'Is it good? ' || t, returnType => 'BOOLEAN')
-- ours
SELECT * FROM posts WHERE judge('Is it good? ' || t)

-- MotherDuck
SELECT * FROM posts WHERE prompt('Classify: ' || t, model := 'gpt-4o-mini', return_type := 'VARCHAR') = 'good'
-- ours
SELECT * FROM posts WHERE write('Classify: ' || t) = 'good'

-- targets as arguments
SELECT * FROM t WHERE AI_FILTER(PROMPT('A bag? {0}', a), recall => .95, precision := 90%, probability := .99, oracle_limit := 500, seed => 3) ORDER BY a
-- ours
SELECT * FROM t WHERE judge('A bag? ' || a) ORDER BY a RECALL TARGET 0.95 PRECISION TARGET 0.9 WITH PROBABILITY 0.99 ORACLE LIMIT 500 SEED 3

-- targets as arguments of a declared oracle, the same of two calls
SELECT * FROM t WHERE judge(a, recall := .9) OR judge(b, recall := .9)
-- ours
SELECT * FROM t WHERE judge(a) OR judge(b) RECALL TARGET 0.9

-- targets as arguments, beside clauses
SELECT * FROM t WHERE judge(a, oracle_limit := 50) USING score RECALL_TARGET 80%
-- ours
SELECT * FROM t WHERE judge(a) USING score RECALL TARGET 0.8 ORACLE LIMIT 50

-- Snowflake
SELECT id FROM t WHERE AI_CLASSIFY(descr, ['tech', 'sport']):labels[0]::VARCHAR = 'tech'
-- ours
SELECT id FROM t WHERE write('Answer with one of: tech, sport. ' || descr)::VARCHAR = 'tech'

-- Snowflake
SELECT id FROM t WHERE AI_CLASSIFY(descr, [{'label': 'tech', 'description': 'on computers'}, {'label': 'sport'}])['labels'][0] = 'tech'
-- ours
SELECT id FROM t WHERE write('Answer with one of: tech (on computers), sport. ' || descr) = 'tech'

-- Snowflake
SELECT AI_SENTIMENT(descr):categories[0]:sentiment AS mood, SNOWFLAKE.CORTEX.SENTIMENT(descr) AS score FROM t
-- ours
SELECT write('Answer with the sentiment, one of: positive, negative, neutral, mixed. ' || descr) AS mood,
rate('Answer with the sentiment as a number, from -1 (negative) to 1 (positive). ' || descr) AS score FROM t

-- Snowflake
SELECT AI_TRANSLATE(descr, 'en', 'de') AS de, SNOWFLAKE.CORTEX.SUMMARIZE(descr) AS short FROM t
-- ours
SELECT write('Translate from en to de. ' || descr) AS de, write('Summarize. ' || descr) AS short FROM t

-- Snowflake
SELECT SNOWFLAKE.CORTEX.CLASSIFY_TEXT(descr, ['a', 'b'])['label'] AS kind, snowflake.cortex.complete('m', CONCAT('Kind? ', descr)) AS said FROM t
-- ours
SELECT write('Answer with one of: a, b. ' || descr) AS kind, write(CONCAT('Kind? ', descr)) AS said FROM t

-- Snowflake
SELECT SNOWFLAKE.CORTEX.EXTRACT_ANSWER(descr, 'Which colour?')[0]:answer AS colour FROM t
-- ours
SELECT write('Which colour? ' || descr) AS colour FROM t

-- Databricks
SELECT ai_analyze_sentiment(t) AS mood, ai_mask(t, ARRAY('person', 'address')) AS safe, ai_summarize(t, 20) AS short FROM posts
-- ours
SELECT write('Answer with the sentiment, one of: positive, negative, neutral, mixed. ' || t) AS mood,
write('Write [MASKED] for each of: person, address. ' || t) AS safe, write('Summarize in at most 20 words. ' || t) AS short FROM posts

-- Databricks
SELECT ai_classify(t, ARRAY('urgent', 'not urgent')) AS kind, ai_translate(t, 'en') AS en, ai_gen('Answer: ' || t) AS reply, ai_fix_grammar(t) AS fixed FROM posts
-- ours
SELECT write('Answer with one of: urgent, not urgent. ' || t) AS kind, write('Translate to en. ' || t) AS en,
write('Answer: ' || t) AS reply, write('Correct the grammar. ' || t) AS fixed FROM posts

-- BigQuery
SELECT * FROM t WHERE AI.GENERATE_BOOL(('Is it red? ', x), connection_id => 'us.c').result AND AI.GENERATE_DOUBLE(('How far? ', x)).result > 3
-- ours
SELECT * FROM t WHERE judge('Is it red? ' || x) AND rate('How far? ' || x) > 3

-- Snowflake, a join
SELECT a.x FROM a JOIN b ON AI_FILTER(PROMPT('Are {0} and {1} one?', a.x, b.x)) ORDER BY 1
-- ours
SELECT a.x FROM a CROSS JOIN b WHERE judge('Are ' || a.x || ' and ' || b.x || ' one?') ORDER BY 1

-- ThalamusDB, a join
SELECT a.x FROM a INNER JOIN b ON (a.k = b.k OR a.k = 1) AND NLjoin(a.x, b.x, 'are one') AND b.y > 3 WHERE a.y OR b.y
-- ours
SELECT a.x FROM a INNER JOIN b ON (a.k = b.k OR a.k = 1) AND b.y > 3 WHERE (a.y OR b.y) AND judge('are one: ' || a.x || ' ' || b.x)

-- BigQuery
SELECT AI.CLASSIFY(body, [('tech', 'on computers'), ('sport')]) AS kind FROM t
-- ours
SELECT write('Answer with one of: tech (on computers), sport. ' || body) AS kind FROM t

-- Snowflake, on no table
SELECT AI_COMPLETE('m', 'What is a join?') AS said
-- ours
SELECT write('What is a join?') AS said FROM (SELECT 1) AS single_row
