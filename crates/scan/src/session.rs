//! Settings and rules of interactive queries.

use std::sync::Arc;

use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::prelude::SessionConfig;

use crate::aggregate::AggregateOverSegments;
use crate::virtual_column::VirtualColumnsOfScans;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 8192;

/// Gives DataFusion's settings for interactive queries on so many threads.
pub fn interactive_session_config(threads: usize) -> SessionConfig {
    let config = SessionConfig::new()
        .with_information_schema(false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false);
    run_interactively(config, threads)
}

/// Gives the settings that a statement was planned with those for running it interactively on so many threads.
pub fn run_interactively(config: SessionConfig, threads: usize) -> SessionConfig {
    config
        .with_target_partitions(threads.max(1))
        .with_batch_size(BATCH_ROWS)
}

/// Adds the rules that make aggregation over segments fast to a session that will plan an interactive query. Doing it twice changes
/// nothing.
pub fn prepare_session(state: SessionState) -> SessionState {
    let rules = with_segment_rules(state.physical_optimizers());
    SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rules(rules)
        .build()
}

/// Adds the rule that evaluates functions of text on dictionaries, which tasks use too. Doing it twice changes nothing.
pub fn with_virtual_columns(state: SessionState) -> SessionState {
    let rules = insert(state.physical_optimizers(), Arc::new(VirtualColumnsOfScans));
    SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rules(rules)
        .build()
}

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Puts our rules where they belong among DataFusion's: behind those that answer from statistics, before exchanges are planned.
fn with_segment_rules(rules: &[Rule]) -> Vec<Rule> {
    // What is aggregated on ids is taken first.
    insert(
        &insert(rules, Arc::new(VirtualColumnsOfScans)),
        Arc::new(AggregateOverSegments),
    )
}

fn insert(rules: &[Rule], ours: Rule) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    if rules.iter().any(|rule| rule.name() == ours.name()) {
        return rules;
    }
    let behind = rules
        .iter()
        .position(|rule| rule.name() == "aggregate_statistics")
        .map_or(0, |at| at + 1);
    rules.insert(behind, ours);
    rules
}
