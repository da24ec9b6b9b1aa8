//! The escape sequences by which programs colour what they print: shown as CSS classes, or left out.

/// The class of each of the eight colours.
const COLOURS: [&str; 8] = ["a-black", "a-red", "a-green", "a-yellow", "a-blue", "a-magenta", "a-cyan", "a-white"];

/// How a piece of text is shown.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in a terminal, too")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    colour: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

impl Style {
    fn classes(self) -> String {
        let colour = self.colour.and_then(|colour| COLOURS.get(usize::from(colour)).copied());
        let marks =
            [(self.bold, "a-bold"), (self.dim, "a-dim"), (self.italic, "a-italic"), (self.underline, "a-under")];
        let marks = marks.into_iter().filter(|(on, _)| *on).map(|(_, class)| class);
        colour.into_iter().chain(marks).collect::<Vec<_>>().join(" ")
    }

    /// Takes over the parameters of a "select graphic rendition". Backgrounds are left out: with them, no colour could
    /// be promised to be readable.
    fn apply(&mut self, parameters: &str) {
        let mut numbers = parameters.split([';', ':']).map(|number| number.parse().unwrap_or(0_u16));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                30..=37 => self.colour = u8::try_from(number - 30).ok(),
                90..=97 => self.colour = u8::try_from(number - 90).ok(),
                39 => self.colour = None,
                38 | 48 => {
                    let colour = match numbers.next() {
                        Some(5) => indexed(numbers.next().unwrap_or(7)),
                        Some(2) => {
                            let mut next = || numbers.next().unwrap_or(0);
                            nearest([next(), next(), next()])
                        }
                        _ => None,
                    };
                    if number == 38 {
                        self.colour = colour;
                    }
                }
                _ => {}
            }
        }
    }
}

/// The nearest of the eight colours to one of 256.
fn indexed(index: u16) -> Option<u8> {
    match index {
        0..16 => u8::try_from(index % 8).ok(),
        16..232 => {
            let index = index - 16;
            nearest([index / 36, index / 6 % 6, index % 6].map(|level| level * 51))
        }
        // Greys.
        _ => None,
    }
}

/// The nearest of the eight colours; none for a grey.
fn nearest(rgb: [u16; 3]) -> Option<u8> {
    let (most, least) = (rgb.into_iter().max()?, rgb.into_iter().min()?);
    let is_on = |level: u16| u8::from(level > u16::midpoint(most, least));
    (most - least > 40).then(|| is_on(rgb[0]) | is_on(rgb[1]) << 1 | is_on(rgb[2]) << 2)
}

/// `text` in pieces, each with its CSS classes; the sequences themselves are left out, also those that are not about
/// colours.
pub fn pieces(text: &str) -> Vec<(String, String)> {
    let mut style = Style::default();
    let mut pieces: Vec<(String, String)> = Vec::new();
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default();
    let after = parts.map(|part| {
        let (parameters, rest) = sequence(part);
        if let Some(parameters) = parameters {
            style.apply(parameters);
        }
        (rest, style)
    });
    for (text, style) in std::iter::once((first, Style::default())).chain(after).filter(|(text, _)| !text.is_empty()) {
        let classes = style.classes();
        match pieces.last_mut() {
            Some((last, known)) if *known == classes => last.push_str(text),
            _ => pieces.push((text.to_owned(), classes)),
        }
    }
    pieces
}

/// `text` without its sequences.
pub fn plain(text: &str) -> String {
    pieces(text).into_iter().map(|(text, _)| text).collect()
}

/// Splits what follows an escape character: the parameters, if it sets the style, and the text after the sequence.
fn sequence(part: &str) -> (Option<&str>, &str) {
    let after = |at: Option<usize>| at.and_then(|at| part.get(at..)).unwrap_or_default();
    match part.as_bytes().first() {
        Some(b'[') => {
            let end = part.bytes().skip(1).position(|byte| (0x40..0x7f).contains(&byte)).map(|at| at + 1);
            let is_style = end.is_some_and(|end| part.as_bytes().get(end) == Some(&b'm'));
            let parameters = end.filter(|_| is_style).and_then(|end| part.get(1..end));
            (parameters, after(end.map(|end| end + 1)))
        }
        // A title or a link: it ends with a bell, or with another escape and a backslash.
        Some(b']') => (None, after(part.find('\u{7}').map(|at| at + 1))),
        Some(b'(' | b')' | b'#') => (None, after(part.char_indices().nth(2).map(|(at, _)| at))),
        Some(_) => (None, after(part.char_indices().nth(1).map(|(at, _)| at))),
        None => (None, ""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(text: &str, classes: &str) -> (String, String) {
        (text.to_owned(), classes.to_owned())
    }

    #[test]
    fn colours_become_classes() {
        assert_eq!(pieces("plain"), [piece("plain", "")]);
        assert_eq!(
            pieces("\u{1b}[1;31merror\u{1b}[0m: it \u{1b}[92mfailed\u{1b}[m."),
            [piece("error", "a-red a-bold"), piece(": it ", ""), piece("failed", "a-green"), piece(".", "")]
        );
        assert_eq!(
            pieces("\u{1b}[38;5;196mred\u{1b}[38;2;0;0;200mblue"),
            [piece("red", "a-red"), piece("blue", "a-blue")]
        );
        assert_eq!(
            pieces("\u{1b}[48;5;1mback\u{1b}[2;3;4mall"),
            [piece("back", ""), piece("all", "a-dim a-italic a-under")]
        );
    }

    #[test]
    fn what_is_no_colour_is_left_out() {
        assert_eq!(
            plain("\u{1b}[2K\u{1b}[1G50 %\u{1b}]8;;https://a\u{7}link\u{1b}]8;;\u{1b}\\ done\u{1b}"),
            "50 %link done"
        );
        assert_eq!(plain("\u{1b}(Bä\u{1b}[3"), "ä");
        assert_eq!(plain("\u{1b}\u{1b}[31"), "");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[\u{1b}\\[\\];:0-9mäK\u{7}\\\\ a]{0,40}") {
            prop_assert_eq!(plain(&text).find('\u{1b}'), None);
        }
    }
}
