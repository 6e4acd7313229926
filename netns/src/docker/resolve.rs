//! Which container a user means. Pure.

use std::fmt;

use super::DockerError;
use crate::text::printable;

/// As long as any name or id of Docker's may sensibly be.
const MAX_LEN: usize = 255;
const ID_LEN: usize = 64;
const SHORT_LEN: usize = 12;

/// A container that Docker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The full id: 64 hexadecimal digits.
    pub id: String,
    /// The name, without the slash that Docker puts before it; empty if there is none.
    pub name: String,
}

impl Known {
    /// From what Docker lists. Legacy links give a container further names, such as `/web/db`,
    /// which are not its own.
    pub(super) fn new(id: String, names: &[String]) -> Option<Self> {
        let own = |name: &String| {
            let name = name.strip_prefix('/').unwrap_or(name);
            (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
        };
        let is_id = id.len() == ID_LEN && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| Self { name: names.iter().find_map(own).unwrap_or_default(), id })
    }

    /// The first twelve digits of the id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.short_id(), printable(&self.name))
    }
}

/// The first twelve characters of an id, as Docker shows it.
pub(super) fn short_id(id: &str) -> &str {
    id.get(..SHORT_LEN).unwrap_or(id)
}

/// Why text cannot name a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// It looks like an option.
    #[error("it begins with a dash, like an option")]
    Dash,
    /// Names and ids begin with a letter or a digit.
    #[error("a name or an id begins with a letter or a digit")]
    Start,
    /// A character that names and ids do not have.
    #[error("names and ids hold only letters, digits, `_`, `.` and `-`")]
    Character,
    /// Longer than any name.
    #[error("it is longer than 255 characters")]
    TooLong,
}

/// Whether text can name a container at all. What passes is safe to put into a path of the API.
pub(super) fn check(reference: &str) -> Result<(), BadReference> {
    let first = reference.chars().next().ok_or(BadReference::Empty)?;
    if reference.len() > MAX_LEN {
        return Err(BadReference::TooLong);
    }
    if first == '-' {
        return Err(BadReference::Dash);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(BadReference::Start);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if reference.chars().all(fits) { Ok(()) } else { Err(BadReference::Character) }
}

/// Full id, else name, else the only id that begins so.
pub(super) fn choose<'a>(reference: &str, known: &'a [Known]) -> Result<&'a Known, DockerError> {
    if let Some(exact) = known.iter().find(|container| container.id == reference) {
        return Ok(exact);
    }
    if let Some(named) = known.iter().find(|container| container.name == reference) {
        return Ok(named);
    }
    let candidates: Vec<_> =
        known.iter().filter(|container| container.id.starts_with(reference)).collect();
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => Err(DockerError::NotFound { reference: reference.to_owned() }),
        _ => Err(DockerError::Ambiguous {
            reference: reference.to_owned(),
            candidates: candidates.into_iter().cloned().collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(start: &str, name: &str) -> Known {
        let id = format!("{start:0<64}");
        Known::new(id, &[format!("/{name}")]).unwrap()
    }

    #[test]
    fn what_cannot_be_a_container_is_refused_before_docker_is_asked() {
        let long = "a".repeat(5000);
        let cases = [
            ("web", None),
            ("web_1.x-y", None),
            ("0123456789ab", None),
            ("", Some(BadReference::Empty)),
            ("-x", Some(BadReference::Dash)),
            ("--all", Some(BadReference::Dash)),
            ("/", Some(BadReference::Start)),
            ("/web", Some(BadReference::Start)),
            ("..", Some(BadReference::Start)),
            ("a/../b", Some(BadReference::Character)),
            ("a b", Some(BadReference::Character)),
            ("web*", Some(BadReference::Character)),
            ("web\n", Some(BadReference::Character)),
            ("wéb", Some(BadReference::Character)),
            (long.as_str(), Some(BadReference::TooLong)),
        ];
        for (reference, expected) in cases {
            assert_eq!(check(reference).err(), expected, "{reference:?}");
        }
    }

    #[test]
    fn full_id_then_name_then_unique_prefix() {
        let all = [known("abc1", "web"), known("abc2", "db"), known("def", "abc1")];
        let chosen = |reference: &str| choose(reference, &all).map(|c| c.name.clone()).ok();
        let full = all[0].id.clone();
        assert_eq!(chosen(&full).as_deref(), Some("web"));
        assert_eq!(chosen("db").as_deref(), Some("db"));
        assert_eq!(chosen("abc1").as_deref(), Some("abc1"), "a name comes before an id prefix");
        assert_eq!(chosen("abc2").as_deref(), Some("db"));
        assert_eq!(chosen("d").as_deref(), Some("abc1"));
        assert_eq!(chosen("nope"), None);
    }

    #[test]
    fn an_ambiguous_prefix_lists_what_it_may_mean() {
        let all = [known("abc1", "web"), known("abc2", "db")];
        let error = choose("abc", &all).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("abc100000000 (web), abc200000000 (db)"), "{text}");
        assert_eq!(error.exit_code(), crate::exit::NOT_FOUND);

        let many: Vec<_> = (0..30).map(|n| known(&format!("ab{n:02}"), "x")).collect();
        let text = choose("ab", &many).unwrap_err().to_string();
        assert!(text.contains("22 more"), "{text}");
    }

    #[test]
    fn names_of_legacy_links_are_not_the_containers_own() {
        let id = "a".repeat(64);
        let names = ["/web/alias".to_owned(), "/db".to_owned()];
        assert_eq!(Known::new(id.clone(), &names).unwrap().name, "db");
        assert_eq!(Known::new(id, &[]).unwrap().name, "");
        assert_eq!(Known::new("short".to_owned(), &[]), None);
    }
}
