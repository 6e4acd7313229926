//! What the gate's table is, as data, and how it differs from what the kernel shows. Pure.
//!
//! In the language of `nft`, for each chain with its own hook and direction:
//!
//! ```text
//! table bridge ebpf-netns {
//!   comment "ebpf-netns strict mode, layout 1"
//!   set admitted { type iface_index; size 16384; }
//!   set foreign { type iface_index; size 16384; }
//!   chain prerouting {
//!     type filter hook prerouting priority -2147483648; policy accept;
//!     iif != @admitted iif != @foreign meta iifkind "veth" counter drop
//!   }
//! }
//! ```

use std::fmt;

/// The table's name, in the family `bridge`.
pub const TABLE: &str = "ebpf-netns";

/// What the comment of a table of ours begins with: a table without it is someone else's.
pub(super) const MARK: &str = "ebpf-netns strict mode";

/// The comment of the table that this version makes. What tells one layout from another is how they
/// look; the number is for people.
pub(super) const COMMENT: &str = "ebpf-netns strict mode, layout 1";

/// How many ports each set takes. With a size, the kernel makes a plain hash table of it, which is
/// the fastest kind that it has.
pub const CAPACITY: u32 = 16_384;

/// The priority of the chains: before everything else that looks at bridged frames
/// (`NF_BR_PRI_FIRST`), such as what hands them to iptables.
pub(super) const PRIORITY: i32 = i32::MIN;

/// The kernel's name for the kind of the links that are governed.
pub(super) const KIND: &str = "veth";

/// Where a bridge asks about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Every frame that comes in at a port, but for those of [`Hook::Input`].
    Prerouting,
    /// What is handed to the host itself. Frames to most of the reserved addresses
    /// `01:80:c2:00:00:0X` come here without passing [`Hook::Prerouting`]: they may carry IP, and the
    /// host takes it.
    Input,
    /// Frames from one port to another.
    Forward,
    /// What the host itself sends through a port.
    Output,
}

impl Hook {
    pub(super) const ALL: [Self; 4] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output];

    /// The name of the hook, and of our chain at it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }

    /// `NF_BR_PRE_ROUTING` and the following.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
        }
    }

    /// Which port of a frame is looked at here; the other one was looked at before, or is none.
    pub(super) const fn end(self) -> End {
        match self {
            Self::Prerouting | Self::Input => End::In,
            Self::Forward | Self::Output => End::Out,
        }
    }
}

/// One of the two ports of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Where it came in.
    In,
    /// Where it goes out.
    Out,
}

/// Why a port is let through: the set that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// What is to be enforced at it stands, if there is anything to enforce.
    Admitted,
    /// It is a port of a bridge that is not governed.
    Foreign,
}

impl Standing {
    pub(super) const ALL: [Self; 2] = [Self::Admitted, Self::Foreign];

    /// The name of the set.
    #[must_use]
    pub const fn set(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Foreign => "foreign",
        }
    }

    /// A number for the set within a batch.
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Admitted => 1,
            Self::Foreign => 2,
        }
    }
}

/// One step of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// Take the port's index; no match without a port.
    Index(End),
    /// Go on if the index is not in the set.
    NotIn(Standing),
    /// Take the kind of link that the port is: set by its driver, so nobody can give it another.
    Kind(End),
    /// Go on if the kind is [`KIND`].
    IsVeth,
    /// Count the frame.
    Count,
    /// Drop it.
    Drop,
    /// None of ours.
    Unknown,
}

impl Expr {
    /// All that we use.
    pub(super) const OURS: [Self; 9] = [
        Self::Index(End::In),
        Self::Index(End::Out),
        Self::NotIn(Standing::Admitted),
        Self::NotIn(Standing::Foreign),
        Self::Kind(End::In),
        Self::Kind(End::Out),
        Self::IsVeth,
        Self::Count,
        Self::Drop,
    ];
}

/// The only rule of the chain at `hook`. A port that is let through leaves it at the first or
/// second look-up; what is not a veth, after that.
pub(super) const fn rule(hook: Hook) -> [Expr; 8] {
    let end = hook.end();
    [
        Expr::Index(end),
        Expr::NotIn(Standing::Admitted),
        Expr::Index(end),
        Expr::NotIn(Standing::Foreign),
        Expr::Kind(end),
        Expr::IsVeth,
        Expr::Count,
        Expr::Drop,
    ]
}

/// What the kernel shows of a set, but for its elements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetShape {
    pub(super) name: String,
    pub(super) flags: u32,
    pub(super) key_length: u32,
    pub(super) size: Option<u32>,
}

/// What the kernel shows of a chain, but for its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainShape {
    pub(super) hook: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) kind: String,
    pub(super) accepts: bool,
}

/// What the kernel shows of a table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// `NFT_TABLE_F_DORMANT` and such.
    pub(super) flags: u32,
    /// Chains, sets and whatever else is in it.
    pub(super) objects: u32,
    pub(super) sets: Vec<SetShape>,
    /// At each of [`Hook::ALL`].
    pub(super) chains: Vec<Option<ChainShape>>,
    /// Of each of [`Hook::ALL`].
    pub(super) rules: Vec<Vec<Vec<Expr>>>,
}

impl Shape {
    /// What we make.
    pub(super) fn ours() -> Self {
        let set = |standing: Standing| SetShape {
            name: standing.set().to_owned(),
            flags: 0,
            key_length: 4,
            size: Some(CAPACITY),
        };
        let chain = |hook: Hook| ChainShape {
            hook: Some(hook.number()),
            priority: Some(PRIORITY),
            kind: "filter".to_owned(),
            accepts: true,
        };
        Self {
            flags: 0,
            objects: 6,
            sets: Standing::ALL.into_iter().map(set).collect(),
            chains: Hook::ALL.into_iter().map(chain).map(Some).collect(),
            rules: Hook::ALL.iter().map(|hook| vec![rule(*hook).to_vec()]).collect(),
        }
    }
}

/// How a table of ours differs from what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The rules of a chain are others.
    Rules(Hook),
    /// A chain is missing or is another.
    Chain(Hook),
    /// The sets are others.
    Sets,
    /// The table is dormant, or owned by a process.
    Flags,
    /// There is more in the table than is ours.
    More,
}

impl Difference {
    /// Whether giving chains their rules again puts it right: that leaves no frame unjudged, and
    /// the sets as they are.
    pub(super) const fn is_of_rules(self) -> bool {
        matches!(self, Self::Rules(_))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(hook) => write!(f, "the rules of chain {} were changed", hook.name()),
            Self::Chain(hook) => write!(f, "chain {} is missing or was changed", hook.name()),
            Self::Sets => f.write_str("the sets were changed"),
            Self::Flags => f.write_str("the table was switched off or taken over"),
            Self::More => f.write_str("chains, sets or objects were added"),
        }
    }
}

/// All differences, in the order of importance that [`Difference`] does not promise.
pub(super) fn differences(found: &Shape) -> Vec<Difference> {
    let Shape { flags, objects, sets, chains, rules } = Shape::ours();
    let mut all = Vec::new();
    if found.flags != flags {
        all.push(Difference::Flags);
    }
    if found.sets != sets {
        all.push(Difference::Sets);
    }
    for ((hook, ours), theirs) in Hook::ALL.into_iter().zip(chains).zip(&found.chains) {
        if ours != *theirs {
            all.push(Difference::Chain(hook));
        }
    }
    for ((hook, ours), theirs) in Hook::ALL.into_iter().zip(rules).zip(&found.rules) {
        if ours != *theirs && !all.contains(&Difference::Chain(hook)) {
            all.push(Difference::Rules(hook));
        }
    }
    if found.objects > objects {
        all.push(Difference::More);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_make_has_no_difference() {
        assert_eq!(differences(&Shape::ours()), []);
    }

    #[test]
    fn each_change_is_told_by_its_name() {
        let change = |change: fn(&mut Shape)| {
            let mut shape = Shape::ours();
            change(&mut shape);
            differences(&shape)
        };
        let rules = Difference::Rules(Hook::Input);
        assert_eq!(change(|it| it.rules[1].clear()), [rules], "no rule");
        assert_eq!(change(|it| it.rules[1].push(vec![])), [rules], "one more rule");
        assert_eq!(change(|it| it.rules[1][0][7] = Expr::Unknown), [rules], "another verdict");
        assert_eq!(change(|it| it.flags = 1), [Difference::Flags], "dormant");
        assert_eq!(change(|it| it.sets[0].size = None), [Difference::Sets], "another size");
        assert_eq!(change(|it| it.objects = 7), [Difference::More], "one more set");
        let chain = Difference::Chain(Hook::Prerouting);
        assert_eq!(change(|it| it.chains[0] = None), [chain], "no chain");
        let priority = change(|it| it.chains[0].as_mut().unwrap().priority = Some(0));
        assert_eq!(priority, [chain], "another priority");
    }

    #[test]
    fn every_expression_of_a_rule_is_one_that_is_read_back() {
        for expr in Hook::ALL.into_iter().flat_map(rule) {
            assert!(Expr::OURS.contains(&expr), "{expr:?} is among those that we know");
        }
    }
}
