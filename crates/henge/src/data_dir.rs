//! One process a data folder: `henge.lock` is held while a process works on the folder, and says at which URL it answers.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The held lock of a data folder; dropping it releases the folder.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

/// Who has the folder.
#[derive(Debug)]
pub enum Claim {
    /// This process, from now on.
    Ours(DataDirLock),
    /// Another process; its URL, where it serves one.
    Theirs(Option<String>),
}

/// Creates the folder where it is missing and tries to take it.
pub fn claim(dir: &Path) -> Result<Claim, Failure> {
    let at = |path: PathBuf, error: std::io::Error| {
        Failure::new(format!("cannot use data folder [{}]: {error}", path.display()))
            .remedy("give a folder that you may write to with --dir")
    };
    std::fs::create_dir_all(dir).map_err(|error| at(dir.to_path_buf(), error))?;
    let path = dir.join("henge.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| at(path.clone(), error))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(|error| at(path, error))?;
            Ok(Claim::Ours(DataDirLock { file }))
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut url = String::new();
            file.read_to_string(&mut url).ok();
            let url = url.trim();
            Ok(Claim::Theirs((!url.is_empty()).then(|| url.to_string())))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(at(path, error)),
    }
}

impl DataDirLock {
    /// Says at which URL this process answers, for commands that find the folder taken.
    pub fn announce(&mut self, url: &str) -> Result<(), Failure> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(url.as_bytes())?;
        self.file.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner() {
        let dir = tempfile::tempdir().expect("a folder");
        let Ok(Claim::Ours(mut lock)) = claim(dir.path()) else {
            panic!("the folder is free")
        };
        lock.announce("http://127.0.0.1:1").expect("writable");
        let Ok(Claim::Theirs(url)) = claim(dir.path()) else {
            panic!("the folder is taken")
        };
        assert_eq!(url.as_deref(), Some("http://127.0.0.1:1"));
        drop(lock);
        assert!(matches!(claim(dir.path()), Ok(Claim::Ours(_))));
    }
}
