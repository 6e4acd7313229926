//! From a line to the words and commas of its rules. Pure.

/// One line of the text.
pub(super) struct Line<'a> {
    /// 1 is the first.
    pub number: usize,
    pub text: &'a str,
}

/// A word, or a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub text: &'a str,
    /// The column of its first character; 1 is the first of the line.
    pub column: usize,
    /// Whether it follows upon the one before without a space.
    joined: bool,
}

/// The words of one rule.
#[derive(Debug)]
pub(super) struct Words<'a> {
    pub all: Vec<Word<'a>>,
    /// The column behind the last.
    pub end: usize,
}

impl Word<'_> {
    /// Whether it is a comma that continues a list.
    pub(super) fn continues_list(self) -> bool {
        self.text == "," && self.joined
    }

    pub(super) fn is_comma(self) -> bool {
        self.text == ","
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(number: usize, text: &'a str) -> Self {
        Self { number, text }
    }

    /// The words of each rule on it; a rule has one at least.
    pub(super) fn rules(&self) -> Vec<Words<'a>> {
        let mut column = 1;
        let mut rules = Vec::new();
        for rule in self.text.split(';') {
            let all = split(rule, column);
            if let Some(last) = all.last() {
                let end = last.column + last.text.chars().count();
                rules.push(Words { all, end });
            }
            column += rule.chars().count() + 1;
        }
        rules
    }
}

fn split(rule: &str, mut column: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for spaced in rule.split(' ') {
        let mut joined = false;
        for piece in spaced.split_inclusive(',') {
            let word = piece.strip_suffix(',').unwrap_or(piece);
            if !word.is_empty() {
                words.push(Word { text: word, column, joined });
                joined = true;
            }
            column += word.chars().count();
            if word.len() < piece.len() {
                words.push(Word { text: ",", column, joined });
                column += 1;
                joined = true;
            }
        }
        column += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_commas_know_their_columns() {
        let line = Line::new(1, "allow tcp 80,443, 8080 ;; deny é , x,");
        let shown: Vec<Vec<(&str, usize, bool)>> = line
            .rules()
            .iter()
            .map(|words| {
                words.all.iter().map(|word| (word.text, word.column, word.joined)).collect()
            })
            .collect();
        let first = vec![
            ("allow", 1, false),
            ("tcp", 7, false),
            ("80", 11, false),
            (",", 13, true),
            ("443", 14, true),
            (",", 17, true),
            ("8080", 19, false),
        ];
        let second = vec![
            ("deny", 27, false),
            ("é", 32, false),
            (",", 34, false),
            ("x", 36, false),
            (",", 37, true),
        ];
        assert_eq!(shown, [first, second]);
        assert_eq!(line.rules().iter().map(|words| words.end).collect::<Vec<_>>(), [23, 38]);
    }
}
