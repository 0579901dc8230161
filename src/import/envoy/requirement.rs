//! A `JwtRequirement`, and which tokens meet it.

use std::collections::BTreeMap;

use crate::import::model::{Kind, Note, TokenPlace};
use crate::import::source::Reader;

/// A requirement.
#[derive(Clone, Debug)]
pub(super) enum Requirement {
    /// A token of this provider, perhaps with other audiences than the provider's own.
    Provider(String, Option<Vec<String>>),
    Any(Vec<Requirement>),
    All(Vec<Requirement>),
    AllowMissing,
    AllowMissingOrFailed,
    /// Passes everything, too; the claims of unverified tokens reach the upstream.
    ExtractOnly,
    /// Nothing is required.
    Nothing,
    /// Something that is not known, so nothing meets it.
    Unknown,
}

/// The nesting at which reading stops.
const MAX_DEPTH: usize = 16;

impl Requirement {
    pub(super) fn read(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Self {
        Self::read_at(reader, notes, 0)
    }

    fn read_at(reader: &Reader<'_>, notes: &mut Vec<Note>, depth: usize) -> Self {
        let kinds = [
            "provider_name",
            "provider_and_audiences",
            "requires_any",
            "requires_all",
            "allow_missing",
            "allow_missing_or_failed",
            "extract_only_without_validation",
        ];
        let found = reader.one_of(&kinds);
        let is_known = reader.finish(notes);
        let requirement = match found {
            _ if !is_known || depth > MAX_DEPTH => Self::Unknown,
            None => Self::Nothing,
            Some(("provider_name", name)) => match name.as_text(notes) {
                Some(name) => Self::Provider(name, None),
                None => Self::Unknown,
            },
            Some(("provider_and_audiences", both)) => {
                let name = both.text("provider_name", notes).unwrap_or_default();
                let audiences = super::provider::audiences(&both, notes);
                both.finish(notes);
                Self::Provider(name, Some(audiences))
            }
            Some(("requires_any", list)) => Self::Any(Self::read_list(&list, notes, depth)),
            Some(("requires_all", list)) => Self::All(Self::read_list(&list, notes, depth)),
            Some(("allow_missing", _)) => Self::AllowMissing,
            Some(("allow_missing_or_failed", _)) => Self::AllowMissingOrFailed,
            Some((_, extract)) => {
                let text = "claimgate passes these requests as Envoy does, but it never forwards the claims \
                            of a token that it has not verified";
                notes.push(extract.note(Kind::LeftOut, text));
                Self::ExtractOnly
            }
        };
        match reader.is_understood() {
            true => requirement,
            false => Self::Unknown,
        }
    }

    fn read_list(list: &Reader<'_>, notes: &mut Vec<Note>, depth: usize) -> Vec<Self> {
        let entries = list.list("requirements");
        let requirements = entries
            .iter()
            .map(|entry| Self::read_at(entry, notes, depth + 1))
            .collect();
        list.finish(notes);
        requirements
    }

    /// The requirement that only verified tokens meet, and requests without one as before. Claims are taken
    /// from no others.
    pub(super) fn verified(&self) -> Self {
        let each = |list: &[Self]| list.iter().map(Self::verified).collect();
        match self {
            Self::AllowMissingOrFailed | Self::ExtractOnly => Self::AllowMissing,
            Self::Any(list) => Self::Any(each(list)),
            Self::All(list) => Self::All(each(list)),
            Self::Provider(..) | Self::AllowMissing | Self::Nothing | Self::Unknown => self.clone(),
        }
    }

    /// The audiences that it names for each provider, besides the provider's own.
    pub(super) fn audiences<'r>(&'r self, add: &mut impl FnMut(&'r str, &'r [String])) {
        match self {
            Self::Provider(name, Some(audiences)) => add(name, audiences),
            Self::Any(list) | Self::All(list) => {
                for requirement in list {
                    requirement.audiences(add);
                }
            }
            Self::Provider(_, None)
            | Self::AllowMissing
            | Self::AllowMissingOrFailed
            | Self::ExtractOnly
            | Self::Nothing
            | Self::Unknown => {}
        }
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carried<'c> {
    Nothing,
    /// A token that no provider verifies.
    Bad,
    /// A valid token of the merged provider with this index, for an audience; `None` for one that the source
    /// does not name.
    Valid(usize, Option<&'c str>),
}

/// What Envoy makes of it. The order is that in which `requires_any` prefers errors, the last first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Ok,
    Missed,
    UnknownIssuer,
    Failed,
}

/// A provider, as far as requirements look at it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The index of the merged provider.
    pub(super) merged: usize,
    pub(super) audiences: Vec<String>,
    pub(super) places: Vec<TokenPlace>,
}

/// The providers of the source, by name. Those without an equivalent are not among them.
pub(super) type Members = BTreeMap<String, Member>;

/// What Envoy makes of a request with at most one token. (claimgate refuses more than one.)
pub(super) fn verdict(
    requirement: &Requirement,
    carried: Carried<'_>,
    members: &Members,
) -> Verdict {
    match requirement {
        Requirement::Nothing | Requirement::AllowMissingOrFailed | Requirement::ExtractOnly => {
            Verdict::Ok
        }
        Requirement::Unknown => Verdict::Failed,
        Requirement::AllowMissing => match carried {
            Carried::Nothing => Verdict::Ok,
            Carried::Bad => Verdict::Failed,
            // The provider is found by the token's issuer.
            Carried::Valid(merged, audience) => {
                let of_issuer = members.values().filter(|member| member.merged == merged);
                match of_issuer
                    .into_iter()
                    .any(|member| accepts(&member.audiences, audience))
                {
                    true => Verdict::Ok,
                    false => Verdict::Failed,
                }
            }
        },
        Requirement::Provider(name, audiences) => {
            let Some(member) = members.get(name) else {
                return Verdict::Failed;
            };
            match carried {
                Carried::Nothing => Verdict::Missed,
                Carried::Bad => Verdict::Failed,
                Carried::Valid(merged, audience) if merged == member.merged => {
                    let accepted = audiences.as_ref().unwrap_or(&member.audiences);
                    match accepts(accepted, audience) {
                        true => Verdict::Ok,
                        false => Verdict::Failed,
                    }
                }
                // Envoy looks only at the provider's own places.
                Carried::Valid(merged, _) => {
                    let others = members.values().filter(|member| member.merged == merged);
                    let mut places = others.flat_map(|other| &other.places);
                    match places.any(|place| member.places.contains(place)) {
                        true => Verdict::UnknownIssuer,
                        false => Verdict::Missed,
                    }
                }
            }
        }
        Requirement::Any(list) => {
            let mut worst = Verdict::Missed;
            let (mut allows_missing, mut allows_failed) = (false, false);
            for requirement in list {
                match requirement {
                    Requirement::AllowMissing => allows_missing = true,
                    Requirement::AllowMissingOrFailed => allows_failed = true,
                    other => match verdict(other, carried, members) {
                        Verdict::Ok => return Verdict::Ok,
                        error => worst = worst.max(error),
                    },
                }
            }
            match allows_failed || (allows_missing && worst == Verdict::Missed) {
                true => Verdict::Ok,
                false => worst,
            }
        }
        Requirement::All(list) => list
            .iter()
            .map(|requirement| verdict(requirement, carried, members))
            .find(|verdict| *verdict != Verdict::Ok)
            .unwrap_or(Verdict::Ok),
    }
}

fn accepts(accepted: &[String], audience: Option<&str>) -> bool {
    accepted.is_empty() || accepted.iter().any(|own| Some(own.as_str()) == audience)
}
