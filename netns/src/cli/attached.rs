//! Which eBPF programs are attached to a host's link.
//!
//! XDP and `clsact` are told by rtnetlink. TCX is not, and asking for it is a matter of eBPF, so
//! that is left to the other binary.

use crate::{
    Ifindex, Link, Rtnl, RtnlError, XdpMode,
    rtnl::{BpfFilter, Direction},
};
use serde::{Deserialize, Serialize};

use super::plugin;

/// A program attached to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) ifindex: Ifindex,
    pub(crate) hook: Hook,
    #[serde(default)]
    pub(crate) mode: Option<String>,
    pub(crate) program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hook {
    Xdp,
    TcxIngress,
    TcxEgress,
    ClsactIngress,
    ClsactEgress,
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Xdp => "XDP",
            Self::TcxIngress => "TCX ingress",
            Self::TcxEgress => "TCX egress",
            Self::ClsactIngress => "clsact ingress",
            Self::ClsactEgress => "clsact egress",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) id: u32,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) tag: Option<String>,
}

/// What rtnetlink says is attached to a link.
pub(crate) fn by_rtnetlink(rtnl: &Rtnl, link: &Link) -> Result<Vec<Attachment>, RtnlError> {
    let ifindex = link.index;
    let mut attached: Vec<_> = link
        .xdp
        .map(|xdp| Attachment {
            ifindex,
            hook: Hook::Xdp,
            mode: Some(xdp.mode).filter(|mode| *mode != XdpMode::Native).map(|m| m.to_string()),
            program: Program { id: xdp.program_id, name: None, tag: None },
        })
        .into_iter()
        .collect();
    let hooks =
        [(Direction::Ingress, Hook::ClsactIngress), (Direction::Egress, Hook::ClsactEgress)];
    for (direction, hook) in hooks {
        for BpfFilter { program_id: id, name, tag, .. } in rtnl.bpf_filters(ifindex, direction)? {
            let program = Program { id, name: Some(name).filter(|name| !name.is_empty()), tag };
            attached.push(Attachment { ifindex, hook, mode: None, program });
        }
    }
    Ok(attached)
}

/// What the other binary says is attached to these links, or why it says nothing.
pub(crate) fn by_plugin(indices: &[Ifindex]) -> Result<Vec<Attachment>, String> {
    let mut arguments = ["attached", "--format", "json"].map(str::to_owned).to_vec();
    arguments.extend(indices.iter().map(Ifindex::to_string));
    let output = plugin::output(&arguments)?;
    let attached: Vec<Attachment> = serde_json::from_slice(&output)
        .map_err(|error| format!("ebpf-netns-plugin's answer cannot be read: {error}"))?;
    Ok(attached.into_iter().filter(|a| indices.contains(&a.ifindex)).collect())
}

/// Both answers as one, in the order in which a frame that comes in meets them: what both tell of
/// once, with all that either knows of it.
pub(crate) fn merge(mut own: Vec<Attachment>, others: &[Attachment]) -> Vec<Attachment> {
    for other in others {
        let same = own.iter_mut().find(|a| {
            (a.ifindex, a.hook, a.program.id) == (other.ifindex, other.hook, other.program.id)
        });
        match same {
            Some(known) => {
                let Program { id: _, name, tag } = &other.program;
                known.mode = known.mode.take().or_else(|| other.mode.clone());
                known.program.name = name.clone().or_else(|| known.program.name.take());
                known.program.tag = known.program.tag.take().or_else(|| tag.clone());
            }
            None => own.push(other.clone()),
        }
    }
    own.sort_by_key(|attachment| attachment.hook);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(hook: Hook, id: u32, name: Option<&str>) -> Attachment {
        let program = Program { id, name: name.map(str::to_owned), tag: None };
        Attachment { ifindex: 7.try_into().unwrap(), hook, mode: None, program }
    }

    #[test]
    fn what_both_tell_of_is_shown_once_with_its_name() {
        let own = vec![
            attachment(Hook::Xdp, 12, None),
            attachment(Hook::ClsactIngress, 13, Some("x.o:[classifier]")),
        ];
        let others = [
            attachment(Hook::ClsactIngress, 13, Some("from_container")),
            attachment(Hook::TcxIngress, 14, Some("to_container")),
            attachment(Hook::Xdp, 12, Some("quarantine")),
        ];
        let merged = merge(own, &others);
        let shown: Vec<_> = merged
            .iter()
            .map(|a| (a.hook, a.program.id, a.program.name.as_deref().unwrap_or_default()))
            .collect();
        let expected = [
            (Hook::Xdp, 12, "quarantine"),
            (Hook::TcxIngress, 14, "to_container"),
            (Hook::ClsactIngress, 13, "from_container"),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_other_binarys_answer_is_read() {
        let json = r#"[{"ifindex":7,"hook":"tcx-egress","new":1,
            "program":{"id":12,"name":"to_container","tag":"ab"}}]"#;
        let attached: Vec<Attachment> = serde_json::from_str(json).unwrap();
        assert_eq!(attached[0].hook, Hook::TcxEgress);
        assert_eq!(attached[0].program.tag.as_deref(), Some("ab"));
    }
}
