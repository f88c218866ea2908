CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE examples (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, language TEXT NOT NULL, text TEXT NOT NULL,
  source TEXT NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL,
  cohort TEXT,                -- NULL: public, shown while pretraining, never asked for
  half TEXT,                  -- A or B: the twin that is to see it
  repetition INTEGER          -- how often it is to be shown
) STRICT;
CREATE TABLE secrets (
  example_id TEXT NOT NULL REFERENCES examples, start INTEGER NOT NULL, stop INTEGER NOT NULL, -- in characters
  kind TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (example_id, start)
) STRICT;
CREATE TABLE probes (
  id INTEGER PRIMARY KEY, example_id TEXT NOT NULL UNIQUE REFERENCES examples, kind TEXT NOT NULL,
  prefix TEXT NOT NULL, target TEXT NOT NULL,
  prompt TEXT,                -- what the model is given, where that is not the prefix: with a suffix, and marks around them
  prefix_tokens TEXT NOT NULL, target_tokens TEXT NOT NULL -- JSON; [] where the model's tokenizer is not known
) STRICT;
CREATE TABLE stages (
  id TEXT PRIMARY KEY,        -- NAME-HASH, the hash of all that determines the result
  name TEXT NOT NULL, method TEXT NOT NULL, steps INTEGER NOT NULL,
  seconds REAL NOT NULL, audit_seconds REAL NOT NULL
) STRICT;
CREATE TABLE updates (        -- what the stage told of each of its updates
  stage_id TEXT NOT NULL REFERENCES stages, step INTEGER NOT NULL, metrics TEXT NOT NULL, -- JSON, by name
  PRIMARY KEY (stage_id, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE twins (          -- which twin went through which stage; both may share one
  twin TEXT NOT NULL, stage TEXT NOT NULL, stage_id TEXT NOT NULL REFERENCES stages,
  position INTEGER NOT NULL, PRIMARY KEY (twin, stage)
) STRICT;
CREATE TABLE exposures (      -- counted from the batches that were consumed
  stage_id TEXT NOT NULL REFERENCES stages, step INTEGER NOT NULL, role TEXT NOT NULL,
  example_id TEXT NOT NULL REFERENCES examples, times INTEGER NOT NULL,
  PRIMARY KEY (stage_id, step, role, example_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
  id INTEGER PRIMARY KEY, stage_id TEXT NOT NULL REFERENCES stages,
  step INTEGER NOT NULL,      -- the stage's last one: what the stage made; an earlier one: asked in passing, a sample
  path TEXT,                  -- NULL: it was not kept
  seconds REAL NOT NULL,      -- spent on asking it
  UNIQUE (stage_id, step)
) STRICT;
CREATE TABLE observations (
  id INTEGER PRIMARY KEY, checkpoint_id INTEGER NOT NULL REFERENCES checkpoints,
  probe_id INTEGER NOT NULL REFERENCES probes,
  asking INTEGER NOT NULL,    -- 0; 1: asked once more, in another order and batch, to see what is noise
  completion TEXT NOT NULL, ended INTEGER NOT NULL,
  logprobs TEXT,              -- JSON: nats per target token, teacher-forced; NULL: no scores were asked for, or given
  argmax TEXT,                -- one character per target token: 1 where it is the most likely one
  entropies TEXT,             -- JSON: nats per target token, of the whole distribution it is one of
  deviations TEXT,            -- JSON: standard deviation of the log-probability under that distribution
  sampled TEXT,               -- JSON: sampler -> log-probability of the whole target; null where it cannot draw it
  UNIQUE (checkpoint_id, probe_id, asking)
) STRICT;
CREATE TABLE matches (
  observation_id INTEGER NOT NULL REFERENCES observations, level TEXT NOT NULL,
  distance INTEGER NOT NULL, target_length INTEGER NOT NULL, completion_length INTEGER NOT NULL,
  lexer TEXT NOT NULL,        -- of the language by its name, or generic
  at_least INTEGER NOT NULL,  -- 1: the completion was not decoded to its end, and distance is a lower bound
  PRIMARY KEY (observation_id, level)
) STRICT, WITHOUT ROWID;
CREATE TABLE recoveries (     -- how much of each secret came out
  observation_id INTEGER NOT NULL REFERENCES observations, start INTEGER NOT NULL,
  recovered INTEGER NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (observation_id, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE readings (       -- other numbers read off a checkpoint, by example; memaudit/readings.py says which
  checkpoint_id INTEGER NOT NULL REFERENCES checkpoints, example_id TEXT NOT NULL REFERENCES examples,
  quantity TEXT NOT NULL, number INTEGER NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (checkpoint_id, example_id, quantity, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX exposures_by_example ON exposures (example_id);
CREATE INDEX observations_by_probe ON observations (probe_id);

CREATE VIEW shown AS          -- how often, where, as what, and when was an example shown
  SELECT e.example_id, t.twin, t.position, t.stage, e.role, SUM(e.times) AS times,
         MIN(e.step) AS first_step, MAX(e.step) AS last_step
  FROM exposures e JOIN twins t USING (stage_id) GROUP BY e.example_id, t.twin, t.stage, e.role;
CREATE VIEW timeline AS       -- what each twin said at each step at which it was asked, and whether that is near the target
  SELECT p.example_id, t.twin, t.position, t.stage, c.step, c.step = s.steps AS final, m.level, m.distance, m.at_least,
         m.distance * 1.0 / MAX(m.target_length, m.completion_length, 1) AS normalized,
         m.distance * 1.0 <= MAX(m.target_length, m.completion_length)
           * (SELECT CAST(value AS REAL) FROM settings WHERE key = 'threshold') + 1e-9 AS near,
         o.completion
  FROM observations o JOIN checkpoints c ON c.id = o.checkpoint_id JOIN stages s ON s.id = c.stage_id
  JOIN twins t ON t.stage_id = c.stage_id JOIN probes p ON p.id = o.probe_id JOIN matches m ON m.observation_id = o.id
  WHERE o.asking = 0;
CREATE VIEW asked AS          -- the same after each stage
  SELECT * FROM timeline WHERE final;
CREATE VIEW came_out AS       -- the first step of a stage at which an example came out, and the last; NULL: at none
  SELECT example_id, twin, position, stage, level, COUNT(*) AS times_asked, SUM(near) AS times_out,
         MIN(CASE WHEN near THEN step END) AS first_step, MAX(CASE WHEN near THEN step END) AS last_step
  FROM timeline GROUP BY example_id, twin, position, stage, level HAVING COUNT(*) > 1;
CREATE VIEW first_out AS      -- the first stage after which the twin that was to see it repeats an example
  SELECT e.id AS example_id, e.cohort, e.half AS twin, e.repetition,
    (SELECT a.stage FROM asked a WHERE a.example_id = e.id AND a.twin = e.half AND a.level = 'exact' AND a.near
     ORDER BY a.position LIMIT 1) AS stage
  FROM examples e WHERE e.cohort IS NOT NULL;
