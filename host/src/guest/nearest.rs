//! The task name that was most likely meant by a misspelled one.

/// Returns the candidate with the smallest edit distance to `name`; `None` if more than half of the letters differ.
pub(super) fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    let (best, distance) = candidates
        .iter()
        .map(|candidate| (candidate, distance(name, candidate)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= name.chars().count().max(best.chars().count()) / 2).then(|| best.clone())
}

/// Returns the Levenshtein distance: the insertions, deletions and replacements that turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_unless_it_is_far_off() {
        let tasks = ["square".to_owned(), "cube".to_owned()];
        assert_eq!(nearest("sqare", &tasks).as_deref(), Some("square"));
        assert_eq!(nearest("cubes", &tasks).as_deref(), Some("cube"));
        assert_eq!(nearest("thumbnail", &tasks), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
