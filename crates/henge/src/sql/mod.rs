//! `henge sql`: runs statements on a data folder or on a server. Without `--url` the server runs inside this process on a
//! free loopback port, so both ways are the same code and give the same answers.

use std::io::{IsTerminal as _, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::data_dir::{Claim, claim};
use crate::failure::Failure;
use crate::server::{Running, runtime};
use crate::settings::DataArgs;

pub mod client;
pub mod output;
pub mod progress;
pub mod statements;

use client::Client;
use output::Output;
use statements::{Statement, StatementKind};

#[derive(Args)]
#[command(after_help = "\
Examples:
  henge sql \"SELECT channel, COUNT(*) FROM wiki GROUP BY 1 ORDER BY 2 DESC LIMIT 5\"
  henge sql -f load.sql                                  a task with a live progress line
  henge sql --format csv \"SELECT * FROM wiki\" > wiki.csv
  henge sql --url http://druid:8888 \"SELECT 1\"           any Druid router or henge server
  henge sql -c maxNumTasks=3 -c rowsPerSegment=1000000 -f load.sql
  echo 'SELECT 1' | henge sql -                          statements from standard input

INSERT, REPLACE and SELECT from EXTERN run as tasks, every other SELECT at once. Ctrl-C cancels what runs.")]
pub struct SqlArgs {
    /// One or more statements, separated by semicolons; `-` reads them from standard input.
    #[arg(
        required_unless_present = "file",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    statement: Option<String>,
    /// File with statements.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Server to ask instead of a data folder.
    #[arg(long, env = "HENGE_URL", value_name = "URL")]
    url: Option<String>,
    /// How rows are printed [default: table]
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Query context parameter, as key=value; may be given several times.
    #[arg(short, long = "context", value_name = "KEY=VALUE", value_parser = parse_context)]
    context: Vec<(String, Value)>,
    /// Run every statement as a task, also those that could be answered at once.
    #[arg(long)]
    task: bool,
    /// No progress, no summary: rows and errors only.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// Comma separated with a header, quoted where needed.
    Csv,
    /// Tab separated with a header; tabs and line ends in values become blanks.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
}

fn parse_context(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("expected key=value, got [{text}]"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
    Ok((key.to_string(), value))
}

/// Runs the command.
pub fn run(args: SqlArgs) -> Result<(), Failure> {
    let text = match (&args.statement, &args.file) {
        (Some(dash), _) if dash == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("cannot read statements from [{}]: {error}", path.display())))?,
        (None, None) => return Err(Failure::new("no statement given").remedy("henge sql \"SELECT 1\"")),
    };
    let statements = statements::split(&text);
    if statements.is_empty() {
        return Err(Failure::new("the text holds no statement").remedy("henge sql \"SELECT 1\""));
    }
    let mut context: Map<String, Value> = args.context.iter().cloned().collect();
    runtime()?.block_on(async {
        let (client, running) = match &args.url {
            Some(url) => (Client::new(url)?, None),
            None => match claim(&args.data.dir)? {
                Claim::Ours(lock) => {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                    let running = Running::start_on(&args.data, address, lock).await?;
                    (Client::new(&running.url)?, Some(running))
                }
                Claim::Theirs(Some(url)) => (Client::new(&url)?, None),
                Claim::Theirs(None) => {
                    return Err(Failure::new(format!(
                        "another henge works on data folder [{}] and serves no URL",
                        args.data.dir.display()
                    ))
                    .remedy("wait for it, or give another folder with --dir"));
                }
            },
        };
        let mut outcome = Ok(());
        let mut gap = false;
        for statement in &statements {
            match run_statement(&client, statement, &mut context, &args, gap).await {
                Ok(printed) => gap |= printed,
                Err(failure) => {
                    outcome = Err(failure);
                    break;
                }
            }
        }
        if let Some(running) = running {
            running.stop().await;
        }
        outcome
    })
}

/// Tells whether the statement printed a result; `gap` leaves a line between tables.
async fn run_statement(
    client: &Client,
    statement: &Statement,
    context: &mut Map<String, Value>,
    args: &SqlArgs,
    gap: bool,
) -> Result<bool, Failure> {
    let started = Instant::now();
    let summary = !args.quiet && args.format == Format::Table;
    let mut output = Output::new(args.format, std::io::stdout().lock());
    output.leave_gap(gap);
    let as_task = args.task && statement.kind != StatementKind::Explain;
    if as_task || statement.kind == StatementKind::Task {
        let task = client.submit(&statement.sql, context).await?;
        let report = progress::follow(client, &task, !args.quiet).await?;
        if let Some(rows) = report.pointer("/multiStageQuery/payload/results") {
            output.report_results(rows)?;
        }
        let rows = output.finish()?;
        if summary {
            eprintln!("{}", progress::summary(&report, rows, started.elapsed()));
        }
        return Ok(output.has_columns());
    }
    let query = client.query(&statement.sql, context);
    let response = query.await?;
    let id = response.query_id.clone();
    let rows = tokio::select! {
        rows = output.stream(response) => rows?,
        _ = tokio::signal::ctrl_c() => {
            if let Some(id) = id {
                client.cancel(&id).await?;
            }
            return Err(Failure::new("query canceled"));
        }
    };
    if summary {
        let plural = if rows == 1 { "row" } else { "rows" };
        eprintln!("{rows} {plural} in {}", progress::duration(started.elapsed()));
    }
    Ok(output.has_columns())
}

/// Tells whether a person sees standard error.
pub fn terminal() -> bool {
    std::io::stderr().is_terminal()
}
