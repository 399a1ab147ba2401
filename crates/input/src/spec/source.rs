//! Input sources: the first argument of `EXTERN`.

use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

use super::json_text::{JsonText, Properties};
use crate::error::InputError;

/// Where external data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSource {
    /// Data in the statement itself.
    Inline(Arc<str>),
    /// Files of this machine.
    Local(LocalSource),
    /// Files of web servers.
    Http(HttpSource),
    /// Several sources with one format, read one after the other.
    Combining(Vec<InputSource>),
    /// Nothing.
    Nil,
}

/// Files of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    /// The folder that is searched, with everything below it.
    pub base_dir: Option<PathBuf>,
    /// Which names of files count: `*` is any text, `?` any character. Always there with `base_dir`.
    pub filter: Option<String>,
    /// Files by name.
    pub files: Vec<PathBuf>,
    /// Which columns are about the file itself.
    pub system_fields: Vec<SystemField>,
}

/// Files of web servers.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// Addresses, `http` or `https` only.
    pub uris: Vec<url::Url>,
    /// User and password of basic authentication.
    pub credentials: Option<(String, Password)>,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// Which columns are about the file itself.
    pub system_fields: Vec<SystemField>,
}

/// A password, or where it is found when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password.
    Text(String),
    /// The name of an environment variable that holds it.
    Environment(String),
}

impl std::fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSource")
            .field("uris", &self.uris.iter().map(url::Url::path).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A column that is about the file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemField {
    /// `__file_uri`, such as `file:/in/a.json`.
    Uri,
    /// `__file_path`, such as `/in/a.json`.
    Path,
}

impl SystemField {
    /// Gives the name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uri => "__file_uri",
            Self::Path => "__file_path",
        }
    }
}

const SUPPORTED: &str = "inline, local, http";

/// Sources that Druid has, in its core or in an extension.
const KNOWN_TO_DRUID: &[&str] = &[
    "s3",
    "google",
    "azure",
    "azureStorage",
    "hdfs",
    "sql",
    "iceberg",
    "delta",
    "oss",
    "static",
    "kafka",
    "kinesis",
];

impl InputSource {
    pub(crate) fn parse(text: &str) -> Result<Self, InputError> {
        let text = JsonText::source(text);
        let (name, object) = text.parse()?;
        Self::from_object(&text, &name, &object, 0)
    }

    fn from_object(
        text: &JsonText<'_>,
        name: &str,
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<Self, InputError> {
        let properties = Properties { text, object };
        match name {
            "inline" => {
                let data = properties.string("data")?.filter(|data| !data.is_empty());
                let data = data.ok_or_else(|| text.problem("InlineInputSource", "empty data"))?;
                Ok(Self::Inline(data.into()))
            }
            "local" => local(&properties).map(Self::Local),
            "http" => http(&properties).map(Self::Http),
            "nil" => Ok(Self::Nil),
            "combining" if depth == 0 => {
                let Some(Value::Array(delegates)) = properties.value("delegates") else {
                    return Err(text.problem("CombiningInputSource", "Must specify at least one delegate"));
                };
                if delegates.is_empty() {
                    return Err(text.problem("CombiningInputSource", "Must specify at least one delegate"));
                }
                let mut sources = Vec::with_capacity(delegates.len());
                for delegate in delegates {
                    let object = delegate
                        .as_object()
                        .ok_or_else(|| text.property("delegates", "a list of input sources"))?;
                    let name = object.get("type").and_then(Value::as_str).unwrap_or_default();
                    sources.push(Self::from_object(text, name, object, depth + 1)?);
                }
                Ok(Self::Combining(sources))
            }
            "combining" => Err(text.problem("CombiningInputSource", "a combining source cannot hold another")),
            // Druid's own refusal: its table is there under its name.
            "druid" => Err(InputError::InvalidJson {
                field: "inputSource",
                reason: "the input source [druid] cannot be used in EXTERN, query the table by its name".to_string(),
            }),
            _ if KNOWN_TO_DRUID.contains(&name) => Err(InputError::Unsupported {
                what: "input source",
                name: name.to_string(),
                supported: SUPPORTED,
            }),
            _ => Err(text.unknown_type(name)),
        }
    }

    /// Names the source as Druid's resources and security do.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Inline(_) => "inline",
            Self::Local(_) => "local",
            Self::Http(_) => "http",
            Self::Combining(_) => "combining",
            Self::Nil => "nil",
        }
    }

    /// Gives the sources that hold data, in order; a split names one of them by its position.
    pub fn leaves(&self) -> &[InputSource] {
        match self {
            Self::Combining(sources) => sources,
            Self::Nil => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub(crate) fn system_fields(&self) -> &[SystemField] {
        match self {
            Self::Local(local) => &local.system_fields,
            Self::Http(http) => &http.system_fields,
            _ => &[],
        }
    }
}

fn local(properties: &Properties<'_>) -> Result<LocalSource, InputError> {
    let base_dir = properties.string("baseDir")?.map(PathBuf::from);
    let filter = properties.string("filter")?;
    let files = properties.strings("files")?.unwrap_or_default();
    if base_dir.is_some() && filter.is_none() {
        return Err(properties.text.problem("LocalInputSource", "filter"));
    }
    if base_dir.is_none() && files.is_empty() {
        let problem = "At least one of baseDir or files should be specified";
        return Err(properties.text.problem("LocalInputSource", problem));
    }
    Ok(LocalSource {
        base_dir,
        filter,
        files: files.into_iter().map(PathBuf::from).collect(),
        system_fields: system_fields(properties)?,
    })
}

fn http(properties: &Properties<'_>) -> Result<HttpSource, InputError> {
    let text = properties.text;
    let uris = properties.strings("uris")?.unwrap_or_default();
    if uris.is_empty() {
        return Err(text.problem("HttpInputSource", "Empty URIs"));
    }
    let mut parsed = Vec::with_capacity(uris.len());
    for uri in &uris {
        let uri = url::Url::parse(uri)
            .map_err(|e| text.property("uris", &format!("an address like http://host/file, {e}")))?;
        if !matches!(uri.scheme(), "http" | "https") {
            return Err(text.problem("HttpInputSource", "Only [http, https] protocols are allowed"));
        }
        parsed.push(uri);
    }
    let password = match properties.value("httpAuthenticationPassword") {
        None => None,
        Some(Value::String(password)) => Some(Password::Text(password.clone())),
        Some(Value::Object(provider)) => {
            let of = |name: &str| provider.get(name).and_then(Value::as_str).map(str::to_string);
            match of("type").as_deref() {
                Some("environment") => of("variable").map(Password::Environment),
                Some("default") => of("password").map(Password::Text),
                _ => None,
            }
            .map(Some)
            .ok_or_else(|| {
                text.property(
                    "httpAuthenticationPassword",
                    "a string, or a provider of type environment or default",
                )
            })?
        }
        Some(_) => return Err(text.property("httpAuthenticationPassword", "a string or a password provider")),
    };
    let user = properties.string("httpAuthenticationUsername")?;
    let headers = properties.string_map("requestHeaders")?;
    for (name, _) in &headers {
        let lower = name.to_ascii_lowercase();
        if matches!(
            lower.as_str(),
            "host" | "content-length" | "transfer-encoding" | "connection" | "range" | "accept-encoding"
        ) {
            return Err(text.problem("HttpInputSource", &format!("Got forbidden header [{name}]")));
        }
    }
    Ok(HttpSource {
        uris: parsed,
        credentials: user.map(|user| (user, password.unwrap_or_else(|| Password::Text(String::new())))),
        headers,
        system_fields: system_fields(properties)?,
    })
}

fn system_fields(properties: &Properties<'_>) -> Result<Vec<SystemField>, InputError> {
    let names = properties.strings("systemFields")?.unwrap_or_default();
    names
        .iter()
        .map(|name| {
            [SystemField::Uri, SystemField::Path]
                .into_iter()
                .find(|field| field.name() == name)
                .ok_or_else(|| {
                    properties
                        .text
                        .property("systemFields", "[__file_uri] or [__file_path]")
                })
        })
        .collect()
}
