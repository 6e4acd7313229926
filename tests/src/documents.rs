//! The commands that the documents show, and what they say comes of them.
//!
//! Pure: text in, values out. Running them is `tests/tests/documents`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A document of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its path from the repository's root, such as `docs/top.md`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// A command that a document shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where: the document and the line.
    pub place: String,
    /// The command as one types it, without the prompt and what is said of it.
    pub line: String,
    /// What is shown below it.
    pub output: Vec<String>,
}

/// A program with arguments, in a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simple {
    /// The words, without quotes.
    pub words: Vec<String>,
}

/// Those that have commands of ours: README.md, CONTRIBUTING.md, SECURITY.md, and all of docs.
///
/// # Errors
///
/// When one cannot be read.
pub fn all() -> Result<Vec<Document>> {
    let root = root();
    let docs = root.join("docs");
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    for entry in fs::read_dir(&docs).with_context(|| format!("list {}", docs.display()))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let path = path.strip_prefix(&root)?.display().to_string();
        Ok(Document { path, text })
    };
    paths.iter().map(read).collect()
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

impl Document {
    /// The commands in its blocks of `console` and `sh`, in order.
    ///
    /// # Errors
    ///
    /// When a block begins with what is no command.
    pub fn commands(&self) -> Result<Vec<Shown>> {
        let mut found = Vec::new();
        for Block { kind, first, lines } in blocks(&self.text) {
            let place = |number: usize| format!("{}:{}", self.path, first + number);
            match kind {
                "console" => console(&lines, place, &mut found)?,
                "sh" => {
                    let commands = lines.iter().enumerate();
                    found.extend(commands.filter(|(_, line)| !line.trim().is_empty()).map(
                        |(number, line)| Shown {
                            place: place(number),
                            line: without_comment(line).to_owned(),
                            output: Vec::new(),
                        },
                    ));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The text of the blocks of this kind, such as `yaml`.
    #[must_use]
    pub fn blocks(&self, kind: &str) -> Vec<String> {
        let blocks = blocks(&self.text);
        let wanted = blocks.iter().filter(|block| block.kind == kind);
        wanted.map(|block| block.lines.join("\n") + "\n").collect()
    }
}

/// A block of code, and the number of its first line.
struct Block<'t> {
    kind: &'t str,
    first: usize,
    lines: Vec<&'t str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<Block<'_>> = None;
    // A block of a list is indented as the list is.
    let mut indented = 0;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(kind), None) => {
                indented = line.len() - line.trim_start().len();
                open = Some(Block { kind, first: number + 2, lines: Vec::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.get(indented..).unwrap_or_default()),
            (None, None) => {}
        }
    }
    found
}

/// Commands behind a prompt, each with what is shown below it; `>` goes on.
fn console(lines: &[&str], place: impl Fn(usize) -> String, found: &mut Vec<Shown>) -> Result<()> {
    let before = found.len();
    for (number, line) in lines.iter().enumerate() {
        let typed = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
        let last = found.get_mut(before..).and_then(<[Shown]>::last_mut);
        match (typed, last) {
            (Some(typed), _) => found.push(Shown {
                place: place(number),
                line: without_comment(typed).to_owned(),
                output: Vec::new(),
            }),
            (None, None) => bail!("{}: `{line}` is no command: it has no prompt", place(number)),
            (None, Some(shown)) => match line.strip_prefix("> ") {
                Some(more) if shown.output.is_empty() => {
                    shown.line = format!("{}\n{more}", shown.line);
                }
                _ => shown.output.push((*line).to_owned()),
            },
        }
    }
    Ok(())
}

/// A command line without the words about it, which begin with ` # `.
fn without_comment(line: &str) -> &str {
    let command = line.split_once(" # ").map_or(line, |(command, _)| command);
    command.trim_end()
}

impl Shown {
    /// The programs that it runs, with their arguments: what is between `|`, `&&` and `;`.
    ///
    /// # Errors
    ///
    /// When a quote is not closed.
    pub fn programs(&self) -> Result<Vec<Simple>> {
        let mut all = vec![Vec::new()];
        for word in words(&self.line).with_context(|| format!("{}: read words", self.place))? {
            match word {
                Word::End => all.push(Vec::new()),
                Word::Text(text) => {
                    if let Some(last) = all.last_mut() {
                        last.push(text);
                    }
                }
            }
        }
        all.retain(|words| !words.is_empty());
        Ok(all.into_iter().map(Simple::of).collect())
    }
}

impl Simple {
    /// Who only runs another program is left out.
    fn of(mut words: Vec<String>) -> Self {
        if words.first().is_some_and(|word| word == "sudo") {
            let options = words.iter().skip(1).take_while(|word| word.starts_with('-')).count();
            words.drain(..=options);
        }
        Self { words }
    }
}

enum Word {
    Text(String),
    End,
}

/// As much of a shell's grammar as documents use: quotes, and what ends a command.
fn words(line: &str) -> Result<Vec<Word>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';') => {
                found.extend(word.take().map(Word::Text));
                found.push(Word::End);
            }
            (None, _) if c.is_whitespace() => found.extend(word.take().map(Word::Text)),
            _ => word.get_or_insert_default().push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed in {line:?}");
    found.extend(word.take().map(Word::Text));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<Shown> {
        Document { path: "a.md".into(), text: text.into() }.commands().unwrap()
    }

    #[test]
    fn a_command_has_its_place_and_what_is_shown_below_it() {
        let text = "x\n```console\n# a b   # why\nout\n$ c 'd\n> e'\n```\n```yaml\n# f\n```\n";
        let [first, second] = shown(text).try_into().unwrap();
        assert_eq!((first.place.as_str(), first.line.as_str()), ("a.md:3", "a b"));
        assert_eq!(first.output, ["out"]);
        assert_eq!((second.place.as_str(), second.line.as_str()), ("a.md:5", "c 'd\ne'"));
    }

    #[test]
    fn a_block_of_a_list_has_its_commands() {
        let [command] = shown("1. x\n\n   ```console\n   $ a\n   b\n   ```\n").try_into().unwrap();
        assert_eq!(
            (command.line.as_str(), command.output.as_slice()),
            ("a", &["b".to_owned()][..])
        );
    }

    #[test]
    fn output_without_a_command_is_found() {
        let text = "```console\noutput\n```\n".to_owned();
        let error = Document { path: "a.md".into(), text }.commands().unwrap_err();
        assert!(error.to_string().contains("a.md:2"), "{error}");
    }

    #[test]
    fn programs_are_told_apart_and_quotes_taken_off() {
        let line = "sudo -E a 'b | c' --d=\"e f\" && g | h -; i";
        let text = format!("```sh\n{line}\n```\n");
        let [command] = shown(&text).try_into().unwrap();
        let programs: Vec<_> =
            command.programs().unwrap().into_iter().map(|one| one.words).collect();
        let expected: [&[&str]; 4] = [&["a", "b | c", "--d=e f"], &["g"], &["h", "-"], &["i"]];
        assert_eq!(programs, expected);
    }
}
