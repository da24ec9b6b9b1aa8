//! WebAssembly written byte by byte, for tests of what no compiler makes.

pub const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
pub const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A number as LEB128.
pub fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(n & 0x7f).unwrap();
        n >>= 7;
        bytes.push(if n == 0 { byte } else { byte | 0x80 });
        if n == 0 {
            return bytes;
        }
    }
}

pub fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}
