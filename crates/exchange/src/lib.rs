//! The exchange between stages: sorted runs, key samples, range cuts and merges. No DataFusion, no async.
