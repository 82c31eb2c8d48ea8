//! serde's renaming rules, such as `rename_all = "camelCase"`.

/// One of serde's eight renaming rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    pub(crate) const NAMES: [(&str, Case); 8] = [
        ("lowercase", Case::Lower),
        ("UPPERCASE", Case::Upper),
        ("PascalCase", Case::Pascal),
        ("camelCase", Case::Camel),
        ("snake_case", Case::Snake),
        ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
        ("kebab-case", Case::Kebab),
        ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, case)| case)
    }

    /// Renames a field, whose own name is in snake case.
    pub(crate) fn apply_to_field(self, field: &str) -> String {
        match self {
            Case::Lower | Case::Snake => field.to_owned(),
            Case::Upper | Case::ScreamingSnake => field.to_ascii_uppercase(),
            Case::Pascal => pascal_from_snake(field),
            Case::Camel => lower_first(&pascal_from_snake(field)),
            Case::Kebab => field.replace('_', "-"),
            Case::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// Renames a variant, whose own name is in Pascal case.
    pub(crate) fn apply_to_variant(self, variant: &str) -> String {
        match self {
            Case::Pascal => variant.to_owned(),
            Case::Lower => variant.to_ascii_lowercase(),
            Case::Upper => variant.to_ascii_uppercase(),
            Case::Camel => lower_first(variant),
            Case::Snake => snake_from_pascal(variant),
            Case::ScreamingSnake => snake_from_pascal(variant).to_ascii_uppercase(),
            Case::Kebab => snake_from_pascal(variant).replace('_', "-"),
            Case::ScreamingKebab => snake_from_pascal(variant).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal_from_snake(field: &str) -> String {
    field
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                .unwrap_or_default()
        })
        .collect()
}

fn snake_from_pascal(variant: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in variant.char_indices() {
        if index > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_variants_follow_each_rule() {
        let expected = [
            ("lowercase", "max_width", "maxwidth"),
            ("UPPERCASE", "MAX_WIDTH", "MAXWIDTH"),
            ("PascalCase", "MaxWidth", "MaxWidth"),
            ("camelCase", "maxWidth", "maxWidth"),
            ("snake_case", "max_width", "max_width"),
            ("SCREAMING_SNAKE_CASE", "MAX_WIDTH", "MAX_WIDTH"),
            ("kebab-case", "max-width", "max-width"),
            ("SCREAMING-KEBAB-CASE", "MAX-WIDTH", "MAX-WIDTH"),
        ];
        for (rule, field, variant) in expected {
            let case = Case::from_name(rule).unwrap();
            assert_eq!(case.apply_to_field("max_width"), field, "{rule}");
            assert_eq!(case.apply_to_variant("MaxWidth"), variant, "{rule}");
        }
    }
}
