//! SELECT as a task: stages, then rows into the report.

use std::sync::Arc;

use henge_exchange::{KeyRange, KeySpec, RangeReader, RunSet};
use henge_sql::{OutputColumn, SqlType};
use serde_json::Value;

use crate::controller::results::ResultFormat;
use crate::controller::settings::TaskSettings;
use crate::controller::{Controller, Failure};
use crate::fault::Fault;
use crate::limits;
use crate::report::{ReportResults, StagePhase};
use crate::runner::AttemptBudget;
use crate::stage::StageOutput;
use crate::stage::describe::definitions;
use crate::stage::graph::Destination;

impl Controller {
    pub(super) async fn select(&self, settings: &TaskSettings) -> Result<(), Failure> {
        self.live.start();
        let (stages, context) = self.plan(settings).await?;
        self.describe(settings, &stages, Destination::Report, || {
            definitions(&stages, &self.planned, &self.task_id, settings.workers)
        })?;
        // The answer keeps the order in which the last stage yields it.
        let end = self
            .run_stages(
                settings,
                &stages,
                &context,
                &KeySpec::mix(),
                &AttemptBudget::of(&self.task_id),
            )
            .await?;
        let mut results = self.results(end.output.clone()).await?;
        self.live.update(|report| {
            if let Some(last) = report.stages.last() {
                name_complex_types(&mut results.columns, &self.planned.native, &last.definition.signature);
            }
            report.results = Some(results);
        });
        self.live.phase(end.output.stage, StagePhase::Finished);
        Ok(())
    }

    async fn results(&self, output: Arc<StageOutput>) -> Result<ReportResults, Failure> {
        let store = self.services.run_store.clone();
        let columns = self.planned.columns.clone();
        let format = ResultFormat::read(&self.planned.context);
        let memory = usize::try_from(self.services.config.memory_bytes / 8).unwrap_or(usize::MAX);
        let bytes_max = memory.min(limits::REPORT_RESULT_BYTES_MAX);
        let cancel = self.cancel.token().clone();
        let read = tokio::task::spawn_blocking(move || -> Result<ReportResults, Fault> {
            let sets: Vec<&RunSet> = output.sets.iter().collect();
            let everything = KeyRange::everything(output.rows());
            let reader = RangeReader::unordered(&output.schema, &output.key, &sets, &everything, store.as_ref())?;
            let mut results = ReportResults {
                columns,
                rows: Vec::new(),
                truncated: false,
            };
            let mut bytes = 0;
            for batch in reader {
                let batch = batch?;
                if cancel.is_cancelled() {
                    break;
                }
                // A rendered value takes several times the bytes of an Arrow one.
                bytes += 4 * henge_exchange::batch_bytes(&batch) + batch.num_rows() * row_bytes(&results.columns);
                if bytes > bytes_max {
                    results.truncated = true;
                    break;
                }
                results.rows.extend(format.rows(&batch, &results.columns)?);
            }
            Ok(results)
        });
        let results = read
            .await
            .map_err(|panic| Fault::unknown(format!("reading the results failed: {panic}")))??;
        match self.cancel.fault() {
            Some(fault) => Err(fault.into()),
            None => Ok(results),
        }
    }
}

/// Gives complex columns the types that the last stage has for them: a report names sketches by the aggregator that built them
/// (`HLLSketchBuild`), where interactive answers name what they are.
fn name_complex_types(columns: &mut [OutputColumn], native: &Value, signature: &[(String, String)]) {
    let mappings = native.pointer("/0/columnMappings").and_then(Value::as_array);
    for (column, mapping) in columns.iter_mut().zip(mappings.into_iter().flatten()) {
        let found = mapping
            .get("queryColumn")
            .and_then(Value::as_str)
            .and_then(|name| signature.iter().find(|(known, _)| known == name))
            .and_then(|(_, kind)| kind.strip_prefix("COMPLEX<")?.strip_suffix('>'));
        if let (SqlType::Complex(name), Some(found)) = (&mut column.sql_type, found) {
            *name = found.into();
        }
    }
}

fn row_bytes(columns: &[OutputColumn]) -> usize {
    std::mem::size_of::<Vec<serde_json::Value>>() + columns.len() * std::mem::size_of::<serde_json::Value>()
}
