//! Reads the items of a JSON array or of JSON Lines, one at a time, each with its place in the file.
//!
//! An item is cut out by its brackets and quotes alone; whether it is JSON, and fits the task, is for the
//! description to say. So a file of any length is read in the memory of its largest item.

use std::fmt;
use std::io::{self, BufRead};

/// One item as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) text: Vec<u8>,
    /// Where it starts, both counted from 1.
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The file is not what it should be, at this place.
#[derive(Debug)]
pub(crate) struct InputError {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// How the items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Array,
    Lines,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    Start,
    /// Within the array, with this many items read.
    Items(usize),
    Ended,
}

/// The items of one file or stream.
#[derive(Debug)]
pub(crate) struct Items<R> {
    bytes: Bytes<R>,
    layout: Layout,
    state: State,
    max_item: usize,
}

impl<R: BufRead> Items<R> {
    pub(crate) fn new(reader: R, layout: Layout, max_item: usize) -> Self {
        let bytes = Bytes { reader, line: 1, column: 1 };
        Self { bytes, layout, state: State::Start, max_item }
    }

    fn next_of_array(&mut self) -> Result<Option<Item>, InputError> {
        self.bytes.skip_space()?;
        let read = match self.state {
            State::Ended => return Ok(None),
            State::Start => match self.bytes.next()? {
                Some(b'[') => 0,
                Some(other) => {
                    return Err(self.bytes.wrong_before(format!(
                        "expected an array, got {}; for one value per line use --input-format jsonl",
                        shown(other)
                    )));
                }
                None => {
                    return Err(self
                        .bytes
                        .wrong("the input is empty; an array without items is []".to_owned()));
                }
            },
            State::Items(read) => read,
        };
        self.bytes.skip_space()?;
        match (self.bytes.peek()?, read) {
            (Some(b']'), _) => {
                self.bytes.next()?;
                self.bytes.skip_space()?;
                if let Some(other) = self.bytes.peek()? {
                    return Err(self
                        .bytes
                        .wrong(format!("expected nothing after the array, got {}", shown(other))));
                }
                self.state = State::Ended;
                return Ok(None);
            }
            (Some(b','), 1..) => {
                self.bytes.next()?;
                self.bytes.skip_space()?;
            }
            (Some(_), 0) => {}
            (Some(other), _) => {
                return Err(self.bytes.wrong(format!("expected a comma or ], got {}", shown(other))));
            }
            (None, _) => return Err(self.bytes.wrong("the array has no end".to_owned())),
        }
        let item = self.item(|byte| matches!(byte, b',' | b']'))?;
        self.state = State::Items(read + 1);
        Ok(Some(item))
    }

    fn next_of_lines(&mut self) -> Result<Option<Item>, InputError> {
        if self.state == State::Ended {
            return Ok(None);
        }
        // Empty lines are no items.
        self.bytes.skip_space()?;
        if self.bytes.peek()?.is_none() {
            self.state = State::Ended;
            return Ok(None);
        }
        let (line, column) = (self.bytes.line, self.bytes.column);
        let mut text = Vec::new();
        while let Some(byte) = self.bytes.next()? {
            if byte == b'\n' {
                break;
            }
            self.push(&mut text, byte)?;
        }
        Ok(Some(Item { text, line, column }))
    }

    fn push(&self, text: &mut Vec<u8>, byte: u8) -> Result<(), InputError> {
        if text.len() >= self.max_item {
            return Err(self.bytes.wrong(format!("an item of more than {} bytes", self.max_item)));
        }
        text.push(byte);
        Ok(())
    }

    /// One value, up to the byte that ends it outside of all brackets and strings.
    fn item(&mut self, ends: impl Fn(u8) -> bool) -> Result<Item, InputError> {
        let (line, column) = (self.bytes.line, self.bytes.column);
        let mut text = Vec::new();
        let mut depth = 0usize;
        loop {
            let Some(byte) = self.bytes.peek()? else {
                return Err(self.bytes.wrong("the array has no end".to_owned()));
            };
            if depth == 0 && ends(byte) {
                break;
            }
            self.bytes.next()?;
            self.push(&mut text, byte)?;
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' => self.string(&mut text)?,
                _ => {}
            }
        }
        text.truncate(text.trim_ascii_end().len());
        if text.is_empty() {
            return Err(InputError { line, column, message: "expected a value".to_owned() });
        }
        Ok(Item { text, line, column })
    }

    /// The rest of a string, with its closing quote.
    fn string(&mut self, text: &mut Vec<u8>) -> Result<(), InputError> {
        let mut escaped = false;
        loop {
            let Some(byte) = self.bytes.next()? else {
                return Err(self.bytes.wrong("a string has no end".to_owned()));
            };
            self.push(text, byte)?;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(()),
                _ => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for Items<R> {
    type Item = Result<Item, InputError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.layout {
            Layout::Array => self.next_of_array(),
            Layout::Lines => self.next_of_lines(),
        };
        if next.is_err() {
            self.state = State::Ended;
        }
        next.transpose()
    }
}

/// Bytes with the place of the next one.
#[derive(Debug)]
struct Bytes<R> {
    reader: R,
    line: usize,
    column: usize,
}

impl<R: BufRead> Bytes<R> {
    fn peek(&mut self) -> Result<Option<u8>, InputError> {
        loop {
            match self.reader.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(InputError {
                        line: self.line,
                        column: self.column,
                        message: error.to_string(),
                    });
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<u8>, InputError> {
        let Some(byte) = self.peek()? else { return Ok(None) };
        self.reader.consume(1);
        if byte == b'\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else if byte & 0xc0 != 0x80 {
            // A column is a character, and this byte begins one.
            self.column += 1;
        }
        Ok(Some(byte))
    }

    fn skip_space(&mut self) -> Result<(), InputError> {
        while self.peek()?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.next()?;
        }
        Ok(())
    }

    fn wrong(&self, message: String) -> InputError {
        InputError { line: self.line, column: self.column, message }
    }

    /// An error at the byte that was just read.
    fn wrong_before(&self, message: String) -> InputError {
        InputError { line: self.line, column: self.column.saturating_sub(1).max(1), message }
    }
}

fn shown(byte: u8) -> String {
    format!("`{}`", byte.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, layout: Layout) -> (Vec<String>, Option<String>) {
        let mut items = Vec::new();
        for item in Items::new(text.as_bytes(), layout, 1000) {
            match item {
                Ok(item) => items.push(String::from_utf8(item.text).unwrap()),
                Err(error) => return (items, Some(error.to_string())),
            }
        }
        (items, None)
    }

    #[test]
    fn arrays_are_cut_into_items() {
        let (items, error) = read(" [1, \"a,]\\\"\" ,\n{\"x\": [2, 3]} , [ ] ] \n", Layout::Array);
        assert_eq!(error, None);
        assert_eq!(items, ["1", "\"a,]\\\"\"", "{\"x\": [2, 3]}", "[ ]"]);
        assert_eq!(read("[]", Layout::Array), (vec![], None));
    }

    #[test]
    fn lines_are_items_and_empty_ones_are_not() {
        let (items, error) = read("1\n\n[2,\"a\"]\r\n  3", Layout::Lines);
        assert_eq!(
            (items.iter().map(|i| i.trim_end()).collect(), error),
            (vec!["1", "[2,\"a\"]", "3"], None)
        );
        assert_eq!(read("", Layout::Lines), (vec![], None));
    }

    #[test]
    fn what_is_no_array_is_told_with_its_place() {
        for (text, expected) in [
            ("", "1:1: the input is empty; an array without items is []"),
            ("{}", "1:1: expected an array, got `{`; for one value per line use --input-format jsonl"),
            ("[1 2", "1:5: the array has no end"),
            ("[1,\n,2]", "2:1: expected a value"),
            ("[,1]", "1:2: expected a value"),
            ("[1,]", "1:4: expected a value"),
            ("[1]\n[2]", "2:1: expected nothing after the array, got `[`"),
            ("[\"a", "1:4: a string has no end"),
            ("[1", "1:3: the array has no end"),
        ] {
            assert_eq!(read(text, Layout::Array).1.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn items_have_a_size_and_places_count_characters() {
        let long = format!("[{}]", "1".repeat(2000));
        assert!(read(&long, Layout::Array).1.unwrap().contains("more than 1000 bytes"));
        let items: Vec<Item> =
            Items::new("[\"é\",\n 2, 3]".as_bytes(), Layout::Array, 10).map(Result::unwrap).collect();
        let places: Vec<_> = items.iter().map(|item| (item.line, item.column)).collect();
        assert_eq!(places, [(1, 2), (2, 2), (2, 5)]);
    }
}
