//! Reads the records of a CSV file as JSON objects: the header row names the fields, and what the task takes decides
//! whether a cell is a text or something else.

use std::io::{self, BufRead};

use crate::items::{Item, ItemError};
use crate::reading::Reading;

/// The items of one file or stream.
pub(crate) struct CsvItems<R> {
    reader: csv::Reader<Quotes<R>>,
    reading: Reading,
    /// `None` before the header row was read, and after the end.
    columns: Option<Vec<Column>>,
    has_begun: bool,
}

/// A column. What its cells are is learnt from the first that does not fit as it looks.
#[derive(Debug)]
struct Column {
    name: String,
    /// A cell that looks like JSON is a text all the same.
    is_text: bool,
    /// An empty cell is an empty text, and not null.
    empty_is_text: bool,
}

impl<R: BufRead> CsvItems<R> {
    pub(crate) fn new(reader: R, reading: Reading) -> Self {
        Self {
            reader: csv::Reader::from_reader(Quotes::new(reader)),
            reading,
            columns: None,
            has_begun: false,
        }
    }

    fn begin(&mut self) -> Result<(), ItemError> {
        self.has_begun = true;
        let header = self.reader.headers().map_err(item_error)?;
        let column =
            |name: &str| Column { name: name.trim().to_owned(), is_text: false, empty_is_text: false };
        self.columns = Some(header.iter().map(column).collect());
        Ok(())
    }

    fn next_item(&mut self) -> Result<Option<Item>, ItemError> {
        if !self.has_begun {
            self.begin()?;
        }
        let Some(columns) = &mut self.columns else { return Ok(None) };
        let mut record = csv::StringRecord::new();
        let is_record = self.reader.read_record(&mut record).map_err(item_error)?;
        let line = record.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        if self.reader.get_ref().ends_in_quotes() {
            return Err(ItemError::malformed(line, "a quote is never closed".to_owned()));
        }
        if !is_record {
            self.columns = None;
            return Ok(None);
        }
        let text = fitting_text(columns, &record, &self.reading);
        Ok(Some(Item { text: text.into_bytes(), line, column: 1, is_source: false }))
    }
}

impl<R: BufRead> Iterator for CsvItems<R> {
    type Item = Result<Item, ItemError>;

    /// After an error there are no more items.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_item();
        if next.is_err() {
            self.columns = None;
        }
        next.transpose()
    }
}

/// Returns a record as JSON that fits the task. Each cell that does not fit as it looks is tried as a text; if that does
/// not help either, the misfit is found again, and reported, where the item is encoded.
fn fitting_text(columns: &mut [Column], record: &csv::StringRecord, reading: &Reading) -> String {
    let bare = is_the_only_argument(columns, reading);
    loop {
        let text = record_as_json(columns, record, bare);
        let Err(error) = reading.objects.check(&reading.signature, text.as_bytes()) else { return text };
        let name = error.path.trim_start_matches('.').split(['.', '[']).next().unwrap_or_default();
        let misfit = |column: &Column| bare || column.name == name;
        let found = columns.iter_mut().zip(record).find(|(column, _)| misfit(column));
        let Some((column, cell)) = found else { return text };
        let known = if cell.is_empty() { &mut column.empty_is_text } else { &mut column.is_text };
        if std::mem::replace(known, true) {
            return text;
        }
    }
}

/// Whether the one column is the one argument itself, and no field of it.
fn is_the_only_argument(columns: &[Column], reading: &Reading) -> bool {
    let mut parameters = reading.signature.parameters();
    match (columns, parameters.next(), parameters.next()) {
        ([column], Some((name, _)), None) => column.name == name,
        _ => false,
    }
}

fn record_as_json(columns: &[Column], record: &csv::StringRecord, bare: bool) -> String {
    let cells = columns.iter().zip(record);
    if bare {
        return cells.map(|(column, cell)| cell_as_json(column, cell)).collect();
    }
    let name = |column: &Column| serde_json::Value::from(column.name.as_str());
    let fields: Vec<String> =
        cells.map(|(column, cell)| format!("{}:{}", name(column), cell_as_json(column, cell))).collect();
    format!("{{{}}}", fields.join(","))
}

fn cell_as_json(column: &Column, cell: &str) -> String {
    let as_text = match cell {
        "" => column.empty_is_text,
        // Quotes within a cell are its own: those of CSV are gone.
        _ => {
            column.is_text
                || cell.starts_with('"')
                || serde_json::from_str::<serde::de::IgnoredAny>(cell).is_err()
        }
    };
    match (as_text, cell) {
        (true, _) => serde_json::Value::from(cell).to_string(),
        (false, "") => "null".to_owned(),
        (false, _) => cell.to_owned(),
    }
}

/// Reads on, and follows the quotes: a cell that never ends would swallow the rest of the file without a word.
struct Quotes<R> {
    reader: R,
    place: Place,
    has_ended: bool,
}

/// A place in a text of cells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Before a cell.
    Before,
    Unquoted,
    Quoted,
    /// Behind a quote within a quoted cell: the end of it, or the first of two.
    Quote,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Place::Quoted, b'"') => Place::Quote,
            (Place::Quoted, _) | (Place::Before | Place::Quote, b'"') => Place::Quoted,
            (_, b',' | b'\n' | b'\r') => Place::Before,
            _ => Place::Unquoted,
        }
    }
}

impl<R> Quotes<R> {
    fn new(reader: R) -> Self {
        Self { reader, place: Place::Before, has_ended: false }
    }

    /// Whether the text has ended within a quoted cell.
    fn ends_in_quotes(&self) -> bool {
        self.has_ended && self.place == Place::Quoted
    }
}

impl<R: io::Read> io::Read for Quotes<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.has_ended = count == 0;
        self.place = into[..count].iter().fold(self.place, |place, byte| place.after(*byte));
        Ok(count)
    }
}

fn item_error(error: csv::Error) -> ItemError {
    let line = error.position().map_or(1, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ItemError::unreadable(line, error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => ItemError::malformed(
            line,
            format!("expected {expected_len} cells as in the first row, got {len}"),
        ),
        csv::ErrorKind::Utf8 { err, .. } => ItemError::malformed(line, format!("not UTF-8: {err}")),
        other => ItemError::malformed(line, format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_json_unless_it_cannot_be() {
        let mut column = Column { name: "a".to_owned(), is_text: false, empty_is_text: false };
        let json = |column: &Column, cell| cell_as_json(column, cell);
        for (cell, expected) in [
            ("7", "7"),
            ("-1.5e3", "-1.5e3"),
            ("007", "\"007\""),
            ("x \"y\"", "\"x \\\"y\\\"\""),
            ("\"y\"", "\"\\\"y\\\"\""),
            ("", "null"),
        ] {
            assert_eq!(json(&column, cell), expected);
        }
        (column.is_text, column.empty_is_text) = (true, true);
        assert_eq!((json(&column, "7").as_str(), json(&column, "").as_str()), ("\"7\"", "\"\""));
        let record = csv::StringRecord::from(vec!["7"]);
        assert_eq!(record_as_json(&[column], &record, false), "{\"a\":\"7\"}");
    }
}
