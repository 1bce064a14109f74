//! Finds the files a `[[source]] path` names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::SourceKind;
use crate::error::{Error, Result};

/// One file of a corpus, not yet opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// The path as the job names it: relative to the job's directory if it was given so. Goes into
    /// the lineage of the documents.
    pub name: String,
    /// Size in bytes, as stored.
    pub bytes: u64,
    /// Last modification.
    pub modified: SystemTime,
}

/// All files named by `patterns`: paths, globs (`*`, `?`, `[…]`, `**`) or directories, relative to
/// `base`. A directory stands for the files below it whose names fit `kind`, hidden ones excepted.
///
/// Sorted by path, each file once. A pattern without any file is bad input, and the error names it.
pub fn expand(kind: &SourceKind, patterns: &[String], base: &Path) -> Result<Vec<InputFile>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let before = found.len();
        let full = base.join(pattern);
        if full.exists() {
            collect(kind, &full, true, &mut found)?;
        } else if pattern.contains(['*', '?', '[']) {
            // Only the pattern is a glob; a bracket in the job's directory is itself.
            let base = glob::Pattern::escape(&base.to_string_lossy());
            let full = Path::new(&base).join(pattern);
            let matches = glob::glob(&full.to_string_lossy())
                .map_err(|error| Error::setting("source.path", format!("{pattern}: {error}"), ""))?;
            for path in matches {
                let path = path.map_err(|error| {
                    let path = error.path().to_owned();
                    Error::read(path, error.into())
                })?;
                collect(kind, &path, false, &mut found)?;
            }
        }
        if found.len() == before {
            return Err(no_file(kind, pattern, &full));
        }
    }
    found.sort();
    let mut seen = BTreeSet::new();
    let mut files = Vec::with_capacity(found.len());
    for path in found {
        let real = fs::canonicalize(&path).map_err(|error| Error::read(&path, error))?;
        if seen.insert(real) {
            let meta = fs::metadata(&path).map_err(|error| Error::read(&path, error))?;
            let modified = meta.modified().map_err(|error| Error::read(&path, error))?;
            let name = path.strip_prefix(base).unwrap_or(&path);
            files.push(InputFile {
                name: name.to_string_lossy().into_owned(),
                bytes: meta.len(),
                modified,
                path,
            });
        }
    }
    Ok(files)
}

/// Adds the file `path`, or the fitting files below the directory `path`.
fn collect(kind: &SourceKind, path: &Path, named: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if !named && is_hidden(path) {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| Error::read(path, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::read(path, error))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link to a directory is not followed: it may lead back up.
        let is_dir = entry.file_type().map_err(|error| Error::read(&path, error))?.is_dir();
        if is_dir {
            collect(kind, &path, false, found)?;
        } else if !is_hidden(&path) && kind.accepts(&name) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn no_file(kind: &SourceKind, pattern: &str, full: &Path) -> Error {
    let problem = if full.is_dir() {
        format!("the directory holds no file of kind \"{}\"", kind.name())
    } else {
        "no such file".to_owned()
    };
    Error::Input {
        path: pattern.to_owned(),
        offset: None,
        problem,
        cure: format!("looked for {}", full.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str], base: &Path) -> Result<Vec<String>> {
        let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
        let files = expand(&SourceKind::Books, &patterns, base)?;
        Ok(files.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn paths_globs_and_directories_once_each_and_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("a[1]");
        fs::create_dir_all(base.join("books/.git")).unwrap();
        for name in ["b.txt", "a.txt.gz", "books/c.txt", "books/list.csv", "books/.git/d.txt"] {
            fs::write(base.join(name), "x").unwrap();
        }
        let check = |patterns: &[&str], expected: &[&str]| {
            assert_eq!(names(patterns, &base).unwrap(), expected, "{patterns:?}");
        };
        check(&["b.txt", "*.txt*", "b.txt"], &["a.txt.gz", "b.txt"]);
        check(&["."], &["a.txt.gz", "b.txt", "books/c.txt"]);
        check(&["books"], &["books/c.txt"]);
        check(&["books/list.csv"], &["books/list.csv"]);
        check(&["**/c.txt"], &["books/c.txt"]);
        for pattern in ["none.txt", "none*.txt", "books/.git/x"] {
            let error = names(&["b.txt", pattern], &base).unwrap_err();
            assert!(error.is_bad_input());
            assert!(error.to_string().starts_with(pattern), "{error}");
        }
    }
}
