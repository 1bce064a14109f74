//! docs/FORMAT.md lists exactly the columns and fields that a dataset has.

use std::fs::{self, File};
use std::path::Path;

use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::util::{ROOT, Scratch};

/// Name and type of each row of the first table below `heading`.
fn table(heading: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/FORMAT.md")).unwrap();
    let mut lines = text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading).skip(1);
    let first = lines.by_ref().find(|line| line.starts_with('|') || line.starts_with('#'));
    let header: Vec<&str> = first.unwrap_or_default().split('|').map(str::trim).collect();
    assert!(header.len() == 5 && header[2..4] == ["type", "meaning"], "no table below {heading:?}");
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            assert!(cells.len() == 5 && !cells[3].trim().is_empty(), "{line}");
            (cell(cells[1]), cell(cells[2]))
        })
        .collect()
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => {
            assert!(item.name() == "element" && !item.is_nullable(), "{item:?}");
            format!("List<{}>", type_name(item.data_type()))
        }
        plain => format!("{plain:?}"),
    }
}

fn columns(schema: &Schema) -> Vec<(String, String)> {
    let fields = schema.fields().iter();
    fields
        .map(|field| {
            assert!(!field.is_nullable(), "{field:?}");
            (field.name().clone(), type_name(field.data_type()))
        })
        .collect()
}

fn schema_of(path: &Path) -> Schema {
    let file = File::open(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().as_ref().clone()
}

/// Fields and types of a JSON object, sorted.
fn fields(object: &Value) -> Vec<(String, String)> {
    let name = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::Null => "null",
    };
    object.as_object().unwrap().iter().map(|(key, value)| (key.clone(), name(value).to_owned())).collect()
}

#[test]
fn the_tables_of_the_documentation_are_the_format() {
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &[]);

    let examples = table("Example rows");
    assert_eq!(columns(&cloze_schemas::example_schema(false)), examples);
    assert_eq!(columns(&schema_of(&dataset.join("train/00000-of-00002.parquet"))), examples);
    assert_eq!(columns(&schema_of(&dataset.join("documents.parquet"))), table("documents.parquet"));
    let wide: Vec<String> = columns(&cloze_schemas::example_schema(true)).into_iter().map(|c| c.1).collect();
    let narrow = |(name, kind): &(String, String)| {
        if name.ends_with("_ids") { kind.replace("16", "32") } else { kind.clone() }
    };
    assert_eq!(wide, examples.iter().map(narrow).collect::<Vec<_>>());

    let manifest: Value = serde_json::from_slice(&fs::read(dataset.join("manifest.json")).unwrap()).unwrap();
    let check = |object: &Value, heading: &str| {
        let mut listed = table(heading);
        listed.sort();
        assert_eq!(fields(object), listed, "{heading}");
    };
    check(&manifest, "manifest.json");
    check(&manifest["vocabulary"], "vocabulary");
    check(&manifest["vocabulary"]["special"], "vocabulary.special");
    check(&manifest["train"], "train, validation");
    check(&manifest["validation"], "train, validation");
    for shard in manifest["shards"].as_array().unwrap() {
        check(shard, "shards");
    }
    let settings: Vec<String> = fields(&manifest["settings"]).into_iter().map(|field| field.0).collect();
    assert_eq!(settings, ["documents", "examples", "source", "tokenizer"]);

    let version = format!("# The dataset format, version {}\n", cloze_schemas::FORMAT_VERSION);
    assert!(fs::read_to_string(Path::new(ROOT).join("docs/FORMAT.md")).unwrap().starts_with(&version));
}

/// A dataset says nothing of the machine it was made on, and looks the same wherever it lies.
#[test]
fn a_dataset_names_no_directory_of_its_machine() {
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &[]);
    let manifest = fs::read_to_string(dataset.join("manifest.json")).unwrap();
    assert!(!manifest.contains(scratch.path("").to_str().unwrap()), "{manifest}");
    let moved = scratch.path("elsewhere");
    fs::rename(&dataset, &moved).unwrap();
    scratch.ok(&["verify", moved.to_str().unwrap()]);
}
