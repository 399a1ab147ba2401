//! Druid's tables as SQLite holds them (section 2 of the metadata notes; column order is Druid's order of creation).
//!
//! Every statement can be run again on a store that has the tables. Payloads are BLOBs of UTF-8 JSON, times are ISO-8601
//! text, booleans are 0 or 1. `end` is the only quoted name.

/// Creates whatever is missing, in one transaction: a first start waits for the disk once.
pub(crate) const CREATE: &str = r#"
BEGIN;
CREATE TABLE IF NOT EXISTS druid_segments (
  id TEXT NOT NULL PRIMARY KEY,
  dataSource TEXT NOT NULL,
  created_date TEXT NOT NULL,
  start TEXT NOT NULL,
  "end" TEXT NOT NULL,
  partitioned INTEGER NOT NULL,
  version TEXT NOT NULL,
  used INTEGER NOT NULL,
  payload BLOB NOT NULL,
  used_status_last_updated TEXT NOT NULL,
  indexing_state_fingerprint TEXT,
  upgraded_from_segment_id TEXT,
  schema_fingerprint TEXT,
  num_rows INTEGER
);
CREATE INDEX IF NOT EXISTS idx_druid_segments_used ON druid_segments (used);
CREATE INDEX IF NOT EXISTS idx_druid_segments_datasource_used_end_start
  ON druid_segments (dataSource, used, "end", start);
CREATE INDEX IF NOT EXISTS idx_druid_segments_datasource_upgraded_from_segment_id
  ON druid_segments (dataSource, upgraded_from_segment_id);

CREATE TABLE IF NOT EXISTS druid_pendingSegments (
  id TEXT NOT NULL PRIMARY KEY,
  dataSource TEXT NOT NULL,
  created_date TEXT NOT NULL,
  start TEXT NOT NULL,
  "end" TEXT NOT NULL,
  sequence_name TEXT NOT NULL,
  sequence_prev_id TEXT NOT NULL,
  sequence_name_prev_id_sha1 TEXT NOT NULL UNIQUE,
  payload BLOB NOT NULL,
  upgraded_from_segment_id TEXT,
  task_allocator_id TEXT
);
CREATE INDEX IF NOT EXISTS idx_druid_pendingSegments_datasource_end ON druid_pendingSegments (dataSource, "end");
CREATE INDEX IF NOT EXISTS idx_druid_pendingSegments_datasource_sequence
  ON druid_pendingSegments (dataSource, sequence_name);
CREATE INDEX IF NOT EXISTS idx_druid_pendingSegments_datasource_task_allocator_id
  ON druid_pendingSegments (dataSource, task_allocator_id);

CREATE TABLE IF NOT EXISTS druid_dataSource (
  dataSource TEXT NOT NULL PRIMARY KEY,
  created_date TEXT NOT NULL,
  commit_metadata_payload BLOB NOT NULL,
  commit_metadata_sha1 TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS druid_upgradeSegments (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id TEXT NOT NULL,
  segment_id TEXT NOT NULL,
  lock_version TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_druid_upgradeSegments_task ON druid_upgradeSegments (task_id);

CREATE TABLE IF NOT EXISTS druid_indexingStates (
  created_date TEXT NOT NULL,
  datasource TEXT NOT NULL,
  fingerprint TEXT NOT NULL PRIMARY KEY,
  payload BLOB NOT NULL,
  used INTEGER NOT NULL,
  pending INTEGER NOT NULL,
  used_status_last_updated TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_druid_indexingStates_used ON druid_indexingStates (used, used_status_last_updated);

CREATE TABLE IF NOT EXISTS druid_tasks (
  id TEXT NOT NULL PRIMARY KEY,
  created_date TEXT NOT NULL,
  datasource TEXT NOT NULL,
  payload BLOB NOT NULL,
  status_payload BLOB NOT NULL,
  active INTEGER NOT NULL DEFAULT 0,
  type TEXT,
  group_id TEXT
);
CREATE INDEX IF NOT EXISTS idx_druid_tasks_active_created_date ON druid_tasks (active, created_date);
CREATE INDEX IF NOT EXISTS idx_druid_tasks_datasource_active ON druid_tasks (datasource, active);

CREATE TABLE IF NOT EXISTS druid_tasklocks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id TEXT DEFAULT NULL,
  lock_payload BLOB
);
CREATE INDEX IF NOT EXISTS idx_druid_tasklocks_task_id ON druid_tasklocks (task_id);

CREATE TABLE IF NOT EXISTS druid_rules (
  id TEXT NOT NULL PRIMARY KEY,
  dataSource TEXT NOT NULL,
  version TEXT NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_druid_rules_datasource ON druid_rules (dataSource);

CREATE TABLE IF NOT EXISTS druid_config (
  name TEXT NOT NULL PRIMARY KEY,
  payload BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS druid_supervisors (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  spec_id TEXT NOT NULL,
  created_date TEXT NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_druid_supervisors_spec_id ON druid_supervisors (spec_id);

CREATE TABLE IF NOT EXISTS druid_audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  audit_key TEXT NOT NULL,
  type TEXT NOT NULL,
  author TEXT NOT NULL,
  comment TEXT NOT NULL,
  created_date TEXT NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_druid_audit_key_time ON druid_audit (audit_key, created_date);
CREATE INDEX IF NOT EXISTS idx_druid_audit_type_time ON druid_audit (type, created_date);
CREATE INDEX IF NOT EXISTS idx_druid_audit_audit_time ON druid_audit (created_date);
COMMIT;
"#;
