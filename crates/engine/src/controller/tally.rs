//! Adds up what tasks have counted, and shows it where reports show it: by stage of the graph, worker and partition.
//!
//! A partition of Druid's is what one worker works on. henge's tasks are smaller, several of them share the partition of a worker;
//! partitions that are segments are the exception, they are shown one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::counters::{Channel, ChannelSnapshot, CounterTree, SortProgress, WorkerCounters};
use crate::report::{Processor, ShuffleSpec, StageDefinition, StageInput, StageReport};
use crate::stage::graph::placement::Place;

/// What is known while the query runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Where physical stages are shown.
    pub places: Vec<Place>,
    /// What each task has counted, by physical stage and partition; the latest attempt counts.
    pub tasks: BTreeMap<(u32, usize), WorkerCounters>,
    /// Rows of a shuffled output by partition, by stage of the graph, once the partitions are known.
    pub shuffled: BTreeMap<u32, Vec<u64>>,
    /// Stages of the graph that have sorted all of their rows.
    pub sorted: BTreeSet<u32>,
}

impl Tally {
    /// Gives the place of a physical stage.
    pub fn place(&self, stage: u32) -> Place {
        match self.places.get(stage as usize) {
            Some(place) => place.clone(),
            None => Place::identity(stage, 0),
        }
    }

    /// Gives the worker that a task of a physical stage counts for: Druid's worker numbers go up to `maxNumTasks` − 1, henge's tasks
    /// are more.
    pub fn worker(&self, stages: &[StageReport], stage: u32, partition: usize) -> u32 {
        let shown = stages.get(self.place(stage).last as usize);
        let count = shown.map_or(1, |report| report.worker_count.max(1));
        u32::try_from(partition % count as usize).unwrap_or(0)
    }

    /// Adds everything up.
    pub fn tree(&self, stages: &[StageReport]) -> CounterTree {
        let mut tree = CounterTree::new();
        for (number, stage) in (0u32..).zip(stages) {
            if stage.phase.is_some() {
                tree.entry(number).or_default().entry(0).or_default();
            }
        }
        for ((stage, partition), counters) in &self.tasks {
            let place = self.place(*stage);
            let worker = self.worker(stages, *stage, *partition);
            self.add_task(&mut tree, stages, &place, worker, *partition, counters);
        }
        for (stage, rows) in &self.shuffled {
            let folded = stages.get(*stage as usize).map(|stage| fold(rows, &stage.definition));
            if let (Some(folded), Some(workers)) = (folded, tree.get_mut(stage)) {
                show_partitions(workers, &folded);
            }
        }
        for (number, workers) in &mut tree {
            let Some(stage) = stages.get(*number as usize) else {
                continue;
            };
            if let Some(progress) = sort_progress(stage, self.sorted.contains(number), rows_out(workers)) {
                for counters in workers.values_mut() {
                    counters.sort_progress = Some(progress.clone());
                }
            }
        }
        tree
    }

    fn add_task(
        &self,
        tree: &mut CounterTree,
        stages: &[StageReport],
        place: &Place,
        worker: u32,
        partition: usize,
        counters: &WorkerCounters,
    ) {
        let definition = |stage: u32| stages.get(stage as usize).map(|stage| stage.definition.as_ref());
        for (channel, snapshot) in &counters.channels {
            let Channel::Input(leaf) = channel else { continue };
            let shown = match place.leaves.get(*leaf) {
                Some(shown) => *shown,
                None => Some((place.first, *leaf)),
            };
            let Some((stage, input)) = shown else { continue };
            let at = match definition(stage).and_then(|definition| definition.inputs.get(input)) {
                Some(StageInput::Stage(source)) => read_partition(stages, *source, partition),
                _ => 0,
            };
            add_channel(
                into(tree, worker, stage)
                    .channels
                    .entry(Channel::Input(input))
                    .or_default(),
                snapshot,
                at,
            );
        }
        let main = counters.cpu.iter();
        for (label, (cpu, wall)) in main {
            let sum = into(tree, worker, place.last).cpu.entry(label.clone()).or_default();
            *sum = (sum.0 + cpu, sum.1 + wall);
        }
        into(tree, worker, place.last).spilled_bytes += counters.spilled_bytes;
        for (code, count) in &counters.warnings {
            *into(tree, worker, place.first)
                .warnings
                .entry(code.clone())
                .or_default() += count;
        }
        if place.passes_on {
            return;
        }
        let passed = counters.channels.get(&Channel::Output);
        let with_rows = |rows: u64| {
            let mut channel = passed.cloned().unwrap_or_default();
            channel.rows = vec![rows];
            channel
        };
        let (taken, kept) = match counters.first_rows {
            Some(first) if first.taken > 0 => (Some(with_rows(first.taken)), Some(with_rows(first.kept))),
            _ => (passed.cloned(), passed.cloned()),
        };
        for stage in place.first..=place.last {
            let shuffles = definition(stage).is_some_and(|definition| definition.shuffle.is_some());
            let at = if shuffles {
                0
            } else {
                read_partition(stages, stage, partition)
            };
            // A sort that keeps the first rows belongs to the exchange of the stage that it ends; a limit after it, to the next.
            let is_limit = definition(stage).is_some_and(|definition| definition.processor == Processor::Limit);
            let output = if is_limit { passed } else { taken.as_ref() };
            if let Some(output) = output {
                add_channel(
                    into(tree, worker, stage).channels.entry(Channel::Output).or_default(),
                    output,
                    at,
                );
            }
            // What one task does for two stages passes through no exchange; the rows are the same.
            let staged = if stage == place.last {
                counters.channels.get(&Channel::Shuffle)
            } else {
                kept.as_ref()
            };
            let is_cut = definition(stage).is_some_and(|definition| !is_by_size(definition));
            if let (Some(staged), true) = (staged, shuffles && is_cut) {
                add_channel(
                    into(tree, worker, stage).channels.entry(Channel::Shuffle).or_default(),
                    staged,
                    0,
                );
            }
            if let (Some(kept), true) = (&kept, stage < place.last) {
                let input = into(tree, worker, stage + 1)
                    .channels
                    .entry(Channel::Input(0))
                    .or_default();
                add_channel(input, kept, 0);
            }
        }
        if let Some(progress) = &counters.segment_generation {
            let sum = into(tree, worker, place.last)
                .segment_generation
                .get_or_insert_default();
            sum.rows_processed += progress.rows_processed;
            sum.rows_persisted += progress.rows_persisted;
            sum.rows_merged += progress.rows_merged;
            sum.rows_pushed += progress.rows_pushed;
        }
    }
}

fn into(tree: &mut CounterTree, worker: u32, stage: u32) -> &mut WorkerCounters {
    tree.entry(stage).or_default().entry(worker).or_default()
}

/// Gives how many partitions a stage has before it has run; none where its rows decide.
pub fn known_partitions(stages: &[StageReport], definition: &StageDefinition) -> Option<u32> {
    match &definition.shuffle {
        Some(ShuffleSpec::Mix) => Some(1),
        Some(ShuffleSpec::Hash { partitions, .. } | ShuffleSpec::MaxCount { partitions, .. }) => {
            u32::try_from(*partitions).ok()
        }
        Some(ShuffleSpec::TargetSize { .. }) => None,
        // It keeps those of its input.
        None => definition.inputs.iter().find_map(|input| match input {
            StageInput::Stage(input) => Some(stages.get(*input as usize)?.partition_count),
            _ => None,
        }),
    }
}

fn is_by_size(definition: &StageDefinition) -> bool {
    matches!(definition.shuffle, Some(ShuffleSpec::TargetSize { .. }))
}

/// Gives the partition of a stage's output that a task is shown to read or to keep.
fn read_partition(stages: &[StageReport], source: u32, partition: usize) -> usize {
    match stages.get(source as usize) {
        Some(stage) if !is_by_size(&stage.definition) => partition % stage.partition_count.max(1) as usize,
        _ => partition,
    }
}

/// Adds up the rows of partitions that are shown as one.
fn fold(rows: &[u64], definition: &StageDefinition) -> Vec<u64> {
    let shown = match &definition.shuffle {
        Some(ShuffleSpec::Hash { partitions, .. } | ShuffleSpec::MaxCount { partitions, .. }) => (*partitions).max(1),
        Some(ShuffleSpec::Mix) => 1,
        Some(ShuffleSpec::TargetSize { .. }) => return rows.to_vec(),
        None => return Vec::new(),
    };
    let mut folded = vec![0; shown.min(rows.len().max(1))];
    for (partition, rows) in rows.iter().enumerate() {
        folded[partition % shown] += rows;
    }
    folded
}

/// Shows the rows of each partition with the first worker: partitions are counted once.
fn show_partitions(workers: &mut BTreeMap<u32, WorkerCounters>, rows: &[u64]) {
    let total: u64 = rows.iter().sum();
    let bytes: u64 = workers
        .values()
        .filter_map(|worker| {
            worker
                .channels
                .get(&Channel::Shuffle)
                .or(worker.channels.get(&Channel::Output))
        })
        .map(|channel| channel.bytes.iter().sum::<u64>())
        .sum();
    for worker in workers.values_mut() {
        worker.channels.remove(&Channel::Shuffle);
    }
    if let (Some(worker), true) = (workers.values_mut().next(), total > 0) {
        let share = |part: &u64| (u128::from(*part) * u128::from(bytes) / u128::from(total)) as u64;
        let channel = ChannelSnapshot {
            bytes: rows.iter().map(share).collect(),
            frames: rows.iter().map(|rows| rows.div_ceil(8192)).collect(),
            rows: rows.to_vec(),
            ..ChannelSnapshot::default()
        };
        worker.channels.insert(Channel::Shuffle, channel);
    }
}

fn rows_out(workers: &BTreeMap<u32, WorkerCounters>) -> u64 {
    let outputs = workers
        .values()
        .filter_map(|worker| worker.channels.get(&Channel::Output));
    outputs.map(|channel| channel.rows.iter().sum::<u64>()).sum()
}

/// Words how far the sort of a stage's output has come; none where it does not sort all of it. henge merges once.
fn sort_progress(stage: &StageReport, is_sorted: bool, rows: u64) -> Option<SortProgress> {
    match stage.definition.shuffle {
        Some(ShuffleSpec::MaxCount { .. } | ShuffleSpec::TargetSize { .. }) => {}
        _ => return None,
    }
    let partitions = u64::from(stage.partition_count.max(1));
    Some(match (is_sorted, rows) {
        (false, _) => SortProgress {
            total_merging_levels: -1,
            total_mergers_for_ultimate_level: -1,
            ..SortProgress::default()
        },
        (true, 0) => SortProgress {
            total_merging_levels: -1,
            total_mergers_for_ultimate_level: -1,
            trivially_complete: true,
            progress_digest: Some(1.0),
            ..SortProgress::default()
        },
        (true, _) => SortProgress {
            total_merging_levels: 1,
            level_to_total_batches: BTreeMap::from([(0, partitions)]),
            level_to_merged_batches: BTreeMap::from([(0, partitions)]),
            total_mergers_for_ultimate_level: partitions as i64,
            trivially_complete: false,
            progress_digest: Some(1.0),
        },
    })
}

/// Adds a task's one-entry lists to a worker's lists, at a place.
fn add_channel(into: &mut ChannelSnapshot, from: &ChannelSnapshot, place: usize) {
    let lists = [
        (&mut into.rows, &from.rows),
        (&mut into.bytes, &from.bytes),
        (&mut into.frames, &from.frames),
        (&mut into.files, &from.files),
        (&mut into.total_files, &from.total_files),
    ];
    for (into, from) in lists {
        let sum: u64 = from.iter().sum();
        if into.len() <= place {
            into.resize(place + 1, 0);
        }
        into[place] += sum;
    }
}
