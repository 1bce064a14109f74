"""Checks a dataset from the outside: python3 check_dataset.py DATASET

Knows docs/FORMAT.md and nothing of the code that writes datasets. Prints statistics as JSON; exits with 1 and names
the first offence if there is one.
"""

import collections
import hashlib
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq


class Offence(Exception):
    pass


def require(holds, where, what):
    if not holds:
        raise Offence(f"{where}: {what}")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_schema(schema, expected, where):
    require(schema.names == [name for name, _ in expected], where, f"columns {schema.names}")
    for field, (name, kind) in zip(schema, expected):
        require(not field.nullable, where, f"{name} may be null")
        if pa.types.is_list(field.type):
            require(not field.type.value_field.nullable, where, f"items of {name} may be null")
            require(kind == [field.type.value_type], where, f"{name} is {field.type}")
        else:
            require(kind == field.type, where, f"{name} is {field.type}")


def expected_predictions(length, examples):
    """Python's round is half to even, as Google's."""
    return min(examples["max_predictions_per_seq"], max(1, round(length * examples["masked_lm_prob"])))


def check_row(row, manifest, where):
    special = manifest["vocabulary"]["special"]
    google = manifest["compat"] == "google"
    examples = manifest["settings"]["examples"]
    ids, b = row["input_ids"], row["segment_b_start"]
    positions, labels = row["masked_lm_positions"], row["masked_lm_ids"]
    size = manifest["vocabulary"]["size"]

    require(5 <= len(ids) <= manifest["max_seq_length"], where, f"{len(ids)} tokens")
    require(all(0 <= i < size for i in ids + labels), where, "an id outside the vocabulary")
    require(ids[0] == special["cls"], where, "does not begin with [CLS]")
    require(ids[-1] == special["sep"], where, "does not end with [SEP]")
    require(3 <= b < len(ids) - 1, where, f"segment_b_start is {b} of {len(ids)}")
    require(ids[b - 1] == special["sep"], where, "B does not follow a [SEP]")

    require(len(positions) == len(labels), where, "positions and ids differ in number")
    most = expected_predictions(len(ids), examples)
    if examples["masking"] == "token":
        require(len(positions) == most, where, f"{len(positions)} predictions, expected {most}")
    require(len(positions) <= most, where, f"{len(positions)} predictions, at most {most}")
    require(all(x < y for x, y in zip(positions, positions[1:])), where, "positions do not ascend")
    structure = {0, b - 1, len(ids) - 1}
    require(all(p < len(ids) and p not in structure for p in positions), where, "a separator is predicted")

    names = {special[name] for name in ("pad", "cls", "sep", "mask")}
    require(not names & set(labels), where, "a label is special")
    predicted = set(positions)
    for position, token in enumerate(ids):
        if position not in structure and position not in predicted:
            require(token not in names, where, f"special token {token} at {position}")
    if not google:
        never = names - {special["mask"]} | {special["unk"]}
        for position, label in zip(positions, labels):
            shown = ids[position]
            require(shown == label or shown not in never, where, f"{label} became special token {shown}")

    label = row["next_sentence_label"]
    own = row["document_id"] == row["document_b_id"]
    require(label in (0, 1), where, f"next_sentence_label is {label}")
    require(own if label == 0 else (google or not own), where, f"label {label}, but documents {own and 'equal' or 'differ'}")


def is_global_shuffle(documents, where):
    """Neighbouring rows are not neighbours of the corpus."""
    if len(documents) < 50 or len(set(documents)) < 5:
        return
    counts = collections.Counter(documents)
    by_chance = sum(n * (n - 1) for n in counts.values()) / (len(documents) - 1)
    equal = sum(x == y for x, y in zip(documents, documents[1:]))
    require(equal < 2 * by_chance + 10, where, f"{equal} neighbours share a document, by chance {by_chance:.1f}")


def check(dataset):
    manifest = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))
    require(manifest["format_version"] == 1, "manifest.json", f"version {manifest['format_version']}")
    vocab = (dataset / "vocab.txt").read_bytes()
    vocabulary = manifest["vocabulary"]
    require(hashlib.sha256(vocab).hexdigest() == vocabulary["sha256"], "vocab.txt", "checksum differs")
    tokens = vocab.decode("utf-8").removesuffix("\n").split("\n")
    require(len(tokens) == vocabulary["size"], "vocab.txt", f"{len(tokens)} tokens")

    listed = pq.read_table(dataset / "documents.parquet")
    text, number = pa.string(), pa.uint64()
    lineage = [("document_id", number), ("split", text), ("source", text), ("path", text), ("title", text)]
    lineage += [("page_id", number), ("revision_id", number), ("url", text), ("characters", number)]
    check_schema(listed.schema, lineage, "documents.parquet")
    ids = listed["document_id"].to_pylist()
    require(ids == sorted(ids), "documents.parquet", "ids do not ascend")
    google = manifest["compat"] == "google"
    require(google or len(set(ids)) == len(ids), "documents.parquet", "an id occurs twice")
    split_of = dict(zip(ids, listed["split"].to_pylist()))

    width = pa.uint32() if vocabulary["size"] > 65536 else pa.uint16()
    columns = [("input_ids", [width]), ("segment_b_start", pa.uint16()), ("masked_lm_positions", [pa.uint16()])]
    columns += [("masked_lm_ids", [width]), ("next_sentence_label", pa.uint8())]
    columns += [("document_id", number), ("document_b_id", number)]
    require(
        {s["path"] for s in manifest["shards"]}
        == {p.relative_to(dataset).as_posix() for p in dataset.glob("*/*.parquet")},
        "manifest.json",
        "its shards are not the files",
    )

    statistics = {}
    for split in ("train", "validation"):
        shards = [shard for shard in manifest["shards"] if shard["split"] == split]
        count = collections.Counter()
        seen = set()
        for shard in shards:
            name, path = shard["path"], dataset / shard["path"]
            require(name.startswith(split + "/"), name, f"listed as {split}")
            require(path.stat().st_size == shard["bytes"], name, "size differs")
            require(sha256(path) == shard["sha256"], name, "checksum differs")
            file = pq.ParquetFile(path)
            check_schema(file.schema_arrow, columns, name)
            require(file.metadata.created_by == "cloze", name, f"created by {file.metadata.created_by}")
            table = file.read()
            require(all(column.null_count == 0 for column in table.columns), name, "holds a null")
            rows = table.to_pylist()
            require(len(rows) == shard["rows"], name, f"{len(rows)} rows")
            require(sum(len(r["input_ids"]) for r in rows) == shard["tokens"], name, "tokens differ")
            is_global_shuffle([r["document_id"] for r in rows], name)
            for index, row in enumerate(rows):
                where = f"{name}, row {index}"
                check_row(row, manifest, where)
                for document in (row["document_id"], row["document_b_id"]):
                    require(split_of.get(document) == split, where, f"document {document} is not of {split}")
                    seen.add(document)
                count["rows"] += 1
                count["tokens"] += len(row["input_ids"])
                count["random"] += row["next_sentence_label"]
                for position, label in zip(row["masked_lm_positions"], row["masked_lm_ids"]):
                    shown = row["input_ids"][position]
                    kind = "mask" if shown == vocabulary["special"]["mask"] else "keep" if shown == label else "other"
                    count[kind] += 1
        if shards:
            most, least = (f(s["rows"] for s in shards) for f in (max, min))
            require(most - least <= 1, split, f"shards of {least} to {most} rows")
        totals = manifest[split]
        require(totals["examples"] == count["rows"], split, "examples differ")
        require(totals["tokens"] == count["tokens"], split, "tokens differ")
        own = [i for i in ids if split_of[i] == split]
        require(totals["documents"] == len(own), split, "documents differ")
        require(seen <= set(own), split, "documents of another split")
        predictions = max(1, count["mask"] + count["keep"] + count["other"])
        statistics[split] = {
            "rows": count["rows"],
            "tokens": count["tokens"],
            "documents": len(own),
            "mean_length": count["tokens"] / max(1, count["rows"]),
            "random_pairs": count["random"] / max(1, count["rows"]),
            "mask_share": count["mask"] / predictions,
            "keep_share": count["keep"] / predictions,
            "random_share": count["other"] / predictions,
        }
    return statistics


if __name__ == "__main__":
    try:
        print(json.dumps(check(pathlib.Path(sys.argv[1]))))
    except Offence as offence:
        sys.exit(f"{offence}")
