//! As much of DNS ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035)) as it takes to answer a question
//! for an address.

use std::net::{Ipv4Addr, Ipv6Addr};

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a message with one question, as a server that has these addresses for every name;
/// none to anything else.
#[must_use]
pub fn answer(question: &[u8], v4: Ipv4Addr, v6: Ipv6Addr) -> Option<Vec<u8>> {
    // A response, an authoritative one, without an error; what is asked for is copied.
    const FLAGS: [u8; 2] = [0x85, 0x80];
    // The name stands at the beginning of the question, the class is the Internet's, a minute long.
    const NAME: [u8; 2] = [0xc0, 12];
    const INTERNET: [u8; 2] = [0, 1];
    const MINUTE: [u8; 4] = [0, 0, 0, 60];
    let [id0, id1, _, _, 0, 1, ..] = *question.first_chunk::<HEADER>()? else { return None };
    let name = question.get(HEADER..)?;
    let end = HEADER + end_of_name(name)?;
    let [kind0, kind1, _, _] = *question.get(end..)?.first_chunk()?;
    let data = match u16::from_be_bytes([kind0, kind1]) {
        A => v4.octets().to_vec(),
        AAAA => v6.octets().to_vec(),
        _ => Vec::new(),
    };
    let answers = u8::from(!data.is_empty());
    let mut message = vec![id0, id1];
    message.extend(FLAGS);
    message.extend([0, 1, 0, answers, 0, 0, 0, 0]);
    message.extend(question.get(HEADER..end + 4)?);
    if answers == 1 {
        message.extend(NAME);
        message.extend([kind0, kind1]);
        message.extend(INTERNET);
        message.extend(MINUTE);
        message.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        message.extend(data);
    }
    Some(message)
}

/// Where a name ends that stands at the beginning: labels, each behind its length, up to one of none.
fn end_of_name(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            0 => return Some(at + 1),
            length => at += 1 + usize::from(*length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_with_itself_and_the_address() {
        let v4 = Ipv4Addr::new(203, 0, 113, 80);
        let v6 = Ipv6Addr::LOCALHOST;
        let ask = |kind: u8| {
            let mut question = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            question.extend(b"\x03www\x04test\0");
            question.extend([0, kind, 0, 1]);
            question
        };
        let answered = answer(&ask(1), v4, v6).unwrap();
        assert_eq!(answered[..4], [7, 9, 0x85, 0x80]);
        assert_eq!(answered[12..26], ask(1)[12..26], "the question");
        assert_eq!(answered[answered.len() - 6..], [0, 4, 203, 0, 113, 80]);
        assert!(answer(&ask(28), v4, v6).unwrap().ends_with(&v6.octets()));
        assert_eq!(answer(&ask(15), v4, v6).unwrap()[7], 0, "there is no other kind");
        assert_eq!(answer(&ask(1)[..25], v4, v6), None, "cut off");
        assert_eq!(answer(&[0; 40], v4, v6), None, "no question");
    }
}
