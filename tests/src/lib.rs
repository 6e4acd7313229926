//! Harness for the tests against a real kernel and a real Docker engine.
#![forbid(unsafe_code)]
