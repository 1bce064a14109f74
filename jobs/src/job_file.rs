//! Job files: TOML, with `--set` applied.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::exit::BadRequest;

/// Keys whose values are paths: given with `--set`, they start from the current directory.
const PATHS: [&str; 6] =
    ["store.path", "tokenizer.vocab", "data.train", "data.validation", "model.init", "run.output"];

/// A job file, read and overridden.
pub struct JobFile {
    /// Its content.
    pub table: Table,
    /// The directory that relative paths in it start from.
    pub base: PathBuf,
    /// Its name without directories and `.toml`.
    pub stem: String,
}

impl JobFile {
    /// Reads `path` and applies `sets` (`section.key=value`).
    pub fn load(path: &Path, sets: &[String]) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(cloze_schemas::Error::io(path))?;
        let mut table: Table =
            text.parse().map_err(|e| BadRequest(format!("{}: {}", path.display(), one_line(&e))))?;
        for set in sets {
            apply(&mut table, set).map_err(|message| BadRequest(format!("--set {set}: {message}")))?;
        }
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { table, base, stem })
    }
}

/// The first line of a TOML error says where, the last one what.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    match lines.as_slice() {
        [first, .., last] => format!("{first}: {last}"),
        _ => text.trim().to_owned(),
    }
}

fn apply(table: &mut Table, set: &str) -> Result<(), String> {
    let (key, text) = set.split_once('=').ok_or("write SECTION.KEY=VALUE")?;
    // What is no TOML value is a string: quotes are hard to get through a shell.
    let mut value = format!("x = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("x"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    if is_path(key) {
        let absolute = |text: &str| {
            if text.contains("://") {
                return Ok(text.to_owned());
            }
            std::path::absolute(text).map(|path| path.display().to_string()).map_err(|e| e.to_string())
        };
        match &mut value {
            Value::Array(items) => {
                for item in items {
                    let text = item.as_str().ok_or("expected paths")?;
                    *item = Value::String(absolute(text)?);
                }
            }
            // A dataset may be named by its bare name in the store.
            _ if key.starts_with("data.") && !text.contains('/') && !Path::new(text).exists() => {
                value = Value::String(text.trim_matches('"').to_owned());
            }
            _ => value = Value::String(absolute(text.trim_matches('"'))?),
        }
    }
    let segments: Vec<&str> = key.split('.').collect();
    let (last, sections) = segments.split_last().expect("split gives one item at least");
    if sections.is_empty() || segments.iter().any(|segment| segment.is_empty()) {
        return Err("write SECTION.KEY=VALUE".to_owned());
    }
    let mut here = &mut *table;
    let mut sections = sections.iter().peekable();
    while let Some(section) = sections.next() {
        let next = here.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        here = match next {
            Value::Table(table) => table,
            Value::Array(items) => {
                let index = sections.next().and_then(|text| text.parse::<usize>().ok());
                let count = items.len();
                let item = index.and_then(|index| items.get_mut(index));
                item.and_then(Value::as_table_mut)
                    .ok_or_else(|| format!("{section} is a list of {count}; write {section}.0.KEY=VALUE"))?
            }
            _ => return Err(format!("{section} is a value, not a section")),
        };
    }
    here.insert((*last).to_owned(), value);
    Ok(())
}

fn is_path(key: &str) -> bool {
    PATHS.contains(&key) || matches!(key.split('.').collect::<Vec<_>>().as_slice(), ["source", _, "path"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, sets: &[&str]) -> Result<Table, String> {
        let mut table = text.parse().unwrap();
        sets.iter().try_for_each(|set| apply(&mut table, set))?;
        Ok(table)
    }

    #[test]
    fn values_keep_their_types() {
        let table =
            set("[a]\nb = 1", &["a.b=2", "a.c=1e-4", "a.d=true", "a.e=plain text", "n.e.w=\"q\""]).unwrap();
        let expected = "[a]\nb = 2\nc = 1e-4\nd = true\ne = \"plain text\"\n[n.e]\nw = \"q\"";
        assert_eq!(table, expected.parse().unwrap());
    }

    #[test]
    fn paths_start_from_the_current_directory() {
        let job = "[[source]]\npath = \"x\"\n[[source]]\npath = \"y\"";
        let table = set(job, &["source.1.path=z/*.txt", "store.path=s"]).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(table["source"][0]["path"].as_str(), Some("x"));
        assert_eq!(table["source"][1]["path"].as_str(), here.join("z/*.txt").to_str());
        assert_eq!(table["store"]["path"].as_str(), here.join("s").to_str());
    }

    #[test]
    fn what_cannot_be_set_says_so() {
        for (bad, expected) in [
            ("a=1", "SECTION.KEY"),
            ("a.b", "SECTION.KEY"),
            ("s.t.u=1", "not a section"),
            ("l.5.x=1", "list of 1"),
        ] {
            let error = set("[s]\nt = 1\n[[l]]\nx = 0", &[bad]).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
