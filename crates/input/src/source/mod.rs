//! Where bytes come from.

pub(crate) mod http;
pub(crate) mod local;
