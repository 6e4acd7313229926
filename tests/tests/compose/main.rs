//! The files of `compose`, by Docker Compose on an engine of today: as users start them.

mod daemon;
mod demo;
mod files;
