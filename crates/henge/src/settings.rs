//! Settings of the process: options over environment over `henge.toml` over defaults.

use std::path::{Path, PathBuf};

use clap::Args;
use henge_engine::EngineConfig;
use serde::Deserialize;

use crate::failure::Failure;

/// Smallest memory number that henge accepts: below it not even one sort fits.
const MIN_MEMORY_BYTES: u64 = 128 << 20;

/// Memory taken when the machine does not say how much it has.
const FALLBACK_MEMORY_BYTES: u64 = 2 << 30;

/// Options that every command on a data folder has.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Data folder: metadata, segments, reports.
    #[arg(long, env = "HENGE_DIR", value_name = "FOLDER", default_value = "henge-data")]
    pub dir: PathBuf,
    /// The one memory number: caches, sorts, joins and segment writers share it [default: half of what the machine or
    /// its cgroup allows]
    #[arg(long, env = "HENGE_MEMORY", value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Threads that compute, and tasks that run at once [default: the machine's cores]
    #[arg(long, env = "HENGE_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// What `henge.toml` may say.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// As `--memory`.
    pub memory: Option<String>,
    /// As `--threads`.
    pub threads: Option<u16>,
    /// As `--host` of the server.
    pub host: Option<String>,
    /// As `--port` of the server.
    pub port: Option<u16>,
}

impl DataArgs {
    /// Reads `henge.toml` of the data folder, if there is one.
    pub fn file(&self) -> Result<SettingsFile, Failure> {
        let path = self.dir.join("henge.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Failure::new(format!(
                    "cannot read settings in [{}]: {}",
                    path.display(),
                    error.to_string().trim_end()
                ))
                .remedy("known settings are memory, threads, host and port")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SettingsFile::default()),
            Err(error) => Err(Failure::new(format!(
                "cannot read settings in [{}]: {error}",
                path.display()
            ))),
        }
    }

    /// Puts everything together for an engine that others reach at `advertised`.
    pub fn engine_config(&self, file: &SettingsFile, advertised: String) -> Result<EngineConfig, Failure> {
        let memory_bytes = match (self.memory, &file.memory) {
            (Some(bytes), _) => bytes,
            (None, Some(text)) => {
                parse_bytes(text).map_err(|error| Failure::new(format!("setting memory in henge.toml: {error}")))?
            }
            (None, None) => default_memory_bytes(),
        };
        if memory_bytes < MIN_MEMORY_BYTES {
            return Err(Failure::new(format!("{memory_bytes} bytes of memory are too few"))
                .remedy(format!("give at least --memory {}MB", MIN_MEMORY_BYTES >> 20)));
        }
        let threads = match self.threads.or(file.threads) {
            Some(threads) => usize::from(threads.max(1)),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let dir = std::path::absolute(&self.dir)?;
        Ok(EngineConfig {
            dir,
            memory_bytes,
            threads,
            advertised,
        })
    }
}

/// Reads `1GB`, `512 MiB`, `1.5g` or a plain number of bytes. A kilobyte is 1,024 bytes, as for a JVM's heap.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("cannot read [{text}] as bytes, expected for example 1GB"))?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => {
            return Err(format!(
                "cannot read unit [{}] in [{text}], expected KB, MB, GB or TB",
                unit.trim()
            ));
        }
    };
    let bytes = number * f64::from(1u32 << (shift % 30)) * if shift >= 30 { 1_073_741_824.0 } else { 1.0 };
    if !bytes.is_finite() || bytes > 1e18 {
        return Err(format!("[{text}] is more memory than any machine has"));
    }
    Ok(bytes as u64)
}

/// Half of the smallest of: cgroup limit (v2, v1), the machine's memory.
fn default_memory_bytes() -> u64 {
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let cgroup = limits.iter().filter_map(|path| read_number(Path::new(path))).min();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    let all = [cgroup, machine].into_iter().flatten().min();
    all.map_or(FALLBACK_MEMORY_BYTES, |bytes| (bytes / 2).max(MIN_MEMORY_BYTES))
}

fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes() {
        for (text, bytes) in [
            ("1GB", 1 << 30),
            ("512 MiB", 512 << 20),
            ("1.5g", 3 << 29),
            ("4096", 4096),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "1XB", "-1GB", "1e40TB", "99999999999999TB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<SettingsFile>("memroy = \"1GB\"").is_err());
        let file: SettingsFile = toml::from_str("memory = \"1GB\"\nport = 8080").expect("valid");
        assert_eq!(
            file,
            SettingsFile {
                memory: Some("1GB".to_string()),
                port: Some(8080),
                ..SettingsFile::default()
            }
        );
    }
}
