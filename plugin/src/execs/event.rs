//! What is told, as JSON and as people read it: an object or a line each. Pure.

use std::fmt;

use ebpf_netns::text::printable;
use plugin_common::exec::ExecRecord;
use serde::{Deserialize, Serialize};

use crate::trace::{Clock, Lost, since_1970};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// It is being listened from here on.
    Listening {
        /// The containers that run and are followed, by name.
        containers: Vec<String>,
    },
    /// Something is executed.
    Exec(Box<ExecEvent>),
    /// Calls that there was no room to tell of.
    Lost(Lost),
}

/// A call of `execve` or `execveat`, whether or not the kernel does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecEvent {
    /// When, in seconds since 1970.
    pub time: f64,
    /// The container's name.
    pub container: String,
    /// Its id.
    pub id: String,
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The process, as the container numbers it, where that is known.
    pub pid_inside: Option<u32>,
    /// The user, as the host numbers it.
    pub uid: u32,
    /// What the process was before.
    pub comm: String,
    /// The file.
    pub filename: String,
    /// The descriptor of `execveat` that the file is relative to, or is, where its name is empty.
    pub descriptor: Option<i32>,
    /// The arguments.
    pub arguments: Vec<String>,
    /// Whether the file's name or an argument is longer than that.
    pub cut: bool,
    /// Whether there are more arguments.
    pub more: bool,
}

impl ExecEvent {
    /// What a record says of a container's process.
    pub(super) fn new(record: &ExecRecord, (id, name): (&str, &str)) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // What stands for the directory that the process is in is none.
        let descriptor = Some(record.descriptor).filter(|descriptor| *descriptor >= 0);
        Self {
            time: since_1970(record.time_ns),
            container: name.to_owned(),
            id: id.to_owned(),
            pid: record.pid,
            pid_inside: Some(record.pid_inside).filter(|pid| *pid != 0),
            uid: record.uid,
            comm: text(record.comm()),
            filename: text(record.filename()),
            descriptor,
            arguments: record.argv().map(text).collect(),
            cut: record.flags & ExecRecord::CUT != 0,
            more: record.flags & ExecRecord::MORE != 0,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { containers } if containers.is_empty() => {
                f.write_str("listening, but none of the containers runs yet")
            }
            Self::Listening { containers } => {
                f.write_str("listening to ")?;
                for (position, name) in containers.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", printable(name))?;
                }
                Ok(())
            }
            Self::Exec(exec) => exec.fmt(f),
            Self::Lost(Lost { events }) => {
                write!(f, "lost {events} calls: they come faster than they are taken")
            }
        }
    }
}

impl fmt::Display for ExecEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, container, pid, comm, filename, arguments, .. } = self;
        let (container, comm) = (printable(container), printable(comm));
        write!(f, "{} {container} {pid} {comm} exec ", Clock(*time))?;
        match (filename.as_str(), self.descriptor) {
            ("", Some(descriptor)) => write!(f, "descriptor {descriptor}")?,
            (name, Some(descriptor)) if !name.starts_with('/') => {
                write!(f, "{} in descriptor {descriptor}", Word(name))?;
            }
            (name, _) => write!(f, "{}", Word(name))?,
        }
        f.write_str(":")?;
        for argument in arguments {
            write!(f, " {}", Word(argument))?;
        }
        if self.more { f.write_str(" ...") } else { Ok(()) }
    }
}

/// A text that can be told from its neighbours.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        if text.is_empty() || text.contains([' ', '"', '\'']) {
            write!(f, "\"{}\"", printable(text).to_string().replace('"', "\\\""))
        } else {
            printable(text).fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec() -> ExecEvent {
        ExecEvent {
            time: 45_296.5,
            container: "web".to_owned(),
            id: "0123".to_owned(),
            pid: 4711,
            pid_inside: Some(9),
            uid: 0,
            comm: "runc:[2:INIT]".to_owned(),
            filename: "/bin/ls".to_owned(),
            descriptor: None,
            arguments: vec!["ls".to_owned(), "/".to_owned()],
            cut: false,
            more: false,
        }
    }

    #[test]
    fn a_call_is_a_line() {
        let expected = "12:34:56.500000Z web 4711 runc:[2:INIT] exec /bin/ls: ls /";
        assert_eq!(exec().to_string(), expected);
        let arguments = ["sh", "-c", "echo \"a b\"\n", ""].map(str::to_owned).to_vec();
        let quoted = ExecEvent { arguments, more: true, ..exec() }.to_string();
        assert!(quoted.ends_with("/bin/ls: sh -c \"echo \\\"a b\\\"\\n\" \"\" ..."), "{quoted}");
        let by_descriptor =
            ExecEvent { filename: String::new(), descriptor: Some(5), ..exec() }.to_string();
        assert!(by_descriptor.contains(" exec descriptor 5: ls /"), "{by_descriptor}");
    }

    #[test]
    fn what_was_written_as_json_reads_back() {
        for line in [
            Line::Exec(Box::new(exec())),
            Line::Lost(Lost { events: 3 }),
            Line::Listening { containers: vec!["web".to_owned()] },
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
