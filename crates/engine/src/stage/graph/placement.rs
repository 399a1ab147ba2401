//! Which physical stage does the work of which stage of the graph.
//!
//! ```text
//!  graph       0 groupByPreShuffle ── 1 groupByPostShuffle ── 2 limit
//!  physical    0 scan, partial agg ── 1 final agg, top k   ── 2 merge, limit      one to one
//!  physical    0 scan, agg, top k, limit                                          one task does the work of all three
//!  physical    0 scan, partial agg ── 1 final agg ── 2 merge ── 3 limit           2 passes rows on, and belongs to 1
//! ```
//!
//! Stages of the graph find theirs by what they do: the n-th that groups before the exchange is where the n-th partial aggregation
//! is, and so on. Where one finds nothing there is no placement, and reports show the physical stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use henge_scan::SegmentScanExec;

use crate::report::{Processor, StageDefinition, StageInput};
use crate::stage::cut::PlannedStage;
use crate::stage::extern_scan::ExternScanExec;
use crate::stage::input::StageInputExec;

/// How the tasks of a physical stage are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The first and the last stage of the graph that the tasks do the work of.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// Where the task's leaves are shown: stage and input number, by number of the leaf. None for leaves that only move rows on.
    pub leaves: Vec<Option<(u32, usize)>>,
    /// True where the tasks only pass on what an earlier physical stage has made for the same stage of the graph.
    pub passes_on: bool,
}

impl Place {
    /// Makes the place of a physical stage that is shown as itself.
    pub fn identity(stage: u32, leaves: usize) -> Self {
        Self {
            first: stage,
            last: stage,
            leaves: (0..leaves).map(|leaf| Some((stage, leaf))).collect(),
            passes_on: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Partial,
    Final,
    Window,
    Join,
    Limit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Table,
    External,
    Inline,
    Stage(u32),
}

fn downcast<T: 'static>(plan: &dyn ExecutionPlan) -> Option<&T> {
    (plan as &dyn std::any::Any).downcast_ref::<T>()
}

fn walk(plan: &Arc<dyn ExecutionPlan>, kinds: &mut Vec<Kind>, leaves: &mut Vec<Leaf>) {
    let children = plan.children();
    for child in &children {
        walk(child, kinds, leaves);
    }
    let node = plan.as_ref();
    if children.is_empty() {
        leaves.push(if let Some(input) = downcast::<StageInputExec>(node) {
            Leaf::Stage(input.stage)
        } else if downcast::<ExternScanExec>(node).is_some() {
            Leaf::External
        } else if downcast::<SegmentScanExec>(node).is_some() {
            Leaf::Table
        } else {
            Leaf::Inline
        });
    } else if let Some(aggregate) = downcast::<AggregateExec>(node) {
        match aggregate.mode() {
            AggregateMode::Partial => kinds.push(Kind::Partial),
            AggregateMode::Final | AggregateMode::FinalPartitioned => kinds.push(Kind::Final),
            AggregateMode::PartialReduce => {}
            AggregateMode::Single | AggregateMode::SinglePartitioned => kinds.extend([Kind::Partial, Kind::Final]),
        }
    } else if downcast::<WindowAggExec>(node).is_some() || downcast::<BoundedWindowAggExec>(node).is_some() {
        kinds.push(Kind::Window);
    } else if downcast::<SortMergeJoinExec>(node).is_some() {
        kinds.push(Kind::Join);
    } else if downcast::<GlobalLimitExec>(node).is_some() || downcast::<LocalLimitExec>(node).is_some() {
        kinds.push(Kind::Limit);
    }
}

/// Finds the places of physical stages among those of a graph. A stage that writes segments is the last of both.
pub fn places(graph: &[StageDefinition], physical: &[PlannedStage]) -> Option<Vec<Place>> {
    let mut kinds: Vec<Vec<Kind>> = Vec::new();
    let mut leaves: Vec<Vec<Leaf>> = Vec::new();
    for stage in physical {
        let (mut stage_kinds, mut stage_leaves) = (Vec::new(), Vec::new());
        walk(&stage.plan, &mut stage_kinds, &mut stage_leaves);
        kinds.push(stage_kinds);
        leaves.push(stage_leaves);
    }
    let anchors = anchors(graph, &kinds, &leaves)?;
    let mut places = Vec::with_capacity(physical.len() + 1);
    let mut used: Vec<(u32, usize)> = Vec::new();
    for (number, leaves) in leaves.iter().enumerate() {
        let mine: Vec<u32> = (0u32..)
            .zip(&anchors)
            .filter(|(_, anchor)| **anchor == number)
            .map(|(stage, _)| stage)
            .collect();
        let place = match (mine.first(), mine.last()) {
            (Some(first), Some(last)) => {
                // One task does the work of consecutive stages only.
                if (*last - *first) as usize + 1 != mine.len() {
                    return None;
                }
                Place {
                    first: *first,
                    last: *last,
                    leaves: leaves
                        .iter()
                        .map(|leaf| shown_input(graph, &places, *first, *last, leaf, &mut used))
                        .collect(),
                    passes_on: false,
                }
            }
            _ => {
                let source = leaves.iter().find_map(|leaf| match leaf {
                    Leaf::Stage(input) => places.get(*input as usize).map(|place: &Place| place.last),
                    _ => None,
                })?;
                Place {
                    first: source,
                    last: source,
                    leaves: vec![None; leaves.len()],
                    passes_on: true,
                }
            }
        };
        places.push(place);
    }
    if let Some(generator) = graph.last()
        && generator.processor == Processor::SegmentGenerator
    {
        places.push(Place::identity(generator.number, 1));
    }
    Some(places)
}

/// Gives the physical stage of every stage of the graph.
fn anchors(graph: &[StageDefinition], kinds: &[Vec<Kind>], leaves: &[Vec<Leaf>]) -> Option<Vec<usize>> {
    let mut taken: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut nth = |kind: Kind| -> Option<usize> {
        let count = taken.entry(kind).or_default();
        let all = kinds.iter().enumerate();
        let mut all = all.flat_map(|(stage, kinds)| kinds.iter().filter(|it| **it == kind).map(move |_| stage));
        let found = all.nth(*count);
        *count += 1;
        found
    };
    let mut scanned: Vec<(usize, usize)> = Vec::new();
    let mut anchors: Vec<usize> = Vec::with_capacity(graph.len());
    for stage in graph {
        let before = stage.inputs.iter().find_map(|input| match input {
            StageInput::Stage(input) => anchors.get(*input as usize).copied(),
            _ => None,
        });
        let anchor = match stage.processor {
            Processor::GroupByPreShuffle => nth(Kind::Partial)?,
            Processor::GroupByPostShuffle => nth(Kind::Final)?,
            Processor::Window => nth(Kind::Window)?,
            Processor::SortMergeJoin => nth(Kind::Join)?,
            // A limit may have become a property of a sort or of a scan.
            Processor::Limit => {
                let from = before?;
                let limited = (from..kinds.len()).find(|at| *at > from || kinds[*at].contains(&Kind::Limit));
                limited.unwrap_or(from)
            }
            Processor::Scan => match (stage.inputs.first()?, before) {
                (StageInput::Stage(_), Some(before)) => before,
                (input, _) => {
                    let mut all = leaves.iter().enumerate().flat_map(|(stage, leaves)| {
                        leaves.iter().enumerate().map(move |(leaf, kind)| (stage, leaf, kind))
                    });
                    let (at, leaf, _) =
                        all.find(|(at, leaf, kind)| is_shown(input, kind) && !scanned.contains(&(*at, *leaf)))?;
                    scanned.push((at, leaf));
                    at
                }
            },
            // It is not among the stages that were cut out of the plan.
            Processor::SegmentGenerator => usize::MAX,
            Processor::SelectResults | Processor::ExportResults => return None,
        };
        anchors.push(anchor);
    }
    Some(anchors)
}

fn is_shown(input: &StageInput, leaf: &Leaf) -> bool {
    matches!(
        (input, leaf),
        (StageInput::Table { .. }, Leaf::Table)
            | (StageInput::External { .. }, Leaf::External)
            | (StageInput::Inline { .. }, Leaf::Inline)
    )
}

/// Finds the input that a leaf is shown as, each of them once.
fn shown_input(
    graph: &[StageDefinition],
    places: &[Place],
    first: u32,
    last: u32,
    leaf: &Leaf,
    used: &mut Vec<(u32, usize)>,
) -> Option<(u32, usize)> {
    for stage in first..=last {
        for (number, input) in graph.get(stage as usize)?.inputs.iter().enumerate() {
            let fits = match (input, leaf) {
                (StageInput::Stage(input), Leaf::Stage(physical)) => {
                    places.get(*physical as usize).is_some_and(|place| place.last == *input)
                }
                (input, leaf) => is_shown(input, leaf),
            };
            if fits && !used.contains(&(stage, number)) {
                used.push((stage, number));
                return Some((stage, number));
            }
        }
    }
    None
}
