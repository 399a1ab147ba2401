//! Deep storage in a local folder, in Druid's layout (`LocalDataSegmentPusher`).
//!
//! ```text
//! <root>/intermediate_pushes/<uuid>/…            being pushed; whatever is here at start is left over and goes
//! <root>/<datasource>/<start>_<end>/<version>/<partition>/index/          version.bin meta.smoosh 00000.smoosh factory.json
//! <root>/<datasource>/<start>_<end>/<version>/<partition>/index.zip       written by older Druids; readable
//! ```
//!
//! A push moves (or, from another file system, copies) the files to `intermediate_pushes`, syncs them, and renames the folder
//! to its place: a crash leaves either nothing or all of it. Fail points: `storage-push-full` (a full disk),
//! `storage-push-before-rename`, `storage-push-after-rename`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::deep::{DeepStorage, Pushed, SegmentPath};
use crate::error::{Doing, StorageError};
use crate::limits::MAX_LAYOUT_DEPTH;

const INTERMEDIATE: &str = "intermediate_pushes";
const INDEX_FOLDER: &str = "index";
const INDEX_ZIP: &str = "index.zip";

/// A folder of segments. One process at a time pushes to it; the metadata store sees to that.
#[derive(Debug, Clone)]
pub struct LocalDeepStorage {
    root: PathBuf,
}

impl LocalDeepStorage {
    /// Opens the folder, making it where it does not exist, and removes what an ended process left half pushed.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        fs::create_dir_all(root).doing("make the folder", root)?;
        let root = root.canonicalize().doing("find the folder", root)?;
        let intermediate = root.join(INTERMEDIATE);
        remove_all(&intermediate)?;
        fs::create_dir_all(&intermediate).doing("make the folder", &intermediate)?;
        Ok(LocalDeepStorage { root })
    }

    /// Gives the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Gives the folder that a segment belongs to.
    pub fn place(&self, segment: &SegmentPath) -> Result<PathBuf, StorageError> {
        Ok(self.root.join(segment.folders()?))
    }

    fn push_blocking(&self, local: &Path, segment: &SegmentPath) -> Result<Pushed, StorageError> {
        let place = self.place(segment)?;
        let index = place.join(INDEX_FOLDER);
        let attempt = self.root.join(INTERMEDIATE).join(uuid::Uuid::new_v4().to_string());
        let result = self.push_through(local, &attempt, &place, &index);
        // Also where it went well: what was replaced is in there.
        let cleaned = remove_all(&attempt);
        let size_bytes = result?;
        cleaned?;
        let _ = fs::remove_dir_all(local);
        Ok(Pushed {
            load_spec: json!({"type": "local", "path": format!("{}/", index.display())}),
            size_bytes,
        })
    }

    /// Carries the files to their place and gives their bytes.
    fn push_through(&self, local: &Path, attempt: &Path, place: &Path, index: &Path) -> Result<u64, StorageError> {
        fs::create_dir_all(attempt).doing("make the folder", attempt)?;
        let staged = attempt.join(INDEX_FOLDER);
        fail::fail_point!("storage-push-full", |_| {
            Err(io::Error::from(io::ErrorKind::StorageFull)).doing("write the segment", &staged)
        });
        match fs::rename(local, &staged) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(local, &staged)?,
            Err(error) => return Err(error).doing("move the segment", local),
        }
        let size_bytes = sync_files(&staged)?;
        fs::create_dir_all(place).doing("make the folder", place)?;
        fail::fail_point!("storage-push-before-rename", |_| {
            Err(StorageError::Injected("storage-push-before-rename"))
        });
        if index.exists() {
            fs::rename(index, attempt.join("replaced")).doing("move the replaced segment", index)?;
        }
        fs::rename(&staged, index).doing("move the segment", index)?;
        sync_folder(place)?;
        for parent in place
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(&self.root))
        {
            sync_folder(parent)?;
        }
        fail::fail_point!("storage-push-after-rename", |_| {
            Err(StorageError::Injected("storage-push-after-rename"))
        });
        Ok(size_bytes)
    }

    /// Gives the path that a load spec names. Data folders move: what is not where it was is looked for below the root.
    fn locate(&self, load_spec: &Value) -> Result<PathBuf, StorageError> {
        let named = named_path(load_spec)?;
        if named.exists() {
            return Ok(named);
        }
        Ok(self.below_root(&named).filter(|p| p.exists()).unwrap_or(named))
    }

    /// Gives the place below the root that has the layout's part of the path.
    fn below_root(&self, named: &Path) -> Option<PathBuf> {
        let parts: Vec<_> = named.components().collect();
        let tails = [MAX_LAYOUT_DEPTH - 1, MAX_LAYOUT_DEPTH]
            .into_iter()
            .filter(|n| parts.len() > *n);
        tails
            .map(|n| self.root.join(parts[parts.len() - n..].iter().collect::<PathBuf>()))
            .find(|path| path.exists())
    }

    fn kill_blocking(&self, load_spec: &Value) -> Result<(), StorageError> {
        let path = self.locate(load_spec)?;
        let inside = path.canonicalize().map(|p| p.starts_with(&self.root) && p != self.root);
        match inside {
            Ok(true) => {}
            Ok(false) => {
                return Err(StorageError::LoadSpec {
                    load_spec: load_spec.to_string(),
                    reason: format!(
                        "its files are not below [{}] and stay where they are",
                        self.root.display()
                    ),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).doing("find the segment", &path),
        }
        remove_all(&path)?;
        self.prune(path.parent());
        Ok(())
    }

    /// Removes folders that are empty, from the given one up to the root.
    fn prune(&self, mut folder: Option<&Path>) {
        while let Some(empty) = folder.filter(|f| f.starts_with(&self.root) && **f != self.root) {
            if fs::remove_dir(empty).is_err() {
                return;
            }
            folder = empty.parent();
        }
    }

    fn collect_blocking(&self, keep: &[Value]) -> Result<Vec<PathBuf>, StorageError> {
        let mut kept = HashSet::new();
        for load_spec in keep.iter().filter(|spec| spec["type"] == "local") {
            kept.insert(normal(self.locate(load_spec)?));
        }
        let mut removed = Vec::new();
        for path in self.segments()? {
            if !kept.contains(&normal(path.clone())) {
                remove_all(&path)?;
                self.prune(path.parent());
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// Lists every segment folder and zip file in the layout.
    fn segments(&self) -> Result<Vec<PathBuf>, StorageError> {
        let mut found = Vec::new();
        let mut folders = vec![(self.root.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(&folder).doing("list the folder", &folder)? {
                let path = entry.doing("list the folder", &folder)?.path();
                let name = path.file_name().unwrap_or_default();
                // A datasource may be named like one of our folders, hence the depth.
                if depth >= MAX_LAYOUT_DEPTH - 2 && (name == INDEX_FOLDER || name == INDEX_ZIP) {
                    found.push(path);
                } else if depth < MAX_LAYOUT_DEPTH && path.is_dir() && !(depth == 0 && name == INTERMEDIATE) {
                    folders.push((path, depth + 1));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn named_path(load_spec: &Value) -> Result<PathBuf, StorageError> {
    let wrong = |reason: &str| StorageError::LoadSpec {
        load_spec: load_spec.to_string(),
        reason: reason.to_string(),
    };
    match load_spec["type"].as_str() {
        Some("local") => {}
        Some("tombstone") => return Err(wrong("a tombstone has no files")),
        _ => return Err(wrong("only files of type [local] can be read")),
    }
    load_spec["path"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| wrong("it has no [path]"))
}

/// Drops the slash at the end and resolves links, so that paths can be compared.
fn normal(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.components().collect())
}

/// Copies a flat folder of files.
fn copy(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::create_dir_all(to).doing("make the folder", to)?;
    for entry in fs::read_dir(from).doing("list the folder", from)? {
        let file = entry.doing("list the folder", from)?.path();
        let target = to.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &target).doing("copy the file", &target)?;
    }
    Ok(())
}

/// Syncs the files of a folder and the folder, and gives their bytes.
fn sync_files(folder: &Path) -> Result<u64, StorageError> {
    let mut size_bytes = 0;
    for entry in fs::read_dir(folder).doing("list the folder", folder)? {
        let path = entry.doing("list the folder", folder)?.path();
        let file = fs::File::open(&path).doing("open the file", &path)?;
        file.sync_all().doing("sync the file", &path)?;
        size_bytes += file.metadata().doing("look at the file", &path)?.len();
    }
    sync_folder(folder)?;
    Ok(size_bytes)
}

fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    let file = fs::File::open(folder).doing("open the folder", folder)?;
    file.sync_all().doing("sync the folder", folder)
}

fn remove_all(path: &Path) -> Result<(), StorageError> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

#[async_trait]
impl DeepStorage for LocalDeepStorage {
    async fn push(&self, local: &Path, segment: &SegmentPath) -> Result<Pushed, StorageError> {
        let (storage, local, segment) = (self.clone(), local.to_path_buf(), segment.clone());
        blocking("push a segment", move || storage.push_blocking(&local, &segment)).await
    }

    async fn fetch(&self, load_spec: &Value) -> Result<PathBuf, StorageError> {
        let (storage, load_spec) = (self.clone(), load_spec.clone());
        blocking("fetch a segment", move || {
            let path = storage.locate(&load_spec)?;
            fs::metadata(&path).doing("find the segment", &path)?;
            Ok(path)
        })
        .await
    }

    async fn kill(&self, load_spec: &Value) -> Result<(), StorageError> {
        let (storage, load_spec) = (self.clone(), load_spec.clone());
        blocking("remove a segment", move || storage.kill_blocking(&load_spec)).await
    }

    async fn withdraw(&self, segment: &SegmentPath) -> Result<(), StorageError> {
        let (storage, segment) = (self.clone(), segment.clone());
        blocking("withdraw a segment", move || {
            let index = storage.place(&segment)?.join(INDEX_FOLDER);
            if !index.exists() {
                return Ok(());
            }
            remove_all(&index)?;
            storage.prune(index.parent());
            Ok(())
        })
        .await
    }

    async fn collect_orphans(&self, keep: &[Value]) -> Result<Vec<PathBuf>, StorageError> {
        let (storage, keep) = (self.clone(), keep.to_vec());
        blocking("collect orphaned segments", move || storage.collect_blocking(&keep)).await
    }
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(StorageError::Interrupted { action }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorageErrorKind;

    fn path(partition: u32, unique: Option<&str>) -> SegmentPath {
        SegmentPath {
            datasource: "wiki".to_string(),
            interval: "2015-01-01/2015-01-02".parse().expect("an interval"),
            version: "2026-01-01T00:00:00.000Z".to_string(),
            partition,
            unique: unique.map(String::from),
        }
    }

    fn finished(folder: &Path, content: &str) -> PathBuf {
        let local = folder.join("finished");
        fs::create_dir_all(&local).expect("a folder");
        fs::write(local.join("version.bin"), [0, 0, 0, 9]).expect("a file");
        fs::write(local.join("00000.smoosh"), content).expect("a file");
        local
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path.display().to_string()),
                }
            }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_push_lands_in_druids_layout_and_consumes_its_source() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = LocalDeepStorage::open(&folder.path().join("segments")).expect("opens");
        let local = finished(folder.path(), "rows");
        let pushed = storage.push(&local, &path(3, None)).await.expect("pushed");
        let place = storage
            .root()
            .join("wiki/2015-01-01T00:00:00.000Z_2015-01-02T00:00:00.000Z/2026-01-01T00:00:00.000Z/3/index");
        assert_eq!(
            pushed.load_spec,
            json!({"type": "local", "path": format!("{}/", place.display())})
        );
        assert_eq!(pushed.size_bytes, 8);
        assert!(!local.exists());
        assert_eq!(
            storage.fetch(&pushed.load_spec).await.expect("there"),
            PathBuf::from(format!("{}/", place.display()))
        );

        let again = finished(folder.path(), "other rows");
        let replaced = storage.push(&again, &path(3, None)).await.expect("pushed again");
        assert_eq!(
            (replaced.load_spec, replaced.size_bytes),
            (pushed.load_spec.clone(), 14)
        );
        assert_eq!(
            fs::read_to_string(place.join("00000.smoosh")).expect("a file"),
            "other rows"
        );
        assert_eq!(files(&storage.root().join(INTERMEDIATE)), Vec::<String>::new());

        storage.kill(&pushed.load_spec).await.expect("killed");
        storage.kill(&pushed.load_spec).await.expect("killing twice is fine");
        assert_eq!(
            fs::read_dir(storage.root()).expect("a folder").count(),
            1,
            "only intermediate_pushes stays"
        );
        let error = storage.fetch(&pushed.load_spec).await.expect_err("gone");
        assert_eq!(error.kind(), StorageErrorKind::NotFound);
    }

    #[tokio::test]
    async fn orphans_go_and_named_segments_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("segments");
        let storage = LocalDeepStorage::open(&root).expect("opens");
        let mut pushed = Vec::new();
        for (partition, unique) in [(0, None), (1, None), (2, Some("attempt-1")), (2, Some("attempt-2"))] {
            let local = finished(folder.path(), "rows");
            pushed.push(
                storage
                    .push(&local, &path(partition, unique))
                    .await
                    .expect("pushed")
                    .load_spec,
            );
        }
        let zip = storage.root().join("index/a_b/v/0");
        fs::create_dir_all(&zip).expect("a folder");
        fs::write(zip.join(INDEX_ZIP), "zip").expect("a file");
        let kept_zip = json!({"type": "local", "path": zip.join(INDEX_ZIP)});

        let keep = [
            pushed[0].clone(),
            pushed[3].clone(),
            kept_zip,
            json!({"type": "tombstone", "path": null}),
        ];
        let removed = storage.collect_orphans(&keep).await.expect("collected");
        assert_eq!(removed.len(), 2, "{removed:?}");
        assert_eq!(files(storage.root()).len(), 5);
        assert_eq!(
            storage.collect_orphans(&keep).await.expect("collected"),
            Vec::<PathBuf>::new()
        );

        let moved = folder.path().join("elsewhere");
        fs::rename(&root, &moved).expect("moved");
        let storage = LocalDeepStorage::open(&moved).expect("opens");
        let found = storage.fetch(&pushed[3]).await.expect("found below the new root");
        assert!(found.starts_with(storage.root()));
        assert_eq!(
            storage.collect_orphans(&keep).await.expect("collected"),
            Vec::<PathBuf>::new(),
            "what was named before the move is named still"
        );
        assert_eq!(
            storage.collect_orphans(&keep[..2]).await.expect("collected"),
            [storage.root().join("index/a_b/v/0/index.zip")]
        );
    }

    #[tokio::test]
    async fn strange_names_and_load_specs_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = LocalDeepStorage::open(&folder.path().join("segments")).expect("opens");
        for name in ["", "..", "a/b"] {
            let mut strange = path(0, None);
            strange.datasource = name.to_string();
            assert_eq!(
                storage.place(&strange).map_err(|e| e.kind()),
                Err(StorageErrorKind::Unsupported),
                "{name}"
            );
        }
        let outside = folder.path().join("precious");
        fs::write(&outside, "data").expect("a file");
        for load_spec in [
            json!({"type": "local", "path": outside}),
            json!({"type": "local", "path": storage.root()}),
            json!({"type": "s3_zip", "key": "k"}),
            json!({"type": "tombstone", "path": null}),
        ] {
            let error = storage.kill(&load_spec).await.expect_err("refused");
            assert_eq!(error.kind(), StorageErrorKind::Unsupported, "{load_spec}");
        }
        assert!(outside.exists());
    }
}
