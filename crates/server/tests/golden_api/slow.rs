//! A web server that sends JSON lines only when it is told to, in place of the slow one of the recording.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How the recording named the server.
pub const RECORDED: &str = "localhost:18999";

/// The server. It answers `/slow/<seconds>/<rows>`: at once the rows that the recording's reader had seen when it was looked at,
/// the others when they are released. The first to read after [`SlowSource::hold`] is the planner, which takes a sample: it gets
/// those rows and the end.
pub struct SlowSource {
    pub address: SocketAddr,
    /// Told whenever a reader has got its first rows.
    pub read: Arc<Notify>,
    release: watch::Sender<bool>,
    sampled: Arc<AtomicBool>,
}

impl SlowSource {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port is known");
        let read = Arc::new(Notify::new());
        let (release, released) = watch::channel(false);
        let sampled = Arc::new(AtomicBool::new(false));
        let (told, sample) = (Arc::clone(&read), Arc::clone(&sampled));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&told), Arc::clone(&sample), released.clone()));
            }
        });
        Self {
            address,
            read,
            release,
            sampled,
        }
    }

    /// Holds rows back from now on.
    pub fn hold(&self) {
        self.sampled.store(false, Ordering::SeqCst);
        self.release.send_replace(false);
    }

    /// Lets all readers have their rows.
    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

async fn serve(
    stream: TcpStream,
    read: Arc<Notify>,
    sampled: Arc<AtomicBool>,
    mut released: watch::Receiver<bool>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await.ok()?;
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header).await.ok()? == 0 || header.trim().is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1)?;
    let rows: usize = path.rsplit('/').next()?.parse().ok()?;
    let first = match path {
        "/slow/25/50" => 10,
        "/slow/90/90" => 5,
        _ => 1,
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    if request.starts_with("HEAD") {
        return Some(());
    }
    // Three days, ten letters: what the recorded numbers of rows and bytes say.
    let row = |n: usize| {
        format!(
            "{{\"t\":\"2015-01-0{}T00:00:00Z\",\"k\":\"k{}\",\"n\":{n}}}\n",
            n % 3 + 1,
            n % 10
        )
    };
    let now: String = (0..first).map(row).collect();
    stream.write_all(now.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    if !sampled.swap(true, Ordering::SeqCst) {
        return Some(());
    }
    read.notify_one();
    released.wait_for(|released| *released).await.ok()?;
    let later: String = (first..rows).map(row).collect();
    stream.write_all(later.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}
