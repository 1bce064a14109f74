//! `cloze prepare`, `inspect`, `verify` and `vocab` on good input: what they print, what they leave behind.

use std::collections::HashSet;
use std::fs;

use cloze_schemas::{Dataset, Split, Vocabulary};
use serde_json::{Value, json};

use crate::util::{JOB, Scratch, files, lines, rows, vocabulary};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn statuses(outcome: &Value) -> Vec<(&str, &str)> {
    let stages = outcome["stages"].as_array().unwrap();
    stages.iter().map(|stage| (stage["name"].as_str().unwrap(), stage["status"].as_str().unwrap())).collect()
}

#[test]
fn the_outcome_of_prepare_has_the_keys_of_the_contract() {
    let scratch = Scratch::with_corpus();
    let outcome = scratch.ok(&["prepare", "job.toml"]);
    assert_eq!(keys(&outcome), ["dataset", "documents", "examples", "stages", "tokens"]);
    assert_eq!(statuses(&outcome), [("documents", "ran"), ("tokens", "ran"), ("examples", "ran")]);
    for stage in outcome["stages"].as_array().unwrap() {
        assert_eq!(keys(stage), ["name", "path", "seconds", "status"]);
        assert!(stage["seconds"].as_f64().unwrap() >= 0.0);
        assert!(scratch.path(stage["path"].as_str().unwrap()).is_dir(), "{stage}");
    }
    let directory = scratch.path(outcome["dataset"].as_str().unwrap());
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let manifest = Dataset::open(&directory).unwrap().manifest;
    assert_eq!(name, format!("set-{}", &manifest.fingerprint[..8]));
    let all = [rows(&directory, Split::Train), rows(&directory, Split::Validation)].concat();
    assert_eq!(outcome["examples"], json!(all.len()));
    assert_eq!(outcome["tokens"], json!(all.iter().map(|row| row.input_ids.len()).sum::<usize>()));
    assert_eq!(outcome["documents"], 30);

    let verified = scratch.ok(&["verify", "store/datasets/set"]);
    assert_eq!((&verified["verified"], &verified["examples"]), (&json!(true), &json!(all.len())));
    let again = scratch.ok(&["prepare", "job.toml"]);
    assert_eq!(statuses(&again), [("documents", "reused"), ("tokens", "reused"), ("examples", "reused")]);
    assert_eq!(again["dataset"], outcome["dataset"]);
    scratch.ok(&["verify", "store/datasets/set"]);
    assert_eq!(scratch.files_with("store", ".tmp-").len(), 0);
}

#[test]
fn the_json_is_the_last_line_and_logs_go_to_stderr() {
    let scratch = Scratch::with_corpus();
    let ran = scratch.run(&["prepare", "job.toml", "--json"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 1), "{}", ran.stdout);
    assert!(ran.stderr.contains("File parsed."), "{}", ran.stderr);
    // Without --json the same is told to a person; --quiet keeps stderr silent.
    let ran = scratch.run(&["prepare", "job.toml", "--quiet"]);
    assert!(ran.stdout.contains("train:") && ran.stdout.contains("reused"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn until_stops_after_a_stage() {
    let scratch = Scratch::with_corpus();
    let outcome = scratch.ok(&["prepare", "job.toml", "--until", "documents"]);
    assert_eq!(statuses(&outcome), [("documents", "ran")]);
    assert!(outcome["dataset"].is_null() && !scratch.path("store/tokens").exists());
    let outcome = scratch.ok(&["prepare", "job.toml", "--until", "tokens"]);
    assert_eq!(statuses(&outcome), [("documents", "reused"), ("tokens", "ran")]);
    assert!(!scratch.path("store/datasets").exists());
}

#[test]
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::with_corpus();
    let before = files(&scratch.path(""));
    let outcome = scratch.ok(&["prepare", "job.toml", "--dry-run"]);
    assert_eq!(files(&scratch.path("")), before);
    let would = "would-run";
    assert_eq!(statuses(&outcome), [("documents", would), ("tokens", would), ("examples", would)]);
    assert!(outcome["dataset"].is_null());

    scratch.prepare("job.toml", &[]);
    let before = files(&scratch.path(""));
    let outcome = scratch.ok(&["prepare", "job.toml", "--dry-run", "--set", "examples.seed=8"]);
    assert_eq!(statuses(&outcome), [("documents", "reused"), ("tokens", "reused"), ("examples", would)]);
    assert_eq!(files(&scratch.path("")), before);
}

#[test]
fn a_bare_name_is_the_newest_dataset() {
    let scratch = Scratch::with_corpus();
    let first = scratch.prepare("job.toml", &["examples.seed=1"]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let second = scratch.prepare("job.toml", &["examples.seed=2"]);
    assert_ne!(first, second);
    let found = scratch.ok(&["verify", "store/datasets/set"]);
    assert_eq!(scratch.path(found["dataset"].as_str().unwrap()), second);
    let message = scratch.fails(2, &["verify", "store/datasets/se"]);
    assert!(message.contains("store/datasets/se: not a dataset"), "{message}");
}

const ARTICLES: &str = r#"<mediawiki xml:lang="en">
  <siteinfo><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>
  <page><title>Mill</title><ns>0</ns><id>11</id><revision><id>101</id><model>wikitext</model>
    <text>The '''mill''' turns. The [[river]] carries salt to the harbour. The old miller opens the gate.</text></revision></page>
  <page><title>Talk:Mill</title><ns>1</ns><id>12</id><revision><id>102</id>
    <text>A quiet stone.</text></revision></page>
  <page><title>Water mill</title><ns>0</ns><id>13</id><redirect title="Mill" /><revision><id>103</id>
    <text>#REDIRECT [[Mill]]</text></revision></page>
  <page><title>Bridge</title><ns>0</ns><id>14</id><revision><id>104</id><model>wikitext</model>
    <text>A bridge walks to the harbour. Under the bridge a boat carries salt &amp; stone. The wind turns.</text></revision></page>
</mediawiki>
"#;

#[test]
fn four_kinds_of_sources_make_one_dataset() {
    let scratch = Scratch::with_corpus();
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    std::io::Write::write_all(&mut packed, ARTICLES.as_bytes()).unwrap();
    scratch.write("dumps/articles.xml.bz2", packed.finish().unwrap());
    scratch
        .write("books/keeper.txt", "The keeper opens the gate. The wind turns the mill.\n\nA boat walks.\n");
    scratch.write("bookscorpus/big.txt", lines(9, 1, 25).replace("\n\n", "\n"));
    let sources = r#"
        [[source]]
        kind = "wikipedia"
        path = "dumps/*.xml.bz2"
        [[source]]
        kind = "books"
        path = ["books"]
        [[source]]
        kind = "bookscorpus"
        path = "bookscorpus/big.txt"
        document_sentences = 10
        [documents]"#;
    scratch.write("job.toml", JOB.replace("[documents]", sources));
    let outcome = scratch.ok(&["prepare", "job.toml"]);
    // 30 of lines, 2 articles (one page is of another namespace, one a redirect), 1 book, 25 / 10 rounded up.
    assert_eq!(outcome["documents"], 36);
    scratch.ok(&["verify", outcome["dataset"].as_str().unwrap()]);

    let directory = scratch.path(outcome["dataset"].as_str().unwrap());
    let listed = documents(&directory);
    let count = |source: &str| listed.iter().filter(|row| row.source == source).count();
    assert_eq!(["lines", "wikipedia", "books", "bookscorpus"].map(count), [30, 2, 1, 3]);
    let mill = listed.iter().find(|row| row.title == "Mill").unwrap();
    assert_eq!((mill.page_id, mill.revision_id), (11, 101));
    assert_eq!(mill.url, "https://en.wikipedia.org/wiki/Mill");
    assert_eq!(mill.path, "dumps/articles.xml.bz2");
    assert!(listed.iter().any(|row| row.path == "books/keeper.txt" && row.title == "keeper"));
    assert!(listed.iter().all(|row| row.characters > 0));
}

struct Listed {
    id: u64,
    split: String,
    source: String,
    path: String,
    title: String,
    page_id: u64,
    revision_id: u64,
    url: String,
    characters: u64,
}

/// The rows of `documents.parquet`.
fn documents(dataset: &std::path::Path) -> Vec<Listed> {
    use arrow::array::AsArray;
    use arrow::datatypes::UInt64Type;
    let file = fs::File::open(dataset.join("documents.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1024).unwrap();
    let mut listed = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let text = |name: &str, row| batch[name].as_string::<i32>().value(row).to_owned();
        let number = |name: &str, row| batch[name].as_primitive::<UInt64Type>().value(row);
        listed.extend((0..batch.num_rows()).map(|row| Listed {
            id: number("document_id", row),
            split: text("split", row),
            source: text("source", row),
            path: text("path", row),
            title: text("title", row),
            page_id: number("page_id", row),
            revision_id: number("revision_id", row),
            url: text("url", row),
            characters: number("characters", row),
        }));
    }
    listed
}

#[test]
fn equal_documents_are_kept_once() {
    let scratch = Scratch::with_corpus();
    let twins = lines(1, 10, 8);
    scratch.write("corpus/d.txt", format!("{twins}\n{}", lines(4, 1, 8)));
    assert_eq!(scratch.ok(&["prepare", "job.toml"])["documents"], 31);
    let off = scratch.ok(&["prepare", "job.toml", "--set", "documents.deduplicate=off"]);
    assert_eq!(off["documents"], 41);
    let dataset = scratch.path(off["dataset"].as_str().unwrap());
    // Equal documents are told apart.
    let ids: HashSet<u64> = documents(&dataset).iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 41);
}

#[test]
fn splits_share_no_document_and_random_partners_are_others() {
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &["documents.validation=0.3", "examples.dupe_factor=10"]);
    let mut seen = Vec::new();
    let listed = documents(&dataset);
    for split in Split::ALL {
        let rows = rows(&dataset, split);
        let random = rows.iter().filter(|row| row.next_sentence_label == 1).count();
        assert!(random > rows.len() / 3 && random < rows.len(), "{random} of {}", rows.len());
        for row in &rows {
            assert_eq!(row.documents.0 != row.documents.1, row.next_sentence_label == 1, "{row:?}");
        }
        let ids: HashSet<u64> = rows.iter().flat_map(|row| [row.documents.0, row.documents.1]).collect();
        let own = listed.iter().filter(|document| document.split == split.as_str());
        assert_eq!(ids, own.map(|document| document.id).collect());
        // Partners come from all over the split, not from a neighbourhood.
        let partners: HashSet<u64> =
            rows.iter().filter(|r| r.next_sentence_label == 1).map(|r| r.documents.1).collect();
        assert!(partners.len() * 10 > ids.len() * 8, "{} of {}", partners.len(), ids.len());
        seen.push(ids);
    }
    assert!(seen[0].is_disjoint(&seen[1]));
}

#[test]
fn names_of_special_tokens_in_the_text_are_ordinary_words() {
    let scratch = Scratch::with_corpus();
    let line = "the [MASK] opens [CLS] a [SEP] gate [PAD] .\n";
    scratch.write("corpus/d.txt", [line.repeat(20), line.repeat(21), line.repeat(22)].join("\n"));
    let dataset = scratch.prepare("job.toml", &["documents.validation=0"]);
    scratch.ok(&["verify", dataset.to_str().unwrap()]);
    let vocabulary = Vocabulary::load(&dataset.join("vocab.txt")).unwrap();
    let id = |token: &str| vocabulary.id(token).unwrap();
    let special = vocabulary.special();
    let mask = [id("["), id("mask"), id("]")];
    let mut found = 0;
    for row in rows(&dataset, Split::Train) {
        let original = row.original_ids();
        let count = |id| original.iter().filter(|&&other| other == id).count();
        assert_eq!([special.pad, special.mask, special.cls, special.sep].map(count), [0, 0, 1, 2], "{row:?}");
        found += original.windows(3).filter(|window| *window == mask).count();
    }
    assert!(found > 20, "{found}");
}

#[test]
fn inspect_shows_rows_and_counts() {
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &[]);
    let shown = scratch.ok(&["inspect", "store/datasets/set", "--examples", "2"]);
    let all = rows(&dataset, Split::Train);
    let train = &shown["train"];
    assert_eq!(train["examples"], json!(all.len()));
    let random = all.iter().filter(|row| row.next_sentence_label == 1).count() as f64;
    assert!((train["random_pairs"].as_f64().unwrap() - random / all.len() as f64).abs() < 1e-9);
    let histogram: u64 =
        train["length_histogram"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(histogram, all.len() as u64);
    let shares = ["mask_share", "keep_share", "random_share"].map(|key| train[key].as_f64().unwrap());
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!((0.7..0.9).contains(&shares[0]), "{shares:?}");
    let samples = shown["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    assert!(samples[0].as_str().unwrap().contains("«"), "{}", samples[0]);

    let text = scratch.run(&["inspect", "store/datasets/set"]).stdout;
    for expected in ["set at most 32 tokens", "random pairs", "length ≤", "[SEP]"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn two_processes_learn_the_same_vocabulary() {
    let scratch = Scratch::with_corpus();
    scratch.edit("job.toml", "vocab = \"vocab.txt\"", "lowercase = true");
    let first = scratch.ok(&["vocab", "job.toml", "--size", "120", "--out", "one/vocab.txt"]);
    let second = scratch.ok(&["vocab", "job.toml", "--size", "120", "--out", "two.txt", "--threads", "1"]);
    assert_eq!(first["sha256"], second["sha256"]);
    let text = fs::read(scratch.path("one/vocab.txt")).unwrap();
    assert_eq!(text, fs::read(scratch.path("two.txt")).unwrap());
    let vocabulary = Vocabulary::load(&scratch.path("two.txt")).unwrap();
    assert_eq!((vocabulary.len(), first["size"].as_u64()), (120, Some(120)));
    assert!(vocabulary.id("the").is_some() && vocabulary.id("##r").is_some());

    // And it can be used.
    let dataset = scratch.prepare("job.toml", &["tokenizer.vocab=two.txt"]);
    assert_eq!(Dataset::open(&dataset).unwrap().manifest.vocabulary.size, 120);
}

#[test]
fn whole_word_masking_never_predicts_part_of_a_word() {
    let scratch = Scratch::with_corpus();
    // Without these words they are spelt in pieces.
    let spelt = ["lantern", "harbour", "morning"];
    let words = vocabulary(&[]);
    scratch.write(
        "vocab.txt",
        spelt.iter().fold(words, |text, word| text.replace(&format!("\n{word}\n"), "\n")),
    );
    let sets = ["examples.masking=whole-word", "examples.max_predictions_per_seq=12"];
    let dataset = scratch.prepare("job.toml", &sets);
    scratch.ok(&["verify", "store/datasets/set"]);
    let vocabulary = Vocabulary::load(&dataset.join("vocab.txt")).unwrap();
    let mut pieces = 0;
    for row in rows(&dataset, Split::Train) {
        let original = row.original_ids();
        let predicted = |position: usize| row.masked_lm_positions.contains(&(position as u16));
        for (position, &id) in original.iter().enumerate().skip(2) {
            // A truncated B may begin with a piece; a truncated A is skipped.
            if vocabulary.is_continuation(id) && position != row.segment_b_start {
                assert_eq!(predicted(position), predicted(position - 1), "{row:?} at {position}");
                pieces += usize::from(predicted(position));
            }
        }
    }
    assert!(pieces > 20, "{pieces}");
}
