//! Network namespaces of containers.
#![forbid(unsafe_code)]
