-- The one schema of a snapshot: what the engine writes, what the dashboard and other programs read.
-- A snapshot is a build product: change this file, raise SCHEMA_VERSION in snapshot.py, publish again.
-- Conventions: levels are 1-based; codes are 0-based integers; a prefix is the first l codes joined by '-'
-- ('17', '17-203', '17-203-88' = the whole sid). Shares are fractions. NULL means unknown, never zero.
-- [low, high] is the 95 % bootstrap interval over queries unless the column says otherwise.

-- What this file is. One row.
CREATE TABLE snapshot (
    snapshot_id VARCHAR NOT NULL,
    schema_version INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL,
    engine_version VARCHAR,
    dataset VARCHAR NOT NULL,              -- catalogue name, e.g. 'Bundled marketplace'
    fingerprint VARCHAR NOT NULL,          -- of the catalogue's content
    source VARCHAR,
    license VARCHAR,
    max_grade DOUBLE,
    relevant_grade DOUBLE,                 -- a grade at or above this is 'relevant'
    category_separator VARCHAR,
    language VARCHAR,                      -- ISO 639-1, whose stems stand for words, stated or detected; NULL: words as written
    derived VARCHAR[],                     -- item fields that are guesses, e.g. ['category']
    simulated VARCHAR[],                   -- fields or tables that are generated, e.g. ['image_embedding']
    oracle_auc DOUBLE,                     -- ceiling under label noise, where the truth is known
    n_items BIGINT, n_queries BIGINT, n_judgments BIGINT, n_interactions BIGINT,
    n_rejected BIGINT,                     -- input rows rejected at ingest
    default_run VARCHAR                    -- the run opened first
);

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,               -- '<name>-<hash8>', also the run's folder name
    name VARCHAR NOT NULL,
    method VARCHAR NOT NULL,               -- 'dsirm' | 'tiger' | 'dsi' | 'rkmeans' | an ablation, 'dsirm-...' | 'none' | 'imported'
    preset VARCHAR NOT NULL,
    seed INTEGER NOT NULL,
    config JSON NOT NULL,
    created_at TIMESTAMP NOT NULL,
    seconds DOUBLE,
    peak_mb DOUBLE,
    git_commit VARCHAR,
    versions JSON,                         -- {library: version}
    levels INTEGER,                        -- L; NULL for method 'none'
    sizes INTEGER[],                       -- K per level
    level1 VARCHAR,                        -- 'category' (forced) | 'kmeans' (no categories) | 'hash' (a control) | NULL
    ranker VARCHAR,                        -- whose score `scores.score` is: 'rich' (boosted) | 'sid' (the paper's MLP) | 'strong_gbm' | 'strong'
    baseline VARCHAR,                      -- whose `score_without_sid` is: 'strong_gbm' | 'strong', the same learner without SIDs
    signal_columns JSON,                   -- [{"name","signal","level"}]: what scores.signals holds; signal null: no SID is read
    generator VARCHAR,                     -- 'compact' | 'full'
    beam_width INTEGER,
    trie_fingerprint VARCHAR,
    evaluation VARCHAR,                    -- 'holdout' | 'cross_validation' | 'given' (imported scores) | 'none' (nobody judged)
    n_test_queries BIGINT,
    notes JSON,                            -- [sentence, ...]: pooled leaves, synthetic queries, low power ...
    lacks JSON                             -- {'judgments' | 'clicks' | 'queries' | 'categories': sentence}: what the catalogue
                                           -- has not, what is empty for it and what would fill it; NULL: imported
);
CREATE TABLE stages (run_id VARCHAR NOT NULL, stage VARCHAR NOT NULL, position INTEGER, seconds DOUBLE, peak_mb DOUBLE, cached BOOLEAN);
CREATE TABLE training (run_id VARCHAR NOT NULL, stage VARCHAR NOT NULL, step BIGINT NOT NULL, name VARCHAR NOT NULL, value DOUBLE);

-- ---------------------------------------------------------------- the catalogue
CREATE TABLE items (
    item_id VARCHAR NOT NULL, title VARCHAR NOT NULL, category VARCHAR, seller VARCHAR, brand VARCHAR,
    price DOUBLE, currency VARCHAR, description VARCHAR, attributes JSON, created_at TIMESTAMP, popularity DOUBLE,
    tier VARCHAR                           -- of the item's category: 'head' | 'torso' | 'tail'; NULL without category
);
CREATE TABLE categories (
    category VARCHAR NOT NULL,             -- full path
    name VARCHAR,                          -- last part
    parent VARCHAR, department VARCHAR,    -- path of the parent; first part
    depth INTEGER, n_items BIGINT,
    tier VARCHAR                           -- by cumulative item share: head = first 50 %, torso = next 30 %, tail = rest
);
CREATE TABLE sellers (
    seller VARCHAR NOT NULL, n_items BIGINT, n_categories BIGINT, n_brands BIGINT, price_median DOUBLE,
    size_group VARCHAR, age_group VARCHAR  -- as exposure's dimensions 'seller_size' and 'seller_age' name it
);
CREATE TABLE item_bands (                  -- price bands and ages as the audit cuts them; every item with a price or a date is in one
    kind VARCHAR NOT NULL,                 -- 'price' | 'age'
    name VARCHAR NOT NULL, currency VARCHAR NOT NULL, -- currency: '' where none is stated, and of ages
    low DOUBLE, high DOUBLE,               -- lowest and highest price in it
    first TIMESTAMP, last TIMESTAMP,       -- earliest and latest creation in it
    n_items BIGINT
);
CREATE TABLE queries (
    query_id VARCHAR NOT NULL, text VARCHAR NOT NULL,
    frequency DOUBLE,                      -- traffic in the log; 0 for queries that are judged or synthetic only
    tier VARCHAR,                          -- by thirds of the cumulative frequency that the dataset states: 'head' | 'torso' | 'tail'
    split VARCHAR,                         -- 'train' | 'valid' | 'test' (judged), 'log' (traffic only)
    source VARCHAR,                        -- 'log' | 'judged' | 'synthetic'
    seen BOOLEAN,                          -- the query itself was among the interactions used in training
    kind VARCHAR,                          -- generated marketplace only: 'brand_type', 'vernacular', ...
    n_judged BIGINT,
    category VARCHAR                       -- commonest category of its relevant or clicked items
);
CREATE TABLE judgments (
    query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, grade DOUBLE NOT NULL,
    source VARCHAR,                        -- 'human' | 'llm' | ...; 'implicit': read from the log, so it says what is clicked
    split VARCHAR, n_raters INTEGER,       -- 0 raters where implicit
    attractiveness DOUBLE, low DOUBLE, high DOUBLE, -- implicit: chance of a click of who looks, with its 95 % credible interval
    examined DOUBLE                        -- implicit: impressions x examination of their position
);
CREATE TABLE ratings (                     -- every judgment as it was given; `judgments` holds the mean of a pair's. No implicit ones
    query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, grade DOUBLE NOT NULL,
    source VARCHAR,                        -- 'llm' also for answers of 'engine judge' that are in no file of the catalogue
    rater VARCHAR                          -- who, as the file says it, or the model; NULL: not named
);
CREATE TABLE rater_agreement (             -- [low, high]: over queries. Fewer than 30 ratings in common are not compared, but for a judge
    kind VARCHAR NOT NULL,                 -- 'raters': two of them | 'others': one and the mean of the others | 'judge': a model and the mean of people
    rater VARCHAR NOT NULL, against VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,              -- 'percent' | 'kappa' | 'kappa_quadratic' (Cohen) | 'binary_percent' | 'binary_kappa': relevant or not
    value DOUBLE NOT NULL, low DOUBLE, high DOUBLE, n_pairs BIGINT NOT NULL, n_queries BIGINT NOT NULL
);

-- ---------------------------------------------------------------- how the catalogue came in
-- What ingest reported. imported_run NULL: of the catalogue's own files; else of the files of that imported run (sids, beams,
-- scores). `position` is the order of the report.
CREATE TABLE data_files (                  -- n_read = n_accepted + n_rejected + n_skipped
    imported_run VARCHAR, position INTEGER, file VARCHAR NOT NULL,
    "table" VARCHAR,                       -- the file of the contract that it is: 'items' | 'queries' | ...
    n_read BIGINT, n_accepted BIGINT, n_rejected BIGINT,
    n_skipped BIGINT                       -- passed over without being faulty: data_skipped says why
);
CREATE TABLE data_skipped (imported_run VARCHAR, position INTEGER, file VARCHAR NOT NULL, why VARCHAR NOT NULL, n_rows BIGINT);
CREATE TABLE data_decisions (              -- what was found out about a file rather than stated
    imported_run VARCHAR, position INTEGER, file VARCHAR NOT NULL, what VARCHAR NOT NULL, found VARCHAR, because VARCHAR,
    change VARCHAR,                        -- what to write to have it otherwise
    notable BOOLEAN                        -- it changes what values mean, or which are kept; else how bytes become a table
);
CREATE TABLE data_issues (                 -- one broken rule in one column of one file; a row may break several
    imported_run VARCHAR, position INTEGER, file VARCHAR NOT NULL, rule VARCHAR NOT NULL, "column" VARCHAR, n_rows BIGINT,
    costs VARCHAR,                         -- 'row': it is rejected | 'value': it is kept without the value
    examples VARCHAR[]                     -- 'file:line column value -> why', the first ones
);
CREATE TABLE data_notes (imported_run VARCHAR, position INTEGER, note VARCHAR NOT NULL);
CREATE TABLE rejects (                     -- rejected rows, whole: the first 1,000 of each file and rule
    imported_run VARCHAR, file VARCHAR NOT NULL, line BIGINT, rules VARCHAR, reason VARCHAR,
    content VARCHAR,                       -- JSON by the file's own columns; raw text where none could be told apart
    n_alike BIGINT                         -- rejected rows of the file that broke the same rules, here or not
);
CREATE TABLE data_columns (                -- columns of the stored catalogue's tables, vectors too
    "table" VARCHAR NOT NULL, position INTEGER, "column" VARCHAR NOT NULL, n_rows BIGINT, n_missing BIGINT
);
CREATE TABLE log_sums (                    -- the search log, whose rows are not in a snapshot, summed
    kind VARCHAR NOT NULL,                 -- 'all' | 'position' | 'day'
    "value" VARCHAR,                       -- the position, or YYYY-MM-DD; NULL: the rows that state none
    source VARCHAR,                        -- 'log' | 'synthetic': made from item fields
    n_rows BIGINT, impressions DOUBLE, clicks DOUBLE, purchases DOUBLE, n_queries BIGINT, n_items BIGINT
);

-- ---------------------------------------------------------------- semantic identifiers
CREATE TABLE sids (
    run_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    sid VARCHAR NOT NULL, codes INTEGER[] NOT NULL, code_1 INTEGER, code_2 INTEGER, code_3 INTEGER,
    forced BOOLEAN,                        -- level 1 came from the item's category
    residual_norms FLOAT[],                -- length L+1: norm before level 1, after 1, ... after L
    distance FLOAT[],                      -- length L: distance to the mean of its prefix cell at each level (latent space)
    n_sharing INTEGER                      -- items with exactly this sid, itself included
);
-- How categories were assigned to level-1 codes (empty where level 1 is k-means).
CREATE TABLE category_codes (run_id VARCHAR NOT NULL, category VARCHAR NOT NULL, code_1 INTEGER NOT NULL, code_name VARCHAR, merged BOOLEAN);
-- One row per prefix that exists, per level; plus the unused codes of level 1 (n_items = 0).
CREATE TABLE codes (
    run_id VARCHAR NOT NULL, level INTEGER NOT NULL, prefix VARCHAR NOT NULL, parent VARCHAR, code INTEGER NOT NULL,
    label VARCHAR,                         -- terms that set it apart from its siblings, ' · ' between
    label_score DOUBLE,                    -- chance that an item of it is nearer (title vector) to this label than to a sibling's; NULL: not asked
    label_items BIGINT,                    -- items that rests on: all of its items, or 50 of them
    terms JSON,                            -- [{"term","weight","support"}]: c-TF-IDF within the parent; support = share of items with it
    n_items BIGINT NOT NULL, n_sids BIGINT,
    purity DOUBLE,                         -- share of its items in its commonest leaf category
    category_entropy DOUBLE,               -- bits
    top_category VARCHAR,
    n_categories BIGINT, n_sellers BIGINT, n_brands BIGINT, price_low DOUBLE, price_median DOUBLE, price_high DOUBLE,
    exposure DOUBLE, exposure_without DOUBLE, -- share of exposure of its items, discount 'log2'
    n_queries BIGINT,                      -- queries with a beam through this prefix
    query_weight DOUBLE,                   -- their share of traffic
    mean_distance DOUBLE,                  -- of its items to the cell mean
    centroid FLOAT[],                      -- mean latent vector of its items
    dead BOOLEAN, under_used BOOLEAN       -- no items; fewer than a quarter of the even share of its parent
);
CREATE TABLE sid_sharing (                 -- only sids held by two items or more
    run_id VARCHAR NOT NULL, sid VARCHAR NOT NULL, n_items BIGINT, n_categories BIGINT, n_conflicts BIGINT,
    harmful BOOLEAN,                       -- different category, or graded differently for the same query
    reason VARCHAR                         -- 'categories' | 'grades' | 'alike' | 'unjudged'
);
-- Codebook health. level NULL = whole sid. 'verdict': 'good' | 'warn' | 'bad' | 'info'.
CREATE TABLE health (
    run_id VARCHAR NOT NULL, level INTEGER, metric VARCHAR NOT NULL, value DOUBLE, low DOUBLE, high DOUBLE, n BIGINT,
    threshold DOUBLE, verdict VARCHAR, by_construction BOOLEAN, note VARCHAR
);

-- What a run has given SIDs: generation 0 is what it was trained on, the later ones came by 'engine assign'. No published
-- sid changes; every other table speaks of generation 0. Empty for imported runs.
CREATE TABLE generations (
    run_id VARCHAR NOT NULL, generation INTEGER NOT NULL, created_at TIMESTAMP NOT NULL,
    source VARCHAR,                        -- name of the folder they came from; NULL: the catalogue
    content VARCHAR,                       -- fingerprint of their rows
    encoder VARCHAR,                       -- model that encoded the titles; NULL: vectors came with the data
    n_items BIGINT NOT NULL,               -- given SIDs in this generation
    n_known BIGINT NOT NULL,               -- rows of the folder that had one already and kept it
    n_new_sids BIGINT NOT NULL,            -- distinct sids that no earlier item holds
    n_unknown_category BIGINT,             -- no level-1 code belongs to their category: nearest code; NULL: level 1 is not forced
    median_distance DOUBLE, median_distance_base DOUBLE, -- of these items to their sid's vector; of generation 0's
    beyond_p95 DOUBLE,                     -- share farther than the 95th percentile of generation 0
    items_per_sid_before DOUBLE, items_per_sid_after DOUBLE, -- all items so far / their distinct sids
    shared_before DOUBLE, shared_after DOUBLE, -- share of items whose sid another holds
    largest_bucket_before BIGINT, largest_bucket_after BIGINT -- most items under one sid; before: NULL for generation 0
);
CREATE TABLE assigned (                    -- the items of generations 1, 2, ...; none of them is in items or sids
    run_id VARCHAR NOT NULL, generation INTEGER NOT NULL, item_id VARCHAR NOT NULL, title VARCHAR NOT NULL,
    category VARCHAR, seller VARCHAR, brand VARCHAR, price DOUBLE, currency VARCHAR,
    sid VARCHAR NOT NULL, codes INTEGER[] NOT NULL,
    distance DOUBLE,                       -- norm of the last residual: from the latent to the sid's vector
    distance_percentile DOUBLE,            -- share of generation 0's items at most as far, 0..1
    new_sid BOOLEAN,                       -- no earlier generation holds it
    bucket_before BIGINT, bucket_after BIGINT -- items under the sid before this generation, and with it
);

-- ---------------------------------------------------------------- what the generator predicts
CREATE TABLE beams (
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, rank INTEGER NOT NULL, sid VARCHAR NOT NULL, codes INTEGER[] NOT NULL,
    log_prob DOUBLE,                       -- of the whole sid, renormalised over existing children; NULL: not given (imported)
    level_log_probs DOUBLE[],               -- per level, sum = log_prob
    n_items BIGINT                         -- items holding the sid
);
CREATE TABLE beam_nodes (                  -- the 20 best prefixes of every level, pruned ones included
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, level INTEGER NOT NULL, prefix VARCHAR NOT NULL, parent VARCHAR,
    log_prob DOUBLE NOT NULL,              -- cumulative
    step_log_prob DOUBLE,                  -- of this level given the parent
    rank INTEGER NOT NULL, kept BOOLEAN NOT NULL, n_items BIGINT
);
CREATE TABLE free_beams (                  -- unconstrained decoding, for comparison
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, rank INTEGER NOT NULL, sid VARCHAR NOT NULL, log_prob DOUBLE, valid BOOLEAN
);

-- ---------------------------------------------------------------- relevance
-- score             of runs.ranker: an MLP's ordinal logit, or the grade that boosted trees predict
-- score_without_sid of runs.baseline, trained apart: every with / without claim
-- score_sid_off     of runs.ranker with no match and every other SID signal at its query's mean: every explanation
CREATE TABLE scores (
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    score DOUBLE NOT NULL, score_without_sid DOUBLE, score_sid_off DOUBLE, -- NULL: not given (imported)
    expected_grade DOUBLE, expected_grade_without_sid DOUBLE,
    rank INTEGER, rank_without_sid INTEGER, first_stage_rank INTEGER, -- NULL where not retrieved
    retrieved BOOLEAN NOT NULL, judged BOOLEAN NOT NULL,
    match_level INTEGER, beam_rank INTEGER,   -- deepest agreement 0..L with any beam; the best-ranked beam with it (1-based)
    matched_prefix VARCHAR,                   -- the agreeing prefix; NULL at level 0
    dm DOUBLE, mm_dm DOUBLE, mm_missing DOUBLE, ct DOUBLE,
    qs DOUBLE, qs_numbers DOUBLE, qs_coverage DOUBLE, qs_rare_coverage DOUBLE, qs_near DOUBLE, qs_rare_near DOUBLE,
    qs_missing_near DOUBLE, qs_rarest_hit DOUBLE, qs_rarest_miss DOUBLE, qs_order DOUBLE, qs_first_place DOUBLE,
    qs_place DOUBLE, qs_jaccard DOUBLE, qs_title_share DOUBLE, qs_title_words DOUBLE, qs_words DOUBLE,
    qs_first_word DOUBLE, qs_last_word DOUBLE, qs_last_place DOUBLE, qs_fields DOUBLE, -- lexical columns: docs/method.md, 3.2
    signals FLOAT[]                           -- values of runs.signal_columns; NULL for an MLP
);
-- exact Shapley, of the first retrieval.explained (20) pairs of either ranking and of judged ones; feature: dm, mm_dm, ct, qs, own (boosted: feedback on the very item, its own words), and sid_1 ... sid_L (MLP) or sid_<level>.<signal> (boosted), e.g. sid_2.memory
CREATE TABLE contributions (
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, feature VARCHAR NOT NULL, value DOUBLE NOT NULL
);
CREATE TABLE reference_points (            -- what contributions are measured from: the query's mean candidate, match level 0
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, ranker VARCHAR NOT NULL, score DOUBLE NOT NULL,
    dm DOUBLE, mm_dm DOUBLE, mm_missing DOUBLE, ct DOUBLE,
    qs DOUBLE, qs_numbers DOUBLE, qs_coverage DOUBLE, qs_rare_coverage DOUBLE, qs_near DOUBLE, qs_rare_near DOUBLE,
    qs_missing_near DOUBLE, qs_rarest_hit DOUBLE, qs_rarest_miss DOUBLE, qs_order DOUBLE, qs_first_place DOUBLE,
    qs_place DOUBLE, qs_jaccard DOUBLE, qs_title_share DOUBLE, qs_title_words DOUBLE, qs_words DOUBLE,
    qs_first_word DOUBLE, qs_last_word DOUBLE, qs_last_place DOUBLE, qs_fields DOUBLE,
    signals FLOAT[]                        -- of runs.signal_columns, as in scores
);
CREATE TABLE ranker_weights (              -- float64 weights, so that a score can be evaluated without torch
    run_id VARCHAR NOT NULL, ranker VARCHAR NOT NULL, name VARCHAR NOT NULL, shape INTEGER[] NOT NULL, "values" DOUBLE[] NOT NULL
);

-- ---------------------------------------------------------------- evaluation (test queries unless the segment says otherwise)
-- segment: 'all', 'seen', 'new', 'tier=head', 'category_tier=tail', 'split=train' ...
-- metric: 'auc', 'ndcg@10', 'within_query_auc', 'precision', 'recall' with prefix '<ranker>.' (MLPs: weak, strong, control, sid,
-- placebo, naive; boosted: plain_gbm, strong_gbm, <signal>_gbm, <signal>_twin, rich, twins, rich_twins, rich_placebo, rich_naive; cosine), and 'hit@5.level_1' ..., 'item_hit@5.level_1' (by item: 1 / items under the prefix) ..., 'validity', 'recall@200', 'beam_diversity', 'prefix_survival.level_1' ...
CREATE TABLE metrics (run_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, segment VARCHAR NOT NULL, value DOUBLE, low DOUBLE, high DOUBLE, n BIGINT);
CREATE TABLE comparisons (                 -- paired on the same queries: ranker minus baseline
    run_id VARCHAR NOT NULL, ranker VARCHAR NOT NULL, baseline VARCHAR NOT NULL, metric VARCHAR NOT NULL, segment VARCHAR NOT NULL,
    difference DOUBLE, low DOUBLE, high DOUBLE, p_value DOUBLE, n BIGINT
);
-- The newest ablation whose runs are all in this snapshot: means over seeds, [low, high] over test queries. Empty without one.
CREATE TABLE ladder (
    method VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,              -- 'auc', 'auc_lift' (ranker minus baseline), 'ndcg@10', 'hit@5', 'item_hit@5', 'stability' (adjusted Rand of two seeds), 'seconds', 'peak_mb', and measures of health
    ranker VARCHAR, baseline VARCHAR, segment VARCHAR, level INTEGER, -- NULL where they do not apply
    value DOUBLE, low DOUBLE, high DOUBLE,
    seed_sd DOUBLE,                        -- standard deviation over seeds
    n_seeds INTEGER, n BIGINT,
    by_construction BOOLEAN, served BOOLEAN -- served: the ranker is the run's own
);
CREATE TABLE method_comparisons (          -- AUC of method minus baseline_method, mean over seeds, paired by query and seed
    method VARCHAR NOT NULL, baseline_method VARCHAR NOT NULL, ranker VARCHAR NOT NULL, segment VARCHAR NOT NULL,
    difference DOUBLE, low DOUBLE, high DOUBLE, p_value DOUBLE,
    p_holm DOUBLE,                         -- Holm over all rows of the segment
    low_seeds DOUBLE, high_seeds DOUBLE, p_seeds DOUBLE, p_seeds_holm DOUBLE, -- queries and seeds redrawn; NULL with one seed
    n_seeds INTEGER, n BIGINT
);
CREATE TABLE query_metrics (               -- per judged query, with and without SIDs
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, value DOUBLE, value_without DOUBLE, difference DOUBLE
);

-- ---------------------------------------------------------------- audit
-- discount: 'log2' (1/log2(1+rank)), 'top10', 'click' (position-based click model).
-- dimension: 'seller', 'category', 'brand', 'price_band', 'age', 'seller_size', 'seller_age'.
CREATE TABLE exposure (
    run_id VARCHAR NOT NULL, discount VARCHAR NOT NULL, dimension VARCHAR NOT NULL, "value" VARCHAR NOT NULL,
    share DOUBLE, share_without DOUBLE, difference DOUBLE, low DOUBLE, high DOUBLE, p_value DOUBLE, q_value DOUBLE,
    n_items BIGINT, catalogue_share DOUBLE,
    merit DOUBLE, n_merit_pairs BIGINT,    -- share of relevance among judged retrieved pairs; how many pairs that rests on
    revenue_share DOUBLE, revenue_share_without DOUBLE, -- exposure x price, a proxy
    n_queries BIGINT, effective_n DOUBLE,  -- queries where it appears; (sum w)^2 / sum w^2 of them
    verdict VARCHAR                        -- 'gains' | 'loses' with ', clear' | ', clear but tiny' | ', could be chance'; or
                                           -- 'unchanged' | 'n too small'
);
CREATE TABLE exposure_concentration (
    run_id VARCHAR NOT NULL, discount VARCHAR NOT NULL, dimension VARCHAR NOT NULL, metric VARCHAR NOT NULL, -- 'hhi','gini','top10_share'
    value DOUBLE, value_without DOUBLE, difference DOUBLE, low DOUBLE, high DOUBLE
);
-- Why a value's exposure changed, told twice; the rows of each telling sum exactly to exposure.difference. A mover's change is
-- split equally over the items it overtook (or that overtook it), and each such part over the features in proportion to the
-- differences of contributions that favour the winner. Values that moved nowhere have no rows; no row: nothing of that part.
CREATE TABLE causes (
    run_id VARCHAR NOT NULL, discount VARCHAR NOT NULL, dimension VARCHAR NOT NULL, "value" VARCHAR NOT NULL,
    told VARCHAR NOT NULL,                 -- 'signal': by level and signal of SIDs | 'prefix': by the winner's prefix
    part VARCHAR NOT NULL,                 -- 'through SIDs' | 'through SIDs, part not stored' (below the explained places) |
                                           -- 'not through SIDs' | 'not explained'
    level INTEGER,                         -- of the SID, where it is through SIDs
    signal VARCHAR,                        -- told by 'signal' and through SIDs; NULL for an MLP
    prefix VARCHAR,                        -- told by 'prefix' and through SIDs; NULL: all prefixes but the 12 largest
    gain DOUBLE, loss DOUBLE, net DOUBLE,  -- of exposure share: >= 0, <= 0, their sum
    n_queries BIGINT, n_pairs BIGINT       -- where it has a part; n_queries NULL for the other prefixes, whose queries overlap
);
-- What mainly decides a ranking: contributions of the pairs that the served ranking puts among the first 20 of a query with
-- traffic, each weighed by how often its query is asked.
CREATE TABLE drivers (
    run_id VARCHAR NOT NULL,
    cohort VARCHAR NOT NULL,               -- 'all' | 'category' | 'department' | 'tier' (of the category) | 'seller' | 'moved'
    "value" VARCHAR NOT NULL,              -- which; moved: 'gained' | 'lost' | 'unmoved' against the ranking without SIDs
    feature VARCHAR NOT NULL,              -- as in contributions
    mean DOUBLE, mean_absolute DOUBLE,     -- of the contribution, in units of the score
    share DOUBLE,                          -- of the cohort's mean absolute contributions; sums to 1
    n_pairs BIGINT, n_queries BIGINT
);
-- Every judged pair at or above relevant_grade: is it on page one, and if not, where was it lost?
CREATE TABLE loss_ledger (
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, grade DOUBLE,
    verdict VARCHAR NOT NULL,              -- 'found' (rank <= 10) | 'not retrieved' | 'lost in the beam' | 'outranked'
    level INTEGER,                         -- at which the beam lost it
    feature VARCHAR,                       -- outranked: where it falls shortest of the mean of page one; sid_<level>: all its signals together
    rank INTEGER, rank_without_sid INTEGER,
    category VARCHAR, category_tier VARCHAR, query_tier VARCHAR
);
CREATE TABLE coverage (
    run_id VARCHAR NOT NULL, category VARCHAR NOT NULL, tier VARCHAR, n_items BIGINT,
    codes_owned BIGINT, codes_shared BIGINT, -- whole sids held by this category alone; shared with another
    own_level1 BOOLEAN,                    -- a level-1 code of its own
    utilisation DOUBLE,                    -- distinct sids / items
    aliasing DOUBLE,                       -- share of its items whose sid is shared
    purity DOUBLE,                         -- mean purity of its items' level-2 prefixes towards it
    auc_lift DOUBLE, low DOUBLE, high DOUBLE, n_queries BIGINT, -- its own, over its own test queries; NULL lift: too few
    pooled_lift DOUBLE, pooled_low DOUBLE, pooled_high DOUBLE, pooled_n BIGINT, -- over its whole department's
    has_sid BIGINT, in_beam BIGINT, in_top_k BIGINT, -- the funnel, in items: holds a SID, that some beam is, and in the top 10 of some query
    unshared BIGINT,                       -- items whose SID no other holds; no step of the funnel
    shown BIGINT,                          -- in the top 10 of some query, whether a beam is its SID or not
    protected VARCHAR,                     -- 'yes' | 'no' | 'n too small'
    judged_by VARCHAR,                     -- by which lift: 'category' | 'department'; NULL: by none
    reason VARCHAR
);
-- Simulated online effect: the logged query mix replayed under both rankings through a click model. A simulation.
CREATE TABLE online (
    run_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,               -- 'uctr': share of sessions with a click; 'uctcvr': with a purchase (proxies: no users)
    scenario VARCHAR NOT NULL,             -- 'estimate' (headline) | 'neutral' | 'alike' | 'beyond'
    decay DOUBLE,                          -- examination(k) = k^-decay in this row; (metric, scenario, decay) is unique
    value DOUBLE, value_without DOUBLE,    -- share of sessions, with and without SIDs
    difference DOUBLE, low DOUBLE, high DOUBLE, -- 'estimate': neutral's difference, interval spanning all scenarios
    relative DOUBLE, relative_low DOUBLE, relative_high DOUBLE, -- difference / value_without
    sessions_per_arm DOUBLE,               -- A/B test, 80 % power, 5 %: to see the difference; NULL where it is 0
    sessions_per_arm_cautious DOUBLE,      -- to see the interval's end nearest 0; NULL where the interval holds 0
    judged DOUBLE, shown DOUBLE, unmeasured DOUBLE, -- attention (with SIDs) by what attractiveness rests on; sums to 1
    judged_without DOUBLE, shown_without DOUBLE, unmeasured_without DOUBLE,
    changed DOUBLE,                        -- share of attention on slots that show another item
    examination VARCHAR,                   -- 'fitted' | 'stated'
    attractiveness VARCHAR,                -- 'fitted' | 'stated' (no usable log: only ratios mean something)
    slots INTEGER, n_queries BIGINT, effective_n DOUBLE
);
CREATE TABLE click_model (
    run_id VARCHAR NOT NULL,
    parameter VARCHAR NOT NULL,            -- 'decay' | 'examination' (as replayed) | 'examination_free' (each slot its own: a check)
                                           -- | 'attractiveness' | 'conversion' | 'unmeasured_neutral' | 'unmeasured_alike'
    key VARCHAR,                           -- slot '1'..; 'grade 2'; 'first 3; off the page' (alike: with SIDs; without)
    value DOUBLE, low DOUBLE, high DOUBLE,
    n BIGINT,                              -- clicks on moved pairs | impressions | examined impressions | clicks | unmeasured pairs
    source VARCHAR                         -- 'fitted' | 'stated'
);
-- What should I look at first: a headline for every kind of harm that could be measured, found or not, the most urgent first,
-- each followed by its worst members. Bars: engine/audit/severity.py.
CREATE TABLE findings (
    run_id VARCHAR NOT NULL, position INTEGER NOT NULL,
    kind VARCHAR NOT NULL,                 -- 'queries' | 'page one' | 'sellers' | 'categories' | 'brands' | 'price bands' |
                                           -- 'new and old items' | 'coverage' | 'sharing' | 'health'
    member INTEGER NOT NULL,               -- 0: the headline of its kind; 1, 2, 3: the worst of it
    severity VARCHAR NOT NULL,             -- 'act' | 'watch' | 'note' | 'unknown' (n too small) | 'good'
    title VARCHAR NOT NULL, detail VARCHAR,
    n BIGINT, of_n BIGINT,                 -- headline: how many, of how many that were looked at
    absolute DOUBLE,                       -- the loss weighed by traffic: of all exposure, of mean nDCG@10 over all searches
    relative DOUBLE,                       -- the loss as a part of what is there without SIDs; health: distance from the bar
    low DOUBLE, high DOUBLE,               -- of absolute; queries' headline: of the mean change, signed
    traffic DOUBLE,                        -- share of all searches (or of all exposure) that it touches
    sure BOOLEAN,                          -- the loss is no chance find; NULL: n too small
    page VARCHAR NOT NULL, params JSON     -- evidence: page url_path and its query parameters
);
CREATE TABLE stories (
    run_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,                 -- 'example' | 'won' | 'lost' | 'ambiguous' (of no item)
    query_id VARCHAR NOT NULL, item_id VARCHAR, sentence VARCHAR NOT NULL,
    rank INTEGER, rank_without_sid INTEGER, matched_prefix VARCHAR,
    sid DOUBLE, other DOUBLE               -- the item's contributions less the mean of those it passed, or that passed it
);

-- ---------------------------------------------------------------- the map
CREATE TABLE projection (run_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, x FLOAT NOT NULL, y FLOAT NOT NULL, landmark BOOLEAN);
CREATE TABLE projection_kept (             -- how faithful the map is around an item; of all items, or of 20,000 drawn by category
    run_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    kept DOUBLE NOT NULL                   -- share of its true nearest neighbours (projection_info.neighbours of them) kept on the map
);
CREATE TABLE projection_info (
    run_id VARCHAR NOT NULL, seed INTEGER, landmarks BIGINT, parameters JSON,
    trustworthiness DOUBLE, neighbour_preservation DOUBLE, n_sampled BIGINT, neighbours INTEGER
);

-- ---------------------------------------------------------------- what pages ask often
-- Counted from the tables above when a snapshot is built (engine/store/derived.sql), so that no page reads all pairs or all
-- items again. Items and queries are named by the rowid that they have in this file. Programs ask the tables above: these
-- may change with any version.

CREATE TABLE ranked_pairs (                -- pairs that exposure counts: ranked with and without SIDs, for a query with traffic; by item
    run_id VARCHAR NOT NULL, item BIGINT NOT NULL, query BIGINT NOT NULL, rank INTEGER NOT NULL, rank_without_sid INTEGER NOT NULL,
    matched_prefix VARCHAR
);
CREATE TABLE ranked_queries (              -- queries of ranked_pairs
    run_id VARCHAR NOT NULL, query BIGINT NOT NULL, query_id VARCHAR NOT NULL,
    weight DOUBLE NOT NULL,                -- how often it is asked; 1 where no query has traffic
    n_pairs BIGINT NOT NULL, deepest INTEGER NOT NULL, -- pairs, and the largest rank among them
    log2 DOUBLE NOT NULL, top10 DOUBLE NOT NULL, click DOUBLE NOT NULL, -- exposure of its pairs by discount
    -- exposure x price with and without SIDs, in the commonest currency
    log2_revenue DOUBLE NOT NULL, log2_revenue_without DOUBLE NOT NULL, top10_revenue DOUBLE NOT NULL,
    top10_revenue_without DOUBLE NOT NULL, click_revenue DOUBLE NOT NULL, click_revenue_without DOUBLE NOT NULL
);
CREATE TABLE item_reach (                  -- items that some query ranks or some beam reaches
    run_id VARCHAR NOT NULL, item BIGINT NOT NULL, best_rank INTEGER, best_rank_without INTEGER,
    n_beams BIGINT NOT NULL,               -- stored queries with its SID in a beam
    change DOUBLE                          -- of its share of exposure, discount log2, in shares of an average item
);
CREATE TABLE judged_scores (               -- scores of rated and judged pairs
    run_id VARCHAR NOT NULL, query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, score DOUBLE NOT NULL, expected_grade DOUBLE,
    rank INTEGER, rank_without_sid INTEGER, retrieved BOOLEAN NOT NULL,
    sid DOUBLE                             -- sum of the contributions of SIDs; NULL: not stored
);
CREATE TABLE rated_pairs (                 -- pairs of `ratings`; people: all that is no language model
    query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    people DOUBLE, n_ratings BIGINT NOT NULL, lowest DOUBLE, highest DOUBLE, -- mean, number and range of people's
    judge DOUBLE                           -- mean of language models'
);
CREATE TABLE disputed_pairs (              -- pairs whose grade by people somebody disputes
    run_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,                 -- by whom: 'ranking' (the served one) | 'judge' (a language model) | 'people' (one another)
    query_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    people DOUBLE, n_ratings BIGINT, lowest DOUBLE, highest DOUBLE, judge DOUBLE, -- as in rated_pairs
    expected_grade DOUBLE, rank INTEGER,
    place BIGINT, n_judged BIGINT,         -- ranking: its place by score among so many of the query's rated pairs
    against BIGINT, others BIGINT,         -- ranking: items of the other side of relevant that stand wrongly, and how many there are
    misplaced DOUBLE,                      -- ranking: that share; else grades apart
    sure DOUBLE                            -- ranking: its lower 95 % end by Wilson; else grades apart from the nearest rating
);
CREATE TABLE title_lengths (words BIGINT NOT NULL, n_items BIGINT NOT NULL); -- items by the words of their title
CREATE TABLE item_attributes (name VARCHAR NOT NULL, n_items BIGINT NOT NULL, n_values BIGINT NOT NULL); -- stated in a word or number
CREATE TABLE attribute_values (name VARCHAR NOT NULL, "value" VARCHAR NOT NULL, n_items BIGINT NOT NULL); -- the 2,000 commonest of each
CREATE TABLE sid_prefixes (                -- every prefix of every SID that an item holds
    run_id VARCHAR NOT NULL, leaf INTEGER NOT NULL, -- the SID, numbered by its codes
    level INTEGER NOT NULL, prefix VARCHAR NOT NULL,
    whole BOOLEAN NOT NULL                 -- it is the SID itself
);
CREATE TABLE map_items (                   -- items with a place on the map and a SID, neighbours on the map near each other
    run_id VARCHAR NOT NULL, item BIGINT NOT NULL, x FLOAT NOT NULL, y FLOAT NOT NULL,
    leaf INTEGER NOT NULL,                 -- its SID in sid_prefixes
    code_1 INTEGER, place INTEGER NOT NULL -- its turn, from 1, when items of this first code are drawn
);
CREATE TABLE map_values (                  -- how many items on the map carry what: 'code' with its level, 'category', 'seller', 'brand', 'word'
    run_id VARCHAR NOT NULL, field VARCHAR NOT NULL, level INTEGER,
    "value" VARCHAR,                       -- those of three items or more; NULL: items that have the field at all
    n_items BIGINT NOT NULL
);
