//! Datasets as a stranger reads them: Python with pyarrow, a script that knows nothing of our code.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::util::{JOB, ROOT, Ran, Scratch, vocabulary};

/// `python3`, if it is there and can import pyarrow.
pub fn python_with_pyarrow() -> Option<Command> {
    let found = Command::new("python3").args(["-c", "import pyarrow.parquet"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: python3 cannot import pyarrow");
    }
    found.then(|| Command::new("python3"))
}

fn check(dataset: &Path) -> Ran {
    let script = Path::new(ROOT).join("tests/python/check_dataset.py");
    Ran::of(python_with_pyarrow().expect("asked before").arg(script).arg(dataset))
}

#[test]
fn every_invariant_holds_for_a_reader_in_python() {
    if python_with_pyarrow().is_none() {
        return;
    }
    let scratch = Scratch::with_corpus();
    let jobs: [(&str, &[&str]); 3] = [
        ("plain", &[]),
        ("words", &["examples.masking=whole-word", "examples.max_seq_length=64", "documents.validation=0"]),
        ("replay", &["examples.compat=google"]),
    ];
    for (name, sets) in jobs {
        let name = format!("examples.name={name}");
        let dataset = scratch.prepare("job.toml", &[&[name.as_str()], sets].concat());
        let ran = check(&dataset);
        assert_eq!(ran.code, Some(0), "{name}\n{}{}", ran.stdout, ran.stderr);
        let statistics = ran.json();
        let own = scratch.ok(&["inspect", dataset.to_str().unwrap()]);
        for (theirs, ours) in [
            ("rows", "examples"),
            ("tokens", "tokens"),
            ("mean_length", "mean_length"),
            ("random_pairs", "random_pairs"),
            ("mask_share", "mask_share"),
            ("keep_share", "keep_share"),
            ("random_share", "random_share"),
        ] {
            let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{theirs}: {value}"));
            let (theirs, ours) = (number(&statistics["train"][theirs]), number(&own["train"][ours]));
            assert!((theirs - ours).abs() < 1e-9, "{name}: {theirs} is not {ours}");
        }
    }
}

#[test]
fn the_reader_in_python_notices_damage() {
    if python_with_pyarrow().is_none() {
        return;
    }
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &[]);
    let path = dataset.join("manifest.json");
    let whole = fs::read_to_string(&path).unwrap();
    let check_refused = |from: &str, to: &str, expected: &str| {
        assert!(whole.contains(from), "{from}");
        fs::write(&path, whole.replace(from, to)).unwrap();
        let ran = check(&dataset);
        assert_eq!(ran.code, Some(1), "{from}: {}", ran.stdout);
        assert!(ran.stderr.contains(expected), "{from}: {}", ran.stderr);
    };
    check_refused("\"max_predictions_per_seq\": 5", "\"max_predictions_per_seq\": 2", "row 0");
    check_refused("\"max_seq_length\": 32", "\"max_seq_length\": 31", "row ");
    check_refused("\"mask\": 5", "\"mask\": 6", "row ");
    check_refused("\"split\": \"validation\"", "\"split\": \"train\"", "validation");
    fs::write(&path, &whole).unwrap();
    assert_eq!(check(&dataset).code, Some(0));
    let shard = dataset.join("train/00001-of-00002.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    fs::write(&shard, bytes).unwrap();
    assert!(check(&dataset).stderr.contains("00001-of-00002.parquet"));
}

/// More than 65,536 entries need wider ids.
#[test]
fn a_wide_vocabulary() {
    let scratch = Scratch::with_corpus();
    let more: Vec<String> = (0..66_000).map(|i| format!("word{i}")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    // The common words come last, beyond 16 bits.
    let small = vocabulary(&[]);
    let (special, words) = small.split_at(small.find("a\n##a").unwrap());
    scratch.write("vocab.txt", format!("{special}{}\n{words}", more.join("\n")));
    scratch.write("job.toml", JOB);
    let dataset = scratch.prepare("job.toml", &[]);
    scratch.ok(&["verify", dataset.to_str().unwrap()]);
    let rows = crate::util::rows(&dataset, cloze_schemas::Split::Train);
    assert!(rows.iter().flat_map(|row| &row.masked_lm_ids).all(|&id| id > 65_535));
    if python_with_pyarrow().is_some() {
        assert_eq!(check(&dataset).code, Some(0));
    }
}
