//! Reads the items of a JSON array or of JSON Lines, one at a time, each with its line and column.
//!
//! An item is cut out by its brackets and quotes alone; whether it is JSON, and fits the task, is checked later against
//! the task's description. So a file of any length is read in the memory of its largest item.

use std::fmt;
use std::io::{self, BufRead};
use std::path::Path;

use crate::exit_code::Failure;

/// One item as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) text: Vec<u8>,
    /// The line of its first byte, counted from 1.
    pub(crate) line: usize,
    /// The column of its first byte in characters, counted from 1.
    pub(crate) column: usize,
    /// Whether the text stands in the file as it is, so that a place in it is one in the file.
    pub(crate) is_source: bool,
}

/// The items cannot be read on from this line and column.
#[derive(Debug)]
pub(crate) struct ItemError {
    line: usize,
    column: usize,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Malformed(String),
    Unreadable(io::Error),
}

impl ItemError {
    pub(crate) fn malformed(line: usize, message: String) -> Self {
        Self { line, column: 1, problem: Problem::Malformed(message) }
    }

    pub(crate) fn unreadable(line: usize, error: io::Error) -> Self {
        Self { line, column: 1, problem: Problem::Unreadable(error) }
    }

    /// The failure of a command that reads `file`.
    pub(crate) fn in_file(self, file: &Path) -> Failure {
        let location = format!("{}:{}:{}", file.display(), self.line, self.column);
        match self.problem {
            Problem::Malformed(message) => Failure::input(format!("{location}: {message}")),
            Problem::Unreadable(error) => Failure::input(location).because(error),
        }
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        match &self.problem {
            Problem::Malformed(message) => f.write_str(message),
            Problem::Unreadable(error) => error.fmt(f),
        }
    }
}

/// The notation of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Array,
    Lines,
    /// Each line is a string.
    Text,
    /// Each record is an object, whose fields the first one names.
    Csv,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been read.
    Start,
    /// Within the array, after this number of items.
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

    fn next_of_array(&mut self) -> Result<Option<Item>, ItemError> {
        let read = match self.state {
            State::Ended => return Ok(None),
            State::Start => {
                self.open_array()?;
                0
            }
            State::Items(read) => read,
        };
        self.bytes.skip_space()?;
        match (self.bytes.peek()?, read) {
            (Some(b']'), _) => return self.close_array().map(|()| None),
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

    fn open_array(&mut self) -> Result<(), ItemError> {
        self.bytes.skip_space()?;
        match self.bytes.next()? {
            Some(b'[') => Ok(()),
            Some(other) => Err(self.bytes.wrong_before(format!(
                "expected an array, got {}; for one value per line use --input-format jsonl",
                shown(other)
            ))),
            None => Err(self.bytes.wrong("the input is empty; an array without items is []".to_owned())),
        }
    }

    /// Reads the closing bracket, and checks that nothing follows.
    fn close_array(&mut self) -> Result<(), ItemError> {
        self.bytes.next()?;
        self.bytes.skip_space()?;
        if let Some(other) = self.bytes.peek()? {
            return Err(self.bytes.wrong(format!("expected nothing after the array, got {}", shown(other))));
        }
        self.state = State::Ended;
        Ok(())
    }

    fn next_of_lines(&mut self) -> Result<Option<Item>, ItemError> {
        if self.state == State::Ended {
            return Ok(None);
        }
        // An empty line is not an item.
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
        Ok(Some(Item { text, line, column, is_source: true }))
    }

    /// Reads a line as a string. An empty one is a string, too.
    fn next_of_text(&mut self) -> Result<Option<Item>, ItemError> {
        if self.state == State::Ended || self.bytes.peek()?.is_none() {
            self.state = State::Ended;
            return Ok(None);
        }
        let line = self.bytes.line;
        let mut text = Vec::new();
        while let Some(byte) = self.bytes.next()? {
            if byte == b'\n' {
                text.pop_if(|last| *last == b'\r');
                break;
            }
            self.push(&mut text, byte)?;
        }
        let text = String::from_utf8(text)
            .map_err(|error| ItemError::malformed(line, format!("not UTF-8: {}", error.utf8_error())))?;
        let text = serde_json::Value::from(text).to_string().into_bytes();
        Ok(Some(Item { text, line, column: 1, is_source: false }))
    }

    fn push(&self, text: &mut Vec<u8>, byte: u8) -> Result<(), ItemError> {
        if text.len() >= self.max_item {
            return Err(self.bytes.wrong(format!("an item of more than {} bytes", self.max_item)));
        }
        text.push(byte);
        Ok(())
    }

    /// Reads one value, up to the byte that ends it outside of all brackets and strings.
    fn item(&mut self, ends: impl Fn(u8) -> bool) -> Result<Item, ItemError> {
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
            let problem = Problem::Malformed("expected a value".to_owned());
            return Err(ItemError { line, column, problem });
        }
        Ok(Item { text, line, column, is_source: true })
    }

    /// Reads the rest of a string, with its closing quote.
    fn string(&mut self, text: &mut Vec<u8>) -> Result<(), ItemError> {
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
    type Item = Result<Item, ItemError>;

    /// After an error there are no more items.
    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.layout {
            Layout::Array => self.next_of_array(),
            Layout::Lines => self.next_of_lines(),
            Layout::Text | Layout::Csv => self.next_of_text(),
        };
        if next.is_err() {
            self.state = State::Ended;
        }
        next.transpose()
    }
}

/// Bytes with the line and column of the next one.
#[derive(Debug)]
struct Bytes<R> {
    reader: R,
    line: usize,
    column: usize,
}

impl<R: BufRead> Bytes<R> {
    fn peek(&mut self) -> Result<Option<u8>, ItemError> {
        loop {
            match self.reader.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(Problem::Unreadable(error))),
            }
        }
    }

    fn next(&mut self) -> Result<Option<u8>, ItemError> {
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

    fn skip_space(&mut self) -> Result<(), ItemError> {
        while self.peek()?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.next()?;
        }
        Ok(())
    }

    /// An error at the next byte.
    fn wrong(&self, message: String) -> ItemError {
        self.error(Problem::Malformed(message))
    }

    /// An error at the byte that was just read.
    fn wrong_before(&self, message: String) -> ItemError {
        ItemError { column: self.column.saturating_sub(1).max(1), ..self.wrong(message) }
    }

    fn error(&self, problem: Problem) -> ItemError {
        ItemError { line: self.line, column: self.column, problem }
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
    fn a_line_of_text_is_a_string_as_it_stands() {
        let (items, error) = read("a \"b\"\r\n\n 7\nlast", Layout::Text);
        assert_eq!(items, ["\"a \\\"b\\\"\"", "\"\"", "\" 7\"", "\"last\""]);
        assert_eq!(error, None);
        let bad = Items::new(&b"fine\n\xff\n"[..], Layout::Text, 10).nth(1).unwrap().unwrap_err();
        assert!(bad.to_string().starts_with("2:1: not UTF-8"), "{bad}");
    }

    #[test]
    fn a_malformed_array_is_refused_with_line_and_column() {
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
    fn items_are_bounded_and_columns_count_characters() {
        let long = format!("[{}]", "1".repeat(2000));
        assert!(read(&long, Layout::Array).1.unwrap().contains("more than 1000 bytes"));
        let items: Vec<Item> =
            Items::new("[\"é\",\n 2, 3]".as_bytes(), Layout::Array, 10).map(Result::unwrap).collect();
        let starts: Vec<_> = items.iter().map(|item| (item.line, item.column)).collect();
        assert_eq!(starts, [(1, 2), (2, 2), (2, 5)]);
    }

    #[test]
    fn an_error_of_the_reader_stays_the_source() {
        use std::error::Error as _;
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let error = Items::new(io::BufReader::new(Broken), Layout::Lines, 10).next().unwrap().unwrap_err();
        let failure = error.in_file(Path::new("in.json"));
        assert_eq!(failure.to_string(), "in.json:1:1: permission denied");
        assert!(failure.source().is_some_and(|source| source.is::<io::Error>()));
    }
}
