//! The `henge` command: a server, a SQL client, a reader of segment files and a quickstart, in one binary.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod data_dir;
mod failure;
mod quickstart;
mod segment;
mod server;
mod settings;
mod sql;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Apache Druid's multi-stage query engine as one program: SQL in, real Druid segments out.
#[derive(Parser)]
#[command(
    name = "henge",
    version,
    max_term_width = 110,
    after_help = "\
First steps:
  henge quickstart                 load generated data with a multi-stage SQL job, then query it
  henge server                     serve Druid's HTTP API on http://127.0.0.1:8888
  henge sql \"SELECT 1\"             run one statement on the data folder, without a server
  henge sql -f load.sql            run the statements of a file, one after the other
  henge segment rows FOLDER        print the rows of any Druid segment

Every option can also be set in the environment (HENGE_DIR, HENGE_MEMORY, …) or in henge.toml in the data folder;
options win over the environment, the environment over the file."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve Druid's HTTP API: SQL, tasks, metadata.
    Server(server::ServerArgs),
    /// Run SQL statements: on a data folder, or on a server with --url.
    Sql(sql::SqlArgs),
    /// Look into segment files, written by henge or by Druid.
    Segment(segment::SegmentArgs),
    /// Generate data, load it with a multi-stage SQL job, query it, and leave the server running.
    Quickstart(quickstart::QuickstartArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  henge completions bash > ~/.local/share/bash-completion/completions/henge")]
    Completions {
        /// Shell to complete in.
        shell: clap_complete::Shell,
    },
}

/// Sets how long the allocator keeps freed pages before it gives them back to the system. Its own 10 ms make a load give back and
/// clear the same pages over and over: a fifth of the processor time of loading lineitem.
fn keep_freed_pages() {
    /// `mi_option_purge_delay` of mimalloc.h, versions 2 and 3.
    const PURGE_DELAY: std::ffi::c_int = 15;
    const PURGE_DELAY_MS: std::ffi::c_long = 1000;
    // SAFETY: sets a number in mimalloc's table of options, which checks the index; no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}

fn main() -> ExitCode {
    keep_freed_pages();
    let cli = Cli::parse();
    init_logging();
    let outcome = match cli.command {
        Command::Server(args) => server::run(args),
        Command::Sql(args) => sql::run(args),
        Command::Segment(args) => segment::run(args),
        Command::Quickstart(args) => quickstart::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "henge", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; `HENGE_LOG=debug` (or a filter such as `henge_engine=debug`) shows more.
fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HENGE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(sql::terminal())
        .with_writer(std::io::stderr)
        .init();
}
