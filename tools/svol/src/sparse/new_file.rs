// SPDX-License-Identifier: GPL-2.0

//! A file that has its name only when all is in it.

use anyhow::{bail, Context, Result};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A new file. Until it is published its name ends in `.part`: if that is cut off, half of it does
/// not look like all of it. If it is dropped before, there is no file.
pub(crate) struct NewFile<'a> {
    path: &'a Path,
    part: PathBuf,
    file: File,
    /// It is not to go away with this.
    is_whole: bool,
}

impl<'a> NewFile<'a> {
    pub(crate) fn create(path: &'a Path) -> Result<Self> {
        // It would be found in the end, too; that may be hours later.
        if fs::symlink_metadata(path).is_ok() {
            bail!("{} exists already", path.display());
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)
            .with_context(|| format!("cannot make {}", part.display()))?;
        Ok(Self {
            path,
            part,
            file,
            is_whole: false,
        })
    }

    pub(crate) fn set_len(&self, bytes: u64) -> Result<()> {
        self.written(self.file.set_len(bytes))
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.written(self.file.write_all_at(bytes, offset))
    }

    fn written(&self, result: io::Result<()>) -> Result<()> {
        result.with_context(|| format!("cannot write {}", self.part.display()))
    }

    /// Gives it its name, durably. It never takes the place of another file.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.written(self.file.sync_all())?;
        self.is_whole = true;
        // Unlike a rename, this fails if somebody else has made such a file meanwhile.
        fs::hard_link(&self.part, self.path).with_context(|| {
            let (part, path) = (self.part.display(), self.path.display());
            format!("cannot name it {path}, all of it is in {part}")
        })?;
        fs::remove_file(&self.part)
            .with_context(|| format!("cannot remove {}", self.part.display()))?;
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("cannot sync {}", folder.display()))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            // What went wrong is told already.
            let _ = fs::remove_file(&self.part);
        }
    }
}
