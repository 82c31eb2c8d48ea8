//! Inputs on the command line: `::: 1 2 3`, as of GNU parallel, where several groups give their product.

use wpool::Signature;

use crate::exit_code::Failure;
use crate::guest;

/// The separator before each group.
const SEPARATOR: &str = ":::";

/// The groups of words, of which each has at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<Vec<String>>);

impl Words {
    /// Parses what follows the guest on the command line.
    pub(crate) fn parse(typed: &[String]) -> Result<Self, Failure> {
        if let Some(stray) = typed.first().filter(|first| *first != SEPARATOR) {
            return Err(Failure::input(format!("unexpected argument `{stray}`"))
                .hint("inputs on the command line follow :::, as in `wpool run GUEST ::: 1 2 3`"));
        }
        let groups: Vec<Vec<String>> =
            typed.split(|word| word == SEPARATOR).skip(1).map(<[String]>::to_vec).collect();
        if groups.iter().any(Vec::is_empty) {
            return Err(Failure::input("no input follows `:::`"));
        }
        Ok(Self(groups))
    }

    /// The number of inputs.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|group| group.len() as u64).product()
    }

    /// The words of one input, one of each group. Those of the last group change first.
    pub(crate) fn input(&self, index: u64) -> Vec<&str> {
        let mut rest = index;
        let mut words: Vec<&str> = Vec::new();
        for group in self.0.iter().rev() {
            let count = group.len() as u64;
            words.push(group[usize::try_from(rest % count).expect("it is below the length")].as_str());
            rest /= count;
        }
        words.reverse();
        words
    }

    /// Checks that the task has a parameter for each group.
    pub(crate) fn check(&self, signature: &Signature) -> Result<(), Failure> {
        let (takes, groups) = (signature.parameters().count(), self.0.len());
        if groups == 1 || groups == takes {
            return Ok(());
        }
        Err(Failure::input(format!(
            "`{}` takes {takes} arguments, got {groups} groups of inputs",
            guest::signature(signature)
        )))
    }

    /// The JSON of one input. A single group holds whole inputs, several hold an argument each.
    pub(crate) fn as_json(&self, index: u64, signature: &Signature) -> String {
        let words = self.input(index);
        let types: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
        match (words.as_slice(), types.as_slice()) {
            ([word], [ty]) => word_as_json(ty, word),
            ([word], _) => (*word).to_owned(),
            (words, types) => {
                let values: Vec<String> =
                    types.iter().zip(words).map(|(ty, word)| word_as_json(ty, word)).collect();
                format!("[{}]", values.join(","))
            }
        }
    }
}

/// Returns a word as the JSON of an argument: it is JSON, or a string as it stands.
pub(crate) fn word_as_json(ty: &str, word: &str) -> String {
    let is_string = ty == "string" && serde_json::from_str::<String>(word).is_err();
    // A word that is no JSON can only be a string, such as the name of an object.
    let is_word = word.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && serde_json::from_str::<serde::de::IgnoredAny>(word).is_err();
    if is_string || is_word { serde_json::Value::from(word).to_string() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Words, String> {
        let typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Words::parse(&typed).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_word_is_json_or_a_string_as_it_stands() {
        for (ty, word, expected) in [
            ("i64", "-7", "-7"),
            ("string", "ab", "\"ab\""),
            ("string", "7", "\"7\""),
            ("string", "\"a b\"", "\"a b\""),
            ("queue<u32>", "results", "\"results\""),
            ("option<u32>", "null", "null"),
            ("list<u32>", "[1,2]", "[1,2]"),
        ] {
            assert_eq!(word_as_json(ty, word), expected, "{ty} {word}");
        }
    }

    #[test]
    fn several_groups_give_their_product() {
        let one = words("::: a b").unwrap();
        assert_eq!((one.count(), one.input(1)), (2, vec!["b"]));
        let two = words("::: a b ::: 1 2 3").unwrap();
        let all: Vec<String> = (0..two.count()).map(|index| two.input(index).concat()).collect();
        assert_eq!(all, ["a1", "a2", "a3", "b1", "b2", "b3"]);
        assert_eq!(words("x 1").unwrap_err(), "unexpected argument `x`");
        assert_eq!(words("::: a ::: ::: b").unwrap_err(), "no input follows `:::`");
        assert_eq!(words(":::").unwrap_err(), "no input follows `:::`");
    }
}
