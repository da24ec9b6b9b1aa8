//! How an input becomes the next one.

/// Pieces that readers stumble over.
pub const WORDS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{1f4a9}".as_bytes(),
    b"'",
    b"\"",
    b"\\",
    b"`",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"${",
    b"../",
    b"%2e%2e%2f",
    b"<script>",
    b"javascript:",
    b"[](",
    b"**",
    b"***",
    b"-1",
    b"0",
    b"1e309",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-9223372036854775808",
    b"4294967296",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[[[[[[[[",
    b"{\"a\":",
    b"~",
    b"*",
    b"/",
    b",",
    b":",
    b"#",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"| ",
    b"> ",
    b"- ",
    b"---\n",
    b"...",
    b"\t",
    b"@",
    b"127.0.0.1",
    b"::ffff:",
    b"[::]",
    b"169.254.169.254",
    b"0x7f.1",
    b"2130706433",
    b"xn--",
    b".",
    b"%00",
    b"L",
    b"W",
    b"#5",
    b"*/0",
    b"60",
    b"2026-02-30",
    b"+25:00",
    b"T24:00:60Z",
    b"\0asm",
    b"\x0d\0\x01\0",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\x0f",
];

/// Numbers at the edges of what fits.
const EDGES: &[u64] =
    &[0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Makes inputs; the same seed makes the same ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of the corpus, changed in some places; at most `longest` bytes.
    pub fn of(&mut self, corpus: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut input = self.pick(corpus).clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, corpus);
        }
        input.truncate(longest);
        input
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let longest = (length - from).min(1 << self.below(8));
        from..from + if longest == 0 { 0 } else { self.below(longest + 1) }
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(11) {
            0 if !input.is_empty() => {
                let bit = 1 << self.below(8);
                let at = at.min(input.len() - 1);
                input[at] ^= bit;
            }
            1 => {
                let range = self.range(input.len());
                input.drain(range);
            }
            2..=4 => {
                let word = *self.pick(WORDS);
                input.splice(at..at, word.iter().copied());
            }
            5 => {
                // Over what is there.
                let word = *self.pick(WORDS);
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            6 => {
                let range = self.range(input.len());
                let copied = input[range].to_vec();
                let times = 1 << self.below(10);
                let times = if copied.is_empty() { 0 } else { times.min((16 << 10) / copied.len() + 1) };
                input.splice(at..at, copied.repeat(times));
            }
            7 => {
                // The beginning of this and the end of another.
                let other = self.pick(corpus).clone();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            8 => {
                let edge = self.pick(EDGES).to_le_bytes();
                let width = *self.pick(&[1, 2, 4, 8]);
                let end = (at + width).min(input.len());
                input.splice(at..end, edge[..width].iter().copied());
            }
            9 => {
                let number = self.pick(EDGES).to_string();
                let range = self.range(input.len());
                input.splice(range, number.bytes());
            }
            _ => {
                let byte = self.next().to_le_bytes()[0];
                input.insert(at, byte);
            }
        }
    }
}
