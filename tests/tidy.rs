//! The rules of the house that a compiler doesn't know.

use std::fs;
use std::path::{Path, PathBuf};

use crate::util::{ROOT, files};

/// Every source file of ours: (path from the root, text).
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(ROOT).canonicalize().unwrap();
    let directories = ["schemas", "pipeline", "trainer", "jobs", "tests", "docs", ".ci"];
    let mut paths: Vec<PathBuf> =
        directories.iter().flat_map(|directory| files(&root.join(directory))).collect();
    paths.extend(fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()));
    let is_source = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_file() && (["rs", "toml", "md", "py"].contains(&extension) || name == "run")
    };
    let mut sources: Vec<(PathBuf, String)> = paths
        .into_iter()
        .filter(is_source)
        .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    sources.sort();
    assert!(sources.len() > 50, "{}", sources.len());
    sources
}

#[test]
fn dependencies_point_downwards() {
    let ours = ["cloze-schemas", "cloze-pipeline", "cloze-trainer", "cloze-jobs"];
    let allowed: [(&str, &[&str]); 4] = [
        ("schemas", &[]),
        ("pipeline", &["cloze-schemas"]),
        ("trainer", &["cloze-schemas"]),
        ("jobs", &["cloze-schemas", "cloze-pipeline", "cloze-trainer"]),
    ];
    for (directory, allowed) in allowed {
        let text = fs::read_to_string(Path::new(ROOT).join(directory).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names =
                manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
            for name in names.filter(|name| ours.contains(&name.as_str())) {
                assert!(allowed.contains(&name.as_str()), "{directory} depends on {name}");
            }
        }
    }
    for (path, text) in sources() {
        let forbidden: &[&str] = match path.iter().next().and_then(|first| first.to_str()) {
            Some("schemas") => &["cloze_pipeline", "cloze_trainer"],
            Some("pipeline") => &["cloze_trainer"],
            Some("trainer") => &["cloze_pipeline"],
            _ => &[],
        };
        for name in forbidden {
            assert!(!text.contains(name), "{} mentions {name}", path.display());
        }
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Spelt apart, so that this file passes.
    let forbidden = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["/Us", "ers/"], ["/tmp/", "plan"]];
    for (path, text) in sources() {
        for parts in &forbidden {
            let name = parts.concat();
            assert!(!text.contains(&name), "{} mentions {name}", path.display());
        }
    }
}

#[test]
fn files_are_short() {
    let lines = sources().into_iter().map(|(path, text)| (text.lines().count(), path));
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let long: Vec<_> = lines.filter(|(lines, path)| *lines > 450 && is_rust(path)).collect();
    assert!(long.is_empty(), "split these: {long:?}");
}

#[test]
fn modules_say_what_they_are_for_and_libraries_export_by_name() {
    for (path, text) in sources() {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        // Tests beside the code are described by it.
        let is_tests = path.file_name().is_some_and(|name| name == "tests.rs");
        let start = text.trim_start_matches("#![cfg(test)]").trim_start();
        assert!(is_tests || start.starts_with("//!"), "{} does not begin with //!", path.display());
        for line in text.lines().filter(|line| line.trim_start().starts_with("pub use")) {
            assert!(!line.contains("::*"), "{}: {line}", path.display());
        }
        for unfinished in ["todo!", "unimplemented!", concat!("TO", "DO"), concat!("FIX", "ME")] {
            let mentions = text.lines().any(|line| line.contains(unfinished) && !line.contains("unfinished"));
            assert!(!mentions, "{} has {unfinished}", path.display());
        }
    }
}
