//! The binary as its users meet it: every test runs `henge` in an empty folder.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

mod real_druid;
mod rollup;

const HENGE: &str = env!("CARGO_BIN_EXE_henge");

fn henge(dir: &Path, args: &[&str]) -> Output {
    Command::new(HENGE)
        .args(args)
        .current_dir(dir)
        .env_remove("HENGE_DIR")
        .env_remove("HENGE_URL")
        .output()
        .expect("henge runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed and gives what it printed.
fn ok(dir: &Path, args: &[&str]) -> String {
    let output = henge(dir, args);
    assert!(
        output.status.success(),
        "{args:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command that must fail and gives its message.
fn fails(dir: &Path, args: &[&str]) -> String {
    let output = henge(dir, args);
    assert!(!output.status.success(), "{args:?}\n{}", text(&output.stdout));
    text(&output.stderr)
}

const ROWS: &str = r#"{"at":"2025-03-01T10:00:00Z","city":"Kyiv","n":3}
{"at":"2025-03-01T11:30:00Z","city":"Lima","n":5}
{"at":"2025-03-02T09:00:00Z","city":"Kyiv","n":4}
"#;

const LOAD: &str = r#"-- three visits
REPLACE INTO visits OVERWRITE ALL
SELECT TIME_PARSE("at") AS __time, city, n
FROM TABLE(EXTERN('{"type":"local","files":["visits.json"]}', '{"type":"json"}'))
  EXTEND ("at" VARCHAR, city VARCHAR, n BIGINT)
PARTITIONED BY DAY CLUSTERED BY city"#;

fn all_visits_are_there(folder: &Path) {
    let count = ok(folder, &["sql", "--format", "csv", "SELECT COUNT(*) AS n FROM visits"]);
    assert_eq!(count, "n\n3\n");
}

/// A folder with the table `visits` loaded.
fn loaded() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("visits.json"), ROWS).expect("writable");
    std::fs::write(folder.path().join("load.sql"), LOAD).expect("writable");
    ok(folder.path(), &["sql", "-f", "load.sql"]);
    folder
}

#[test]
fn loads_asks_and_prints_in_every_format() {
    let folder = loaded();
    let sql = "SELECT city, SUM(n) AS n FROM visits GROUP BY city ORDER BY n DESC";
    let printed = |format: &str| ok(folder.path(), &["sql", "--format", format, sql]);
    assert_eq!(printed("table"), "city  n\n───────\nKyiv  7\nLima  5\n");
    assert_eq!(printed("csv"), "city,n\nKyiv,7\nLima,5\n");
    assert_eq!(printed("tsv"), "city\tn\nKyiv\t7\nLima\t5\n");
    assert_eq!(
        printed("jsonl"),
        "{\"city\":\"Kyiv\",\"n\":7}\n{\"city\":\"Lima\",\"n\":5}\n"
    );
    assert_eq!(
        printed("json"),
        "[{\"city\":\"Kyiv\",\"n\":7},\n{\"city\":\"Lima\",\"n\":5}]\n"
    );
    let as_task = ok(
        folder.path(),
        &[
            "sql",
            "--task",
            "--format",
            "csv",
            "SELECT __time, city FROM visits WHERE n = 5",
        ],
    );
    assert_eq!(as_task, "__time,city\n2025-03-01T11:30:00.000Z,Lima\n");
    let several = ok(
        folder.path(),
        &["sql", "--format", "csv", "SELECT 1 AS a; SELECT 'x;y' AS b;"],
    );
    assert_eq!(several, "a\n1\nb\nx;y\n");
}

#[test]
fn an_error_shows_the_place_and_changes_nothing() {
    let folder = loaded();
    let message = fails(folder.path(), &["sql", "SELECT n,\n  cty FROM visits"]);
    assert!(message.contains("2 |   cty FROM visits"), "{message}");
    assert!(message.contains("^^^"), "{message}");
    assert!(message.contains("city"), "the nearest name is offered: {message}");
    let bad = LOAD.replace("visits.json", "broken.json");
    std::fs::write(folder.path().join("broken.json"), format!("{ROWS}{{\"at\": oops\n")).expect("writable");
    let message = fails(folder.path(), &["sql", &bad]);
    assert!(message.contains("CannotParseExternalData"), "{message}");
    assert!(
        message.contains("broken.json") && message.contains('4'),
        "file and line: {message}"
    );
    let rows = ok(
        folder.path(),
        &["sql", "--format", "csv", "SELECT COUNT(*) AS n FROM visits"],
    );
    assert_eq!(rows, "n\n3\n");
}

#[test]
fn garbage_gets_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000));
    for sql in ["SELEC 1", "", ";;", "SELECT '", "SELECT * FROM nowhere", deep.as_str()] {
        let message = text(&henge(folder.path(), &["sql", sql]).stderr);
        assert!(!message.contains("panicked"), "{sql:.50}: {message}");
    }
    assert!(fails(folder.path(), &["sql", "-f", "missing.sql"]).contains("missing.sql"));
    assert!(fails(folder.path(), &["sql", "--url", "http://127.0.0.1:1", "SELECT 1"]).contains("henge server"));
    assert!(fails(folder.path(), &["sql", "--memory", "1KB", "SELECT 1"]).contains("at least"));
    assert!(fails(folder.path(), &["segment", "rows", "."]).contains("version.bin"));
}

#[test]
fn quickstart_runs_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let printed = ok(
            folder.path(),
            &["quickstart", "--once", "--scale", "0.002", "--port", "0"],
        );
        for expected in [
            "1. Start henge",
            "2. Make data",
            "3. Load both",
            "11,957 rows published",
            "segmentGenerator",
            "4. Ask",
            "AIR",
            "5. Go on",
        ] {
            assert!(printed.contains(expected), "{expected} is missing in\n{printed}");
        }
    }
    let rows = ok(
        folder.path(),
        &[
            "sql",
            "--format",
            "csv",
            "SELECT COUNT(*) AS n, COUNT(DISTINCT orderkey) AS o FROM sales",
        ],
    );
    let expected = ok(
        folder.path(),
        &[
            "sql",
            "--format",
            "csv",
            "SELECT COUNT(*) AS n, COUNT(DISTINCT l_orderkey) AS o FROM TABLE(EXTERN('{\"type\":\"local\",\"files\":[\"henge-data/quickstart/lineitem.parquet\"]}', '{\"type\":\"parquet\"}')) EXTEND (l_orderkey BIGINT)",
        ],
    );
    assert_eq!(rows, expected);
    real_druid::reads_the_same(folder.path(), 81);
}

/// A running server that is killed when the test ends.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(HENGE)
            .args(["server", "--port", "0"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("henge runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a first line");
        let url = line.split_whitespace().nth(3).expect("a URL").to_string();
        Self { child, url }
    }

    fn stop(mut self) -> bool {
        // SAFETY: kill(2) with the id of a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        self.child.wait().expect("a child").success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_server_keeps_its_folder_and_stops_cleanly() {
    let folder = loaded();
    let server = Server::start(folder.path());
    let through = ok(
        folder.path(),
        &["sql", "--format", "csv", "SELECT COUNT(*) AS n FROM visits"],
    );
    assert_eq!(through, "n\n3\n", "the command finds the server that has the folder");
    let by_url = ok(
        folder.path(),
        &[
            "sql",
            "--url",
            &server.url,
            "--format",
            "csv",
            "SELECT MAX(n) AS n FROM visits",
        ],
    );
    assert_eq!(by_url, "n\n5\n");
    assert!(fails(folder.path(), &["server", "--port", "0"]).contains("another henge works on data folder"));
    assert!(server.stop(), "SIGTERM ends with success");
    all_visits_are_there(folder.path());
}

#[test]
fn a_killed_server_leaves_the_old_table() {
    let folder = loaded();
    let mut server = Server::start(folder.path());
    server.child.kill().expect("alive");
    server.child.wait().expect("a child");
    all_visits_are_there(folder.path());
}

#[test]
fn completions_and_help() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(ok(folder.path(), &["completions", "bash"]).contains("_henge"));
    assert!(ok(folder.path(), &["--help"]).contains("henge quickstart"));
}

/// Gives the lines of every ```sh block of a page, and of every ```sql block the statement.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(page).expect("a page");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            blocks.push(
                lines
                    .by_ref()
                    .take_while(|line| *line != "```")
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        }
    }
    blocks
}

#[test]
fn every_command_of_the_documents_works() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = loaded();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).expect("writable");
    let mut gz = flate2::write::GzEncoder::new(
        std::fs::File::create(logs.join("a.json.gz")).expect("writable"),
        flate2::Compression::fast(),
    );
    gz.write_all(ROWS.as_bytes()).expect("writable");
    gz.finish().expect("writable");
    let bin = Path::new(HENGE).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for page in [
        "README.md",
        "docs/loading.md",
        "docs/querying.md",
        "docs/sql.md",
        "docs/running.md",
    ] {
        for sql in blocks(&root.join(page), "sql") {
            ok(folder.path(), &["sql", &sql]);
            ran += 1;
        }
        for script in blocks(&root.join(page), "sh") {
            // Building needs the source tree, a server in the background needs a free port 8888: both have tests of their own.
            let script: Vec<&str> = script
                .lines()
                .filter(|l| !l.starts_with("make ") && !l.contains("henge server &") && !l.contains("127.0.0.1:8888"))
                .collect();
            for line in script {
                let output = Command::new("sh")
                    .args(["-c", line])
                    .current_dir(folder.path())
                    .env("PATH", &path)
                    .output()
                    .expect("sh runs");
                assert!(
                    output.status.success(),
                    "{page}: {line}\n{}{}",
                    text(&output.stdout),
                    text(&output.stderr)
                );
                ran += 1;
            }
        }
    }
    assert!(ran >= 12, "only {ran} commands were found");
}
