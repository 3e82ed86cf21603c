//! The files of the workspace, as the tests of its shape see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no sources of ours.
const SKIPPED_FOLDERS: [&str; 2] = ["target", "book"];

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is at crates/xtask")
        .to_owned()
}

/// Paths and sizes in bytes of all files below `folder`, but for hidden folders, what is built, and
/// databases, which git ignores. Paths begin at `folder` and have `/` between their parts.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files);
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&&*name) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if ![".db", ".db-wal", ".db-shm"]
            .iter()
            .any(|it| name.ends_with(it))
        {
            files.insert(path, entry.metadata().unwrap().len());
        }
    }
}

/// The texts of the files below `folder` whose names end with one of `endings`, by path.
pub(crate) fn texts_below(folder: &Path, endings: &[&str]) -> BTreeMap<String, String> {
    let mut files = files_below(folder);
    files.retain(|path, _| endings.iter().any(|ending| path.ends_with(ending)));
    files
        .into_keys()
        .map(|path| {
            let text = fs::read_to_string(folder.join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

/// Fails with all the errors, one a line.
#[track_caller]
pub(crate) fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}
