//! The kinds of requests.

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Remembered,
    New,
    Spoofed,
    Public,
    PublicSpoofed,
    Missing,
    Expired,
    NotYetValid,
    WrongAudience,
    WrongIssuer,
    WrongKey,
    InventedKid,
    Tampered,
    AlgNone,
    Garbage,
    TwoTokens,
    MissingScope,
}

impl Class {
    /// Every class, its name and its share in percent.
    pub const ALL: [(Self, &'static str, u32); 17] = [
        (Self::Remembered, "valid token, sent again", 38),
        (Self::New, "valid token, new", 20),
        (Self::Spoofed, "valid token, spoofed claim headers", 6),
        (Self::Public, "public path, no token", 4),
        (Self::PublicSpoofed, "public path, spoofed claim headers", 2),
        (Self::Missing, "no token", 4),
        (Self::Expired, "expired", 3),
        (Self::NotYetValid, "not yet valid", 3),
        (Self::WrongAudience, "wrong audience", 3),
        (Self::WrongIssuer, "unknown issuer", 3),
        (Self::WrongKey, "signed with a wrong key", 2),
        (Self::InventedKid, "invented key id", 2),
        (Self::Tampered, "tampered", 2),
        (Self::AlgNone, "alg none", 2),
        (Self::Garbage, "garbage", 2),
        (Self::TwoTokens, "two tokens", 2),
        (Self::MissingScope, "scope missing", 2),
    ];

    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(class, ..)| *class == self).unwrap().1
    }

    /// One at random, by these shares.
    pub fn random() -> Self {
        let total: u32 = Self::ALL.iter().map(|(_, _, share)| share).sum();
        let mut left = fastrand::u32(..total);
        for (class, _, share) in Self::ALL {
            if left < share {
                return class;
            }
            left -= share;
        }
        Self::Missing
    }
}
