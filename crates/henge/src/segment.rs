//! `henge segment`: shows what is inside segment files.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use henge_segment::SegmentError;
use std::io::ErrorKind::BrokenPipe;

use crate::failure::Failure;

#[derive(Args)]
pub struct SegmentArgs {
    #[command(subcommand)]
    command: SegmentCommand,
}

#[derive(Subcommand)]
enum SegmentCommand {
    /// Print every row as one JSON object a line.
    #[command(after_help = "Example:\n  henge segment rows henge-data/segments/wiki/2015-…/0/index | head")]
    Rows {
        /// Folders of segments, or their index.zip.
        #[arg(required = true)]
        segments: Vec<PathBuf>,
    },
    /// Print interval, rows, columns, sizes and the segment's own metadata as JSON.
    Metadata {
        /// Folders of segments, or their index.zip.
        #[arg(required = true)]
        segments: Vec<PathBuf>,
    },
}

/// Runs the command.
pub fn run(args: SegmentArgs) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let written = match args.command {
        SegmentCommand::Rows { segments } => each(&segments, |segment| henge_segment::dump::rows(segment, &mut out)),
        SegmentCommand::Metadata { segments } => {
            each(&segments, |segment| henge_segment::dump::metadata(segment, &mut out))
        }
    };
    written.and_then(|()| {
        if out.flush().is_err_and(|error| error.kind() != BrokenPipe) {
            Err(Failure::new("standard output is gone"))
        } else {
            Ok(())
        }
    })
}

/// Shows one segment after the other. A reader that has seen enough (`| head`) is no failure.
fn each(
    paths: &[PathBuf],
    mut show: impl FnMut(&henge_segment::Segment) -> Result<(), SegmentError>,
) -> Result<(), Failure> {
    for path in paths {
        match show(&open(path)?) {
            Err(SegmentError::Io { source, .. }) if source.kind() == BrokenPipe => return Ok(()),
            shown => shown.map_err(|error| Failure::new(error.to_string()))?,
        }
    }
    Ok(())
}

fn open(path: &std::path::Path) -> Result<henge_segment::Segment, Failure> {
    henge_segment::Segment::open(path).map_err(|error| {
        Failure::new(error.to_string())
            .remedy("give the folder that holds version.bin and meta.smoosh, or an index.zip")
    })
}
