//! Files of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::InputError;
use crate::limits;
use crate::spec::LocalSource;

/// Lists the files that are there and not empty, folders first, in the order of their paths.
pub(crate) fn list(source: &LocalSource) -> Result<Vec<(PathBuf, u64)>, InputError> {
    let mut found = Vec::new();
    if let (Some(base_dir), Some(filter)) = (&source.base_dir, &source.filter) {
        let meta = fs::metadata(base_dir).map_err(|e| InputError::io("list", base_dir.to_string_lossy(), e))?;
        if !meta.is_dir() {
            return Err(InputError::corrupt(
                base_dir.to_string_lossy(),
                "baseDir is not a folder",
            ));
        }
        // Druid takes files that are also named in `files` from there.
        let named: Vec<_> = source.files.iter().filter_map(|file| file.file_name()).collect();
        let mut folders = vec![base_dir.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |e| InputError::io("list", folder.to_string_lossy(), e);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                let path = entry.path();
                // A linked folder is not followed: it may lead in a circle.
                if kind.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = entry.file_name();
                if named.contains(&name.as_os_str()) || !wildcard(filter.as_bytes(), name.to_string_lossy().as_bytes())
                {
                    continue;
                }
                push(&mut found, path)?;
                if found.len() > limits::MAX_LISTED_FILES {
                    return Err(InputError::Limit {
                        what: "the number of files",
                        path: base_dir.to_string_lossy().into_owned(),
                        limit: limits::MAX_LISTED_FILES as u64,
                        remedy: "narrow the filter, or load folder by folder",
                    });
                }
            }
        }
        found.sort();
        if found.is_empty() {
            tracing::info!("filter [{filter}] matches no files in [{}]", base_dir.display());
        }
    }
    for file in &source.files {
        push(&mut found, file.clone())?;
    }
    Ok(found)
}

fn push(found: &mut Vec<(PathBuf, u64)>, path: PathBuf) -> Result<(), InputError> {
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Err(InputError::corrupt(
            path.to_string_lossy(),
            "it is a folder, name it as baseDir with a filter",
        )),
        Ok(meta) => {
            if meta.len() > 0 {
                found.push((path, meta.len()));
            }
            Ok(())
        }
        // Druid asks a missing file for its length, gets 0, and leaves it out like an empty one.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            tracing::warn!("input file [{}] does not exist and is left out", path.display());
            Ok(())
        }
        Err(e) => Err(InputError::io("read", path.to_string_lossy(), e)),
    }
}

/// Matches `*` and `?` against a whole name.
fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last `*` does not match.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(b'?') => {
                // One character, however many bytes it has.
                p += 1;
                n += 1;
                while name.get(n).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    n += 1;
                }
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    p = after;
                    n = from + 1;
                    retry = Some((after, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

pub(crate) fn open(path: &Path, start: u64) -> Result<Box<dyn Read + Send>, InputError> {
    Ok(Box::new(file(path, start)?))
}

pub(crate) fn file(path: &Path, start: u64) -> Result<File, InputError> {
    let mut file = File::open(path).map_err(|e| InputError::io("open", path.to_string_lossy(), e))?;
    if start > 0 {
        file.seek(SeekFrom::Start(start))
            .map_err(|e| InputError::io("read", path.to_string_lossy(), e))?;
    }
    Ok(file)
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Gives the address as Java's `File.toURI` does: `file:/in/a.json`.
pub(crate) fn uri(path: &Path) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'[')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}')
        .add(b'\\');
    let path = absolute(path);
    format!(
        "file:{}",
        percent_encoding::utf8_percent_encode(&path.to_string_lossy(), KEPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        let matches = |pattern: &str, name: &str| wildcard(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("*.json", "a.json"),
            ("a?c", "abc"),
            ("a?c", "aéc"),
            ("*a*b", "xaxab"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.json", "a.json.gz"), ("a?c", "ac"), ("A", "a"), ("", "a"), ("?", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn listing_is_recursive_sorted_and_leaves_out_the_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for (name, text) in [
            ("b.json", "1"),
            ("a.json", "22"),
            ("c.csv", "1"),
            ("sub/d.json", "1"),
            ("empty.json", ""),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let source = LocalSource {
            base_dir: Some(dir.path().to_path_buf()),
            filter: Some("*.json".to_string()),
            files: vec![dir.path().join("absent.json"), dir.path().join("c.csv")],
            system_fields: vec![],
        };
        let names: Vec<String> = list(&source)
            .unwrap()
            .iter()
            .map(|(path, size)| format!("{} {size}", path.strip_prefix(dir.path()).unwrap().display()))
            .collect();
        assert_eq!(names, ["a.json 2", "b.json 1", "sub/d.json 1", "c.csv 1"]);
        assert_eq!(uri(Path::new("/in/a b.json")), "file:/in/a%20b.json");
    }
}
