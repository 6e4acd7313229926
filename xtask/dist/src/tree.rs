//! Files as they are to be installed, before anybody writes them anywhere.

use std::collections::BTreeMap;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// Paths without a leading slash, in their order, each directory before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// A program: everybody may run it.
    pub(crate) fn program(&mut self, path: &str, bytes: Vec<u8>) {
        self.put(path, Node::File { mode: 0o755, bytes });
    }

    /// A file that everybody may read.
    pub(crate) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.put(path, Node::File { mode: 0o644, bytes: bytes.into() });
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.put(path, Node::Directory);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.put(path, Node::Link { target: target.to_owned() });
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// How many bytes the files have.
    pub(crate) fn size(&self) -> usize {
        let size = |node: &Node| match node {
            Node::File { bytes, .. } => bytes.len(),
            Node::Directory | Node::Link { .. } => 0,
        };
        self.0.values().map(size).sum()
    }

    /// With the directories above it, as far as they are not there yet.
    fn put(&mut self, path: &str, node: Node) {
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            self.0.entry(parent.to_owned()).or_insert(Node::Directory);
        }
        self.0.insert(path.to_owned(), node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_comes_before_what_is_in_it() {
        let mut tree = Tree::default();
        tree.file("usr/share/doc/x", "text");
        tree.program("usr/bin/x", b"program".to_vec());
        let paths: Vec<_> = tree.nodes().map(|(path, _)| path).collect();
        let expected =
            ["usr", "usr/bin", "usr/bin/x", "usr/share", "usr/share/doc", "usr/share/doc/x"];
        assert_eq!(paths, expected);
        assert_eq!(tree.size(), "textprogram".len());
    }
}
