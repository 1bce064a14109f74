use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::Error;

/// Documents of a source made of these bytes, under this file name.
pub(super) fn read_bytes(kind: &SourceKind, name: &str, bytes: &[u8]) -> Result<(Vec<Document>, ReadReport)> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    let files = expand(kind, &[name.to_owned()], dir.path())?;
    read_files(kind, &files)
}

fn read_files(kind: &SourceKind, files: &[InputFile]) -> Result<(Vec<Document>, ReadReport)> {
    let mut documents = Vec::new();
    let mut report = ReadReport::default();
    for file in files {
        let part = read(kind, file, "en", &mut |document| {
            check_form(&document.text);
            documents.push(document);
            Ok(())
        })?;
        report.documents += part.documents;
        for (reason, count) in part.skipped {
            *report.skipped.entry(reason).or_default() += count;
        }
    }
    Ok((documents, report))
}

fn check_form(text: &str) {
    assert!(!text.is_empty());
    for line in text.split('\n') {
        assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// Real corpora lie beside the checkout, where they are at all.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    path.exists().then_some(path)
}

fn read_shared(kind: &SourceKind, path: &str) -> Option<(Vec<Document>, ReadReport)> {
    let path = shared(path)?;
    let name = path.to_string_lossy().into_owned();
    let files = expand(kind, &[name], Path::new("")).unwrap();
    Some(read_files(kind, &files).unwrap())
}

fn texts(result: Result<(Vec<Document>, ReadReport)>) -> Vec<String> {
    result.unwrap().0.into_iter().map(|document| document.text).collect()
}

fn bad_input(result: Result<(Vec<Document>, ReadReport)>, part: &str) {
    let error = result.unwrap_err();
    assert!(error.is_bad_input());
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn lines_are_documents_between_empty_lines() {
    let input = "\u{feff}One  fish,\u{2028}two.\r\n Red fish. \n\n\n \t\n[MASK] ###\nlast";
    let (documents, report) = read_bytes(&SourceKind::Lines, "a.txt", input.as_bytes()).unwrap();
    assert_eq!(report.documents, 2);
    assert_eq!(documents[0].text, "One  fish,\u{2028}two.\nRed fish.");
    assert_eq!(documents[1].text, "[MASK] ###\nlast");
    assert_eq!((documents[1].title.as_str(), documents[1].path.as_str()), ("", "a.txt#2"));
    assert_eq!(texts(read_bytes(&SourceKind::Lines, "a.txt", b"\n \n")), [""; 0]);
    bad_input(read_bytes(&SourceKind::Lines, "a.txt", b"ab\nc\xffd\n"), "a.txt, byte 4: not valid UTF-8");
}

#[test]
fn bookscorpus_is_cut_every_so_many_sentences() {
    let kind = SourceKind::BooksCorpus { document_sentences: 2 };
    assert_eq!(texts(read_bytes(&kind, "a.txt", b"a\nb\n\nc\nd\ne\n")), ["a\nb", "c\nd", "e"]);
    assert_eq!(texts(read_bytes(&kind, "a.txt", b"a\nb")), ["a\nb"]);
}

#[test]
fn google_sample_has_google_documents() {
    let Some((documents, _)) = read_shared(&SourceKind::Lines, "sample_text.txt") else {
        return;
    };
    let path = shared("sample_text.txt").unwrap();
    let source = fs::read_to_string(path).unwrap();
    let expected: Vec<Vec<&str>> = source
        .split("\n\n")
        .map(|block| block.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
        .filter(|block: &Vec<&str>| !block.is_empty())
        .collect();
    let found: Vec<Vec<&str>> = documents.iter().map(|d| d.text.split('\n').collect()).collect();
    assert_eq!(found, expected);
}

fn page(title: &str, body: &str) -> String {
    format!("<page><title>{title}</title><id>7</id>{body}</page>")
}

fn revision(id: u32, time: &str, text: &str) -> String {
    format!(
        "<revision><id>{id}</id><timestamp>{time}</timestamp><contributor><id>99</id></contributor><text xml:space=\"preserve\">{text}</text></revision>"
    )
}

fn dump(pages: &str) -> String {
    format!("<mediawiki version=\"0.10\">{pages}</mediawiki>\n")
}

fn wikipedia(xml: &str) -> Result<(Vec<Document>, ReadReport)> {
    read_bytes(&SourceKind::Wikipedia, "dump.xml", xml.as_bytes())
}

#[test]
fn a_page_becomes_a_document() {
    let siteinfo = "<siteinfo><base>https://xx.example.org/wiki/Main</base><namespaces><namespace key=\"6\">Bild</namespace><namespace key=\"0\" /><namespace key=\"100\">Portaal</namespace></namespaces></siteinfo>";
    let text =
        "&lt;b&gt;A&lt;/b&gt; &amp;amp; ''b''&amp;ndash;c&#8212;[[Bild:x.png|thumb|no]] <![CDATA[[[d]]]]>";
    let pages = [
        page("R &amp; D?", &revision(3, "2020-01-01T00:00:00Z", text)),
        page("Portaal:x", &revision(4, "2020-01-01T00:00:00Z", "no")),
        page(
            "Old",
            &(revision(5, "2021-01-01T00:00:00Z", "new") + &revision(4, "2020-01-01T00:00:00Z", "old")),
        ),
        page("To", &revision(6, "2020-01-01T00:00:00Z", "#redirect [[Old]]")),
        page("To2", &(revision(6, "2020-01-01T00:00:00Z", "x") + "<redirect title=\"Old\" />")),
        page("Talk", &("<ns>1</ns>".to_owned() + &revision(6, "2020-01-01T00:00:00Z", "x"))),
        page("M", &revision(6, "2020-01-01T00:00:00Z", "'''M''' may be:\n* a\n{{disambig}}")),
        page("Nothing", &revision(6, "2020-01-01T00:00:00Z", "{{empty}}")),
        page("Deep", &revision(6, "2020-01-01T00:00:00Z", &"{{a|".repeat(500))),
        page("Deleted", "<revision><id>1</id><text deleted=\"deleted\" /></revision>"),
    ];
    let (documents, report) = wikipedia(&dump(&(siteinfo.to_owned() + &pages.concat()))).unwrap();
    assert_eq!(
        documents[0],
        Document {
            title: "R & D?".to_owned(),
            page_id: Some(7),
            revision_id: Some(3),
            url: Some("https://xx.example.org/wiki/R_&_D%3F".to_owned()),
            path: "dump.xml".to_owned(),
            text: "A & b–c— d".to_owned(),
        }
    );
    assert_eq!((documents[1].text.as_str(), documents[1].revision_id), ("new", Some(5)));
    assert_eq!((documents.len(), report.documents), (2, 2));
    let skipped = [
        (Skipped::Redirect, 2),
        (Skipped::Namespace, 2),
        (Skipped::Disambiguation, 1),
        (Skipped::Empty, 2),
        (Skipped::Unparsable, 1),
    ];
    assert_eq!(report.skipped, BTreeMap::from(skipped));
}

#[test]
fn dumps_without_siteinfo_use_english_namespaces_and_the_language() {
    let xml = dump(&(page("Image:x", &revision(1, "", "no")) + &page("A b", &revision(1, "", "yes"))));
    let (documents, _) = wikipedia(&xml).unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].url.as_deref(), Some("https://en.wikipedia.org/wiki/A_b"));
}

#[test]
fn damaged_xml_is_refused_with_its_place() {
    let xml = dump(&page("Cut", &revision(1, "2020-01-01T00:00:00Z", "some &amp; text")));
    // Any cut is noticed but the one of the last line's end.
    for at in 0..xml.len() - 1 {
        bad_input(wikipedia(&xml[..at]), "dump.xml, byte ");
    }
    bad_input(wikipedia(&xml[..xml.find("text</text").unwrap()]), "page \"Cut\"");
    bad_input(wikipedia(&xml.replace("</text>", "</txt>")), "page \"Cut\"");
    bad_input(wikipedia(&xml.replace("&amp;", "&eacute;")), "&eacute;");
    bad_input(wikipedia("<html></html>"), "<html>");
    bad_input(wikipedia("plain text"), "no <mediawiki>");
    bad_input(wikipedia(&(xml.clone() + &xml)), "only root");
    let at = xml.find("some").unwrap() + 2;
    let mut invalid = xml.into_bytes();
    invalid[at] = 0xff;
    let error = read_bytes(&SourceKind::Wikipedia, "dump.xml", &invalid);
    bad_input(error, &format!("dump.xml, byte {at}: not valid UTF-8"));
}

#[test]
fn a_multistream_dump_cut_between_its_streams_is_refused() {
    let xml = dump(&page("A", &revision(1, "", "text")));
    let (head, tail) = xml.split_at(xml.find("<page>").unwrap());
    let streams: Vec<Vec<u8>> = [head, tail]
        .iter()
        .map(|part| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            std::io::Write::write_all(&mut encoder, part.as_bytes()).unwrap();
            encoder.finish().unwrap()
        })
        .collect();
    let read = |bytes: &[u8]| read_bytes(&SourceKind::Wikipedia, "dump.xml.bz2", bytes);
    assert_eq!(read(&streams.concat()).unwrap().1.documents, 1);
    bad_input(read(&streams[0]), "ends before </mediawiki>");
    bad_input(read(&streams.concat()[..streams[0].len() + 9]), "cut short");
}

#[test]
fn an_error_of_the_receiver_stops_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a\n\nb\n").unwrap();
    let files = expand(&SourceKind::Lines, &["a.txt".to_owned()], dir.path()).unwrap();
    let mut seen = 0;
    let result = read(&SourceKind::Lines, &files[0], "en", &mut |_| {
        seen += 1;
        Err(Error::corpus("enough", ""))
    });
    assert_eq!((result.unwrap_err().to_string(), seen), ("enough".to_owned(), 1));
    fs::remove_file(dir.path().join("a.txt")).unwrap();
    let error = read(&SourceKind::Lines, &files[0], "en", &mut |_| Ok(())).unwrap_err();
    assert!(error.is_bad_input() && error.to_string().contains("a.txt"), "{error}");
}

/// Occurrences of markup per megabyte of text.
fn residue(documents: &[Document]) -> Vec<(&'static str, f64)> {
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    let markup = ["{{", "}}", "[[", "]]", "{|", "|}", "<ref", "'''", "==", "</", "&nbsp;", "||"];
    let count = |mark: &str| documents.iter().map(|d| d.text.matches(mark).count()).sum::<usize>();
    markup.map(|mark| (mark, count(mark) as f64 * 1e6 / bytes as f64)).to_vec()
}

#[test]
fn real_dumps_give_their_articles_and_no_markup() {
    for (path, articles, others) in [
        ("gensim-enwiki-2016-206pages.xml.bz2", 106, 100),
        ("enwik8-2006-491pages-multistream.xml.bz2", 248, 243),
        ("gensim-enwiki-table-markup-5pages.xml.bz2", 5, 0),
        ("pignlproc-enwiki-2009-4pages.xml.bz2", 2, 2),
    ] {
        let Some((documents, report)) =
            read_shared(&SourceKind::Wikipedia, &format!("data/wikipedia/{path}"))
        else {
            return;
        };
        let count = |reason| report.skipped.get(&reason).copied().unwrap_or(0);
        // One of the redirects is outside the article namespace.
        assert_eq!(count(Skipped::Redirect) + count(Skipped::Namespace), others, "{path}");
        assert_eq!(report.documents + count(Skipped::Disambiguation), articles, "{path}");
        for (mark, per_megabyte) in residue(&documents) {
            assert!(per_megabyte <= 5.0, "{path}: {per_megabyte} of {mark}");
        }
    }
}

#[test]
fn real_novels_lose_their_boilerplate_and_nothing_else() {
    let Some((documents, report)) = read_shared(&SourceKind::Books, "data/books/gutenberg-novels-raw.tar.gz")
    else {
        return;
    };
    assert_eq!((report.documents, report.skipped.len()), (99, 0));
    for document in &documents {
        for line in document.text.split('\n') {
            let lower = line.to_lowercase();
            assert!(!lower.contains("project gutenberg"), "{}: {line}", document.path);
        }
        assert!(document.text.len() > 30_000, "{}: {}", document.path, document.text.len());
    }
    let total: usize = documents.iter().map(|document| document.text.len()).sum();
    // 55.15 MB raw; headers and licences take 20 kB a book, indentation and empty lines the rest.
    assert!(total > 51_000_000, "{total}");
}
