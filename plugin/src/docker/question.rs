//! What Docker is asked. Every question is a GET: nothing here could change anything. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long Docker may take to begin an answer, or to go on with it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest version of the API that tells what is needed: Docker 1.12.
pub(super) const OLDEST_API: &str = "1.24";

/// The kinds of events that may change what Docker would answer.
const EVENTS: &str = r#"{"type":["container","network"],"event":["create","start","die","stop","destroy","rename","pause","unpause","connect","disconnect"]}"#;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What it is for, as errors tell it.
    pub(super) what: &'static str,
    /// Path and query.
    pub(super) path: String,
}

impl Question {
    /// Which version of the API there is. The others have no version in their path: Docker answers
    /// them as the newest that it knows, and of that only little is read.
    pub(super) fn version() -> Self {
        Self { what: "ask Docker for its version", path: "/version".to_owned() }
    }

    /// Which containers there are.
    pub(super) fn containers() -> Self {
        Self { what: "list containers", path: "/containers/json?all=true".to_owned() }
    }

    /// Which networks there are.
    pub(super) fn networks() -> Self {
        Self { what: "list networks", path: "/networks".to_owned() }
    }

    /// Who is on a network.
    pub(super) fn network(id: &str) -> Self {
        Self { what: "inspect a network", path: format!("/networks/{}", escaped(id)) }
    }

    /// Where a container is.
    pub(super) fn container(id: &str) -> Self {
        Self { what: "inspect a container", path: format!("/containers/{}/json", escaped(id)) }
    }

    /// What happens from then on.
    pub(super) fn events(since: SystemTime) -> Self {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = format!("/events?since={since}&filters={}", escaped(EVENTS));
        Self { what: "listen to events", path }
    }
}

/// Whether a version of the API, such as `1.41`, is one that can be used.
pub(super) fn is_new_enough(api: &str) -> bool {
    let parse = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    parse(api).is_some_and(|found| Some(found) >= parse(OLDEST_API))
}

/// What may stand in a path or a query; a slash may not.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use hyper::Uri;

    use super::*;

    #[test]
    fn what_is_asked_cannot_be_turned_into_another_question() {
        assert_eq!(Question::container("ab01").path, "/containers/ab01/json");
        assert_eq!(Question::network("../x?y=z#\r\n").path, "/networks/..%2Fx%3Fy%3Dz%23%0D%0A");
        let since = UNIX_EPOCH + Duration::from_millis(1_500);
        let events: Uri = Question::events(since).path.parse().unwrap();
        assert!(events.query().unwrap().starts_with("since=1&filters=%7B%22type%22%3A%5B%22con"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["1.24", "1.41", "1.100", "2.0"] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["1.9", "1.23", "0.99", "", "1", "x.y", "1.-1"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
    }
}
