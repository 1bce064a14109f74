//! Small datasets for tests: real files, rows that tell which they are.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::RecordBatch;
use cloze_schemas::{
    Compat, Dataset, ExampleBuilder, FORMAT_VERSION, KeyedRng, Manifest, Masked, Masks, Pairs, RandomSource,
    Shard, SpecialTokens, Split, Totals, Vocabulary, VocabularyInfo, sha256_file,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// Entries of the vocabulary: 8 special and unused ones, then 40 digits.
pub(crate) const VOCABULARY: usize = 48;
const FIRST: u32 = 8;
const DIGITS: u32 = VOCABULARY as u32 - FIRST;

/// Rows of a row group, so that reads cross their borders.
const ROW_GROUP: usize = 17;

/// Row number `row`: `[CLS] d1 d0 w [MASK] … [SEP] w … [SEP]`, where the first two tokens are its number.
/// The label is random, the masked token one of two, mostly the first.
fn push(builder: &mut ExampleBuilder, row: u32) {
    let mut rng = KeyedRng::new(7, "fixture", &[u64::from(row)]);
    let mut ids = vec![2, FIRST + row / DIGITS, FIRST + row % DIGITS, FIRST + rng.below(DIGITS), 4];
    ids.extend((0..rng.below(5)).map(|_| FIRST + rng.below(DIGITS)));
    ids.push(3);
    let b = ids.len();
    ids.extend((0..rng.between(1, 5)).map(|_| FIRST + rng.below(DIGITS)));
    ids.push(3);
    let masked = [Masked { position: 4, id: FIRST + u32::from(rng.below(4) == 0) }];
    let random = rng.below(2) == 1;
    let document = u64::from(row);
    builder.push(&ids, b, &masked, random, (document, document + u64::from(random)));
}

/// The number that [`push`] wrote into a row.
pub(crate) fn number(input_ids: &[i32]) -> u32 {
    (input_ids[1] as u32 - FIRST) * DIGITS + input_ids[2] as u32 - FIRST
}

/// Writes a dataset with shards of these numbers of rows; rows are numbered throughout.
pub(crate) fn write(dir: &Path, train: &[u32], validation: &[u32]) -> Dataset {
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "[unused2]"];
    let tokens =
        names.iter().map(|&name| name.to_owned()).chain((0..DIGITS).map(|digit| format!("d{digit}")));
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("vocab.txt"), tokens.map(|token| token + "\n").collect::<String>()).unwrap();
    let vocabulary = Vocabulary::load(&dir.join("vocab.txt")).unwrap();

    let (mut shards, mut row) = (Vec::new(), 0);
    for (split, sizes) in [(Split::Train, train), (Split::Validation, validation)] {
        fs::create_dir_all(dir.join(split.as_str())).unwrap();
        for (index, &rows) in sizes.iter().enumerate() {
            let mut builder = ExampleBuilder::new(false);
            (row..row + rows).for_each(|row| push(&mut builder, row));
            row += rows;
            let path = format!("{}/{index}.parquet", split.as_str());
            shards.push(write_shard(dir, &path, split, &builder.finish_batch()));
        }
    }
    let totals = |split| {
        let examples = shards.iter().filter(|s| s.split == split).map(|s| s.rows).sum();
        let tokens = shards.iter().filter(|s| s.split == split).map(|s| s.tokens).sum();
        Totals { documents: examples, examples, tokens }
    };
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        kind: Manifest::KIND.to_owned(),
        name: "fixture".to_owned(),
        fingerprint: format!("{train:?} {validation:?}"),
        created_by: "tests".to_owned(),
        max_seq_length: 20,
        max_predictions_per_seq: 3,
        masks: Masks::Static,
        pairs: Pairs::NextSentence,
        compat: Compat::None,
        seed: 1,
        vocabulary: VocabularyInfo {
            size: VOCABULARY,
            sha256: vocabulary.sha256().to_owned(),
            lowercase: true,
            special: SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 },
        },
        train: totals(Split::Train),
        validation: totals(Split::Validation),
        settings: serde_json::json!({}),
        shards,
    };
    manifest.write(dir).unwrap();
    Dataset::open(dir).unwrap()
}

/// Writes one shard and describes it.
pub(crate) fn write_shard(dir: &Path, path: &str, split: Split, rows: &RecordBatch) -> Shard {
    let file = dir.join(path);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(&file).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    let ids = rows.column(0).to_data();
    Shard {
        path: path.to_owned(),
        split,
        rows: rows.num_rows() as u64,
        tokens: ids.child_data()[0].len() as u64,
        bytes: fs::metadata(&file).unwrap().len(),
        sha256: sha256_file(&file).unwrap(),
    }
}
