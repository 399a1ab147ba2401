//! Projections: small tables that segments hold beside their rows, because the datasource's entry in the catalog asks for them (Druid's
//! `DataSourceMSQDestination.projections`).

use std::sync::Arc;

use henge_metadata::MetadataStore;
use henge_segment::{ProjectionSpec, SegmentError};
use henge_time::Granularity;
use serde_json::Value;

use crate::fault::Fault;
use crate::ingest::SegmentWork;
use crate::ingest::sketches::Sketches;

/// Reads Druid's JSON of projections; what is wrong with one is the fault of who asked for it.
pub fn specs(projections: &[Value]) -> Result<Vec<ProjectionSpec>, Fault> {
    let sketches = Arc::new(Sketches);
    let specs = projections.iter().map(|json| {
        let spec = ProjectionSpec::from_druid(json)?;
        Ok(spec.with_objects(sketches.clone()))
    });
    specs
        .collect::<Result<_, SegmentError>>()
        .map_err(|error| refused(&error))
}

fn refused(error: &SegmentError) -> Fault {
    Fault::druid_exception("INVALID_INPUT", error.to_string())
}

impl SegmentWork {
    /// Takes the projections that the catalog has for the datasource, and fails if the segments of the statement cannot hold them.
    pub fn with_catalog(mut self, metadata: &MetadataStore, granularity: &Granularity) -> Result<Self, Fault> {
        let listed = metadata.catalog_property(&self.datasource, "projections");
        let listed = listed
            .as_ref()
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        // An entry is the spec in a wrapper.
        self.projections = listed
            .iter()
            .map(|entry| entry.get("spec").unwrap_or(entry).clone())
            .collect();
        if self.projections.is_empty() {
            return Ok(self);
        }
        let schema = self.segment_schema()?;
        schema.validate().map_err(|error| refused(&error))?;
        for projection in &schema.projections {
            if let Some(coarser) = projection.coarser_than(granularity) {
                return Err(Fault::druid_exception(
                    "INVALID_INPUT",
                    format!(
                        "projection[{}] has granularity[{coarser}] which must be finer than or equal to segment granularity[{granularity}]",
                        projection.name()
                    ),
                ));
            }
        }
        Ok(self)
    }

    /// Names the projections, for the published segments; none where there are none.
    pub fn projection_names(&self) -> Option<Vec<String>> {
        let names = self
            .projections
            .iter()
            .filter_map(|spec| Some(spec.get("name")?.as_str()?.to_owned()));
        Some(names.collect()).filter(|names: &Vec<String>| !names.is_empty())
    }
}
