//! WebAssembly made by hand: what no compiler would make.

pub const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
pub const MODULE: &[u8] = b"\0asm\x01\0\0\0";

const CORE_MODULE: u8 = 1;
const COMPONENT_SECTION: u8 = 4;

pub fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(n & 0x7f).expect("7 bits");
        n >>= 7;
        bytes.push(if n == 0 { byte } else { byte | 0x80 });
        if n == 0 {
            return bytes;
        }
    }
}

fn read_leb(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

pub fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

/// A component of one module with functions of these locals and operators.
pub fn functions(count: usize, locals: usize, operators: &[u8]) -> Vec<u8> {
    let locals = [&[1][..], &leb(locals), &[0x7f]].concat();
    let body = [&locals[..], operators].concat();
    let one = [&leb(body.len()), &body[..]].concat();
    let code = [leb(count), one.repeat(count)].concat();
    let kinds = [leb(count), vec![0; count]].concat();
    let module = [MODULE, &section(1, &[1, 0x60, 0, 0]), &section(3, &kinds), &section(10, &code)].concat();
    [COMPONENT, &section(CORE_MODULE, &module)].concat()
}

/// Blocks (0x02), loops (0x03) or ifs, one in the other.
pub fn nested(block: &[u8], times: usize) -> Vec<u8> {
    let mut operators = block.repeat(times);
    operators.extend(vec![0x0b; times + 1]);
    operators
}

/// Components in components.
pub fn nested_components(times: usize) -> Vec<u8> {
    // From the inside: the length of each is known then.
    let mut lengths = vec![COMPONENT.len()];
    for _ in 0..times {
        let inner = lengths[lengths.len() - 1];
        lengths.push(COMPONENT.len() + 1 + leb(inner).len() + inner);
    }
    let mut all = COMPONENT.to_vec();
    for inner in lengths.iter().rev().skip(1) {
        all.push(COMPONENT_SECTION);
        all.extend(leb(*inner));
        all.extend(COMPONENT);
    }
    all
}

/// The sections of a module or component: their numbers and bodies.
pub fn sections(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut at, mut found) = (8, Vec::new());
    while at < bytes.len() {
        let id = bytes[at];
        at += 1;
        let length = read_leb(bytes, &mut at);
        found.push((id, bytes[at..at + length].to_vec()));
        at += length;
    }
    found
}

fn joined(head: &[u8], sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    sections.iter().fold(head.to_vec(), |all, (id, body)| [all, section(*id, body)].concat())
}

/// A component whose largest module is `changed`.
pub fn with_module(component: &[u8], change: impl FnOnce(&mut Vec<(u8, Vec<u8>)>)) -> Vec<u8> {
    let mut all = sections(component);
    let largest = all.iter_mut().filter(|(id, _)| *id == CORE_MODULE).max_by_key(|(_, body)| body.len());
    let (_, module) = largest.expect("a component has a module");
    let mut parts = sections(module);
    change(&mut parts);
    *module = joined(MODULE, &parts);
    joined(COMPONENT, &all)
}

/// How many functions an import section names.
fn imported_functions(body: &[u8]) -> usize {
    let mut at = 0;
    let count = read_leb(body, &mut at);
    let mut functions = 0;
    for _ in 0..count {
        for _ in 0..2 {
            let length = read_leb(body, &mut at);
            at += length;
        }
        let kind = body[at];
        at += 1;
        match kind {
            0 => {
                functions += 1;
                read_leb(body, &mut at);
            }
            3 => at += 2,
            // Tables and memories have limits; a table says before of what it is.
            _ => {
                at += usize::from(kind == 1);
                let flags = body[at];
                at += 1;
                for _ in 0..=(flags & 1) {
                    read_leb(body, &mut at);
                }
            }
        }
    }
    functions
}

/// Adds a function without parameters to a module, and has it run when the module is instantiated.
pub fn start_with(parts: &mut Vec<(u8, Vec<u8>)>, operators: &[u8]) {
    let (mut imported, mut own) = (0, 0);
    let mut kind = 0;
    for (id, body) in parts.iter_mut() {
        let mut append = |more: &[u8]| {
            let mut at = 0;
            let count = read_leb(body, &mut at);
            *body = [&leb(count + 1), &body[at..], more].concat();
            count
        };
        match id {
            1 => kind = append(&[0x60, 0, 0]),
            2 => imported = imported_functions(body),
            3 => own = append(&leb(kind)),
            10 => {
                let function = [&[0][..], operators].concat();
                append(&[leb(function.len()), function].concat());
            }
            _ => {}
        }
    }
    // It stands between the exports (7) and the elements (9).
    let at = parts.iter().position(|(id, _)| matches!(id, 9 | 10 | 12)).expect("a module has code");
    parts.insert(at, (8, leb(imported + own)));
}
