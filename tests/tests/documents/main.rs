//! What the documents say: each command is one that there is, does what it is said to do, and each
//! test, message and file that is named is there.

mod how;
mod machine;
mod named;
mod pages;
mod typed;
