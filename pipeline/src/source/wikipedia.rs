//! Articles of a MediaWiki XML export, streamed: memory holds one page at a time.
//!
//! Reads export versions 0.3 to 0.11, and dumps that lack `<siteinfo>`, `<ns>` or `<redirect>`. Only
//! articles become documents: the newest revision of pages in namespace 0 that are neither redirects
//! nor disambiguation pages.

use std::collections::HashSet;

use quick_xml::Reader;
use quick_xml::encoding::EncodingError;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{Document, InputFile, ReadReport, Skipped, compressed, wikitext};
use crate::error::{Error, Result};

/// Namespaces of a wiki in English, for dumps that do not list theirs; each has a talk namespace.
const NAMESPACES: &str = "media special talk user wikipedia image file mediawiki template help category portal book draft module \
     timedtext";

/// Namespaces of files and categories in large wikis. A dump lists the names its wiki uses now, but not
/// the older ones that its pages still link to.
const SILENT_LINKS: &str = "media image file category datei bild kategorie fichier catégorie archivo imagen \
     categoría immagine categoria ficheiro imagem bestand afbeelding categorie plik grafika kategoria файл \
     изображение категория fil kategori tiedosto kuva luokka lêer beeld ファイル 画像 カテゴリ 文件 檔案 分类 分類";

/// `#REDIRECT` and what some large wikis say instead.
const REDIRECTS: &str = "redirect weiterleitung redirection redirección redireccion rinvia redirecionamento \
     doorverwijzing patrz перенаправление omdirigering 転送 重定向";

/// Reads all articles of `file`.
pub(super) fn read(
    file: &InputFile,
    language: &str,
    emit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<ReadReport> {
    let mut xml = Reader::from_reader(compressed::open(file)?);
    let mut dump = Dump::new(&file.name, language);
    let mut report = ReadReport::default();
    let mut buffer = Vec::new();
    loop {
        let start = xml.buffer_position();
        buffer.clear();
        let closed = match xml.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) => {
                dump.open(&tag, start)?;
                None
            }
            Ok(Event::Empty(tag)) => {
                dump.open(&tag, start)?;
                dump.close()
            }
            Ok(Event::End(_)) => dump.close(),
            Ok(Event::Text(text)) => {
                dump.text(&text.xml10_content());
                None
            }
            Ok(Event::CData(text)) => {
                dump.text(&text.xml10_content());
                None
            }
            Ok(Event::GeneralRef(reference)) => {
                dump.reference(&reference, start)?;
                None
            }
            Ok(Event::Eof) => break,
            Ok(_) => None,
            Err(error) => return Err(dump.xml_error(&error, start, xml.error_position())),
        };
        if let Some(page) = closed {
            match dump.article(page) {
                Ok(document) => {
                    report.documents += 1;
                    emit(document)?;
                }
                Err(reason) => report.skip(reason),
            }
        }
    }
    dump.check_complete(xml.buffer_position())?;
    Ok(report)
}

/// The elements that matter; the others are only balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Mediawiki,
    Siteinfo,
    Base,
    Namespaces,
    Namespace,
    Page,
    Title,
    Ns,
    Id,
    Redirect,
    Revision,
    Timestamp,
    Model,
    Text,
    Other,
}

impl Element {
    fn of(name: &str) -> Self {
        match name {
            "mediawiki" => Self::Mediawiki,
            "siteinfo" => Self::Siteinfo,
            "base" => Self::Base,
            "namespaces" => Self::Namespaces,
            "namespace" => Self::Namespace,
            "page" => Self::Page,
            "title" => Self::Title,
            "ns" => Self::Ns,
            "id" => Self::Id,
            "redirect" => Self::Redirect,
            "revision" => Self::Revision,
            "timestamp" => Self::Timestamp,
            "model" => Self::Model,
            "text" => Self::Text,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Default)]
struct Page {
    title: String,
    namespace: Option<i64>,
    id: Option<u64>,
    redirect: bool,
    revision: Revision,
}

#[derive(Debug, Default)]
struct Revision {
    id: Option<u64>,
    /// ISO 8601 in UTC, so that the order of strings is the order in time.
    timestamp: String,
    model: String,
    text: String,
}

/// What is known at some place of the file.
struct Dump<'a> {
    name: &'a str,
    /// Address of a page without its title.
    base: String,
    /// Lower-case names of all namespaces but the articles'.
    namespaces: HashSet<String>,
    /// Lower-case namespaces whose links are no text: files and categories.
    silent_links: HashSet<String>,
    /// Number of the `<namespace>` being read.
    namespace_key: i64,
    /// Open elements, outermost first.
    open: Vec<Element>,
    /// Character data of the innermost open element.
    content: String,
    page: Page,
    revision: Revision,
    complete: bool,
}

impl<'a> Dump<'a> {
    fn new(name: &'a str, language: &str) -> Self {
        let owned = |names: &str| names.split(' ').map(str::to_owned).collect::<HashSet<_>>();
        let mut namespaces = owned(NAMESPACES);
        namespaces.extend(NAMESPACES.split(' ').map(|name| format!("{name} talk")));
        Self {
            name,
            base: format!("https://{language}.wikipedia.org/wiki/"),
            namespaces,
            silent_links: owned(SILENT_LINKS),
            namespace_key: 0,
            open: Vec::new(),
            content: String::new(),
            page: Page::default(),
            revision: Revision::default(),
            complete: false,
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>, at: u64) -> Result<()> {
        let element = Element::of(tag.local_name().as_ref());
        if self.open.is_empty() {
            if self.complete || element != Element::Mediawiki {
                let tag = tag.name();
                let problem = format!("<{}> where <mediawiki> should be the only root", tag.as_ref());
                return Err(Error::Input {
                    path: self.name.to_owned(),
                    offset: Some(at),
                    problem,
                    cure: "a MediaWiki XML export is needed".to_owned(),
                });
            }
        } else {
            match (self.parent(), element) {
                (Element::Mediawiki, Element::Page) => self.page = Page::default(),
                (Element::Page, Element::Redirect) => self.page.redirect = true,
                (Element::Page, Element::Revision) => self.revision = Revision::default(),
                (Element::Namespaces, Element::Namespace) => {
                    let key = tag.try_get_attribute("key").ok().flatten();
                    self.namespace_key = key.and_then(|key| key.value.parse().ok()).unwrap_or(0);
                }
                _ => {}
            }
        }
        self.open.push(element);
        self.content.clear();
        Ok(())
    }

    fn parent(&self) -> Element {
        self.open.last().copied().unwrap_or(Element::Other)
    }

    fn text(&mut self, text: &str) {
        // Text is kept only where it is used: between the tags of a page there is white space.
        if !matches!(self.parent(), Element::Mediawiki | Element::Page | Element::Revision | Element::Other) {
            self.content.push_str(text);
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>, at: u64) -> Result<()> {
        let named = quick_xml::escape::resolve_xml_entity(reference);
        if let Some(text) = named {
            self.text(text);
            return Ok(());
        }
        match reference.resolve_char_ref() {
            Ok(Some(c)) => {
                self.text(c.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            _ => Err(self.error(at, &format!("&{}; is no XML character", &**reference))),
        }
    }

    /// Ends the innermost element; returns the page if it was one.
    fn close(&mut self) -> Option<Page> {
        let element = self.open.pop()?;
        let content = std::mem::take(&mut self.content);
        let (page, revision) = (&mut self.page, &mut self.revision);
        match (self.open.last(), element) {
            (None, _) => self.complete = true,
            (Some(Element::Siteinfo), Element::Base) => {
                if let Some((base, _)) = content.trim().rsplit_once('/') {
                    self.base = format!("{base}/");
                }
            }
            (Some(Element::Namespaces), Element::Namespace) => {
                let name = content.trim().to_lowercase();
                if matches!(self.namespace_key, -2 | 6 | 14) {
                    self.silent_links.insert(name.clone());
                }
                if self.namespace_key != 0 {
                    self.namespaces.insert(name);
                }
            }
            (Some(Element::Page), Element::Title) => content.trim().clone_into(&mut page.title),
            (Some(Element::Page), Element::Ns) => page.namespace = content.trim().parse().ok(),
            (Some(Element::Page), Element::Id) => page.id = content.trim().parse().ok(),
            (Some(Element::Page), Element::Revision) if revision.timestamp >= page.revision.timestamp => {
                page.revision = std::mem::take(revision);
            }
            (Some(Element::Revision), Element::Id) => revision.id = content.trim().parse().ok(),
            (Some(Element::Revision), Element::Timestamp) => {
                content.trim().clone_into(&mut revision.timestamp);
            }
            (Some(Element::Revision), Element::Model) => {
                content.trim().clone_into(&mut revision.model);
            }
            (Some(Element::Revision), Element::Text) => revision.text = content,
            (Some(Element::Mediawiki), Element::Page) => return Some(std::mem::take(page)),
            _ => {}
        }
        None
    }

    fn article(&self, page: Page) -> Result<Document, Skipped> {
        let Page { title, namespace, id, redirect, revision } = page;
        if namespace.map_or_else(|| self.has_namespace(&title), |number| number != 0) {
            return Err(Skipped::Namespace);
        }
        if redirect || is_redirect(&revision.text) {
            return Err(Skipped::Redirect);
        }
        if !matches!(revision.model.as_str(), "" | "wikitext") {
            return Err(Skipped::Unparsable);
        }
        let Some(article) = wikitext::to_text(&revision.text, &self.silent_links) else {
            tracing::warn!(file = self.name, title, "Page skipped: markup nested too deeply.");
            return Err(Skipped::Unparsable);
        };
        if article.disambiguation || title.ends_with("(disambiguation)") {
            return Err(Skipped::Disambiguation);
        }
        if article.text.is_empty() {
            return Err(Skipped::Empty);
        }
        Ok(Document {
            url: Some(self.base.clone() + &url_title(&title)),
            title,
            page_id: id,
            revision_id: revision.id,
            path: self.name.to_owned(),
            text: article.text,
        })
    }

    fn has_namespace(&self, title: &str) -> bool {
        title.split_once(':').is_some_and(|(prefix, _)| {
            self.namespaces.contains(&prefix.trim().replace('_', " ").to_lowercase())
        })
    }

    fn check_complete(&self, at: u64) -> Result<()> {
        match self.open.as_slice() {
            [] if self.complete => Ok(()),
            [] => Err(self.error(at, "no <mediawiki> element: not a MediaWiki XML export")),
            open if open.contains(&Element::Page) => {
                let problem = format!("ends inside the page \"{}\"", self.page.title);
                Err(self.error(at, &problem))
            }
            _ => Err(self.error(at, "ends before </mediawiki>")),
        }
    }

    fn xml_error(&self, error: &quick_xml::Error, start: u64, at: u64) -> Error {
        match error {
            quick_xml::Error::Io(error) => compressed::read_error(self.name, error),
            quick_xml::Error::Encoding(EncodingError::Utf8(error)) => {
                self.error(start + error.valid_up_to() as u64, "not valid UTF-8")
            }
            _ if self.open.contains(&Element::Page) => {
                let problem = format!("not well-formed in the page \"{}\": {error}", self.page.title);
                self.error(at, &problem)
            }
            _ => self.error(at, &format!("not well-formed: {error}")),
        }
    }

    fn error(&self, at: u64, problem: &str) -> Error {
        Error::Input {
            path: self.name.to_owned(),
            offset: Some(at),
            problem: problem.to_owned(),
            cure: "fetch the dump again and compare its checksum".to_owned(),
        }
    }
}

fn is_redirect(text: &str) -> bool {
    text.trim_start().strip_prefix('#').is_some_and(|rest| {
        let word: String = rest.trim_start().chars().take(20).collect();
        let word = word.to_lowercase();
        REDIRECTS.split(' ').any(|redirect| word.starts_with(redirect))
    })
}

/// A title as in addresses: spaces are underscores; what would end the path is escaped.
fn url_title(title: &str) -> String {
    let mut url = String::with_capacity(title.len());
    for c in title.chars() {
        match c {
            ' ' => url.push('_'),
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            '#' => url.push_str("%23"),
            '"' => url.push_str("%22"),
            _ => url.push(c),
        }
    }
    url
}
