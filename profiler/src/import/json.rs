//! JSON piece by piece, from a source that may be larger than memory: the structure is walked here without recursion, and
//! each value that matters is handed on as text.

use std::io::Read;

use super::{Problem, damaged};

const CHUNK: usize = 1 << 18;

/// A reader of JSON values, one after another.
pub(super) struct Json<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where the next byte to read is in `buffer`.
    at: usize,
    /// How much came before `buffer`.
    before: u64,
    ended: bool,
}

/// What comes next in an array or an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// One more value.
    Value,
    /// The closing bracket, which was read.
    Close,
    /// The end of the file, which should not be here.
    Cut,
}

impl<R: Read> Json<R> {
    pub fn new(reader: R) -> Json<R> {
        Json { reader, buffer: Vec::new(), at: 0, before: 0, ended: false }
    }

    /// Where this is in the file.
    pub fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// An error that says where.
    pub fn wrong(&self, expected: &str) -> Problem {
        damaged(format!("byte {}: expected {expected}", self.position()))
    }

    /// The next byte that is no space, not taken.
    pub fn peek(&mut self) -> Result<Option<u8>, Problem> {
        loop {
            while let Some(&b) = self.buffer.get(self.at) {
                if !b.is_ascii_whitespace() {
                    return Ok(Some(b));
                }
                self.at += 1;
            }
            if !self.more(self.at)? {
                return Ok(None);
            }
        }
    }

    /// Takes the next byte that is no space if it is this one.
    pub fn take(&mut self, byte: u8) -> Result<bool, Problem> {
        let found = self.peek()? == Some(byte);
        self.at += usize::from(found);
        Ok(found)
    }

    /// After an opening bracket (`first`) or a value: is there another one? Superfluous commas do no harm.
    pub fn next(&mut self, first: bool, close: u8) -> Result<Next, Problem> {
        let mut comma = first;
        while self.take(b',')? {
            comma = true;
        }
        match self.peek()? {
            None => Ok(Next::Cut),
            Some(b) if b == close => {
                self.at += 1;
                Ok(Next::Close)
            }
            Some(_) if comma => Ok(Next::Value),
            Some(_) => Err(self.wrong("a comma")),
        }
    }

    /// The key of an object's member, with its colon; `None` where the file ends.
    pub fn key(&mut self) -> Result<Option<String>, Problem> {
        const LONGEST: usize = 1 << 16;
        if self.peek()?.is_some_and(|b| b != b'"') {
            return Err(self.wrong("a name in quotes"));
        }
        let Some(text) = self.value(LONGEST)? else { return Ok(None) };
        let key = text.and_then(|t| serde_json::from_slice(t).ok());
        let Some(key) = key else { return Err(self.wrong("a name before here")) };
        match self.peek()? {
            None => Ok(None),
            Some(b':') => {
                self.at += 1;
                Ok(Some(key))
            }
            Some(_) => Err(self.wrong("a colon")),
        }
    }

    /// The text of the next value. `None`: the file ends in it or before it. `Some(None)`: it is longer than `limit` and
    /// was skipped.
    pub fn value(&mut self, limit: usize) -> Result<Option<Option<&[u8]>>, Problem> {
        let Some(first) = self.peek()? else { return Ok(None) };
        let mut state = Scan { depth: 0, text: false, escaped: false, plain: !b"{[\"".contains(&first) };
        if b",:]}".contains(&first) {
            return Err(self.wrong("a value"));
        }
        let mut skipped = false;
        let mut start = self.at;
        let mut end = self.at;
        loop {
            if let Some(length) = state.end(&self.buffer[end..]) {
                end += length;
                self.at = end;
                return Ok(Some((!skipped && end - start <= limit).then(|| &self.buffer[start..end])));
            }
            end = self.buffer.len();
            if skipped || end - start > limit {
                skipped = true;
                start = end;
            }
            let dropped = start;
            if !self.more(start)? {
                // A number at the very end of the file is whole.
                self.at = self.buffer.len();
                return Ok((state.plain && !skipped).then(|| Some(&self.buffer[start - dropped..])));
            }
            (start, end) = (0, end - dropped);
        }
    }

    /// Reads on, keeping what is in the buffer from `keep` on, which moves to its beginning; false at the end of the file.
    fn more(&mut self, keep: usize) -> Result<bool, Problem> {
        self.buffer.drain(..keep);
        self.before += keep as u64;
        self.at = self.at.saturating_sub(keep);
        if self.ended {
            return Ok(false);
        }
        let old = self.buffer.len();
        // Long values are looked at once, not again for each chunk; doubling keeps their moves few.
        self.buffer.resize(old + CHUNK.max(old), 0);
        let mut filled = old;
        let result = loop {
            match self.reader.read(&mut self.buffer[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break Ok(());
                }
                Ok(n) => {
                    filled += n;
                    break Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.buffer.truncate(filled);
        result?;
        Ok(filled > old)
    }
}

/// Looks for the end of a value.
struct Scan {
    depth: usize,
    text: bool,
    escaped: bool,
    /// A number or a word: it ends where something else begins.
    plain: bool,
}

impl Scan {
    /// How many of these bytes belong to the value, if it ends in them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.plain {
            return bytes.iter().position(|b| b.is_ascii_whitespace() || b",:]}[{\"".contains(b));
        }
        for (i, &b) in bytes.iter().enumerate() {
            if self.text {
                match b {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.text = false;
                        if self.depth == 0 {
                            return Some(i + 1);
                        }
                    }
                    _ => {}
                }
            } else {
                match b {
                    b'"' => self.text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Some(i + 1);
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives so many bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn values(text: &str, step: usize, limit: usize) -> (Vec<Option<String>>, Next) {
        let mut json = Json::new(Drip(text.as_bytes(), step));
        assert!(json.take(b'[').unwrap());
        let (mut all, mut first) = (Vec::new(), true);
        loop {
            match json.next(first, b']').unwrap() {
                Next::Value => match json.value(limit).unwrap() {
                    Some(v) => all.push(v.map(|v| String::from_utf8(v.to_vec()).unwrap())),
                    None => return (all, Next::Cut),
                },
                end => return (all, end),
            }
            first = false;
        }
    }

    #[test]
    fn values_are_found_whatever_the_pieces() {
        let text = r#" [ {"a":"}]\"\\","b":[1,{}]} , 12.5e3,"x,]", null ,[[]]  ]"#;
        let want = [r#"{"a":"}]\"\\","b":[1,{}]}"#, "12.5e3", r#""x,]""#, "null", "[[]]"];
        for step in [1, 2, 3, 7, 1000] {
            let (got, end) = values(text, step, 1000);
            assert_eq!(got.iter().flatten().map(String::as_str).collect::<Vec<_>>(), want, "{step}");
            assert_eq!(end, Next::Close);
            // Too long ones are left out, and those after them found.
            let (got, _) = values(text, step, 6);
            assert_eq!(got.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, true, true], "{step}");
        }
    }

    #[test]
    fn an_early_end_is_told() {
        for (text, whole) in [("[", 0), ("[1", 1), ("[1,", 1), ("[{}, {\"a\":", 1), ("[\"x", 0), ("[[[[", 0)] {
            for step in [1, 100] {
                let (got, end) = values(text, step, 100);
                assert_eq!((got.len(), end), (whole, Next::Cut), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut json = Json::new(&b"[1 2]"[..]);
        json.take(b'[').unwrap();
        json.value(9).unwrap();
        let message = json.next(false, b']').unwrap_err().to_string();
        assert!(message.contains("byte 3: expected a comma"), "{message}");
        assert!(Json::new(&b"}"[..]).value(9).is_err());
        assert!(Json::new(&b"{1:2}"[1..]).key().is_err());
        assert_eq!(Json::new(&b"\"a\" : 1"[..]).key().unwrap().as_deref(), Some("a"));
    }
}
