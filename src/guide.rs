//! What docs/troubleshooting.md says about each reason, for an operator who has only the binary.

const DOCUMENT: &str = include_str!("../docs/troubleshooting.md");

/// One point of a reason's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// `Meaning`, `Look at` or `Do`.
    pub(crate) name: &'static str,
    /// One line of plain text.
    pub(crate) text: String,
}

/// The points of a reason's section. Empty if the document has no such section.
pub(crate) fn points(reason: &str) -> Vec<Point> {
    let heading = format!("### `{reason}`");
    let lines = DOCUMENT.lines();
    let section = lines.skip_while(|line| *line != heading).skip(1);
    let mut points: Vec<Point> = Vec::new();
    for line in section.take_while(|line| !line.starts_with('#')) {
        let begin = line.strip_prefix("- **");
        if let Some((name, text)) = begin.and_then(|line| line.split_once(":**")) {
            let text = text.trim().to_owned();
            points.push(Point { name, text });
        } else if let (Some(point), Some(text)) = (points.last_mut(), line.strip_prefix("  ")) {
            point.text = format!("{} {}", point.text, text.trim());
        }
    }
    for point in &mut points {
        point.text = without_links(&point.text);
    }
    points
}

/// Leaves the text of each link, with the address if it is another document.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let parts = link.split_once("](").and_then(|(name, end)| {
            let (address, after) = end.split_once(')')?;
            Some((name, address, after))
        });
        match parts {
            Some((name, address, after)) => {
                plain.push_str(name);
                if !address.starts_with('#') {
                    plain.extend([" (docs/", address, ")"]);
                }
                rest = after;
            }
            None => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Reason;

    #[test]
    fn every_reason_has_its_points() {
        for reason in Reason::ALL {
            let names: Vec<_> = points(reason.code())
                .iter()
                .map(|point| point.name)
                .collect();
            assert_eq!(names, ["Meaning", "Look at", "Do"], "{}", reason.code());
        }
        assert_eq!(points("no_reason"), []);
    }

    #[test]
    fn a_point_is_one_line_without_links() {
        let text = |reason: &str, name: &str| {
            let mut points = points(reason).into_iter();
            points.find(|point| point.name == name).unwrap().text
        };
        assert_eq!(
            text("ambiguous_method", "Look at"),
            "Methods (docs/rules.md#methods)."
        );
        assert_eq!(
            text("check_unreadable", "Do"),
            "check the network between Envoy and claimgate, and that the caller uses \
             `transport_api_version: V3`."
        );
        for (text, plain) in [
            ("a [b](c.md#d) e", "a b (docs/c.md#d) e"),
            ("[`a`](#b), [c](#d)", "`a`, c"),
            ("`[{}]` and [a", "`[{}]` and [a"),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }
}
