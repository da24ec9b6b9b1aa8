//! What a guest wrote to stderr before it aborted, which mostly says why.
//!
//! Lines are kept whole: what is left of a secret in a part of one would not be known as one.

/// So much is kept, and what stands for more.
const MAX_BYTES: usize = 4 << 10;
const REST: &str = "(the log has the rest)\n";

/// How a component of componentize-py panics after it has written a traceback.
const PYTHON_PANIC: &str = "Python function threw an unexpected exception";
/// What the standard library, or a crate, panics with for want of something, and what to do without it.
const WANTS: [(&str, &str); 3] = [
    ("failed to spawn thread", ONE_THREAD),
    ("can't spawn worker thread", ONE_THREAD),
    ("no filesystem on wasm", "a task has no files; keep it in memory, or as an artifact"),
];
const ONE_THREAD: &str = "a task has one thread; what is to run side by side are tasks";

/// Of a panic of Rust the lines from its first on, else one line.
#[derive(Debug, Clone, Default)]
pub struct LastWords {
    text: String,
    traceback: Traceback,
}

/// The last traceback of Python.
#[derive(Debug, Clone, Default)]
struct Traceback {
    /// The innermost frame's file and line.
    place: Option<String>,
    /// What follows the frames.
    exception: String,
}

impl LastWords {
    /// The guest wrote `line`.
    pub fn add(&mut self, line: &str) {
        if begins_panic(line) {
            self.text.clear();
        } else if !begins_panic(&self.text) {
            self.traceback.add(line);
            if line.trim().is_empty() {
                return;
            }
            self.text.clear();
        }
        append(&mut self.text, line);
    }

    /// A panic's or an exception's text and place, or a line; in words for the author.
    pub fn told(&self) -> Option<String> {
        let panic = self.text.split_once(" panicked at ").filter(|_| begins_panic(&self.text));
        let Some((_, panic)) = panic else {
            let last = self.text.trim_end();
            return (!last.is_empty()).then(|| format!("the task aborted; it wrote last: {last}"));
        };
        let end = panic.find("\nnote: ").or_else(|| panic.find("\nstack backtrace:")).unwrap_or(panic.len());
        let (place, text) = panic[..end].split_once('\n').unwrap_or((&panic[..end], ""));
        if text.trim_end() == PYTHON_PANIC
            && let Some(exception) = self.traceback.told()
        {
            return Some(exception);
        }
        let want = WANTS.iter().find(|(words, _)| text.contains(words));
        let way_out = want.map(|(_, way_out)| format!("; {way_out}")).unwrap_or_default();
        Some(format!("panicked: {} ({}){way_out}", text.trim_end(), place.trim_end_matches(':')))
    }
}

impl Traceback {
    fn add(&mut self, line: &str) {
        if line == "Traceback (most recent call last):" {
            *self = Self::default();
        } else if self.exception.is_empty() && line.starts_with(' ') {
            // A frame's file and line, or its code.
            self.place = place(line).or_else(|| self.place.take());
        } else if self.place.is_some() {
            append(&mut self.exception, line);
        }
    }

    fn told(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        let exception = self.exception.trim_end();
        (!exception.is_empty()).then(|| format!("{exception} ({place})"))
    }
}

fn begins_panic(text: &str) -> bool {
    text.starts_with("thread '") && text.contains(" panicked at ")
}

/// Of `  File "/0/app.py", line 7, in run`: `/0/app.py:7`.
fn place(frame: &str) -> Option<String> {
    let (file, line) = frame.strip_prefix("  File \"")?.split_once("\", line ")?;
    Some(format!("{file}:{}", line.split(',').next()?))
}

fn append(text: &mut String, line: &str) {
    if text.ends_with(REST) {
        return;
    }
    if text.len() + line.len() < MAX_BYTES {
        text.push_str(line);
        text.push('\n');
    } else {
        text.push_str(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stderr: &str) -> Option<String> {
        let mut words = LastWords::default();
        stderr.lines().for_each(|line| words.add(line));
        words.told()
    }

    #[test]
    fn a_panic_is_told_by_its_text_and_place_all_else_by_its_last_line() {
        let panic = "earlier\n\nthread '<unnamed>' (1) panicked at src/lib.rs:3:5:\nfirst\nit panicked at 9\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(told(panic).unwrap(), "panicked: first\nit panicked at 9 (src/lib.rs:3:5)");
        assert_eq!(told("one\ntwo\n\n").unwrap(), "the task aborted; it wrote last: two");
        assert_eq!(told("\n"), None);
        let wants = told("thread 'a' panicked at std.rs:1:2:\nfailed to spawn thread: Unsupported\n").unwrap();
        assert_eq!(wants, format!("panicked: failed to spawn thread: Unsupported (std.rs:1:2); {ONE_THREAD}"));
    }

    #[test]
    fn a_long_panic_is_told_by_its_first_lines_and_never_by_a_part_of_one() {
        let long = "secret ".repeat(MAX_BYTES);
        assert_eq!(told(&long).unwrap(), "the task aborted; it wrote last: (the log has the rest)");
        let panic =
            format!("thread 'x' (1) panicked at src/lib.rs:3:5:\nthey differ\nleft: {long}\nright\nnote: run with\n");
        assert_eq!(told(&panic).unwrap(), "panicked: they differ\n(the log has the rest) (src/lib.rs:3:5)");
    }

    #[test]
    fn an_exception_of_python_is_told_by_its_text_and_innermost_frame_however_many_there_are() {
        let panic = "\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\n\
                     Python function threw an unexpected exception\nnote: run with `RUST_BACKTRACE=1`\n";
        let frames = "  File \"/0/lib.py\", line 1, in f\n    f()\n".repeat(1_000);
        let traceback =
            format!("Traceback (most recent call last):\n{frames}  File \"/0/app.py\", line 7, in run\n    1 +\n");
        for (written, expected) in [
            (format!("{traceback}KeyError: 'x'\n{panic}"), "KeyError: 'x' (/0/app.py:7)"),
            (
                format!("warning\n{traceback}A: 1\n\nDuring ..\n\n{traceback}B: 2\n\nmore\n{panic}"),
                "B: 2\n\nmore (/0/app.py:7)",
            ),
            (
                format!("KeyError: 'x'\n{panic}"),
                "panicked: Python function threw an unexpected exception (runtime/src/lib.rs:1293:29)",
            ),
        ] {
            assert_eq!(told(&written).unwrap(), expected, "{written}");
        }
    }
}
