//! Files of web servers.
//!
//! A fetch runs on a thread of its own and hands chunks over a bounded queue: the client blocks, and a thread of its own may
//! block whatever the caller's thread belongs to. A body that breaks off is taken up where it broke, if the server has
//! ranges and the file has not changed; Druid does the same.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE,
};

use crate::error::InputError;
use crate::limits;
use crate::spec::{HttpSource, Password};

/// Asks for size and ranges. A server that does not answer is no error here: it gets its chance when it is read.
pub(crate) fn probe(source: &HttpSource, uri: &url::Url) -> (Option<u64>, bool) {
    let (source, uri) = (source.clone(), uri.clone());
    let asked = std::thread::spawn(move || {
        let asked = request(&client().ok()?.head(uri.clone()), &source)?;
        let patience = Duration::from_secs(limits::HTTP_PROBE_TIMEOUT_SECONDS);
        let response = asked.timeout(patience).send().ok()?;
        response
            .status()
            .is_success()
            .then(|| (length(response.headers()), has_ranges(response.headers())))
    });
    asked.join().ok().flatten().unwrap_or((None, false))
}

/// Opens the bytes from `start` to the end.
pub(crate) fn open(source: &HttpSource, uri: &url::Url, start: u64) -> Result<Box<dyn Read + Send>, InputError> {
    stream(source, uri, start..limits::MAX_HTTP_BODY_BYTES)
}

/// Fetches a range into memory.
pub(crate) fn fetch(source: &HttpSource, uri: &url::Url, range: Range<u64>) -> Result<Bytes, InputError> {
    let expected = range.end.saturating_sub(range.start);
    let mut bytes = Vec::new();
    let read = stream(source, uri, range)?.take(expected).read_to_end(&mut bytes);
    read.map_err(
        |e| match e.get_ref().and_then(|inner| inner.downcast_ref::<InputError>()) {
            Some(inner) => inner.clone(),
            None => failed(uri, e.to_string(), true),
        },
    )?;
    if bytes.len() as u64 != expected {
        let reason = format!("{expected} bytes were asked for, {} came", bytes.len());
        return Err(failed(uri, reason, true));
    }
    Ok(bytes.into())
}

/// Gives the address without user and password.
pub(crate) fn shown(uri: &url::Url) -> String {
    let mut uri = uri.clone();
    // Both fail only for addresses that cannot have a user, which have none then.
    let _ = uri.set_username("");
    let _ = uri.set_password(None);
    uri.to_string()
}

fn failed(uri: &url::Url, reason: impl Into<String>, retryable: bool) -> InputError {
    InputError::Http {
        uri: shown(uri),
        reason: reason.into(),
        retryable,
    }
}

fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(Duration::from_secs(limits::HTTP_CONNECT_TIMEOUT_SECONDS))
        // For a blocking client this is the time between two chunks, not that of the whole body.
        .timeout(Duration::from_secs(limits::HTTP_IDLE_TIMEOUT_SECONDS))
        .redirect(reqwest::redirect::Policy::limited(limits::HTTP_REDIRECTS))
        .user_agent("henge")
        .build()
}

fn request(builder: &RequestBuilder, source: &HttpSource) -> Option<RequestBuilder> {
    let mut builder = builder.try_clone()?.header(ACCEPT_ENCODING, "identity");
    for (name, value) in &source.headers {
        builder = builder.header(name, value);
    }
    if let Some((user, password)) = &source.credentials {
        let password = match password {
            Password::Text(password) => Some(password.clone()),
            Password::Environment(variable) => std::env::var(variable).ok(),
        };
        builder = builder.basic_auth(user, password);
    }
    Some(builder)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn has_ranges(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_RANGES)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"bytes"))
}

type Chunk = Result<Bytes, InputError>;

fn stream(source: &HttpSource, uri: &url::Url, range: Range<u64>) -> Result<Box<dyn Read + Send>, InputError> {
    let (to, from) = sync_channel(limits::HTTP_QUEUED_CHUNKS);
    let fetcher = Fetcher {
        source: source.clone(),
        uri: uri.clone(),
        at: range.start,
        end: range.end,
        etag: None,
        tries: 0,
    };
    std::thread::Builder::new()
        .name("fetch".to_string())
        .spawn(move || fetcher.run(&to))
        .map_err(|e| InputError::io("start a thread to fetch", shown(uri), e))?;
    Ok(Box::new(Body {
        from,
        chunk: Bytes::new(),
    }))
}

/// The reading end: gives what the thread sends.
struct Body {
    from: Receiver<Chunk>,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.from.recv() {
                Ok(Ok(chunk)) => self.chunk = chunk,
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Ok(0),
            }
        }
        let n = self.chunk.len().min(to.len());
        to[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

/// The thread's end.
struct Fetcher {
    source: HttpSource,
    uri: url::Url,
    /// The next byte that is needed, and one after the last.
    at: u64,
    end: u64,
    /// What tells that the file is still the same.
    etag: Option<reqwest::header::HeaderValue>,
    tries: u32,
}

/// Bytes handed over at a time.
const CHUNK_BYTES: usize = 256 << 10;

impl Fetcher {
    fn run(mut self, to: &SyncSender<Chunk>) {
        // A failed send means that nobody reads any more.
        loop {
            match self.attempt(to) {
                Ok(()) => return,
                Err(error) => {
                    self.tries += 1;
                    if !error.is_retryable() || self.tries >= limits::HTTP_TRIES {
                        let _ = to.send(Err(error));
                        return;
                    }
                    tracing::warn!("{error}, trying again ({} of {})", self.tries, limits::HTTP_TRIES - 1);
                    std::thread::sleep(Duration::from_millis(250 << self.tries));
                }
            }
        }
    }

    fn attempt(&mut self, to: &SyncSender<Chunk>) -> Result<(), InputError> {
        let mut response = self.send()?;
        let resumable = response.status() == StatusCode::PARTIAL_CONTENT || has_ranges(response.headers());
        let mut begun = false;
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let n = match response.read(&mut chunk) {
                Ok(n) => n,
                Err(e) => {
                    let reason = format!("the body broke off: {}", innermost(&e));
                    return Err(failed(&self.uri, reason, resumable || !begun));
                }
            };
            if n == 0 {
                return Ok(());
            }
            begun = true;
            let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            chunk.truncate(n.min(wanted));
            self.at += chunk.len() as u64;
            if to.send(Ok(chunk.into())).is_err() {
                return Ok(());
            }
            if n >= wanted {
                if self.end == limits::MAX_HTTP_BODY_BYTES {
                    return Err(InputError::Limit {
                        what: "the body",
                        path: shown(&self.uri),
                        limit: limits::MAX_HTTP_BODY_BYTES,
                        remedy: "cut the file",
                    });
                }
                return Ok(());
            }
        }
    }

    fn send(&mut self) -> Result<Response, InputError> {
        let uri = &self.uri;
        let client = client().map_err(|e| failed(uri, e.without_url().to_string(), false))?;
        let mut get = request(&client.get(uri.clone()), &self.source)
            .ok_or_else(|| failed(uri, "the request cannot be built", false))?;
        let bounded = self.end < limits::MAX_HTTP_BODY_BYTES;
        let ranged = self.at > 0 || bounded;
        if ranged {
            let last = if bounded {
                self.end.saturating_sub(1).to_string()
            } else {
                String::new()
            };
            get = get.header(RANGE, format!("bytes={}-{last}", self.at));
            if let Some(etag) = &self.etag {
                get = get.header(IF_RANGE, etag.clone());
            }
        }
        let response = get.send().map_err(|e| {
            // The next try would be sent around in the same circle.
            let passing = !e.is_redirect() && !e.is_builder();
            failed(uri, cause(e), passing)
        })?;
        let status = response.status();
        if ranged && status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(failed(uri, "the file is shorter than it was", false));
        }
        if !status.is_success() {
            let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            return Err(failed(uri, format!("the server answered {status}"), passing));
        }
        if ranged && !begins_at(&response, self.at) {
            return Err(failed(
                uri,
                "the server did not answer with the range that was asked for",
                false,
            ));
        }
        // A weak tag does not promise the same bytes.
        self.etag = response
            .headers()
            .get(ETAG)
            .filter(|tag| !tag.as_bytes().starts_with(b"W/"))
            .cloned();
        Ok(response)
    }
}

/// Tells whether the body begins at this byte.
fn begins_at(response: &Response, at: u64) -> bool {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return at == 0;
    }
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| {
        range
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .trim()
            .parse::<u64>()
            .ok()
    });
    start == Some(at)
}

/// Words the cause of an error that has no cause itself: those above may name the address, which may hold credentials.
fn innermost(error: &io::Error) -> String {
    let mut text = error.kind().to_string();
    let mut source = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(inner) = source {
        source = inner.source();
        if source.is_none() {
            text = inner.to_string();
        }
    }
    text
}

/// Words a transport error with its innermost cause, and without the address, which may hold credentials.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{error}: {inner}");
        source = inner.source();
    }
    text
}
