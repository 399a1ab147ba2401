//! `henge quickstart`: the main job on generated data, from files to answers, with the commands to go on with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::server::{Running, runtime, stop_signal};
use crate::settings::DataArgs;
use crate::sql::client::Client;
use crate::sql::output::Output;
use crate::sql::{Format, progress};

mod generate;

/// The table that the quickstart loads.
const TABLE: &str = "sales";

#[derive(Args)]
#[command(after_help = "\
Makes TPC-H orders (gzip JSON lines) and lineitem (Parquet) in the data folder, loads their join as table \"sales\" with one
multi-stage REPLACE, and asks two questions. Needs no network. Running it again replaces the table.")]
pub struct QuickstartArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Size of the data: 1 is 6 million order lines.
    #[arg(long, default_value_t = 0.1, value_name = "SCALE")]
    scale: f64,
    /// Port of the server; 0 takes a free one.
    #[arg(long, env = "HENGE_PORT", default_value_t = 8888, value_name = "PORT")]
    port: u16,
    /// End after the summary instead of leaving the server running.
    #[arg(long)]
    once: bool,
}

/// Runs the command.
pub fn run(args: QuickstartArgs) -> Result<(), Failure> {
    if !(args.scale > 0.0 && args.scale <= 100.0) {
        return Err(
            Failure::new(format!("scale {} is out of range", args.scale)).remedy("give --scale between 0.001 and 100")
        );
    }
    runtime()?.block_on(async {
        println!("1. Start henge");
        let started = Instant::now();
        let running = Running::start(&args.data, SocketAddr::from((Ipv4Addr::LOCALHOST, args.port))).await?;
        println!(
            "   {} answers after {}\n",
            running.url,
            progress::duration(started.elapsed())
        );
        let outcome = tour(&args, &running).await;
        if outcome.is_ok() && !args.once {
            println!("The server runs until you press Ctrl-C.");
            stop_signal().await;
        }
        running.stop().await;
        outcome
    })
}

async fn tour(args: &QuickstartArgs, running: &Running) -> Result<(), Failure> {
    let client = Client::new(&running.url)?;
    let folder = std::path::absolute(args.data.dir.join("quickstart"))?;
    println!("2. Make data: TPC-H orders and lineitem at scale {}", args.scale);
    let started = Instant::now();
    let (scale, target) = (args.scale, folder.clone());
    let made = tokio::task::spawn_blocking(move || generate::generate(&target, scale))
        .await
        .map_err(|error| Failure::new(format!("making data failed: {error}")))??;
    for file in &made {
        println!(
            "   {:<20} {:>10} rows  {}",
            file.name,
            progress::count(file.rows),
            progress::bytes(file.bytes)
        );
    }
    println!("   in {}\n", progress::duration(started.elapsed()));

    let load = load_statement(&folder);
    println!("3. Load both through one multi-stage job\n{}\n", indent(&load));
    let started = Instant::now();
    let task = client.submit(&load, &Map::new()).await?;
    let report = progress::follow(&client, &task, true).await?;
    println!("   {}", progress::summary(&report, 0, started.elapsed()));
    stages(&report);
    segments(&client).await?;

    println!("\n4. Ask");
    for question in QUESTIONS {
        println!("{}\n", indent(question));
        let started = Instant::now();
        let response = client.query(question, &Map::new()).await?;
        let mut output = Output::new(Format::Table, std::io::stdout());
        output.stream(response).await?;
        println!("   in {}\n", progress::duration(started.elapsed()));
    }
    println!("5. Go on\n{}", next_steps(args, &running.url));
    Ok(())
}

const QUESTIONS: [&str; 2] = [
    "SELECT FLOOR(__time TO YEAR) AS \"year\", shipmode, COUNT(*) AS line_count, ROUND(SUM(price * (1 - discount)), 2) AS revenue\n\
     FROM sales\nWHERE shipmode IN ('AIR', 'RAIL')\nGROUP BY 1, 2\nORDER BY 1, 2",
    "SELECT priority, COUNT(DISTINCT orderkey) AS orders, AVG(quantity) AS avg_quantity\n\
     FROM sales\nWHERE __time >= TIMESTAMP '1995-01-01' AND __time < TIMESTAMP '1996-01-01'\nGROUP BY 1\nORDER BY 1",
];

fn load_statement(folder: &Path) -> String {
    let extern_call = |file: &str, format: &str, columns: &str| {
        let source = json!({"type": "local", "files": [folder.join(file)]})
            .to_string()
            .replace('\'', "''");
        format!("TABLE(EXTERN('{source}', '{{\"type\":\"{format}\"}}'))\n       EXTEND ({columns})")
    };
    let lines = extern_call(
        generate::LINEITEM_FILE,
        "parquet",
        "l_orderkey BIGINT, l_quantity DOUBLE, l_extendedprice DOUBLE, l_discount DOUBLE, l_shipdate VARCHAR, l_shipmode VARCHAR",
    );
    let orders = extern_call(
        generate::ORDERS_FILE,
        "json",
        "o_orderkey BIGINT, o_custkey BIGINT, o_orderpriority VARCHAR, o_orderstatus VARCHAR",
    );
    format!(
        "REPLACE INTO {TABLE} OVERWRITE ALL\n\
         WITH lines AS (\n  SELECT * FROM {lines}\n),\norders AS (\n  SELECT * FROM {orders}\n)\n\
         SELECT TIME_PARSE(l_shipdate) AS __time, l_shipmode AS shipmode, o_orderpriority AS priority, o_orderstatus AS status,\n       \
         l_orderkey AS orderkey, o_custkey AS custkey, l_quantity AS quantity, l_extendedprice AS price, l_discount AS discount\n\
         FROM lines JOIN orders ON l_orderkey = o_orderkey\n\
         PARTITIONED BY MONTH CLUSTERED BY shipmode, priority"
    )
}

fn stages(report: &Value) {
    let payload = report.pointer("/multiStageQuery/payload");
    let list = crate::sql::progress::stages_of(payload);
    println!("\n   stage  does                 shuffle      partitions  time");
    for stage in list {
        let text = |pointer: &str| stage.pointer(pointer).and_then(Value::as_str).unwrap_or("–");
        let number = |name: &str| stage.get(name).and_then(Value::as_u64);
        println!(
            "   {:>5}  {:<19}  {:<11}  {:>10}  {}",
            number("stageNumber").unwrap_or(0),
            text("/definition/processor/type"),
            text("/shuffle"),
            number("partitionCount").map_or("–".to_string(), |n| n.to_string()),
            progress::duration(std::time::Duration::from_millis(number("duration").unwrap_or(0)))
        );
    }
}

async fn segments(client: &Client) -> Result<(), Failure> {
    let sql = format!(
        "SELECT COUNT(*) AS segments, SUM(num_rows) AS num_rows, SUM(\"size\") AS size FROM sys.segments WHERE datasource = '{TABLE}' AND is_active = 1"
    );
    let mut bytes = Vec::new();
    let mut output = Output::new(Format::Csv, &mut bytes);
    output.stream(client.query(&sql, &Map::new()).await?).await?;
    drop(output);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let numbers: Vec<u64> = text
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split(',')
        .filter_map(|n| n.parse().ok())
        .collect();
    if let [segments, rows, size] = numbers[..] {
        println!(
            "\n   {segments} segments, {} rows, {}: real Druid segments, one or more a month",
            progress::count(rows),
            progress::bytes(size)
        );
    }
    Ok(())
}

fn next_steps(args: &QuickstartArgs, url: &str) -> String {
    let dir = args.data.dir.display();
    let own_dir = args.data.dir != Path::new("henge-data");
    let dir_option = if own_dir {
        format!(" --dir {dir}")
    } else {
        String::new()
    };
    format!(
        "   henge sql{dir_option} \"SELECT status, COUNT(*) AS n FROM sales GROUP BY 1\"     ask from another terminal\n   \
         curl {url}/druid/v2/sql -H 'Content-Type: application/json' -d '{{\"query\":\"SELECT COUNT(*) AS n FROM sales\"}}'\n   \
         henge segment rows {dir}/segments/{TABLE}/*/*/0/index | head -3             look into the segments\n   \
         henge --help                                                                everything else\n"
    )
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("   {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
