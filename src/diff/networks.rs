//! Addresses at the ends of a network block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first and the last address of a block such as `10.0.0.0/8`, and the addresses before and after
/// it. Empty if the text is not a block.
pub(super) fn ends(block: &str) -> Vec<String> {
    ends_of(block).unwrap_or_default()
}

fn ends_of(block: &str) -> Option<Vec<String>> {
    let (address, length) = block.split_once('/').unwrap_or((block, ""));
    let address: IpAddr = address.parse().ok()?;
    let (bits, value, max) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address)), u128::from(u32::MAX)),
        IpAddr::V6(address) => (128, u128::from(address), u128::MAX),
    };
    let length: u32 = match length {
        "" => bits,
        length => length.parse().ok().filter(|length| *length <= bits)?,
    };
    let host = max.checked_shr(length).unwrap_or(0);
    let (first, last) = (value & !host, value | host);
    let before = first.checked_sub(1);
    let after = last.checked_add(1).filter(|after| *after <= max);
    let shown = |value: u128| match address {
        IpAddr::V4(_) => Some(Ipv4Addr::from(u32::try_from(value).ok()?).to_string()),
        IpAddr::V6(_) => Some(Ipv6Addr::from(value).to_string()),
    };
    [Some(first), Some(last), before, after]
        .into_iter()
        .flatten()
        .map(shown)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn blocks() {
        for (block, expected) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"][..],
            ),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"]),
            (
                "192.0.2.7/32",
                &["192.0.2.7", "192.0.2.7", "192.0.2.6", "192.0.2.8"],
            ),
            (
                "fd00::/8",
                &[
                    "fd00::",
                    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                    "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                    "fe00::",
                ],
            ),
            ("::/0", &["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
            ("10.0.0.0/33", &[]),
            ("x", &[]),
        ] {
            assert_eq!(ends(block), expected, "{block}");
        }
    }
}
