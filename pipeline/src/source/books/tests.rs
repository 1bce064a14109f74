use super::*;
use crate::source::tests::read_bytes;

fn text(bytes: &[u8]) -> String {
    let (documents, _) = read_bytes(&SourceKind::Books, "a.txt", bytes).unwrap();
    assert_eq!((documents.len(), documents[0].title.as_str()), (1, "a"));
    documents[0].text.clone()
}

#[test]
fn encodings() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("né".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    for bytes in ["né".as_bytes(), b"\xef\xbb\xbfn\xc3\xa9", b"n\xe9", &utf16] {
        assert_eq!(text(bytes), "né", "{bytes:?}");
    }
    assert_eq!(text(b"\x93n\xe9\x94\n"), "“né”");
    for (bytes, place) in [
        (&b"ab\0c"[..], "a.txt, byte 2: NUL"),
        ("naïve café — ".as_bytes(), ""),
        (&b"caf\xc3\xa9 na\xc3\xafve \xff"[..], "a.txt, byte 13: not valid UTF-8"),
    ] {
        match read_bytes(&SourceKind::Books, "a.txt", bytes) {
            Ok(_) => assert_eq!(place, ""),
            Err(error) => assert!(error.to_string().starts_with(place), "{error}"),
        }
    }
    let (documents, report) = read_bytes(&SourceKind::Books, "a.txt", b" \r\n\r\n").unwrap();
    assert_eq!((documents.len(), report.skipped[&Skipped::Empty]), (0, 1));
}

#[test]
fn italics_and_ornaments() {
    assert_eq!(text(b"_So_, said Mr. ____, _to be_.\n\n* * * * *\n\n----\n"), "So, said Mr. ____, to be.");
}

const PROSE: &str = "It was a morning of the kind that comes but once in a spring, and all
the people of the village had gone out to see what the river had left
of the old bridge.

\"It stood there, counting from the day of the great flood, for twenty-
five years,\" said the miller, who had built it and now saw it go to-
wards the sea; towards the sea it went, and nobody said a word about it--
not one.

    The river took the bridge away,
    And left the stones behind,
    We built another one in May.

THE END
";

#[test]
fn wrapped_lines_are_paragraphs_and_verse_stays_lines() {
    for line_end in ["\n", "\r\n", "\r"] {
        let text = text(PROSE.replace('\n', line_end).as_bytes());
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(lines[0].starts_with("It was a morning") && lines[0].ends_with("of the old bridge."));
        assert!(lines[1].contains("for twenty-five years,"), "{}", lines[1]);
        assert!(lines[1].contains("saw it go towards the sea; towards"), "{}", lines[1]);
        assert!(lines[1].ends_with("about it--not one."), "{}", lines[1]);
        assert_eq!(lines[2..4], ["The river took the bridge away,", "And left the stones behind,"]);
        assert_eq!(lines.last(), Some(&"THE END"));
    }
}

#[test]
fn one_paragraph_a_line_stays_so() {
    let paragraph = "word ".repeat(60);
    let book = format!("{paragraph}\n{paragraph}\nshort\n");
    assert_eq!(text(book.as_bytes()).split('\n').count(), 3);
}

#[test]
fn paragraphs_set_off_by_indentation() {
    let line = "this line of prose goes on to the very end of its page of text";
    let book = format!("   {line}\n{line}\n{line}.\n   {line}\n{line}.\n");
    assert_eq!(text(book.as_bytes()).split('\n').count(), 2);
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, "d.txt/", &[][..]).unwrap();
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn archives_hold_one_book_a_member() {
    let packed = zstd::encode_all(&b"Second book."[..], 1).unwrap();
    let tar = archive(&[
        ("b/one.txt", b"First book."),
        ("b/list.csv", b"a,b"),
        ("b/._one.txt", b"\0\0"),
        ("b/two.txt.zst", &packed),
    ]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    for (name, bytes) in [
        ("a.tar", tar.clone()),
        ("a.tar.gz", gzip(&tar)),
        ("a.tgz", gzip(&tar)),
        ("a.tar.zst", zstd::encode_all(&tar[..], 1).unwrap()),
    ] {
        let (documents, report) = read_bytes(&SourceKind::Books, name, &bytes).unwrap();
        assert_eq!(report.documents, 2, "{name}");
        assert_eq!(documents[0].path, format!("{name}!b/one.txt"));
        assert_eq!((documents[1].title.as_str(), documents[1].text.as_str()), ("two", "Second book."));
        let cut = read_bytes(&SourceKind::Books, name, &bytes[..bytes.len() * 2 / 5]).unwrap_err();
        assert!(cut.is_bad_input() && cut.to_string().contains(name), "{cut}");
    }
    let error = read_bytes(&SourceKind::Books, "a.tar", &archive(&[("x.csv", b"")])).unwrap_err();
    assert!(error.to_string().contains("no .txt file"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_text_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        if let Ok(text) = decode(&bytes, "a") {
            let text = paragraphs(&text);
            proptest::prop_assert!(!text.starts_with('\n') && !text.ends_with('\n') && !text.contains("\n\n"));
        }
    }
}
