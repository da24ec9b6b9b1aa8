//! `PostgreSQL`'s `numeric` in its binary form: digits of base 10,000.
//!
//! Four numbers of 16 bits - how many digits, the place of the first one, the sign, how many decimals are shown - and the digits.

use std::fmt::Write as _;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// Decimal digits that a number may have before or after its point.
const MAX_DIGITS: usize = 16_383;

/// As text: `-12.50`, `NaN`, `Infinity`.
///
/// # Errors
/// If it is no number.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<String, String> {
    let wrong = || "the server sent no number".to_owned();
    let words: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else { return Err(wrong()) };
    match *sign {
        0 | NEGATIVE => {}
        NAN => return Ok("NaN".into()),
        INFINITY => return Ok("Infinity".into()),
        NEGATIVE_INFINITY => return Ok("-Infinity".into()),
        _ => return Err(wrong()),
    }
    let (weight, scale) = (i32::from(weight.cast_signed()), usize::from(*scale));
    if digits.len() != usize::from(*count) || digits.iter().any(|digit| *digit > 9_999) || scale > MAX_DIGITS {
        return Err(wrong());
    }
    let digit = |place: i32| {
        // Places go down from the first digit's.
        usize::try_from(weight - place).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if *sign == NEGATIVE {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=weight).rev() {
        // The first one without zeros before it.
        let width = if place == weight { 0 } else { 4 };
        let _ = write!(text, "{:0width$}", digit(place));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut place = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", digit(place));
            place -= 1;
        }
        text.truncate(end);
    }
    Ok(text)
}

/// From text: digits with a sign and a point, `NaN`, `Infinity`.
///
/// # Errors
/// If it is no number, or has too many digits.
pub(super) fn to_bytes(text: &str) -> Result<Vec<u8>, String> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let special = match (rest.to_ascii_lowercase().as_str(), is_negative) {
        ("nan", false) => Some(NAN),
        ("infinity" | "inf", false) => Some(INFINITY),
        ("infinity" | "inf", true) => Some(NEGATIVE_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        return Ok([0, 0, sign, 0].into_iter().flat_map(u16::to_be_bytes).collect());
    }
    let (whole, decimals) = rest.split_once('.').unwrap_or((rest, ""));
    let is_number = !(whole.is_empty() && decimals.is_empty())
        && whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(format!("`{}` is no number", text.chars().take(80).collect::<String>()));
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_DIGITS || decimals.len() > MAX_DIGITS {
        return Err(format!("a number has at most {MAX_DIGITS} digits before and after its point"));
    }
    // Groups of four, from the point to both sides.
    let lead = whole.len().div_ceil(4) * 4;
    let tail = decimals.len().div_ceil(4) * 4;
    let padded = format!("{whole:0>lead$}{decimals:0<tail$}");
    let mut digits: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |digit, byte| digit * 10 + u16::from(byte - b'0')))
        .collect();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    let narrow = |number: usize| u16::try_from(number).map_err(|_| "the number is too long".to_owned());
    let places = i32::try_from(lead / 4).unwrap_or(0) - i32::try_from(zeros).unwrap_or(0) - 1;
    let weight = if digits.is_empty() { 0 } else { places };
    let weight = i16::try_from(weight).map_err(|_| "the number is too long".to_owned())?;
    let sign = if is_negative && !digits.is_empty() { NEGATIVE } else { 0 };
    let head = [narrow(digits.len())?, weight.cast_unsigned(), sign, narrow(decimals.len())?];
    Ok(head.into_iter().chain(digits).flat_map(u16::to_be_bytes).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_the_server_does() {
        // What PostgreSQL 15 sends for these.
        for (text, words) in [
            ("0", vec![0_u16, 0, 0, 0]),
            ("1", vec![1, 0, 0, 0, 1]),
            ("-12.50", vec![2, 0, NEGATIVE, 2, 12, 5_000]),
            ("12345678.9", vec![3, 1, 0, 1, 1_234, 5_678, 9_000]),
            ("0.0001", vec![1, u16::MAX, 0, 4, 1]),
            ("10000", vec![1, 1, 0, 0, 1]),
            ("0.00", vec![0, 0, 0, 2]),
            ("NaN", vec![0, 0, NAN, 0]),
            ("-Infinity", vec![0, 0, NEGATIVE_INFINITY, 0]),
        ] {
            let bytes: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
            assert_eq!(to_bytes(text).unwrap(), bytes, "{text}");
            assert_eq!(from_bytes(&bytes).unwrap(), text);
        }
        for bad in ["", ".", "1e5", "--1", "1.2.3", "0x10", "ä", &"9".repeat(20_000)] {
            assert!(to_bytes(bad).is_err(), "{bad}");
        }
        for bad in [&[][..], &[0], &[0, 1, 0, 0, 0, 0, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0, 255, 255]] {
            assert!(from_bytes(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?") {
            let read = from_bytes(&to_bytes(&text).unwrap()).unwrap();
            // A zero has no sign.
            let is_zero = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
            let expected = if is_zero { text.trim_start_matches('-') } else { text.as_str() };
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_are_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = from_bytes(&bytes);
        }
    }
}
