-- What pages ask often, counted from the tables of a snapshot. Sums over pairs are of whole numbers (steps of 2^-40), so
-- that they are the same whatever the order in which rows are read.

DELETE FROM ranked_pairs; DELETE FROM ranked_queries; DELETE FROM item_reach; DELETE FROM judged_scores;
DELETE FROM rated_pairs; DELETE FROM disputed_pairs; DELETE FROM title_lengths; DELETE FROM item_attributes; DELETE FROM attribute_values; DELETE FROM map_items; DELETE FROM sid_prefixes; DELETE FROM map_values;

CREATE OR REPLACE TEMP MACRO whole(x) AS sum(CAST(x * 1099511627776 AS HUGEINT))::DOUBLE / 1099511627776;
CREATE OR REPLACE TEMP TABLE asked AS
SELECT rowid AS query, query_id, CASE WHEN (SELECT sum(greatest(frequency, 0)) FROM queries) > 0
                                      THEN greatest(coalesce(frequency, 0), 0) ELSE 1 END AS weight
FROM queries;
CREATE OR REPLACE TEMP TABLE known AS SELECT rowid AS item, item_id FROM items;

INSERT INTO ranked_pairs
SELECT s.run_id, k.item, a.query, s.rank, s.rank_without_sid, s.matched_prefix FROM scores s JOIN asked a USING (query_id) JOIN known k USING (item_id)
WHERE a.weight > 0 AND s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL ORDER BY s.run_id, k.item, a.query;

INSERT INTO ranked_queries
WITH usual AS (SELECT mode(coalesce(currency, '')) AS currency FROM items WHERE price IS NOT NULL),
priced AS (
    SELECT i.rowid AS item, CASE WHEN coalesce(i.currency, '') = u.currency THEN coalesce(i.price, 0) ELSE 0 END AS price
    FROM items i CROSS JOIN usual u
), steps AS (
    SELECT r.run_id, r.query, p.price, greatest(r.rank, r.rank_without_sid) AS deepest, 1 / log2(1 + r.rank) AS log2, 1 / log2(1 + r.rank_without_sid) AS log2_without,
           (r.rank <= 10)::INTEGER AS top10, (r.rank_without_sid <= 10)::INTEGER AS top10_without,
           1 / r.rank AS click, 1 / r.rank_without_sid AS click_without
    FROM ranked_pairs r JOIN priced p USING (item)
)
SELECT s.run_id, s.query, any_value(a.query_id), any_value(a.weight), count(*), max(deepest), whole(log2), whole(top10), whole(click),
       whole(price * log2), whole(price * log2_without), whole(price * top10), whole(price * top10_without), whole(price * click),
       whole(price * click_without)
FROM steps s JOIN asked a USING (query) GROUP BY s.run_id, s.query ORDER BY s.run_id, s.query;

INSERT INTO item_reach
WITH placed AS (
    SELECT s.run_id, s.item_id, min(s.rank) AS best_rank, min(s.rank_without_sid) AS best_rank_without,
           whole(a.weight / log2(1 + s.rank)) AS own,
           whole(a.weight / log2(1 + s.rank_without_sid)) AS other
    FROM scores s JOIN asked a USING (query_id) GROUP BY ALL
), beamed AS (
    SELECT d.run_id, d.item_id, b.n_beams
    FROM (SELECT run_id, sid, count(DISTINCT query_id) AS n_beams FROM beams GROUP BY ALL) b JOIN sids d USING (run_id, sid)
)
SELECT run_id, k.item, p.best_rank, p.best_rank_without, coalesce(b.n_beams, 0),
       (p.own / sum(p.own) OVER (PARTITION BY run_id) - p.other / sum(p.other) OVER (PARTITION BY run_id)) * (SELECT count(*) FROM items)
FROM placed p FULL JOIN beamed b USING (run_id, item_id) JOIN known k USING (item_id) ORDER BY run_id, k.item;

INSERT INTO judged_scores
WITH pairs AS (SELECT query_id, item_id FROM judgments UNION SELECT query_id, item_id FROM ratings),
told AS (
    SELECT c.run_id, c.query_id, c.item_id, whole(c.value) AS sid FROM contributions c SEMI JOIN pairs USING (query_id, item_id)
    WHERE starts_with(c.feature, 'sid_') GROUP BY ALL
)
SELECT s.run_id, s.query_id, s.item_id, s.score, s.expected_grade, s.rank, s.rank_without_sid, s.retrieved, t.sid
FROM scores s SEMI JOIN pairs USING (query_id, item_id) LEFT JOIN told t USING (run_id, query_id, item_id)
ORDER BY s.run_id, s.query_id, s.item_id;

INSERT INTO rated_pairs
SELECT query_id, item_id, avg(grade) FILTER (source <> 'llm'), count(*) FILTER (source <> 'llm'), min(grade) FILTER (source <> 'llm'),
       max(grade) FILTER (source <> 'llm'), avg(grade) FILTER (source = 'llm')
FROM ratings GROUP BY query_id, item_id ORDER BY query_id, item_id;

INSERT INTO disputed_pairs
-- Windows instead of a join of the query's pairs with themselves: a million judged pairs take a second.
WITH sided AS (
    SELECT s.run_id, t.*, s.expected_grade, s.rank, t.people >= relevant_grade AS relevant,
           row_number() OVER (PARTITION BY s.run_id, t.query_id ORDER BY s.score DESC, t.item_id) AS place,
           count(*) OVER (PARTITION BY s.run_id, t.query_id) AS n_judged,
           count(*) FILTER (people >= relevant_grade) OVER (PARTITION BY s.run_id, t.query_id) AS n_relevant,
           count(*) FILTER (people < relevant_grade) OVER (PARTITION BY s.run_id, t.query_id ORDER BY s.score DESC
               RANGE UNBOUNDED PRECEDING EXCLUDE GROUP) AS worse_above,
           count(*) FILTER (people >= relevant_grade) OVER (PARTITION BY s.run_id, t.query_id ORDER BY s.score
               RANGE UNBOUNDED PRECEDING EXCLUDE GROUP) AS better_below
    FROM rated_pairs t JOIN judged_scores s USING (query_id, item_id), snapshot WHERE t.people IS NOT NULL
), counted AS (
    SELECT *, CASE WHEN relevant THEN worse_above ELSE better_below END AS against,
           CASE WHEN relevant THEN n_judged - n_relevant ELSE n_relevant END AS others
    FROM sided
), rated AS (
    SELECT r.run_id, t.*, s.expected_grade, s.rank FROM rated_pairs t CROSS JOIN runs r
    LEFT JOIN judged_scores s ON s.run_id = r.run_id AND s.query_id = t.query_id AND s.item_id = t.item_id
    WHERE judge <> people OR highest > lowest
)
SELECT run_id, 'ranking' AS kind, query_id, item_id, people, n_ratings, lowest, highest, judge, expected_grade, rank, place, n_judged,
       against, others, against / others AS misplaced,
       (against / others + 1.9208 / others
        - 1.96 * sqrt(against / others * (1 - against / others) / others + 0.9604 / (others * others)))
       / (1 + 3.8416 / others) AS sure
FROM counted WHERE against > 0
UNION ALL SELECT run_id, 'judge', query_id, item_id, people, n_ratings, lowest, highest, judge, expected_grade, rank, NULL, NULL, NULL, NULL,
       abs(judge - people), greatest(lowest - judge, judge - highest, 0) FROM rated WHERE judge <> people
UNION ALL SELECT run_id, 'people', query_id, item_id, people, n_ratings, lowest, highest, judge, expected_grade, rank, NULL, NULL, NULL, NULL,
       highest - lowest, highest - lowest FROM rated WHERE highest > lowest
ORDER BY run_id, kind, sure DESC, misplaced DESC, n_ratings DESC, query_id, item_id;

INSERT INTO title_lengths
SELECT CASE WHEN trim(title) = '' THEN 0 ELSE len(string_split_regex(trim(title), '\s+')) END, count(*) FROM items GROUP BY 1 ORDER BY 1;

CREATE OR REPLACE TEMP TABLE stated AS
SELECT e.key AS name, json_extract_string(e.value, '$') AS value, count(*) AS n FROM items i, json_each(i.attributes) e
WHERE json_valid(i.attributes) AND e.type NOT IN ('ARRAY', 'OBJECT', 'NULL') GROUP BY ALL HAVING value <> '';
INSERT INTO item_attributes SELECT name, sum(n)::BIGINT, count(*) FROM stated GROUP BY name ORDER BY name;
INSERT INTO attribute_values
SELECT name, value, n FROM stated QUALIFY row_number() OVER (PARTITION BY name ORDER BY n DESC, value) <= 2000 ORDER BY name, n DESC, value;

CREATE OR REPLACE TEMP TABLE leaves AS
SELECT run_id, sid, codes, row_number() OVER (PARTITION BY run_id ORDER BY codes, sid) AS leaf
FROM (SELECT run_id, sid, any_value(codes) AS codes FROM sids GROUP BY ALL);

INSERT INTO sid_prefixes
SELECT run_id, leaf, level, array_to_string(codes[1:level], '-'), level = len(codes)
FROM (SELECT *, unnest(range(1, len(codes) + 1)) AS level FROM leaves) ORDER BY run_id, leaf, level;

-- Along a curve that visits squares of 256 x 256 quarter by quarter, so that a part of the map is few row groups.
INSERT INTO map_items
WITH spans AS (
    SELECT run_id, min(x) AS x0, greatest(max(x) - min(x), 1e-6) AS dx, min(y) AS y0, greatest(max(y) - min(y), 1e-6) AS dy
    FROM projection GROUP BY 1
), cells AS (
    SELECT p.run_id, k.item, p.x, p.y, l.leaf, l.codes[1] AS code_1,
           row_number() OVER (PARTITION BY p.run_id, l.codes[1] ORDER BY hash(p.item_id), p.item_id) AS place,
           floor((p.x - x0) / dx * 255)::INTEGER AS i, floor((p.y - y0) / dy * 255)::INTEGER AS j
    FROM projection p JOIN spans USING (run_id) JOIN sids s USING (run_id, item_id) JOIN known k USING (item_id) JOIN leaves l USING (run_id, sid)
)
SELECT run_id, item, x, y, leaf, code_1, place FROM cells
ORDER BY run_id, list_sum(list_transform(range(8), lambda b: (((i >> b) & 1) * 2 + ((j >> b) & 1)) << (2 * b))), item;

INSERT INTO map_values
WITH leaf_sizes AS (SELECT run_id, leaf, count(*) AS n FROM map_items GROUP BY ALL),
held AS (SELECT m.run_id, i.title, i.category, i.seller, i.brand FROM map_items m JOIN items i ON i.rowid = m.item),
named AS (
    SELECT run_id, 'category' AS field, category AS value, count(*) AS n FROM held GROUP BY ALL
    UNION ALL SELECT run_id, 'seller', seller, count(*) FROM held GROUP BY ALL
    UNION ALL SELECT run_id, 'brand', brand, count(*) FROM held GROUP BY ALL
)
SELECT * FROM (
    SELECT run_id, 'code' AS field, level, prefix AS value, sum(n)::BIGINT AS n FROM leaf_sizes JOIN sid_prefixes USING (run_id, leaf) GROUP BY ALL
    UNION ALL SELECT run_id, field, NULL, value, n FROM named WHERE value IS NOT NULL
    UNION ALL SELECT run_id, 'word', NULL, word, count(*) FROM (
        SELECT run_id, unnest(list_distinct(regexp_extract_all(lower(left(title, 1000)), '[\pL\pN]{2,}'))) AS word FROM held) GROUP BY ALL
) WHERE n >= 3
UNION ALL SELECT run_id, field, NULL, NULL, sum(n)::BIGINT FROM named WHERE value IS NOT NULL GROUP BY ALL
UNION ALL SELECT run_id, unnest(['code', 'word']), NULL, NULL, sum(n)::BIGINT FROM leaf_sizes GROUP BY run_id
ORDER BY ALL;

DROP TABLE asked; DROP TABLE known; DROP TABLE leaves; DROP TABLE stated; DROP MACRO whole;
