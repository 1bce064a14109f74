//! Opens plain, bzip2, gzip and Zstandard files alike, telling them apart by their first bytes.
//!
//! Concatenated streams (multistream dumps, `cat a.gz b.gz`) are read to their real end, and a
//! stream that is damaged or cut short is an error, never a short read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use super::InputFile;
use crate::error::{Error, Result};

const BUFFER: usize = 128 * 1024;

/// Opens a file for reading its uncompressed content.
pub(super) fn open(file: &InputFile) -> Result<Box<dyn BufRead>> {
    let reader = File::open(&file.path).map_err(|error| Error::read(&file.path, error))?;
    decode(BufReader::with_capacity(BUFFER, reader), &file.name)
}

/// Wraps `reader` with the decoder its first bytes ask for. `name` is for errors, and for noticing
/// that a file named as compressed is not.
pub(super) fn decode<'a>(mut reader: impl BufRead + 'a, name: &str) -> Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut head).map_err(|error| read_error(name, &error))?;
    let format = Format::of_content(&head);
    let reader = Cursor::new(head).chain(reader);
    if let Some(named) = Format::of_name(name)
        && format != named
    {
        return Err(Error::Input {
            path: name.to_owned(),
            offset: Some(0),
            problem: format!("not a {named:?} file, as its name says"),
            cure: "fetch the file again or rename it".to_owned(),
        });
    }
    Ok(match format {
        Format::Plain => Box::new(reader),
        Format::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(reader)),
        Format::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(reader)),
        Format::Zstandard => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(reader).map_err(|error| read_error(name, &error))?;
            buffered(decoder)
        }
    })
}

/// The name without the ending that tells of compression: `a.xml.bz2` is `a.xml`.
pub(super) fn plain_name(name: &str) -> &str {
    let stem = Path::new(name).extension().filter(|_| Format::of_name(name).is_some());
    match stem {
        Some(extension) => &name[..name.len() - extension.len() - 1],
        None => name,
    }
}

/// Tells the operating system's failure to read from a decoder's complaint about the content.
pub(super) fn read_error(name: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(code) => Error::read(name, io::Error::from_raw_os_error(code)),
        None => Error::Input {
            path: name.to_owned(),
            offset: None,
            problem: format!("damaged or cut short ({error})"),
            cure: "fetch the file again and compare its checksum".to_owned(),
        },
    }
}

fn buffered<'a>(decoder: impl Read + 'a) -> Box<dyn BufRead + 'a> {
    Box::new(BufReader::with_capacity(BUFFER, decoder))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Bzip2,
    Gzip,
    Zstandard,
}

impl Format {
    fn of_content(head: &[u8]) -> Self {
        match head {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstandard,
            _ => Self::Plain,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let extension = Path::new(name).extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "bz2" => Some(Self::Bzip2),
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstandard),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstandard(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(name: &str, data: &[u8]) -> Result<String> {
        let mut text = String::new();
        let mut reader = decode(data, name)?;
        reader.read_to_string(&mut text).map_err(|error| read_error(name, &error))?;
        Ok(text)
    }

    #[test]
    fn every_stream_of_a_file_is_read_and_cuts_are_errors() {
        let first = "alpha ".repeat(5000);
        for (name, encode) in [("x.bz2", bzip2 as fn(&[u8]) -> Vec<u8>), ("x.gz", gzip), ("x.zst", zstandard)]
        {
            let mut data = encode(first.as_bytes());
            let boundary = data.len();
            data.extend(encode(b"omega"));
            for name in [name, "x"] {
                let text = read(name, &data).unwrap();
                assert_eq!(text.len(), first.len() + 5, "{name}");
                assert!(text.ends_with("omega"));
            }
            for cut in [0, 2, boundary / 2, boundary - 1, boundary + 6, data.len() - 1] {
                let error = read(name, &data[..cut]).unwrap_err();
                assert!(error.is_bad_input() && error.to_string().starts_with(name), "{error}");
            }
            let mut flipped = data.clone();
            flipped[boundary / 2] ^= 0x10;
            assert!(read(name, &flipped).is_err(), "{name}");
        }
        assert_eq!(read("x", b"plain").unwrap(), "plain");
    }

    #[test]
    fn names_lose_only_the_ending_of_compression() {
        assert_eq!(plain_name("a/b.tar.gz"), "a/b.tar");
        assert_eq!(plain_name("a/b.TXT.BZ2"), "a/b.TXT");
        assert_eq!(plain_name("a.b/c.txt"), "a.b/c.txt");
    }
}
