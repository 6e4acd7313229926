//! From an error to what the user reads and the exit code that a script reads.

use std::process::ExitCode;

use crate::{
    ErrorClass, NamespaceError, ProcessError, RtnlError, docker::DockerError, exit,
    links::LinkError, veth::VethError,
};
use serde_json::json;

use super::output::{Format, note};

const HINT: &str = "run it as root, for example with sudo";

/// A failure of the command itself, with the exit code that goes with it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Tells of an error on stderr.
pub(crate) fn report(error: &anyhow::Error, format: Format) -> ExitCode {
    let code = code(error);
    let hint = (code == exit::NOT_PERMITTED).then_some(HINT);
    show(&format!("{error:#}"), hint, code, format);
    ExitCode::from(code)
}

/// Tells of a wrong command line on stderr.
pub(crate) fn report_usage(error: &clap::Error, format: Format) -> ExitCode {
    let text = error.render().to_string();
    match format {
        Format::Table => note(text.trim_end()),
        Format::Json => {
            let said = text.trim_start_matches("error: ");
            let first = said.split("\n\n").next().unwrap_or_default();
            let words: Vec<_> = first.split_whitespace().collect();
            show(&words.join(" "), None, exit::USAGE, format);
        }
    }
    ExitCode::from(exit::USAGE)
}

fn show(message: &str, hint: Option<&str>, code: u8, format: Format) {
    match format {
        Format::Table => {
            note(&format!("error: {message}"));
            if let Some(hint) = hint {
                note(&format!("hint: {hint}"));
            }
        }
        Format::Json => {
            let mut value = json!({ "error": message, "code": code });
            if let (Some(hint), Some(object)) = (hint, value.as_object_mut()) {
                object.insert("hint".to_owned(), hint.into());
            }
            note(&value.to_string());
        }
    }
}

/// The first error in the chain that knows its exit code decides.
fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(known_code).unwrap_or(exit::FAILED)
}

fn known_code(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let class = |class: ErrorClass| Some(exit::of_class(class));
    if let Some(error) = error.downcast_ref::<Failure>() {
        Some(error.code)
    } else if let Some(error) = error.downcast_ref::<DockerError>() {
        Some(error.exit_code())
    } else if let Some(error) = error.downcast_ref::<LinkError>() {
        Some(error.exit_code())
    } else if let Some(error) = error.downcast_ref::<NamespaceError>() {
        class(error.class())
    } else if let Some(error) = error.downcast_ref::<VethError>() {
        class(error.class())
    } else if let Some(error) = error.downcast_ref::<RtnlError>() {
        class(error.class())
    } else if let Some(error) = error.downcast_ref::<ProcessError>() {
        class(error.class())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_code_is_found_below_the_context() {
        let cases = [
            (anyhow::anyhow!("anything"), exit::FAILED),
            (Failure::new(exit::NOT_FOUND, "x").into(), exit::NOT_FOUND),
            (NamespaceError::NoProcess.into(), exit::NOT_FOUND),
            (VethError::HostNamespace.into(), exit::FAILED),
        ];
        for (error, expected) in cases {
            let error = Err::<(), _>(error).context("while doing it").unwrap_err();
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }
}
