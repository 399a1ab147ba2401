//! Files of web servers.

use std::io::Read;

use crate::error::InputError;
use crate::spec::HttpSource;

pub(crate) fn probe(_source: &HttpSource, _uri: &url::Url) -> (Option<u64>, bool) {
    (None, false)
}

pub(crate) fn open(_source: &HttpSource, uri: &url::Url, _start: u64) -> Result<Box<dyn Read + Send>, InputError> {
    Err(InputError::Http {
        uri: shown(uri),
        reason: "not connected".to_string(),
        retryable: false,
    })
}

/// Gives the address without user and password.
pub(crate) fn shown(uri: &url::Url) -> String {
    let mut uri = uri.clone();
    // Both fail only for addresses that cannot have a user, which have none then.
    let _ = uri.set_username("");
    let _ = uri.set_password(None);
    uri.to_string()
}
