//! Replaces secrets in text by `***`, in the forms in which programs happen to write them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Shorter values are not masked: they would blot out text that has nothing to do with them. Airflow:
/// `min_length_masked_secret`.
const MIN_CHARS: usize = 5;
/// Longer values are masked as they are and line by line, but not in every encoding of the whole.
const ENCODED_MAX_BYTES: usize = 8 << 10;
/// How much of a pattern the automaton knows; the rest is compared. Keeps it small for long secrets.
const NEEDLE_BYTES: usize = 32;
/// Of as many patterns with one needle, each is followed through a text by itself if it repeats itself.
const MAX_FOLLOWED: usize = 16;

const MASK: &[u8] = b"***";

const RFC_3986: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const URI_COMPONENT: &AsciiSet = &RFC_3986.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// What stands for a secret of `length` bytes where lengths matter: letters, which are at home in JSON, URLs and base64.
pub fn placeholder(length: usize) -> String {
    "masked".chars().cycle().take(length).collect()
}

/// Whether `text` is a [`placeholder`] for a secret that is long enough to be masked.
pub fn is_placeholder(text: &str) -> bool {
    text.len() >= MIN_CHARS && text == placeholder(text.len())
}

/// Masks a set of secrets. Clones share it.
#[derive(Clone)]
pub struct Masker {
    shared: Arc<Patterns>,
}

struct Patterns {
    /// Finds the first bytes of patterns.
    needles: Option<AhoCorasick>,
    /// Sorted, each once.
    sorted: Vec<Vec<u8>>,
    /// Where in `sorted` the patterns of each needle begin: the lines of a table may all begin alike.
    groups: Vec<usize>,
    /// Of groups in which a pattern repeats itself, so that what is found may overlap: what [`repeats`] says of each.
    repeating: BTreeMap<usize, Vec<Vec<usize>>>,
    /// Whether a pattern starts with this byte.
    starts: [bool; 256],
    longest: usize,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

impl Masker {
    /// Masks `secrets`, as they are and encoded: base64 (at any alignment, both alphabets), hex, percent-encoded, JSON,
    /// HTML; and each line of those with several.
    ///
    /// # Panics
    /// If the secrets have more than two thousand million forms.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            add_forms(&mut patterns, secret);
            for line in secret.lines() {
                add_forms(&mut patterns, line.trim());
            }
        }
        let patterns: Vec<_> = patterns.into_iter().collect();
        let mut starts = [false; 256];
        for pattern in &patterns {
            starts[usize::from(pattern[0])] = true;
        }
        let is_first = |at: &usize| *at == 0 || needle(&patterns[at - 1]) != needle(&patterns[*at]);
        let groups: Vec<_> = (0..patterns.len()).filter(is_first).collect();
        let ends = groups.iter().skip(1).copied().chain([patterns.len()]);
        let of_groups = groups.iter().zip(ends).map(|(start, end)| &patterns[*start..end]).enumerate();
        let is_followed = |group: &[Vec<u8>]| group.len() <= MAX_FOLLOWED && group.iter().any(|it| is_repeating(it));
        let repeating = of_groups.filter(|(_, group)| is_followed(group));
        let repeating = repeating.map(|(at, group)| (at, group.iter().map(|it| repeats(it)).collect::<Vec<_>>()));
        let repeating: BTreeMap<_, _> = repeating.collect();
        let needles = groups.iter().map(|at| needle(&patterns[*at]));
        let needles = (!patterns.is_empty()).then(|| {
            AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(needles)
                .expect("secrets in memory are fewer than an automaton can have")
        });
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        Self { shared: Arc::new(Patterns { needles, sorted: patterns, groups, repeating, starts, longest }) }
    }

    /// `text` with its secrets masked.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let regions = self.shared.regions(text.as_bytes());
        if regions.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut stream = self.stream();
        let mut masked = stream.push(text.as_bytes());
        masked.extend(stream.finish());
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }

    /// `text`, whose end was cut off, with its secrets masked: also one that begins in it and would go on behind the cut.
    pub fn mask_cut(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut masked = stream.push(text.as_bytes());
        if stream.is_holding() {
            masked.extend_from_slice(MASK);
        }
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Whether a secret is in `bytes`.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        !self.shared.regions(bytes).is_empty()
    }

    /// Overwrites the secrets in `bytes` with [`placeholder`]s, so that all else stays where it is.
    pub fn blot(&self, bytes: &mut [u8]) {
        for (start, end) in self.shared.regions(bytes) {
            bytes[start..end].copy_from_slice(placeholder(end - start).as_bytes());
        }
    }

    /// Masks what comes in pieces; a secret that lies over several is found.
    pub fn stream(&self) -> MaskStream {
        MaskStream { patterns: Arc::clone(&self.shared), held: Vec::new(), covered: 0 }
    }
}

/// Masks one stream of bytes. Output does not depend on how the input is cut.
pub struct MaskStream {
    patterns: Arc<Patterns>,
    /// The end of the input so far: it may be the beginning of a secret.
    held: Vec<u8>,
    /// How much of `held` is behind a mask that was put out already.
    covered: usize,
}

impl MaskStream {
    /// Takes the next bytes, and gives out those that can't be part of a secret any more, masked.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let until = self.patterns.open_start(&self.held);
        self.put_out(until)
    }

    /// Whether some of the input is held back.
    pub fn is_holding(&self) -> bool {
        self.held.len() > self.covered
    }

    /// Gives out what was held back: nothing follows. The stream can be used for another input then.
    pub fn finish(&mut self) -> Vec<u8> {
        self.put_out(self.held.len())
    }

    /// Gives out the first `until` bytes, and forgets them.
    fn put_out(&mut self, until: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(until);
        let mut done = self.covered;
        for (start, end) in self.patterns.regions(&self.held) {
            if start >= until {
                break;
            }
            if start < done {
                // It overlaps with what is behind a mask already.
                done = done.max(end);
                continue;
            }
            out.extend_from_slice(&self.held[done..start]);
            out.extend_from_slice(MASK);
            done = end;
        }
        if done < until {
            out.extend_from_slice(&self.held[done..until]);
            done = until;
        }
        self.held.drain(..until);
        self.covered = done - until;
        out
    }
}

impl Patterns {
    /// Where secrets are in `text`: ascending, overlapping ones as one.
    fn regions(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        let mut followed: BTreeMap<usize, Vec<Follower>> = BTreeMap::new();
        for hit in self.needles.iter().flat_map(|needles| needles.find_overlapping_iter(text)) {
            let (group, start) = (hit.pattern().as_usize(), hit.start());
            let end = self.groups.get(group + 1).copied().unwrap_or(self.sorted.len());
            let patterns = &self.sorted[self.groups[group]..end];
            let length = if let Some(repeats) = self.repeating.get(&group) {
                let followers = followed.entry(group).or_insert_with(|| vec![Follower::default(); patterns.len()]);
                let each = followers.iter_mut().zip(patterns).zip(repeats);
                let stand = each.filter_map(|((follower, pattern), repeats)| {
                    follower.stands_at(start, pattern, repeats, text).then_some(pattern.len())
                });
                stand.max()
            } else {
                longest_start(patterns, &text[start..])
            };
            found.extend(length.map(|length| (start, start + length)));
        }
        found.sort_unstable();
        let mut regions: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (start, end) in found {
            match regions.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => regions.push((start, end)),
            }
        }
        regions
    }

    /// The first place in `text` from which on all of it is the beginning of a pattern that is not at its end yet.
    fn open_start(&self, text: &[u8]) -> usize {
        let earliest = text.len().saturating_sub(self.longest.saturating_sub(1));
        let open = |start: &usize| {
            let tail = &text[*start..];
            self.starts[usize::from(tail[0])] && {
                // The first pattern that is longer than `tail` and not before it starts with it, if any does.
                let next = self.sorted.partition_point(|pattern| pattern.as_slice() <= tail);
                self.sorted.get(next).is_some_and(|pattern| pattern.starts_with(tail))
            }
        };
        (earliest..text.len()).find(open).unwrap_or(text.len())
    }
}

fn needle(pattern: &[u8]) -> &[u8] {
    &pattern[..pattern.len().min(NEEDLE_BYTES)]
}

/// Looks for a pattern at ascending places of a text, and compares no byte of that again where the last place said what it is.
#[derive(Debug, Clone, Copy, Default)]
struct Follower {
    /// Where the pattern was looked for.
    start: usize,
    /// As far as the text was the pattern from there on.
    end: usize,
}

impl Follower {
    /// Whether `pattern`, which `repeats` itself so, stands at `start` of `text`: behind where it was asked for last.
    fn stands_at(&mut self, start: usize, pattern: &[u8], repeats: &[usize], text: &[u8]) -> bool {
        let mut common = 0;
        if start < self.end {
            common = self.end - start;
            if repeats[start - self.start] < common {
                return false;
            }
        }
        common += in_common(&pattern[common..], &text[start + common..]);
        *self = Self { start, end: start + common };
        common == pattern.len()
    }
}

fn in_common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Whether the needle of a pattern stands in it again.
fn is_repeating(pattern: &[u8]) -> bool {
    let needle = needle(pattern);
    pattern.windows(needle.len()).skip(1).any(|window| window == needle)
}

/// How many bytes from each place of a pattern on are those at its beginning; the Z function. Nothing is said of the first place.
fn repeats(pattern: &[u8]) -> Vec<usize> {
    let mut repeats = vec![0; pattern.len()];
    // The copy of the beginning that reaches farthest.
    let (mut start, mut end) = (0, 0);
    for at in 1..pattern.len() {
        let known = if at < end { repeats[at - start].min(end - at) } else { 0 };
        repeats[at] = known + in_common(&pattern[known..], &pattern[at + known..]);
        if at + repeats[at] > end {
            (start, end) = (at, at + repeats[at]);
        }
    }
    repeats
}

/// The length of the longest of `sorted` patterns with which `text` begins.
fn longest_start(sorted: &[Vec<u8>], mut text: &[u8]) -> Option<usize> {
    loop {
        // What `text` begins with is not after it.
        let last = sorted.partition_point(|pattern| pattern.as_slice() <= text).checked_sub(1)?;
        let common = in_common(&sorted[last], text);
        if common == sorted[last].len() {
            return Some(common);
        }
        // Nor is it longer than what this one has of it: it would come between the two.
        text = &text[..common];
    }
}

/// Adds the forms in which `secret` may be written.
fn add_forms(patterns: &mut BTreeSet<Vec<u8>>, secret: &str) {
    if secret.chars().count() < MIN_CHARS {
        return;
    }
    let bytes = secret.as_bytes();
    let mut add = |form: &[u8]| {
        patterns.insert(form.to_vec());
    };
    add(bytes);
    if bytes.len() > ENCODED_MAX_BYTES {
        return;
    }

    for skipped in 0..3 {
        // As it stands inside a longer text: `skipped` bytes of its group of three come before it. Characters that
        // depend on its neighbours are left out.
        let aligned = [&[0_u8; 2][..skipped], bytes].concat();
        let own = (skipped * 8).div_ceil(6)..aligned.len() * 8 / 6;
        add(&STANDARD_NO_PAD.encode(&aligned).as_bytes()[own.clone()]);
        add(&URL_SAFE_NO_PAD.encode(&aligned).as_bytes()[own]);
    }

    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    add(hex.as_bytes());
    add(hex.to_ascii_uppercase().as_bytes());

    for set in [NON_ALPHANUMERIC, RFC_3986, URI_COMPONENT, FORM] {
        let encoded = percent_encode(bytes, set).to_string();
        add(encoded.as_bytes());
        add(lower_case_escapes(&encoded).as_bytes());
        let plus = encoded.replace("%20", "+");
        add(plus.as_bytes());
        add(lower_case_escapes(&plus).as_bytes());
    }

    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    add(json.as_bytes());
    add(json.replace('/', "\\/").as_bytes());
    add(ascii_json(json).as_bytes());
    let debug = format!("{secret:?}");
    add(&debug.as_bytes()[1..debug.len() - 1]);

    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    add(html.as_bytes());
    for (quote, apostrophe) in [("&quot;", "&#39;"), ("&quot;", "&#x27;"), ("&#34;", "&#39;")] {
        add(html.replace('"', quote).replace('\'', apostrophe).as_bytes());
    }
}

/// `%2F` as `%2f`.
fn lower_case_escapes(encoded: &str) -> String {
    let mut left = 0;
    let lower = |c: char| {
        if c == '%' {
            left = 2;
        } else if left > 0 {
            left -= 1;
            return c.to_ascii_lowercase();
        }
        c
    };
    encoded.chars().map(lower).collect()
}

/// `ä` as `\u00e4`: what Python's `json.dumps` writes.
fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests;
