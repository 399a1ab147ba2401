//! Files of a web server, against a server of a few lines.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::*;
use crate::{InputErrorKind, PartRange};

/// What the server does.
#[derive(Clone, Copy, PartialEq)]
enum Manners {
    /// Sizes and ranges.
    Ranges,
    /// Neither.
    Plain,
    /// Breaks off in the middle of the first answer.
    BreaksOff,
    /// Is busy twice.
    Busy,
}

struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn serve(data: Vec<u8>, manners: Manners) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&requests);
    let answers = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (data, noted, answers) = (data.clone(), Arc::clone(&noted), Arc::clone(&answers));
            std::thread::spawn(move || answer(stream, &data, manners, &noted, &answers));
        }
    });
    Server { address, requests }
}

fn answer(
    mut stream: TcpStream,
    data: &[u8],
    manners: Manners,
    noted: &Mutex<Vec<String>>,
    answers: &AtomicUsize,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let lower = head.to_ascii_lowercase();
    noted.lock().unwrap().push(head.clone());
    let is_head = head.starts_with("HEAD");
    if head.contains("/missing") {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok();
    }
    if head.contains("/around") {
        return stream
            .write_all(b"HTTP/1.1 302 Found\r\nlocation: /around\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok();
    }
    let nth = if is_head {
        usize::MAX
    } else {
        answers.fetch_add(1, Ordering::SeqCst)
    };
    if manners == Manners::Busy && nth < 2 {
        return stream
            .write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok();
    }
    let mut status = "200 OK".to_string();
    let mut body = data;
    let mut extra = String::new();
    if manners != Manners::Plain {
        extra += "accept-ranges: bytes\r\netag: \"1\"\r\n";
        if let Some(range) = lower.split("range: bytes=").nth(1) {
            let range = range.split("\r\n").next()?;
            let (start, end) = range.split_once('-')?;
            let start: usize = start.parse().ok()?;
            let end = end.parse().map_or(data.len(), |end: usize| (end + 1).min(data.len()));
            body = &data[start..end];
            status = "206 Partial Content".to_string();
            extra += &format!("content-range: bytes {start}-{}/{}\r\n", end - 1, data.len());
        }
    }
    if manners == Manners::Plain && is_head {
        return stream
            .write_all(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .ok();
    }
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{extra}connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    if is_head {
        return Some(());
    }
    let sent = if manners == Manners::BreaksOff && nth == 0 {
        &body[..body.len() / 2]
    } else {
        body
    };
    stream.write_all(sent).ok()
}

fn text() -> String {
    (0..5_000).map(|i| format!("{{\"a\":{i}}}\n")).collect()
}

fn expected() -> Vec<Value> {
    (0..5_000).map(|i| json!({"a": i})).collect()
}

fn http(uri: String) -> ExternSpec {
    let source = json!({
        "type": "http", "uris": [uri], "httpAuthenticationUsername": "u",
        "httpAuthenticationPassword": {"type": "default", "password": "p"}, "requestHeaders": {"X-Test": "yes"}
    });
    spec(source, json!({"type": "json"}), &["a:long"])
}

#[test]
fn ranges_make_splits() {
    let server = serve(text().into_bytes(), Manners::Ranges);
    let spec = http(format!("{}/a.json", server.address));
    let limits = SplitLimits {
        split_bytes: 20_000,
        min_split_bytes: 1,
        ..SplitLimits::default()
    };
    let splits = spec.splits(&limits).unwrap();
    assert_eq!(splits.len(), 3);
    let notes = Notes::allowing(0);
    assert_eq!(to_json(&read_splits(&spec, &splits, &notes).unwrap()), expected());
    assert_eq!(notes.counts(), (5_000, text().len() as u64, 1));
    let requests = server.requests.lock().unwrap().join("").to_ascii_lowercase();
    assert!(
        requests.contains("authorization: basic dtpw") && requests.contains("x-test: yes"),
        "{requests}"
    );
}

#[test]
fn a_server_without_ranges_is_read_whole() {
    let server = serve(super::compressed::gzip(text().as_bytes()), Manners::Plain);
    let spec = http(format!("{}/a.json.gz?token=1", server.address));
    let splits = spec
        .splits(&SplitLimits {
            split_bytes: 10,
            min_split_bytes: 1,
            ..SplitLimits::default()
        })
        .unwrap();
    assert_eq!(splits.len(), 1);
    assert_eq!(splits[0].parts[0].range, PartRange::Whole);
    assert_eq!(
        to_json(&read_splits(&spec, &splits, &Notes::allowing(0)).unwrap()),
        expected()
    );
}

#[test]
fn an_answer_that_breaks_off_is_taken_up() {
    let server = serve(text().into_bytes(), Manners::BreaksOff);
    assert_eq!(rows(&http(format!("{}/a.json", server.address))), expected());
    let requests = server.requests.lock().unwrap().join("").to_ascii_lowercase();
    assert!(requests.contains("if-range: \"1\""), "{requests}");
}

#[test]
fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
    let server = serve(text().into_bytes(), Manners::Busy);
    assert_eq!(rows(&http(format!("{}/a.json", server.address))), expected());
    let error = read(&http(format!("{}/missing", server.address)), &Notes::allowing(0)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Http);
    assert!(!error.is_retryable());
    assert!(
        error.to_string().contains("/missing") && error.to_string().contains("404"),
        "{error}"
    );
    let error = read(&http(format!("{}/around", server.address)), &Notes::allowing(0)).unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("too many redirects"),
        "{error}"
    );
}

#[test]
fn nobody_there() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = read(&http(format!("http://user:secret@{closed}/a")), &Notes::allowing(0)).unwrap_err();
    assert_eq!(error.kind(), InputErrorKind::Http);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn parquet_in_ranges_and_through_a_temporary_file() {
    let data = super::parquet::numbers(1_000, 100);
    for manners in [Manners::Ranges, Manners::Plain] {
        let server = serve(data.clone(), manners);
        let source = json!({"type": "http", "uris": [format!("{}/a.parquet", server.address)]});
        let spec = spec(source, json!({"type": "parquet"}), &["n:long"]);
        let limits = SplitLimits {
            split_bytes: 1_000,
            min_split_bytes: 1,
            ..SplitLimits::default()
        };
        let splits = spec.splits(&limits).unwrap();
        assert_eq!(splits.len() > 1, manners == Manners::Ranges);
        let rows = to_json(&read_splits(&spec, &splits, &Notes::allowing(0)).unwrap());
        assert_eq!(rows, (0..1_000).map(|i| json!({"n": i})).collect::<Vec<_>>());
    }
}
