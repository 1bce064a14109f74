//! Character references of HTML: `&nbsp;`, `&#8211;`, `&#x2013;`.

/// Longest name in HTML 4 is `thetasym`; numbers need no more either.
const MAX_LENGTH: usize = 12;

/// The character that `text`, which starts with `&`, begins with a reference to, and the reference's
/// length in bytes.
pub(super) fn decode(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(MAX_LENGTH).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let c = match name {
        "nbsp" => ' ',
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "ndash" => '–',
        "mdash" => '—',
        // quick-xml 0.42 reads this one as `=`.
        "thetasym" => 'ϑ',
        _ => match name.strip_prefix('#') {
            Some(number) => numeric(number)?,
            None => named(name)?,
        },
    };
    Some((c, end + 1))
}

fn numeric(number: &str) -> Option<char> {
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => number.parse().ok()?,
    };
    match code {
        // HTML reads these as the bytes of Windows-1252 their writers meant.
        0x80..=0x9f => {
            let byte = [code as u8];
            let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&byte);
            text.chars().next()
        }
        _ => char::from_u32(code),
    }
}

fn named(name: &str) -> Option<char> {
    let mut characters = quick_xml::escape::resolve_html5_entity(name)?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let check = |text, expected| assert_eq!(decode(text), expected, "{text}");
        check("&nbsp;x", Some((' ', 6)));
        check("&eacute;", Some(('é', 8)));
        check("&thetasym;", Some(('ϑ', 10)));
        check("&#8211;", Some(('–', 7)));
        check("&#x2013;", Some(('–', 8)));
        check("&#150;", Some(('–', 6)));
        check("& b;", None);
        check("&;", None);
        check("&unknown;", None);
        check("&#xD800;", None);
        check("&", None);
        check("&{{a}};", None);
    }
}
