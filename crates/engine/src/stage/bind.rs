//! Binding a plan template to one task: which partitions of which leaves the task reads, and the fresh instance that reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions, reset_plan_states};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use henge_exchange::KeyRange;
use henge_scan::SegmentScanExec;

use crate::stage::extern_scan::ExternScanExec;
use crate::stage::input::{StageInputExec, StageRange};
use crate::stage::{LeafBinding, LeafData, StageOutput, TaskDescriptor};

fn downcast<T: 'static>(plan: &dyn ExecutionPlan) -> Option<&T> {
    (plan as &dyn std::any::Any).downcast_ref::<T>()
}

/// Makes the descriptors of a stage: one a partition. `ranges` are the cut outputs of earlier stages, by stage number; a stage
/// that is not in it is read whole by every task.
pub fn descriptors(
    template: &Arc<dyn ExecutionPlan>,
    ranges: &BTreeMap<u32, Vec<KeyRange>>,
) -> Result<Vec<TaskDescriptor>> {
    (0..template.output_partitioning().partition_count())
        .map(|partition| {
            let mut reads = Vec::new();
            reached(template, Some(partition), &mut 0, &mut reads)?;
            let leaves = reads
                .into_iter()
                .filter_map(|(leaf, partition, plan)| binding(leaf, partition, plan.as_ref(), ranges).transpose())
                .collect::<Result<Vec<_>>>()?;
            Ok(TaskDescriptor {
                partition,
                leaves,
                segment: None,
            })
        })
        .collect()
}

/// Lists the leaves, and their partitions, that executing one partition of a plan reaches. Without a partition nothing is
/// executed, and the leaves are only counted.
fn reached(
    plan: &Arc<dyn ExecutionPlan>,
    partition: Option<usize>,
    next_leaf: &mut usize,
    reads: &mut Vec<(usize, usize, Arc<dyn ExecutionPlan>)>,
) -> Result<()> {
    let children = plan.children();
    if children.is_empty() {
        if let Some(partition) = partition {
            reads.push((*next_leaf, partition, plan.clone()));
        }
        *next_leaf += 1;
        return Ok(());
    }
    if downcast::<UnionExec>(plan.as_ref()).is_some() {
        let mut left = partition;
        for child in children {
            let count = child.output_partitioning().partition_count();
            let here = left.filter(|partition| *partition < count);
            reached(child, here, next_leaf, reads)?;
            left = left.and_then(|partition| partition.checked_sub(count));
        }
        return Ok(());
    }
    let requirements = plan.input_distribution_requirements();
    for (index, child) in children.into_iter().enumerate() {
        let count = child.output_partitioning().partition_count();
        let single = matches!(
            requirements.child_distribution(index),
            Some(Distribution::SinglePartition)
        );
        let here = partition.map(|partition| if single || count == 1 { 0 } else { partition });
        if (single && count != 1) || here.is_some_and(|here| here >= count) {
            return internal_err!(
                "{} cannot be cut into tasks: input {index} has {count} partitions",
                plan.name()
            );
        }
        reached(child, here, next_leaf, reads)?;
    }
    Ok(())
}

fn binding(
    leaf: usize,
    partition: usize,
    plan: &dyn ExecutionPlan,
    ranges: &BTreeMap<u32, Vec<KeyRange>>,
) -> Result<Option<LeafBinding>> {
    let missing = || internal_datafusion_err!("{} has no partition {partition}", plan.name());
    let data = if let Some(scan) = downcast::<ExternScanExec>(plan) {
        LeafData::Splits(scan.splits().get(partition).ok_or_else(missing)?.clone())
    } else if let Some(scan) = downcast::<SegmentScanExec>(plan) {
        LeafData::Slices(scan.slices().get(partition).ok_or_else(missing)?.clone())
    } else if let Some(input) = downcast::<StageInputExec>(plan) {
        let range = match ranges.get(&input.stage) {
            Some(ranges) => Some(ranges.get(partition).ok_or_else(missing)?.clone()),
            None => None,
        };
        LeafData::Stage {
            stage: input.stage,
            range,
        }
    } else {
        return Ok(None);
    };
    Ok(Some(LeafBinding { leaf, partition, data }))
}

/// Makes the fresh instance of a template that one attempt of a task executes.
pub fn bind(
    template: &Arc<dyn ExecutionPlan>,
    task: &TaskDescriptor,
    inputs: &BTreeMap<u32, Arc<StageOutput>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fresh = reset_plan_states(template.clone())?;
    bind_node(fresh, &mut 0, task, inputs)
}

fn bind_node(
    plan: Arc<dyn ExecutionPlan>,
    next_leaf: &mut usize,
    task: &TaskDescriptor,
    inputs: &BTreeMap<u32, Arc<StageOutput>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    if !children.is_empty() {
        let children = children
            .into_iter()
            .map(|child| bind_node(child, next_leaf, task, inputs))
            .collect::<Result<Vec<_>>>()?;
        return plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute));
    }
    let leaf = *next_leaf;
    *next_leaf += 1;
    let bindings = task.leaves.iter().filter(|binding| binding.leaf == leaf);
    let count = plan.output_partitioning().partition_count();
    if let Some(scan) = downcast::<ExternScanExec>(plan.as_ref()) {
        let mut splits = vec![Vec::new(); count];
        for binding in bindings {
            if let LeafData::Splits(list) = &binding.data {
                splits[binding.partition] = list.clone();
            }
        }
        return Ok(Arc::new(scan.bound(leaf, splits)));
    }
    if let Some(scan) = downcast::<SegmentScanExec>(plan.as_ref()) {
        let mut slices = vec![Vec::new(); count];
        for binding in bindings {
            if let LeafData::Slices(list) = &binding.data {
                slices[binding.partition] = list.clone();
            }
        }
        return Ok(Arc::new(scan.with_slices(slices)?));
    }
    if let Some(input) = downcast::<StageInputExec>(plan.as_ref()) {
        let mut ranges = BTreeMap::new();
        for binding in bindings {
            if let LeafData::Stage { stage, range } = &binding.data {
                let output = inputs
                    .get(stage)
                    .ok_or_else(|| internal_datafusion_err!("the output of stage {stage} was not handed over"))?;
                ranges.insert(
                    binding.partition,
                    StageRange {
                        output: output.clone(),
                        range: range.clone(),
                    },
                );
            }
        }
        return Ok(Arc::new(input.bound(leaf, ranges)));
    }
    Ok(plan)
}
